//! The register tile: up to 14 rows of a matrix by two vectors of columns of packed weights, with its epilogue.
//!
//! The weights, a panel `[depth, 2 * lanes]`, stay in the first-level cache while all rows pass; the last panel may be
//! one vector wide. A row of the left matrix is `runs` runs of `run` words: a patch of an NHWC image is one for each
//! kernel row. A word is one f32, two bf16 or four bytes; a lane of the weights holds as many of the same column.
#![allow(unsafe_code)]

use crate::Isa;
use crate::aligned::Aligned;
use crate::element::Element;
use crate::simd::{self, Dot, Simd};

/// The most rows of a tile, and the most lanes of a vector, of any instruction set.
pub(crate) const MOST_ROWS: usize = 14;
const MOST_LANES: usize = 16;

/// Words `[depth, columns]` as panels one after the other, zeros where a vector has no column.
pub(crate) fn pack(isa: Isa, depth: usize, columns: usize, weights: impl Fn(usize, usize) -> f32) -> Aligned {
    pack_rows(isa, depth, columns, |k, first, to| {
        to.iter_mut().enumerate().for_each(|(c, to)| *to = weights(k, first + c));
    })
}

/// As [`pack`]: `fill` is asked for words of row `k` from a column on.
pub(crate) fn pack_rows(
    isa: Isa,
    depth: usize,
    columns: usize,
    fill: impl Fn(usize, usize, &mut [f32]),
) -> Aligned {
    let lanes = simd::lanes(isa);
    let vectors = columns.div_ceil(lanes);
    let mut panels = Aligned::zeros(depth * vectors * lanes);
    for first in (0..vectors).step_by(2) {
        let (width, from) = ((vectors - first).min(2) * lanes, first * lanes);
        let panel = &mut panels[from * depth..from * depth + depth * width];
        for (k, row) in panel.chunks_exact_mut(width).enumerate() {
            fill(k, from, &mut row[..width.min(columns - from)]);
        }
    }
    panels
}

/// The left rows of a product: `count` of them, each `runs` runs of `run` words.
#[derive(Clone, Copy)]
pub(crate) struct Lefts<I> {
    pub(crate) first: *const I,
    pub(crate) count: usize,
    /// Elements from one row to the next.
    pub(crate) step: usize,
    pub(crate) runs: usize,
    /// Words of a run.
    pub(crate) run: usize,
    /// Elements from one run of a row to the next.
    pub(crate) next_run: usize,
}

/// What the sums of rows become, where each row of bytes has a scale and a zero of its own.
#[derive(Clone, Copy)]
pub(crate) struct OfRows {
    /// Scale, and zero less 1, of each row.
    pub(crate) scales: *const [f32; 2],
    /// Whole vectors, added after that.
    pub(crate) bias: *const f32,
}

/// Where sums go: `out = min(max(sums * multiplier + bias + residual * factor, low), high)`, `columns` values of every
/// row of `stride`. With [`OfRows`], where the bias is what a zero of 1 takes from the sums, the first two terms are
/// `(sums * multiplier + zero of the row * bias) * scale of the row + bias of all rows`.
#[derive(Clone, Copy)]
pub(crate) struct Target<O> {
    /// Whole vectors; none: ones.
    pub(crate) multiplier: Option<*const f32>,
    /// Whole vectors; none: zeros.
    pub(crate) bias: Option<*const f32>,
    /// Only sums of bytes have it.
    pub(crate) of_rows: Option<OfRows>,
    pub(crate) residual: Option<*const O>,
    pub(crate) factor: f32,
    pub(crate) low: f32,
    pub(crate) high: f32,
    pub(crate) out: *mut O,
    pub(crate) stride: usize,
    pub(crate) columns: usize,
}

impl<O> Target<O> {
    /// Sums as they are, `columns` of every row of `stride`.
    pub(crate) fn plain(out: *mut O, stride: usize, columns: usize) -> Target<O> {
        let (multiplier, bias, of_rows, residual, factor) = (None, None, None, None, 1.0);
        let (low, high) = (f32::NEG_INFINITY, f32::INFINITY);
        Target { multiplier, bias, of_rows, residual, factor, low, high, out, stride, columns }
    }

    /// The rows from `row` on.
    ///
    /// # Safety
    /// The output, and the residual, have so many.
    #[inline(always)]
    pub(crate) unsafe fn at_row(self, row: usize) -> Target<O> {
        let offset = row * self.stride;
        // SAFETY: the caller's contract.
        unsafe {
            let of_rows = self.of_rows.map(|of| OfRows { scales: of.scales.add(row), ..of });
            let residual = self.residual.map(|r| r.add(offset));
            Target { of_rows, residual, out: self.out.add(offset), ..self }
        }
    }

    /// The columns from `channel` on, a whole vector's first.
    ///
    /// # Safety
    /// There are so many.
    #[inline(always)]
    pub(crate) unsafe fn at_column(self, channel: usize) -> Target<O> {
        // SAFETY: the caller's contract.
        unsafe {
            Target {
                multiplier: self.multiplier.map(|m| m.add(channel)),
                bias: self.bias.map(|b| b.add(channel)),
                of_rows: self.of_rows.map(|of| OfRows { bias: of.bias.add(channel), ..of }),
                residual: self.residual.map(|r| r.add(channel)),
                out: self.out.add(channel),
                columns: self.columns - channel,
                ..self
            }
        }
    }
}

/// Memory that will be wanted soon: it is fetched into the second-level cache while a product is computed.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    pub(crate) from: *const f32,
    /// Cache lines.
    pub(crate) lines: usize,
}

impl Ahead {
    /// Nothing.
    pub(crate) const NONE: Ahead = Ahead { from: std::ptr::null(), lines: 0 };

    #[inline(always)]
    fn fetch<S: Simd>(self, simd: S, lines: std::ops::Range<usize>) {
        for line in lines {
            simd.fetch(self.from.wrapping_add(16 * line));
        }
    }
}

/// One panel, the vectors from `first` on: all rows times its columns.
///
/// # Safety
/// Rows, the panels of all columns, bias, residual and output lie in memory that is good for them.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd, I: Element, O: Element>(
    simd: S,
    lefts: Lefts<I>,
    panels: *const f32,
    first: usize,
    to: Target<O>,
    ahead: Ahead,
) {
    let channel = first * S::LANES;
    let wide = to.columns > channel + S::LANES;
    let mut at = 0;
    while at < lefts.count {
        let (size, start) = next_tile(S::TILES, at, lefts.count);
        let fetched = ahead.lines * at / lefts.count;
        at = start + size;
        ahead.fetch(simd, fetched..ahead.lines * at / lefts.count);
        // SAFETY: the caller's contract; the tile's rows and columns are among them.
        unsafe {
            let rows = Lefts { first: lefts.first.add(start * lefts.step), ..lefts };
            let panel = panels.add(channel * lefts.runs * lefts.run);
            let to = to.at_row(start).at_column(channel);
            match (size, wide) {
                (14, true) => tile::<S, I, O, 14, 2>(simd, rows, panel, to),
                (14, false) => tile::<S, I, O, 14, 1>(simd, rows, panel, to),
                (7, true) => tile::<S, I, O, 7, 2>(simd, rows, panel, to),
                (7, false) => tile::<S, I, O, 7, 1>(simd, rows, panel, to),
                (6, true) => tile::<S, I, O, 6, 2>(simd, rows, panel, to),
                (6, false) => tile::<S, I, O, 6, 1>(simd, rows, panel, to),
                (4, true) => tile::<S, I, O, 4, 2>(simd, rows, panel, to),
                (4, false) => tile::<S, I, O, 4, 1>(simd, rows, panel, to),
                (2, true) => tile::<S, I, O, 2, 2>(simd, rows, panel, to),
                (2, false) => tile::<S, I, O, 2, 1>(simd, rows, panel, to),
                (_, true) => tile::<S, I, O, 1, 2>(simd, rows, panel, to),
                (_, false) => tile::<S, I, O, 1, 1>(simd, rows, panel, to),
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
unsafe fn tile<S: Simd, I: Element, O: Element, const M: usize, const N: usize>(
    simd: S,
    p: Lefts<I>,
    panel: *const f32,
    to: Target<O>,
) {
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
                    let word = run.add(m * p.step + j * I::IN_WORD).cast::<f32>();
                    let x = simd.splat(word.read_unaligned());
                    for (sum, &w) in sums.iter_mut().zip(&w) {
                        *sum = I::dot(simd, x, w, *sum);
                    }
                }
            }
        }
        if to.columns >= N * S::LANES {
            return to.write_whole::<S, I, M, N>(simd, sums);
        }
        let mut done = [0.0f32; MOST_ROWS * 2 * MOST_LANES];
        for (m, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                simd.store(done.as_mut_ptr().add((m * N + n) * S::LANES), sum);
            }
        }
        to.write::<S, I, N>(simd, &done[..M * N * S::LANES]);
    }
}

impl<O: Element> Target<O> {
    /// The epilogue of a tile whose columns are all there. In steps so short that a compiler unrolls each, and the sums
    /// never leave their registers.
    ///
    /// # Safety
    /// Multiplier, bias, residual and output lie in memory that is good for the tile.
    #[inline(always)]
    pub(crate) unsafe fn write_whole<S: Simd, I: Element, const M: usize, const N: usize>(
        &self,
        simd: S,
        mut v: [[S::V; N]; M],
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            let bias: [S::V; N] = std::array::from_fn(|n| {
                self.bias.map_or(simd.splat(0.0), |b| simd.load(b.add(n * S::LANES)))
            });
            match self.multiplier {
                None => {
                    for v in &mut v {
                        for (v, &bias) in v.iter_mut().zip(&bias) {
                            *v = simd.add(I::sum(simd, *v), bias);
                        }
                    }
                }
                Some(multiplier) => {
                    let by: [S::V; N] = std::array::from_fn(|n| simd.load(multiplier.add(n * S::LANES)));
                    for v in &mut v {
                        for ((v, &bias), &by) in v.iter_mut().zip(&bias).zip(&by) {
                            *v = simd.fma(I::sum(simd, *v), by, bias);
                        }
                    }
                }
            }
            if let (Dot::Int8, Some(of)) = (I::DOT, self.of_rows) {
                let last: [S::V; N] = std::array::from_fn(|n| simd.load(of.bias.add(n * S::LANES)));
                for (m, v) in v.iter_mut().enumerate() {
                    let [scale, zero] = (*of.scales.add(m)).map(|v| simd.splat(v));
                    for ((v, &bias), &last) in v.iter_mut().zip(&bias).zip(&last) {
                        *v = simd.fma(simd.fma(bias, zero, *v), scale, last);
                    }
                }
            }
            if let Some(residual) = self.residual {
                let factor = simd.splat(self.factor);
                for (m, v) in v.iter_mut().enumerate() {
                    for (n, v) in v.iter_mut().enumerate() {
                        let r = O::load(simd, residual.add(m * self.stride + n * S::LANES));
                        *v = simd.fma(r, factor, *v);
                    }
                }
            }
            let (low, high) = (simd.splat(self.low), simd.splat(self.high));
            for v in &mut v {
                for v in v {
                    *v = simd.min(high, simd.max(low, *v));
                }
            }
            for (m, v) in v.iter().enumerate() {
                for (n, &v) in v.iter().enumerate() {
                    O::store(simd, self.out.add(m * self.stride + n * S::LANES), v);
                }
            }
        }
    }

    /// The epilogue for rows of `N` vectors each, sums of products of `I`.
    ///
    /// # Safety
    /// Multiplier, bias, residual and output lie in memory that is good for the tile.
    #[inline(always)]
    pub(crate) unsafe fn write<S: Simd, I: Element, const N: usize>(&self, simd: S, sums: &[f32]) {
        // SAFETY: the caller's contract; `sums` holds whole vectors.
        unsafe {
            let [low, high, factor] = [self.low, self.high, self.factor].map(|v| simd.splat(v));
            let finish = |v: S::V, residual: Option<S::V>| {
                let v = residual.map_or(v, |r| simd.fma(r, factor, v));
                simd.min(high, simd.max(low, v))
            };
            for n in 0..N {
                let Some(count) = self.columns.checked_sub(n * S::LANES).filter(|&c| c > 0) else { break };
                let bias = self.bias.map_or(simd.splat(0.0), |b| simd.load(b.add(n * S::LANES)));
                let multiplier = self.multiplier.map(|m| simd.load(m.add(n * S::LANES)));
                for (m, sums) in sums.chunks_exact(N * S::LANES).enumerate() {
                    let at = m * self.stride + n * S::LANES;
                    let v = I::sum(simd, simd.load(sums.as_ptr().add(n * S::LANES)));
                    let v = match multiplier {
                        None => simd.add(v, bias),
                        Some(multiplier) => simd.fma(v, multiplier, bias),
                    };
                    let v = match (I::DOT, self.of_rows) {
                        (Dot::Int8, Some(of)) => {
                            let [scale, zero] = (*of.scales.add(m)).map(|v| simd.splat(v));
                            simd.fma(simd.fma(bias, zero, v), scale, simd.load(of.bias.add(n * S::LANES)))
                        }
                        _ => v,
                    };
                    if count >= S::LANES {
                        let v = finish(v, self.residual.map(|r| O::load(simd, r.add(at))));
                        O::store(simd, self.out.add(at), v);
                    } else {
                        let mut some = [O::default(); MOST_LANES];
                        if let Some(residual) = self.residual {
                            std::ptr::copy_nonoverlapping(residual.add(at), some.as_mut_ptr(), count);
                        }
                        let v = finish(v, Some(O::load(simd, some.as_ptr())));
                        O::store(simd, some.as_mut_ptr(), v);
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
