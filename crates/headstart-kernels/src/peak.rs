//! What the machine can do: products from registers, on every thread at once.
#![allow(unsafe_code)]

use crate::element::Element;
use crate::simd::{self, Dot, Kernel, Simd};
use crate::{Isa, Pool, amx};
use half::bf16;
use std::marker::PhantomData;
use std::time::Instant;

/// Independent sums, enough to hide the latency of a multiply-add.
const SUMS: usize = 12;
const ROUNDS: usize = 3_000_000;

/// Operations a second (a multiply-add counts two) that all threads of `pool` reach together with products of a kind, the
/// best of five probes of some milliseconds.
pub fn peak(isa: Isa, dot: Dot, pool: &Pool) -> f64 {
    let probe = || {
        let started = Instant::now();
        let done = pool.map(pool.threads(), |_| {
            if isa == Isa::Amx && dot != Dot::F32 {
                return amx::probe(dot, ROUNDS / 10);
            }
            let mut values = 0;
            match dot {
                Dot::F32 => simd::run(isa, Probe::<f32>(&mut values, PhantomData)),
                Dot::Bf16 => simd::run(isa, Probe::<bf16>(&mut values, PhantomData)),
                Dot::Int8 => simd::run(isa, Probe::<u8>(&mut values, PhantomData)),
            }
            values
        });
        2.0 * done.iter().sum::<usize>() as f64 / started.elapsed().as_secs_f64()
    };
    (0..5).map(|_| probe()).fold(0.0, f64::max)
}

/// Counts the multiply-adds it did.
struct Probe<'a, E>(&'a mut usize, PhantomData<E>);

impl<E: Element> Kernel for Probe<'_, E> {
    const DOT: Dot = E::DOT;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // SAFETY: the instructions are those of `simd`; the one store goes to an array of a vector's size.
        unsafe {
            let (a, b) = (simd.splat(std::hint::black_box(0.999_9)), simd.splat(std::hint::black_box(1e-6)));
            let mut sums = [simd.splat(1.0); SUMS];
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = E::dot(simd, a, b, *sum);
                }
            }
            let mut kept = [0.0f32; 16];
            for sum in sums {
                simd.store(kept.as_mut_ptr(), sum);
                std::hint::black_box(&kept);
            }
        }
        *self.0 = ROUNDS * SUMS * S::LANES * E::IN_WORD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_isa_and_every_thread_does_its_share() {
        for isa in Isa::available() {
            let mut done = 0;
            simd::run(isa, Probe::<bf16>(&mut done, PhantomData));
            assert_eq!(done, 2 * ROUNDS * SUMS * simd::lanes(isa));
            for dot in [Dot::F32, Dot::Bf16, Dot::Int8] {
                let rate = peak(isa, dot, &Pool::new(2));
                assert!(rate.is_finite() && rate > 0.0, "{isa} {dot:?} {rate}");
            }
        }
    }
}
