//! The nodes of an ONNX graph, one after the other, to those of a network.

use super::attributes::{label, unsupported};
use super::constant::{Constant, constant};
use super::error::OnnxError;
use super::names::Names;
use super::network::Input;
use super::value::{Activation, Count, Layout, Rank, Value};
use crate::onnx::proto::{NodeProto, TensorProto};
use headstart_graph::{GraphBuilder, NodeId, Op, Params};
use headstart_tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What is imported. A use that is not is refused where it is met.
pub(crate) const OPERATORS: [&str; 43] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "Div",
    "Dropout",
    "Equal",
    "Erf",
    "Expand",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LayerNormalization",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pow",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Swish",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// The most values of parameters and constants: twice those of the largest file there can be.
const MOST_HELD: usize = 1 << 30;

/// The network as it grows.
pub(crate) struct Reader<'a> {
    pub(super) nodes: &'a [NodeProto],
    /// The operator set.
    pub(super) opset: i64,
    constants: BTreeMap<&'a str, &'a TensorProto>,
    /// Which node makes a value.
    makers: BTreeMap<&'a str, usize>,
    /// Which of the nodes that are read, read a value.
    readers: BTreeMap<&'a str, Vec<usize>>,
    values: BTreeMap<&'a str, Value>,
    /// Nodes that are part of one before them.
    joined: BTreeSet<usize>,
    /// The images of a batch, where the file knows only batches of so many.
    pub(super) batch: Option<i64>,
    pub(super) builder: GraphBuilder,
    pub(super) params: Params,
    /// Values of parameters and of constants that were made.
    held: usize,
    pub(super) names: Names,
    /// Concatenations that are there.
    pub(super) pairs: BTreeMap<(NodeId, NodeId), NodeId>,
    /// What was left out or decided, once a kind.
    pub(super) notes: BTreeMap<&'static str, usize>,
}

impl<'a> Reader<'a> {
    /// A reader of the nodes `needed`, from the value `input`.
    pub(crate) fn new(
        (nodes, needed): (&'a [NodeProto], &BTreeSet<usize>),
        (constants, makers): (BTreeMap<&'a str, &'a TensorProto>, BTreeMap<&'a str, usize>),
        opset: i64,
        input: &Input<'a>,
        builder: GraphBuilder,
    ) -> Self {
        let mut readers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for &at in needed {
            nodes[at].input.iter().for_each(|name| readers.entry(name).or_default().push(at));
        }
        let first = Value::Activation(Activation::of(builder.input(), input.layout));
        Reader {
            nodes,
            opset,
            constants,
            makers,
            readers,
            values: BTreeMap::from([(input.name, first)]),
            joined: BTreeSet::new(),
            batch: input.batch,
            builder,
            params: Params::new(),
            held: 0,
            names: Names::default(),
            pairs: BTreeMap::new(),
            notes: BTreeMap::new(),
        }
    }

    /// Reads the node at that place.
    pub(crate) fn read(&mut self, at: usize) -> Result<(), OnnxError> {
        let nodes = self.nodes;
        let node = &nodes[at];
        if self.joined.contains(&at) {
            return Ok(());
        }
        if !matches!(node.domain.as_str(), "" | "ai.onnx") || !OPERATORS.contains(&node.op_type.as_str()) {
            let op = match node.domain.as_str() {
                "" | "ai.onnx" => node.op_type.clone(),
                domain => format!("{domain}::{}", node.op_type),
            };
            let known = OPERATORS.join(", ");
            return Err(OnnxError::UnknownOp { node: label(node), op, known });
        }
        let made = self.operation(node)?;
        let read = node.output.iter().skip(made.len()).find(|name| self.readers.contains_key(name.as_str()));
        if let Some(other) = read {
            return Err(unsupported(
                node,
                format!("its output `{other}` is read"),
                "only the first output is imported",
            ));
        }
        for (name, value) in node.output.iter().zip(made) {
            self.values.insert(name, value);
        }
        Ok(())
    }

    fn operation(&mut self, node: &'a NodeProto) -> Result<Vec<Value>, OnnxError> {
        let value = match node.op_type.as_str() {
            "Conv" => self.conv(node)?,
            "Gemm" => self.gemm(node)?,
            "MatMul" => self.matmul(node)?,
            "BatchNormalization" => self.batch_norm(node)?,
            "LayerNormalization" => self.layer_norm(node)?,
            "MaxPool" => self.max_pool(node)?,
            "AveragePool" => self.average_pool(node)?,
            "GlobalAveragePool" | "ReduceMean" => self.mean(node)?,
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => self.reshape(node)?,
            "Transpose" => self.transpose(node)?,
            "Concat" => self.concat(node)?,
            "Gather" | "Slice" => self.select(node)?,
            "Split" => return self.split(node),
            "Constant" => self.given(node)?,
            "Shape" | "ConstantOfShape" | "Equal" | "Where" => self.whole(node)?,
            "Expand" => self.expand(node)?,
            "Identity" | "Dropout" | "Cast" => self.same(node)?,
            "Softmax" => self.softmax(node)?,
            "Add" | "Sub" | "Mul" | "Div" | "Pow" => self.binary(node)?,
            _ => self.unary(node)?,
        };
        Ok(vec![value])
    }

    /// The input `index` of the node at `at`; none where it is left out.
    pub(super) fn optional(&mut self, node: &'a NodeProto, index: usize) -> Result<Option<Value>, OnnxError> {
        let Some(name) = node.input.get(index).filter(|name| !name.is_empty()) else { return Ok(None) };
        if let Some(value) = self.values.get(name.as_str()) {
            return Ok(Some(value.clone()));
        }
        if let Some(tensor) = self.constants.get(name.as_str()) {
            let value = match constant(tensor)? {
                Constant::Floats(tensor) => Value::Floats(Rc::new(tensor)),
                Constant::Whole(values, one) => whole(values, one),
            };
            self.values.insert(name, value.clone());
            return Ok(Some(value));
        }
        let (node, value) = (label(node), name.clone());
        Err(match self.makers.get(name.as_str()) {
            Some(&maker) => OnnxError::Order { node, value, maker: label(&self.nodes[maker]) },
            None => OnnxError::Missing { node, value },
        })
    }

    pub(super) fn value(&mut self, node: &'a NodeProto, index: usize) -> Result<Value, OnnxError> {
        self.optional(node, index)?
            .ok_or_else(|| unsupported(node, format!("input {index} is left out"), "it must be there"))
    }

    /// The activation that is the input `index`, and the node that gives it.
    pub(super) fn activation(
        &mut self,
        node: &'a NodeProto,
        index: usize,
    ) -> Result<(NodeId, Layout), OnnxError> {
        match self.value(node, index)? {
            Value::Activation(activation) => Ok((self.settled(node, &activation)?, activation.layout)),
            Value::Floats(_) | Value::Whole(..) => Err(unsupported(
                node,
                format!("input {index} is a constant"),
                "expected what comes from the image",
            )),
            Value::Parts(_) | Value::Narrowed(..) => Err(unsupported(
                node,
                format!("input {index} is inside an attention or a pooling"),
                "that is not imported",
            )),
        }
    }

    /// The node of the network that gives `activation`.
    pub(super) fn settled(&self, node: &NodeProto, activation: &Activation) -> Result<NodeId, OnnxError> {
        activation.node().ok_or_else(|| {
            unsupported(
                node,
                "the elementwise operations before it make no activation that is imported",
                "these are: ReLU, ReLU6, sigmoid, SiLU, hard sigmoid and hard swish (slope 1/6), tanh and GELU",
            )
        })
    }

    /// The constant of numbers that is the input `index`; none where it is left out.
    pub(super) fn floats(
        &mut self,
        node: &'a NodeProto,
        index: usize,
    ) -> Result<Option<Rc<Tensor>>, OnnxError> {
        match self.optional(node, index)? {
            None => Ok(None),
            Some(Value::Floats(tensor)) => Ok(Some(tensor)),
            Some(_) => Err(unsupported(
                node,
                format!("input {index} (`{}`) is no constant of float32", node.input[index]),
                "weights must be in the file",
            )),
        }
    }

    /// As [`Reader::floats`], of a weight that must be there.
    pub(super) fn weight(&mut self, node: &'a NodeProto, index: usize) -> Result<Rc<Tensor>, OnnxError> {
        let weight = self
            .floats(node, index)?
            .ok_or_else(|| unsupported(node, format!("input {index} is left out"), "it must be there"))?;
        if weight.shape().rank() > 1
            && self.readers.get(node.input[index].as_str()).is_some_and(|r| r.len() > 1)
        {
            *self.notes.entry("a weight that several layers share: each has its own here").or_default() += 1;
        }
        Ok(weight)
    }

    /// The constant whole numbers that are the input `index`; none where it is left out.
    pub(super) fn integers(
        &mut self,
        node: &'a NodeProto,
        index: usize,
    ) -> Result<Option<Vec<i64>>, OnnxError> {
        let Some(value) = self.optional(node, index)? else { return Ok(None) };
        let known = match value {
            Value::Whole(counts, _) => counts.iter().map(|count| known(*count)).collect::<Option<Vec<i64>>>(),
            _ => None,
        };
        let expected = "constant whole numbers are imported there";
        known.map(Some).ok_or_else(|| unsupported(node, format!("input {index} is none"), expected))
    }

    /// The name under which a constant of its own stands in the file, if one node alone reads it, on the way to this one perhaps
    /// turned or expanded; else nothing.
    pub(super) fn tensor_name(&self, node: &'a NodeProto, index: usize) -> &'a str {
        let mut name = node.input.get(index).map_or("", String::as_str);
        // The longest way there is has two steps or three.
        for _ in 0..4 {
            if self.readers.get(name).is_none_or(|readers| readers.len() != 1) {
                return "";
            }
            if self.constants.contains_key(name) {
                return name;
            }
            let maker = self.makers.get(name).map(|&at| &self.nodes[at]);
            let way = ["Cast", "Expand", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];
            match maker
                .filter(|maker| way.contains(&maker.op_type.as_str()))
                .and_then(|maker| maker.input.first())
            {
                Some(before) => name = before,
                None => return "",
            }
        }
        ""
    }

    /// The one node that reads the value `name`.
    pub(super) fn only_reader(&self, name: &str) -> Option<(usize, &'a NodeProto)> {
        match self.readers.get(name).map(Vec::as_slice) {
            Some(&[at]) => Some((at, &self.nodes[at])),
            _ => None,
        }
    }

    /// Makes the node at `at` part of the one that is being read, with its value.
    pub(super) fn join(&mut self, at: usize, value: Value) {
        self.joined.insert(at);
        self.values.insert(&self.nodes[at].output[0], value);
    }

    /// Adds a node to the network.
    pub(super) fn add(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, OnnxError> {
        Ok(self.builder.add(name, op, inputs)?)
    }

    /// Adds a node without weights.
    pub(super) fn step(&mut self, node: &NodeProto, op: Op, inputs: &[NodeId]) -> Result<NodeId, OnnxError> {
        let name = self.names.step(node);
        self.add(&name, op, inputs)
    }

    /// A constant that was made of others.
    pub(super) fn given_floats(&mut self, tensor: Tensor) -> Result<Value, OnnxError> {
        self.account(tensor.len())?;
        Ok(Value::Floats(Rc::new(tensor)))
    }

    /// Counts values that are held besides the file's: a graph can ask for the same constant again and again.
    fn account(&mut self, values: usize) -> Result<(), OnnxError> {
        self.held = self.held.saturating_add(values);
        match self.held > MOST_HELD {
            true => Err(OnnxError::TooLarge {
                what: "values of weights",
                found: self.held as u64,
                limit: MOST_HELD as u64,
            }),
            false => Ok(()),
        }
    }

    /// Keeps a parameter.
    pub(super) fn keep(&mut self, name: String, value: Tensor) -> Result<(), OnnxError> {
        self.account(value.len())?;
        match self.params.get(&name) {
            Some(_) => Err(OnnxError::Twice { value: name }),
            None => {
                self.params.insert(name, value);
                Ok(())
            }
        }
    }

    /// The extents of an activation as ONNX has them, the batch first.
    pub(super) fn extents(&self, node: NodeId, layout: Layout) -> Vec<Count> {
        let own = layout.extents(self.builder.shape(node).dims());
        std::iter::once(Count::Batch).chain(own.into_iter().map(|n| Count::Known(n as i64))).collect()
    }

    /// The value of the last node that made `name`.
    pub(crate) fn made(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }
}

/// Whole numbers of a file.
pub(crate) fn whole(values: Vec<i64>, one: bool) -> Value {
    let rank = if one { Rank::One } else { Rank::List };
    Value::Whole(values.into_iter().map(Count::Known).collect(), rank)
}

/// A number that does not depend on the batch.
pub(crate) fn known(count: Count) -> Option<i64> {
    match count {
        Count::Known(value) => Some(value),
        Count::Batch => None,
    }
}
