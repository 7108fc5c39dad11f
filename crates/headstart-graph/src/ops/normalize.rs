//! Rows of length 1: `x / max(|x|, 1e-12)` over the last extent, PyTorch's `normalize`. Saved between forward and backward:
//! the input.

use super::each_image;
use crate::GraphError;
use headstart_kernels::Pool;
use headstart_tensor::{Shape, Tensor};

/// Shorter rows are divided by this.
const LEAST: f64 = 1e-12;

pub(crate) fn output_shape(node: &str, input: &Shape) -> Result<Shape, GraphError> {
    if input.rank() == 0 || input.is_empty() {
        let (node, found) = (node.into(), input.clone());
        return Err(GraphError::Shape { node, expected: "[.., features]".into(), found });
    }
    Ok(input.clone())
}

fn length(row: &[f32]) -> f64 {
    row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt().max(LEAST)
}

/// Rows of `features`.
pub(crate) fn run(features: usize, x: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks_exact(features).zip(out.chunks_exact_mut(features)) {
        let length = length(x);
        out.iter_mut().zip(x).for_each(|(o, &v)| *o = (f64::from(v) / length) as f32);
    }
}

pub(crate) fn forward(pool: &Pool, x: &Tensor) -> Tensor {
    let (shape, features) = of(x);
    each_image(pool, x.dims()[0], &shape, |i, out| run(features, x.row(i), out))
}

/// With `y` the output and `l` the length: `dx = (g - y (g y)) / l`.
pub(crate) fn backward(pool: &Pool, x: &Tensor, gradient: &Tensor) -> Tensor {
    let (shape, features) = of(x);
    each_image(pool, x.dims()[0], &shape, |i, dx| {
        let rows = x.row(i).chunks_exact(features).zip(gradient.row(i).chunks_exact(features));
        for ((x, g), dx) in rows.zip(dx.chunks_exact_mut(features)) {
            let length = length(x);
            let along: f64 = x.iter().zip(g).map(|(&x, &g)| f64::from(x) * f64::from(g)).sum();
            for ((dx, &x), &g) in dx.iter_mut().zip(x).zip(g) {
                *dx = ((f64::from(g) - f64::from(x) * along / (length * length)) / length) as f32;
            }
        }
    })
}

/// The shape of one image, and its last extent.
fn of(x: &Tensor) -> (Shape, usize) {
    let dims = &x.dims()[1..];
    (Shape::from(dims), dims.last().copied().unwrap_or(1))
}
