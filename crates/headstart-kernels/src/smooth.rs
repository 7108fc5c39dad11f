//! Activations that no epilogue takes, elementwise over slices of any length: those that need the exponential, and their
//! stand-ins of straight lines (Howard et al. 2019).
//!
//! GELU (Hendrycks and Gimpel 2016) is taken from the normal distribution's tail rather than from `1 + erf`, so that
//! it keeps its digits where that sum cancels.
#![allow(unsafe_code)]

use crate::element::Element;
use crate::exp::{logistic, normal_tail, tanh};
use crate::simd::{self, Dot, Kernel, Simd};
use crate::{Isa, Pool};

/// Values that a thread takes at once.
const BLOCK: usize = 1 << 14;

/// `2 sqrt(2 / pi)`, and the cubic's factor, of [`Smooth::GeluTanh`].
const CUBIC: [f32; 2] = [1.595_769, 0.044_715];

/// A smooth activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Smooth {
    /// `x` times the normal distribution's probability of less than `x`: within 1e-6 of the value (3e-5 in portable
    /// code, far below 0).
    Gelu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`: within 3e-5 of the value.
    GeluTanh,
    /// The hyperbolic tangent.
    Tanh,
    /// `x / (1 + e^-x)`, also called swish.
    Silu,
    /// The logistic function `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x min(max(x + 3, 0), 6) / 6`.
    HardSwish,
    /// `min(max(x + 3, 0), 6) / 6`.
    HardSigmoid,
}

impl Smooth {
    /// `out = f(x)`, spread over `pool`: values of f32 or bf16, computed in f32.
    ///
    /// # Panics
    /// Where the slices have two lengths.
    pub fn run<E: Element>(self, isa: Isa, pool: &Pool, x: &[E], out: &mut [E]) {
        assert_eq!(x.len(), out.len(), "an output for every value");
        pool.chunks_mut(out, BLOCK, |i, out| {
            let x = &x[i * BLOCK..i * BLOCK + out.len()];
            match self {
                Smooth::Gelu => simd::run(isa, Each(Gelu, x, out)),
                Smooth::GeluTanh => simd::run(isa, Each(GeluTanh, x, out)),
                Smooth::Tanh => simd::run(isa, Each(Tanh, x, out)),
                Smooth::Silu => simd::run(isa, Each(Silu, x, out)),
                Smooth::Sigmoid => simd::run(isa, Each(Sigmoid, x, out)),
                Smooth::HardSwish => simd::run(isa, Each(HardSwish, x, out)),
                Smooth::HardSigmoid => simd::run(isa, Each(HardSigmoid, x, out)),
            }
        });
    }

    /// `gradient *= f'(x)`, spread over `pool`.
    ///
    /// # Panics
    /// Where the slices have two lengths.
    pub fn scale_gradient(self, isa: Isa, pool: &Pool, x: &[f32], gradient: &mut [f32]) {
        assert_eq!(x.len(), gradient.len(), "a gradient for every value");
        pool.chunks_mut(gradient, BLOCK, |i, gradient| {
            let x = &x[i * BLOCK..i * BLOCK + gradient.len()];
            match self {
                Smooth::Gelu => simd::run(isa, EachSlope(Gelu, x, gradient)),
                Smooth::GeluTanh => simd::run(isa, EachSlope(GeluTanh, x, gradient)),
                Smooth::Tanh => simd::run(isa, EachSlope(Tanh, x, gradient)),
                Smooth::Silu => simd::run(isa, EachSlope(Silu, x, gradient)),
                Smooth::Sigmoid => simd::run(isa, EachSlope(Sigmoid, x, gradient)),
                Smooth::HardSwish => simd::run(isa, EachSlope(HardSwish, x, gradient)),
                Smooth::HardSigmoid => simd::run(isa, EachSlope(HardSigmoid, x, gradient)),
            }
        });
    }
}

/// A function of vectors and its derivative. Both must be `#[inline(always)]`.
///
/// # Safety
/// Only inside a kernel.
trait Function: Copy {
    unsafe fn value<S: Simd>(self, simd: S, x: S::V) -> S::V;
    unsafe fn slope<S: Simd>(self, simd: S, x: S::V) -> S::V;
}

#[derive(Clone, Copy)]
struct Gelu;
#[derive(Clone, Copy)]
struct GeluTanh;
#[derive(Clone, Copy)]
struct Tanh;
#[derive(Clone, Copy)]
struct Silu;
#[derive(Clone, Copy)]
struct Sigmoid;
#[derive(Clone, Copy)]
struct HardSwish;
#[derive(Clone, Copy)]
struct HardSigmoid;

// SAFETY of every method: the trait's contract.
impl Function for Gelu {
    #[inline(always)]
    unsafe fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe {
            let zero = simd.splat(0.0);
            let size = simd.max(simd.sub(zero, x), x);
            let tail = normal_tail(simd, size).0;
            // The tail of infinity is 0.
            let finite = simd.min(simd.splat(f32::MAX), size);
            simd.sub(simd.max(zero, x), simd.mul(finite, tail))
        }
    }

    #[inline(always)]
    unsafe fn slope<S: Simd>(self, simd: S, x: S::V) -> S::V {
        const DENSITY: f32 = 0.398_942_3;
        // SAFETY: see above.
        unsafe {
            let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
            let size = simd.max(simd.sub(zero, x), x);
            let (tail, bell) = normal_tail(simd, size);
            let sign = simd.min(one, simd.max(simd.splat(-1.0), simd.mul(x, simd.splat(f32::MAX))));
            let step = simd.fma(sign, simd.splat(0.5), simd.splat(0.5));
            let bent = simd.sub(tail, simd.mul(simd.mul(size, bell), simd.splat(DENSITY)));
            simd.sub(step, simd.mul(sign, bent))
        }
    }
}

impl GeluTanh {
    /// The argument of the logistic function that `(1 + tanh) / 2` is, and the square of `x`.
    #[inline(always)]
    unsafe fn argument<S: Simd>(simd: S, x: S::V) -> (S::V, S::V) {
        // SAFETY: the trait's contract.
        unsafe {
            let square = simd.mul(x, x);
            let cubic = simd.fma(square, simd.splat(CUBIC[0] * CUBIC[1]), simd.splat(CUBIC[0]));
            (simd.mul(x, cubic), square)
        }
    }
}

impl Function for GeluTanh {
    #[inline(always)]
    unsafe fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe { simd.mul(x, logistic(simd, GeluTanh::argument(simd, x).0)) }
    }

    #[inline(always)]
    unsafe fn slope<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe {
            let (argument, square) = GeluTanh::argument(simd, x);
            let s = logistic(simd, argument);
            let rise = simd.fma(square, simd.splat(3.0 * CUBIC[0] * CUBIC[1]), simd.splat(CUBIC[0]));
            let bent = simd.mul(s, simd.sub(simd.splat(1.0), s));
            // Where that product is 0 the rise may be infinite.
            let rise = simd.min(simd.splat(f32::MAX), rise);
            simd.fma(simd.mul(bent, x), rise, s)
        }
    }
}

impl Function for Tanh {
    #[inline(always)]
    unsafe fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe { tanh(simd, x) }
    }

    #[inline(always)]
    unsafe fn slope<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe {
            let t = tanh(simd, x);
            simd.sub(simd.splat(1.0), simd.mul(t, t))
        }
    }
}

impl Function for Silu {
    #[inline(always)]
    unsafe fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe { simd.mul(x, logistic(simd, x)) }
    }

    #[inline(always)]
    unsafe fn slope<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe {
            let (one, s) = (simd.splat(1.0), logistic(simd, x));
            simd.mul(s, simd.fma(x, simd.sub(one, s), one))
        }
    }
}

impl Function for Sigmoid {
    #[inline(always)]
    unsafe fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe { logistic(simd, x) }
    }

    #[inline(always)]
    unsafe fn slope<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe {
            let s = logistic(simd, x);
            simd.mul(s, simd.sub(simd.splat(1.0), s))
        }
    }
}

impl HardSigmoid {
    /// 1 where `x` is above -3, and 1 where it is above 3; 0 elsewhere.
    #[inline(always)]
    unsafe fn steps<S: Simd>(simd: S, x: S::V) -> (S::V, S::V) {
        // SAFETY: the trait's contract.
        unsafe {
            let (zero, one, steep) = (simd.splat(0.0), simd.splat(1.0), simd.splat(f32::MAX));
            let above =
                |kink: f32| simd.min(one, simd.max(zero, simd.mul(simd.sub(x, simd.splat(kink)), steep)));
            (above(-3.0), above(3.0))
        }
    }
}

impl Function for HardSigmoid {
    #[inline(always)]
    unsafe fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe {
            let raised = simd.max(simd.splat(0.0), simd.add(x, simd.splat(3.0)));
            simd.mul(simd.min(simd.splat(6.0), raised), simd.splat(1.0 / 6.0))
        }
    }

    #[inline(always)]
    unsafe fn slope<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe {
            let (low, high) = HardSigmoid::steps(simd, x);
            simd.mul(simd.sub(low, high), simd.splat(1.0 / 6.0))
        }
    }
}

impl Function for HardSwish {
    #[inline(always)]
    unsafe fn value<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe { simd.mul(x, HardSigmoid.value(simd, x)) }
    }

    #[inline(always)]
    unsafe fn slope<S: Simd>(self, simd: S, x: S::V) -> S::V {
        // SAFETY: see above.
        unsafe {
            let (low, high) = HardSigmoid::steps(simd, x);
            let between = simd.fma(x, simd.splat(1.0 / 3.0), simd.splat(0.5));
            simd.fma(simd.sub(low, high), between, high)
        }
    }
}

/// `out = f(x)`.
struct Each<'a, F, E>(F, &'a [E], &'a mut [E]);

impl<F: Function, E: Element> Kernel for Each<'_, F, E> {
    const DOT: Dot = E::DOT;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Each(f, x, out) = self;
        let whole = out.len() / S::LANES * S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            // SAFETY: both slices hold a vector at `i`.
            unsafe {
                let v = f.value(simd, E::load(simd, x.as_ptr().add(i)));
                E::store(simd, out.as_mut_ptr().add(i), v);
            }
        }
        let mut rest = [E::default(); 16];
        rest[..x.len() - whole].copy_from_slice(&x[whole..]);
        // SAFETY: a vector has at most 16 values.
        unsafe {
            E::store(simd, rest.as_mut_ptr(), f.value(simd, E::load(simd, rest.as_ptr())));
        }
        out[whole..].copy_from_slice(&rest[..x.len() - whole]);
    }
}

/// `gradient *= f'(x)`.
struct EachSlope<'a, F>(F, &'a [f32], &'a mut [f32]);

impl<F: Function> Kernel for EachSlope<'_, F> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let EachSlope(f, x, gradient) = self;
        for (x, g) in x.chunks(S::LANES).zip(gradient.chunks_mut(S::LANES)) {
            let mut slopes = [0.0; 16];
            slopes[..x.len()].copy_from_slice(x);
            // SAFETY: a vector has at most 16 values.
            unsafe { simd.store(slopes.as_mut_ptr(), f.slope(simd, simd.load(slopes.as_ptr()))) };
            g.iter_mut().zip(slopes).for_each(|(g, slope)| *g *= slope);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use half::bf16;
    use headstart_tensor::Rng;

    type Exact = fn(f64) -> f64;
    const ALL: [(Smooth, Exact); 7] = [
        (Smooth::Gelu, reference::gelu),
        (Smooth::GeluTanh, reference::gelu_tanh),
        (Smooth::Tanh, f64::tanh),
        (Smooth::Silu, reference::silu),
        (Smooth::Sigmoid, reference::sigmoid),
        (Smooth::HardSwish, reference::hard_swish),
        (Smooth::HardSigmoid, reference::hard_sigmoid),
    ];

    #[test]
    fn bf16_is_the_f32_result_rounded() {
        let mut rng = Rng::new(22);
        for isa in Isa::available() {
            for (smooth, _) in ALL {
                let x: Vec<bf16> = (0..101).map(|_| bf16::from_f32(rng.range(-8.0, 8.0) as f32)).collect();
                let wide: Vec<f32> = x.iter().map(|v| v.to_f32()).collect();
                let (mut out, mut exact) = (vec![bf16::NAN; x.len()], vec![f32::NAN; x.len()]);
                smooth.run(isa, &Pool::single(), &x, &mut out);
                smooth.run(isa, &Pool::single(), &wide, &mut exact);
                let rounded: Vec<bf16> = exact.into_iter().map(bf16::from_f32).collect();
                assert_eq!(out, rounded, "{isa} {smooth:?}");
            }
        }
    }

    #[test]
    fn every_isa_agrees_with_the_exact_functions_over_odd_lengths() {
        let mut rng = Rng::new(21);
        for isa in Isa::available() {
            let lanes = simd::lanes(isa);
            for (smooth, exact) in ALL {
                for n in [0, 1, lanes - 1, lanes, lanes + 1, 1000, BLOCK + 3] {
                    let x: Vec<f32> = (0..n).map(|_| rng.range(-12.0, 12.0) as f32).collect();
                    let mut out = vec![f32::NAN; n];
                    smooth.run(isa, &Pool::single(), &x, &mut out);
                    for (&x, &found) in x.iter().zip(&out) {
                        let expected = exact(f64::from(x));
                        let apart = (f64::from(found) - expected).abs();
                        let close = smooth != Smooth::GeluTanh && isa != Isa::Generic;
                        let most = if close { 1e-6 } else { 3e-5 };
                        assert!(apart <= most * expected.abs().max(1e-30), "{isa} {smooth:?} {x}: {found}");
                    }
                    let mut split = vec![f32::NAN; n];
                    smooth.run(isa, &Pool::new(3), &x, &mut split);
                    assert_eq!(out, split, "the same bytes with three threads");
                }
            }
        }
    }

    #[test]
    fn slopes_are_the_differences_of_the_exact_functions() {
        let mut rng = Rng::new(22);
        for isa in Isa::available() {
            for (smooth, exact) in ALL {
                let mut x: Vec<f32> = (0..999).map(|_| rng.range(-15.0, 15.0) as f32).collect();
                x.extend([0.0, -0.0, 1e-20, -1e-20, 1e30, -1e30]);
                let mut slopes = vec![2.0; x.len()];
                smooth.scale_gradient(isa, &Pool::single(), &x, &mut slopes);
                for (&x, &found) in x.iter().zip(&slopes) {
                    let (x, step) = (f64::from(x).clamp(-30.0, 30.0), 1e-4);
                    if (x.abs() - 3.0).abs() <= step {
                        continue; // the hard functions have their corners there
                    }
                    let expected = (exact(x + step) - exact(x - step)) / step;
                    assert!(
                        (f64::from(found) - expected).abs() < 5e-6,
                        "{isa} {smooth:?} {x}: {found} {expected}"
                    );
                }
            }
        }
    }
}
