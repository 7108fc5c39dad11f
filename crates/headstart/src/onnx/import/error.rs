//! Why an ONNX file cannot be imported.

use headstart_graph::GraphError;

/// Why an ONNX file cannot be imported.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The bytes are no message of protobuf, or not one of ONNX.
    #[error("it is no ONNX model, or not a whole one ({detail}): copy or export it again")]
    NotOnnx {
        /// Where reading stopped.
        detail: String,
    },
    /// More than an ONNX file holds.
    #[error("it has {found} {what}, more than {limit}: no network that is imported is so large")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// The most that is read.
        limit: u64,
    },
    /// Operators whose meaning is not known here.
    #[error(
        "it is written by operator set {found}, and {least} to {most} are read: export it with `opset_version={hint}`"
    )]
    Opset {
        /// What the file says.
        found: i64,
        /// The oldest that is read.
        least: i64,
        /// The newest that is read.
        most: i64,
        /// One to take.
        hint: i64,
    },
    /// Weights that are in another file.
    #[error(
        "the values of `{tensor}` are in another file, {file}, which is not read: write one file, in Python \
         `onnx.save(onnx.load(\"in.onnx\"), \"out.onnx\")`, or export with `external_data=False`"
    )]
    ExternalData {
        /// The tensor.
        tensor: String,
        /// The file that it names.
        file: String,
    },
    /// A constant that is not what it says.
    #[error("tensor `{name}`: expected {expected}, found {found}")]
    Tensor {
        /// Its name.
        name: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// An operator that is not imported.
    #[error("node `{node}` is a `{op}`, which is not imported; these are: {known}")]
    UnknownOp {
        /// The node.
        node: String,
        /// The operator, with its domain where that is not ONNX's own.
        op: String,
        /// What is imported.
        known: String,
    },
    /// A use of an operator that is not imported.
    #[error("node `{node}` ({op}): {found}; {expected}")]
    Unsupported {
        /// The node.
        node: String,
        /// The operator.
        op: String,
        /// What was found.
        found: String,
        /// What is imported, or what to do.
        expected: String,
    },
    /// A value that nothing makes.
    #[error("node `{node}` reads `{value}`, which no node, input or initializer of the file gives")]
    Missing {
        /// The reading node.
        node: String,
        /// The value.
        value: String,
    },
    /// A value that is read before it is made.
    #[error(
        "node `{node}` reads `{value}`, which only `{maker}` behind it makes: the nodes are not in order, or go in a circle"
    )]
    Order {
        /// The reading node.
        node: String,
        /// The value.
        value: String,
        /// The node that makes it.
        maker: String,
    },
    /// Two things of one name.
    #[error("`{value}` is made twice: names in a graph must differ")]
    Twice {
        /// The value.
        value: String,
    },
    /// The input is not one image.
    #[error("the input {found}; expected one input of images, `[batch, 3, height, width]` in float32{hint}")]
    Input {
        /// What was found.
        found: String,
        /// What to do.
        hint: String,
    },
    /// There is no one output of logits.
    #[error("its outputs are {found}: expected one, the logits, or one of that name")]
    Outputs {
        /// Their names.
        found: String,
    },
    /// The output is not a classifier's.
    #[error(
        "its output `{output}` comes from {found}: expected a linear layer (Gemm, or MatMul with a bias) of the features, perhaps \
         with a Softmax behind it; only networks that classify are imported"
    )]
    NoClassifier {
        /// The output.
        output: String,
        /// What makes it.
        found: String,
    },
    /// The network that came out cannot be.
    #[error(transparent)]
    Graph(#[from] GraphError),
}
