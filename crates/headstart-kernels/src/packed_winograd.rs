//! 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3) (Lavin and Gray 2016): 36 products where the direct way has 144.
//!
//! With `d` a 6x6 input tile, `g` the kernel: `Y = A^T [ (G g G^T) * (B^T d B) ] A`. Weights are transformed once, in
//! f64. Tiles are taken in blocks: transform, 36 matrix products over channels, transform back with the epilogue.
//! Against f64 the error is some times that of the direct way, relative L2 about 1e-6.
#![allow(unsafe_code)]

use crate::aligned::Aligned;
use crate::padded::Rows;
use crate::simd::{self, Kernel, Simd};
use crate::tile::{self, Lefts, Target};
use crate::{Activation, Conv, Isa, Pool, padded};

/// Pixels of an input tile's side, and of an output tile's.
const IN: usize = 6;
const OUT: usize = 4;
/// Products of a tile.
const POINTS: usize = IN * IN;
/// Tiles of a block: the transformed tiles of a block and the weights of a point stay in the second-level cache.
const BLOCK: usize = 2 * tile::MOST_ROWS;

const G: [[f64; 3]; IN] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// A 3x3 convolution of stride 1 with its weights transformed and packed for one instruction set.
#[derive(Debug, Clone)]
pub struct PackedWinograd {
    conv: Conv,
    /// The convolution that the padded image is made for: whole tiles, also over the edge.
    whole: Conv,
    isa: Isa,
    /// For each point the panels of `[in_channels, out_channels]`.
    panels: Vec<Aligned>,
    bias: Aligned,
}

impl PackedWinograd {
    /// Whether this way can compute `conv` with the vectors of `isa`, and is the faster one.
    pub fn suits(isa: Isa, conv: &Conv) -> bool {
        let tiles: usize = conv.output[..2].iter().map(|n| n.div_ceil(OUT)).product();
        // Below a block the transformed weights, four times the original ones, are read for too few tiles.
        let channels = |n: usize| n.is_multiple_of(simd::lanes(isa)) && n >= 32;
        conv.kernel == [3, 3]
            && conv.stride == [1, 1]
            && tiles >= 16
            && channels(conv.input[2])
            && channels(conv.output[2])
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
            let (row, column) = (G[p / IN], G[p % IN]);
            let tap = |t: usize| f64::from(weights[(t * inner + i) * outer + o]) * row[t / 3] * column[t % 3];
            (0..9).map(tap).sum::<f64>() as f32
        };
        let tiles = |n: usize| n.div_ceil(OUT) * OUT;
        let whole = Conv { output: [tiles(conv.output[0]), tiles(conv.output[1]), outer], ..conv };
        PackedWinograd {
            conv,
            whole,
            isa,
            panels: (0..POINTS).map(|p| tile::pack(isa, inner, outer, |i, o| point(p, i, o))).collect(),
            bias: tile::pack(isa, 1, outer, |_, o| bias[o]),
        }
    }

    /// Values of scratch that [`PackedWinograd::run`] wants.
    pub fn scratch(&self) -> usize {
        padded::scratch(&self.whole) + self.blocks()
    }

    /// Values of a block's transformed tiles and products.
    fn blocks(&self) -> usize {
        POINTS * BLOCK * (self.conv.input[2] + self.conv.output[2])
    }

    /// `out = activation(image * weights + bias + residual)`, the rows of tiles spread over `pool`; the bytes do not
    /// depend on it.
    ///
    /// # Panics
    /// Where a slice has another size than the convolution says.
    pub fn run(
        &self,
        pool: &Pool,
        image: &[f32],
        residual: Option<&[f32]>,
        activation: Option<Activation>,
        scratch: &mut [f32],
        out: &mut [f32],
    ) {
        let [height, width, channels] = self.conv.output;
        let outputs = height * width * channels;
        assert_eq!(image.len(), self.conv.input.iter().product::<usize>(), "the image of a convolution");
        assert!(
            out.len() == outputs && residual.is_none_or(|r| r.len() == outputs),
            "the output of a convolution"
        );
        let (blocks, copy) = scratch.split_at_mut(self.blocks());
        let rows = padded::padded(&self.whole, image, copy);
        let share = height.div_ceil(OUT).div_ceil(pool.threads()) * OUT;
        let part = |first: usize, blocks: &mut [f32], out: &mut [f32]| {
            let residual = residual.map(|r| &r[first * width * channels..]);
            let rows = rows.at_output_row(&self.conv, first);
            let (tiles, products) = blocks.split_at_mut(POINTS * BLOCK * self.conv.input[2]);
            let height = out.len() / (width * channels);
            simd::run(
                self.isa,
                Pass { packed: self, rows, height, tiles, products, residual, activation, out },
            );
        };
        if pool.threads() == 1 {
            return part(0, blocks, out);
        }
        pool.chunks_mut(out, share * width * channels, |i, out| {
            part(i * share, &mut vec![0.0; self.blocks()], out)
        });
    }
}

/// Whole rows of tiles of the output, whose input tiles begin with the first of `rows`.
struct Pass<'a> {
    packed: &'a PackedWinograd,
    rows: Rows<'a>,
    height: usize,
    /// `[point, tile, in_channels]`.
    tiles: &'a mut [f32],
    /// `[point, tile, out_channels]`.
    products: &'a mut [f32],
    residual: Option<&'a [f32]>,
    activation: Option<Activation>,
    out: &'a mut [f32],
}

impl Kernel for Pass<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let across = self.packed.conv.output[1].div_ceil(OUT);
        let count = self.height.div_ceil(OUT) * across;
        for first in (0..count).step_by(BLOCK) {
            let block = (count - first).min(BLOCK);
            for t in 0..block {
                self.transform(simd, t, (first + t) / across * OUT, (first + t) % across * OUT);
            }
            self.multiply(simd, block);
            for t in 0..block {
                self.transform_back(simd, t, (first + t) / across * OUT, (first + t) % across * OUT);
            }
        }
    }
}

impl Pass<'_> {
    /// `B^T d B` of the tile whose output begins at (`y`, `x`).
    #[inline(always)]
    fn transform<S: Simd>(&mut self, simd: S, t: usize, y: usize, x: usize) {
        let channels = self.packed.conv.input[2];
        let first = y * self.rows.stride + x * channels;
        let last = first + (IN - 1) * self.rows.stride + IN * channels;
        assert!(last <= self.rows.data.len() && self.tiles.len() >= POINTS * BLOCK * channels);
        for c in (0..channels).step_by(S::LANES) {
            // SAFETY: asserted above, for tiles of whole vectors of channels.
            unsafe {
                let from = self.rows.data.as_ptr().add(first + c);
                let mut columns = [[simd.splat(0.0); IN]; IN];
                for (j, column) in columns.iter_mut().enumerate() {
                    let d = std::array::from_fn(|i| simd.load(from.add(i * self.rows.stride + j * channels)));
                    *column = input_side(simd, d);
                }
                let to = self.tiles.as_mut_ptr().add(t * channels + c);
                for (i, row) in transposed::<S, IN, IN>(columns).into_iter().enumerate() {
                    let row = input_side(simd, row);
                    for (j, &v) in row.iter().enumerate() {
                        simd.store(to.add((i * IN + j) * BLOCK * channels), v);
                    }
                }
            }
        }
    }

    /// The 36 products of the first `block` tiles.
    #[inline(always)]
    fn multiply<S: Simd>(&mut self, simd: S, block: usize) {
        let (inner, outer) = (self.packed.conv.input[2], self.packed.conv.output[2]);
        for (p, panels) in self.packed.panels.iter().enumerate() {
            let lefts = Lefts {
                first: self.tiles[p * BLOCK * inner..].as_ptr(),
                count: block,
                step: inner,
                runs: 1,
                run: inner,
                next_run: 0,
            };
            let to = Target {
                bias: None,
                residual: None,
                activation: None,
                out: self.products[p * BLOCK * outer..].as_mut_ptr(),
                stride: outer,
                columns: outer,
            };
            for first in (0..outer / S::LANES).step_by(2) {
                // SAFETY: a point has `BLOCK` tiles of either kind, `block` of them or more.
                unsafe { tile::multiply(simd, lefts, panels.as_ptr(), first, to) };
            }
        }
    }

    /// `A^T m A` of tile `t`, with the epilogue, to the output pixels from (`y`, `x`) on that exist.
    #[inline(always)]
    fn transform_back<S: Simd>(&mut self, simd: S, t: usize, y: usize, x: usize) {
        let [_, width, channels] = self.packed.conv.output;
        let (down, right) = ((self.height - y).min(OUT), (width - x).min(OUT));
        let last = ((y + down - 1) * width + x + right) * channels;
        assert!(last <= self.out.len() && self.products.len() >= POINTS * BLOCK * channels);
        let (low, high) = match self.activation {
            None => (f32::NEG_INFINITY, f32::INFINITY),
            Some(Activation::Relu) => (0.0, f32::INFINITY),
            Some(Activation::Relu6) => (0.0, 6.0),
        };
        for c in (0..channels).step_by(S::LANES) {
            // SAFETY: asserted above, for whole vectors of channels; the residual is as long as the output.
            unsafe {
                let from = self.products.as_ptr().add(t * channels + c);
                let bias = simd.load(self.packed.bias.as_ptr().add(c));
                let mut columns = [[simd.splat(0.0); OUT]; IN];
                for (j, column) in columns.iter_mut().enumerate() {
                    let m = std::array::from_fn(|i| simd.load(from.add((i * IN + j) * BLOCK * channels)));
                    *column = output_side(simd, m);
                }
                for (i, row) in transposed::<S, IN, OUT>(columns).into_iter().enumerate().take(down) {
                    let row = output_side(simd, row);
                    for (j, &v) in row.iter().enumerate().take(right) {
                        let at = ((y + i) * width + x + j) * channels + c;
                        let mut v = simd.add(v, bias);
                        if let Some(residual) = self.residual {
                            v = simd.add(v, simd.load(residual.as_ptr().add(at)));
                        }
                        v = simd.min(simd.splat(high), simd.max(simd.splat(low), v));
                        simd.store(self.out.as_mut_ptr().add(at), v);
                    }
                }
            }
        }
    }
}

/// Rows of `M` vectors from `N` of their columns.
#[inline(always)]
fn transposed<S: Simd, const N: usize, const M: usize>(columns: [[S::V; M]; N]) -> [[S::V; N]; M] {
    std::array::from_fn(|i| std::array::from_fn(|j| columns[j][i]))
}

/// `B^T d`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn input_side<S: Simd>(s: S, d: [S::V; IN]) -> [S::V; IN] {
    // SAFETY: the caller's contract.
    unsafe {
        let [four, minus_four, minus_five] = [s.splat(4.0), s.splat(-4.0), s.splat(-5.0)];
        let [two, minus_one] = [s.splat(2.0), s.splat(-1.0)];
        let (a, b) = (s.fma(minus_four, d[2], d[4]), s.fma(minus_four, d[1], d[3]));
        let (c, e) = (s.fma(minus_one, d[2], d[4]), s.fma(minus_one, d[1], d[3]));
        [
            s.fma(four, d[0], s.fma(minus_five, d[2], d[4])),
            s.add(a, b),
            s.fma(minus_one, b, a),
            s.fma(two, e, c),
            s.fma(s.splat(-2.0), e, c),
            s.fma(four, d[1], s.fma(minus_five, d[3], d[5])),
        ]
    }
}

/// `A^T m`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn output_side<S: Simd>(s: S, m: [S::V; IN]) -> [S::V; OUT] {
    // SAFETY: the caller's contract.
    unsafe {
        let minus_one = s.splat(-1.0);
        let (a, b) = (s.add(m[1], m[2]), s.fma(minus_one, m[2], m[1]));
        let (c, e) = (s.add(m[3], m[4]), s.fma(minus_one, m[4], m[3]));
        [
            s.add(m[0], s.add(a, c)),
            s.fma(s.splat(2.0), e, b),
            s.fma(s.splat(4.0), c, a),
            s.add(s.fma(s.splat(8.0), e, b), m[5]),
        ]
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
        let (mut rng, pool) = (Rng::new(9), Pool::new(3));
        for isa in Isa::available() {
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
                    let image = draw(&mut rng, conv.input.iter().product());
                    let weights = draw(&mut rng, conv.patch() * conv.output[2]);
                    let bias = draw(&mut rng, conv.output[2]);
                    let rest = residual.then(|| draw(&mut rng, conv.pixels() * conv.output[2]));
                    let packed = PackedWinograd::new(isa, conv, &weights, &bias);
                    let mut scratch = vec![f32::NAN; packed.scratch()];
                    let mut out = vec![f32::NAN; conv.pixels() * conv.output[2]];
                    packed.run(&Pool::single(), &image, rest.as_deref(), activation, &mut scratch, &mut out);
                    let mut split = vec![f32::NAN; out.len()];
                    packed.run(&pool, &image, rest.as_deref(), activation, &mut scratch, &mut split);
                    assert_eq!(out, split, "the same bytes with three threads");
                    let mut expected = reference::conv2d(&conv, &image, &weights);
                    epilogue(&mut expected, &bias, rest.as_deref(), activation);
                    let square = |v: f32| f64::from(v) * f64::from(v);
                    let norm: f64 = expected.iter().map(|&e| square(e)).sum();
                    let apart: f64 = out.iter().zip(&expected).map(|(&f, &e)| square(f - e)).sum();
                    assert!((apart / norm).sqrt() < 2e-6, "{isa} {conv:?}: {:e}", (apart / norm).sqrt());
                }
            }
        }
    }
}
