//! Several linear layers of one input, side by side: the query, key and value projections of BERT, whose checkpoint
//! keeps them apart. Computed as one linear layer with the weights below each other.

use super::Linear;
use crate::{GraphError, ParamSpec};
use headstart_tensor::{Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Attributes of linear layers side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linears {
    /// Features in.
    pub in_features: usize,
    /// Features out, of each.
    pub out_features: usize,
    /// The layers' names within the node: `query`, `key`, `value`.
    pub parts: Vec<String>,
}

impl Linears {
    /// The layer that they are together.
    pub(crate) fn joint(&self) -> Linear {
        let out_features = self.out_features.saturating_mul(self.parts.len());
        Linear { in_features: self.in_features, out_features }
    }

    pub(crate) fn output_shape(&self, node: &str, input: &Shape) -> Result<Shape, GraphError> {
        let twice = self.parts.iter().enumerate().any(|(i, part)| self.parts[..i].contains(part));
        if self.parts.is_empty() || self.parts.len() > 16 || twice {
            let (node, found) = (node.into(), format!("{:?}", self.parts));
            let expected = "1 to 16 different names";
            return Err(GraphError::Attribute { node, attribute: "parts", found, expected });
        }
        self.joint().output_shape(node, input)
    }

    pub(crate) fn params(&self) -> Vec<ParamSpec> {
        let of = |part: &String| {
            [
                ParamSpec::weight(&format!("{part}.weight"), [self.out_features, self.in_features]),
                ParamSpec::weight(&format!("{part}.bias"), [self.out_features]),
            ]
        };
        self.parts.iter().flat_map(of).collect()
    }

    /// The weights below each other, and the biases one after the other; `of` finds a parameter of the node.
    pub(crate) fn join<'a, E>(
        &self,
        of: impl Fn(&str) -> Result<&'a Tensor, E>,
    ) -> Result<(Tensor, Tensor), E> {
        let joined = |end: &str, width: usize| -> Result<Vec<f32>, E> {
            let mut all = Vec::with_capacity(self.joint().out_features * width);
            for part in &self.parts {
                all.extend_from_slice(of(&format!("{part}.{end}"))?.data());
            }
            Ok(all)
        };
        let (weight, bias) = (joined("weight", self.in_features)?, joined("bias", 1)?);
        let out = self.joint().out_features;
        Ok((Tensor::from_fn([out, self.in_features], |i| weight[i]), Tensor::from_fn([out], |i| bias[i])))
    }

    /// The gradients of all parts, by the name within the node, from those of the joint weight and bias.
    pub(crate) fn split(&self, weight: &[f32], bias: &[f64]) -> Vec<(String, Tensor)> {
        let size = self.out_features * self.in_features;
        let of = |(i, part): (usize, &String)| {
            let w = Tensor::from_fn([self.out_features, self.in_features], |k| weight[i * size + k]);
            let b = Tensor::from_fn([self.out_features], |k| bias[i * self.out_features + k] as f32);
            [(format!("{part}.weight"), w), (format!("{part}.bias"), b)]
        };
        self.parts.iter().enumerate().flat_map(of).collect()
    }
}

impl std::fmt::Display for Linears {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Linear({}, {}) {}", self.in_features, self.out_features, self.parts.join(" | "))
    }
}
