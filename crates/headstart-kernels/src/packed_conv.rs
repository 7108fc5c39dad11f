//! Dense convolution and matrix product for inference: weights packed once, bias, residual and activation fused.
//!
//! In an NHWC image a row of a patch is one run of `kernel_w * channels` values, so a patch is `kernel_h` runs and a
//! pointwise convolution one.

mod pass;

use crate::aligned::Aligned;
use crate::amx::Unit;
use crate::element::{Element, Scale};
use crate::epilogue::{Epilogue, Scales};
use crate::padded::{self, Rows};
use crate::simd::{self, Dot};
use crate::tile;
use crate::{Activation, Conv, Isa, Pool};
use pass::Pass;
use std::marker::PhantomData;

/// Bytes of left rows that all panels pass over before the next ones come.
const BLOCK: usize = 256 * 1024;

/// Bytes of weights that do not stay in the second-level cache beside what they are multiplied with.
const LARGE: usize = 512 * 1024;

/// A dense convolution of stored elements `I` to `O`, with its weights packed for one instruction set.
///
/// Products of f32 and of bf16 are summed in f32. Bytes are multiplied with weights of -127 to 127 that have a scale of
/// their own for each output channel, and summed exactly.
#[derive(Debug, Clone)]
pub struct PackedConv<I = f32, O = I> {
    conv: Conv,
    isa: Isa,
    /// The matrix unit, where it multiplies.
    unit: Option<Unit>,
    /// Panels `[words of a patch, width]` one after the other; the last may be one vector wide.
    panels: Aligned,
    epilogue: Epilogue,
    /// What stands for 0 in the image.
    zero: I,
    of: PhantomData<O>,
}

impl PackedConv {
    /// Packs `weights` `[patch, out_channels]` and `bias` `[out_channels]`, for f32.
    ///
    /// # Panics
    /// Where they have other sizes.
    pub fn new(isa: Isa, conv: Conv, weights: &[f32], bias: &[f32]) -> Self {
        PackedConv::stored(isa, conv, weights, bias, &Scales::ONE)
    }
}

impl<I: Element, O: Element> PackedConv<I, O> {
    /// Packs `weights` `[patch, out_channels]` and `bias` `[out_channels]` for elements stored with `scales`.
    ///
    /// # Panics
    /// Where they have other sizes.
    pub fn stored(isa: Isa, conv: Conv, weights: &[f32], bias: &[f32], scales: &Scales) -> Self {
        let (patch, channels) = (conv.patch(), conv.output[2]);
        assert_eq!(
            (weights.len(), bias.len()),
            (patch * channels, channels),
            "weights and bias of a convolution"
        );
        let (weights, units) = whole_numbers::<I>(weights, channels);
        let (units, bias) = match I::DOT {
            Dot::Int8 => of_bytes(&weights, &units, bias, scales.input),
            Dot::F32 | Dot::Bf16 => (units, bias.to_vec()),
        };
        let run = conv.kernel[1] * conv.input[2];
        let words = run.div_ceil(I::IN_WORD);
        let fill = |k: usize, column: usize, to: &mut [f32]| {
            let (first, from) = (k / words * run, k % words * I::IN_WORD);
            if I::DOT == Dot::F32 {
                return to.copy_from_slice(&weights[(first + from) * channels + column..][..to.len()]);
            }
            let rows = (run - from).min(I::IN_WORD);
            for (c, to) in to.iter_mut().enumerate() {
                let mut word = [0.0; 4];
                word.iter_mut().take(rows).enumerate().for_each(|(i, w)| {
                    *w = weights[(first + from + i) * channels + column + c];
                });
                *to = f32::from_bits(I::word(&word));
            }
        };
        PackedConv {
            conv,
            isa,
            unit: Unit::of(isa, I::DOT, words),
            panels: tile::pack_rows(isa, conv.kernel[0] * words, channels, fill),
            epilogue: Epilogue::new::<O>(isa, &units, &bias, scales),
            zero: I::from_f32(f32::from(scales.input.zero)),
            of: PhantomData,
        }
    }

    /// The convolution's sizes.
    pub fn conv(&self) -> &Conv {
        &self.conv
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        4 * self.panels.len()
    }

    /// What stands for 0 in the image.
    pub(crate) fn zero(&self) -> I {
        self.zero
    }

    /// Whole rows of the output, whose patches begin with the first of `rows`.
    pub(crate) fn run_rows(&self, rows: Rows<I>, activation: Option<Activation>, out: &mut [O]) {
        let width = self.conv.output[1];
        let height = out.len() / (width * self.conv.output[2]).max(1);
        let images = (1, 0);
        simd::run(
            self.isa,
            Pass {
                packed: self,
                rows,
                images,
                height,
                width,
                of_rows: None,
                residual: None,
                activation,
                out,
            },
        );
    }

    /// The instruction set whose kernels it is packed for.
    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// Elements of scratch that [`PackedConv::run`] wants.
    pub fn scratch(&self) -> usize {
        padded::scratch::<I>(&self.conv)
    }

    /// `out = activation(image * weights + bias + residual)`, the rows of the output spread over `pool`; the bytes do
    /// not depend on it.
    ///
    /// # Panics
    /// Where a slice has another size than the convolution says.
    #[cfg_attr(debug_assertions, inline(never))]
    pub fn run(
        &self,
        pool: &Pool,
        image: &[I],
        residual: Option<&[O]>,
        activation: Option<Activation>,
        scratch: &mut [I],
        out: &mut [O],
    ) {
        let conv = &self.conv;
        self.conv.expect_sizes(1, image, residual, out);
        let rows = padded::padded(conv, image, self.zero, scratch);
        let [height, width, channels] = conv.output;
        let one_row = self.is_one_row();
        let share = match one_row {
            true => (height * width).div_ceil(pool.threads()).next_multiple_of(tile::MOST_ROWS),
            false => height.div_ceil(pool.threads()) * width,
        };
        pool.chunks_mut(out, share * channels, |i, out| {
            let (first, pixels) = (i * share, out.len() / channels);
            let rows = match one_row {
                true => Rows { data: &rows.data[first * conv.input[2]..], stride: rows.stride },
                false => rows.at_output_row(conv, first / width),
            };
            let (height, width) = if one_row { (1, pixels) } else { (pixels / width, width) };
            let residual = residual.map(|r| &r[first * channels..]);
            let images = (1, 0);
            simd::run(
                self.isa,
                Pass { packed: self, rows, images, height, width, of_rows: None, residual, activation, out },
            );
        });
    }

    /// Whether several images should be run at once, by [`PackedConv::run_together`]: the matrix unit would be done with one before the
    /// weights, too large for the second-level cache, have come.
    pub fn wants_company(isa: Isa, conv: &Conv) -> bool {
        let words = (conv.kernel[1] * conv.input[2]).div_ceil(I::IN_WORD);
        let weights = conv.patch() * conv.output[2] * size_of::<I>();
        weights >= LARGE && Unit::of(isa, I::DOT, words).is_some()
    }

    /// Elements of scratch that [`PackedConv::run_together`] wants for `n` images.
    pub fn scratch_together(&self, n: usize) -> usize {
        if self.unit.is_some() { padded::scratch_of::<I>(&self.conv, n) } else { self.scratch() }
    }

    /// As [`PackedConv::run`], for images one after the other, on the calling thread; the bytes are the same.
    ///
    /// # Panics
    /// Where a slice has another size than the convolution says.
    #[cfg_attr(debug_assertions, inline(never))]
    pub fn run_together(
        &self,
        images: &[I],
        residual: Option<&[O]>,
        activation: Option<Activation>,
        scratch: &mut [I],
        out: &mut [O],
    ) {
        let conv = &self.conv;
        let (one, made) = (conv.input.iter().product::<usize>(), conv.output.iter().product::<usize>());
        let n = images.len() / one.max(1);
        conv.expect_sizes(n, images, residual, out);
        if self.unit.is_none() {
            for (i, out) in out.chunks_exact_mut(made).enumerate() {
                let residual = residual.map(|r| &r[i * made..(i + 1) * made]);
                self.run(
                    &Pool::single(),
                    &images[i * one..(i + 1) * one],
                    residual,
                    activation,
                    scratch,
                    out,
                );
            }
            return;
        }
        let (rows, next) = padded::padded_all(conv, images, self.zero, scratch);
        let [height, width, _] = conv.output;
        let (images, height, width) = match self.is_one_row() && self.scratch() == 0 {
            true => ((1, 0), 1, n * height * width),
            false => ((n, next), height, width),
        };
        simd::run(
            self.isa,
            Pass { packed: self, rows, images, height, width, of_rows: None, residual, activation, out },
        );
    }

    /// Whether all pixels are one long row: those of a pointwise convolution are.
    fn is_one_row(&self) -> bool {
        let conv = &self.conv;
        conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.input[..2] == conv.output[..2]
    }
}

impl<I: Element, O: Element> PackedConv<I, O> {
    /// As [`PackedConv::run`], of a matrix product ([`Conv::linear`]) for any number of rows, on the calling thread. A row's
    /// result does not depend on the others.
    ///
    /// # Panics
    /// Where it is no matrix product, or the slices do not hold the same number of whole rows.
    #[cfg_attr(debug_assertions, inline(never))]
    pub fn multiply(
        &self,
        rows: &[I],
        residual: Option<&[O]>,
        activation: Option<Activation>,
        out: &mut [O],
    ) {
        let (inner, outer) = (self.conv.input[2], self.conv.output[2]);
        assert_eq!(self.conv, Conv::linear(self.conv.pixels(), inner, outer), "a matrix product");
        let width = out.len() / outer.max(1);
        assert!(
            rows.len() == width * inner && out.len() == width * outer,
            "as many whole rows on the left as in the output"
        );
        assert!(residual.is_none_or(|r| r.len() == out.len()), "and in the residual");
        // The last word of a row that does not fill it reaches over its end.
        let beyond = vec![I::default(); inner.next_multiple_of(I::IN_WORD) - inner];
        let copy = if beyond.is_empty() { Vec::new() } else { [rows, &beyond].concat() };
        let data = if beyond.is_empty() { rows } else { &copy };
        let rows = Rows { data, stride: data.len() };
        let images = (1, 0);
        let pass =
            Pass { packed: self, rows, images, height: 1, width, of_rows: None, residual, activation, out };
        simd::run(self.isa, pass);
    }
}

impl<O: Element> PackedConv<u8, O> {
    /// A matrix product of rows of bytes one after the other, three more behind them, with scale, and zero less 1, of each; `bias`, in
    /// whole vectors, is added to the scaled sums. It was packed without one, for a zero of 1.
    pub(crate) fn multiply_scaled(
        &self,
        rows: &[u8],
        (scales, bias): (&[[f32; 2]], &[f32]),
        residual: Option<&[O]>,
        activation: Option<Activation>,
        out: &mut [O],
    ) {
        assert!(out.len() == scales.len() * self.conv.output[2], "as many rows of the output as scales");
        assert!(residual.is_none_or(|r| r.len() == out.len()), "and of the residual");
        let (rows, images, of_rows) = (Rows { data: rows, stride: rows.len() }, (1, 0), Some((scales, bias)));
        let (height, width) = (1, scales.len());
        let pass = Pass { packed: self, rows, images, height, width, of_rows, residual, activation, out };
        simd::run(self.isa, pass);
    }
}

/// Weights `[patch, channels]` as they are multiplied, and the unit of each channel's sums (empty: 1): for bytes the
/// nearest of 255 steps.
fn whole_numbers<I: Element>(weights: &[f32], channels: usize) -> (Vec<f32>, Vec<f32>) {
    if I::DOT != Dot::Int8 {
        return (weights.to_vec(), Vec::new());
    }
    let largest = |c: usize| weights.iter().skip(c).step_by(channels).fold(0.0f32, |m, w| m.max(w.abs()));
    let unit = |c: usize| Some(largest(c) / 127.0).filter(|u| u.is_normal()).unwrap_or(1.0);
    let units: Vec<f32> = (0..channels).map(unit).collect();
    let whole = weights.iter().enumerate().map(|(i, w)| (w / units[i % channels]).round_ties_even());
    (whole.collect(), units)
}

/// For sums of bytes: their units, and the bias less what the input's zero adds.
fn of_bytes(weights: &[f32], units: &[f32], bias: &[f32], input: Scale) -> (Vec<f32>, Vec<f32>) {
    let channels = bias.len();
    let mut sums = vec![0.0f64; channels];
    weights.iter().enumerate().for_each(|(i, &w)| sums[i % channels] += f64::from(w));
    let unit = |c: usize| f64::from(units[c]) * f64::from(input.scale);
    let less = |c: usize| f64::from(bias[c]) - unit(c) * f64::from(input.zero) * sums[c];
    ((0..channels).map(|c| unit(c) as f32).collect(), (0..channels).map(|c| less(c) as f32).collect())
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
        let (mut rng, pool) = (Rng::new(6), Pool::new(3));
        for isa in Isa::available() {
            for conv in odd_sizes(&[(1, 1), (3, 5), (4, 16), (2, 17), (5, 33), (17, 70)]) {
                for (residual, activation) in [
                    (false, None),
                    (true, Some(Activation::Relu)),
                    (true, None),
                    (false, Some(Activation::Relu6)),
                ] {
                    let what = format!("{isa} {conv:?} {residual} {activation:?}");
                    let image = draw(&mut rng, conv.input.iter().product());
                    let weights = draw(&mut rng, conv.patch() * conv.output[2]);
                    let bias = draw(&mut rng, conv.output[2]);
                    let rest = residual.then(|| draw(&mut rng, conv.pixels() * conv.output[2]));
                    let packed = PackedConv::new(isa, conv, &weights, &bias);
                    let mut scratch = vec![f32::NAN; packed.scratch()];
                    let mut out = vec![f32::NAN; conv.pixels() * conv.output[2]];
                    packed.run(&Pool::single(), &image, rest.as_deref(), activation, &mut scratch, &mut out);
                    let mut split = vec![f32::NAN; out.len()];
                    packed.run(&pool, &image, rest.as_deref(), activation, &mut scratch, &mut split);
                    assert_eq!(out, split, "{what}: the same bytes with three threads");
                    let mut expected = reference::conv2d(&conv, &image, &weights);
                    epilogue(&mut expected, &bias, rest.as_deref(), activation);
                    close(&out, &expected, &what);
                }
            }
        }
    }

    #[test]
    fn other_elements_agree_with_the_plain_loops() {
        fn agree<I: Element, O: Element>(rng: &mut Rng, isa: Isa, conv: Conv) {
            let (scales, channels) = (stored::scales::<I, O>(), conv.output[2]);
            let what = format!("{isa} {conv:?} {} to {}", I::NAME, O::NAME);
            let (image, values) = stored::draw::<I>(rng, conv.input.iter().product(), scales.input);
            let weights = draw(rng, conv.patch() * channels);
            let bias = draw(rng, channels);
            let (rest, more) = stored::draw::<O>(rng, conv.pixels() * channels, scales.residual);
            let packed = PackedConv::<I, O>::stored(isa, conv, &weights, &bias, &scales);
            let mut scratch = vec![I::from_f32(77.0); packed.scratch()];
            let mut out = vec![O::from_f32(77.0); more.len()];
            let relu = Some(Activation::Relu);
            packed.run(&Pool::single(), &image, Some(&rest), relu, &mut scratch, &mut out);
            let mut split = vec![O::from_f32(77.0); more.len()];
            packed.run(&Pool::new(3), &image, Some(&rest), relu, &mut scratch, &mut split);
            let bytes = |of: &[O]| bytemuck::cast_slice::<O, u8>(of).to_vec();
            assert_eq!(bytes(&out), bytes(&split), "{what}");
            let mut room = vec![I::from_f32(77.0); packed.scratch_together(3)];
            let (images, rests) = ([&image[..]; 3].concat(), [&rest[..]; 3].concat());
            let mut together = vec![O::from_f32(77.0); 3 * more.len()];
            packed.run_together(&images, Some(&rests), relu, &mut room, &mut together);
            assert_eq!(bytes(&together), bytes(&[&out[..]; 3].concat()), "{what}: three at once");
            // What the weights are rounded to.
            let largest =
                |c: usize| weights.iter().skip(c).step_by(channels).fold(0.0f32, |m, w| m.max(w.abs()));
            let rounded = weights.iter().enumerate().map(|(i, &w)| match I::DOT {
                Dot::Int8 => {
                    (w / (largest(i % channels) / 127.0)).round_ties_even() * (largest(i % channels) / 127.0)
                }
                Dot::F32 | Dot::Bf16 => I::from_f32(w).to_f32(),
            });
            let mut expected = reference::conv2d(&conv, &values, &rounded.collect::<Vec<f32>>());
            epilogue(&mut expected, &bias, Some(&more), relu);
            stored::nearest(&out, &expected, scales.output, &what);
        }
        // Rows of whole tiles and of one more, short rows that are taken as one, long ones in blocks, runs of several tiles.
        let sized = |input: [usize; 3], outer: usize, kernel: usize, stride: usize| {
            let out = |n: usize| (n - 1) / stride + 1;
            let output = [out(input[0]), out(input[1]), outer];
            let (kernel, stride, pad) = ([kernel; 2], [stride; 2], [kernel / 2; 2]);
            Conv { input, output, kernel, stride, pad }
        };
        let larger = [
            sized([3, 40, 32], 48, 3, 1),
            sized([2, 33, 64], 33, 3, 1),
            sized([7, 7, 64], 40, 3, 1),
            sized([6, 35, 24], 16, 5, 2),
            sized([1, 16, 96], 17, 1, 1),
            sized([1, 300, 1024], 8, 1, 2),
            Conv::linear(37, 88, 80),
            Conv::linear(1, 384, 10),
            Conv::linear(BLOCK / (4 * 520) + 40, 1040, 35),
        ];
        let mut rng = Rng::new(16);
        for isa in Isa::available() {
            let sizes = odd_sizes(&[(1, 1), (3, 5), (4, 16), (2, 17), (5, 33), (17, 70)]);
            for conv in sizes.into_iter().chain(larger) {
                agree::<bf16, bf16>(&mut rng, isa, conv);
                agree::<bf16, u8>(&mut rng, isa, conv);
                agree::<u8, u8>(&mut rng, isa, conv);
                agree::<bf16, f32>(&mut rng, isa, conv);
                agree::<u8, f32>(&mut rng, isa, conv);
                agree::<u8, bf16>(&mut rng, isa, conv);
            }
        }
    }
}
