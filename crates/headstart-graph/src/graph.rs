//! The network: nodes in topological order.

use crate::params::full_name;
use crate::{Attention, GraphBuilder, GraphError, Op, ParamKind, ParamSpec, TokenPool};
use headstart_tensor::Shape;
use serde::{Deserialize, Serialize};

/// The most nodes a graph of a file may have; the deepest networks have a few hundred.
const MAX_NODES: usize = 20_000;

/// A node's place in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// The index into [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// An operation at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The layer's name in the checkpoint (`layer1.0.conv1`), unique in the graph.
    pub name: String,
    /// The stage it belongs to (`layer1`).
    pub stage: String,
    /// The operation.
    pub op: Op,
    /// The nodes it reads, all before it.
    pub inputs: Vec<NodeId>,
    /// Its output for one image.
    pub shape: Shape,
}

/// A network: nodes in topological order, the first the input, the last the output.
///
/// It serialises to its structure alone; reading it back checks every name and shape again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
}

impl Graph {
    /// The nodes in topological order; there is at least the input.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The shape of one input image.
    pub fn input(&self) -> &Shape {
        &self.nodes[0].shape
    }

    /// The shape of the output for one image.
    pub fn output(&self) -> &Shape {
        &self.nodes[self.nodes.len() - 1].shape
    }

    /// The stages' names in order of appearance.
    pub fn stages(&self) -> Vec<&str> {
        let mut stages: Vec<&str> = Vec::new();
        for node in &self.nodes[1..] {
            if !stages.contains(&node.stage.as_str()) {
                stages.push(&node.stage);
            }
        }
        stages
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<(NodeId, &Node)> {
        self.nodes.iter().enumerate().find(|(_, n)| n.name == name).map(|(i, n)| (NodeId(i), n))
    }

    /// The node where a stage ends.
    pub fn end_of_stage(&self, stage: &str) -> Option<NodeId> {
        self.nodes.iter().rposition(|n| n.stage == stage).map(NodeId)
    }

    /// All parameters under their checkpoint names, in the order of the nodes.
    pub fn params(&self) -> Vec<ParamSpec> {
        self.nodes.iter().flat_map(|node| node.params()).collect()
    }

    /// Number of trained values (running statistics left out, as PyTorch counts).
    pub fn parameter_count(&self) -> usize {
        ParamSpec::values(self.params().iter().filter(|p| p.kind == ParamKind::Weight))
    }

    /// Multiply-accumulates for one image; saturates.
    pub fn macs(&self) -> u64 {
        self.nodes.iter().fold(0, |sum, n| sum.saturating_add(n.op.macs(&n.shape)))
    }

    /// The same network for inputs of another shape.
    ///
    /// # Errors
    /// Where a layer cannot take what comes out before it.
    pub fn with_input(&self, input: impl Into<Shape>) -> Result<Graph, GraphError> {
        let mut builder = GraphBuilder::new(input);
        self.copy_into(&mut builder, 1..self.nodes.len())?;
        Ok(builder.finish())
    }

    /// The same network for sequences without padding: nothing is masked, so that what attends can be cut off behind the node that
    /// it reads. Whole sequences have the same output.
    ///
    /// # Errors
    /// Where something else than attention and pooling reads a mask.
    pub fn without_masks(&self) -> Result<Graph, GraphError> {
        let mut builder = GraphBuilder::new(self.input().clone());
        let mut now = vec![Some(NodeId(0))];
        for node in &self.nodes[1..] {
            let (op, reads) = match &node.op {
                Op::PadMask { .. } => {
                    now.push(None);
                    continue;
                }
                Op::Attention(attention) => {
                    (Op::Attention(Attention { mask: false, ..attention.clone() }), 1)
                }
                Op::TokenPool(pool) => (Op::TokenPool(TokenPool { mask: false, ..pool.clone() }), 1),
                op => (op.clone(), node.inputs.len()),
            };
            let masked =
                |input: &NodeId| GraphError::UnknownInput { node: node.name.clone(), input: input.0 };
            let inputs = node.inputs[..reads].iter().map(|i| now[i.0].ok_or_else(|| masked(i)));
            let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
            builder.stage(&node.stage);
            now.push(Some(builder.add(&node.name, op, &inputs)?));
        }
        Ok(builder.finish())
    }

    /// The same network with the linear layer (or the convolution) `layer` replaced by one with `classes` outputs.
    ///
    /// # Errors
    /// Where `layer` is no such layer of the graph.
    pub fn with_classes(&self, layer: &str, classes: usize) -> Result<Graph, GraphError> {
        let mut graph = self.clone();
        let found = graph.nodes.iter_mut().find(|n| n.name == layer);
        match found.map(|n| &mut n.op) {
            Some(Op::Linear(linear)) => linear.out_features = classes,
            Some(Op::Conv2d(conv)) if conv.groups == 1 => conv.out_channels = classes,
            _ => return Err(self.unknown(layer)),
        }
        graph.with_input(self.input().clone())
    }

    /// The first nodes, up to and including `last`, as a network of their own.
    ///
    /// # Errors
    /// Never for a node of this graph: its prefix is a graph.
    pub fn prefix(&self, last: NodeId) -> Result<Graph, GraphError> {
        let mut builder = GraphBuilder::new(self.input().clone());
        self.copy_into(&mut builder, 1..last.0 + 1)?;
        Ok(builder.finish())
    }

    /// This network with more nodes behind its output, each reading the one before it.
    ///
    /// # Errors
    /// Where a name is taken, or an op cannot take what comes out before it.
    pub fn and_then(&self, stage: &str, ops: &[(&str, Op)]) -> Result<Graph, GraphError> {
        let mut builder = GraphBuilder::new(self.input().clone());
        self.copy_into(&mut builder, 1..self.nodes.len())?;
        builder.stage(stage);
        let mut last = NodeId(self.nodes.len() - 1);
        for (name, op) in ops {
            last = builder.add(name, op.clone(), &[last])?;
        }
        Ok(builder.finish())
    }

    /// What comes behind `cut`, as a network whose input is the output of `cut`.
    ///
    /// # Errors
    /// Where something behind the cut reads a node before it.
    pub fn suffix(&self, cut: NodeId) -> Result<Graph, GraphError> {
        let mut builder = GraphBuilder::new(self.nodes[cut.0].shape.clone());
        self.copy_into(&mut builder, cut.0 + 1..self.nodes.len())?;
        Ok(builder.finish())
    }

    /// Copies a range of nodes; the node before the range becomes the builder's input.
    fn copy_into(&self, builder: &mut GraphBuilder, range: std::ops::Range<usize>) -> Result<(), GraphError> {
        let offset = range.start - 1;
        for node in &self.nodes[range] {
            builder.stage(&node.stage);
            let inputs = node.inputs.iter().map(|i| {
                let input = i.0.checked_sub(offset);
                input.map(NodeId).ok_or(GraphError::UnknownInput { node: node.name.clone(), input: i.0 })
            });
            let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
            builder.add(&node.name, node.op.clone(), &inputs)?;
        }
        Ok(())
    }

    /// The error for a name that is not in this graph, with the nearest ones that are.
    pub(crate) fn unknown(&self, name: &str) -> GraphError {
        let params = self.params();
        let names = self.stages().into_iter().chain(self.nodes[1..].iter().map(|n| n.name.as_str()));
        let names = names.chain(params.iter().map(|p| p.name.as_str()));
        GraphError::UnknownName { name: name.into(), nearest: crate::nearest(name, names) }
    }
}

impl Node {
    /// The node's parameters under their checkpoint names.
    pub fn params(&self) -> Vec<ParamSpec> {
        let mut params = self.op.params();
        for param in &mut params {
            param.name = full_name(&self.name, &param.name);
        }
        params
    }
}

/// A graph as it is written: without the shapes, which are computed again.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    input: Vec<usize>,
    nodes: Vec<WrittenNode>,
}

#[derive(Clone, Serialize, Deserialize)]
struct WrittenNode {
    name: String,
    stage: String,
    inputs: Vec<NodeId>,
    #[serde(flatten)]
    op: Op,
}

impl From<Graph> for Written {
    fn from(graph: Graph) -> Self {
        let input = graph.input().dims().to_vec();
        let nodes = graph.nodes.into_iter().skip(1);
        let nodes = nodes.map(|n| WrittenNode { name: n.name, stage: n.stage, inputs: n.inputs, op: n.op });
        Written { input, nodes: nodes.collect() }
    }
}

impl TryFrom<Written> for Graph {
    type Error = GraphError;

    fn try_from(written: Written) -> Result<Self, GraphError> {
        if written.nodes.len() > MAX_NODES {
            return Err(GraphError::TooManyNodes { found: written.nodes.len(), limit: MAX_NODES });
        }
        let mut builder = GraphBuilder::checked(written.input)?;
        for node in written.nodes {
            builder.stage(&node.stage);
            builder.add(&node.name, node.op, &node.inputs)?;
        }
        Ok(builder.finish())
    }
}
