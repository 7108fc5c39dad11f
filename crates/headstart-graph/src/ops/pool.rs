//! Max pooling under a window and the global average, over `[h, w, c]`. Saved: input and output (max
//! pooling).

use super::Engine;
use crate::GraphError;
use crate::op::image;
use crate::ops::{Conv2d, Padding};
use headstart_kernels::{self as kernels, Buffer, MaxPool, Scale};
use headstart_tensor::Shape;
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
    /// Whether pixels that fill no window have one of their own, which reaches over the edge; if not, this is not written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ceil: bool,
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
        let [height, width, channels] = image(node, input)?;
        let output = self.as_conv(channels).output_shape(node, input)?;
        if !self.ceil {
            return Ok(output);
        }
        let extent = |size: usize, axis: usize| {
            let (padding, stride) = (self.padding[axis], self.stride[axis]);
            let over = (size + 2 * padding - self.kernel[axis]).div_ceil(stride) + 1;
            // A window begins inside the image or the padding before it.
            if (over - 1) * stride >= size + padding { over - 1 } else { over }
        };
        Ok(Shape::from([extent(height, 0), extent(width, 1), channels]))
    }

    pub(crate) fn sizes(&self, input: &Shape, output: &Shape) -> MaxPool {
        self.as_conv(input.dims()[2]).sizes(input, output)
    }

    pub(crate) fn forward(&self, engine: &Engine, sizes: &MaxPool, x: &[f32]) -> Buffer {
        engine.each_image(sizes, 0, x, None, |x, _, _, out| kernels::max_pool(engine.isa, sizes, x, out))
    }

    /// From the input, the output and its gradient.
    pub(crate) fn backward(
        &self,
        engine: &Engine,
        sizes: &MaxPool,
        x: &[f32],
        out: &[f32],
        gradient: &[f32],
    ) -> Buffer {
        let (one, len) = (sizes.input.iter().product::<usize>(), sizes.output.iter().product::<usize>());
        let mut dx = engine.spare.take(x.len());
        engine.pool.chunks_mut(&mut dx, one, |i, dx| {
            let (of, from) = (i * one..(i + 1) * one, i * len..(i + 1) * len);
            kernels::max_pool_gradient(engine.isa, sizes, &x[of], &out[from.clone()], &gradient[from], dx);
        });
        dx
    }
}

impl std::fmt::Display for MaxPool2d {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([kh, kw], [sh, _], [ph, _]) = (self.kernel, self.stride, self.padding);
        let ceil = if self.ceil { ", ceil" } else { "" };
        write!(f, "MaxPool2d(kernel={kh}x{kw}, stride={sh}, padding={ph}{ceil})")
    }
}

/// The sizes of the global average of `[h, w, c]`.
fn whole(input: &Shape) -> Conv2d {
    let dims = input.dims();
    MaxPool2d { kernel: [dims[0], dims[1]], stride: [1, 1], padding: [0, 0], ceil: false }.as_conv(dims[2])
}

/// `[n, h, w, c]` to `[n, c]`; `input` is the shape of one.
pub(crate) fn global_avg_pool(engine: &Engine, input: &Shape, x: &[f32]) -> Buffer {
    let sizes = whole(input).sizes(input, &Shape::from([1, 1, input.dims()[2]]));
    engine.each_image(&sizes, 0, x, None, |x, _, _, out| kernels::global_avg_pool(x, Scale::ONE, out))
}

/// The gradient of the mean: spread evenly over the pixels of `input`, `[h, w, c]`.
pub(crate) fn global_avg_pool_gradient(engine: &Engine, input: &Shape, gradient: &[f32]) -> Buffer {
    let (pixels, channels) = ((input.dims()[0] * input.dims()[1]) as f32, input.dims()[2]);
    let mut dx = engine.spare.take(gradient.len() / channels * input.len());
    engine.pool.chunks_mut(&mut dx, input.len(), |i, dx| {
        let gradient = &gradient[i * channels..(i + 1) * channels];
        for pixel in dx.chunks_exact_mut(channels) {
            pixel.iter_mut().zip(gradient).for_each(|(d, &g)| *d = g / pixels);
        }
    });
    dx
}
