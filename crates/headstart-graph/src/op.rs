//! The closed set of operations: what every part of the engine must know about each.

use crate::GraphError;
use crate::ops::{Activation, BatchNorm2d, Conv2d, Linear, MaxPool2d};
use headstart_tensor::Shape;
use serde::{Deserialize, Serialize};

/// An operation and its attributes. Adding a variant makes the compiler list every place that must know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Where the images (or, in a tail, the activations at the cut) come in. The first node, and only that.
    Input,
    /// Convolution, dense or depthwise.
    Conv2d(Conv2d),
    /// Batch normalisation by running statistics.
    BatchNorm2d(BatchNorm2d),
    /// An elementwise activation.
    Activation {
        /// Which.
        function: Activation,
    },
    /// The sum of two inputs of one shape.
    Add,
    /// The largest value under a window.
    MaxPool2d(MaxPool2d),
    /// The mean over all pixels: `[h, w, c]` to `[c]`.
    GlobalAvgPool,
    /// `y = x weight^T + bias` over features.
    Linear(Linear),
}

/// What a parameter is to its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// Trained by gradients.
    Weight,
    /// Running statistics: kept in the checkpoint, moved by no gradient.
    Buffer,
}

/// A parameter of an op, as the checkpoint holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSpec {
    /// Its name: within a graph the checkpoint's full name, within an op the part behind the last dot.
    pub name: String,
    /// Its shape in the checkpoint's layout (convolutions `[out, in / groups, height, width]`).
    pub shape: Shape,
    /// Trained or kept.
    pub kind: ParamKind,
}

impl ParamSpec {
    /// Number of values of several parameters. Saturates: a graph of a file may claim anything.
    pub fn values<'a>(specs: impl IntoIterator<Item = &'a ParamSpec>) -> usize {
        specs.into_iter().fold(0, |sum, p| sum.saturating_add(p.shape.len()))
    }

    pub(crate) fn weight(name: &str, shape: impl Into<Shape>) -> Self {
        ParamSpec { name: name.to_owned(), shape: shape.into(), kind: ParamKind::Weight }
    }

    pub(crate) fn buffer(name: &str, shape: impl Into<Shape>) -> Self {
        ParamSpec { name: name.to_owned(), shape: shape.into(), kind: ParamKind::Buffer }
    }
}

impl Op {
    /// Number of inputs the op takes.
    pub fn arity(&self) -> usize {
        match self {
            Op::Input => 0,
            Op::Add => 2,
            Op::Conv2d(_)
            | Op::BatchNorm2d(_)
            | Op::Activation { .. }
            | Op::MaxPool2d(_)
            | Op::GlobalAvgPool
            | Op::Linear(_) => 1,
        }
    }

    /// The output's shape for one image.
    ///
    /// # Errors
    /// Where the op cannot take such inputs; `node` names it.
    pub(crate) fn output_shape(&self, node: &str, inputs: &[&Shape]) -> Result<Shape, GraphError> {
        if inputs.len() != self.arity() {
            return Err(GraphError::InputCount {
                node: node.into(),
                expected: self.arity(),
                found: inputs.len(),
            });
        }
        match (self, inputs) {
            (Op::Conv2d(conv), [x]) => conv.output_shape(node, x),
            (Op::BatchNorm2d(norm), [x]) => norm.output_shape(node, x),
            (Op::MaxPool2d(pool), [x]) => pool.output_shape(node, x),
            (Op::Linear(linear), [x]) => linear.output_shape(node, x),
            (Op::GlobalAvgPool, [x]) => Ok(Shape::from([image(node, x)?[2]])),
            (Op::Add, [a, b]) if a == b => Ok((*a).clone()),
            (Op::Add, [a, b]) => Err(GraphError::Shape {
                node: node.into(),
                expected: format!("both inputs {a}"),
                found: (*b).clone(),
            }),
            (Op::Activation { .. }, [x]) => Ok((*x).clone()),
            _ => {
                Err(GraphError::InputCount { node: node.into(), expected: self.arity(), found: inputs.len() })
            }
        }
    }

    /// The parameters, in the checkpoint's order.
    pub fn params(&self) -> Vec<ParamSpec> {
        match self {
            Op::Conv2d(conv) => conv.params(),
            Op::BatchNorm2d(norm) => norm.params(),
            Op::Linear(linear) => linear.params(),
            Op::Input | Op::Activation { .. } | Op::Add | Op::MaxPool2d(_) | Op::GlobalAvgPool => Vec::new(),
        }
    }

    /// Multiply-accumulates for one image, as papers count them: those of convolutions and linear layers.
    pub fn macs(&self, output: &Shape) -> u64 {
        let per_value = match self {
            Op::Conv2d(conv) => {
                (conv.in_channels / conv.groups.max(1)).saturating_mul(conv.kernel[0] * conv.kernel[1])
            }
            Op::Linear(linear) => linear.in_features,
            Op::Input
            | Op::BatchNorm2d(_)
            | Op::Activation { .. }
            | Op::Add
            | Op::MaxPool2d(_)
            | Op::GlobalAvgPool => 0,
        };
        (per_value as u64).saturating_mul(output.len() as u64)
    }
}

impl std::fmt::Display for Op {
    /// As PyTorch prints a module: `Conv2d(3, 64, kernel=7x7, stride=2, padding=3)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Op::Input => f.write_str("Input"),
            Op::Conv2d(conv) => conv.fmt(f),
            Op::BatchNorm2d(norm) => norm.fmt(f),
            Op::Activation { function } => function.fmt(f),
            Op::Add => f.write_str("Add"),
            Op::MaxPool2d(pool) => pool.fmt(f),
            Op::GlobalAvgPool => f.write_str("GlobalAvgPool"),
            Op::Linear(linear) => linear.fmt(f),
        }
    }
}

/// `x` as height, width and channels.
pub(crate) fn image(node: &str, x: &Shape) -> Result<[usize; 3], GraphError> {
    <[usize; 3]>::try_from(x.dims()).map_err(|_| GraphError::Shape {
        node: node.into(),
        expected: "[height, width, channels]".into(),
        found: x.clone(),
    })
}
