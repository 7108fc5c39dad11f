//! Averages under windows that tile the image, and the image as one row of features: what stands before VGG's classifier.

use super::each_image;
use crate::GraphError;
use crate::op::image;
use headstart_kernels::Pool;
use headstart_tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The mean under windows so placed that the output has a fixed size (PyTorch's `AdaptiveAvgPool2d`): row `i` of `n`
/// looks at rows `floor(i h / n)` to `ceil((i + 1) h / n)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveAvgPool {
    /// Height and width of the output.
    pub output: [usize; 2],
}

impl AdaptiveAvgPool {
    pub(crate) fn output_shape(&self, node: &str, input: &Shape) -> Result<Shape, GraphError> {
        let [_, _, channels] = image(node, input)?;
        if self.output.iter().any(|&n| n == 0 || n > 4096) {
            let (node, found) = (node.into(), format!("{:?}", self.output));
            return Err(GraphError::Attribute { node, attribute: "output", found, expected: "1 to 4096" });
        }
        Ok(Shape::from([self.output[0], self.output[1], channels]))
    }

    /// For each pixel of the output the rows and columns that it is the mean of.
    fn each_window(&self, input: [usize; 3], mut f: impl FnMut(usize, Range<usize>, Range<usize>)) {
        let window = |i: usize, axis: usize| {
            let (n, size) = (self.output[axis], input[axis]);
            i * size / n..((i + 1) * size).div_ceil(n)
        };
        for y in 0..self.output[0] {
            for x in 0..self.output[1] {
                f(y * self.output[1] + x, window(y, 0), window(x, 1));
            }
        }
    }

    /// One image.
    pub(crate) fn run(&self, input: [usize; 3], x: &[f32], out: &mut [f32]) {
        let [_, width, channels] = input;
        self.each_window(input, |pixel, rows, columns| {
            let out = &mut out[pixel * channels..(pixel + 1) * channels];
            let share = 1.0 / (rows.len() * columns.len()) as f32;
            out.fill(0.0);
            for y in rows {
                for x in x[(y * width + columns.start) * channels..(y * width + columns.end) * channels]
                    .chunks_exact(channels)
                {
                    out.iter_mut().zip(x).for_each(|(o, v)| *o += v);
                }
            }
            out.iter_mut().for_each(|o| *o *= share);
        });
    }

    pub(crate) fn forward(&self, pool: &Pool, x: &Tensor) -> Tensor {
        let input = [x.dims()[1], x.dims()[2], x.dims()[3]];
        let shape = Shape::from([self.output[0], self.output[1], input[2]]);
        each_image(pool, x.dims()[0], &shape, |i, out| self.run(input, x.row(i), out))
    }

    pub(crate) fn backward(&self, pool: &Pool, input: &Shape, gradient: &Tensor) -> Tensor {
        let size = [input.dims()[0], input.dims()[1], input.dims()[2]];
        let [_, width, channels] = size;
        each_image(pool, gradient.dims()[0], input, |i, dx| {
            self.each_window(size, |pixel, rows, columns| {
                let g = &gradient.row(i)[pixel * channels..(pixel + 1) * channels];
                let share = 1.0 / (rows.len() * columns.len()) as f32;
                for y in rows {
                    for x in columns.clone() {
                        let to = &mut dx[(y * width + x) * channels..][..channels];
                        to.iter_mut().zip(g).for_each(|(d, g)| *d += share * g);
                    }
                }
            });
        })
    }
}

impl std::fmt::Display for AdaptiveAvgPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AdaptiveAvgPool({}x{})", self.output[0], self.output[1])
    }
}

/// Moves one image between `[pixels, channels]` and `[channels, pixels]`: with the channels of `x` innermost.
pub(crate) fn flatten(channels: usize, x: &[f32], out: &mut [f32]) {
    let pixels = x.len() / channels.max(1);
    for (pixel, x) in x.chunks_exact(channels.max(1)).enumerate() {
        x.iter().enumerate().for_each(|(c, &v)| out[c * pixels + pixel] = v);
    }
}

/// `[n, h, w, c]` to `[n, c * h * w]`, in the order of PyTorch's `flatten` of `[n, c, h, w]`.
pub(crate) fn flatten_images(pool: &Pool, x: &Tensor) -> Tensor {
    let channels = x.dims()[3];
    each_image(pool, x.dims()[0], &Shape::from([x.row_len()]), |i, out| flatten(channels, x.row(i), out))
}

/// The gradient of that, `[n, ..input]`.
pub(crate) fn flatten_gradient(pool: &Pool, input: &Shape, gradient: &Tensor) -> Tensor {
    let pixels = input.dims()[0] * input.dims()[1];
    each_image(pool, gradient.dims()[0], input, |i, dx| flatten(pixels, gradient.row(i), dx))
}
