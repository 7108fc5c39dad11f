//! `y = x weight^T + bias` over features. The checkpoint's weight is `[out, in]`, the bias `[out]`.
//! Saved between forward and backward: the input.

use super::Engine;
use crate::{GraphError, ParamSpec};
use headstart_kernels::{Buffer, Conv, Mat, epilogue, matmul};
use headstart_tensor::Shape;
use serde::{Deserialize, Serialize};

/// Attributes of a linear layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Features in.
    pub in_features: usize,
    /// Features out.
    pub out_features: usize,
}

impl Linear {
    pub(crate) fn output_shape(&self, node: &str, input: &Shape) -> Result<Shape, GraphError> {
        if input.dims() != [self.in_features] {
            let expected = format!("[{} features]", self.in_features);
            return Err(GraphError::Shape { node: node.into(), expected, found: input.clone() });
        }
        Ok(Shape::from([self.out_features]))
    }

    pub(crate) fn params(&self) -> Vec<ParamSpec> {
        vec![
            ParamSpec::weight("weight", [self.out_features, self.in_features]),
            ParamSpec::weight("bias", [self.out_features]),
        ]
    }

    /// `[n, in]` to `[n, out]`.
    pub(crate) fn forward(&self, engine: &Engine, x: &[f32], weight: &[f32], bias: &[f32]) -> Buffer {
        let weight = Mat::new(weight, self.out_features, self.in_features);
        engine.each_image(&self.sizes(self.in_features, self.out_features), 0, x, None, |x, _, _, out| {
            matmul(engine.isa, Mat::new(x, 1, self.in_features), weight.t(), out, false);
            epilogue(out, bias, None, None);
        })
    }

    pub(crate) fn input_gradient(&self, engine: &Engine, weight: &[f32], gradient: &[f32]) -> Buffer {
        let weight = Mat::new(weight, self.out_features, self.in_features);
        engine.each_image(&self.sizes(self.out_features, self.in_features), 0, gradient, None, |g, _, _, out| {
            matmul(engine.isa, Mat::new(g, 1, self.out_features), weight, out, false);
        })
    }

    /// A row as the image it is to a kernel.
    fn sizes(&self, inner: usize, outer: usize) -> Conv {
        let one = [1, 1];
        Conv { input: [1, 1, inner], output: [1, 1, outer], kernel: one, stride: one, pad: [0, 0] }
    }

    /// The gradient of the weight.
    pub(crate) fn weight_gradient(&self, engine: &Engine, x: &[f32], gradient: &[f32], to: &mut [f32]) {
        let n = x.len() / self.in_features;
        let g = Mat::new(gradient, n, self.out_features);
        matmul(engine.isa, g.t(), Mat::new(x, n, self.in_features), to, false);
    }
}

impl std::fmt::Display for Linear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Linear({}, {})", self.in_features, self.out_features)
    }
}
