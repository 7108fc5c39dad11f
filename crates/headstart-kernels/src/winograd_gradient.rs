//! The weight gradient of a 3x3 convolution of stride 1 in Winograd's domain: the transpose of F(4x4, 3x3).
//!
//! With `d` a 6x6 input tile and `e` the gradient of its 4x4 output tile: `dg = G^T [sum (A e A^T) * (B^T d B)] G`, the
//! sum over all tiles of all images: 36 products where the direct way has 144. Tiles are transformed in chunks that
//! stay in cache, points are spread over threads. The order of a sum is that of the tiles, whatever the threads.
#![allow(unsafe_code)]

use crate::outer::{Outer, Strip};
use crate::packed_winograd::{input_side, transposed};
use crate::simd::{self, Kernel, Simd};
use crate::{Conv, Isa, Pool, Spare};

/// Pixels of an input tile's side, and of an output tile's; products of a tile.
const IN: usize = 6;
const OUT: usize = 4;
const POINTS: usize = IN * IN;
/// Tiles of a unit of work, about: some rows of tiles of one image.
const UNIT: usize = 56;
/// Values of transformed tiles that are kept at once, about.
const CHUNK: usize = 5 << 20;
/// Weights of a kernel.
const TAPS: usize = 9;

/// Units of rows of tiles.
#[derive(Clone, Copy)]
struct Units {
    conv: Conv,
    /// Tiles of a row.
    across: usize,
    /// Rows of tiles of an image, and of a unit.
    down: usize,
    rows: usize,
}

impl Units {
    fn of(conv: Conv) -> Units {
        let (down, across) = (conv.output[0].div_ceil(OUT), conv.output[1].div_ceil(OUT));
        let rows = (UNIT / across).clamp(1, down);
        Units { conv, across, down, rows }
    }

    fn an_image(&self) -> usize {
        self.down.div_ceil(self.rows)
    }

    /// Room for tiles.
    fn tiles(&self) -> usize {
        self.rows * self.across
    }

    /// Values of a unit: `[point, tile, in]`, then `[point, tile, out]`.
    fn len(&self) -> usize {
        POINTS * self.tiles() * (self.conv.input[2] + self.conv.output[2])
    }

    /// The image of unit `u`, its first row of tiles and the one after its last.
    fn place(&self, u: usize) -> (usize, usize, usize) {
        let first = u % self.an_image() * self.rows;
        (u / self.an_image(), first, self.down.min(first + self.rows))
    }
}

/// The gradient of the weights, in the checkpoint's layout `[out, in, 3, 3]`, over images `[h, w, in]` and the
/// gradients of their outputs `[oh, ow, out]`. The bytes do not depend on the threads.
///
/// # Panics
/// Where a slice has another size than the convolution says, or it is not 3x3 of stride 1 over whole vectors.
pub fn winograd_weight_gradient(
    isa: Isa,
    pool: &Pool,
    spare: &Spare,
    conv: &Conv,
    images: &[f32],
    out_gradients: &[f32],
    gradient: &mut [f32],
) {
    let (inner, outer, lanes) = (conv.input[2], conv.output[2], simd::lanes(isa));
    let (one, outputs) = (conv.input.iter().product::<usize>(), conv.output.iter().product::<usize>());
    let n = images.len() / one;
    assert!(conv.kernel == [3, 3] && conv.stride == [1, 1], "a 3x3 convolution of stride 1");
    assert!(inner.is_multiple_of(lanes) && outer.is_multiple_of(lanes), "whole vectors of channels");
    conv.expect_sizes(n, images, None, out_gradients);
    assert_eq!(gradient.len(), TAPS * inner * outer, "the gradient of the weights");
    let units = Units::of(*conv);
    let all = n * units.an_image();
    let chunks = all.div_ceil((CHUNK / units.len()).max(1)).max(1);
    let a_chunk = all.div_ceil(chunks).max(1);
    let mut tiles = spare.take(a_chunk * units.len());
    let mut sums = spare.take(POINTS * inner * outer);
    if all == 0 {
        sums.fill(0.0);
    }
    for first in (0..all).step_by(a_chunk) {
        let count = a_chunk.min(all - first);
        pool.chunks_mut(&mut tiles[..count * units.len()], units.len(), |i, to| {
            let (image, from, until) = units.place(first + i);
            let (x, e) = to.split_at_mut(POINTS * units.tiles() * inner);
            let image_x = &images[image * one..(image + 1) * one];
            let image_e = &out_gradients[image * outputs..(image + 1) * outputs];
            simd::run(isa, Transform { units, from, until, image: image_x, to: x, outer: false });
            simd::run(isa, Transform { units, from, until, image: image_e, to: e, outer: true });
        });
        let tiles = &tiles[..count * units.len()];
        pool.chunks_mut(&mut sums, inner * outer, |point, sums| {
            simd::run(isa, Products { units, first, tiles, point, fresh: first == 0, sums });
        });
    }
    pool.chunks_mut(gradient, lanes * inner * TAPS, |i, gradient| {
        simd::run(isa, Back { sums: &sums, inner, outer, first: i * lanes, gradient });
    });
    spare.give(tiles);
    spare.give(sums);
}

/// The tiles of a unit, transformed: `B^T d B` of an image or `A e A^T` of an output's gradient (`outer`).
struct Transform<'a> {
    units: Units,
    from: usize,
    until: usize,
    image: &'a [f32],
    /// `[point, tile, channels]`.
    to: &'a mut [f32],
    outer: bool,
}

impl Kernel for Transform<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let conv = &self.units.conv;
        let next_point = |channels: usize| self.units.tiles() * channels;
        for (t, (row, column)) in
            (self.from..self.until).flat_map(|r| (0..self.units.across).map(move |c| (r, c))).enumerate()
        {
            // SAFETY: `Tile` looks at pixels inside the image alone, and every point has room for the tile.
            unsafe {
                if self.outer {
                    let ([height, width, channels], at) = (conv.output, [row * OUT, column * OUT]);
                    let to = self.to.as_mut_ptr().add(t * channels);
                    let tile = Tile {
                        image: self.image,
                        height,
                        width,
                        channels,
                        top: at[0] as isize,
                        left: at[1] as isize,
                    };
                    tile.transform::<S, OUT>(simd, |d| outer_side(simd, d), to, next_point(channels));
                } else {
                    let [height, width, channels] = conv.input;
                    let top = (row * OUT) as isize - conv.pad[0] as isize;
                    let left = (column * OUT) as isize - conv.pad[1] as isize;
                    let to = self.to.as_mut_ptr().add(t * channels);
                    let tile = Tile { image: self.image, height, width, channels, top, left };
                    tile.transform::<S, IN>(simd, |d| input_side(simd, d), to, next_point(channels));
                }
            }
        }
    }
}

/// A square of pixels of an image, zeros outside of it.
struct Tile<'a> {
    image: &'a [f32],
    height: usize,
    width: usize,
    channels: usize,
    top: isize,
    left: isize,
}

impl Tile<'_> {
    /// `side` over the columns of the `N` by `N` pixels, then over its rows, to `to[point * next_point]`.
    ///
    /// # Safety
    /// `to` has room for the channels, whole vectors, of each point.
    #[inline(always)]
    unsafe fn transform<S: Simd, const N: usize>(
        &self,
        simd: S,
        side: impl Fn([S::V; N]) -> [S::V; IN],
        to: *mut f32,
        next_point: usize,
    ) {
        // The pixels inside the image.
        let clip = |first: isize, extent: usize| {
            let low = (-first).clamp(0, N as isize) as usize;
            (low, (extent as isize - first).clamp(low as isize, N as isize) as usize)
        };
        let ((y0, y1), (x0, x1)) = (clip(self.top, self.height), clip(self.left, self.width));
        let whole = (y0, y1, x0, x1) == (0, N, 0, N);
        let offset = (self.top * self.width as isize + self.left) * self.channels as isize;
        for c in (0..self.channels).step_by(S::LANES) {
            // SAFETY: pixels inside the image alone are loaded; the caller's contract for the rest.
            unsafe {
                let from = self.image.as_ptr().wrapping_offset(offset).wrapping_add(c);
                let at = |i: usize, j: usize| from.wrapping_add((i * self.width + j) * self.channels);
                let mut columns = [[simd.splat(0.0); IN]; N];
                if whole {
                    for (j, column) in columns.iter_mut().enumerate() {
                        *column = side(std::array::from_fn(|i| simd.load(at(i, j))));
                    }
                } else {
                    for (j, column) in columns.iter_mut().enumerate() {
                        let inside = |i: usize| i >= y0 && i < y1 && j >= x0 && j < x1;
                        let pixel = |i: usize| if inside(i) { simd.load(at(i, j)) } else { simd.splat(0.0) };
                        *column = side(std::array::from_fn(pixel));
                    }
                }
                for (i, row) in transposed::<S, N, IN>(columns).into_iter().enumerate() {
                    for (j, &v) in side(row).iter().enumerate() {
                        simd.store(to.add((i * IN + j) * next_point + c), v);
                    }
                }
            }
        }
    }
}

/// `sums[in, out]` of one point over the tiles of a chunk.
struct Products<'a> {
    units: Units,
    /// The chunk's first unit.
    first: usize,
    tiles: &'a [f32],
    point: usize,
    fresh: bool,
    sums: &'a mut [f32],
}

impl Kernel for Products<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (inner, outer) = (self.units.conv.input[2], self.units.conv.output[2]);
        let (room, len) = (self.units.tiles(), self.units.len());
        let (x, y) = (self.point * room * inner, POINTS * room * inner + self.point * room * outer);
        for c in (0..outer).step_by(2 * S::LANES) {
            let second = (c + S::LANES < outer).then_some(S::LANES);
            let product = Outer {
                strips: self.tiles.len() / len,
                x_step: inner,
                y_step: outer,
                rows: inner,
                second,
                sums: self.sums[c..].as_mut_ptr(),
                stride: outer,
                fresh: self.fresh,
            };
            let strip = |u: usize| {
                let (_, from, until) = self.units.place(self.first + u);
                let unit = self.tiles[u * len..].as_ptr();
                let count = (until - from) * self.units.across;
                Strip { x: unit.wrapping_add(x), y: unit.wrapping_add(y + c), count }
            };
            // SAFETY: a unit holds `in` and `out` channels, whole vectors, of each of its tiles, and the sums a row of
            // whole vectors of `out` for each `in`.
            unsafe { product.add(simd, strip) };
        }
    }
}

/// `G^T m G` of the output channels from `first` on, a vector of them.
struct Back<'a> {
    /// `[point, in, out]`.
    sums: &'a [f32],
    inner: usize,
    outer: usize,
    first: usize,
    /// `[out, in, tap]` of those channels.
    gradient: &'a mut [f32],
}

impl Kernel for Back<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut taps = [0.0f32; TAPS * 16];
        for i in 0..self.inner {
            // SAFETY: every point has whole vectors of `out` for each `in`; `taps` holds nine vectors.
            unsafe {
                let from = self.sums.as_ptr().add(i * self.outer + self.first);
                let mut columns = [[simd.splat(0.0); 3]; IN];
                for (j, column) in columns.iter_mut().enumerate() {
                    let m = |i: usize| simd.load(from.add((i * IN + j) * self.inner * self.outer));
                    *column = kernel_side(simd, std::array::from_fn(m));
                }
                for (row, m) in transposed::<S, IN, 3>(columns).into_iter().enumerate() {
                    for (column, &g) in kernel_side(simd, m).iter().enumerate() {
                        simd.store(taps.as_mut_ptr().add((row * 3 + column) * S::LANES), g);
                    }
                }
            }
            for lane in 0..S::LANES {
                let to = &mut self.gradient[(lane * self.inner + i) * TAPS..][..TAPS];
                for (t, g) in to.iter_mut().enumerate() {
                    *g = taps[t * S::LANES + lane];
                }
            }
        }
    }
}

/// `A e`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn outer_side<S: Simd>(s: S, e: [S::V; OUT]) -> [S::V; IN] {
    // SAFETY: the caller's contract.
    unsafe {
        let (even, odd) = (s.add(e[0], e[2]), s.add(e[1], e[3]));
        let wide = s.fma(s.splat(4.0), e[2], e[0]);
        let far = s.fma(s.splat(4.0), e[3], e[1]);
        [
            e[0],
            s.add(even, odd),
            s.fma(s.splat(-1.0), odd, even),
            s.fma(s.splat(2.0), far, wide),
            s.fma(s.splat(-2.0), far, wide),
            e[3],
        ]
    }
}

/// `G^T m`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn kernel_side<S: Simd>(s: S, m: [S::V; IN]) -> [S::V; 3] {
    // SAFETY: the caller's contract.
    unsafe {
        let minus = s.splat(-1.0);
        let times = |f: f32, v: S::V| s.fma(s.splat(f), v, s.splat(0.0));
        let (sum, difference) = (s.add(m[1], m[2]), s.fma(minus, m[1], m[2]));
        let (far_sum, far_difference) = (s.add(m[3], m[4]), s.fma(minus, m[4], m[3]));
        let near = s.splat(-1.0 / 6.0);
        [
            s.fma(s.splat(0.25), m[0], s.fma(near, sum, times(1.0 / 24.0, far_sum))),
            s.fma(s.splat(1.0 / 6.0), difference, times(1.0 / 12.0, far_difference)),
            s.fma(near, sum, s.fma(s.splat(1.0 / 6.0), far_sum, m[5])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::draw;
    use crate::reference;
    use headstart_tensor::Rng;

    #[test]
    fn every_isa_agrees_with_the_plain_loops_for_any_number_of_threads() {
        let mut rng = Rng::new(13);
        let spare = Spare::new();
        for isa in Isa::available() {
            for (n, size, channels, pad) in [
                (3, [8, 9], (48, 32), [1, 1]),
                (2, [70, 61], (16, 32), [1, 1]),
                (5, [7, 7], (32, 48), [0, 2]),
                (1, [3, 3], (16, 16), [1, 1]),
            ] {
                let (inner, outer) = channels;
                let output = [size[0] + 2 * pad[0] - 2, size[1] + 2 * pad[1] - 2, outer];
                let (kernel, stride) = ([3, 3], [1, 1]);
                let conv = Conv { input: [size[0], size[1], inner], output, kernel, stride, pad };
                let (one, outputs) =
                    (conv.input.iter().product::<usize>(), conv.output.iter().product::<usize>());
                let (images, gradients) = (draw(&mut rng, n * one), draw(&mut rng, n * outputs));
                let mut plain = vec![0.0; 9 * inner * outer];
                for (x, e) in images.chunks(one).zip(gradients.chunks(outputs)) {
                    reference::conv2d_weight_gradient(&conv, x, e, &mut plain);
                }
                let mut all = Vec::new();
                for threads in [1, 3] {
                    let mut found = vec![f32::NAN; plain.len()];
                    winograd_weight_gradient(
                        isa,
                        &Pool::new(threads),
                        &spare,
                        &conv,
                        &images,
                        &gradients,
                        &mut found,
                    );
                    let (mut apart, mut norm) = (0.0, 0.0);
                    for (at, &f) in found.iter().enumerate() {
                        let (o, i, t) = (at / 9 / inner, at / 9 % inner, at % 9);
                        let e = f64::from(plain[(t * inner + i) * outer + o]);
                        apart += (f64::from(f) - e).powi(2);
                        norm += e * e;
                    }
                    let apart = (apart / norm).sqrt();
                    assert!(apart < 1e-5, "{isa} {conv:?}: {apart:e}");
                    all.push(found);
                }
                assert_eq!(all[0], all[1], "the same bytes with three threads");
            }
        }
    }
}
