//! Convolutions whose channels fall into groups that see only each other (ResNeXt, Xie et al. 2017).
//!
//! Some neighbouring groups together are a dense convolution with zeros between groups: as many of them as fill a register tile,
//! so that the dense kernels serve. A block's channels are copied out of the image, and its output back into place.

use crate::Conv;
use std::ops::Range;

/// Output channels of a block: the width of the widest register tile.
const WIDTH: usize = 32;

/// A convolution in `groups`, cut into blocks of whole groups.
#[derive(Debug, Clone)]
pub(crate) struct Grouped {
    pub(crate) conv: Conv,
    groups: usize,
    pub(crate) blocks: Vec<Block>,
}

/// Some neighbouring groups as a dense convolution.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) conv: Conv,
    /// Its channels of the image.
    pub(crate) inputs: Range<usize>,
    /// Its channels of the output.
    pub(crate) outputs: Range<usize>,
}

impl Grouped {
    /// # Panics
    /// Where the channels are not whole groups.
    pub(crate) fn new(conv: Conv, groups: usize) -> Grouped {
        let (inner, outer) = (conv.input[2], conv.output[2]);
        let whole = groups > 0 && inner.is_multiple_of(groups) && outer.is_multiple_of(groups);
        assert!(whole, "{groups} groups of {inner} and of {outer} channels");
        let (own_in, own_out) = (inner / groups, outer / groups);
        let together = (WIDTH / own_out.max(1)).max(1);
        let block = |first: usize| {
            let last = groups.min(first + together);
            let (inputs, outputs) = (first * own_in..last * own_in, first * own_out..last * own_out);
            let ([h, w, _], [oh, ow, _]) = (conv.input, conv.output);
            let conv = Conv { input: [h, w, inputs.len()], output: [oh, ow, outputs.len()], ..conv };
            Block { conv, inputs, outputs }
        };
        Grouped { conv, groups, blocks: (0..groups).step_by(together).map(block).collect() }
    }

    /// Input and output channels of a group.
    fn own(&self) -> (usize, usize) {
        (self.conv.input[2] / self.groups, self.conv.output[2] / self.groups)
    }

    /// For every weight of a block that is in a group: (input within the block, output within the block, input within the
    /// group, output of the whole).
    pub(crate) fn each_pair(&self, block: &Block, mut f: impl FnMut(usize, usize, usize, usize)) {
        let (own_in, own_out) = self.own();
        for o in 0..block.outputs.len() {
            for i in 0..own_in {
                f(o / own_out * own_in + i, o, i, block.outputs.start + o);
            }
        }
    }

    /// Weights of a block, `[taps, in, out]`, from those of the whole, `[taps, in / groups, out]`.
    pub(crate) fn dense(&self, block: &Block, weights: &[f32]) -> Vec<f32> {
        let (taps, (own_in, _)) = (self.conv.kernel[0] * self.conv.kernel[1], self.own());
        let (inner, outer) = (block.inputs.len(), block.outputs.len());
        let mut dense = vec![0.0; taps * inner * outer];
        self.each_pair(block, |i, o, own, whole| {
            for tap in 0..taps {
                dense[(tap * inner + i) * outer + o] =
                    weights[(tap * own_in + own) * self.conv.output[2] + whole];
            }
        });
        dense
    }

    /// Pairs of one weight's place in a block, `[out, in, taps]`, and in the whole, `[out, in / groups, taps]`.
    pub(crate) fn each_weight(&self, block: &Block, mut f: impl FnMut(usize, usize)) {
        let (taps, (own_in, _)) = (self.conv.kernel[0] * self.conv.kernel[1], self.own());
        let inner = block.inputs.len();
        self.each_pair(block, |i, o, own, whole| {
            for tap in 0..taps {
                f((o * inner + i) * taps + tap, (whole * own_in + own) * taps + tap);
            }
        });
    }
}

/// The channels `of` of every pixel of `from`, which has `channels`, one after the other in `to`.
pub(crate) fn gather<E: Copy>(from: &[E], channels: usize, of: &Range<usize>, to: &mut [E]) {
    for (to, from) in to.chunks_exact_mut(of.len()).zip(from.chunks_exact(channels)) {
        to.copy_from_slice(&from[of.clone()]);
    }
}

/// The way back of [`gather`].
pub(crate) fn scatter<E: Copy>(from: &[E], channels: usize, of: &Range<usize>, to: &mut [E]) {
    for (to, from) in to.chunks_exact_mut(channels).zip(from.chunks_exact(of.len())) {
        to[of.clone()].copy_from_slice(from);
    }
}
