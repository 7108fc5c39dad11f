//! Max pooling under a window and the global average, over `[h, w, c]`. Saved: the input (max pooling).

use super::each_image;
use crate::GraphError;
use crate::op::image;
use crate::ops::{Conv2d, Padding};
use headstart_kernels as kernels;
use headstart_kernels::{Isa, Pool};
use headstart_tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Attributes of a max pooling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxPool2d {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Step down and across.
    pub stride: [usize; 2],
    /// Rows above and below, columns left and right that never win; at most half the window, as in PyTorch.
    pub padding: [usize; 2],
}

impl MaxPool2d {
    /// A pooling slides its window as a depthwise convolution does.
    fn as_conv(&self, channels: usize) -> Conv2d {
        Conv2d {
            in_channels: channels,
            out_channels: channels,
            kernel: self.kernel,
            stride: self.stride,
            padding: Padding::Symmetric(self.padding),
            groups: channels,
            bias: false,
        }
    }

    pub(crate) fn output_shape(&self, node: &str, input: &Shape) -> Result<Shape, GraphError> {
        if self.padding.iter().zip(self.kernel).any(|(&p, k)| p > k / 2) {
            let (found, expected) = (format!("{:?}", self.padding), "at most half the kernel");
            return Err(GraphError::Attribute { node: node.into(), attribute: "padding", found, expected });
        }
        let [.., channels] = image(node, input)?;
        self.as_conv(channels).output_shape(node, input)
    }

    pub(crate) fn sizes(&self, input: &Shape, output: &Shape) -> kernels::MaxPool {
        self.as_conv(input.dims()[2]).sizes(input, output)
    }

    pub(crate) fn forward(&self, pool: &Pool, x: &Tensor, sizes: &kernels::MaxPool) -> Tensor {
        each_image(pool, x.dims()[0], &Shape::from(sizes.output), |i, out| {
            kernels::max_pool(Isa::current(), sizes, x.row(i), out)
        })
    }

    pub(crate) fn backward(
        &self,
        pool: &Pool,
        x: &Tensor,
        sizes: &kernels::MaxPool,
        gradient: &Tensor,
    ) -> Tensor {
        each_image(pool, x.dims()[0], &Shape::from(sizes.input), |i, dx| {
            kernels::max_pool_gradient(sizes, x.row(i), gradient.row(i), dx);
        })
    }
}

impl std::fmt::Display for MaxPool2d {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([kh, kw], [sh, _], [ph, _]) = (self.kernel, self.stride, self.padding);
        write!(f, "MaxPool2d(kernel={kh}x{kw}, stride={sh}, padding={ph})")
    }
}

/// `[n, h, w, c]` to `[n, c]`.
pub(crate) fn global_avg_pool(pool: &Pool, x: &Tensor) -> Tensor {
    let channels = x.dims()[3];
    each_image(pool, x.dims()[0], &Shape::from([channels]), |i, out| {
        kernels::global_avg_pool(x.row(i), kernels::Scale::ONE, out)
    })
}

/// The gradient of the mean: spread evenly over the pixels of `input`, `[h, w, c]`.
pub(crate) fn global_avg_pool_gradient(pool: &Pool, input: &Shape, gradient: &Tensor) -> Tensor {
    let pixels = (input.dims()[0] * input.dims()[1]) as f32;
    each_image(pool, gradient.dims()[0], input, |i, dx| {
        for pixel in dx.chunks_exact_mut(gradient.row_len()) {
            pixel.iter_mut().zip(gradient.row(i)).for_each(|(d, &g)| *d = g / pixels);
        }
    })
}
