//! Layer normalisation over the last extent (Ba et al. 2016). Saved between forward and backward: the input.

use super::{each_image, sum_over_images};
use crate::op::last_extent;
use crate::{GraphError, ParamSpec};
use headstart_kernels::{self as kernels, Isa, Pool};
use headstart_tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Attributes of a layer norm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerNorm {
    /// The last extent of input and output.
    pub features: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    pub(crate) fn output_shape(&self, node: &str, input: &Shape) -> Result<Shape, GraphError> {
        last_extent(node, input, self.features)?;
        if !(self.eps >= 0.0 && self.eps < 1.0) {
            let (node, found) = (node.into(), self.eps.to_string());
            return Err(GraphError::Attribute { node, attribute: "eps", found, expected: "0 to 1" });
        }
        Ok(input.clone())
    }

    pub(crate) fn params(&self) -> Vec<ParamSpec> {
        vec![ParamSpec::weight("weight", [self.features]), ParamSpec::weight("bias", [self.features])]
    }

    pub(crate) fn forward(&self, pool: &Pool, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
        let mut out = Tensor::zeros(x.shape().clone());
        let affine = (weight.data(), bias.data(), self.eps);
        kernels::layer_norm(Isa::current(), pool, x.data(), affine, out.data_mut());
        out
    }

    pub(crate) fn input_gradient(
        &self,
        pool: &Pool,
        x: &Tensor,
        weight: &Tensor,
        gradient: &Tensor,
    ) -> Tensor {
        let shape = Shape::from(&x.dims()[1..]);
        each_image(pool, x.dims()[0], &shape, |i, dx| {
            let (mut dw, mut db) = (vec![0.0; self.features], vec![0.0; self.features]);
            let affine = (weight.data(), self.eps);
            kernels::layer_norm_gradient(x.row(i), affine, gradient.row(i), dx, &mut dw, &mut db);
        })
    }

    /// The gradients of weight and bias.
    pub(crate) fn param_gradients(
        &self,
        pool: &Pool,
        x: &Tensor,
        weight: &Tensor,
        gradient: &Tensor,
    ) -> (Tensor, Tensor) {
        let sums = sum_over_images(pool, x.dims()[0], 2 * self.features, |i, sum| {
            let (dw, db) = sum.split_at_mut(self.features);
            let mut dx = vec![0.0; x.row_len()];
            let affine = (weight.data(), self.eps);
            kernels::layer_norm_gradient(x.row(i), affine, gradient.row(i), &mut dx, dw, db);
        });
        let part = |from: usize| Tensor::from_fn([self.features], |i| sums[from + i]);
        (part(0), part(self.features))
    }
}

impl std::fmt::Display for LayerNorm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LayerNorm({}, eps={:e})", self.features, self.eps)
    }
}
