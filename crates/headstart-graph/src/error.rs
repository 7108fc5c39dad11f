//! What can be wrong with a graph, its parameters or its input.

use headstart_tensor::Shape;

/// What can be wrong with a graph, its parameters or its input.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Two nodes have one name.
    #[error("two nodes are named `{0}`: parameter names would clash")]
    DuplicateName(String),
    /// A node reads one that does not come before it.
    #[error("node `{node}` reads input {input}, but only nodes before it can be read")]
    UnknownInput {
        /// The reading node.
        node: String,
        /// The index it reads.
        input: usize,
    },
    /// A node has the wrong number of inputs.
    #[error("node `{node}` takes {expected} inputs, {found} were given")]
    InputCount {
        /// The node.
        node: String,
        /// Inputs the op takes.
        expected: usize,
        /// Inputs given.
        found: usize,
    },
    /// An op cannot take an input of that shape.
    #[error("node `{node}`: expected {expected}, found an input of shape {found}")]
    Shape {
        /// The node.
        node: String,
        /// What the op takes, in words.
        expected: String,
        /// The shape it was given.
        found: Shape,
    },
    /// An attribute of an op makes no sense.
    #[error("node `{node}`: {attribute} is {found}, expected {expected}")]
    Attribute {
        /// The node.
        node: String,
        /// The attribute's name.
        attribute: &'static str,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// An activation would not fit in memory.
    #[error(
        "node `{node}` would hold {found} values for one image, more than {limit}: choose a smaller input"
    )]
    TooLarge {
        /// The node.
        node: String,
        /// Values of its output.
        found: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// A written graph has more nodes than any network.
    #[error("the graph has {found} nodes, more than {limit}")]
    TooManyNodes {
        /// Its nodes.
        found: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// Running one image would not fit in memory.
    #[error("one image needs {found} values of working memory, more than {limit}: choose a smaller input")]
    TooMuchMemory {
        /// Values of all buffers.
        found: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// A value of the sample is no finite number: it has no scale.
    #[error(
        "node `{node}` has values that are not finite on the calibration's images: use f32, and check the weights"
    )]
    NotFinite {
        /// The node.
        node: String,
    },
    /// The calibration knows no range for a node.
    #[error("the calibration has no range for node `{node}`: calibrate this very network")]
    NotCalibrated {
        /// The node.
        node: String,
    },
    /// A name is neither a stage nor a layer nor a parameter.
    #[error("`{name}` names no stage, layer or parameter of this network{}", did_you_mean(nearest))]
    UnknownName {
        /// The name.
        name: String,
        /// The nearest names that exist.
        nearest: Vec<String>,
    },
    /// A parameter of the graph has no value.
    #[error("parameter `{name}` (shape {shape}) has no value: load weights for it, or replace the layer")]
    MissingParam {
        /// The parameter.
        name: String,
        /// Its shape.
        shape: Shape,
    },
    /// A parameter has another shape than the graph wants.
    #[error("parameter `{name}` has shape {found}, the graph wants {expected}")]
    ParamShape {
        /// The parameter.
        name: String,
        /// The shape the graph wants.
        expected: Shape,
        /// The shape of the value.
        found: Shape,
    },
    /// A norm by the statistics of the batch has too few values.
    #[error(
        "node `{node}` would normalise by the statistics of one value a channel: use larger batches, or running statistics"
    )]
    LoneValue {
        /// The node.
        node: String,
    },
    /// The input of a run has another shape than the graph's.
    #[error("the input has shape {found}, the network takes {expected} for each image")]
    Input {
        /// The shape of one image.
        expected: Shape,
        /// The shape given.
        found: Shape,
    },
}

/// ": did you mean a, b?", or nothing.
fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!(": did you mean `{}`?", nearest.join("`, `")) }
}
