//! The closed set of operations: what every part of the engine must know about each.

use crate::GraphError;
use crate::ops::{
    Activation, AdaptiveAvgPool, AddRows, Attention, AvgPool2d, BatchNorm2d, ClassToken, Conv2d, Embedding,
    LayerNorm, LayerScale, Linear, Linears, MaxPool2d, Smooth, TokenPool,
};
use crate::ops::{concat, normalize, scale_channels};
use headstart_tensor::Shape;
use serde::{Deserialize, Serialize};

/// An operation and its attributes. Adding a variant makes the compiler list every place that must know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Where the images (or, in a tail, the activations at the cut) come in. The first node, and only that.
    Input,
    /// Convolution: dense, depthwise or in groups.
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
    /// `y = x weight^T + bias` over features, `[in]` or `[tokens, in]`.
    Linear(Linear),
    /// Several linear layers of one input, side by side.
    Linears(Linears),
    /// Normalisation over the last extent.
    LayerNorm(LayerNorm),
    /// An elementwise activation that no kernel takes into its epilogue.
    Smooth {
        /// Which.
        function: Smooth,
    },
    /// Multi-head self-attention over queries, keys and values.
    Attention(Attention),
    /// Ids to rows of a table.
    Embedding(Embedding),
    /// `[ids]` to 0 where the id is that of padding and 1 elsewhere.
    PadMask {
        /// The id of padding.
        pad: u32,
    },
    /// A trained token before all others.
    ClassToken(ClassToken),
    /// Rows of a trained table added to the tokens.
    AddRows(AddRows),
    /// `[tokens, features]` to `[features]`: the first token, or the mean.
    TokenPool(TokenPool),
    /// The mean under windows that tile the image.
    AdaptiveAvgPool(AdaptiveAvgPool),
    /// `[h, w, c]` to `[c * h * w]`, channel by channel.
    Flatten,
    /// Rows divided by their length.
    Normalize,
    /// `[.., channels]` times the second input, one value a channel.
    ScaleChannels,
    /// `[.., features]` times a trained factor a feature.
    LayerScale(LayerScale),
    /// The channels of two inputs side by side.
    Concat,
    /// The mean under a sliding window.
    AvgPool2d(AvgPool2d),
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
    /// Its name: within a graph the checkpoint's full name, within an op the part behind the node's name (none: the
    /// parameter has the node's own name).
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
            Op::Add | Op::ScaleChannels | Op::Concat => 2,
            Op::Attention(Attention { mask, .. }) | Op::TokenPool(TokenPool { mask, .. }) => {
                1 + usize::from(*mask)
            }
            Op::Conv2d(_)
            | Op::BatchNorm2d(_)
            | Op::Activation { .. }
            | Op::MaxPool2d(_)
            | Op::GlobalAvgPool
            | Op::Linear(_)
            | Op::Linears(_)
            | Op::LayerNorm(_)
            | Op::Smooth { .. }
            | Op::Embedding(_)
            | Op::PadMask { .. }
            | Op::ClassToken(_)
            | Op::AddRows(_)
            | Op::AdaptiveAvgPool(_)
            | Op::Flatten
            | Op::Normalize
            | Op::LayerScale(_)
            | Op::AvgPool2d(_) => 1,
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
            (Op::Activation { .. } | Op::Smooth { .. }, [x]) => Ok((*x).clone()),
            (Op::Linears(linears), [x]) => linears.output_shape(node, x),
            (Op::LayerNorm(norm), [x]) => norm.output_shape(node, x),
            (Op::Attention(attention), _) => attention.output_shape(node, inputs),
            (Op::Embedding(embedding), [x]) => embedding.output_shape(node, x),
            (Op::PadMask { .. }, [x]) if x.rank() == 1 => Ok((*x).clone()),
            (Op::PadMask { .. }, [x]) => {
                Err(GraphError::Shape { node: node.into(), expected: "[ids]".into(), found: (*x).clone() })
            }
            (Op::ClassToken(token), [x]) => token.output_shape(node, x),
            (Op::AddRows(rows), [x]) => rows.output_shape(node, x),
            (Op::TokenPool(pool), _) => pool.output_shape(node, inputs),
            (Op::AdaptiveAvgPool(pool), [x]) => pool.output_shape(node, x),
            (Op::Normalize, [x]) => normalize::output_shape(node, x),
            (Op::ScaleChannels, [x, scale]) => scale_channels::output_shape(node, x, scale),
            (Op::LayerScale(scale), [x]) => scale.output_shape(node, x),
            (Op::AvgPool2d(pool), [x]) => pool.output_shape(node, x),
            (Op::Concat, [a, b]) => concat::output_shape(node, a, b),
            (Op::Flatten, [x]) => Ok(Shape::from([image(node, x)?.iter().product()])),
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
            Op::Linears(linears) => linears.params(),
            Op::LayerNorm(norm) => norm.params(),
            Op::Embedding(embedding) => embedding.params(),
            Op::ClassToken(token) => token.params(),
            Op::AddRows(rows) => rows.params(),
            Op::LayerScale(scale) => scale.params(),
            Op::Input
            | Op::Activation { .. }
            | Op::Add
            | Op::MaxPool2d(_)
            | Op::GlobalAvgPool
            | Op::Smooth { .. }
            | Op::Attention(_)
            | Op::PadMask { .. }
            | Op::TokenPool(_)
            | Op::AdaptiveAvgPool(_)
            | Op::Flatten
            | Op::Normalize
            | Op::ScaleChannels
            | Op::Concat
            | Op::AvgPool2d(_) => Vec::new(),
        }
    }

    /// Multiply-accumulates for one image, as papers count them: those of convolutions, linear layers and attention.
    pub fn macs(&self, output: &Shape) -> u64 {
        let per_value = match self {
            Op::Conv2d(conv) => {
                (conv.in_channels / conv.groups.max(1)).saturating_mul(conv.kernel[0] * conv.kernel[1])
            }
            Op::Linear(linear) => linear.in_features,
            Op::Linears(linears) => linears.in_features,
            // Each value is a dot product with a key for the score, and a value for the mixture, of every token.
            Op::Attention(_) => 2 * output.dims()[0],
            Op::LayerNorm(_)
            | Op::Smooth { .. }
            | Op::Embedding(_)
            | Op::PadMask { .. }
            | Op::ClassToken(_)
            | Op::AddRows(_)
            | Op::TokenPool(_)
            | Op::AdaptiveAvgPool(_)
            | Op::Flatten
            | Op::Normalize
            | Op::ScaleChannels
            | Op::LayerScale(_)
            | Op::Concat
            | Op::AvgPool2d(_)
            | Op::Input
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
            Op::Linears(linears) => linears.fmt(f),
            Op::LayerNorm(norm) => norm.fmt(f),
            Op::Smooth { function } => function.fmt(f),
            Op::Attention(attention) => attention.fmt(f),
            Op::Embedding(embedding) => embedding.fmt(f),
            Op::PadMask { pad } => write!(f, "PadMask({pad})"),
            Op::ClassToken(token) => token.fmt(f),
            Op::AddRows(rows) => rows.fmt(f),
            Op::TokenPool(pool) => pool.fmt(f),
            Op::AdaptiveAvgPool(pool) => pool.fmt(f),
            Op::Flatten => f.write_str("Flatten"),
            Op::Normalize => f.write_str("Normalize"),
            Op::ScaleChannels => f.write_str("ScaleChannels"),
            Op::LayerScale(scale) => scale.fmt(f),
            Op::Concat => f.write_str("Concat"),
            Op::AvgPool2d(pool) => pool.fmt(f),
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

/// Whether the last extent of `x` is `features`.
pub(crate) fn last_extent(node: &str, x: &Shape, features: usize) -> Result<(), GraphError> {
    match x.dims().last() {
        Some(&last) if last == features && features > 0 => Ok(()),
        _ => Err(GraphError::Shape {
            node: node.into(),
            expected: format!("[.., {features} features]"),
            found: x.clone(),
        }),
    }
}
