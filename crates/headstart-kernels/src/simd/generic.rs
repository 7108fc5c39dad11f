//! Plain Rust: four lanes that a compiler turns into whatever the target has.
#![allow(unsafe_code)]

use super::Simd;
use crate::element::Element;
use half::bf16;

#[derive(Clone, Copy)]
pub(super) struct Generic;

#[inline(always)]
fn zip(a: [f32; 4], b: [f32; 4], f: impl Fn(f32, f32) -> f32) -> [f32; 4] {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

impl Simd for Generic {
    type V = [f32; 4];
    const LANES: usize = 4;
    const TILES: &[usize] = &[4, 2, 1];

    #[inline(always)]
    unsafe fn splat(self, value: f32) -> [f32; 4] {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 4] {
        // SAFETY: the trait's contract: four values at `from`; no alignment is assumed.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: [f32; 4]) {
        // SAFETY: the trait's contract: room for four values at `to`; no alignment is assumed.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn fma(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        zip(zip(a, b, |a, b| a * b), c, |ab, c| ab + c)
    }
    #[inline(always)]
    unsafe fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a + b)
    }
    // As x86 has it: where one is no number, the second.
    #[inline(always)]
    unsafe fn max(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn max_or_nan(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| if b > a || b.is_nan() { b } else { a })
    }
    #[inline(always)]
    unsafe fn min(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn sub(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn power_of_two(self, n: [f32; 4]) -> [f32; 4] {
        // Of a NaN any number.
        n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn s32_to_f32(self, v: [f32; 4]) -> [f32; 4] {
        v.map(|v| v.to_bits().cast_signed() as f32)
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> [f32; 4] {
        // SAFETY: the trait's contract: four values at `from`.
        unsafe { from.cast::<[u16; 4]>().read_unaligned().map(|v| f32::from(bf16::from_bits(v))) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, v: [f32; 4]) {
        // SAFETY: the trait's contract: room for four values at `to`.
        unsafe { to.cast::<[u16; 4]>().write_unaligned(v.map(|v| bf16::from_f32(v).to_bits())) }
    }
    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> [f32; 4] {
        // SAFETY: the trait's contract: four values at `from`.
        unsafe { from.cast::<[u8; 4]>().read_unaligned().map(f32::from) }
    }
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8, v: [f32; 4]) {
        // SAFETY: the trait's contract: room for four values at `to`.
        unsafe { to.cast::<[u8; 4]>().write_unaligned(v.map(u8::from_f32)) }
    }
    #[inline(always)]
    unsafe fn dot_bf16(self, x: [f32; 4], w: [f32; 4], sum: [f32; 4]) -> [f32; 4] {
        let low = |v: f32| f32::from_bits(v.to_bits() << 16);
        let high = |v: f32| f32::from_bits(v.to_bits() & !0xffff);
        let sum = zip(zip(x, w, |x, w| low(x) * low(w)), sum, |xw, sum| xw + sum);
        zip(zip(x, w, |x, w| high(x) * high(w)), sum, |xw, sum| xw + sum)
    }
    #[inline(always)]
    unsafe fn dot_u8_s8(self, x: [f32; 4], w: [f32; 4], sum: [f32; 4]) -> [f32; 4] {
        let dot = |x: f32, w: f32| {
            let pairs = x.to_bits().to_le_bytes().into_iter().zip(w.to_bits().to_le_bytes());
            pairs.map(|(x, w)| i32::from(x) * i32::from(w.cast_signed())).sum::<i32>()
        };
        let dots: [i32; 4] = std::array::from_fn(|i| dot(x[i], w[i]));
        std::array::from_fn(|i| {
            let sum = sum[i].to_bits().cast_signed().wrapping_add(dots[i]);
            f32::from_bits(sum.cast_unsigned())
        })
    }
}
