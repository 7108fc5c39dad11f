//! One body, every instruction set: kernels are written over [`Simd`] and run through [`run`].
//!
//! A leaf file holds the intrinsics of one instruction set and its entry point, a function with that target
//! feature into which the whole kernel is inlined.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod generic;
#[cfg(target_arch = "aarch64")]
mod neon;

use crate::Isa;

/// Vectors of 32 bits a lane: f32, s32, two bf16 or four bytes, as the method says.
///
/// # Safety
/// All methods may use the instructions of their set: they are called only inside a kernel that [`run`] started.
/// Loads and stores touch [`Simd::LANES`] values at an address that must be good for them.
#[allow(unsafe_code)]
pub trait Simd: Copy {
    /// A vector.
    type V: Copy;
    /// Values in a vector.
    const LANES: usize;
    /// Output pixels that register tiles of a convolution hold, largest first, down to 1. A tile is two vectors of
    /// output channels wide.
    const TILES: &[usize];
    /// Asks for a cache line, wherever it is and whether it exists or not, to be brought into the second-level cache.
    #[inline(always)]
    fn fetch(self, _: *const f32) {}
    unsafe fn splat(self, value: f32) -> Self::V;
    unsafe fn load(self, from: *const f32) -> Self::V;
    unsafe fn store(self, to: *mut f32, v: Self::V);
    /// `a b + c`.
    unsafe fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(self, a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger of both; no number where either is none.
    unsafe fn max_or_nan(self, a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(self, a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `2^n` for whole `n` from -127, which gives 0, to 128, which gives infinity.
    unsafe fn power_of_two(self, n: Self::V) -> Self::V;
    /// f32 from s32.
    unsafe fn s32_to_f32(self, v: Self::V) -> Self::V;
    /// f32 from bf16.
    unsafe fn load_bf16(self, from: *const u16) -> Self::V;
    /// f32 rounded to the nearest bf16, ties to even.
    unsafe fn store_bf16(self, to: *mut u16, v: Self::V);
    /// f32 from bytes.
    unsafe fn load_u8(self, from: *const u8) -> Self::V;
    /// f32 between 0 and 255 rounded to the nearest byte, ties to even.
    unsafe fn store_u8(self, to: *mut u8, v: Self::V);
    /// f32: `sum + x[0] w[0] + x[1] w[1]` of the two bf16 in each lane.
    unsafe fn dot_bf16(self, x: Self::V, w: Self::V, sum: Self::V) -> Self::V;
    /// s32: `sum + x[0] w[0] + .. + x[3] w[3]` of the four bytes in each lane, `x` without sign and `w` with; exact.
    unsafe fn dot_u8_s8(self, x: Self::V, w: Self::V, sum: Self::V) -> Self::V;
}

/// Instructions beyond its set that a kernel is much faster with, where the machine has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dot {
    /// None.
    F32,
    /// Dot products of bf16.
    Bf16,
    /// Dot products of bytes.
    Int8,
}

/// A kernel for any instruction set. `run` must be `#[inline(always)]`.
pub(crate) trait Kernel {
    /// The dot products that the kernel uses, none else.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only x86 has kernels with them"))]
    const DOT: Dot = Dot::F32;
    fn run<S: Simd>(self, simd: S);
}

/// Runs a kernel with the instructions of `isa`.
#[allow(unsafe_code)]
pub(crate) fn run<K: Kernel>(isa: Isa, kernel: K) {
    match isa {
        Isa::Generic => kernel.run(generic::Generic),
        // SAFETY: `Isa` values other than `Generic` exist only where the machine has the instructions, and `has_dot` asks
        // for the others.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe {
            match K::DOT {
                Dot::Int8 if isa.has_dot(Dot::Int8) => avx2::run_vnni(kernel),
                Dot::F32 | Dot::Bf16 | Dot::Int8 => avx2::run(kernel),
            }
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Amx => unsafe {
            match K::DOT {
                Dot::Bf16 if isa.has_dot(Dot::Bf16) => avx512::run_bf16(kernel),
                Dot::Int8 if isa.has_dot(Dot::Int8) => avx512::run_vnni(kernel),
                Dot::F32 | Dot::Bf16 | Dot::Int8 => avx512::run(kernel),
            }
        },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => unsafe { neon::run(kernel) },
        #[allow(unreachable_patterns)]
        _ => kernel.run(generic::Generic),
    }
}

/// Values in a vector of `isa`.
pub(crate) fn lanes(isa: Isa) -> usize {
    struct Lanes<'a>(&'a mut usize);
    impl Kernel for Lanes<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            *self.0 = S::LANES;
        }
    }
    let mut lanes = 0;
    run(isa, Lanes(&mut lanes));
    lanes
}
