//! The softmax of rows: `e^(scale x)` over its sum.
#![allow(unsafe_code)]

use crate::exp::exp;
use crate::simd::{self, Kernel, Simd};
use crate::{Isa, Pool};

/// Rows that a thread takes at once.
const ROWS: usize = 32;

/// The softmax of `scale` times every row of `len` values, in place. Where no value of a row is above negative infinity
/// the result is not a number.
///
/// # Panics
/// Where `rows` is not a whole number of rows.
pub fn softmax(isa: Isa, pool: &Pool, rows: &mut [f32], len: usize, scale: f32) {
    if rows.is_empty() {
        return;
    }
    assert!(len > 0 && rows.len().is_multiple_of(len), "whole rows");
    pool.chunks_mut(rows, ROWS * len, |_, rows| simd::run(isa, Rows { rows, len, scale }));
}

struct Rows<'a> {
    rows: &'a mut [f32],
    len: usize,
    scale: f32,
}

impl Kernel for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for row in self.rows.chunks_exact_mut(self.len) {
            // SAFETY: inside a kernel.
            let sum = unsafe { exponentials(simd, row, self.scale) };
            row.iter_mut().for_each(|v| *v /= sum);
        }
    }
}

/// `e^(scale (x - the largest x))` in place, and its sum.
///
/// # Safety
/// Only inside a kernel.
#[inline(always)]
pub(crate) unsafe fn exponentials<S: Simd>(simd: S, row: &mut [f32], scale: f32) -> f32 {
    let whole = row.len() / S::LANES * S::LANES;
    let mut rest = [f32::NEG_INFINITY; 16];
    rest[..row.len() - whole].copy_from_slice(&row[whole..]);
    // SAFETY: vectors lie inside the row, or in `rest`.
    unsafe {
        let mut most = simd.load(rest.as_ptr());
        for i in (0..whole).step_by(S::LANES) {
            most = simd.max(simd.load(row.as_ptr().add(i)), most);
        }
        let scale = simd.splat(scale);
        let most = simd.splat(fold(simd, most, |a, b| if a > b { a } else { b }));
        let last = exp(simd, simd.mul(simd.sub(simd.load(rest.as_ptr()), most), scale));
        let mut sum = last;
        for i in (0..whole).step_by(S::LANES) {
            let at = row.as_mut_ptr().add(i);
            let e = exp(simd, simd.mul(simd.sub(simd.load(at), most), scale));
            sum = simd.add(sum, e);
            simd.store(at, e);
        }
        simd.store(rest.as_mut_ptr(), last);
        let count = row.len() - whole;
        row[whole..].copy_from_slice(&rest[..count]);
        fold(simd, sum, |a, b| a + b)
    }
}

/// The values of a vector joined by halves.
///
/// # Safety
/// Only inside a kernel.
#[inline(always)]
pub(crate) unsafe fn fold<S: Simd>(simd: S, v: S::V, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut values = [0.0f32; 16];
    // SAFETY: a vector has at most 16 values.
    unsafe { simd.store(values.as_mut_ptr(), v) };
    let mut half = S::LANES / 2;
    while half > 0 {
        for i in 0..half {
            values[i] = join(values[i], values[i + half]);
        }
        half /= 2;
    }
    values[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::close;
    use crate::reference;
    use headstart_tensor::Rng;

    #[test]
    fn every_isa_agrees_with_the_plain_loops_over_odd_rows() {
        let mut rng = Rng::new(23);
        for isa in Isa::available() {
            let lanes = simd::lanes(isa);
            for len in [1, lanes - 1, lanes, lanes + 1, 3 * lanes + 2, 197] {
                for rows in [0, 1, 5, 2 * ROWS + 1] {
                    let x: Vec<f32> = (0..rows * len).map(|_| rng.range(-40.0, 40.0) as f32).collect();
                    let (mut out, mut split) = (x.clone(), x.clone());
                    softmax(isa, &Pool::single(), &mut out, len, 0.3);
                    softmax(isa, &Pool::new(3), &mut split, len, 0.3);
                    assert_eq!(out, split, "the same bytes with three threads");
                    for (&found, expected) in out.iter().zip(reference::softmax(&x, len, 0.3)) {
                        let most = 1e-6 + 1e-5 * expected;
                        assert!((found - expected).abs() < most, "{isa} {len}: {found} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn large_values_do_not_overflow_and_infinities_are_left_out() {
        for isa in Isa::available() {
            let mut row = [1e30, f32::NEG_INFINITY, 1e30, -1e30, f32::NEG_INFINITY];
            softmax(isa, &Pool::single(), &mut row, 5, 1.0);
            close(&row, &[0.5, 0.0, 0.5, 0.0, 0.0], "two equal ones share");
        }
    }
}
