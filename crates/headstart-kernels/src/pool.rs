//! Pooling of one NHWC image.

use crate::element::{Element, Scale};
use crate::simd::{self, Kernel, Simd};
use crate::{Conv, Isa};

/// Sizes of a max pooling: those of a depthwise convolution.
pub type MaxPool = Conv;

/// The largest value under each window; padding never wins.
pub fn max_pool<E: Element>(pool: &MaxPool, image: &[E], out: &mut [E]) {
    let channels = pool.input[2];
    let lowest = E::from_f32(E::LIMITS.0);
    for (pixel, out) in out.chunks_exact_mut(channels).enumerate() {
        out.fill(lowest);
        each_pixel(pool, pixel, |from| {
            for (o, &v) in out.iter_mut().zip(&image[from..from + channels]) {
                let (value, most) = (v.to_f32(), o.to_f32());
                // Not `f32::max`: a NaN must come through, as in PyTorch.
                *o = if value > most || value.is_nan() { v } else { *o };
            }
        });
    }
}

/// The gradient of one image, from the windows' largest values and their gradients: each goes to the first value of
/// its window that is the largest.
pub fn max_pool_gradient(
    isa: Isa,
    pool: &MaxPool,
    image: &[f32],
    out: &[f32],
    out_gradient: &[f32],
    gradient: &mut [f32],
) {
    simd::run(isa, Gradient { pool, image, out, out_gradient, gradient });
}

struct Gradient<'a> {
    pool: &'a MaxPool,
    image: &'a [f32],
    out: &'a [f32],
    out_gradient: &'a [f32],
    gradient: &'a mut [f32],
}

impl Kernel for Gradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let channels = self.pool.input[2];
        self.gradient.fill(0.0);
        let mut rest = vec![0.0f32; channels];
        let windows = self.out.chunks_exact(channels).zip(self.out_gradient.chunks_exact(channels));
        for (pixel, (largest, g)) in windows.enumerate() {
            rest.copy_from_slice(g);
            let (y, x) = (pixel / self.pool.output[1], pixel % self.pool.output[1]);
            for ky in 0..self.pool.kernel[0] {
                for kx in self.pool.columns(x) {
                    let Some(from) = self.pool.tap(y, x, ky, kx) else { continue };
                    let values = self.image[from..from + channels].iter().zip(largest).zip(&mut rest);
                    for (to, ((&v, &o), rest)) in self.gradient[from..from + channels].iter_mut().zip(values)
                    {
                        let taken = if v == o { *rest } else { 0.0 };
                        *to += taken;
                        *rest -= taken;
                    }
                }
            }
        }
    }
}

/// The mean over all pixels, a channel each: `[h, w, c]`, stored with `scale`, to `[c]`. Summed in f64.
pub fn global_avg_pool<E: Element>(image: &[E], scale: Scale, out: &mut [f32]) {
    const BLOCK: usize = 32;
    let channels = out.len();
    let pixels = (image.len() / channels.max(1)) as f64;
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        let mut sums = [0.0f64; BLOCK];
        for pixel in image.chunks_exact(channels) {
            for (s, &v) in sums.iter_mut().zip(&pixel[block * BLOCK..block * BLOCK + out.len()]) {
                *s += f64::from(v.to_f32());
            }
        }
        for (o, s) in out.iter_mut().zip(sums) {
            *o = (f64::from(scale.scale) * (s / pixels - f64::from(scale.zero))) as f32;
        }
    }
}

fn each_pixel(pool: &MaxPool, pixel: usize, mut f: impl FnMut(usize)) {
    let (y, x) = (pixel / pool.output[1], pixel % pool.output[1]);
    for ky in 0..pool.kernel[0] {
        for kx in pool.columns(x) {
            if let Some(from) = pool.tap(y, x, ky, kx) {
                f(from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw, odd_sizes};
    use crate::reference;
    use headstart_tensor::Rng;

    #[test]
    fn max_pool_and_its_gradient_agree_with_the_plain_loops() {
        let mut rng = Rng::new(5);
        for pool in odd_sizes(&[(1, 1), (5, 5), (33, 33)]) {
            let (inputs, outputs) = (pool.input.iter().product(), pool.output.iter().product());
            let (image, gradient) = (draw(&mut rng, inputs), draw(&mut rng, outputs));
            let mut out = vec![f32::NAN; outputs];
            max_pool(&pool, &image, &mut out);
            let (expected, winners) = reference::max_pool(&pool, &image);
            close(&out, &expected, "forward");
            let mut dx = vec![f32::NAN; inputs];
            max_pool_gradient(Isa::current(), &pool, &image, &out, &gradient, &mut dx);
            let mut expected = vec![0.0; inputs];
            winners.iter().zip(&gradient).for_each(|(w, g)| expected[w.expect("a window with a pixel")] += g);
            close(&dx, &expected, "gradient");
        }
    }

    #[test]
    fn the_mean_is_a_channels_own() {
        let mut out = [f32::NAN; 2];
        global_avg_pool(&[1.0, 10.0, 2.0, 20.0, 3.0, 30.0], Scale::ONE, &mut out);
        assert_eq!(out, [2.0, 20.0]);
    }

    #[test]
    fn stored_elements_are_pooled_as_their_values() {
        let pool = Conv { input: [4, 4, 2], output: [2, 2, 2], kernel: [3, 3], stride: [2, 2], pad: [1, 1] };
        let values: Vec<f32> = (0..32).map(|i| ((i * 7) % 32) as f32).collect();
        let mut expected = [0.0; 8];
        max_pool(&pool, &values, &mut expected);
        let bytes: Vec<u8> = values.iter().map(|&v| v as u8).collect();
        let halves: Vec<half::bf16> = values.iter().map(|&v| half::bf16::from_f32(v)).collect();
        let (mut of_bytes, mut of_halves) = ([77u8; 8], [half::bf16::ZERO; 8]);
        max_pool(&pool, &bytes, &mut of_bytes);
        max_pool(&pool, &halves, &mut of_halves);
        assert_eq!(of_bytes.map(f32::from), expected);
        assert_eq!(of_halves.map(f32::from), expected);

        let mut means = [[0.0; 2]; 3];
        global_avg_pool(&values, Scale::ONE, &mut means[0]);
        global_avg_pool(&halves, Scale::ONE, &mut means[1]);
        global_avg_pool(&bytes, Scale { scale: 0.5, zero: 3 }, &mut means[2]);
        assert_eq!(means[1], means[0]);
        assert_eq!(means[2], means[0].map(|m| 0.5 * (m - 3.0)));
    }
}
