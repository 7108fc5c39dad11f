//! Multi-head self-attention (Vaswani et al. 2017) over `[tokens, 3 * width]`, the queries, keys and values of each
//! token: `softmax(q k^T / sqrt(width / heads)) v`, `[tokens, width]`. The projections before and behind it are layers of
//! their own.
//!
//! Saved between forward and backward: the input. The probabilities are computed again, a head at a time.

use super::each_image;
use crate::GraphError;
use headstart_kernels::{self as kernels, Isa, Mat, Pool, matmul, softmax};
use headstart_tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Attributes of a self-attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Heads that the width is shared among.
    pub heads: usize,
    /// Whether there is a second input `[tokens]`: keys where it is 0 are not seen.
    pub mask: bool,
}

impl Attention {
    pub(crate) fn output_shape(&self, node: &str, inputs: &[&Shape]) -> Result<Shape, GraphError> {
        let input = inputs[0];
        let &[tokens, joint] = input.dims() else { return Err(self.misfit(node, input)) };
        if self.heads == 0 || !joint.is_multiple_of(3) || !(joint / 3).is_multiple_of(self.heads) {
            return Err(self.misfit(node, input));
        }
        match inputs.get(1) {
            Some(mask) if mask.dims() != [tokens] => Err(GraphError::Shape {
                node: node.into(),
                expected: format!("a mask [{tokens}]"),
                found: (*mask).clone(),
            }),
            _ => Ok(Shape::from([tokens, joint / 3])),
        }
    }

    fn misfit(&self, node: &str, found: &Shape) -> GraphError {
        let expected = format!("[tokens, 3 * width], the width shared among {} heads", self.heads);
        GraphError::Shape { node: node.into(), expected, found: found.clone() }
    }

    /// The kernel for an input `[tokens, 3 * width]`.
    pub(crate) fn kernel(&self, input: &[usize]) -> kernels::Attention {
        kernels::Attention::new(Isa::current(), input[0], self.heads, input[1] / 3 / self.heads)
    }

    /// `[n, tokens, 3 * width]` to `[n, tokens, width]`.
    pub(crate) fn forward(&self, pool: &Pool, x: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let (tokens, joint) = (x.dims()[1], x.dims()[2]);
        let kernel = self.kernel(&x.dims()[1..]);
        each_image(pool, x.dims()[0], &Shape::from([tokens, joint / 3]), |i, out| {
            let mut scratch = vec![0.0; kernel.scratch()];
            kernel.run(&Pool::single(), x.row(i), mask.map(|m| m.row(i)), &mut scratch, out);
        })
    }

    /// The input's gradient.
    pub(crate) fn backward(
        &self,
        pool: &Pool,
        x: &Tensor,
        mask: Option<&Tensor>,
        gradient: &Tensor,
    ) -> Tensor {
        let shape = Shape::from(&x.dims()[1..]);
        each_image(pool, x.dims()[0], &shape, |i, dx| {
            for head in 0..self.heads {
                self.head_gradient(head, x.row(i), mask.map(|m| m.row(i)), gradient.row(i), &shape, dx);
            }
        })
    }

    /// One head of one sequence: with `p` the probabilities, `dv = p^T g`, `dp = g v^T`,
    /// `ds = p (dp - sum(p dp)) / sqrt(head)`, `dq = ds k`, `dk = ds^T q`.
    fn head_gradient(
        &self,
        head: usize,
        x: &[f32],
        mask: Option<&[f32]>,
        gradient: &[f32],
        shape: &Shape,
        dx: &mut [f32],
    ) {
        let (isa, tokens, width) = (Isa::current(), shape.dims()[0], shape.dims()[1] / 3);
        let size = width / self.heads;
        let columns = |from: &[f32], row: usize, first: usize| -> Vec<f32> {
            from.chunks_exact(row).flat_map(|r| &r[first..first + size]).copied().collect()
        };
        let [q, k, v] = [0, 1, 2].map(|part| columns(x, 3 * width, part * width + head * size));
        let g = columns(gradient, width, head * size);
        let of = |values| Mat::new(values, tokens, size);
        let scale = 1.0 / (size as f32).sqrt();
        let mut p = vec![0.0; tokens * tokens];
        matmul(isa, of(&q), of(&k).t(), &mut p, false);
        if let Some(mask) = mask {
            let unseen = |(key, score): (usize, &mut f32)| {
                if mask[key] == 0.0 {
                    *score = f32::NEG_INFINITY;
                }
            };
            p.chunks_exact_mut(tokens).for_each(|row| row.iter_mut().enumerate().for_each(unseen));
        }
        if mask.is_some_and(|m| m.iter().all(|&mark| mark == 0.0)) {
            p.fill(0.0);
        } else {
            softmax(isa, &Pool::single(), &mut p, tokens, scale);
        }
        let mut found = [(); 3].map(|()| vec![0.0; tokens * size]);
        let square = |values| Mat::new(values, tokens, tokens);
        matmul(isa, square(&p).t(), of(&g), &mut found[2], false);
        let mut ds = vec![0.0; tokens * tokens];
        matmul(isa, of(&g), of(&v).t(), &mut ds, false);
        for (ds, p) in ds.chunks_exact_mut(tokens).zip(p.chunks_exact(tokens)) {
            let along: f32 = ds.iter().zip(p).map(|(d, p)| d * p).sum();
            ds.iter_mut().zip(p).for_each(|(d, p)| *d = p * (*d - along) * scale);
        }
        matmul(isa, square(&ds), of(&k), &mut found[0], false);
        matmul(isa, square(&ds).t(), of(&q), &mut found[1], false);
        for (token, row) in dx.chunks_exact_mut(3 * width).enumerate() {
            for (part, found) in found.iter().enumerate() {
                let first = part * width + head * size;
                row[first..first + size].copy_from_slice(&found[token * size..(token + 1) * size]);
            }
        }
    }
}

impl std::fmt::Display for Attention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attention(heads={}{})", self.heads, if self.mask { ", mask" } else { "" })
    }
}
