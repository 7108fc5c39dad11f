//! What the machine can do: multiply-adds from registers, on every thread at once.
#![allow(unsafe_code)]

use crate::simd::{self, Kernel, Simd};
use crate::{Isa, Pool};
use std::time::Instant;

/// Independent sums, enough to hide the latency of a multiply-add.
const SUMS: usize = 12;
const ROUNDS: usize = 3_000_000;

/// f32 operations a second (a multiply-add counts two) that all threads of `pool` reach together, the best of five
/// probes of some milliseconds.
pub fn peak(isa: Isa, pool: &Pool) -> f64 {
    let probe = || {
        let started = Instant::now();
        let done = pool.map(pool.threads(), |_| {
            let mut values = 0;
            simd::run(isa, Probe(&mut values));
            values
        });
        2.0 * done.iter().sum::<usize>() as f64 / started.elapsed().as_secs_f64()
    };
    (0..5).map(|_| probe()).fold(0.0, f64::max)
}

/// Counts the multiply-adds it did.
struct Probe<'a>(&'a mut usize);

impl Kernel for Probe<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // SAFETY: the instructions are those of `simd`; the one store goes to an array of a vector's size.
        unsafe {
            let (a, b) = (simd.splat(std::hint::black_box(0.999_9)), simd.splat(std::hint::black_box(1e-6)));
            let mut sums = [simd.splat(1.0); SUMS];
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = simd.fma(*sum, a, b);
                }
            }
            let mut kept = [0.0f32; 16];
            for sum in sums {
                simd.store(kept.as_mut_ptr(), sum);
                std::hint::black_box(&kept);
            }
        }
        *self.0 = ROUNDS * SUMS * S::LANES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_isa_and_every_thread_does_its_share() {
        for isa in Isa::available() {
            let mut done = 0;
            simd::run(isa, Probe(&mut done));
            assert_eq!(done, ROUNDS * SUMS * simd::lanes(isa));
            let rate = peak(isa, &Pool::new(2));
            assert!(rate.is_finite() && rate > 0.0, "{isa} {rate}");
        }
    }
}
