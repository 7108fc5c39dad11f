//! Sums of outer products in a register tile: `sums[k, c] += sum over positions of x[k] y[c]`.
//!
//! It is the inner loop of weight gradients: `x` is a pixel of the image (or of its transformed tiles), `y` the gradient
//! of an output. Up to eight values of `x` by two vectors of `y` stay in registers while all positions pass.
#![allow(unsafe_code)]

use crate::simd::Simd;

/// A run of positions.
#[derive(Clone, Copy)]
pub(crate) struct Strip {
    pub(crate) x: *const f32,
    pub(crate) y: *const f32,
    pub(crate) count: usize,
}

/// What is summed, and where to.
#[derive(Clone, Copy)]
pub(crate) struct Outer {
    pub(crate) strips: usize,
    /// Values from a position to the next.
    pub(crate) x_step: usize,
    pub(crate) y_step: usize,
    /// Values of `x` at a position.
    pub(crate) rows: usize,
    /// One vector of `y`, or two: the second begins so many values behind the first.
    pub(crate) second: Option<usize>,
    /// The sums of `x[0]`, whole vectors one after the other.
    pub(crate) sums: *mut f32,
    /// From the sums of one value of `x` to those of the next.
    pub(crate) stride: usize,
    /// Whether the sums are set, not added to.
    pub(crate) fresh: bool,
}

/// The most values of `x` in a tile: what the registers hold.
const fn most_rows(lanes: usize) -> usize {
    if lanes >= 16 { 8 } else { 4 }
}

impl Outer {
    /// All strips: strip `i` is `at(i)`.
    ///
    /// # Safety
    /// Every strip has `rows` values of `x` and whole vectors of `y` at all of its positions, and `sums` has room for
    /// the vectors of `rows` rows.
    #[inline(always)]
    pub(crate) unsafe fn add<S: Simd>(self, simd: S, at: impl Fn(usize) -> Strip + Copy) {
        let mut k = 0;
        while k < self.rows {
            let size = most_rows(S::LANES).min(1 << (self.rows - k).ilog2());
            // SAFETY: the caller's contract: the tile's rows are among them.
            unsafe {
                let part = Outer { sums: self.sums.add(k * self.stride), ..self };
                match (size, self.second) {
                    (8, Some(second)) => part.tile::<S, 8, 2>(simd, k, second, at),
                    (8, None) => part.tile::<S, 8, 1>(simd, k, 0, at),
                    (4, Some(second)) => part.tile::<S, 4, 2>(simd, k, second, at),
                    (4, None) => part.tile::<S, 4, 1>(simd, k, 0, at),
                    (2, Some(second)) => part.tile::<S, 2, 2>(simd, k, second, at),
                    (2, None) => part.tile::<S, 2, 1>(simd, k, 0, at),
                    (_, Some(second)) => part.tile::<S, 1, 2>(simd, k, second, at),
                    (_, None) => part.tile::<S, 1, 1>(simd, k, 0, at),
                }
            }
            k += size;
        }
    }

    /// `P` values of `x` from the `first`, `N` vectors of `y`.
    ///
    /// # Safety
    /// As [`Outer::add`].
    #[inline(always)]
    unsafe fn tile<S: Simd, const P: usize, const N: usize>(
        self,
        simd: S,
        first: usize,
        second: usize,
        at: impl Fn(usize) -> Strip,
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            let mut sums = [[simd.splat(0.0); N]; P];
            for i in 0..self.strips {
                let strip = at(i);
                let (mut x, mut y) = (strip.x.add(first), strip.y);
                for _ in 0..strip.count {
                    let g: [S::V; N] = std::array::from_fn(|n| simd.load(y.add(n * second)));
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let v = simd.splat(*x.add(p));
                        for (sum, &g) in sums.iter_mut().zip(&g) {
                            *sum = simd.fma(v, g, *sum);
                        }
                    }
                    x = x.wrapping_add(self.x_step);
                    y = y.wrapping_add(self.y_step);
                }
            }
            for (p, sums) in sums.iter().enumerate() {
                for (n, &sum) in sums.iter().enumerate() {
                    let to = self.sums.add(p * self.stride + n * S::LANES);
                    simd.store(to, if self.fresh { sum } else { simd.add(sum, simd.load(to)) });
                }
            }
        }
    }
}
