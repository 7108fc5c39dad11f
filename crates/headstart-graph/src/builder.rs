//! Building a graph, with every name and shape checked as it grows.

use crate::{
    Activation, Attention, BatchNorm2d, Conv2d, Graph, GraphError, LayerNorm, Linear, MaxPool2d, Node,
    NodeId, Op, Padding, Smooth,
};
use headstart_tensor::Shape;
use std::collections::BTreeSet;

/// The most values one activation of one image may hold (1 GiB in f32).
const MAX_VALUES: usize = 1 << 28;

/// Builds a [`Graph`] node by node.
#[derive(Debug, Clone)]
pub struct GraphBuilder {
    nodes: Vec<Node>,
    names: BTreeSet<String>,
    stage: String,
}

impl GraphBuilder {
    /// Starts with the input: the shape of one image, `[height, width, channels]`.
    pub fn new(input: impl Into<Shape>) -> Self {
        let node = Node {
            name: "input".into(),
            stage: "input".into(),
            op: Op::Input,
            inputs: Vec::new(),
            shape: input.into(),
        };
        GraphBuilder { names: BTreeSet::from([node.name.clone()]), nodes: vec![node], stage: "input".into() }
    }

    /// As [`GraphBuilder::new`], for a shape that nobody has looked at yet.
    ///
    /// # Errors
    /// Where an extent is 0, or there are more values than an activation may hold.
    pub fn checked(input: impl Into<Shape>) -> Result<Self, GraphError> {
        let input = input.into();
        check_size("input", &input)?;
        Ok(GraphBuilder::new(input))
    }

    /// The input node.
    pub fn input(&self) -> NodeId {
        NodeId(0)
    }

    /// Nodes added from here on belong to this stage.
    pub fn stage(&mut self, name: &str) {
        name.clone_into(&mut self.stage);
    }

    /// Adds a node.
    ///
    /// # Errors
    /// Where the name is taken, an input is not there, or the op cannot take their shapes.
    pub fn add(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let mut shapes = Vec::with_capacity(inputs.len());
        for input in inputs {
            let node = self.nodes.get(input.0);
            shapes.push(&node.ok_or(GraphError::UnknownInput { node: name.into(), input: input.0 })?.shape);
        }
        if matches!(op, Op::Input) {
            return Err(GraphError::DuplicateName("input".into()));
        }
        let shape = op.output_shape(name, &shapes)?;
        check_size(name, &shape)?;
        if !self.names.insert(name.into()) {
            return Err(GraphError::DuplicateName(name.into()));
        }
        let node = Node { name: name.into(), stage: self.stage.clone(), op, inputs: inputs.to_vec(), shape };
        self.nodes.push(node);
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// A node's output for one image.
    pub fn shape(&self, node: NodeId) -> &Shape {
        &self.nodes[node.0].shape
    }

    /// A node's operation.
    pub fn op(&self, node: NodeId) -> &Op {
        &self.nodes[node.0].op
    }

    /// Channels of a node's output (its last extent).
    pub fn channels(&self, node: NodeId) -> usize {
        self.shape(node).dims().last().copied().unwrap_or(0)
    }

    /// A dense convolution without bias, as networks with batch norm have it; kernel and stride are square.
    ///
    /// # Errors
    /// As [`GraphBuilder::add`].
    pub fn conv(
        &mut self,
        name: &str,
        x: NodeId,
        out_channels: usize,
        (kernel, stride): (usize, usize),
        padding: Padding,
    ) -> Result<NodeId, GraphError> {
        self.grouped_conv(name, x, out_channels, (kernel, stride), padding, 1)
    }

    /// A depthwise convolution without bias; kernel and stride are square.
    ///
    /// # Errors
    /// As [`GraphBuilder::add`].
    pub fn depthwise(
        &mut self,
        name: &str,
        x: NodeId,
        (kernel, stride): (usize, usize),
        padding: Padding,
    ) -> Result<NodeId, GraphError> {
        let channels = self.channels(x);
        self.grouped_conv(name, x, channels, (kernel, stride), padding, channels)
    }

    /// A convolution without bias whose channels fall into groups; kernel and stride are square.
    ///
    /// # Errors
    /// As [`GraphBuilder::add`].
    pub fn grouped_conv(
        &mut self,
        name: &str,
        x: NodeId,
        out_channels: usize,
        (kernel, stride): (usize, usize),
        padding: Padding,
        groups: usize,
    ) -> Result<NodeId, GraphError> {
        let in_channels = self.channels(x);
        let (kernel, stride) = ([kernel; 2], [stride; 2]);
        let conv = Conv2d { in_channels, out_channels, kernel, stride, padding, groups, bias: false };
        self.add(name, Op::Conv2d(conv), &[x])
    }

    /// Batch norm over the channels of `x`.
    ///
    /// # Errors
    /// As [`GraphBuilder::add`].
    pub fn batch_norm(&mut self, name: &str, x: NodeId, eps: f64) -> Result<NodeId, GraphError> {
        self.add(name, Op::BatchNorm2d(BatchNorm2d { channels: self.channels(x), eps }), &[x])
    }

    /// An activation.
    ///
    /// # Errors
    /// As [`GraphBuilder::add`].
    pub fn activation(&mut self, name: &str, x: NodeId, function: Activation) -> Result<NodeId, GraphError> {
        self.add(name, Op::Activation { function }, &[x])
    }

    /// Max pooling with a square window.
    ///
    /// # Errors
    /// As [`GraphBuilder::add`].
    pub fn max_pool(
        &mut self,
        name: &str,
        x: NodeId,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<NodeId, GraphError> {
        let pool = MaxPool2d { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2], ceil: false };
        self.add(name, Op::MaxPool2d(pool), &[x])
    }

    /// A linear layer over the features of `x`.
    ///
    /// # Errors
    /// As [`GraphBuilder::add`].
    pub fn linear(&mut self, name: &str, x: NodeId, out_features: usize) -> Result<NodeId, GraphError> {
        self.add(name, Op::Linear(Linear { in_features: self.channels(x), out_features }), &[x])
    }

    /// A layer norm over the features of `x`.
    ///
    /// # Errors
    /// As [`GraphBuilder::add`].
    pub fn layer_norm(&mut self, name: &str, x: NodeId, eps: f64) -> Result<NodeId, GraphError> {
        self.add(name, Op::LayerNorm(LayerNorm { features: self.channels(x), eps }), &[x])
    }

    /// A smooth activation.
    ///
    /// # Errors
    /// As [`GraphBuilder::add`].
    pub fn smooth(&mut self, name: &str, x: NodeId, function: Smooth) -> Result<NodeId, GraphError> {
        self.add(name, Op::Smooth { function }, &[x])
    }

    /// Self-attention over queries, keys and values `[tokens, 3 * width]`, among the tokens that `mask` `[tokens]` marks.
    ///
    /// # Errors
    /// As [`GraphBuilder::add`].
    pub fn attention(
        &mut self,
        name: &str,
        qkv: NodeId,
        heads: usize,
        mask: Option<NodeId>,
    ) -> Result<NodeId, GraphError> {
        let inputs: Vec<NodeId> = std::iter::once(qkv).chain(mask).collect();
        self.add(name, Op::Attention(Attention { heads, mask: mask.is_some() }), &inputs)
    }

    /// The graph; its output is the last node.
    pub fn finish(self) -> Graph {
        Graph { nodes: self.nodes }
    }
}

fn check_size(node: &str, shape: &Shape) -> Result<(), GraphError> {
    match shape.len() {
        0 => Err(GraphError::Shape {
            node: node.into(),
            expected: "extents above 0".into(),
            found: shape.clone(),
        }),
        n if n > MAX_VALUES => Err(GraphError::TooLarge { node: node.into(), found: n, limit: MAX_VALUES }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_shapes_names_and_inputs_are_refused_by_name() {
        let mut b = GraphBuilder::new([8, 8, 3]);
        let x = b.conv("conv1", b.input(), 4, (3, 1), Padding::Symmetric([1, 1])).unwrap();
        let again = b.conv("conv1", x, 4, (3, 1), Padding::Same).unwrap_err();
        assert_eq!(again.to_string(), "two nodes are named `conv1`: parameter names would clash");
        let wrong = Conv2d {
            in_channels: 5,
            out_channels: 4,
            kernel: [3, 3],
            stride: [1, 1],
            padding: Padding::Same,
            groups: 1,
            bias: false,
        };
        let error = b.add("conv2", Op::Conv2d(wrong), &[x]).unwrap_err().to_string();
        assert!(
            error.contains("conv2") && error.contains("5 channels") && error.contains("[8, 8, 4]"),
            "{error}"
        );
        assert!(matches!(
            b.add("late", Op::Add, &[x, NodeId(9)]),
            Err(GraphError::UnknownInput { input: 9, .. })
        ));
        assert!(matches!(
            b.add("one", Op::Add, &[x]),
            Err(GraphError::InputCount { expected: 2, found: 1, .. })
        ));
        let linear = Op::Linear(Linear { in_features: 5, out_features: 2 });
        assert!(matches!(b.add("fc", linear, &[x]), Err(GraphError::Shape { .. })));
    }

    #[test]
    fn a_graph_survives_writing_and_a_hostile_one_is_refused() {
        let mut b = GraphBuilder::new([9, 7, 3]);
        b.stage("stem");
        let x = b.conv("conv1", b.input(), 4, (3, 2), Padding::Same).unwrap();
        let x = b.batch_norm("bn1", x, 1e-5).unwrap();
        let x = b.activation("relu", x, Activation::Relu).unwrap();
        let x = b.max_pool("maxpool", x, 3, 2, 1).unwrap();
        let x = b.add("pool", Op::GlobalAvgPool, &[x]).unwrap();
        b.linear("fc", x, 10).unwrap();
        let graph = b.finish();
        let text = serde_json::to_string(&graph).unwrap();
        assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph);
        for (from, to) in [
            ("\"input\":[9,7,3]", "\"input\":[900000,700000,3]"),
            ("\"input\":[9,7,3]", "\"input\":[9,0,3]"),
            ("\"in_channels\":3", "\"in_channels\":4"),
            ("\"stride\":[2,2]", "\"stride\":[0,2]"),
            ("\"inputs\":[1]", "\"inputs\":[7]"),
            ("\"op\":\"linear\"", "\"op\":\"exec\""),
            ("\"in_channels\":3", "\"in_channels\":3,\"dilation\":2"),
        ] {
            let hostile = text.replacen(from, to, 1);
            assert_ne!(hostile, text, "{from} is in the text");
            assert!(serde_json::from_str::<Graph>(&hostile).is_err(), "{to}");
        }
    }

    #[test]
    fn counts_of_absurd_layers_saturate() {
        let absurd = Conv2d {
            in_channels: 1 << 28,
            out_channels: 1 << 28,
            kernel: [4096, 4096],
            stride: [1, 1],
            padding: Padding::Same,
            groups: 1,
            bias: true,
        };
        let mut b = GraphBuilder::new([1, 1, 1 << 28]);
        let x = b.add("a", Op::Conv2d(absurd.clone()), &[NodeId(0)]).unwrap();
        b.add("b", Op::Conv2d(absurd), &[x]).unwrap();
        let graph = b.finish();
        assert_eq!((graph.parameter_count(), graph.macs()), (usize::MAX, u64::MAX));
        assert_eq!(graph.summary(&crate::Freeze::everything()).parameters, usize::MAX);
    }
}
