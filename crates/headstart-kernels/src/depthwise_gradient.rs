//! The gradients of a depthwise convolution.
//!
//! That of the input is the depthwise convolution, by the turned kernel, of the output's gradient with zeros between the
//! steps of the stride. That of the weights keeps the sums of a kernel row in registers, a vector of channels at a time;
//! groups of images, cut by their number alone, have sums of their own, which are added in order.
#![allow(unsafe_code)]

use crate::padded::{self, Rows};
use crate::simd::{self, Kernel, Simd};
use crate::weight_gradient::{group, slot, starts};
use crate::{Conv, Isa, PackedDepthwise, Pool, Spare};

/// The input gradient of a depthwise convolution, prepared for one instruction set.
#[derive(Debug, Clone)]
pub struct PackedDepthwiseInputGradient {
    conv: Conv,
    /// Over the spread gradient.
    turned: PackedDepthwise,
}

impl PackedDepthwiseInputGradient {
    /// Takes the `weights` `[channels, 1, kh, kw]`, each channel times its `scale`, of the convolution `conv`.
    ///
    /// # Panics
    /// Where they have other sizes.
    pub fn new(isa: Isa, conv: Conv, weights: &[f32], scale: Option<&[f32]>) -> Self {
        let ([height, width, channels], [kh, kw]) = (conv.input, conv.kernel);
        let taps = kh * kw;
        assert!(
            weights.len() == taps * channels && scale.is_none_or(|s| s.len() == channels),
            "weights of a convolution"
        );
        let turned = Conv {
            input: [height + kh - 1, width + kw - 1, channels],
            output: conv.input,
            stride: [1, 1],
            pad: [0, 0],
            ..conv
        };
        let mut packed = vec![0.0; weights.len()];
        for (c, weights) in weights.chunks_exact(taps).enumerate() {
            for (tap, &w) in weights.iter().enumerate() {
                packed[(taps - 1 - tap) * channels + c] = w * scale.map_or(1.0, |s| s[c]);
            }
        }
        let turned = PackedDepthwise::new(isa, turned, &packed, &vec![0.0; channels]);
        PackedDepthwiseInputGradient { conv, turned }
    }

    /// Values of scratch that [`PackedDepthwiseInputGradient::run`] wants.
    pub fn scratch(&self) -> usize {
        self.turned.conv().input.iter().product()
    }

    /// `out = ` the gradient of one image, from that of its output, `+ residual`.
    ///
    /// # Panics
    /// Where a slice has another size than the convolution says.
    pub fn run(&self, out_gradient: &[f32], residual: Option<&[f32]>, scratch: &mut [f32], out: &mut [f32]) {
        let conv = &self.conv;
        conv.expect_sizes(1, out, None, out_gradient);
        let [height, width, channels] = self.turned.conv().input;
        let spread = &mut scratch[..height * width * channels];
        spread.fill(0.0);
        let inside = |at: usize, axis: usize| {
            let at = (at * conv.stride[axis] + conv.kernel[axis] - 1).checked_sub(conv.pad[axis]);
            at.filter(|&v| v < [height, width][axis])
        };
        for (y, row) in out_gradient.chunks_exact(conv.output[1] * channels).enumerate() {
            let Some(to_y) = inside(y, 0) else { continue };
            for (x, pixel) in row.chunks_exact(channels).enumerate() {
                let Some(to_x) = inside(x, 1) else { continue };
                spread[(to_y * width + to_x) * channels..][..channels].copy_from_slice(pixel);
            }
        }
        self.turned.run_rows(Rows { data: spread, stride: width * channels }, residual, None, out);
    }
}

/// The gradient of the weights, in the checkpoint's layout `[channels, 1, kh, kw]`, over images `[h, w, channels]` and
/// the gradients of their outputs. The bytes do not depend on the threads.
///
/// # Panics
/// Where a slice has another size than the convolution says.
pub fn depthwise_weight_gradient(
    isa: Isa,
    pool: &Pool,
    spare: &Spare,
    conv: &Conv,
    images: &[f32],
    out_gradients: &[f32],
    gradient: &mut [f32],
) {
    let (channels, lanes) = (conv.input[2], simd::lanes(isa));
    let taps = conv.kernel[0] * conv.kernel[1];
    let (one, outputs) = (conv.input.iter().product::<usize>(), conv.output.iter().product::<usize>());
    let n = images.len() / one;
    conv.expect_sizes(n, images, None, out_gradients);
    assert_eq!(gradient.len(), taps * channels, "the gradient of the weights");
    let width = channels.next_multiple_of(lanes);
    let (group, len) = (group(n), taps * width);
    let groups = n.div_ceil(group);
    let mut sums = spare.take(groups * len);
    pool.chunks_mut(&mut sums, len, |g, sums| {
        sums.fill(0.0);
        let mut copy = spare.take(padded::scratch::<f32>(conv));
        for i in g * group..n.min((g + 1) * group) {
            let rows = padded::padded(conv, &images[i * one..(i + 1) * one], 0.0, &mut copy);
            let gradients = &out_gradients[i * outputs..(i + 1) * outputs];
            simd::run(isa, Pass { conv, rows, gradients, sums });
        }
        spare.give(copy);
    });
    for (c, gradient) in gradient.chunks_exact_mut(taps).enumerate() {
        let place = if channels < lanes { c } else { slot(channels, lanes, c) };
        for (tap, gradient) in gradient.iter_mut().enumerate() {
            *gradient = (0..groups).map(|g| sums[g * len + tap * width + place]).sum();
        }
    }
    spare.give(sums);
}

/// The sums over one image.
struct Pass<'a> {
    conv: &'a Conv,
    rows: Rows<'a>,
    gradients: &'a [f32],
    /// `[tap, vectors]`.
    sums: &'a mut [f32],
}

impl Kernel for Pass<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        if self.conv.input[2] < S::LANES {
            return self.narrow(self.sums.len() / (self.conv.kernel[0] * self.conv.kernel[1]));
        }
        match self.conv.kernel[1] {
            3 => self.all::<S, 3>(simd),
            5 => self.all::<S, 5>(simd),
            _ => self.all::<S, 1>(simd),
        }
    }
}

impl Pass<'_> {
    /// Fewer channels than a vector has values, plainly.
    #[inline(always)]
    fn narrow(&mut self, width: usize) {
        let (conv, channels) = (self.conv, self.conv.input[2]);
        for (pixel, gradient) in self.gradients.chunks_exact(channels).enumerate() {
            let (y, x) = (pixel / conv.output[1], pixel % conv.output[1]);
            let first = y * conv.stride[0] * self.rows.stride + x * conv.stride[1] * channels;
            for (tap, sums) in self.sums.chunks_exact_mut(width).enumerate() {
                let (ky, kx) = (tap / conv.kernel[1], tap % conv.kernel[1]);
                let from = &self.rows.data[first + ky * self.rows.stride + kx * channels..];
                for ((sum, &g), &v) in sums.iter_mut().zip(gradient).zip(from) {
                    *sum += g * v;
                }
            }
        }
    }

    /// `K` taps of a kernel row at once.
    #[inline(always)]
    fn all<S: Simd, const K: usize>(&mut self, simd: S) {
        /// Pixels of a block: their rows stay in the first-level cache for all kernel rows.
        const PIXELS: usize = 112;
        let conv = self.conv;
        let [height, width, channels] = conv.output;
        let (down, step) = (conv.stride[0] * self.rows.stride, conv.stride[1] * channels);
        let reach = (conv.kernel[0] - 1) * self.rows.stride + conv.kernel[1] * channels;
        let last = (height - 1) * down + (width - 1) * step + reach;
        let vectors = channels.div_ceil(S::LANES);
        let starts = starts(channels, S::LANES);
        assert!(last <= self.rows.data.len(), "the patches lie inside the image");
        assert!(self.gradients.len() == height * width * channels, "a gradient for each output");
        assert!(self.sums.len() == conv.kernel[0] * conv.kernel[1] * vectors * S::LANES, "room for the sums");
        let rows = PIXELS.div_ceil(width).min(height);
        for y in (0..height).step_by(rows) {
            let rows = rows.min(height - y);
            for v in 0..vectors {
                for ky in 0..conv.kernel[0] {
                    for kx in (0..conv.kernel[1]).step_by(K) {
                        // SAFETY: asserted above: the taps of all pixels lie inside the rows, and vectors reach back
                        // rather than over a pixel's last channel; the sums hold a vector for each tap.
                        unsafe {
                            let tap = (ky * conv.kernel[1] + kx) * vectors + v;
                            let to = self.sums.as_mut_ptr().add(tap * S::LANES);
                            let next = vectors * S::LANES;
                            let mut sums: [S::V; K] = std::array::from_fn(|k| simd.load(to.add(k * next)));
                            for y in y..y + rows {
                                let from = y * down + ky * self.rows.stride + kx * channels + starts(v);
                                let mut x = self.rows.data.as_ptr().add(from);
                                let mut e = self.gradients.as_ptr().add(y * width * channels + starts(v));
                                for _ in 0..width {
                                    let g = simd.load(e);
                                    for (k, sum) in sums.iter_mut().enumerate() {
                                        *sum = simd.fma(simd.load(x.add(k * channels)), g, *sum);
                                    }
                                    x = x.wrapping_add(step);
                                    e = e.wrapping_add(channels);
                                }
                            }
                            for (k, &sum) in sums.iter().enumerate() {
                                simd.store(to.add(k * next), sum);
                            }
                        }
                    }
                }
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

    /// From the checkpoint's layout `[channels, tap]` to `[tap, channels]`.
    fn turned(values: &[f32], channels: usize) -> Vec<f32> {
        let taps = values.len() / channels;
        (0..values.len()).map(|at| values[at % channels * taps + at / channels]).collect()
    }

    #[test]
    fn every_isa_agrees_with_the_plain_loops_for_any_number_of_threads() {
        let mut rng = Rng::new(16);
        let spare = Spare::new();
        for isa in Isa::available() {
            for conv in odd_sizes(&[(1, 1), (5, 5), (16, 16), (33, 33), (40, 40)]) {
                let what = format!("{isa} {conv:?}");
                let (n, channels) = (9, conv.input[2]);
                let (one, outputs) =
                    (conv.input.iter().product::<usize>(), conv.output.iter().product::<usize>());
                let (images, gradients) = (draw(&mut rng, n * one), draw(&mut rng, n * outputs));
                let mut expected = vec![0.0; conv.kernel[0] * conv.kernel[1] * channels];
                for (x, e) in images.chunks(one).zip(gradients.chunks(outputs)) {
                    reference::depthwise_weight_gradient(&conv, x, e, &mut expected);
                }
                let mut all = Vec::new();
                for threads in [1, 3] {
                    let mut found = vec![f32::NAN; expected.len()];
                    let pool = Pool::new(threads);
                    depthwise_weight_gradient(isa, &pool, &spare, &conv, &images, &gradients, &mut found);
                    close(&turned(&found, channels), &expected, &what);
                    all.push(found);
                }
                assert_eq!(all[0], all[1], "the same bytes with three threads");

                let (weights, scale) = (draw(&mut rng, expected.len()), draw(&mut rng, channels));
                let mut plain = turned(&weights, channels);
                plain.iter_mut().enumerate().for_each(|(at, w)| *w *= scale[at % channels]);
                let packed = PackedDepthwiseInputGradient::new(isa, conv, &weights, Some(&scale));
                let rest = draw(&mut rng, one);
                let mut expected = reference::depthwise_input_gradient(&conv, &plain, &gradients[..outputs]);
                let (mut scratch, mut out) = (vec![f32::NAN; packed.scratch()], vec![f32::NAN; one]);
                packed.run(&gradients[..outputs], None, &mut scratch, &mut out);
                close(&out, &expected, &what);
                expected.iter_mut().zip(&rest).for_each(|(e, r)| *e += r);
                packed.run(&gradients[..outputs], Some(&rest), &mut scratch, &mut out);
                close(&out, &expected, &what);
            }
        }
    }
}
