//! A factor for each channel of one image: squeeze-and-excitation's product (Hu et al. 2018).
#![allow(unsafe_code)]

use crate::Isa;
use crate::simd::{self, Kernel, Simd};

/// `out[p, c] = x[p, c] scale[c]`.
///
/// # Panics
/// Where `x` and `out` are not the same whole number of rows of `scale.len()`.
pub fn scale_channels(isa: Isa, x: &[f32], scale: &[f32], out: &mut [f32]) {
    expect(scale.len(), x, out);
    simd::run(isa, Product { x, scale, out });
}

/// From `x`, and the gradient of the output: that of the factors, `sum over p of x[p, c] gradient[p, c]`, in `out`. Summed in
/// f64, in the order of the rows.
///
/// # Panics
/// As [`scale_channels`].
pub fn scale_channels_gradient(x: &[f32], gradient: &[f32], out: &mut [f32]) {
    expect(out.len(), x, gradient);
    let mut sums = vec![0.0f64; out.len()];
    for (x, g) in x.chunks_exact(out.len()).zip(gradient.chunks_exact(out.len())) {
        for ((sum, &x), &g) in sums.iter_mut().zip(x).zip(g) {
            *sum += f64::from(x) * f64::from(g);
        }
    }
    out.iter_mut().zip(sums).for_each(|(o, sum)| *o = sum as f32);
}

fn expect(channels: usize, x: &[f32], out: &[f32]) {
    assert!(channels > 0 && x.len() == out.len(), "channels, and an output for every value");
    assert!(x.len().is_multiple_of(channels), "whole rows of channels");
}

struct Product<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Product<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.scale.len();
        let whole = channels / S::LANES * S::LANES;
        for (x, out) in self.x.chunks_exact(channels).zip(self.out.chunks_exact_mut(channels)) {
            for c in (0..whole).step_by(S::LANES) {
                // SAFETY: all three hold a vector at `c`.
                unsafe {
                    let (x, scale) = (simd.load(x.as_ptr().add(c)), simd.load(self.scale.as_ptr().add(c)));
                    simd.store(out.as_mut_ptr().add(c), simd.mul(x, scale));
                }
            }
            for c in whole..channels {
                out[c] = x[c] * self.scale[c];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw};
    use crate::reference;
    use headstart_tensor::Rng;

    #[test]
    fn every_isa_agrees_with_the_plain_loop_over_odd_channels() {
        let mut rng = Rng::new(41);
        for isa in Isa::available() {
            for channels in [1, 7, 16, 33] {
                let (x, scale) = (draw(&mut rng, 5 * channels), draw(&mut rng, channels));
                let mut out = vec![f32::NAN; x.len()];
                scale_channels(isa, &x, &scale, &mut out);
                assert_eq!(out, reference::scale_channels(&x, &scale), "{isa} {channels}");
            }
        }
    }

    #[test]
    fn the_gradient_of_a_factor_is_the_sum_of_its_channel() {
        let mut rng = Rng::new(42);
        let (x, g) = (draw(&mut rng, 12), draw(&mut rng, 12));
        let mut out = [f32::NAN; 4];
        scale_channels_gradient(&x, &g, &mut out);
        let sum = |c: usize| (0..3).map(|p| x[4 * p + c] * g[4 * p + c]).sum::<f32>();
        close(&out, &[sum(0), sum(1), sum(2), sum(3)], "factors");
    }
}
