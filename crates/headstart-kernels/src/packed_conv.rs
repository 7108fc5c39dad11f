//! Dense convolution and matrix product for inference: weights packed once, bias, residual and activation fused.
//!
//! In an NHWC image a row of a patch is one run of `kernel_w * channels` values, so a patch is `kernel_h` runs and a
//! pointwise convolution one. A register tile is up to 14 output pixels by two vectors of output channels; its
//! weights, a panel `[patch, 2 * lanes]`, stay in the first-level cache while all pixels pass.
#![allow(unsafe_code)]

use crate::aligned::Aligned;
use crate::padded::{self, Rows};
use crate::simd::{self, Kernel, Simd};
use crate::{Activation, Conv, Isa, Pool};

/// The most pixels of a tile, and the most lanes of a vector, of any instruction set.
const MOST_PIXELS: usize = 14;
const MOST_LANES: usize = 16;

/// A dense convolution with its weights packed for one instruction set.
#[derive(Debug, Clone)]
pub struct PackedConv {
    conv: Conv,
    isa: Isa,
    /// Panels `[patch, width]` one after the other; the last may be one vector wide.
    panels: Aligned,
    /// A bias for each packed channel.
    bias: Aligned,
}

impl PackedConv {
    /// Packs `weights` `[patch, out_channels]` and `bias` `[out_channels]`.
    ///
    /// # Panics
    /// Where they have other sizes.
    pub fn new(isa: Isa, conv: Conv, weights: &[f32], bias: &[f32]) -> Self {
        let (patch, channels, lanes) = (conv.patch(), conv.output[2], simd::lanes(isa));
        assert_eq!(
            (weights.len(), bias.len()),
            (patch * channels, channels),
            "weights and bias of a convolution"
        );
        let vectors = channels.div_ceil(lanes);
        let mut panels = Aligned::zeros(patch * vectors * lanes);
        let mut packed_bias = Aligned::zeros(vectors * lanes);
        packed_bias[..channels].copy_from_slice(bias);
        for first in (0..vectors).step_by(2) {
            let width = (vectors - first).min(2) * lanes;
            let from = first * lanes;
            let columns = (channels - from).min(width);
            let panel = &mut panels[from * patch..from * patch + patch * width];
            for (packed, row) in panel.chunks_exact_mut(width).zip(weights.chunks_exact(channels)) {
                packed[..columns].copy_from_slice(&row[from..from + columns]);
            }
        }
        PackedConv { conv, isa, panels, bias: packed_bias }
    }

    /// A matrix product as the convolution it is: features `[in]` to `[out]`, weights `[in, out]`.
    ///
    /// # Panics
    /// As [`PackedConv::new`].
    pub fn linear(isa: Isa, weights: &[f32], bias: &[f32]) -> Self {
        let inner = weights.len() / bias.len().max(1);
        let (kernel, stride, pad) = ([1, 1], [1, 1], [0, 0]);
        let conv = Conv { input: [1, 1, inner], output: [1, 1, bias.len()], kernel, stride, pad };
        PackedConv::new(isa, conv, weights, bias)
    }

    /// Values of scratch that [`PackedConv::run`] wants.
    pub fn scratch(&self) -> usize {
        padded::scratch(&self.conv)
    }

    /// `out = activation(image * weights + bias + residual)`, the rows of the output spread over `pool`; the bytes do
    /// not depend on it.
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
        let conv = &self.conv;
        let outputs = conv.pixels() * conv.output[2];
        assert_eq!(image.len(), conv.input.iter().product::<usize>(), "the image of a convolution");
        assert!(
            out.len() == outputs && residual.is_none_or(|r| r.len() == outputs),
            "the output of a convolution"
        );
        let rows = padded::padded(conv, image, scratch);
        let [height, width, channels] = conv.output;
        // All pixels of a pointwise convolution are one long row.
        let one_row = conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.input[..2] == conv.output[..2];
        let share = match one_row {
            true => (height * width).div_ceil(pool.threads()).next_multiple_of(MOST_PIXELS),
            false => height.div_ceil(pool.threads()) * width,
        };
        pool.chunks_mut(out, share * channels, |i, out| {
            let (first, pixels) = (i * share, out.len() / channels);
            let rows = match one_row {
                true => Rows { data: &rows.data[first * conv.input[2]..], stride: rows.stride },
                false => rows.at_output_row(conv, first / width),
            };
            let (height, width) = if one_row { (1, pixels) } else { (pixels / width, width) };
            let residual = residual.map(|r| &r[first * channels..]);
            simd::run(self.isa, Pass { packed: self, rows, height, width, residual, activation, out });
        });
    }
}

/// A part of the output: `height` rows of `width` pixels whose patches begin with the first of `rows`.
struct Pass<'a> {
    packed: &'a PackedConv,
    rows: Rows<'a>,
    height: usize,
    width: usize,
    residual: Option<&'a [f32]>,
    activation: Option<Activation>,
    out: &'a mut [f32],
}

/// A tile's place: its first patch, and how its patches lie.
#[derive(Clone, Copy)]
struct Patches {
    first: *const f32,
    /// From one pixel's patch to the next.
    step: usize,
    /// From one run of a patch to the next.
    row: usize,
    runs: usize,
    run: usize,
}

impl Kernel for Pass<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let conv = &self.packed.conv;
        let [_, _, channels] = conv.input;
        let (height, width) = (self.height, self.width);
        let step = conv.stride[1] * channels;
        let (runs, run) = (conv.kernel[0], conv.kernel[1] * channels);
        let reach = (conv.kernel[0] - 1) * self.rows.stride + run;
        let last =
            (height.max(1) - 1) * conv.stride[0] * self.rows.stride + (width.max(1) - 1) * step + reach;
        assert!(height * width == 0 || last <= self.rows.data.len(), "the patches lie inside the image");
        let vectors = self.packed.bias.len() / S::LANES;
        for first in (0..vectors).step_by(2) {
            let wide = vectors - first > 1;
            let panel = &self.packed.panels[first * S::LANES * conv.patch()..];
            let bias = &self.packed.bias[first * S::LANES..];
            for y in 0..height {
                let mut x = 0;
                while x < width {
                    let (size, start) = next_tile(S::TILES, x, width);
                    let offset = y * conv.stride[0] * self.rows.stride + start * step;
                    let patches = Patches {
                        first: self.rows.data[offset..].as_ptr(),
                        step,
                        row: self.rows.stride,
                        runs,
                        run,
                    };
                    let pixel = y * width + start;
                    let channel = first * S::LANES;
                    let count = (conv.output[2] - channel).min(2 * S::LANES);
                    let at = pixel * conv.output[2] + channel;
                    let residual = self.residual.map(|r| r[at..].as_ptr());
                    let end = Epilogue {
                        bias: bias.as_ptr(),
                        residual,
                        activation: self.activation,
                        out: self.out[at..].as_mut_ptr(),
                        stride: conv.output[2],
                        count,
                    };
                    let panel = panel.as_ptr();
                    // SAFETY: the patches were asserted to lie inside the image; panel and bias hold `patch` rows
                    // of one or two vectors from here on; the tile's pixels and channels are inside `out`.
                    unsafe {
                        match (size, wide) {
                            (14, true) => tile::<S, 14, 2>(simd, patches, panel, end),
                            (14, false) => tile::<S, 14, 1>(simd, patches, panel, end),
                            (7, true) => tile::<S, 7, 2>(simd, patches, panel, end),
                            (7, false) => tile::<S, 7, 1>(simd, patches, panel, end),
                            (6, true) => tile::<S, 6, 2>(simd, patches, panel, end),
                            (6, false) => tile::<S, 6, 1>(simd, patches, panel, end),
                            (4, true) => tile::<S, 4, 2>(simd, patches, panel, end),
                            (4, false) => tile::<S, 4, 1>(simd, patches, panel, end),
                            (2, true) => tile::<S, 2, 2>(simd, patches, panel, end),
                            (2, false) => tile::<S, 2, 1>(simd, patches, panel, end),
                            (_, true) => tile::<S, 1, 2>(simd, patches, panel, end),
                            (_, false) => tile::<S, 1, 1>(simd, patches, panel, end),
                        }
                    }
                    x = start + size;
                }
            }
        }
    }
}

/// The next tile of a row: its size and its first pixel. Where the rest is no tile's size, a tile reaches back
/// over pixels that are done already and computes them again.
#[inline(always)]
fn next_tile(tiles: &[usize], x: usize, width: usize) -> (usize, usize) {
    let rest = width - x;
    let fits = tiles.iter().copied().filter(|&t| t <= width);
    let size = if rest >= tiles[0] { tiles[0] } else { fits.filter(|&t| t >= rest).min().unwrap_or(0) };
    // Narrower than the next larger tile: the largest that fits, and the rest after it.
    let size = if size == 0 { tiles.iter().copied().find(|&t| t <= rest).unwrap_or(1) } else { size };
    (size, x.min(width - size))
}

struct Epilogue {
    bias: *const f32,
    residual: Option<*const f32>,
    activation: Option<Activation>,
    out: *mut f32,
    /// From one pixel of the output to the next.
    stride: usize,
    /// Channels of the output that this tile has, at most two vectors.
    count: usize,
}

/// `M` pixels by `N` vectors of output channels.
///
/// # Safety
/// Patches, panel (`runs * run` rows of `N` vectors), bias (`N` vectors), residual and output lie in memory that is
/// good for them.
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    p: Patches,
    panel: *const f32,
    end: Epilogue,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [[simd.splat(0.0); N]; M];
        let mut weights = panel;
        for r in 0..p.runs {
            let run = p.first.add(r * p.row);
            for j in 0..p.run {
                let w: [S::V; N] = std::array::from_fn(|n| simd.load(weights.add(n * S::LANES)));
                weights = weights.add(N * S::LANES);
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = simd.splat(*run.add(m * p.step + j));
                    for (sum, &w) in sums.iter_mut().zip(&w) {
                        *sum = simd.fma(x, w, *sum);
                    }
                }
            }
        }
        // By way of memory: a longer use of the sums here would keep them out of registers above.
        let mut done = [0.0f32; MOST_PIXELS * 2 * MOST_LANES];
        for (m, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                simd.store(done.as_mut_ptr().add((m * N + n) * S::LANES), sum);
            }
        }
        end.write::<S, N>(simd, &done[..M * N * S::LANES]);
    }
}

impl Epilogue {
    /// `out = activation(sums + bias + residual)` for pixels of `N` vectors each.
    ///
    /// # Safety
    /// Bias, residual and output lie in memory that is good for the tile.
    #[inline(always)]
    unsafe fn write<S: Simd, const N: usize>(&self, simd: S, sums: &[f32]) {
        let (low, high) = match self.activation {
            None => (f32::NEG_INFINITY, f32::INFINITY),
            Some(Activation::Relu) => (0.0, f32::INFINITY),
            Some(Activation::Relu6) => (0.0, 6.0),
        };
        // SAFETY: the caller's contract; `sums` holds whole vectors.
        unsafe {
            let (low, high) = (simd.splat(low), simd.splat(high));
            let finish = |v: S::V, residual: Option<S::V>| {
                let v = residual.map_or(v, |r| simd.add(v, r));
                simd.min(high, simd.max(low, v))
            };
            for n in 0..N {
                let Some(count) = self.count.checked_sub(n * S::LANES).filter(|&c| c > 0) else { break };
                let bias = simd.load(self.bias.add(n * S::LANES));
                for (m, sums) in sums.chunks_exact(N * S::LANES).enumerate() {
                    let at = m * self.stride + n * S::LANES;
                    let v = simd.add(simd.load(sums.as_ptr().add(n * S::LANES)), bias);
                    if count >= S::LANES {
                        let v = finish(v, self.residual.map(|r| simd.load(r.add(at))));
                        simd.store(self.out.add(at), v);
                    } else {
                        let mut some = [0.0f32; MOST_LANES];
                        if let Some(residual) = self.residual {
                            std::ptr::copy_nonoverlapping(residual.add(at), some.as_mut_ptr(), count);
                        }
                        let v = finish(v, Some(simd.load(some.as_ptr())));
                        simd.store(some.as_mut_ptr(), v);
                        std::ptr::copy_nonoverlapping(some.as_ptr(), self.out.add(at), count);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw, odd_sizes};
    use crate::{epilogue, reference};
    use headstart_tensor::Rng;

    #[test]
    fn every_isa_agrees_with_the_plain_loops() {
        let (mut rng, pool) = (Rng::new(6), Pool::new(3));
        for isa in Isa::available() {
            for conv in odd_sizes(&[(1, 1), (3, 5), (4, 16), (2, 17), (5, 33), (17, 70)]) {
                for (residual, activation) in [
                    (false, None),
                    (true, Some(Activation::Relu)),
                    (true, None),
                    (false, Some(Activation::Relu6)),
                ] {
                    let what = format!("{isa} {conv:?} {residual} {activation:?}");
                    let image = draw(&mut rng, conv.input.iter().product());
                    let weights = draw(&mut rng, conv.patch() * conv.output[2]);
                    let bias = draw(&mut rng, conv.output[2]);
                    let rest = residual.then(|| draw(&mut rng, conv.pixels() * conv.output[2]));
                    let packed = PackedConv::new(isa, conv, &weights, &bias);
                    let mut scratch = vec![f32::NAN; packed.scratch()];
                    let mut out = vec![f32::NAN; conv.pixels() * conv.output[2]];
                    packed.run(&Pool::single(), &image, rest.as_deref(), activation, &mut scratch, &mut out);
                    let mut split = vec![f32::NAN; out.len()];
                    packed.run(&pool, &image, rest.as_deref(), activation, &mut scratch, &mut split);
                    assert_eq!(out, split, "{what}: the same bytes with three threads");
                    let mut expected = reference::conv2d(&conv, &image, &weights);
                    epilogue(&mut expected, &bias, rest.as_deref(), activation);
                    close(&out, &expected, &what);
                }
            }
        }
    }

    #[test]
    fn tiles_cover_every_row() {
        for tiles in [&[14, 7, 4, 2, 1][..], &[6, 4, 2, 1], &[4, 2, 1]] {
            for width in 1..100 {
                let mut x = 0;
                while x < width {
                    let (size, start) = next_tile(tiles, x, width);
                    assert!(tiles.contains(&size) && start <= x && start + size > x && start + size <= width);
                    x = start + size;
                }
            }
        }
    }
}
