//! The register tile: up to 14 rows of a matrix by two vectors of columns of packed weights, with its epilogue.
//!
//! The weights, a panel `[depth, 2 * lanes]`, stay in the first-level cache while all rows pass; the last panel may be
//! one vector wide. A row of the left matrix is `runs` runs of `run` values: a patch of an NHWC image is one for each
//! kernel row.
#![allow(unsafe_code)]

use crate::aligned::Aligned;
use crate::simd::{self, Simd};
use crate::{Activation, Isa, activation};

/// The most rows of a tile, and the most lanes of a vector, of any instruction set.
pub(crate) const MOST_ROWS: usize = 14;
const MOST_LANES: usize = 16;

/// `weights` `[depth, columns]` as panels one after the other, zeros where a vector has no column.
pub(crate) fn pack(isa: Isa, depth: usize, columns: usize, weights: impl Fn(usize, usize) -> f32) -> Aligned {
    let lanes = simd::lanes(isa);
    let vectors = columns.div_ceil(lanes);
    let mut panels = Aligned::zeros(depth * vectors * lanes);
    for first in (0..vectors).step_by(2) {
        let (width, from) = ((vectors - first).min(2) * lanes, first * lanes);
        let panel = &mut panels[from * depth..from * depth + depth * width];
        for (k, row) in panel.chunks_exact_mut(width).enumerate() {
            for (c, value) in row.iter_mut().enumerate().take(columns - from) {
                *value = weights(k, from + c);
            }
        }
    }
    panels
}

/// The left rows of a product: `count` of them, each `runs` runs of `run` values.
#[derive(Clone, Copy)]
pub(crate) struct Lefts {
    pub(crate) first: *const f32,
    pub(crate) count: usize,
    /// From one row to the next.
    pub(crate) step: usize,
    pub(crate) runs: usize,
    pub(crate) run: usize,
    /// From one run of a row to the next.
    pub(crate) next_run: usize,
}

/// Where sums go: `out = activation(sums + bias + residual)`, `columns` values of every row of `stride`.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// Whole vectors; none: zeros.
    pub(crate) bias: Option<*const f32>,
    pub(crate) residual: Option<*const f32>,
    pub(crate) activation: Option<Activation>,
    pub(crate) out: *mut f32,
    pub(crate) stride: usize,
    pub(crate) columns: usize,
}

/// One panel, the vectors from `first` on: all rows times its columns.
///
/// # Safety
/// Rows, the panels of all columns, bias, residual and output lie in memory that is good for them.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd>(simd: S, lefts: Lefts, panels: *const f32, first: usize, to: Target) {
    let channel = first * S::LANES;
    let wide = to.columns > channel + S::LANES;
    let mut at = 0;
    while at < lefts.count {
        let (size, start) = next_tile(S::TILES, at, lefts.count);
        at = start + size;
        // SAFETY: the caller's contract; the tile's rows and columns are among them.
        unsafe {
            let rows = Lefts { first: lefts.first.add(start * lefts.step), ..lefts };
            let panel = panels.add(channel * lefts.runs * lefts.run);
            let offset = start * to.stride + channel;
            let to = Target {
                bias: to.bias.map(|b| b.add(channel)),
                residual: to.residual.map(|r| r.add(offset)),
                out: to.out.add(offset),
                columns: to.columns - channel,
                ..to
            };
            match (size, wide) {
                (14, true) => tile::<S, 14, 2>(simd, rows, panel, to),
                (14, false) => tile::<S, 14, 1>(simd, rows, panel, to),
                (7, true) => tile::<S, 7, 2>(simd, rows, panel, to),
                (7, false) => tile::<S, 7, 1>(simd, rows, panel, to),
                (6, true) => tile::<S, 6, 2>(simd, rows, panel, to),
                (6, false) => tile::<S, 6, 1>(simd, rows, panel, to),
                (4, true) => tile::<S, 4, 2>(simd, rows, panel, to),
                (4, false) => tile::<S, 4, 1>(simd, rows, panel, to),
                (2, true) => tile::<S, 2, 2>(simd, rows, panel, to),
                (2, false) => tile::<S, 2, 1>(simd, rows, panel, to),
                (_, true) => tile::<S, 1, 2>(simd, rows, panel, to),
                (_, false) => tile::<S, 1, 1>(simd, rows, panel, to),
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

/// `M` rows by `N` vectors of columns.
///
/// # Safety
/// As [`multiply`].
#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(simd: S, p: Lefts, panel: *const f32, to: Target) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [[simd.splat(0.0); N]; M];
        let mut weights = panel;
        for r in 0..p.runs {
            let run = p.first.add(r * p.next_run);
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
        let mut done = [0.0f32; MOST_ROWS * 2 * MOST_LANES];
        for (m, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                simd.store(done.as_mut_ptr().add((m * N + n) * S::LANES), sum);
            }
        }
        to.write::<S, N>(simd, &done[..M * N * S::LANES]);
    }
}

impl Target {
    /// `out = activation(sums + bias + residual)` for rows of `N` vectors each.
    ///
    /// # Safety
    /// Bias, residual and output lie in memory that is good for the tile.
    #[inline(always)]
    unsafe fn write<S: Simd, const N: usize>(&self, simd: S, sums: &[f32]) {
        let (low, high) = activation::range(self.activation);
        // SAFETY: the caller's contract; `sums` holds whole vectors.
        unsafe {
            let (low, high) = (simd.splat(low), simd.splat(high));
            let finish = |v: S::V, residual: Option<S::V>| {
                let v = residual.map_or(v, |r| simd.add(v, r));
                simd.min(high, simd.max(low, v))
            };
            for n in 0..N {
                let Some(count) = self.columns.checked_sub(n * S::LANES).filter(|&c| c > 0) else { break };
                let bias = self.bias.map_or(simd.splat(0.0), |b| simd.load(b.add(n * S::LANES)));
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
    use super::next_tile;

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
