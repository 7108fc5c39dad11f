//! The transforms of Winograd's F(4x4, 3x3), whose input tiles have 6 pixels a side, and F(2x2, 3x3) with 4: along one
//! side, for a vector of channels.
#![allow(unsafe_code)]

use crate::simd::Simd;

/// A row of `G`: the weights of the three taps in point `i` of `IN`.
pub(super) fn kernel_side<const IN: usize>(i: usize) -> [f64; 3] {
    match (IN, i) {
        (_, i) if i + 1 == IN => [0.0, 0.0, 1.0],
        (4, 0) => [1.0, 0.0, 0.0],
        (4, 1) => [1.0 / 2.0, 1.0 / 2.0, 1.0 / 2.0],
        (4, _) => [1.0 / 2.0, -1.0 / 2.0, 1.0 / 2.0],
        (_, 0) => [1.0 / 4.0, 0.0, 0.0],
        (_, 1) => [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        (_, 2) => [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        (_, 3) => [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        _ => [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    }
}

/// `B^T d`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(crate) unsafe fn input_side<S: Simd, const IN: usize>(s: S, d: [S::V; IN]) -> [S::V; IN] {
    // SAFETY: the caller's contract.
    unsafe {
        let minus_one = s.splat(-1.0);
        let mut to = d;
        if IN == 4 {
            to[0] = s.fma(minus_one, d[2], d[0]);
            to[1] = s.add(d[1], d[2]);
            to[2] = s.fma(minus_one, d[1], d[2]);
            to[3] = s.fma(minus_one, d[3], d[1]);
            return to;
        }
        let [four, minus_four, minus_five] = [s.splat(4.0), s.splat(-4.0), s.splat(-5.0)];
        let (a, b) = (s.fma(minus_four, d[2], d[4]), s.fma(minus_four, d[1], d[3]));
        let (c, e) = (s.fma(minus_one, d[2], d[4]), s.fma(minus_one, d[1], d[3]));
        to[0] = s.fma(four, d[0], s.fma(minus_five, d[2], d[4]));
        to[1] = s.add(a, b);
        to[2] = s.fma(minus_one, b, a);
        to[3] = s.fma(s.splat(2.0), e, c);
        to[4] = s.fma(s.splat(-2.0), e, c);
        to[5] = s.fma(four, d[1], s.fma(minus_five, d[3], d[5]));
        to
    }
}

/// `A^T m`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(super) unsafe fn output_side<S: Simd, const IN: usize, const OUT: usize>(
    s: S,
    m: [S::V; IN],
) -> [S::V; OUT] {
    // SAFETY: the caller's contract.
    unsafe {
        let minus_one = s.splat(-1.0);
        let mut to = [m[0]; OUT];
        let (a, b) = (s.add(m[1], m[2]), s.fma(minus_one, m[2], m[1]));
        if IN == 4 {
            to[0] = s.add(m[0], a);
            to[1] = s.fma(minus_one, m[3], b);
            return to;
        }
        let (c, e) = (s.add(m[3], m[4]), s.fma(minus_one, m[4], m[3]));
        to[0] = s.add(m[0], s.add(a, c));
        to[1] = s.fma(s.splat(2.0), e, b);
        to[2] = s.fma(s.splat(4.0), c, a);
        to[3] = s.add(s.fma(s.splat(8.0), e, b), m[5]);
        to
    }
}

/// Rows of `M` vectors from `N` of their columns.
#[inline(always)]
pub(crate) fn transposed<S: Simd, const N: usize, const M: usize>(columns: [[S::V; M]; N]) -> [[S::V; N]; M] {
    std::array::from_fn(|i| std::array::from_fn(|j| columns[j][i]))
}
