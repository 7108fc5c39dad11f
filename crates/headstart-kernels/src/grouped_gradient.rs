//! The gradients of a convolution in groups: those of the dense kernels, some groups at a time.

use crate::grouped::{Grouped, gather, scatter};
use crate::{Conv, Isa, PackedInputGradient, Pool, Spare, conv_weight_gradient};

/// The input gradient of a convolution in groups, with its weights packed for one instruction set.
#[derive(Debug, Clone)]
pub struct PackedGroupedInputGradient {
    grouped: Grouped,
    packed: Vec<PackedInputGradient>,
}

impl PackedGroupedInputGradient {
    /// Packs `weights` `[out, in / groups, kh, kw]`, each output channel times its `scale`.
    ///
    /// # Panics
    /// Where they have other sizes.
    pub fn new(isa: Isa, conv: Conv, groups: usize, weights: &[f32], scale: Option<&[f32]>) -> Self {
        let grouped = Grouped::new(conv, groups);
        assert_eq!(weights.len() * groups, conv.patch() * conv.output[2], "weights of a convolution");
        let packed = grouped.blocks.iter().map(|block| {
            let mut dense = vec![0.0; block.conv.patch() * block.outputs.len()];
            grouped.each_weight(block, |at, whole| dense[at] = weights[whole]);
            let scale = scale.map(|s| &s[block.outputs.clone()]);
            PackedInputGradient::new(isa, block.conv, &dense, scale)
        });
        let packed = packed.collect();
        PackedGroupedInputGradient { grouped, packed }
    }

    /// Values of scratch that [`PackedGroupedInputGradient::run`] wants.
    pub fn scratch(&self) -> usize {
        let of = |(block, packed): (&crate::grouped::Block, &PackedInputGradient)| {
            let (inputs, outputs) = (block.conv.input, block.conv.output);
            inputs.iter().product::<usize>() + outputs.iter().product::<usize>() + packed.scratch()
        };
        self.grouped.blocks.iter().zip(&self.packed).map(of).max().unwrap_or(0)
    }

    /// `out = ` the gradient of one image, from that of its output, `+ residual`.
    ///
    /// # Panics
    /// Where a slice has another size than the convolution says.
    pub fn run(&self, out_gradient: &[f32], residual: Option<&[f32]>, scratch: &mut [f32], out: &mut [f32]) {
        let conv = &self.grouped.conv;
        conv.expect_sizes(1, out, None, out_gradient);
        assert!(residual.is_none_or(|r| r.len() == out.len()), "what is added to the gradient");
        for (block, packed) in self.grouped.blocks.iter().zip(&self.packed) {
            let (own, scratch) = scratch.split_at_mut(block.conv.output.iter().product());
            let (made, scratch) = scratch.split_at_mut(block.conv.input.iter().product());
            gather(out_gradient, conv.output[2], &block.outputs, own);
            packed.run(own, None, scratch, made);
            scatter(made, conv.input[2], &block.inputs, out);
        }
        if let Some(residual) = residual {
            out.iter_mut().zip(residual).for_each(|(o, r)| *o += r);
        }
    }
}

/// The gradient of the weights, in the checkpoint's layout `[out, in / groups, kh, kw]`, over images `[h, w, in]` and the
/// gradients of their outputs `[oh, ow, out]`. The bytes do not depend on the threads.
///
/// # Panics
/// Where a slice has another size than the convolution says.
#[expect(clippy::too_many_arguments, reason = "one call's operands")]
pub fn grouped_weight_gradient(
    isa: Isa,
    pool: &Pool,
    spare: &Spare,
    conv: &Conv,
    groups: usize,
    images: &[f32],
    out_gradients: &[f32],
    gradient: &mut [f32],
) {
    let grouped = Grouped::new(*conv, groups);
    assert_eq!(gradient.len() * groups, conv.patch() * conv.output[2], "the gradient of the weights");
    let (inner, outer) = (conv.input[2], conv.output[2]);
    for block in &grouped.blocks {
        let mut x = spare.take(images.len() / inner * block.inputs.len());
        let mut e = spare.take(out_gradients.len() / outer * block.outputs.len());
        let mut dense = spare.take(block.conv.patch() * block.outputs.len());
        gather(images, inner, &block.inputs, &mut x);
        gather(out_gradients, outer, &block.outputs, &mut e);
        conv_weight_gradient(isa, pool, spare, &block.conv, &x, &e, &mut dense);
        grouped.each_weight(block, |at, whole| gradient[whole] = dense[at]);
        [x, e, dense].into_iter().for_each(|buffer| spare.give(buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw, odd_sizes};
    use headstart_tensor::Rng;

    /// Weights as a dense convolution's, `[out, in, taps]`, with zeros.
    fn dense(conv: &Conv, groups: usize, weights: &[f32]) -> Vec<f32> {
        let (inner, outer) = (conv.input[2], conv.output[2]);
        let (own_in, own_out, taps) = (inner / groups, outer / groups, conv.kernel[0] * conv.kernel[1]);
        let mut dense = vec![0.0; conv.patch() * outer];
        for (at, &w) in weights.iter().enumerate() {
            let (o, i, tap) = (at / (own_in * taps), at / taps % own_in, at % taps);
            dense[(o * inner + o / own_out * own_in + i) * taps + tap] = w;
        }
        dense
    }

    #[test]
    fn gradients_are_those_of_the_dense_convolution_with_zeros() {
        let mut rng = Rng::new(33);
        let spare = Spare::new();
        for isa in Isa::available() {
            for (channels, groups) in [((12, 24), 3), ((40, 40), 10)] {
                for conv in odd_sizes(&[channels]) {
                    let weights = draw(&mut rng, conv.patch() * conv.output[2] / groups);
                    let n = 2;
                    let images = draw(&mut rng, n * conv.input.iter().product::<usize>());
                    let e = draw(&mut rng, n * conv.output.iter().product::<usize>());
                    let scale = draw(&mut rng, conv.output[2]);
                    let (one, size) = (images.len() / n, e.len() / n);
                    let what = format!("{isa} {conv:?} in {groups}");

                    let packed = PackedGroupedInputGradient::new(isa, conv, groups, &weights, Some(&scale));
                    let whole = dense(&conv, groups, &weights);
                    let plain = PackedInputGradient::new(isa, conv, &whole, Some(&scale));
                    let (mut found, mut expected) = (vec![f32::NAN; one], vec![f32::NAN; one]);
                    let mut scratch = vec![f32::NAN; packed.scratch().max(plain.scratch())];
                    packed.run(&e[..size], Some(&images[..one]), &mut scratch, &mut found);
                    plain.run(&e[..size], Some(&images[..one]), &mut scratch, &mut expected);
                    close(&found, &expected, &what);

                    let mut of_dense = vec![f32::NAN; whole.len()];
                    conv_weight_gradient(isa, &Pool::single(), &spare, &conv, &images, &e, &mut of_dense);
                    let marks = dense(&conv, groups, &vec![1.0; weights.len()]);
                    let expected: Vec<f32> =
                        of_dense.iter().zip(marks).filter(|(_, m)| *m == 1.0).map(|(v, _)| *v).collect();
                    let run = |threads| {
                        let mut found = vec![f32::NAN; weights.len()];
                        let pool = Pool::new(threads);
                        grouped_weight_gradient(isa, &pool, &spare, &conv, groups, &images, &e, &mut found);
                        found
                    };
                    close(&run(1), &expected, &what);
                    assert_eq!(run(1), run(3), "the same bytes with three threads");
                }
            }
        }
    }
}
