//! Sequences `[tokens, features]`: how they begin, what is added to each token, and how they become one row.

use super::{each_image, sum_over_rows};
use crate::op::last_extent;
use crate::{GraphError, ParamSpec};
use headstart_kernels::Pool;
use headstart_tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Trained tokens before all others, the class token or registers (Darcet et al. 2024): `[h, w, c]` or `[n, c]` to `[count + n, c]`,
/// pixels in row-major order. Their parameter, `[1, count, c]`, has the node's own name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassToken {
    /// Features of a token.
    pub features: usize,
    /// How many there are; 1 is not written.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: usize,
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_one(count: &usize) -> bool {
    *count == 1
}

impl ClassToken {
    pub(crate) fn output_shape(&self, node: &str, input: &Shape) -> Result<Shape, GraphError> {
        last_extent(node, input, self.features)?;
        if self.count == 0 || self.count > 4096 {
            let (node, found) = (node.into(), self.count.to_string());
            return Err(GraphError::Attribute { node, attribute: "count", found, expected: "1 to 4096" });
        }
        Ok(Shape::from([input.len() / self.features.max(1) + self.count, self.features]))
    }

    pub(crate) fn params(&self) -> Vec<ParamSpec> {
        vec![ParamSpec::weight("", [1, self.count, self.features])]
    }

    /// One sequence.
    pub(crate) fn run(token: &[f32], x: &[f32], out: &mut [f32]) {
        let (first, rest) = out.split_at_mut(token.len());
        first.copy_from_slice(token);
        rest.copy_from_slice(x);
    }

    pub(crate) fn forward(&self, pool: &Pool, x: &Tensor, token: &Tensor) -> Tensor {
        let shape = Shape::from([x.row_len() / self.features + self.count, self.features]);
        each_image(pool, x.dims()[0], &shape, |i, out| ClassToken::run(token.data(), x.row(i), out))
    }

    pub(crate) fn input_gradient(&self, pool: &Pool, input: &Shape, gradient: &Tensor) -> Tensor {
        each_image(pool, gradient.dims()[0], input, |i, dx| {
            dx.copy_from_slice(&gradient.row(i)[self.count * self.features..]);
        })
    }

    pub(crate) fn param_gradient(&self, gradient: &Tensor) -> Tensor {
        let values = self.count * self.features;
        let rows = (0..gradient.dims()[0]).flat_map(|i| &gradient.row(i)[..values]);
        let sums = sum_over_rows(&rows.copied().collect::<Vec<f32>>(), values);
        Tensor::from_fn([1, self.count, self.features], |c| sums[c])
    }
}

impl std::fmt::Display for ClassToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count {
            1 => write!(f, "ClassToken({})", self.features),
            count => write!(f, "ClassToken({}, {count} of them)", self.features),
        }
    }
}

/// Rows of a trained table added to the tokens `[tokens, c]`, or to the pixels `[h, w, c]` in row-major order: token `t` gets row
/// `first + t * step`. Position embeddings (step 1; RoBERTa's do not begin at row 0),
/// and the one segment of BERT (step 0).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRows {
    /// Rows of the table.
    pub entries: usize,
    /// Features of a token.
    pub features: usize,
    /// The first token's row.
    pub first: usize,
    /// From one token's row to the next: 0 or 1.
    pub step: usize,
    /// The parameter is `[1, entries, features]`, has the node's own name and is for sequences of exactly its length
    /// (timm); otherwise it is the node's `weight`, `[entries, features]`.
    pub whole: bool,
}

impl AddRows {
    pub(crate) fn output_shape(&self, node: &str, input: &Shape) -> Result<Shape, GraphError> {
        let last = |tokens: usize| self.first.checked_add((tokens - 1).checked_mul(self.step)?);
        let tokens = input.len() / self.features.max(1);
        match input.dims() {
            &[.., features]
                if tokens > 0
                    && (2..=3).contains(&input.rank())
                    && features == self.features
                    && self.step <= 1
                    && last(tokens).is_some_and(|last| last < self.entries)
                    && (!self.whole || tokens == self.entries) =>
            {
                Ok(input.clone())
            }
            _ => {
                let most = if self.whole { "exactly" } else { "at most" };
                let rows = self.entries.saturating_sub(self.first);
                let expected = format!("[{most} {rows} tokens, {} features]", self.features);
                Err(GraphError::Shape { node: node.into(), expected, found: input.clone() })
            }
        }
    }

    pub(crate) fn part(&self) -> &'static str {
        if self.whole { "" } else { "weight" }
    }

    pub(crate) fn params(&self) -> Vec<ParamSpec> {
        let (entries, features) = (self.entries, self.features);
        vec![match self.whole {
            true => ParamSpec::weight("", [1, entries, features]),
            false => ParamSpec::weight("weight", [entries, features]),
        }]
    }

    /// What is added to a sequence of `tokens`, `[tokens, features]`.
    pub(crate) fn rows(&self, table: &[f32], tokens: usize) -> Vec<f32> {
        let row = |t: usize| &table[(self.first + t * self.step) * self.features..][..self.features];
        (0..tokens).flat_map(row).copied().collect()
    }

    pub(crate) fn forward(&self, pool: &Pool, x: &Tensor, table: &Tensor) -> Tensor {
        let rows = self.rows(table.data(), x.row_len() / self.features.max(1));
        let mut out = x.clone();
        pool.chunks_mut(out.data_mut(), rows.len(), |_, out| {
            out.iter_mut().zip(&rows).for_each(|(o, r)| *o += r);
        });
        out
    }

    pub(crate) fn param_gradient(&self, gradient: &Tensor) -> Tensor {
        let sums = sum_over_rows(gradient.data(), gradient.row_len());
        let mut table = Tensor::zeros(self.params()[0].shape.clone());
        for (t, row) in sums.chunks_exact(self.features).enumerate() {
            let to = &mut table.data_mut()[(self.first + t * self.step) * self.features..];
            to.iter_mut().zip(row).for_each(|(d, g)| *d += g);
        }
        table
    }
}

impl std::fmt::Display for AddRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AddRows({}, {}", self.entries, self.features)?;
        f.write_str(if self.step == 0 { ", one for all)" } else { ")" })
    }
}

/// Which tokens become the one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooled {
    /// The first.
    First,
    /// The mean of all that are seen.
    Mean,
}

/// `[tokens, features]` to `[features]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPool {
    /// Which tokens.
    pub pooled: Pooled,
    /// Whether there is a second input `[tokens]`: the mean leaves out tokens where it is 0.
    pub mask: bool,
}

impl TokenPool {
    pub(crate) fn output_shape(&self, node: &str, inputs: &[&Shape]) -> Result<Shape, GraphError> {
        let bad = |expected: String, found: &Shape| {
            Err(GraphError::Shape { node: node.into(), expected, found: found.clone() })
        };
        match (inputs[0].dims(), inputs.get(1)) {
            (&[tokens, _], Some(mask)) if mask.dims() != [tokens] => bad(format!("a mask [{tokens}]"), mask),
            (&[_, features], _) => Ok(Shape::from([features])),
            _ => bad("[tokens, features]".into(), inputs[0]),
        }
    }

    /// The share of each token in the row.
    fn shares<'a>(&self, mask: Option<&'a [f32]>, tokens: usize) -> impl Fn(usize) -> f32 + use<'a> {
        let pooled = self.pooled;
        let seen = mask.map_or(tokens, |mask| mask.iter().filter(|&&m| m != 0.0).count());
        move |t| match (pooled, mask) {
            (Pooled::First, _) => f32::from(u8::from(t == 0)),
            (Pooled::Mean, Some(mask)) if mask[t] == 0.0 => 0.0,
            (Pooled::Mean, _) => 1.0 / seen as f32,
        }
    }

    /// One sequence.
    pub(crate) fn run(&self, x: &[f32], mask: Option<&[f32]>, out: &mut [f32]) {
        let features = out.len();
        let share = self.shares(mask, x.len() / features);
        out.fill(0.0);
        for (t, row) in x.chunks_exact(features).enumerate() {
            let share = share(t);
            if share != 0.0 {
                out.iter_mut().zip(row).for_each(|(o, v)| *o += share * v);
            }
        }
    }

    pub(crate) fn forward(&self, pool: &Pool, x: &Tensor, mask: Option<&Tensor>) -> Tensor {
        each_image(pool, x.dims()[0], &Shape::from([x.dims()[2]]), |i, out| {
            self.run(x.row(i), mask.map(|m| m.row(i)), out);
        })
    }

    pub(crate) fn backward(
        &self,
        pool: &Pool,
        input: &Shape,
        mask: Option<&Tensor>,
        gradient: &Tensor,
    ) -> Tensor {
        let (tokens, features) = (input.dims()[0], input.dims()[1]);
        each_image(pool, gradient.dims()[0], input, |i, dx| {
            let share = self.shares(mask.map(|m| m.row(i)), tokens);
            for (t, row) in dx.chunks_exact_mut(features).enumerate() {
                let share = share(t);
                row.iter_mut().zip(gradient.row(i)).for_each(|(d, g)| *d = share * g);
            }
        })
    }
}

impl std::fmt::Display for TokenPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match (self.pooled, self.mask) {
            (Pooled::First, _) => "FirstToken",
            (Pooled::Mean, false) => "MeanToken",
            (Pooled::Mean, true) => "MeanToken(mask)",
        })
    }
}
