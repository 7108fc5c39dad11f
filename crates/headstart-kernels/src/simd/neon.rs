//! NEON: 4 lanes, 32 registers.
#![allow(unsafe_code)]

use super::{Kernel, Simd};
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub(super) struct Neon;

/// # Safety
/// The machine must have NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run(kernel: impl Kernel) {
    kernel.run(Neon);
}

// SAFETY of every method: the trait's contract gives the instructions and the addresses.
impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;
    const TILES: &[usize] = &[7, 4, 2, 1];

    #[inline(always)]
    unsafe fn splat(self, value: f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: float32x4_t) {
        // SAFETY: see above.
        unsafe { vst1q_f32(to, v) }
    }
    #[inline(always)]
    unsafe fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn max_or_nan(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vminq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn power_of_two(self, n: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe {
            let exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
        }
    }
    #[inline(always)]
    unsafe fn s32_to_f32(self, v: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vcvtq_f32_s32(vreinterpretq_s32_f32(v)) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> float32x4_t {
        // SAFETY: see above.
        unsafe { low_bf16(vmovl_u16(vld1_u16(from))) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, v: float32x4_t) {
        // SAFETY: see above.
        unsafe {
            let bits = vreinterpretq_u32_f32(v);
            let even = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
            let up = vaddq_u32(vaddq_u32(bits, even), vdupq_n_u32(0x7fff));
            // Rounding up could turn what is no number into one.
            let high = vbslq_u32(vceqq_f32(v, v), up, vdupq_n_u32(0x7fc0_0000));
            vst1_u16(to, vshrn_n_u32::<16>(high));
        }
    }
    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> float32x4_t {
        // SAFETY: see above: four bytes.
        unsafe {
            let bytes = vcreate_u8(u64::from(from.cast::<u32>().read_unaligned()));
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))))
        }
    }
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8, v: float32x4_t) {
        // SAFETY: see above: four bytes.
        unsafe {
            let halves = vmovn_u32(vcvtnq_u32_f32(v));
            let bytes = vmovn_u16(vcombine_u16(halves, halves));
            to.cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_u8(bytes)));
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16(self, x: float32x4_t, w: float32x4_t, sum: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe {
            let (x, w) = (vreinterpretq_u32_f32(x), vreinterpretq_u32_f32(w));
            let sum = vfmaq_f32(sum, low_bf16(x), low_bf16(w));
            vfmaq_f32(sum, high_bf16(x), high_bf16(w))
        }
    }
    #[inline(always)]
    unsafe fn dot_u8_s8(self, x: float32x4_t, w: float32x4_t, sum: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe {
            let x = vreinterpretq_u16_f32(x);
            let w = vreinterpretq_s16_f32(w);
            let pairs = |x: uint16x8_t, w: int16x8_t| {
                let x = vreinterpretq_s16_u16(x);
                vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(w)), vmull_high_s16(x, w))
            };
            let even = pairs(vandq_u16(x, vdupq_n_u16(0xff)), vshrq_n_s16::<8>(vshlq_n_s16::<8>(w)));
            let odd = pairs(vshrq_n_u16::<8>(x), vshrq_n_s16::<8>(w));
            let sum = vaddq_s32(vreinterpretq_s32_f32(sum), vaddq_s32(even, odd));
            vreinterpretq_f32_s32(sum)
        }
    }
}

/// f32 from the lower bf16 of every lane.
///
/// # Safety
/// NEON.
#[inline(always)]
unsafe fn low_bf16(v: uint32x4_t) -> float32x4_t {
    // SAFETY: the caller's contract.
    unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(v)) }
}

/// f32 from the upper bf16 of every lane.
///
/// # Safety
/// NEON.
#[inline(always)]
unsafe fn high_bf16(v: uint32x4_t) -> float32x4_t {
    // SAFETY: the caller's contract.
    unsafe { vreinterpretq_f32_u32(vandq_u32(v, vdupq_n_u32(!0xffff))) }
}
