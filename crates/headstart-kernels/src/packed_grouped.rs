//! Convolution in groups for inference: a dense kernel for some groups at a time.

use crate::element::Element;
use crate::epilogue::Scales;
use crate::grouped::{Grouped, gather, scatter};
use crate::{Activation, Conv, Isa, PackedConv, Pool};

/// A convolution in groups, of stored elements `I` to `O`, prepared for one instruction set.
#[derive(Debug, Clone)]
pub struct PackedGrouped<I = f32, O = I> {
    grouped: Grouped,
    packed: Vec<PackedConv<I, O>>,
}

impl<I: Element, O: Element> PackedGrouped<I, O> {
    /// Packs `weights` `[kernel_h * kernel_w * in / groups, out]` and `bias` `[out]` for elements stored with `scales`.
    ///
    /// # Panics
    /// Where they have other sizes, or the channels are not whole groups.
    pub fn stored(
        isa: Isa,
        conv: Conv,
        groups: usize,
        weights: &[f32],
        bias: &[f32],
        scales: &Scales,
    ) -> Self {
        let grouped = Grouped::new(conv, groups);
        assert_eq!(
            (weights.len() * groups, bias.len()),
            (conv.patch() * conv.output[2], conv.output[2]),
            "weights and bias of a convolution"
        );
        let packed = grouped.blocks.iter().map(|block| {
            let (weights, bias) = (grouped.dense(block, weights), &bias[block.outputs.clone()]);
            PackedConv::stored(isa, block.conv, &weights, bias, scales)
        });
        let packed = packed.collect();
        PackedGrouped { grouped, packed }
    }

    /// The convolution's sizes.
    pub fn conv(&self) -> &Conv {
        &self.grouped.conv
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        self.packed.iter().map(PackedConv::bytes).sum()
    }

    /// Elements of scratch that [`PackedGrouped::run`] wants: of the input's kind and of the output's.
    pub fn scratch(&self) -> (usize, usize) {
        let input = |p: &PackedConv<I, O>| p.conv().input.iter().product::<usize>() + p.scratch();
        let output = |p: &PackedConv<I, O>| 2 * p.conv().output.iter().product::<usize>();
        (self.packed.iter().map(input).max().unwrap_or(0), self.packed.iter().map(output).max().unwrap_or(0))
    }

    /// `out = activation(image * weights + bias + residual)`, the rows of a block's output spread over `pool`; the bytes do
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
        (inner, outer): (&mut [I], &mut [O]),
        out: &mut [O],
    ) {
        let conv = &self.grouped.conv;
        conv.expect_sizes(1, image, residual, out);
        let ([.., channels_in], [.., channels_out]) = (conv.input, conv.output);
        for (block, packed) in self.grouped.blocks.iter().zip(&self.packed) {
            let (own, scratch) = inner.split_at_mut(block.conv.input.iter().product());
            gather(image, channels_in, &block.inputs, own);
            let (made, rest) = outer.split_at_mut(block.conv.output.iter().product());
            let rest = residual.map(|residual| {
                let rest = &mut rest[..made.len()];
                gather(residual, channels_out, &block.outputs, rest);
                &*rest
            });
            packed.run(pool, own, rest, activation, scratch, made);
            scatter(made, channels_out, &block.outputs, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw, odd_sizes};
    use crate::{Scale, convert, reference};
    use half::bf16;
    use headstart_tensor::Rng;

    /// The whole as a dense convolution with zeros.
    fn dense(conv: &Conv, groups: usize, weights: &[f32]) -> Vec<f32> {
        let (inner, outer) = (conv.input[2], conv.output[2]);
        let (own_in, own_out) = (inner / groups, outer / groups);
        let mut dense = vec![0.0; conv.patch() * outer];
        for (k, row) in weights.chunks_exact(outer).enumerate() {
            for (o, &w) in row.iter().enumerate() {
                dense[(k / own_in * inner + o / own_out * own_in + k % own_in) * outer + o] = w;
            }
        }
        dense
    }

    #[test]
    fn groups_are_a_dense_convolution_with_zeros_between_them() {
        let mut rng = Rng::new(31);
        for isa in Isa::available() {
            for (channels, groups) in [((12, 24), 3), ((40, 40), 10), ((6, 6), 6), ((80, 160), 2)] {
                for conv in odd_sizes(&[channels]) {
                    let weights = draw(&mut rng, conv.patch() * conv.output[2] / groups);
                    let bias = draw(&mut rng, conv.output[2]);
                    let image = draw(&mut rng, conv.input.iter().product());
                    let residual = draw(&mut rng, conv.output.iter().product());
                    let mut expected = reference::conv2d(&conv, &image, &dense(&conv, groups, &weights));
                    crate::epilogue(&mut expected, &bias, Some(&residual), Some(Activation::Relu));
                    let packed =
                        PackedGrouped::<f32>::stored(isa, conv, groups, &weights, &bias, &Scales::ONE);
                    let (inner, outer) = packed.scratch();
                    let run = |pool: &Pool| {
                        let (mut inner, mut outer) = (vec![f32::NAN; inner], vec![f32::NAN; outer]);
                        let mut out = vec![f32::NAN; residual.len()];
                        let (rest, activation) = (Some(&residual[..]), Some(Activation::Relu));
                        packed.run(pool, &image, rest, activation, (&mut inner, &mut outer), &mut out);
                        out
                    };
                    let out = run(&Pool::single());
                    close(&out, &expected, &format!("{isa} {conv:?} in {groups}"));
                    assert_eq!(out, run(&Pool::new(3)), "the same bytes with three threads");
                }
            }
        }
    }

    #[test]
    fn stored_elements_give_nearly_the_same() {
        let mut rng = Rng::new(32);
        let (kernel, stride, pad) = ([3, 3], [2, 2], [1, 1]);
        let conv = Conv { input: [5, 7, 40], output: [3, 4, 40], kernel, stride, pad };
        let weights = draw(&mut rng, conv.patch() * 40 / 10);
        let bias = draw(&mut rng, 40);
        let image = draw(&mut rng, conv.input.iter().product());
        let mut expected = reference::conv2d(&conv, &image, &dense(&conv, 10, &weights));
        crate::epilogue(&mut expected, &bias, None, None);
        fn stored<E: Element>(
            isa: Isa,
            conv: Conv,
            weights: &[f32],
            bias: &[f32],
            image: &[f32],
            input: Scale,
        ) -> Vec<f32> {
            let scales = Scales { input, ..Scales::ONE };
            let packed = PackedGrouped::<E, f32>::stored(isa, conv, 10, weights, bias, &scales);
            let (inner, outer) = packed.scratch();
            let (mut inner, mut outer) = (vec![E::default(); inner], vec![0.0; outer]);
            let mut own = vec![E::default(); image.len()];
            convert(isa, image, &mut own, &Scales { output: input, ..Scales::ONE });
            let mut out = vec![f32::NAN; bias.len() * 12];
            packed.run(&Pool::single(), &own, None, None, (&mut inner, &mut outer), &mut out);
            out
        }
        for isa in Isa::available() {
            let bf16 = stored::<bf16>(isa, conv, &weights, &bias, &image, Scale::ONE);
            let bytes = stored::<u8>(isa, conv, &weights, &bias, &image, Scale::of_range(-1.0, 1.0));
            for (found, most) in [(bf16, 0.03), (bytes, 0.06)] {
                let apart = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
                assert!(apart > 0.0 && apart < most, "{isa}: {apart}");
            }
        }
    }
}
