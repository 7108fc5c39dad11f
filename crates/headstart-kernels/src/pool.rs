//! Pooling of one NHWC image.
#![allow(unsafe_code)]

use crate::element::{Element, Scale};
use crate::simd::{self, Dot, Kernel, Simd};
use crate::{Conv, Isa};

/// Sizes of a max pooling: those of a depthwise convolution.
pub type MaxPool = Conv;

/// The largest value under each window; padding never wins.
///
/// # Panics
/// Where a slice has another size than `pool` says.
pub fn max_pool<E: Element>(isa: Isa, pool: &MaxPool, image: &[E], out: &mut [E]) {
    pool.expect_sizes(1, image, None, out);
    simd::run(isa, Largest { pool, image, out });
}

struct Largest<'a, E> {
    pool: &'a MaxPool,
    image: &'a [E],
    out: &'a mut [E],
}

impl<E: Element> Kernel for Largest<'_, E> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Largest { pool, image, out } = self;
        let ([_, width, channels], [top, left]) = (pool.input, pool.pad);
        for y in 0..pool.output[0] {
            let rows = pool.rows(y);
            for (x, out) in out[y * pool.output[1] * channels..][..pool.output[1] * channels]
                .chunks_exact_mut(channels)
                .enumerate()
            {
                let columns = pool.columns(x);
                let window = if rows.is_empty() || columns.is_empty() {
                    &[]
                } else {
                    let row = y * pool.stride[0] + rows.start - top;
                    &image[(row * width + x * pool.stride[1] + columns.start - left) * channels..]
                };
                let row = width * channels;
                // A compiler knows the larger of bytes, many at once.
                if channels < S::LANES || E::DOT == Dot::Int8 {
                    out.fill(E::from_f32(E::LIMITS.0));
                    for at in
                        (0..rows.len()).flat_map(|r| (0..columns.len()).map(move |k| r * row + k * channels))
                    {
                        for (most, &v) in out.iter_mut().zip(&window[at..at + channels]) {
                            *most = most.or_larger(v);
                        }
                    }
                    continue;
                }
                for c in (0..channels).step_by(S::LANES) {
                    // The last vector reaches back over channels that are done already.
                    let c = c.min(channels - S::LANES);
                    // SAFETY: `rows` and `columns` are those of the window that lie inside the image, which has as many
                    // values as `pool` says, and a pixel has channels for a whole vector from `c` on.
                    unsafe {
                        let mut most = simd.splat(E::LIMITS.0);
                        for r in 0..rows.len() {
                            for k in 0..columns.len() {
                                let v = E::load(simd, window.as_ptr().add(r * row + k * channels + c));
                                most = simd.max_or_nan(most, v);
                            }
                        }
                        E::store(simd, out.as_mut_ptr().add(c), most);
                    }
                }
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw, odd_sizes};
    use crate::reference;
    use headstart_tensor::Rng;

    #[test]
    fn max_pool_and_its_gradient_agree_with_the_plain_loops() {
        let mut rng = Rng::new(5);
        for pool in odd_sizes(&[(1, 1), (5, 5), (16, 16), (33, 33)]) {
            let (inputs, outputs) = (pool.input.iter().product(), pool.output.iter().product());
            let (image, gradient) = (draw(&mut rng, inputs), draw(&mut rng, outputs));
            let (expected, winners) = reference::max_pool(&pool, &image);
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; outputs];
                max_pool(isa, &pool, &image, &mut out);
                close(&out, &expected, "forward");
                let mut dx = vec![f32::NAN; inputs];
                max_pool_gradient(isa, &pool, &image, &out, &gradient, &mut dx);
                let mut expected = vec![0.0; inputs];
                let winners = winners.iter().zip(&gradient);
                winners.for_each(|(w, g)| expected[w.expect("a window with a pixel")] += g);
                close(&dx, &expected, "gradient");
            }
        }
    }

    #[test]
    fn what_is_no_number_comes_through_and_padding_never_wins() {
        let pool =
            Conv { input: [3, 3, 19], output: [2, 2, 19], kernel: [3, 3], stride: [2, 2], pad: [1, 1] };
        for isa in Isa::available() {
            for at in [0, 4 * 19 + 18, 8 * 19 + 3] {
                let mut image = vec![-5.0f32; 9 * 19];
                image[at] = f32::NAN;
                let mut out = vec![77.0; 4 * 19];
                max_pool(isa, &pool, &image, &mut out);
                let sees = |pixel: usize| match at / 19 {
                    0 => pixel == 0,
                    8 => pixel == 3,
                    _ => true,
                };
                for (i, &o) in out.iter().enumerate() {
                    let nan = i % 19 == at % 19 && sees(i / 19);
                    assert!(if nan { o.is_nan() } else { o == -5.0 }, "{isa} {at} {i}: {o}");
                }
            }
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
        let pool =
            Conv { input: [4, 4, 18], output: [2, 2, 18], kernel: [3, 3], stride: [2, 2], pad: [1, 1] };
        let values: Vec<f32> = (0..288).map(|i| ((i * 7) % 32) as f32).collect();
        let bytes: Vec<u8> = values.iter().map(|&v| v as u8).collect();
        let halves: Vec<half::bf16> = values.iter().map(|&v| half::bf16::from_f32(v)).collect();
        for isa in Isa::available() {
            let mut expected = [0.0; 72];
            max_pool(isa, &pool, &values, &mut expected);
            let (mut of_bytes, mut of_halves) = ([77u8; 72], [half::bf16::ZERO; 72]);
            max_pool(isa, &pool, &bytes, &mut of_bytes);
            max_pool(isa, &pool, &halves, &mut of_halves);
            assert_eq!(of_bytes.map(f32::from), expected);
            assert_eq!(of_halves.map(f32::from), expected);
        }

        let mut means = [[0.0; 18]; 3];
        global_avg_pool(&values, Scale::ONE, &mut means[0]);
        global_avg_pool(&halves, Scale::ONE, &mut means[1]);
        global_avg_pool(&bytes, Scale { scale: 0.5, zero: 3 }, &mut means[2]);
        assert_eq!(means[1], means[0]);
        assert_eq!(means[2], means[0].map(|m| 0.5 * (m - 3.0)));
    }
}
