//! Pooling of one NHWC image.

use crate::Conv;
use crate::element::{Element, Scale};

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

/// The gradient of one image: each window's gradient goes to its first largest value.
pub fn max_pool_gradient(pool: &MaxPool, image: &[f32], out_gradient: &[f32], gradient: &mut [f32]) {
    let channels = pool.input[2];
    gradient.fill(0.0);
    for (pixel, out) in out_gradient.chunks_exact(channels).enumerate() {
        for (c, &g) in out.iter().enumerate() {
            let mut best: Option<usize> = None;
            each_pixel(pool, pixel, |from| {
                if best.is_none_or(|b| image[from + c] > image[b]) {
                    best = Some(from + c);
                }
            });
            if let Some(best) = best {
                gradient[best] += g;
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
            max_pool_gradient(&pool, &image, &gradient, &mut dx);
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
