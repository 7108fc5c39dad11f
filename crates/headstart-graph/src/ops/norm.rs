//! Batch normalisation over the channels of `[h, w, c]` by the running statistics (Ioffe and Szegedy 2015):
//! `y = (x - running_mean) / sqrt(running_var + eps) * weight + bias`.
//!
//! The statistics never move here: a frozen network stays what it was. Saved between forward and backward:
//! the input.

use super::sum_over_rows;
use crate::op::image;
use crate::{GraphError, ParamSpec};
use headstart_kernels::Pool;
use headstart_tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Attributes of a batch norm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm2d {
    /// Channels of input and output.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// The parameters of a batch norm, each `[channels]`.
#[derive(Clone, Copy)]
pub(crate) struct NormParams<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) mean: &'a [f32],
    pub(crate) var: &'a [f32],
}

impl BatchNorm2d {
    pub(crate) fn output_shape(&self, node: &str, input: &Shape) -> Result<Shape, GraphError> {
        if image(node, input)?[2] != self.channels {
            let expected = format!("[height, width, {} channels]", self.channels);
            return Err(GraphError::Shape { node: node.into(), expected, found: input.clone() });
        }
        if !(self.eps >= 0.0 && self.eps < 1.0) {
            let found = self.eps.to_string();
            return Err(GraphError::Attribute {
                node: node.into(),
                attribute: "eps",
                found,
                expected: "0 to 1",
            });
        }
        Ok(input.clone())
    }

    pub(crate) fn params(&self) -> Vec<ParamSpec> {
        vec![
            ParamSpec::weight("weight", [self.channels]),
            ParamSpec::weight("bias", [self.channels]),
            ParamSpec::buffer("running_mean", [self.channels]),
            ParamSpec::buffer("running_var", [self.channels]),
        ]
    }

    /// The norm as `y = x scale + shift`, channel by channel, in f64.
    pub(crate) fn scale_and_shift(&self, p: NormParams) -> (Vec<f64>, Vec<f64>) {
        let scale = |c: usize| f64::from(p.weight[c]) / (f64::from(p.var[c]) + self.eps).sqrt();
        let shift = |c: usize| f64::from(p.bias[c]) - f64::from(p.mean[c]) * scale(c);
        (0..self.channels).map(|c| (scale(c), shift(c))).unzip()
    }

    pub(crate) fn forward(&self, pool: &Pool, x: &Tensor, p: NormParams) -> Tensor {
        let (scale, shift) = self.scale_and_shift(p);
        let (scale, shift): (Vec<f32>, Vec<f32>) = (single(&scale), single(&shift));
        let mut out = x.clone();
        pool.chunks_mut(out.data_mut(), x.row_len(), |_, image| {
            for pixel in image.chunks_exact_mut(self.channels) {
                for ((v, &a), &b) in pixel.iter_mut().zip(&scale).zip(&shift) {
                    *v = *v * a + b;
                }
            }
        });
        out
    }

    /// The input's gradient.
    pub(crate) fn input_gradient(&self, pool: &Pool, p: NormParams, gradient: &Tensor) -> Tensor {
        let scale = single(&self.scale_and_shift(p).0);
        let mut out = gradient.clone();
        pool.chunks_mut(out.data_mut(), gradient.row_len(), |_, image| {
            for pixel in image.chunks_exact_mut(self.channels) {
                pixel.iter_mut().zip(&scale).for_each(|(v, &a)| *v *= a);
            }
        });
        out
    }

    /// The gradients of weight and bias: `sum g (x - mean) / sqrt(var + eps)` and `sum g`.
    pub(crate) fn param_gradients(&self, x: &Tensor, p: NormParams, gradient: &Tensor) -> (Tensor, Tensor) {
        let mut weight = vec![0.0f64; self.channels];
        for (x, g) in x.data().chunks_exact(self.channels).zip(gradient.data().chunks_exact(self.channels)) {
            for (c, w) in weight.iter_mut().enumerate() {
                *w += (f64::from(x[c]) - f64::from(p.mean[c])) * f64::from(g[c]);
            }
        }
        let bias = sum_over_rows(gradient.data(), self.channels);
        let deviation = |c: usize| (f64::from(p.var[c]) + self.eps).sqrt();
        let weight = Tensor::from_fn([self.channels], |c| (weight[c] / deviation(c)) as f32);
        (weight, Tensor::from_fn([self.channels], |c| bias[c]))
    }
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

impl std::fmt::Display for BatchNorm2d {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchNorm2d({}, eps={:e})", self.channels, self.eps)
    }
}
