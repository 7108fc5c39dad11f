//! What the names of an ONNX graph stand for while it is read: constants, and activations of the network that grows.

use super::attention::Parts;
use super::elementwise::Samples;
use headstart_graph::NodeId;
use headstart_tensor::Tensor;
use std::rc::Rc;

/// A value of the graph.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A constant.
    Floats(Rc<Tensor>),
    /// Extents, positions: whole numbers, a list or one.
    Whole(Vec<Count>, Rank),
    /// What a node of the network gives.
    Activation(Activation),
    /// Queries, keys and values on the way through an attention.
    Parts(Parts),
    /// An image `[h, w, c]` whose rows are averaged to so many columns: the first half of a pooling to a size.
    Narrowed(NodeId, usize),
}

/// Whether whole numbers are one or a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    One,
    List,
}

/// A whole number that may depend on the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// The same for every batch.
    Known(i64),
    /// The images of the batch.
    Batch,
}

/// How ONNX has the values of an activation for a batch, where the network has those of one image channels last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[batch, c, h, w]`, of `[h, w, c]`.
    Image,
    /// `[batch, h, w, c]`, of `[h, w, c]`.
    ChannelsLast,
    /// `[batch, c, h * w]`, of `[h, w, c]`.
    Columns,
    /// `[batch, tokens, features]`, of `[tokens, features]` or `[h, w, c]`.
    Tokens,
    /// `[c]` as that axis of so many; the others are the batch and ones.
    Features { rank: usize, axis: usize },
}

impl Layout {
    /// `[batch, features]`.
    pub(crate) const ROW: Layout = Layout::Features { rank: 2, axis: 1 };

    /// The axis of the channels.
    pub(crate) fn channels(self) -> usize {
        match self {
            Layout::Image | Layout::Columns => 1,
            Layout::ChannelsLast => 3,
            Layout::Tokens => 2,
            Layout::Features { axis, .. } => axis,
        }
    }

    /// The extents in ONNX behind the batch, of a value of `shape` here.
    pub(crate) fn extents(self, shape: &[usize]) -> Vec<usize> {
        let channels = shape.last().copied().unwrap_or(1);
        let pixels = shape.iter().product::<usize>() / channels.max(1);
        match (self, shape) {
            (Layout::Image, &[h, w, c]) => vec![c, h, w],
            (Layout::Columns, _) => vec![channels, pixels],
            (Layout::Tokens, _) => vec![pixels, channels],
            (Layout::Features { rank, axis }, _) => {
                (1..rank).map(|at| if at == axis { channels } else { 1 }).collect()
            }
            (Layout::ChannelsLast | Layout::Image, _) => shape.to_vec(),
        }
    }
}

/// An activation: what a node of the network gives, or a function of it that may become one.
#[derive(Debug, Clone)]
pub(crate) struct Activation {
    pub(crate) layout: Layout,
    /// The same values by several ways: as a function of the output of a node, elementwise. The newest last.
    pub(crate) forms: Vec<(NodeId, Box<Samples>)>,
}

/// The most ways that are kept: an activation is spelled around one or two nodes.
const MOST_FORMS: usize = 4;

impl Activation {
    pub(crate) fn of(node: NodeId, layout: Layout) -> Activation {
        Activation { layout, forms: vec![(node, Box::new(Samples::identity()))] }
    }

    pub(crate) fn and(mut self, node: NodeId) -> Activation {
        self.forms.push((node, Box::new(Samples::identity())));
        if self.forms.len() > MOST_FORMS {
            self.forms.remove(0);
        }
        self
    }

    pub(crate) fn map(&self, f: impl Fn(f64) -> f64) -> Activation {
        let forms = self.forms.iter().map(|(node, samples)| (*node, Box::new(samples.map(&f))));
        Activation { layout: self.layout, forms: forms.collect() }
    }

    /// `f` of both, as functions of those nodes that both are functions of; none where there is no such node.
    pub(crate) fn with(&self, other: &Activation, f: impl Fn(f64, f64) -> f64) -> Option<Activation> {
        let same = |node: NodeId| other.forms.iter().find(|(of, _)| *of == node);
        let forms = self.forms.iter().filter_map(|(node, samples)| {
            same(*node).map(|(_, others)| (*node, Box::new(samples.with(others, &f))))
        });
        let forms: Vec<_> = forms.collect();
        (self.layout == other.layout && !forms.is_empty())
            .then_some(Activation { layout: self.layout, forms })
    }

    /// The node whose output this is, where it is one's.
    pub(crate) fn node(&self) -> Option<NodeId> {
        self.forms.iter().rev().find(|(_, samples)| samples.is_identity()).map(|(node, _)| *node)
    }
}
