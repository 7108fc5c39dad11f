//! Convolution over `[h, w, c]`, dense (`groups` 1) or depthwise (`groups` = channels in = channels out).
//!
//! The checkpoint's weight is `[out, in / groups, kh, kw]`; the kernels want `[kh * kw * in, out]` (dense) or
//! `[kh * kw, c]` (depthwise). Saved between forward and backward: the input.

use super::{each_image, sum_over_images, sum_over_rows};
use crate::op::image;
use crate::{GraphError, ParamSpec};
use headstart_kernels::{self as kernels, Isa, Pool};
use headstart_tensor::{Shape, Tensor};
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
    /// 1, or the number of channels (in and out alike).
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// Gradients of a convolution; `None` where not asked for.
pub(crate) struct ConvGradients {
    pub(crate) input: Option<Tensor>,
    pub(crate) weight: Option<Tensor>,
    pub(crate) bias: Option<Tensor>,
}

impl Conv2d {
    pub(crate) fn is_depthwise(&self) -> bool {
        self.groups > 1
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
        if self.groups != 1 && (self.groups != self.in_channels || self.groups != self.out_channels) {
            return bad("groups", self.groups.to_string(), "1, or the channels of input and output");
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

    /// The other way: a gradient in the kernels' order, in the checkpoint's.
    fn unpack(&self, packed: &[f32]) -> Vec<f32> {
        let mut weight = vec![0.0; packed.len()];
        self.reorder(|checkpoint, kernel| weight[checkpoint] = packed[kernel]);
        weight
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

    /// `[n, h, w, c]` to `[n, oh, ow, oc]`.
    pub(crate) fn forward(
        &self,
        pool: &Pool,
        x: &Tensor,
        sizes: &kernels::Conv,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Tensor {
        let packed = self.pack(weight.data());
        each_image(pool, x.dims()[0], &Shape::from(sizes.output), |i, out| {
            if self.is_depthwise() {
                kernels::depthwise(sizes, x.row(i), &packed, out);
            } else {
                let mut scratch = vec![0.0; sizes.scratch()];
                kernels::conv2d(Isa::current(), sizes, x.row(i), &packed, &mut scratch, out);
            }
            if let Some(bias) = bias {
                kernels::epilogue(out, bias.data(), None, None);
            }
        })
    }

    /// Gradients from that of the output, `[n, oh, ow, oc]`: of the input where `input`, of weight and bias
    /// where `params`.
    pub(crate) fn backward(
        &self,
        pool: &Pool,
        x: &Tensor,
        sizes: &kernels::Conv,
        weight: &Tensor,
        gradient: &Tensor,
        (input, params): (bool, bool),
    ) -> ConvGradients {
        let (n, isa) = (x.dims()[0], Isa::current());
        let scratch = || vec![0.0; sizes.scratch()];
        let input = input.then(|| {
            let packed = self.pack(weight.data());
            each_image(pool, n, &Shape::from(sizes.input), |i, dx| {
                if self.is_depthwise() {
                    kernels::depthwise_input_gradient(sizes, &packed, gradient.row(i), dx);
                } else {
                    kernels::conv2d_input_gradient(isa, sizes, &packed, gradient.row(i), &mut scratch(), dx);
                }
            })
        });
        let dw = params.then(|| {
            let sum = sum_over_images(pool, n, weight.len(), |i, sum| {
                if self.is_depthwise() {
                    kernels::depthwise_weight_gradient(sizes, x.row(i), gradient.row(i), sum);
                } else {
                    kernels::conv2d_weight_gradient(
                        isa,
                        sizes,
                        x.row(i),
                        gradient.row(i),
                        &mut scratch(),
                        sum,
                    );
                }
            });
            let sum = self.unpack(&sum);
            Tensor::from_fn(weight.shape().clone(), |i| sum[i])
        });
        let bias = (params && self.bias).then(|| {
            let sums = sum_over_rows(gradient.data(), self.out_channels);
            Tensor::from_fn([self.out_channels], |i| sums[i])
        });
        ConvGradients { input, weight: dw, bias }
    }
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
    fn packing_and_unpacking_are_inverse() {
        for groups in [1, 6] {
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
            assert_eq!(conv.unpack(&packed), weight);
            assert_ne!(packed, weight);
        }
    }
}
