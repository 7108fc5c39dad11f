//! Depthwise convolution for inference: bias, residual and activation fused.
//!
//! Weights are `[kernel_h * kernel_w, channels]`. A pass makes seven output pixels of a vector of channels: it keeps a
//! kernel row's weights and all sums in registers and loads every input pixel of the row once.
#![allow(unsafe_code)]

use crate::aligned::Aligned;
use crate::element::Element;
use crate::epilogue::{Epilogue, Scales};
use crate::padded::{self, Rows};
use crate::simd::{self, Kernel, Simd};
use crate::{Activation, Conv, Isa, Pool};

/// Output pixels of a pass: every width of a 224-pixel network is a multiple.
const PIXELS: usize = 7;

/// A depthwise convolution of stored elements, prepared for one instruction set. It computes in f32.
#[derive(Debug, Clone)]
pub struct PackedDepthwise<E = f32> {
    conv: Conv,
    isa: Isa,
    weights: Aligned,
    epilogue: Epilogue,
    /// What stands for 0 in the image.
    zero: E,
}

impl PackedDepthwise {
    /// Takes `weights` `[kernel_h * kernel_w, channels]` and `bias` `[channels]`, for f32.
    ///
    /// # Panics
    /// Where they have other sizes.
    pub fn new(isa: Isa, conv: Conv, weights: &[f32], bias: &[f32]) -> Self {
        PackedDepthwise::stored(isa, conv, weights, bias, &Scales::ONE)
    }
}

impl<E: Element> PackedDepthwise<E> {
    /// Takes `weights` `[kernel_h * kernel_w, channels]` and `bias` `[channels]` for elements stored with `scales`.
    ///
    /// # Panics
    /// Where they have other sizes.
    pub fn stored(isa: Isa, conv: Conv, weights: &[f32], bias: &[f32], scales: &Scales) -> Self {
        let channels = conv.input[2];
        let taps = conv.kernel[0] * conv.kernel[1];
        assert_eq!(
            (weights.len(), bias.len()),
            (taps * channels, channels),
            "weights and bias of a convolution"
        );
        let (unit, zero) = (scales.input.scale, f32::from(scales.input.zero));
        let mut bias = bias.to_vec();
        let mut own = Aligned::zeros(weights.len());
        for (i, (own, &weight)) in own.iter_mut().zip(weights).enumerate() {
            *own = weight * (unit / scales.output.scale);
            bias[i % channels] -= weight * unit * zero;
        }
        let epilogue = Epilogue::plain::<E>(&bias, scales);
        PackedDepthwise { conv, isa, weights: own, epilogue, zero: E::from_f32(zero) }
    }

    /// The convolution's sizes.
    pub fn conv(&self) -> &Conv {
        &self.conv
    }

    /// What stands for 0 in the image.
    pub(crate) fn zero(&self) -> E {
        self.zero
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        4 * self.weights.len()
    }

    /// Elements of scratch that [`PackedDepthwise::run`] wants.
    pub fn scratch(&self) -> usize {
        padded::scratch::<E>(&self.conv)
    }

    /// `out = activation(image * weights + bias + residual)`, channel by channel, the rows of the output spread over
    /// `pool`; the bytes do not depend on it.
    ///
    /// # Panics
    /// Where a slice has another size than the convolution says.
    #[cfg_attr(debug_assertions, inline(never))]
    pub fn run(
        &self,
        pool: &Pool,
        image: &[E],
        residual: Option<&[E]>,
        activation: Option<Activation>,
        scratch: &mut [E],
        out: &mut [E],
    ) {
        self.conv.expect_sizes(1, image, residual, out);
        let rows = padded::padded(&self.conv, image, self.zero, scratch);
        let [height, width, channels] = self.conv.output;
        let share = height.div_ceil(pool.threads());
        pool.chunks_mut(out, share * width * channels, |i, out| {
            let rows = rows.at_output_row(&self.conv, i * share);
            let residual = residual.map(|r| &r[i * share * width * channels..]);
            self.run_rows(rows, residual, activation, out);
        });
    }

    /// The output rows that `out` holds, whose patches begin with the first of `rows`; the residual may be longer.
    pub(crate) fn run_rows(
        &self,
        rows: Rows<E>,
        residual: Option<&[E]>,
        activation: Option<Activation>,
        out: &mut [E],
    ) {
        assert!(residual.is_none_or(|r| r.len() >= out.len()), "the residual of a convolution");
        let range = self.epilogue.range(activation);
        simd::run(self.isa, Pass { packed: self, rows, residual, range, out });
    }
}

/// Whole rows of the output, whose patches begin with the first of `rows`.
struct Pass<'a, E> {
    packed: &'a PackedDepthwise<E>,
    rows: Rows<'a, E>,
    residual: Option<&'a [E]>,
    /// The least and the largest output.
    range: (f32, f32),
    out: &'a mut [E],
}

impl<E: Element> Pass<'_, E> {
    /// Where the patch of output pixel (`y`, `x`) begins.
    #[inline(always)]
    fn patch(&self, y: usize, x: usize) -> usize {
        let conv = &self.packed.conv;
        (y.saturating_mul(conv.stride[0]).saturating_mul(self.rows.stride))
            .saturating_add(x.saturating_mul(conv.stride[1]).saturating_mul(conv.input[2]))
    }

    /// One value, plainly: for the channels that fill no vector.
    #[inline(always)]
    fn single(&mut self, y: usize, x: usize, channel: usize) {
        let conv = self.packed.conv;
        let channels = conv.input[2];
        let first = self.patch(y, x) + channel;
        let mut sum = 0.0;
        for ky in 0..conv.kernel[0] {
            for kx in 0..conv.kernel[1] {
                let tap = ky * conv.kernel[1] + kx;
                let value = self.rows.data[first + ky * self.rows.stride + kx * channels];
                sum += value.to_f32() * self.packed.weights[tap * channels + channel];
            }
        }
        let at = (y * conv.output[1] + x) * channels + channel;
        let epilogue = &self.packed.epilogue;
        let residual = self.residual.map_or(0.0, |r| r[at].to_f32() * epilogue.factor);
        let value = sum + epilogue.bias[channel] + residual;
        // Not `clamp` nor `f32::max`: a NaN must come through, as in PyTorch.
        let value = if value < self.range.0 { self.range.0 } else { value };
        self.out[at] = E::from_f32(if value > self.range.1 { self.range.1 } else { value });
    }

    /// `N` pixels from (`y`, `x`) on, all channels: `K` is the kernel's width, `STEP` its stride; 0 for a kernel of
    /// another width, which looks both up.
    #[inline(always)]
    fn pixels<S: Simd, const N: usize, const K: usize, const STEP: usize>(
        &mut self,
        simd: S,
        y: usize,
        x: usize,
    ) {
        let conv = self.packed.conv;
        let channels = conv.input[2];
        let whole = channels / S::LANES * S::LANES;
        let (first, step) = (self.patch(y, x), conv.stride[1].saturating_mul(channels));
        let reach = ((N - 1).saturating_mul(step))
            .saturating_add((conv.kernel[0] - 1) * self.rows.stride + conv.kernel[1] * channels);
        let at = (y * conv.output[1] + x) * channels;
        assert!(first.saturating_add(reach) <= self.rows.data.len() && at + N * channels <= self.out.len());
        let (low, high) = self.range;
        for c in (0..whole).step_by(S::LANES) {
            // SAFETY: asserted above: taps of all pixels lie inside the rows, and all outputs inside `out`, with
            // which the residual was compared in `run_rows`; weights and bias hold a value for each channel of each tap.
            unsafe {
                let rows = self.rows.data.as_ptr().add(first + c);
                let mut weights = self.packed.weights.as_ptr().add(c);
                let mut sums = [simd.load(self.packed.epilogue.bias.as_ptr().add(c)); N];
                for ky in 0..conv.kernel[0] {
                    let row = rows.add(ky * self.rows.stride);
                    if K == 0 {
                        for kx in 0..conv.kernel[1] {
                            let w = simd.load(weights.add(kx * channels));
                            for (n, sum) in sums.iter_mut().enumerate() {
                                *sum = simd.fma(E::load(simd, row.add(kx * channels + n * step)), w, *sum);
                            }
                        }
                    } else {
                        let w: [S::V; K] = std::array::from_fn(|kx| simd.load(weights.add(kx * channels)));
                        for column in 0..(N - 1) * STEP + K {
                            let v = E::load(simd, row.add(column * channels));
                            for (kx, &w) in w.iter().enumerate() {
                                // The output pixel for which this column is tap `kx`.
                                if column >= kx && (column - kx) % STEP == 0 && (column - kx) / STEP < N {
                                    let n = (column - kx) / STEP;
                                    sums[n] = simd.fma(v, w, sums[n]);
                                }
                            }
                        }
                    }
                    weights = weights.add(conv.kernel[1] * channels);
                }
                for (n, &sum) in sums.iter().enumerate() {
                    let at = at + n * channels + c;
                    let sum = match self.residual {
                        None => sum,
                        Some(residual) => {
                            let factor = simd.splat(self.packed.epilogue.factor);
                            simd.fma(E::load(simd, residual.as_ptr().add(at)), factor, sum)
                        }
                    };
                    let v = simd.min(simd.splat(high), simd.max(simd.splat(low), sum));
                    E::store(simd, self.out.as_mut_ptr().add(at), v);
                }
            }
        }
        for n in 0..N {
            (whole..channels).for_each(|c| self.single(y, x + n, c));
        }
    }

    #[inline(always)]
    fn all<S: Simd, const K: usize, const STEP: usize>(&mut self, simd: S) {
        let [_, width, channels] = self.packed.conv.output;
        for y in 0..self.out.len() / (width * channels) {
            let mut x = 0;
            while x + PIXELS <= width {
                self.pixels::<S, PIXELS, K, STEP>(simd, y, x);
                x += PIXELS;
            }
            (x..width).for_each(|x| self.pixels::<S, 1, K, STEP>(simd, y, x));
        }
    }
}

impl<E: Element> Kernel for Pass<'_, E> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        match (self.packed.conv.kernel[1], self.packed.conv.stride[1]) {
            (3, 1) => self.all::<S, 3, 1>(simd),
            (3, 2) => self.all::<S, 3, 2>(simd),
            (5, 1) => self.all::<S, 5, 1>(simd),
            (5, 2) => self.all::<S, 5, 2>(simd),
            _ => self.all::<S, 0, 1>(simd),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw, odd_sizes};
    use crate::element::tests as stored;
    use crate::{bf16, epilogue, reference};
    use headstart_tensor::Rng;

    #[test]
    fn every_isa_agrees_with_the_plain_loops() {
        let (mut rng, pool) = (Rng::new(7), Pool::new(3));
        for isa in Isa::available() {
            for conv in odd_sizes(&[(1, 1), (4, 4), (15, 15), (16, 16), (17, 17), (40, 40)]) {
                for (residual, activation) in [
                    (false, None),
                    (true, Some(Activation::Relu)),
                    (true, None),
                    (false, Some(Activation::Relu6)),
                ] {
                    let what = format!("{isa} {conv:?} {residual} {activation:?}");
                    let image = draw(&mut rng, conv.input.iter().product());
                    let weights = draw(&mut rng, conv.kernel[0] * conv.kernel[1] * conv.input[2]);
                    let bias = draw(&mut rng, conv.output[2]);
                    let rest = residual.then(|| draw(&mut rng, conv.pixels() * conv.output[2]));
                    let packed = PackedDepthwise::new(isa, conv, &weights, &bias);
                    let mut scratch = vec![f32::NAN; packed.scratch()];
                    let mut out = vec![f32::NAN; conv.pixels() * conv.output[2]];
                    packed.run(&Pool::single(), &image, rest.as_deref(), activation, &mut scratch, &mut out);
                    let mut split = vec![f32::NAN; out.len()];
                    packed.run(&pool, &image, rest.as_deref(), activation, &mut scratch, &mut split);
                    assert_eq!(out, split, "{what}: the same bytes with three threads");
                    let mut expected = reference::depthwise(&conv, &image, &weights);
                    epilogue(&mut expected, &bias, rest.as_deref(), activation);
                    close(&out, &expected, &what);
                }
            }
        }
    }

    #[test]
    fn other_elements_agree_with_the_plain_loops() {
        fn agree<E: Element>(rng: &mut Rng, isa: Isa, conv: Conv) {
            let (scales, channels) = (stored::scales::<E, E>(), conv.output[2]);
            let what = format!("{isa} {conv:?} {}", E::NAME);
            let (image, values) = stored::draw::<E>(rng, conv.input.iter().product(), scales.input);
            let weights = draw(rng, conv.kernel[0] * conv.kernel[1] * channels);
            let bias = draw(rng, channels);
            let (rest, more) = stored::draw::<E>(rng, conv.pixels() * channels, scales.residual);
            let packed = PackedDepthwise::<E>::stored(isa, conv, &weights, &bias, &scales);
            let mut scratch = vec![E::from_f32(77.0); packed.scratch()];
            let mut out = vec![E::from_f32(77.0); more.len()];
            let relu = Some(Activation::Relu6);
            packed.run(&Pool::single(), &image, Some(&rest), relu, &mut scratch, &mut out);
            let mut expected = reference::depthwise(&conv, &values, &weights);
            epilogue(&mut expected, &bias, Some(&more), relu);
            stored::nearest(&out, &expected, scales.output, &what);
        }
        let mut rng = Rng::new(17);
        for isa in Isa::available() {
            for conv in odd_sizes(&[(1, 1), (4, 4), (15, 15), (16, 16), (17, 17), (40, 40)]) {
                agree::<bf16>(&mut rng, isa, conv);
                agree::<u8>(&mut rng, isa, conv);
            }
        }
    }
}
