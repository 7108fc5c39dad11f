//! Words as rows of a table: ids `[tokens]`, whole numbers in f32 (exact to 2^24), to `[tokens, features]`; and which of
//! the ids are padding. The ids have no gradient.

use super::each_image;
use crate::{GraphError, ParamSpec};
use headstart_kernels::Pool;
use headstart_tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Attributes of an embedding. An id that the table does not have gives a row that is not a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Rows of the table.
    pub entries: usize,
    /// Features of a row.
    pub features: usize,
}

/// The row of an id.
fn entry(id: f32, entries: usize) -> Option<usize> {
    let row = id as usize;
    (row as f32 == id && row < entries).then_some(row)
}

impl Embedding {
    pub(crate) fn output_shape(&self, node: &str, input: &Shape) -> Result<Shape, GraphError> {
        match *input.dims() {
            [tokens] if self.entries <= 1 << 24 => Ok(Shape::from([tokens, self.features])),
            [_] => Err(GraphError::Attribute {
                node: node.into(),
                attribute: "entries",
                found: self.entries.to_string(),
                expected: "at most 2^24",
            }),
            _ => Err(GraphError::Shape { node: node.into(), expected: "[ids]".into(), found: input.clone() }),
        }
    }

    pub(crate) fn params(&self) -> Vec<ParamSpec> {
        vec![ParamSpec::weight("weight", [self.entries, self.features])]
    }

    /// One sequence of ids.
    pub(crate) fn run(table: &[f32], features: usize, ids: &[f32], out: &mut [f32]) {
        for (&id, out) in ids.iter().zip(out.chunks_exact_mut(features)) {
            match entry(id, table.len() / features) {
                Some(row) => out.copy_from_slice(&table[row * features..(row + 1) * features]),
                None => out.fill(f32::NAN),
            }
        }
    }

    pub(crate) fn forward(&self, pool: &Pool, ids: &Tensor, table: &Tensor) -> Tensor {
        let shape = Shape::from([ids.row_len(), self.features]);
        each_image(pool, ids.dims()[0], &shape, |i, out| {
            Embedding::run(table.data(), self.features, ids.row(i), out);
        })
    }

    pub(crate) fn param_gradient(&self, ids: &Tensor, gradient: &Tensor) -> Tensor {
        let mut table = Tensor::zeros([self.entries, self.features]);
        for (&id, g) in ids.data().iter().zip(gradient.data().chunks_exact(self.features)) {
            if let Some(row) = entry(id, self.entries) {
                let to = &mut table.data_mut()[row * self.features..(row + 1) * self.features];
                to.iter_mut().zip(g).for_each(|(d, g)| *d += g);
            }
        }
        table
    }
}

impl std::fmt::Display for Embedding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Embedding({}, {})", self.entries, self.features)
    }
}

/// 0 where an id is that of padding, 1 elsewhere.
pub(crate) fn pad_mask(pad: u32, ids: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(ids).for_each(|(o, &id)| *o = f32::from(u8::from(id != pad as f32)));
}
