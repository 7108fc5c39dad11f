//! The architecture as a table.

use crate::{Freeze, Graph, ParamKind, ParamSpec};
use serde::Serialize;

/// A layer's row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerSummary {
    /// The stage it belongs to.
    pub stage: String,
    /// Its checkpoint name.
    pub name: String,
    /// The operation and its attributes.
    pub op: String,
    /// The output's shape for one image, `[height, width, channels]` or `[features]`.
    pub output: Vec<usize>,
    /// Trained values, running statistics left out.
    pub parameters: usize,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Whether none of its parameters is trained; `null` for a layer without parameters.
    pub frozen: Option<bool>,
}

/// An architecture's table and totals.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The shape of one input image.
    pub input: Vec<usize>,
    /// The layers in order.
    pub layers: Vec<LayerSummary>,
    /// All parameters.
    pub parameters: usize,
    /// Those that are trained.
    pub trainable: usize,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// The last node of the frozen trunk.
    pub cut: Option<String>,
}

impl Graph {
    /// The table of this network under `freeze`.
    pub fn summary(&self, freeze: &Freeze) -> Summary {
        let mut trainable = 0;
        let layers = self.nodes()[1..].iter().map(|node| {
            let weights: Vec<_> = node.params().into_iter().filter(|p| p.kind == ParamKind::Weight).collect();
            let moving = weights.iter().filter(|p| freeze.is_trainable(&p.name));
            let moving = ParamSpec::values(moving);
            trainable = usize::saturating_add(trainable, moving);
            LayerSummary {
                stage: node.stage.clone(),
                name: node.name.clone(),
                op: node.op.to_string(),
                output: node.shape.dims().to_vec(),
                parameters: ParamSpec::values(&weights),
                macs: node.op.macs(&node.shape),
                frozen: (!weights.is_empty()).then_some(moving == 0),
            }
        });
        let layers = layers.collect();
        Summary {
            input: self.input().dims().to_vec(),
            layers,
            parameters: self.parameter_count(),
            trainable,
            macs: self.macs(),
            cut: self.split(freeze).ok().map(|s| s.cut),
        }
    }
}
