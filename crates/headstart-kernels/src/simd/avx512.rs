//! AVX-512: 16 lanes, 32 registers.
#![allow(unsafe_code)]

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// `BF16` and `VNNI`: with the dot products of these extensions.
#[derive(Clone, Copy)]
pub(super) struct Avx512<const BF16: bool, const VNNI: bool>;

/// # Safety
/// The machine must have AVX-512F and AVX-512BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn run(kernel: impl Kernel) {
    kernel.run(Avx512::<false, false>);
}

/// # Safety
/// As [`run`], and AVX-512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn run_bf16(kernel: impl Kernel) {
    kernel.run(Avx512::<true, false>);
}

/// # Safety
/// As [`run`], and AVX-512-VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn run_vnni(kernel: impl Kernel) {
    kernel.run(Avx512::<false, true>);
}

// SAFETY of every method: the trait's contract gives the instructions and the addresses; the entry points above give
// those of the extensions that the type names.
impl<const BF16: bool, const VNNI: bool> Simd for Avx512<BF16, VNNI> {
    type V = __m512;
    const LANES: usize = 16;
    const TILES: &[usize] = &[14, 7, 4, 2, 1];

    #[inline(always)]
    fn fetch(self, from: *const f32) {
        // SAFETY: a hint, which no address makes fail.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) };
    }
    #[inline(always)]
    unsafe fn splat(self, value: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m512) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max_or_nan(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above. `max` takes the second, `a`, where either is no number.
        unsafe { _mm512_mask_mov_ps(_mm512_max_ps(b, a), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(b, b), b) }
    }
    #[inline(always)]
    unsafe fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn power_of_two(self, n: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        }
    }
    #[inline(always)]
    unsafe fn s32_to_f32(self, v: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(_mm512_castps_si512(v)) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> __m512 {
        // SAFETY: see above.
        unsafe { low_bf16(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, v: __m512) {
        // SAFETY: see above; a vector of bf16 is 32 bytes.
        unsafe {
            if BF16 {
                let short = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v));
                return _mm256_storeu_si256(to.cast(), short);
            }
            let bits = _mm512_castps_si512(v);
            let even = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let up = _mm512_add_epi32(_mm512_add_epi32(bits, even), _mm512_set1_epi32(0x7fff));
            // Rounding up could turn what is no number into one.
            let none = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            let high = _mm512_mask_set1_epi32(_mm512_srli_epi32::<16>(up), none, 0x7fc0);
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(high));
        }
    }
    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8, v: __m512) {
        // SAFETY: see above.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v))) }
    }
    #[inline(always)]
    unsafe fn dot_bf16(self, x: __m512, w: __m512, sum: __m512) -> __m512 {
        // SAFETY: see above; both vectors are 64 bytes.
        unsafe {
            if BF16 {
                let pairs = |v: __m512| std::mem::transmute::<__m512, __m512bh>(v);
                return _mm512_dpbf16_ps(sum, pairs(x), pairs(w));
            }
            let (x, w) = (_mm512_castps_si512(x), _mm512_castps_si512(w));
            let sum = _mm512_fmadd_ps(low_bf16(x), low_bf16(w), sum);
            _mm512_fmadd_ps(high_bf16(x), high_bf16(w), sum)
        }
    }
    #[inline(always)]
    unsafe fn dot_u8_s8(self, x: __m512, w: __m512, sum: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let [x, w, sum] = [x, w, sum].map(|v| _mm512_castps_si512(v));
            if VNNI {
                return _mm512_castsi512_ps(_mm512_dpbusd_epi32(sum, x, w));
            }
            let even = _mm512_madd_epi16(
                _mm512_and_si512(x, _mm512_set1_epi16(0xff)),
                _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(w)),
            );
            let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(x), _mm512_srai_epi16::<8>(w));
            _mm512_castsi512_ps(_mm512_add_epi32(sum, _mm512_add_epi32(even, odd)))
        }
    }
}

/// f32 from the lower bf16 of every lane.
///
/// # Safety
/// AVX-512F.
#[inline(always)]
unsafe fn low_bf16(v: __m512i) -> __m512 {
    // SAFETY: the caller's contract.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(v)) }
}

/// f32 from the upper bf16 of every lane.
///
/// # Safety
/// AVX-512F.
#[inline(always)]
unsafe fn high_bf16(v: __m512i) -> __m512 {
    // SAFETY: the caller's contract.
    unsafe { _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(!0xffff))) }
}
