//! AVX2 with FMA: 8 lanes, 16 registers.
#![allow(unsafe_code)]

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// `VNNI`: with the dot products of AVX-VNNI.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const VNNI: bool>;

/// # Safety
/// The machine must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run(kernel: impl Kernel) {
    kernel.run(Avx2::<false>);
}

/// # Safety
/// As [`run`], and AVX-VNNI.
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) unsafe fn run_vnni(kernel: impl Kernel) {
    kernel.run(Avx2::<true>);
}

// SAFETY of every method: the trait's contract gives the instructions and the addresses; the entry points above give
// those of the extension that the type names.
impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type V = __m256;
    const LANES: usize = 8;
    const TILES: &[usize] = &[6, 4, 2, 1];

    #[inline(always)]
    fn fetch(self, from: *const f32) {
        // SAFETY: a hint, which no address makes fail.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) };
    }
    #[inline(always)]
    unsafe fn splat(self, value: f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: __m256) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max_or_nan(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above. `max` takes the second, `a`, where either is no number.
        unsafe { _mm256_blendv_ps(_mm256_max_ps(b, a), b, _mm256_cmp_ps::<_CMP_UNORD_Q>(b, b)) }
    }
    #[inline(always)]
    unsafe fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn power_of_two(self, n: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }
    #[inline(always)]
    unsafe fn s32_to_f32(self, v: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_cvtepi32_ps(_mm256_castps_si256(v)) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> __m256 {
        // SAFETY: see above.
        unsafe { low_bf16(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, v: __m256) {
        // SAFETY: see above.
        unsafe {
            let bits = _mm256_castps_si256(v);
            let even = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let up = _mm256_add_epi32(_mm256_add_epi32(bits, even), _mm256_set1_epi32(0x7fff));
            // Rounding up could turn what is no number into one.
            let none = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
            let high = _mm256_blendv_epi8(_mm256_srli_epi32::<16>(up), _mm256_set1_epi32(0x7fc0), none);
            // Packing works within halves: the wanted ones are the first and the third quarter.
            let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(high, high));
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(packed));
        }
    }
    #[inline(always)]
    unsafe fn load_u8(self, from: *const u8) -> __m256 {
        // SAFETY: see above.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_u8(self, to: *mut u8, v: __m256) {
        // SAFETY: see above.
        unsafe {
            let words = _mm256_cvtps_epi32(v);
            let halves =
                _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storel_epi64(to.cast(), _mm_packus_epi16(halves, halves));
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16(self, x: __m256, w: __m256, sum: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let (x, w) = (_mm256_castps_si256(x), _mm256_castps_si256(w));
            let sum = _mm256_fmadd_ps(low_bf16(x), low_bf16(w), sum);
            _mm256_fmadd_ps(high_bf16(x), high_bf16(w), sum)
        }
    }
    #[inline(always)]
    unsafe fn dot_u8_s8(self, x: __m256, w: __m256, sum: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let [x, w, sum] = [x, w, sum].map(|v| _mm256_castps_si256(v));
            if VNNI {
                return _mm256_castsi256_ps(_mm256_dpbusd_avx_epi32(sum, x, w));
            }
            let even = _mm256_madd_epi16(
                _mm256_and_si256(x, _mm256_set1_epi16(0xff)),
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w)),
            );
            let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(x), _mm256_srai_epi16::<8>(w));
            _mm256_castsi256_ps(_mm256_add_epi32(sum, _mm256_add_epi32(even, odd)))
        }
    }
}

/// f32 from the lower bf16 of every lane.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn low_bf16(v: __m256i) -> __m256 {
    // SAFETY: the caller's contract.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(v)) }
}

/// f32 from the upper bf16 of every lane.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn high_bf16(v: __m256i) -> __m256 {
    // SAFETY: the caller's contract.
    unsafe { _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32(!0xffff))) }
}
