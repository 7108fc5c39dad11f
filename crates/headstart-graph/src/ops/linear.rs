//! `y = x weight^T + bias` over features, row by row of `[in]`, `[tokens, in]` or `[h, w, in]`. The checkpoint's weight is `[out, in]`, the bias `[out]`.
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
        match input.dims() {
            [rows @ .., features] if *features == self.in_features && rows.len() <= 2 => {
                Ok(Shape::from([rows, &[self.out_features]].concat()))
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

    /// `[n, .., in]` to `[n, .., out]`, each of the `n` with `rows` rows.
    pub(crate) fn forward(
        &self,
        engine: &Engine,
        rows: usize,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
    ) -> Buffer {
        let weight = Mat::new(weight, self.out_features, self.in_features);
        let sizes = sizes(rows, self.in_features, self.out_features);
        engine.each_image(&sizes, 0, x, None, |x, _, _, out| {
            matmul(engine.isa, Mat::new(x, rows, self.in_features), weight.t(), out, false);
            epilogue(out, bias, None, None);
        })
    }

    pub(crate) fn input_gradient(
        &self,
        engine: &Engine,
        rows: usize,
        weight: &[f32],
        gradient: &[f32],
    ) -> Buffer {
        let weight = Mat::new(weight, self.out_features, self.in_features);
        let sizes = sizes(rows, self.out_features, self.in_features);
        engine.each_image(&sizes, 0, gradient, None, |g, _, _, out| {
            matmul(engine.isa, Mat::new(g, rows, self.out_features), weight, out, false);
        })
    }

    /// The gradient of the weight, from all rows of the batch.
    pub(crate) fn weight_gradient(&self, engine: &Engine, x: &[f32], gradient: &[f32], to: &mut [f32]) {
        let n = x.len() / self.in_features;
        let g = Mat::new(gradient, n, self.out_features);
        matmul(engine.isa, g.t(), Mat::new(x, n, self.in_features), to, false);
    }
}

/// Rows as the image they are to a kernel.
fn sizes(rows: usize, inner: usize, outer: usize) -> Conv {
    let one = [1, 1];
    Conv { input: [1, rows, inner], output: [1, rows, outer], kernel: one, stride: one, pad: [0, 0] }
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

impl std::fmt::Display for Linear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Linear({}, {})", self.in_features, self.out_features)
    }
}
