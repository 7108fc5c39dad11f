//! The ONNX graph as it grows: nodes and constants, each value under a name of its own.

use super::proto::{AttributeProto, ElementType, GraphProto, NodeProto, TensorProto, ValueInfo};
use headstart_tensor::Tensor;
use std::collections::BTreeSet;

/// Collects nodes and constants. A value is known by its name.
#[derive(Debug, Default)]
pub(crate) struct Emitter {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    names: BTreeSet<String>,
}

impl Emitter {
    /// Adds the node `name` of one output, and gives the output's name: `name/output`, so that it differs from the
    /// parameters, which have the checkpoint's names.
    pub(crate) fn node(
        &mut self,
        name: &str,
        op_type: &str,
        inputs: &[&str],
        attributes: impl IntoIterator<Item = AttributeProto>,
    ) -> String {
        let output = format!("{name}/output");
        self.named(name, op_type, inputs, &output, attributes);
        output
    }

    /// As [`Emitter::node`], with the output under a name that it is wanted by.
    pub(crate) fn named(
        &mut self,
        name: &str,
        op_type: &str,
        inputs: &[&str],
        output: &str,
        attributes: impl IntoIterator<Item = AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            attribute: attributes.into_iter().collect(),
            domain: String::new(),
        });
    }

    /// A constant of f32, and its name again. A name that is there already is the same constant.
    pub(crate) fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, ElementType::Float, dims, raw)
    }

    /// A parameter in the checkpoint's layout.
    pub(crate) fn tensor(&mut self, name: &str, value: &Tensor) -> String {
        self.floats(name, value.dims(), value.data())
    }

    /// A list of whole numbers.
    pub(crate) fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, ElementType::Int64, &[values.len()], raw)
    }

    /// One whole number, of rank 0.
    pub(crate) fn integer(&mut self, name: &str, value: i64) -> String {
        self.constant(name, ElementType::Int64, &[], value.to_le_bytes().to_vec())
    }

    fn constant(&mut self, name: &str, element: ElementType, dims: &[usize], raw_data: Vec<u8>) -> String {
        if self.names.insert(name.to_owned()) {
            self.constants.push(TensorProto {
                dims: dims.iter().map(|&d| d as i64).collect(),
                data_type: element.into(),
                name: name.to_owned(),
                raw_data,
                ..TensorProto::default()
            });
        }
        name.to_owned()
    }

    /// The graph between these inputs and outputs.
    pub(crate) fn finish(self, name: &str, input: Vec<ValueInfo>, output: Vec<ValueInfo>) -> GraphProto {
        let (node, initializer) = (self.nodes, self.constants);
        GraphProto { node, name: name.to_owned(), initializer, input, output }
    }
}
