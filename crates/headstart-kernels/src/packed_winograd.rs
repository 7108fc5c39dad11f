//! 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3) and F(2x2, 3x3) (Lavin and Gray 2016): 36 products where the
//! direct way has 144, or 16 where it has 36.
//!
//! With `d` an input tile, `g` the kernel: `Y = A^T [ (G g G^T) * (B^T d B) ] A`. Weights are transformed once, in
//! f64. Tiles are taken in blocks: transform, a matrix product over channels for each point, transform back with the
//! epilogue. Against f64 the error of F(4x4) in f32 is some times that of the direct way, relative L2 about 1e-6. In
//! bf16 it would be 2e-2, where the direct way has 2.2e-3 and F(2x2) 3.3e-3: bf16 takes F(2x2).
#![allow(unsafe_code)]

mod transform;

use crate::aligned::Aligned;
use crate::element::Element;
use crate::padded::Rows;
use crate::simd::{self, Dot, Kernel, Simd};
use crate::tile::{self, Ahead, Lefts, Target};
use crate::{Activation, Conv, Isa, Pool, activation, padded};
use half::bf16;
use std::marker::PhantomData;
pub(crate) use transform::{input_side, transposed};
use transform::{kernel_side, output_side};

/// An image with fewer tiles shares blocks with others.
const FEW: usize = 28;

/// F(4x4, 3x3) in f32.
pub type Winograd4 = PackedWinograd<f32, 6, 4>;
/// F(2x2, 3x3) of bf16.
pub type Winograd2 = PackedWinograd<bf16, 4, 2>;

/// A 3x3 convolution of stride 1 with its weights transformed and packed for one instruction set: input tiles of `IN`
/// pixels a side, output tiles of `OUT`.
#[derive(Debug, Clone)]
pub struct PackedWinograd<E, const IN: usize, const OUT: usize> {
    conv: Conv,
    /// The convolution that the padded image is made for: whole tiles, also over the edge.
    whole: Conv,
    isa: Isa,
    /// Tiles of a block. Of small weights few: all that a block touches stays in the second-level cache. Of weights
    /// that do not fit there more, so that they are read less often.
    block: usize,
    /// For each point the panels of `[in_channels, out_channels]`.
    panels: Vec<Aligned>,
    bias: Aligned,
    of: PhantomData<E>,
}

impl<E: Element, const IN: usize, const OUT: usize> PackedWinograd<E, IN, OUT> {
    /// Products of a tile.
    const POINTS: usize = IN * IN;

    /// Whether this way can compute `conv` with the vectors of `isa`, and is the faster one, given company.
    pub fn suits(isa: Isa, conv: &Conv) -> bool {
        let channels = |n: usize| n.is_multiple_of(simd::lanes(isa)) && n >= 32;
        // Tiles that lie mostly outside a small image gain nothing.
        let tiles = Self::tiles(conv);
        let filled = tiles >= 4 && 8 * conv.pixels() >= 3 * OUT * OUT * tiles;
        // What the matrix unit saves in products, the transforms would cost it.
        let unit = E::DOT == Dot::Bf16 && isa == Isa::Amx;
        !unit
            && conv.kernel == [3, 3]
            && conv.stride == [1, 1]
            && filled
            && channels(conv.input[2])
            && channels(conv.output[2])
    }

    /// Whether one image has too few tiles for the transformed weights, four times the original ones, to be worth
    /// reading: several images should be run at once.
    pub fn wants_company(conv: &Conv) -> bool {
        Self::tiles(conv) < FEW
    }

    /// Output tiles of an image.
    fn tiles(conv: &Conv) -> usize {
        conv.output[0].div_ceil(OUT) * conv.output[1].div_ceil(OUT)
    }

    /// Transforms and packs `weights` `[9 * in_channels, out_channels]`, and `bias` `[out_channels]`.
    ///
    /// # Panics
    /// Where they have other sizes, or the convolution is not 3x3 of stride 1 over whole vectors of channels.
    pub fn new(isa: Isa, conv: Conv, weights: &[f32], bias: &[f32]) -> Self {
        let (inner, outer) = (conv.input[2], conv.output[2]);
        let lanes = simd::lanes(isa);
        assert!(conv.kernel == [3, 3] && conv.stride == [1, 1], "a 3x3 convolution of stride 1");
        assert!(inner.is_multiple_of(lanes) && outer.is_multiple_of(lanes), "whole vectors of channels");
        assert_eq!(
            (weights.len(), bias.len()),
            (9 * inner * outer, outer),
            "weights and bias of a convolution"
        );
        let point = |p: usize, i: usize, o: usize| {
            let (row, column) = (kernel_side::<IN>(p / IN), kernel_side::<IN>(p % IN));
            let tap = |t: usize| f64::from(weights[(t * inner + i) * outer + o]) * row[t / 3] * column[t % 3];
            (0..9).map(tap).sum::<f64>() as f32
        };
        let word = |p: usize, k: usize, o: usize| {
            let mut word = [0.0; 4];
            let of = (k * E::IN_WORD..).take(E::IN_WORD);
            word.iter_mut().zip(of).for_each(|(w, i)| *w = point(p, i, o));
            f32::from_bits(E::word(&word))
        };
        let words = inner / E::IN_WORD;
        let panels = (0..Self::POINTS).map(|p| tile::pack(isa, words, outer, |k, o| word(p, k, o))).collect();
        Self::with_panels(isa, conv, panels, tile::pack(isa, 1, outer, |_, o| bias[o]))
    }

    /// From transformed weights, the panels of each point, and the packed bias.
    pub(crate) fn with_panels(isa: Isa, conv: Conv, panels: Vec<Aligned>, bias: Aligned) -> Self {
        let tiles = |n: usize| n.div_ceil(OUT) * OUT;
        let (inner, outer) = (conv.input[2], conv.output[2]);
        let whole = Conv { output: [tiles(conv.output[0]), tiles(conv.output[1]), outer], ..conv };
        let block = tile::MOST_ROWS * if inner * outer < 1 << 16 { 1 } else { 3 };
        PackedWinograd { conv, whole, isa, block, panels, bias, of: PhantomData }
    }

    /// The memory of the transformed weights.
    pub(crate) fn into_panels(self) -> Vec<Aligned> {
        self.panels
    }

    /// The convolution's sizes.
    pub fn conv(&self) -> &Conv {
        &self.conv
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        self.panels.iter().map(|p| 4 * p.len()).sum()
    }

    /// Words of scratch that [`PackedWinograd::run`] wants for `n` images.
    pub fn scratch(&self, n: usize) -> usize {
        self.blocks() + padded::scratch_of::<E>(&self.whole, n).div_ceil(E::IN_WORD)
    }

    /// Words of a block's transformed tiles and products.
    fn blocks(&self) -> usize {
        Self::POINTS * self.block * (self.conv.input[2] / E::IN_WORD + self.conv.output[2])
    }

    /// `out = activation(images * weights + bias + residual)` for images one after the other. On one thread their tiles
    /// share blocks; else rows of tiles, or channels where there are few, are spread over `pool`. The bytes are the same.
    ///
    /// # Panics
    /// Where a slice has another size than the convolution says.
    #[cfg_attr(debug_assertions, inline(never))]
    pub fn run(
        &self,
        pool: &Pool,
        images: &[E],
        residual: Option<&[E]>,
        activation: Option<Activation>,
        scratch: &mut [f32],
        out: &mut [E],
    ) {
        let [height, width, channels] = self.conv.output;
        let (one, outputs) = (self.conv.input.iter().product::<usize>(), height * width * channels);
        let n = images.len() / one;
        self.conv.expect_sizes(n, images, residual, out);
        let (blocks, copies) = scratch.split_at_mut(self.blocks());
        let copies: &mut [E] = bytemuck::cast_slice_mut(copies);
        let (rows, next_image) = padded::padded_all(&self.whole, images, E::default(), copies);
        let part =
            |rows: Rows<E>, place: Place, residual: Option<&[E]>, blocks: &mut [f32], out: &mut [E]| {
                let (products, tiles) = blocks.split_at_mut(Self::POINTS * self.block * channels);
                let tiles = bytemuck::cast_slice_mut(tiles);
                let pass = Pass { packed: self, rows, place, tiles, products, residual, activation, out };
                simd::run(self.isa, pass);
            };
        let whole = Place { n, next_image, height, channels: (0, channels) };
        if pool.threads() == 1 {
            return part(rows, whole, residual, blocks, out);
        }
        if Self::wants_company(&self.conv) {
            // Every thread reads its part of the weights, and its own only.
            let share = channels.div_ceil(pool.threads()).next_multiple_of(2 * simd::lanes(self.isa));
            let parts = pool.map(channels.div_ceil(share), |i| {
                let place = Place { channels: (i * share, channels.min((i + 1) * share)), ..whole };
                let mut out = vec![E::default(); n * height * width * (place.channels.1 - place.channels.0)];
                part(rows, place, residual, &mut vec![0.0; self.blocks()], &mut out);
                (place.channels, out)
            });
            for ((from, to), part) in parts {
                for (pixel, part) in out.chunks_exact_mut(channels).zip(part.chunks_exact(to - from)) {
                    pixel[from..to].copy_from_slice(part);
                }
            }
            return;
        }
        let share = height.div_ceil(OUT).div_ceil(pool.threads()) * OUT;
        for (image, out) in out.chunks_exact_mut(outputs).enumerate() {
            let data = &rows.data[image * next_image..];
            let residual = residual.map(|r| &r[image * outputs..]);
            pool.chunks_mut(out, share * width * channels, |i, out| {
                let rows = Rows { data, stride: rows.stride }.at_output_row(&self.conv, i * share);
                let residual = residual.map(|r| &r[i * share * width * channels..]);
                let place = Place { n: 1, height: out.len() / (width * channels), ..whole };
                part(rows, place, residual, &mut vec![0.0; self.blocks()], out);
            });
        }
    }
}

/// Which part of the output a pass makes.
#[derive(Clone, Copy)]
struct Place {
    /// Images.
    n: usize,
    /// Values from one padded image to the next.
    next_image: usize,
    /// Rows of the output of each image.
    height: usize,
    /// The first channel of the output, and the one after the last: an even number of vectors lies before the first.
    channels: (usize, usize),
}

/// Whole rows of tiles of the output, whose input tiles begin with the first of `rows`.
struct Pass<'a, E, const IN: usize, const OUT: usize> {
    packed: &'a PackedWinograd<E, IN, OUT>,
    rows: Rows<'a, E>,
    place: Place,
    /// `[point, tile, in_channels]`.
    tiles: &'a mut [E],
    /// `[point, tile, out_channels]`.
    products: &'a mut [f32],
    residual: Option<&'a [E]>,
    activation: Option<Activation>,
    out: &'a mut [E],
}

impl<E: Element, const IN: usize, const OUT: usize> Kernel for Pass<'_, E, IN, OUT> {
    const DOT: Dot = E::DOT;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let across = self.packed.conv.output[1].div_ceil(OUT);
        let an_image = self.place.height.div_ceil(OUT) * across;
        let count = self.place.n * an_image;
        // A tile's image, and where its output begins in it.
        let at =
            |tile: usize| (tile / an_image, tile % an_image / across * OUT, tile % an_image % across * OUT);
        for first in (0..count).step_by(self.packed.block) {
            let block = (count - first).min(self.packed.block);
            for t in 0..block {
                self.transform(simd, t, at(first + t));
            }
            self.multiply(simd, block);
            for t in 0..block {
                self.transform_back(simd, t, at(first + t));
            }
        }
    }
}

impl<E: Element, const IN: usize, const OUT: usize> Pass<'_, E, IN, OUT> {
    /// `B^T d B` of the tile whose output begins at (`image`, `y`, `x`).
    #[inline(always)]
    fn transform<S: Simd>(&mut self, simd: S, t: usize, (image, y, x): (usize, usize, usize)) {
        let (channels, block) = (self.packed.conv.input[2], self.packed.block);
        let first = image * self.place.next_image + y * self.rows.stride + x * channels;
        let last = first + (IN - 1) * self.rows.stride + IN * channels;
        assert!(last <= self.rows.data.len() && self.tiles.len() >= IN * IN * block * channels);
        for c in (0..channels).step_by(S::LANES) {
            // SAFETY: asserted above, for tiles of whole vectors of channels.
            unsafe {
                let from = self.rows.data.as_ptr().add(first + c);
                let mut columns = [[simd.splat(0.0); IN]; IN];
                for (j, column) in columns.iter_mut().enumerate() {
                    let d: [_; IN] =
                        std::array::from_fn(|i| E::load(simd, from.add(i * self.rows.stride + j * channels)));
                    *column = input_side(simd, d);
                }
                let to = self.tiles.as_mut_ptr().add(t * channels + c);
                for (i, row) in transposed::<S, IN, IN>(columns).into_iter().enumerate() {
                    let row = input_side(simd, row);
                    for (j, &v) in row.iter().enumerate() {
                        E::store(simd, to.add((i * IN + j) * block * channels), v);
                    }
                }
            }
        }
    }

    /// The products of the first `block` tiles.
    #[inline(always)]
    fn multiply<S: Simd>(&mut self, simd: S, block: usize) {
        let (inner, outer) = (self.packed.conv.input[2], self.packed.conv.output[2]);
        let room = self.packed.block;
        for (p, panels) in self.packed.panels.iter().enumerate() {
            let lefts = Lefts {
                first: self.tiles[p * room * inner..].as_ptr(),
                count: block,
                step: inner,
                runs: 1,
                run: inner / E::IN_WORD,
                next_run: 0,
            };
            let to = Target::plain(self.products[p * room * outer..].as_mut_ptr(), outer, outer);
            let (from, to_channel) = self.place.channels;
            for first in (from / S::LANES..to_channel / S::LANES).step_by(2) {
                // SAFETY: a point has room for the packed `block` tiles of either kind, these or more.
                unsafe { tile::multiply(simd, lefts, panels.as_ptr(), first, to, Ahead::NONE) };
            }
        }
    }

    /// `A^T m A` of tile `t`, with the epilogue, to the output pixels from (`image`, `y`, `x`) on that exist.
    #[inline(always)]
    fn transform_back<S: Simd>(&mut self, simd: S, t: usize, (image, y, x): (usize, usize, usize)) {
        let ([_, width, channels], block) = (self.packed.conv.output, self.packed.block);
        let (down, right) = ((self.place.height - y).min(OUT), (width - x).min(OUT));
        let y = image * self.place.height + y;
        let (from_channel, to_channel) = self.place.channels;
        let last = ((y + down - 1) * width + x + right) * (to_channel - from_channel);
        assert!(last <= self.out.len() && self.products.len() >= IN * IN * block * channels);
        let (low, high) = activation::range(self.activation);
        for c in (from_channel..to_channel).step_by(S::LANES) {
            // SAFETY: asserted above, for whole vectors of channels; the residual holds all channels of the output.
            unsafe {
                let from = self.products.as_ptr().add(t * channels + c);
                let bias = simd.load(self.packed.bias.as_ptr().add(c));
                let mut columns = [[simd.splat(0.0); OUT]; IN];
                for (j, column) in columns.iter_mut().enumerate() {
                    let at = |i: usize| (i * IN + j) * block * channels;
                    let m: [_; IN] = std::array::from_fn(|i| simd.load(from.add(at(i))));
                    *column = output_side(simd, m);
                }
                for (i, row) in transposed::<S, IN, OUT>(columns).into_iter().enumerate().take(down) {
                    let row: [_; OUT] = output_side(simd, row);
                    for (j, &v) in row.iter().enumerate().take(right) {
                        let pixel = (y + i) * width + x + j;
                        let mut v = simd.add(v, bias);
                        if let Some(residual) = self.residual {
                            v = simd.add(v, E::load(simd, residual.as_ptr().add(pixel * channels + c)));
                        }
                        v = simd.min(simd.splat(high), simd.max(simd.splat(low), v));
                        let at = pixel * (to_channel - from_channel) + c - from_channel;
                        E::store(simd, self.out.as_mut_ptr().add(at), v);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::draw;
    use crate::{epilogue, reference};
    use headstart_tensor::Rng;

    #[test]
    fn every_isa_agrees_with_the_plain_loops() {
        for isa in Isa::available() {
            agree::<f32, 6, 4>(isa, 2e-6);
            agree::<bf16, 4, 2>(isa, 6e-3);
        }
    }

    /// Within a relative L2 error of the plain loops, whatever the threads and the company.
    fn agree<E: Element, const IN: usize, const OUT: usize>(isa: Isa, tolerance: f64) {
        let (mut rng, pool) = (Rng::new(9), Pool::new(3));
        let rounded = |values: &[f32]| values.iter().map(|&v| E::from_f32(v)).collect::<Vec<E>>();
        let wide = |stored: &[E]| stored.iter().map(|e| e.to_f32()).collect::<Vec<f32>>();
        for (size, channels, pad) in [
            ([16, 16], (32, 48), [1, 1]),
            ([5, 30], (16, 32), [1, 1]),
            ([33, 9], (48, 16), [0, 2]),
            ([3, 3], (16, 16), [0, 0]),
        ] {
            let output = [size[0] + 2 * pad[0] - 2, size[1] + 2 * pad[1] - 2, channels.1];
            let (kernel, stride) = ([3, 3], [1, 1]);
            let conv = Conv { input: [size[0], size[1], channels.0], output, kernel, stride, pad };
            for (residual, activation) in
                [(false, None), (true, Some(Activation::Relu)), (true, Some(Activation::Relu6))]
            {
                let one: usize = conv.input.iter().product();
                let images = rounded(&draw(&mut rng, 3 * one));
                let weights = draw(&mut rng, conv.patch() * conv.output[2]);
                let bias = draw(&mut rng, conv.output[2]);
                let outputs = conv.pixels() * conv.output[2];
                let rest = residual.then(|| rounded(&draw(&mut rng, 3 * outputs)));
                let packed = PackedWinograd::<E, IN, OUT>::new(isa, conv, &weights, &bias);
                let mut scratch = vec![f32::NAN; packed.scratch(3)];
                let mut out = vec![E::from_f32(f32::NAN); 3 * outputs];
                packed.run(&Pool::single(), &images, rest.as_deref(), activation, &mut scratch, &mut out);
                let mut split = vec![E::from_f32(f32::NAN); out.len()];
                packed.run(&pool, &images, rest.as_deref(), activation, &mut scratch, &mut split);
                assert_eq!(
                    bytemuck::cast_slice::<E, u8>(&out),
                    bytemuck::cast_slice::<E, u8>(&split),
                    "the same bytes with three threads"
                );
                let mut expected: Vec<f32> = wide(&images)
                    .chunks(one)
                    .flat_map(|image| reference::conv2d(&conv, image, &weights))
                    .collect();
                epilogue(&mut expected, &bias, rest.map(|r| wide(&r)).as_deref(), activation);
                let square = |v: f32| f64::from(v) * f64::from(v);
                let norm: f64 = expected.iter().map(|&e| square(e)).sum();
                let apart: f64 = wide(&out).iter().zip(&expected).map(|(&f, &e)| square(f - e)).sum();
                assert!((apart / norm).sqrt() < tolerance, "{isa} {conv:?}: {:e}", (apart / norm).sqrt());
            }
        }
    }
}
