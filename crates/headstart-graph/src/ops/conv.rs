//! Convolution over `[h, w, c]`: dense (`groups` 1), depthwise (`groups` = channels in = channels out), or in groups between.
//!
//! The checkpoint's weight is `[out, in / groups, kh, kw]`; the kernels want `[kh * kw * in / groups, out]`, which for a depthwise
//! one is `[kh * kw, c]`. Saved between forward and backward: the input.

use super::Engine;
use crate::op::image;
use crate::{GraphError, ParamSpec};
use headstart_kernels::{
    self as kernels, Buffer, PackedConv, PackedDepthwise, PackedDepthwiseInputGradient, PackedGrouped,
    PackedGroupedInputGradient, PackedInputGradient, Pool, Scales, Winograd4,
};
use headstart_tensor::Shape;
use serde::{Deserialize, Serialize};

/// Zeros around the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// That many rows above and below, columns left and right (PyTorch).
    Symmetric([usize; 2]),
    /// As many as make the output `ceil(input / stride)`, the odd one below and to the right (TensorFlow).
    Same,
}

/// Attributes of a convolution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step down and across.
    pub stride: [usize; 2],
    /// Zeros around the image.
    pub padding: Padding,
    /// Channels of input and output fall into so many groups, which see only each other.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// What follows a convolution: `activation(conv scale + bias + residual)`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    /// A factor and a term for each output channel.
    pub(crate) scale: Option<&'a [f32]>,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) activation: Option<kernels::Activation>,
}

impl Conv2d {
    pub(crate) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_channels && self.groups == self.out_channels
    }

    /// Whether it is neither dense nor depthwise.
    pub(crate) fn is_grouped(&self) -> bool {
        self.groups > 1 && !self.is_depthwise()
    }

    pub(crate) fn output_shape(&self, node: &str, input: &Shape) -> Result<Shape, GraphError> {
        let bad = |attribute, found: String, expected| {
            Err(GraphError::Attribute { node: node.into(), attribute, found, expected })
        };
        let [h, w, c] = image(node, input)?;
        if c != self.in_channels {
            let expected = format!("[height, width, {} channels]", self.in_channels);
            return Err(GraphError::Shape { node: node.into(), expected, found: input.clone() });
        }
        if self.stride.iter().any(|&s| s == 0 || s > 4096) {
            return bad("stride", format!("{:?}", self.stride), "1 to 4096");
        }
        if self.kernel.iter().any(|&k| k == 0 || k > 4096) {
            return bad("kernel", format!("{:?}", self.kernel), "1 to 4096");
        }
        if let Padding::Symmetric(pad) = self.padding
            && pad.iter().zip(self.kernel).any(|(&p, k)| p > k)
        {
            return bad("padding", format!("{pad:?}"), "at most the kernel");
        }
        if self.out_channels == 0 {
            return bad("out_channels", "0".into(), "1 or more");
        }
        let divides = |channels: usize| self.groups > 0 && channels.is_multiple_of(self.groups);
        if !divides(self.in_channels) || !divides(self.out_channels) {
            return bad("groups", self.groups.to_string(), "a divisor of the channels of input and output");
        }
        let extent = |size: usize, axis: usize| match self.padding {
            Padding::Same => Some(size.div_ceil(self.stride[axis])),
            Padding::Symmetric(pad) => {
                let padded = size.checked_add(pad[axis].checked_mul(2)?)?;
                Some(padded.checked_sub(self.kernel[axis])? / self.stride[axis] + 1)
            }
        };
        match (extent(h, 0), extent(w, 1)) {
            (Some(oh), Some(ow)) => Ok(Shape::from([oh, ow, self.out_channels])),
            _ => Err(GraphError::Shape {
                node: node.into(),
                expected: format!("an image of at least the kernel's {:?} with its padding", self.kernel),
                found: input.clone(),
            }),
        }
    }

    pub(crate) fn params(&self) -> Vec<ParamSpec> {
        let inner = self.in_channels / self.groups.max(1);
        let weight = ParamSpec::weight("weight", [self.out_channels, inner, self.kernel[0], self.kernel[1]]);
        let bias = self.bias.then(|| ParamSpec::weight("bias", [self.out_channels]));
        std::iter::once(weight).chain(bias).collect()
    }

    /// The kernel's sizes for an input and an output shape that [`Conv2d::output_shape`] joined.
    pub(crate) fn sizes(&self, input: &Shape, output: &Shape) -> kernels::Conv {
        let (i, o) = (input.dims(), output.dims());
        let before = |axis: usize| match self.padding {
            Padding::Symmetric(pad) => pad[axis],
            Padding::Same => {
                ((o[axis] - 1) * self.stride[axis] + self.kernel[axis]).saturating_sub(i[axis]) / 2
            }
        };
        kernels::Conv {
            input: [i[0], i[1], i[2]],
            output: [o[0], o[1], o[2]],
            kernel: self.kernel,
            stride: self.stride,
            pad: [before(0), before(1)],
        }
    }

    /// The weight in the kernels' order.
    pub(crate) fn pack(&self, weight: &[f32]) -> Vec<f32> {
        let mut packed = vec![0.0; weight.len()];
        self.reorder(|checkpoint, kernel| packed[kernel] = weight[checkpoint]);
        packed
    }

    /// Every weight's place in the checkpoint and in the kernels' order.
    fn reorder(&self, mut f: impl FnMut(usize, usize)) {
        let taps = self.kernel[0] * self.kernel[1];
        let inner = self.in_channels / self.groups.max(1);
        for out in 0..self.out_channels {
            for i in 0..inner {
                for tap in 0..taps {
                    f((out * inner + i) * taps + tap, (tap * inner + i) * self.out_channels + out);
                }
            }
        }
    }

    /// `[n, h, w, c]` to `[n, oh, ow, oc]`, with what follows.
    pub(crate) fn forward(
        &self,
        engine: &Engine,
        sizes: &kernels::Conv,
        x: &[f32],
        weight: &[f32],
        then: Epilogue,
    ) -> Buffer {
        let Engine { isa, pool, spare } = *engine;
        let (channels, activation) = (self.out_channels, then.activation);
        if self.groups == 1 && Winograd4::suits(isa, sizes) {
            let packed = Winograd4::of_step(isa, pool, spare, *sizes, weight, then.scale, then.bias);
            return winograd(engine, packed, x, then.residual, activation);
        }
        let mut weight = self.pack(weight);
        if let Some(scale) = then.scale {
            let rows = weight.chunks_exact_mut(channels);
            rows.for_each(|row| row.iter_mut().zip(scale).for_each(|(w, s)| *w *= s));
        }
        let bias = then.bias.map_or_else(|| vec![0.0; channels], <[f32]>::to_vec);
        let single = Pool::single();
        if self.is_depthwise() {
            let packed = PackedDepthwise::new(isa, *sizes, &weight, &bias);
            engine.each_image(sizes, packed.scratch(), x, then.residual, |x, residual, scratch, out| {
                packed.run(&single, x, residual, activation, scratch, out);
            })
        } else if self.is_grouped() {
            let packed = PackedGrouped::<f32>::stored(isa, *sizes, self.groups, &weight, &bias, &Scales::ONE);
            let (inner, outer) = packed.scratch();
            engine.each_image(sizes, inner + outer, x, then.residual, |x, residual, scratch, out| {
                packed.run(&single, x, residual, activation, scratch.split_at_mut(inner), out);
            })
        } else {
            let packed = PackedConv::new(isa, *sizes, &weight, &bias);
            engine.each_image(sizes, packed.scratch(), x, then.residual, |x, residual, scratch, out| {
                packed.run(&single, x, residual, activation, scratch, out);
            })
        }
    }

    /// The gradient of the input, `[n, h, w, c]`, from that of the output, whose channels count `scale` times;
    /// `residual` is added to it.
    pub(crate) fn input_gradient(
        &self,
        engine: &Engine,
        sizes: &kernels::Conv,
        weight: &[f32],
        scale: Option<&[f32]>,
        gradient: &[f32],
        residual: Option<&[f32]>,
    ) -> Buffer {
        let Engine { isa, pool, spare } = *engine;
        let turned = kernels::Conv { input: sizes.output, output: sizes.input, ..*sizes };
        if self.is_depthwise() {
            let packed = PackedDepthwiseInputGradient::new(isa, *sizes, weight, scale);
            return engine.each_image(
                &turned,
                packed.scratch(),
                gradient,
                residual,
                |g, residual, scratch, out| {
                    packed.run(g, residual, scratch, out);
                },
            );
        }
        if self.is_grouped() {
            let packed = PackedGroupedInputGradient::new(isa, *sizes, self.groups, weight, scale);
            return engine.each_image(
                &turned,
                packed.scratch(),
                gradient,
                residual,
                |g, residual, scratch, out| {
                    packed.run(g, residual, scratch, out);
                },
            );
        }
        if Winograd4::suits(isa, &turned) && sizes.pad.iter().all(|&p| p <= 2) {
            let packed = Winograd4::of_input_gradient(isa, pool, spare, *sizes, weight, scale);
            return winograd(engine, packed, gradient, residual, None);
        }
        let packed = PackedInputGradient::new(isa, *sizes, weight, scale);
        engine.each_image(&turned, packed.scratch(), gradient, residual, |g, residual, scratch, out| {
            packed.run(g, residual, scratch, out);
        })
    }

    /// The gradient of the weight, in the checkpoint's layout.
    pub(crate) fn weight_gradient(
        &self,
        engine: &Engine,
        sizes: &kernels::Conv,
        x: &[f32],
        gradient: &[f32],
        to: &mut [f32],
    ) {
        let Engine { isa, pool, spare } = *engine;
        if self.is_depthwise() {
            kernels::depthwise_weight_gradient(isa, pool, spare, sizes, x, gradient, to);
        } else if self.is_grouped() {
            kernels::grouped_weight_gradient(isa, pool, spare, sizes, self.groups, x, gradient, to);
        } else if Winograd4::suits(isa, sizes) {
            kernels::winograd_weight_gradient(isa, pool, spare, sizes, x, gradient, to);
        } else {
            kernels::conv_weight_gradient(isa, pool, spare, sizes, x, gradient, to);
        }
    }
}

/// Images of a call where they share weights. Their bytes do not depend on it.
const GROUP: usize = 8;

/// All images by Winograd's algorithm; the weights' memory goes back.
fn winograd(
    engine: &Engine,
    packed: Winograd4,
    x: &[f32],
    residual: Option<&[f32]>,
    activation: Option<kernels::Activation>,
) -> Buffer {
    let conv = *packed.conv();
    let (one, len) = (conv.input.iter().product::<usize>(), conv.output.iter().product::<usize>());
    let n = x.len() / one;
    let group = match Winograd4::wants_company(&conv) {
        true => n.div_ceil(engine.pool.threads()).clamp(1, GROUP),
        false => 1,
    };
    let mut out = engine.spare.take(n * len);
    engine.pool.chunks_mut(&mut out, group * len, |i, out| {
        let (first, count) = (i * group, out.len() / len);
        let mut scratch = engine.spare.take(packed.scratch(count));
        let residual = residual.map(|r| &r[first * len..(first + count) * len]);
        let x = &x[first * one..(first + count) * one];
        packed.run(&Pool::single(), x, residual, activation, &mut scratch, out);
        engine.spare.give(scratch);
    });
    packed.recycle(engine.spare);
    out
}

impl std::fmt::Display for Conv2d {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let square = |[a, b]: [usize; 2]| if a == b { a.to_string() } else { format!("{a}x{b}") };
        write!(f, "Conv2d({}, {}", self.in_channels, self.out_channels)?;
        write!(f, ", kernel={}x{}, stride={}", self.kernel[0], self.kernel[1], square(self.stride))?;
        match self.padding {
            Padding::Same => f.write_str(", padding=same")?,
            Padding::Symmetric([0, 0]) => {}
            Padding::Symmetric(pad) => write!(f, ", padding={}", square(pad))?,
        }
        if self.groups > 1 {
            write!(f, ", groups={}", self.groups)?;
        }
        f.write_str(if self.bias { ")" } else { ", bias=no)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_puts_the_odd_zero_below_and_to_the_right() {
        let conv = Conv2d {
            in_channels: 3,
            out_channels: 8,
            kernel: [3, 3],
            stride: [2, 2],
            padding: Padding::Same,
            groups: 1,
            bias: false,
        };
        let output = conv.output_shape("c", &Shape::from([224, 223, 3])).unwrap();
        assert_eq!(output, Shape::from([112, 112, 8]));
        // 224 wants one row of zeros in all, which goes below; 223 wants one on each side.
        assert_eq!(conv.sizes(&Shape::from([224, 223, 3]), &output).pad, [0, 1]);
        assert_eq!(conv.to_string(), "Conv2d(3, 8, kernel=3x3, stride=2, padding=same, bias=no)");
    }

    #[test]
    fn packing_puts_the_output_channels_last() {
        for groups in [1, 2, 6] {
            let conv = Conv2d {
                in_channels: 6,
                out_channels: 6,
                kernel: [3, 2],
                stride: [1, 1],
                padding: Padding::Same,
                groups,
                bias: true,
            };
            let n = conv.params()[0].shape.len();
            let weight: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let packed = conv.pack(&weight);
            let mut back = vec![0.0; n];
            conv.reorder(|checkpoint, kernel| back[checkpoint] = packed[kernel]);
            assert_eq!(back, weight);
            assert_eq!(packed[1], weight[n / 6], "the next output channel");
        }
    }
}
