//! The mean under a sliding window without padding, `[h, w, c]` to `[oh, ow, c]`. Nothing is saved between forward and backward.

use super::each_image;
use crate::GraphError;
use crate::op::image;
use headstart_kernels::Pool;
use headstart_tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Attributes of an average pooling; pixels that fill no window are left out, as in PyTorch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AvgPool2d {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Step down and across.
    pub stride: [usize; 2],
}

impl AvgPool2d {
    pub(crate) fn output_shape(&self, node: &str, input: &Shape) -> Result<Shape, GraphError> {
        let [h, w, channels] = image(node, input)?;
        for (attribute, values) in [("kernel", self.kernel), ("stride", self.stride)] {
            if values.iter().any(|&v| v == 0 || v > 4096) {
                let (node, found) = (node.into(), format!("{values:?}"));
                return Err(GraphError::Attribute { node, attribute, found, expected: "1 to 4096" });
            }
        }
        let extent =
            |size: usize, axis: usize| Some(size.checked_sub(self.kernel[axis])? / self.stride[axis] + 1);
        match (extent(h, 0), extent(w, 1)) {
            (Some(oh), Some(ow)) => Ok(Shape::from([oh, ow, channels])),
            _ => Err(GraphError::Shape {
                node: node.into(),
                expected: format!("an image of at least the kernel's {:?}", self.kernel),
                found: input.clone(),
            }),
        }
    }

    /// For each pixel of the output the runs of values that it is the mean of.
    fn each_tap(&self, input: [usize; 3], mut f: impl FnMut(usize, usize)) {
        let [height, width, channels] = input;
        let count = |size: usize, axis: usize| (size - self.kernel[axis]) / self.stride[axis] + 1;
        let (oh, ow) = (count(height, 0), count(width, 1));
        for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
            for ky in 0..self.kernel[0] {
                for kx in 0..self.kernel[1] {
                    let from = (y * self.stride[0] + ky) * width + x * self.stride[1] + kx;
                    f((y * ow + x) * channels, from * channels);
                }
            }
        }
    }

    /// One over the values of a window.
    fn share(&self) -> f32 {
        1.0 / (self.kernel[0] * self.kernel[1]) as f32
    }

    /// One image.
    pub(crate) fn run(&self, input: [usize; 3], x: &[f32], out: &mut [f32]) {
        let channels = input[2];
        out.fill(0.0);
        self.each_tap(input, |to, from| {
            let taps = out[to..to + channels].iter_mut().zip(&x[from..from + channels]);
            taps.for_each(|(o, v)| *o += v);
        });
        out.iter_mut().for_each(|o| *o *= self.share());
    }

    pub(crate) fn forward(&self, pool: &Pool, output: &Shape, x: &Tensor) -> Tensor {
        let input = [x.dims()[1], x.dims()[2], x.dims()[3]];
        each_image(pool, x.dims()[0], output, |i, out| self.run(input, x.row(i), out))
    }

    pub(crate) fn backward(&self, pool: &Pool, input: &Shape, gradient: &Tensor) -> Tensor {
        let size = [input.dims()[0], input.dims()[1], input.dims()[2]];
        each_image(pool, gradient.dims()[0], input, |i, dx| {
            let g = gradient.row(i);
            self.each_tap(size, |from, to| {
                let taps = dx[to..to + size[2]].iter_mut().zip(&g[from..from + size[2]]);
                taps.for_each(|(d, g)| *d += self.share() * g);
            });
        })
    }
}

impl std::fmt::Display for AvgPool2d {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([kh, kw], [sh, _]) = (self.kernel, self.stride);
        write!(f, "AvgPool2d(kernel={kh}x{kw}, stride={sh})")
    }
}
