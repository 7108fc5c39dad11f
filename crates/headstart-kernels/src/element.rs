//! What a value of an activation is stored as: f32, bf16, or a byte with a scale.
//!
//! Kernels read and write elements and compute in f32; products are of 32-bit words of one, two or four elements, so
//! that one register tile serves all of them.
#![allow(unsafe_code)]

use crate::simd::{Dot, Simd};
use bytemuck::Pod;
use half::bf16;

/// How the values of a tensor are stored: `value = scale * (stored - zero)`.
///
/// Bytes have the scale and zero of their tensor; the other elements are their values, scale 1 and zero 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// The value of a step.
    pub scale: f32,
    /// What stands for 0: between 0 and 255.
    pub zero: u8,
}

impl Scale {
    /// Stored values are the values.
    pub const ONE: Scale = Scale { scale: 1.0, zero: 0 };

    /// Bytes for values from `low` to `high`, with 0 among them exactly.
    pub fn of_range(low: f32, high: f32) -> Scale {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = (high - low) / 255.0;
        if !(scale.is_normal() && scale.is_finite()) {
            return Scale::ONE;
        }
        Scale { scale, zero: (-low / scale).round_ties_even() as u8 }
    }
}

mod sealed {
    /// Elements are these three.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
    impl Sealed for u8 {}
}

/// A stored value of an activation.
pub trait Element: Pod + Default + Send + Sync + std::fmt::Debug + sealed::Sealed {
    /// The name: `f32`, `bf16`, `int8`.
    const NAME: &str;
    /// Elements in a 32-bit word.
    const IN_WORD: usize;
    /// Weights that are multiplied with such elements: their words, and the sums' lanes, are of this kind.
    #[doc(hidden)]
    const DOT: Dot;
    /// The least and the largest stored value.
    #[doc(hidden)]
    const LIMITS: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);
    /// The value as it is stored, [`Scale`] left aside.
    fn to_f32(self) -> f32;
    /// The nearest stored value, ties to even.
    fn from_f32(value: f32) -> Self;
    /// `other` where it is larger or no number, else itself.
    #[doc(hidden)]
    #[inline(always)]
    fn or_larger(self, other: Self) -> Self {
        if other.to_f32() > self.to_f32() || other.to_f32().is_nan() { other } else { self }
    }
    /// A word of weights; what is missing is 0.
    #[doc(hidden)]
    fn word(weights: &[f32]) -> u32;

    /// # Safety
    /// As [`Simd::load`].
    #[doc(hidden)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> S::V;
    /// # Safety
    /// As [`Simd::store`]; bytes want values between 0 and 255.
    #[doc(hidden)]
    unsafe fn store<S: Simd>(simd: S, to: *mut Self, v: S::V);
    /// The products of words `x` and `w`, added to `sum`.
    ///
    /// # Safety
    /// As [`Simd`].
    #[doc(hidden)]
    unsafe fn dot<S: Simd>(simd: S, x: S::V, w: S::V, sum: S::V) -> S::V;
    /// Sums as f32.
    ///
    /// # Safety
    /// As [`Simd`].
    #[doc(hidden)]
    #[inline(always)]
    unsafe fn sum<S: Simd>(_: S, sum: S::V) -> S::V {
        sum
    }
}

impl Element for f32 {
    const NAME: &str = "f32";
    const IN_WORD: usize = 1;
    const DOT: Dot = Dot::F32;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_f32(value: f32) -> f32 {
        value
    }
    fn word(weights: &[f32]) -> u32 {
        weights.first().map_or(0, |w| w.to_bits())
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const f32) -> S::V {
        // SAFETY: the caller's contract.
        unsafe { simd.load(from) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut f32, v: S::V) {
        // SAFETY: the caller's contract.
        unsafe { simd.store(to, v) }
    }
    #[inline(always)]
    unsafe fn dot<S: Simd>(simd: S, x: S::V, w: S::V, sum: S::V) -> S::V {
        // SAFETY: the caller's contract.
        unsafe { simd.fma(x, w, sum) }
    }
}

impl Element for bf16 {
    const NAME: &str = "bf16";
    const IN_WORD: usize = 2;
    const DOT: Dot = Dot::Bf16;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
    #[inline(always)]
    fn from_f32(value: f32) -> bf16 {
        bf16::from_f32(value)
    }
    fn word(weights: &[f32]) -> u32 {
        let bits = |w: f32| u32::from(bf16::from_f32(w).to_bits());
        weights.iter().take(2).rev().fold(0, |word, &w| word << 16 | bits(w))
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const bf16) -> S::V {
        // SAFETY: the caller's contract; `bf16` is a u16.
        unsafe { simd.load_bf16(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut bf16, v: S::V) {
        // SAFETY: the caller's contract; `bf16` is a u16.
        unsafe { simd.store_bf16(to.cast(), v) }
    }
    #[inline(always)]
    unsafe fn dot<S: Simd>(simd: S, x: S::V, w: S::V, sum: S::V) -> S::V {
        // SAFETY: the caller's contract.
        unsafe { simd.dot_bf16(x, w, sum) }
    }
}

impl Element for u8 {
    const NAME: &str = "int8";
    const IN_WORD: usize = 4;
    const DOT: Dot = Dot::Int8;
    const LIMITS: (f32, f32) = (0.0, 255.0);

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
    #[inline(always)]
    fn from_f32(value: f32) -> u8 {
        value.round_ties_even() as u8
    }
    /// Weights are whole numbers between -128 and 127.
    #[inline(always)]
    fn or_larger(self, other: u8) -> u8 {
        self.max(other)
    }
    fn word(weights: &[f32]) -> u32 {
        weights.iter().take(4).rev().fold(0, |word, &w| word << 8 | u32::from((w as i8).cast_unsigned()))
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, from: *const u8) -> S::V {
        // SAFETY: the caller's contract.
        unsafe { simd.load_u8(from) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, to: *mut u8, v: S::V) {
        // SAFETY: the caller's contract.
        unsafe { simd.store_u8(to, v) }
    }
    #[inline(always)]
    unsafe fn dot<S: Simd>(simd: S, x: S::V, w: S::V, sum: S::V) -> S::V {
        // SAFETY: the caller's contract.
        unsafe { simd.dot_u8_s8(x, w, sum) }
    }
    #[inline(always)]
    unsafe fn sum<S: Simd>(simd: S, sum: S::V) -> S::V {
        // SAFETY: the caller's contract.
        unsafe { simd.s32_to_f32(sum) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::simd::{self, Kernel};
    use crate::{Isa, Scales};
    use headstart_tensor::Rng;

    /// Scales in which the elements hold values around 0 well.
    pub(crate) fn scales<I: Element, O: Element>() -> Scales {
        let of = |dot: Dot, scale: f32, zero: u8| match dot {
            Dot::Int8 => Scale { scale, zero },
            Dot::F32 | Dot::Bf16 => Scale::ONE,
        };
        Scales { input: of(I::DOT, 0.01, 120), residual: of(O::DOT, 0.02, 100), output: of(O::DOT, 0.03, 90) }
    }

    /// `n` stored elements, and their values.
    pub(crate) fn draw<E: Element>(rng: &mut Rng, n: usize, scale: Scale) -> (Vec<E>, Vec<f32>) {
        let zero = f32::from(scale.zero);
        let stored = |v: f32| E::from_f32((v / scale.scale + zero).clamp(E::LIMITS.0, E::LIMITS.1));
        let all: Vec<E> = (0..n).map(|_| stored(2.0 * rng.uniform() as f32 - 1.0)).collect();
        let values = all.iter().map(|e| scale.scale * (e.to_f32() - zero)).collect();
        (all, values)
    }

    /// Every output is the stored value nearest to what was expected, or its neighbour where that lies in between.
    pub(crate) fn nearest<E: Element>(found: &[E], expected: &[f32], scale: Scale, what: &str) {
        assert_eq!(found.len(), expected.len(), "{what}");
        let zero = f32::from(scale.zero);
        for (i, (f, &e)) in found.iter().zip(expected).enumerate() {
            let (low, high) = E::LIMITS;
            let e = (e / scale.scale + zero).clamp(low, high);
            let step = if E::DOT == Dot::Int8 { 0.5 } else { e.abs() / 256.0 };
            assert!((f.to_f32() - e).abs() <= step + 2e-4, "{what}: value {i} is {f:?}, expected {e}");
        }
    }

    struct Through<'a, E>(&'a [f32], &'a mut [E], &'a mut [f32]);
    impl<E: Element> Kernel for Through<'_, E> {
        const DOT: Dot = E::DOT;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for i in (0..self.0.len()).step_by(S::LANES) {
                // SAFETY: the lengths are a multiple of any vector's.
                unsafe {
                    E::store(simd, self.1.as_mut_ptr().add(i), simd.load(self.0.as_ptr().add(i)));
                    simd.store(self.2.as_mut_ptr().add(i), E::load(simd, self.1.as_ptr().add(i)));
                }
            }
        }
    }

    #[test]
    fn vectors_round_as_single_values_do() {
        fn of<E: Element>(isa: Isa, values: &[f32]) {
            let mut stored = vec![E::default(); values.len()];
            let mut back = vec![f32::NAN; values.len()];
            simd::run(isa, Through(values, &mut stored, &mut back));
            for ((&v, s), b) in values.iter().zip(&stored).zip(back) {
                let single = E::from_f32(v).to_f32();
                assert!(
                    single == b && s.to_f32() == b || v.is_nan() && single.is_nan() && b.is_nan(),
                    "{isa} {v}"
                );
            }
        }
        // Ties, neighbours of ties, and both ends of a byte.
        let bytes =
            [0.0, 0.5, 1.5, 2.5, 0.499, 0.501, 254.5, 255.0, 127.49, 127.5, 128.5, 1.0, 2.0, 3.0, 253.5, 7.7];
        let mut rng = Rng::new(4);
        let mut wide: Vec<f32> = (0..64).map(|_| (2.0 * rng.uniform() as f32 - 1.0) * 1e3).collect();
        wide.extend(
            [0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x7f7f_0000, 0xff80_0000, 0x7f7f_ffff]
                .map(f32::from_bits),
        );
        wide.extend([0x7fc0_0000, 0xffff_ffff, 0x7fff_ffff, 0x7f80_0001].map(f32::from_bits));
        wide.resize(80, -0.0);
        for isa in Isa::available() {
            of::<u8>(isa, &bytes);
            of::<bf16>(isa, &wide);
            of::<f32>(isa, &wide);
        }
    }

    struct Dots<'a, E>(&'a [u32], &'a [u32], &'a mut [f32], std::marker::PhantomData<E>);
    impl<E: Element> Kernel for Dots<'_, E> {
        const DOT: Dot = E::DOT;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for i in (0..self.0.len()).step_by(S::LANES) {
                // SAFETY: the lengths are a multiple of any vector's.
                unsafe {
                    let [x, w] = [self.0, self.1].map(|v| simd.load(v.as_ptr().add(i).cast()));
                    simd.store(self.2.as_mut_ptr().add(i), E::sum(simd, E::dot(simd, x, w, simd.splat(0.0))));
                }
            }
        }
    }

    #[test]
    fn dot_products_of_bytes_are_exact_at_both_ends() {
        let ends = [[0, 255], [1, 254]];
        let x: Vec<u32> =
            (0..16).map(|i| u32::from_le_bytes(std::array::from_fn(|j| ends[j % 2][i >> j & 1]))).collect();
        let w = [[-127.0, 127.0, -128.0, 1.0], [127.0; 4], [-128.0; 4], [-1.0, 2.0, -3.0, 4.0]];
        let weights: Vec<u32> = (0..16).map(|i| <u8 as Element>::word(&w[i % 4])).collect();
        for isa in Isa::available() {
            let mut found = [f32::NAN; 16];
            simd::run(isa, Dots::<u8>(&x, &weights, &mut found, std::marker::PhantomData));
            for (i, found) in found.iter().enumerate() {
                let pairs = x[i].to_le_bytes().into_iter().zip(w[i % 4]);
                assert_eq!(*found, pairs.map(|(x, w)| f32::from(x) * w).sum::<f32>(), "{isa} {i}");
            }
        }
    }

    #[test]
    fn a_range_of_bytes_holds_zero_and_both_ends() {
        for (low, high) in [(-1.0, 3.0), (0.0, 6.0), (-2.0, 0.0), (0.5, 1.0), (0.0, 0.0), (0.0, f32::NAN)] {
            let s = Scale::of_range(low, high);
            let value = |stored: f32| s.scale * (stored - f32::from(s.zero));
            assert!(value(0.0) <= low.min(0.0) + s.scale / 2.0, "{low} {high} {s:?}");
            assert!(high.is_nan() || value(255.0) >= high - s.scale / 2.0, "{low} {high} {s:?}");
        }
    }
}
