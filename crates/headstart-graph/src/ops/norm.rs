//! Batch normalisation over the channels of `[h, w, c]` (Ioffe and Szegedy 2015), by the running statistics or by those
//! of the batch: `y = (x - mean) / sqrt(var + eps) * weight + bias`.
//!
//! By running statistics it is a factor and a term for each channel, which a convolution before it takes over. By the
//! batch's, saved between forward and backward: the input and its moments.

use super::Engine;
use crate::op::image;
use crate::{GraphError, ParamSpec};
use headstart_kernels::moments;
use headstart_tensor::Shape;
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

    /// The norm by its running statistics, as [`BatchNorm2d::scale_and_shift`] in f32.
    pub(crate) fn running(&self, p: NormParams) -> Normed {
        let (scale, shift) = self.scale_and_shift(p);
        Normed {
            scale: single(&scale),
            shift: single(&shift),
            mean: p.mean.to_vec(),
            deviation: p.var.iter().map(|&v| (f64::from(v) + self.eps).sqrt()).collect(),
            by_batch: false,
            moments: None,
        }
    }

    /// The norm by its running statistics, with those of `x` `[.., channels]`.
    pub(crate) fn watched(&self, engine: &Engine, p: NormParams, x: &[f32]) -> Normed {
        Normed { moments: Some(self.moments(engine, x)), ..self.running(p) }
    }

    fn moments(&self, engine: &Engine, x: &[f32]) -> Moments {
        let (mean, var) = moments(engine.isa, engine.pool, x, self.channels);
        Moments { mean, var, count: (x.len() / self.channels) as f64 }
    }

    /// The norm by the statistics of `x` `[.., channels]`.
    pub(crate) fn batch(&self, engine: &Engine, p: NormParams, x: &[f32]) -> Normed {
        let found = self.moments(engine, x);
        let deviation: Vec<f64> = found.var.iter().map(|v| (v + self.eps).sqrt()).collect();
        let scale = |c: usize| f64::from(p.weight[c]) / deviation[c];
        let shift = |c: usize| f64::from(p.bias[c]) - found.mean[c] * scale(c);
        let (scale, shift): (Vec<f64>, Vec<f64>) = (0..self.channels).map(|c| (scale(c), shift(c))).unzip();
        let (scale, shift, mean) = (single(&scale), single(&shift), single(&found.mean));
        Normed { scale, shift, mean, deviation, by_batch: true, moments: Some(found) }
    }
}

/// A batch norm with its statistics.
#[derive(Debug, Clone)]
pub(crate) struct Normed {
    /// `y = x scale + shift`.
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) mean: Vec<f32>,
    /// `sqrt(var + eps)`.
    pub(crate) deviation: Vec<f64>,
    /// Whether the mean and deviation are those of the batch.
    pub(crate) by_batch: bool,
    /// Statistics of the batch, where it was looked at.
    pub(crate) moments: Option<Moments>,
}

/// Statistics of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f64>,
    /// Divided by the number of values.
    pub(crate) var: Vec<f64>,
    /// Values of a channel.
    pub(crate) count: f64,
}

impl Normed {
    /// What the input's gradient is made of: `g a + (x - mean) b + c`, from the sums of `g` and of `g (x - mean)`. The
    /// statistics of the batch move with the input, running ones do not.
    pub(crate) fn gradient_factors(&self, sums: &[f64], products: &[f64]) -> [Vec<f32>; 3] {
        let channels = 0..self.scale.len();
        let zeros = || vec![0.0; self.scale.len()];
        let Some(moments) = self.moments.as_ref().filter(|_| self.by_batch) else {
            return [self.scale.clone(), zeros(), zeros()];
        };
        let scale = |c: usize| f64::from(self.scale[c]);
        let b = |c: usize| -scale(c) * products[c] / moments.count / (self.deviation[c] * self.deviation[c]);
        let c = |c: usize| -scale(c) * sums[c] / moments.count;
        [
            self.scale.clone(),
            channels.clone().map(|i| b(i) as f32).collect(),
            channels.map(|i| c(i) as f32).collect(),
        ]
    }
}

impl Moments {
    /// Moves a running mean and variance toward these by `momentum`; the variance is the unbiased one, as in PyTorch.
    pub(crate) fn update(&self, momentum: f64, mean: &mut [f32], var: &mut [f32]) {
        let toward = |running: &mut f32, found: f64| {
            *running = ((1.0 - momentum) * f64::from(*running) + momentum * found) as f32;
        };
        mean.iter_mut().zip(&self.mean).for_each(|(running, &found)| toward(running, found));
        let unbiased = self.count / (self.count - 1.0);
        var.iter_mut().zip(&self.var).for_each(|(running, &found)| toward(running, found * unbiased));
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
