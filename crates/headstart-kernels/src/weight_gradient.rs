//! The weight gradient of any dense convolution: `dw[tap, i, o] = sum over pixels of x[pixel at tap, i] dy[pixel, o]`.
//!
//! In an NHWC image the values of a kernel row are one run, so the sums are outer products of that run with the
//! gradient's pixel, in a register tile over blocks of pixels. Groups of images, cut by their number alone, have sums of
//! their own, which are added in order.
#![allow(unsafe_code)]

use crate::outer::{Outer, Strip};
use crate::padded::{self, Rows};
use crate::simd::{self, Kernel, Simd};
use crate::{Conv, Isa, Pool, Spare};

/// The most groups of images, and the fewest images of one.
const GROUPS: usize = 8;
const FEWEST: usize = 4;
/// Pixels of a block, about: its sums are read and written once.
const PIXELS: usize = 256;

/// Images of a group.
pub(crate) fn group(n: usize) -> usize {
    n.div_ceil(GROUPS).max(FEWEST)
}

/// The vectors that cover `channels`: where each begins. The last reaches back over the one before it.
pub(crate) fn starts(channels: usize, lanes: usize) -> impl Fn(usize) -> usize + Copy {
    move |v| (v * lanes).min(channels.saturating_sub(lanes))
}

/// Where channel `c` of [`starts`] lies among vectors one after the other.
pub(crate) fn slot(channels: usize, lanes: usize, c: usize) -> usize {
    let whole = channels / lanes * lanes;
    if c < whole { c } else { whole + c - channels.saturating_sub(lanes) }
}

/// The gradient of the weights, in the checkpoint's layout `[out, in, kh, kw]`, over images `[h, w, in]` and the
/// gradients of their outputs `[oh, ow, out]`. The bytes do not depend on the threads.
///
/// # Panics
/// Where a slice has another size than the convolution says.
pub fn conv_weight_gradient(
    isa: Isa,
    pool: &Pool,
    spare: &Spare,
    conv: &Conv,
    images: &[f32],
    out_gradients: &[f32],
    gradient: &mut [f32],
) {
    let (inner, outer, lanes) = (conv.input[2], conv.output[2], simd::lanes(isa));
    let (one, outputs) = (conv.input.iter().product::<usize>(), conv.output.iter().product::<usize>());
    let n = images.len() / one;
    conv.expect_sizes(n, images, None, out_gradients);
    assert_eq!(gradient.len(), conv.patch() * outer, "the gradient of the weights");
    let width = outer.next_multiple_of(lanes);
    let (group, len) = (group(n), conv.patch() * width);
    let groups = n.div_ceil(group);
    let mut sums = spare.take(groups * len);
    pool.chunks_mut(&mut sums, len, |g, sums| {
        let of = g * group..n.min((g + 1) * group);
        let count = of.len();
        let copy = padded::scratch::<f32>(conv);
        let mut copies = spare.take(copy * count);
        let images = &images[of.start * one..of.end * one];
        let (rows, next_image) = if copy == 0 {
            (padded::padded(conv, images, 0.0, &mut copies), one)
        } else {
            let mut stride = 0;
            for (image, copy) in images.chunks_exact(one).zip(copies.chunks_exact_mut(copy)) {
                stride = padded::padded(conv, image, 0.0, copy).stride;
            }
            (Rows { data: &copies, stride }, copy)
        };
        let e = &out_gradients[of.start * outputs..of.end * outputs];
        if outer < lanes {
            // Whole vectors, with zeros behind the channels.
            let mut wide = spare.take(count * conv.pixels() * lanes);
            for (to, from) in wide.chunks_exact_mut(lanes).zip(e.chunks_exact(outer)) {
                to[..outer].copy_from_slice(from);
                to[outer..].fill(0.0);
            }
            simd::run(isa, Pass { conv, rows, next_image, gradients: &wide, channels: lanes, count, sums });
            spare.give(wide);
        } else {
            simd::run(isa, Pass { conv, rows, next_image, gradients: e, channels: outer, count, sums });
        }
        spare.give(copies);
    });
    // A thread's share of output channels; a channel's place among its vectors.
    let taps = conv.kernel[0] * conv.kernel[1];
    let place = |o: usize| if outer < lanes { o } else { slot(outer, lanes, o) };
    pool.chunks_mut(gradient, 16 * inner * taps, |chunk, gradient| {
        for k in 0..taps * inner {
            let (tap, i) = (k / inner, k % inner);
            for (o, gradient) in gradient.chunks_exact_mut(inner * taps).enumerate() {
                let at = k * width + place(16 * chunk + o);
                gradient[i * taps + tap] = (0..groups).map(|g| sums[g * len + at]).sum();
            }
        }
    });
    spare.give(sums);
}

/// The sums over `count` images.
struct Pass<'a> {
    conv: &'a Conv,
    rows: Rows<'a>,
    next_image: usize,
    gradients: &'a [f32],
    /// Values of a pixel of the gradient, a vector or more.
    channels: usize,
    count: usize,
    /// `[patch, vectors]`.
    sums: &'a mut [f32],
}

impl Kernel for Pass<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let conv = self.conv;
        // All pixels of a pointwise convolution are one long row.
        let one_row = conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.input[..2] == conv.output[..2];
        let (height, width) =
            if one_row { (conv.pixels().div_ceil(PIXELS), PIXELS) } else { (conv.output[0], conv.output[1]) };
        let (step, down) = match one_row {
            true => (conv.input[2], PIXELS * conv.input[2]),
            false => (conv.stride[1] * conv.input[2], conv.stride[0] * self.rows.stride),
        };
        let run = conv.kernel[1] * conv.input[2];
        let vectors = self.channels.div_ceil(S::LANES);
        let starts = starts(self.channels, S::LANES);
        let reach = (conv.kernel[0] - 1) * self.rows.stride + run;
        let last = match one_row {
            true => (conv.pixels() - 1) * step + reach,
            false => (height - 1) * down + (width - 1) * step + reach,
        };
        assert!((self.count - 1) * self.next_image + last <= self.rows.data.len(), "the patches lie inside");
        assert!(self.gradients.len() == self.count * conv.pixels() * self.channels, "whole gradients");
        assert!(self.sums.len() == conv.kernel[0] * run * vectors * S::LANES, "room for the sums");
        // Blocks of rows of an image, or of whole small images.
        let images = (PIXELS / conv.pixels()).clamp(1, self.count);
        let rows = if images > 1 { height } else { PIXELS.div_ceil(width).min(height) };
        for image in (0..self.count).step_by(images) {
            let images = images.min(self.count - image);
            for y in (0..height).step_by(rows) {
                let rows = rows.min(height - y);
                for v in (0..vectors).step_by(2) {
                    for ky in 0..conv.kernel[0] {
                        let product = Outer {
                            strips: images * rows,
                            x_step: step,
                            y_step: self.channels,
                            rows: run,
                            second: (v + 1 < vectors).then(|| starts(v + 1) - starts(v)),
                            sums: self.sums[(ky * run * vectors + v) * S::LANES..].as_mut_ptr(),
                            stride: vectors * S::LANES,
                            fresh: image == 0 && y == 0,
                        };
                        let x = self.rows.data.as_ptr();
                        let e = self.gradients.as_ptr();
                        let strip = |i: usize| {
                            let (image, y) = (image + i / rows, y + i % rows);
                            let from = image * self.next_image + y * down + ky * self.rows.stride;
                            let pixel = image * conv.pixels() + y * width;
                            let count = width.min(conv.pixels() - y * width);
                            let to = pixel * self.channels + starts(v);
                            Strip { x: x.wrapping_add(from), y: e.wrapping_add(to), count }
                        };
                        // SAFETY: asserted above: the runs of all patches lie inside the rows, the vectors of all
                        // pixels, which reach back rather than over the end, inside the gradients.
                        unsafe { product.add(simd, strip) };
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

    #[test]
    fn every_isa_agrees_with_the_plain_loops_for_any_number_of_threads() {
        let mut rng = Rng::new(14);
        let spare = Spare::new();
        let large =
            [([40, 33], [3, 3], [2, 2], [1, 1], (5, 24)), ([30, 31], [1, 1], [1, 1], [0, 0], (24, 40))];
        let large = large.map(|(size, kernel, stride, pad, (inner, outer))| {
            let out = |i: usize| (size[i] + 2 * pad[i] - kernel[i]) / stride[i] + 1;
            Conv { input: [size[0], size[1], inner], output: [out(0), out(1), outer], kernel, stride, pad }
        });
        for isa in Isa::available() {
            for conv in odd_sizes(&[(1, 1), (3, 5), (17, 16), (6, 40), (9, 33)]).into_iter().chain(large) {
                let n = 9;
                let (one, outputs) =
                    (conv.input.iter().product::<usize>(), conv.output.iter().product::<usize>());
                let (inner, outer) = (conv.input[2], conv.output[2]);
                let (images, gradients) = (draw(&mut rng, n * one), draw(&mut rng, n * outputs));
                let mut plain = vec![0.0; conv.patch() * outer];
                for (x, e) in images.chunks(one).zip(gradients.chunks(outputs)) {
                    reference::conv2d_weight_gradient(&conv, x, e, &mut plain);
                }
                let taps = conv.kernel[0] * conv.kernel[1];
                let mut expected = vec![0.0; plain.len()];
                for (at, e) in expected.iter_mut().enumerate() {
                    let (o, i, t) = (at / taps / inner, at / taps % inner, at % taps);
                    *e = plain[(t * inner + i) * outer + o];
                }
                let mut all = Vec::new();
                for threads in [1, 3] {
                    let mut found = vec![f32::NAN; plain.len()];
                    conv_weight_gradient(
                        isa,
                        &Pool::new(threads),
                        &spare,
                        &conv,
                        &images,
                        &gradients,
                        &mut found,
                    );
                    close(&found, &expected, &format!("{isa} {conv:?}"));
                    all.push(found);
                }
                assert_eq!(all[0], all[1], "the same bytes with three threads");
            }
        }
    }
}
