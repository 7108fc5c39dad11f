//! The exponential and what is made of it, over vectors: the logistic function, tanh, and the normal distribution's tail.
//!
//! Errors are in units of the last place of f32, measured over every 97th f32 of the ranges that the tests name.
#![allow(unsafe_code)]

use crate::simd::Simd;

/// Below this the exponential is 0, above [`HIGHEST`] it is infinite.
const LOWEST: f32 = -88.0;
const HIGHEST: f32 = 88.8;

/// `e^x` in parts: `2^n`, and `e^r - 1` for the rest `r`.
///
/// # Safety
/// Only inside a kernel.
#[inline(always)]
unsafe fn parts<S: Simd>(simd: S, x: S::V) -> (S::V, S::V) {
    // Adding and taking away 1.5 * 2^23 rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: n times the first is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2: those of Cephes' expf.
    const SERIES: [f32; 6] = [1.987_569_2e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];
    // SAFETY: the caller's contract.
    unsafe {
        let x = simd.min(simd.splat(HIGHEST), simd.max(simd.splat(LOWEST), x));
        let round = simd.splat(ROUND);
        let n = simd.sub(simd.fma(x, simd.splat(std::f32::consts::LOG2_E), round), round);
        let r = simd.fma(n, simd.splat(-LN_2[0]), x);
        let r = simd.fma(n, simd.splat(-LN_2[1]), r);
        let mut series = simd.splat(SERIES[0]);
        for term in &SERIES[1..] {
            series = simd.fma(series, r, simd.splat(*term));
        }
        (simd.power_of_two(n), simd.fma(simd.mul(series, r), r, r))
    }
}

/// `e^x`: within 2 ulp between -87.3 and 88.3; 0 below -88, infinite above 88.4.
///
/// # Safety
/// Only inside a kernel.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(simd: S, x: S::V) -> S::V {
    // SAFETY: the caller's contract.
    unsafe {
        let (power, rest) = parts(simd, x);
        // Not `power * rest + power`: an infinite power would make that no number.
        simd.mul(power, simd.add(rest, simd.splat(1.0)))
    }
}

/// `tanh x = (e^2x - 1) / (e^2x + 1)`: within 4 ulp.
///
/// # Safety
/// Only inside a kernel.
#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(simd: S, x: S::V) -> S::V {
    // SAFETY: the caller's contract.
    unsafe {
        // Beyond 10 it is 1.
        let x = simd.min(simd.splat(10.0), simd.max(simd.splat(-10.0), x));
        let (power, rest) = parts(simd, simd.add(x, x));
        // e^2x - 1, without the loss that the subtraction would bring near 0.
        let less_one = simd.fma(power, rest, simd.sub(power, simd.splat(1.0)));
        simd.div(less_one, simd.add(less_one, simd.splat(2.0)))
    }
}

/// The logistic function `1 / (1 + e^-x)`: within 3 ulp above -87.
///
/// # Safety
/// Only inside a kernel.
#[inline(always)]
pub(crate) unsafe fn logistic<S: Simd>(simd: S, x: S::V) -> S::V {
    // SAFETY: the caller's contract.
    unsafe {
        let one = simd.splat(1.0);
        simd.div(one, simd.add(one, exp(simd, simd.sub(simd.splat(0.0), x))))
    }
}

/// The standard normal distribution's upper tail, `erfc(a / sqrt 2) / 2`, and `e^(-a^2 / 2)`, for `a >= 0`: both within
/// 10 ulp up to 13.1, from where they are 0. Portable code rounds a multiply-add twice: there within 100 ulp.
///
/// The tail is `e^(-a^2 / 2)` times a polynomial in `1 / (1 + 0.26 a)`, the form of Abramowitz and Stegun 7.1.26.
///
/// # Safety
/// Only inside a kernel.
#[inline(always)]
pub(crate) unsafe fn normal_tail<S: Simd>(simd: S, a: S::V) -> (S::V, S::V) {
    // Fitted for the least relative error over 0 to 14, 2.5e-8.
    const SCALE: f32 = 0.26;
    const POLYNOMIAL: [f32; 9] = [
        0.030_504_987,
        -0.152_829_3,
        0.251_492_26,
        -0.150_950_03,
        0.160_948_56,
        0.051_027_395,
        0.103_030_324,
        0.103_016_74,
        0.103_759_06,
    ];
    // SAFETY: the caller's contract.
    unsafe {
        let one = simd.splat(1.0);
        let a = simd.min(simd.splat(14.0), a);
        // What rounding takes from the square would be magnified by the exponential: it is put back.
        let square = simd.mul(a, a);
        let lost = simd.fma(a, a, simd.sub(simd.splat(0.0), square));
        let minus_half = simd.splat(-0.5);
        let bell = exp(simd, simd.mul(square, minus_half));
        let bell = simd.fma(bell, simd.mul(lost, minus_half), bell);
        let u = simd.div(one, simd.fma(a, simd.splat(SCALE), one));
        let mut tail = simd.splat(POLYNOMIAL[0]);
        for term in &POLYNOMIAL[1..] {
            tail = simd.fma(tail, u, simd.splat(*term));
        }
        (simd.mul(simd.mul(tail, u), bell), bell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{self, Kernel};
    use crate::{Isa, reference};

    #[derive(Clone, Copy, Debug)]
    enum Function {
        Exp,
        Tanh,
        Logistic,
        Tail,
        Bell,
    }

    struct Apply<'a>(Function, &'a mut [f32]);

    impl Kernel for Apply<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for some in self.1.chunks_exact_mut(S::LANES) {
                // SAFETY: a chunk is a vector.
                unsafe {
                    let x = simd.load(some.as_ptr());
                    let y = match self.0 {
                        Function::Exp => exp(simd, x),
                        Function::Tanh => tanh(simd, x),
                        Function::Logistic => logistic(simd, x),
                        Function::Tail => normal_tail(simd, x).0,
                        Function::Bell => normal_tail(simd, x).1,
                    };
                    simd.store(some.as_mut_ptr(), y);
                }
            }
        }
    }

    /// Every 97th f32 from `low` to `high`, and their negatives where those are in the range.
    fn every(low: f32, high: f32) -> Vec<f32> {
        let bits = (0..high.max(-low).to_bits()).step_by(97);
        let both = bits.flat_map(|b| [f32::from_bits(b), -f32::from_bits(b)]);
        let mut all: Vec<f32> = both.filter(|v| (low..=high).contains(v)).collect();
        all.resize(all.len().next_multiple_of(16), 0.0);
        all
    }

    #[test]
    fn errors_are_within_the_documented_units_of_the_last_place() {
        type Exact = fn(f64) -> f64;
        let cases: [(Function, f32, f32, f64, Exact); 5] = [
            (Function::Exp, -87.3, 88.3, 2.0, f64::exp),
            (Function::Tanh, -20.0, 20.0, 4.0, f64::tanh),
            (Function::Logistic, -87.0, 40.0, 3.0, |x| 1.0 / (1.0 + (-x).exp())),
            (Function::Tail, 0.0, 13.1, 10.0, reference::normal_tail),
            (Function::Bell, 0.0, 13.1, 10.0, |a| (-a * a / 2.0).exp()),
        ];
        for isa in Isa::available() {
            for (function, low, high, most, exact) in cases {
                let x = every(low, high);
                let mut y = x.clone();
                simd::run(isa, Apply(function, &mut y));
                let mut worst = (0.0, 0.0);
                for (&x, &y) in x.iter().zip(&y) {
                    let exact = exact(f64::from(x));
                    if exact.abs() < f64::from(f32::MIN_POSITIVE) {
                        continue;
                    }
                    let unit = 2f64.powi(exact.abs().log2().floor() as i32 - 23);
                    let apart = (f64::from(y) - exact).abs() / unit;
                    if apart > worst.0 {
                        worst = (apart, x);
                    }
                }
                let most = if isa == Isa::Generic && most == 10.0 { 100.0 } else { most };
                assert!(worst.0 <= most, "{isa} {function:?}: {} ulp at {}", worst.0, worst.1);
            }
        }
    }

    #[test]
    fn beyond_the_range_and_what_is_no_number() {
        for isa in Isa::available() {
            let run = |function, x: f32| {
                let mut y = [x; 16];
                simd::run(isa, Apply(function, &mut y));
                y[0]
            };
            assert_eq!(run(Function::Exp, f32::NEG_INFINITY), 0.0);
            assert_eq!(run(Function::Exp, f32::INFINITY), f32::INFINITY);
            assert_eq!(run(Function::Tail, f32::INFINITY), 0.0);
            assert_eq!(run(Function::Tanh, f32::NEG_INFINITY), -1.0);
            assert_eq!(run(Function::Logistic, f32::NEG_INFINITY), 0.0);
            for function in [Function::Exp, Function::Tanh, Function::Logistic, Function::Tail] {
                assert!(run(function, f32::NAN).is_nan(), "{isa} {function:?}");
            }
        }
    }
}
