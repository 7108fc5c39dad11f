//! `y = x weight^T + bias` over features, row by row of `[in]` or `[tokens, in]`. The checkpoint's weight is `[out, in]`, the bias `[out]`.
//! Saved between forward and backward: the input.

use super::{each_image, sum_over_rows};
use crate::{GraphError, ParamSpec};
use headstart_kernels::{Isa, Mat, Pool, epilogue, matmul};
use headstart_tensor::{Shape, Tensor};
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
        match *input.dims() {
            [features] if features == self.in_features => Ok(Shape::from([self.out_features])),
            [tokens, features] if features == self.in_features => {
                Ok(Shape::from([tokens, self.out_features]))
            }
            _ => {
                let expected = format!("[{} features], or rows of them", self.in_features);
                Err(GraphError::Shape { node: node.into(), expected, found: input.clone() })
            }
        }
    }

    pub(crate) fn params(&self) -> Vec<ParamSpec> {
        vec![
            ParamSpec::weight("weight", [self.out_features, self.in_features]),
            ParamSpec::weight("bias", [self.out_features]),
        ]
    }

    /// `[n, .., in]` to `[n, .., out]`.
    pub(crate) fn forward(&self, pool: &Pool, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
        each_image(pool, x.dims()[0], &rows_of(x, self.out_features), |i, out| {
            let weight = Mat::new(weight.data(), self.out_features, self.in_features);
            let rows = out.len() / self.out_features;
            matmul(Isa::current(), Mat::new(x.row(i), rows, self.in_features), weight.t(), out, false);
            epilogue(out, bias.data(), None, None);
        })
    }

    pub(crate) fn input_gradient(&self, pool: &Pool, weight: &Tensor, gradient: &Tensor) -> Tensor {
        each_image(pool, gradient.dims()[0], &rows_of(gradient, self.in_features), |i, dx| {
            let weight = Mat::new(weight.data(), self.out_features, self.in_features);
            let rows = dx.len() / self.in_features;
            matmul(Isa::current(), Mat::new(gradient.row(i), rows, self.out_features), weight, dx, false);
        })
    }

    /// The gradients of weight and bias.
    pub(crate) fn param_gradients(&self, x: &Tensor, gradient: &Tensor) -> (Tensor, Tensor) {
        let n = x.len() / self.in_features;
        let mut weight = Tensor::zeros([self.out_features, self.in_features]);
        let g = Mat::new(gradient.data(), n, self.out_features);
        matmul(Isa::current(), g.t(), Mat::new(x.data(), n, self.in_features), weight.data_mut(), false);
        let bias = sum_over_rows(gradient.data(), self.out_features);
        (weight, Tensor::from_fn([self.out_features], |i| bias[i]))
    }
}

/// The transpose of `[rows, columns]`, in square blocks so that both sides stay in cache.
pub(crate) fn transposed(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const BLOCK: usize = 32;
    let mut out = vec![0.0; matrix.len()];
    for first_row in (0..rows).step_by(BLOCK) {
        for first in (0..columns).step_by(BLOCK) {
            for r in first_row..rows.min(first_row + BLOCK) {
                for c in first..columns.min(first + BLOCK) {
                    out[c * rows + r] = matrix[r * columns + c];
                }
            }
        }
    }
    out
}

/// The shape of one image of `x` with `features` last.
fn rows_of(x: &Tensor, features: usize) -> Shape {
    let mut dims = x.dims()[1..].to_vec();
    dims.pop();
    dims.push(features);
    Shape::from(dims)
}

impl std::fmt::Display for Linear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Linear({}, {})", self.in_features, self.out_features)
    }
}
