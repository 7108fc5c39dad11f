//! Two inputs side by side: `[.., a]` and `[.., b]` to `[.., a + b]`. Nothing is saved between forward and backward.

use super::Engine;
use crate::GraphError;
use headstart_kernels::Buffer;
use headstart_tensor::Shape;

pub(crate) fn output_shape(node: &str, a: &Shape, b: &Shape) -> Result<Shape, GraphError> {
    match (a.dims(), b.dims()) {
        ([first @ .., left], [second @ .., right])
            if first == second && left.checked_add(*right).is_some() =>
        {
            Ok(Shape::from([first, &[left + right]].concat()))
        }
        _ => Err(GraphError::Shape {
            node: node.into(),
            expected: format!("both inputs {a} but for the channels"),
            found: b.clone(),
        }),
    }
}

/// Rows of `widths` channels side by side in `out`.
pub(crate) fn run((left, right): (usize, usize), a: &[f32], b: &[f32], out: &mut [f32]) {
    let rows = a.chunks_exact(left).zip(b.chunks_exact(right));
    for (out, (a, b)) in out.chunks_exact_mut(left + right).zip(rows) {
        out[..left].copy_from_slice(a);
        out[left..].copy_from_slice(b);
    }
}

/// Batches of both, each image of `rows` rows.
pub(crate) fn forward(engine: &Engine, rows: usize, widths: (usize, usize), a: &[f32], b: &[f32]) -> Buffer {
    let (left, right) = widths;
    let mut out = engine.spare.take(a.len() + b.len());
    engine.pool.chunks_mut(&mut out, rows * (left + right), |i, out| {
        let of = |width: usize| i * rows * width..(i + 1) * rows * width;
        run(widths, &a[of(left)], &b[of(right)], out);
    });
    out
}

/// Channels `from` to `from + width` of the gradient, whose rows have `all`.
pub(crate) fn gradient(
    engine: &Engine,
    all: usize,
    (from, width): (usize, usize),
    gradient: &[f32],
) -> Buffer {
    let mut out = engine.spare.take(gradient.len() / all * width);
    for (out, g) in out.chunks_exact_mut(width).zip(gradient.chunks_exact(all)) {
        out.copy_from_slice(&g[from..from + width]);
    }
    out
}
