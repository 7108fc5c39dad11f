//! Dense convolution and matrix product for inference: weights packed once, bias, residual and activation fused.
//!
//! In an NHWC image a row of a patch is one run of `kernel_w * channels` values, so a patch is `kernel_h` runs and a
//! pointwise convolution one.
#![allow(unsafe_code)]

use crate::aligned::Aligned;
use crate::padded::{self, Rows};
use crate::simd::{self, Kernel, Simd};
use crate::tile::{self, Lefts, Target};
use crate::{Activation, Conv, Isa, Pool};

/// A dense convolution with its weights packed for one instruction set.
#[derive(Debug, Clone)]
pub struct PackedConv {
    conv: Conv,
    isa: Isa,
    /// Panels `[patch, width]` one after the other; the last may be one vector wide.
    panels: Aligned,
    /// A bias for each packed channel.
    bias: Aligned,
}

impl PackedConv {
    /// Packs `weights` `[patch, out_channels]` and `bias` `[out_channels]`.
    ///
    /// # Panics
    /// Where they have other sizes.
    pub fn new(isa: Isa, conv: Conv, weights: &[f32], bias: &[f32]) -> Self {
        let (patch, channels) = (conv.patch(), conv.output[2]);
        assert_eq!(
            (weights.len(), bias.len()),
            (patch * channels, channels),
            "weights and bias of a convolution"
        );
        let panels = tile::pack(isa, patch, channels, |k, c| weights[k * channels + c]);
        let bias = tile::pack(isa, 1, channels, |_, c| bias[c]);
        PackedConv { conv, isa, panels, bias }
    }

    /// A matrix product as the convolution it is: features `[rows, in]` to `[rows, out]`, weights `[in, out]`.
    ///
    /// # Panics
    /// As [`PackedConv::new`].
    pub fn linear(isa: Isa, rows: usize, weights: &[f32], bias: &[f32]) -> Self {
        let inner = weights.len() / bias.len().max(1);
        let (kernel, stride, pad) = ([1, 1], [1, 1], [0, 0]);
        let conv = Conv { input: [1, rows, inner], output: [1, rows, bias.len()], kernel, stride, pad };
        PackedConv::new(isa, conv, weights, bias)
    }

    /// The convolution's sizes.
    pub fn conv(&self) -> &Conv {
        &self.conv
    }

    /// Values of scratch that [`PackedConv::run`] wants.
    pub fn scratch(&self) -> usize {
        padded::scratch(&self.conv)
    }

    /// `out = activation(image * weights + bias + residual)`, the rows of the output spread over `pool`; the bytes do
    /// not depend on it.
    ///
    /// # Panics
    /// Where a slice has another size than the convolution says.
    pub fn run(
        &self,
        pool: &Pool,
        image: &[f32],
        residual: Option<&[f32]>,
        activation: Option<Activation>,
        scratch: &mut [f32],
        out: &mut [f32],
    ) {
        let conv = &self.conv;
        self.conv.expect_sizes(1, image, residual, out);
        let rows = padded::padded(conv, image, scratch);
        let [height, width, channels] = conv.output;
        // All pixels of a pointwise convolution are one long row.
        let one_row = conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.input[..2] == conv.output[..2];
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
            simd::run(self.isa, Pass { packed: self, rows, height, width, residual, activation, out });
        });
    }
}

/// A part of the output: `height` rows of `width` pixels whose patches begin with the first of `rows`.
struct Pass<'a> {
    packed: &'a PackedConv,
    rows: Rows<'a>,
    height: usize,
    width: usize,
    residual: Option<&'a [f32]>,
    activation: Option<Activation>,
    out: &'a mut [f32],
}

impl Kernel for Pass<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let conv = &self.packed.conv;
        let channels = conv.input[2];
        let (height, width) = (self.height, self.width);
        let step = conv.stride[1] * channels;
        let (runs, run) = (conv.kernel[0], conv.kernel[1] * channels);
        let down = conv.stride[0] * self.rows.stride;
        let reach = (runs - 1) * self.rows.stride + run;
        let last = (height.max(1) - 1) * down + (width.max(1) - 1) * step + reach;
        assert!(height * width == 0 || last <= self.rows.data.len(), "the patches lie inside the image");
        for first in (0..self.packed.bias.len() / S::LANES).step_by(2) {
            for y in 0..height {
                let at = y * width * conv.output[2];
                let lefts = Lefts {
                    first: self.rows.data[y * down..].as_ptr(),
                    count: width,
                    step,
                    runs,
                    run,
                    next_run: self.rows.stride,
                };
                let to = Target {
                    bias: Some(self.packed.bias.as_ptr()),
                    residual: self.residual.map(|r| r[at..].as_ptr()),
                    activation: self.activation,
                    out: self.out[at..].as_mut_ptr(),
                    stride: conv.output[2],
                    columns: conv.output[2],
                };
                // SAFETY: the patches were asserted to lie inside the image; panels and bias were packed for all
                // channels; a row of the output, and of the residual, has `width` pixels.
                unsafe { tile::multiply(simd, lefts, self.packed.panels.as_ptr(), first, to) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw, odd_sizes};
    use crate::{epilogue, reference};
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
}
