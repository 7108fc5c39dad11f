//! What is frozen, and where that cuts the network.
//!
//! The trunk is the longest prefix in which nothing moves and whose values reach the rest through one node
//! alone; the tail is what comes behind it. Batch norm statistics move only where [`BnStats`] says so, and only in the
//! tail: a norm whose statistics move is a trained one.

use crate::{Graph, GraphError, NodeId, ParamKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Which parameters are trained; all others are frozen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Freeze {
    trainable: BTreeSet<String>,
}

/// By which statistics a trained batch norm normalises. A frozen one always goes by its running statistics.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BnStats {
    /// By its running statistics, which stay: on small data those of a batch say less.
    #[default]
    Running,
    /// By those of the batch; the running statistics move toward them.
    Batch {
        /// How far they move a step, above 0 to 1 (PyTorch's default is 0.1).
        momentum: f64,
    },
    /// By its running statistics, which move toward those of the batch all the same: what a network sees, looked at.
    Watched {
        /// How far they move a step, above 0 to 1.
        momentum: f64,
    },
}

/// A network cut at the freeze boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// The frozen prefix; only an input where the first layer is trained already.
    pub trunk: Graph,
    /// The rest; only an input where nothing is trained. Its input is the trunk's output.
    pub tail: Graph,
    /// The node after which the network is cut.
    pub cut: String,
}

impl Freeze {
    /// Everything frozen.
    pub fn everything() -> Self {
        Freeze::default()
    }

    /// Also trains `name`: a stage, a layer, a parameter, or any prefix of names up to a dot
    /// (`layer4`, `layer4.0.conv1`, `fc.weight`).
    ///
    /// # Errors
    /// Where `graph` has nothing of that name, with the nearest names.
    pub fn unfreeze(mut self, graph: &Graph, name: &str) -> Result<Self, GraphError> {
        let under =
            |full: &str| full.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let mut known = false;
        for node in &graph.nodes()[1..] {
            let whole = node.stage == name || under(&node.name);
            known |= whole;
            for param in node.params() {
                known |= under(&param.name);
                if param.kind == ParamKind::Weight && (whole || under(&param.name)) {
                    self.trainable.insert(param.name);
                }
            }
        }
        if known { Ok(self) } else { Err(graph.unknown(name)) }
    }

    /// Whether that parameter is trained.
    pub fn is_trainable(&self, param: &str) -> bool {
        self.trainable.contains(param)
    }

    /// The trained parameters' names.
    pub fn trainable(&self) -> impl Iterator<Item = &str> {
        self.trainable.iter().map(String::as_str)
    }
}

impl Graph {
    /// Cuts the network at the freeze boundary.
    ///
    /// # Errors
    /// Never for a graph that a builder made: both parts of a valid graph are valid.
    pub fn split(&self, freeze: &Freeze) -> Result<Split, GraphError> {
        let nodes = self.nodes();
        let moves = |i: usize| nodes[i].params().iter().any(|p| freeze.is_trainable(&p.name));
        let frozen = (1..nodes.len()).find(|&i| moves(i)).unwrap_or(nodes.len());
        let cut = self.last_bottleneck(frozen);
        Ok(Split {
            trunk: self.prefix(NodeId(cut))?,
            tail: self.suffix(NodeId(cut))?,
            cut: nodes[cut].name.clone(),
        })
    }

    /// The last of the first `limit` nodes behind which no node before it is read.
    fn last_bottleneck(&self, limit: usize) -> usize {
        let mut last_reader: Vec<usize> = (0..self.nodes().len()).collect();
        for (i, node) in self.nodes().iter().enumerate() {
            node.inputs.iter().for_each(|input| last_reader[input.0] = i);
        }
        // Up to where the values before node `i` are read.
        let (mut reach, mut cut) = (0, 0);
        for (i, &reader) in last_reader.iter().enumerate().take(limit) {
            if reach <= i {
                cut = i;
            }
            reach = reach.max(reader);
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, GraphBuilder, Op, Padding};

    fn residual() -> Graph {
        let mut b = GraphBuilder::new([8, 8, 3]);
        b.stage("stem");
        let x = b.conv("conv1", b.input(), 4, (3, 1), Padding::Same).unwrap();
        b.stage("layer1");
        let y = b.conv("layer1.0.conv1", x, 4, (3, 1), Padding::Same).unwrap();
        let y = b.batch_norm("layer1.0.bn1", y, 1e-5).unwrap();
        let y = b.add("layer1.0.add", Op::Add, &[y, x]).unwrap();
        let y = b.activation("layer1.0.relu", y, Activation::Relu).unwrap();
        b.stage("fc");
        let y = b.add("pool", Op::GlobalAvgPool, &[y]).unwrap();
        b.linear("fc", y, 2).unwrap();
        b.finish()
    }

    #[test]
    fn the_cut_is_the_last_frozen_bottleneck() {
        let graph = residual();
        let cut = |names: &[&str]| {
            let freeze = names.iter().try_fold(Freeze::everything(), |f, n| f.unfreeze(&graph, n)).unwrap();
            graph.split(&freeze).unwrap()
        };
        assert_eq!(cut(&[]).cut, "fc");
        assert_eq!(cut(&["fc"]).cut, "pool");
        assert_eq!(cut(&["fc", "layer1"]).cut, "conv1");
        // The shortcut still needs conv1 where only the norm inside the block moves.
        assert_eq!(cut(&["layer1.0.bn1.weight"]).cut, "conv1");
        let all = cut(&["conv1"]);
        assert_eq!((all.cut.as_str(), all.trunk.nodes().len()), ("input", 1));
        let split = cut(&["fc"]);
        assert_eq!(split.trunk.output(), split.tail.input());
        assert_eq!(split.trunk.nodes().len() + split.tail.nodes().len(), graph.nodes().len() + 1);
    }

    #[test]
    fn statistics_never_become_trainable_and_unknown_names_are_answered() {
        let graph = residual();
        let freeze = Freeze::everything().unfreeze(&graph, "layer1").unwrap();
        let expected = ["layer1.0.bn1.bias", "layer1.0.bn1.weight", "layer1.0.conv1.weight"];
        assert_eq!(freeze.trainable().collect::<Vec<_>>(), expected);
        let error = Freeze::everything().unfreeze(&graph, "layre1").unwrap_err();
        assert!(error.to_string().ends_with("did you mean `layer1`?"), "{error}");
        // `layer` is a prefix of letters, not of names.
        assert!(Freeze::everything().unfreeze(&graph, "layer").is_err());
    }
}
