//! A trained factor for each channel (Touvron et al. 2021, "Going deeper with image transformers"). Saved between forward and
//! backward: the input.

use super::{Engine, sum_over_images};
use crate::op::last_extent;
use crate::{GraphError, ParamSpec};
use headstart_kernels::{self as kernels, Buffer};
use headstart_tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// `x gamma` over `[.., features]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerScale {
    /// The last extent of input and output.
    pub features: usize,
    /// The parameter is `[features, 1, 1]` and has the node's own name (torchvision); otherwise it is the node's `gamma`,
    /// `[features]` (timm).
    pub own_name: bool,
}

impl LayerScale {
    pub(crate) fn output_shape(&self, node: &str, input: &Shape) -> Result<Shape, GraphError> {
        last_extent(node, input, self.features)?;
        Ok(input.clone())
    }

    pub(crate) fn part(&self) -> &'static str {
        if self.own_name { "" } else { "gamma" }
    }

    pub(crate) fn params(&self) -> Vec<ParamSpec> {
        vec![match self.own_name {
            true => ParamSpec::weight("", [self.features, 1, 1]),
            false => ParamSpec::weight("gamma", [self.features]),
        }]
    }

    /// A batch; its input's gradient is made of the output's in the same way.
    pub(crate) fn forward(&self, engine: &Engine, x: &[f32], gamma: &[f32]) -> Buffer {
        let mut out = engine.spare.take(x.len());
        engine.pool.chunks_mut(&mut out, share(self.features), |i, out| {
            let from = i * share(self.features);
            kernels::scale_channels(engine.isa, &x[from..from + out.len()], gamma, out);
        });
        out
    }

    /// The gradient of gamma, over images of `one` value each.
    pub(crate) fn param_gradient(&self, engine: &Engine, one: usize, x: &[f32], gradient: &[f32]) -> Tensor {
        let sums = sum_over_images(engine.pool, x.len() / one.max(1), self.features, |i, sum| {
            let (of, mut own) = (i * one..(i + 1) * one, vec![0.0; self.features]);
            kernels::scale_channels_gradient(&x[of.clone()], &gradient[of], &mut own);
            sum.iter_mut().zip(own).for_each(|(s, o)| *s += o);
        });
        Tensor::from_fn(self.params()[0].shape.clone(), |i| sums[i])
    }
}

/// Values of whole rows that a thread takes at once.
fn share(features: usize) -> usize {
    (1usize << 14).div_ceil(features.max(1)) * features
}

impl std::fmt::Display for LayerScale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LayerScale({})", self.features)
    }
}
