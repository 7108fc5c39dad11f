//! Which nodes training computes together: a convolution, the norm, the sum and the activation behind it are one unit
//! where nobody else reads what is between them.

use crate::{Activation, Graph, Op};

/// Nodes that are computed together, by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) kind: Kind,
    /// Where the first of them reads.
    pub(crate) input: usize,
    /// The last of them.
    pub(crate) output: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `activation(norm(conv(input)) + other)`, each if there.
    Chain(Chain),
    /// One node that is computed alone.
    Single,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) conv: Option<usize>,
    pub(crate) norm: Option<usize>,
    /// What is added.
    pub(crate) other: Option<usize>,
    pub(crate) activation: Option<Activation>,
}

impl Chain {
    /// Whether a norm can join: behind a convolution alone, without bias.
    fn takes_norm(&self, graph: &Graph) -> bool {
        let bare = |i: usize| matches!(&graph.nodes()[i].op, Op::Conv2d(conv) if !conv.bias);
        self.conv.is_some_and(bare) && self.norm.is_none() && self.takes_sum()
    }

    fn takes_sum(&self) -> bool {
        (self.conv.is_some() || self.norm.is_some()) && self.other.is_none() && self.activation.is_none()
    }
}

/// The units of a graph, in an order in which each finds its inputs made.
pub(crate) fn units(graph: &Graph) -> Vec<Unit> {
    let nodes = graph.nodes();
    let mut readers = vec![0; nodes.len()];
    nodes.iter().flat_map(|n| &n.inputs).for_each(|i| readers[i.index()] += 1);
    let mut units: Vec<Unit> = Vec::new();
    for (i, node) in nodes.iter().enumerate().skip(1) {
        let inputs: Vec<usize> = node.inputs.iter().map(|id| id.index()).collect();
        // The chain that ends in `input` and may go on, because nobody else reads it there.
        let open = |units: &mut Vec<Unit>, input: usize, takes: &dyn Fn(&Chain) -> bool| {
            let at = units.iter().position(|u| u.output == input && readers[input] == 1);
            at.filter(|&at| matches!(&units[at].kind, Kind::Chain(chain) if takes(chain)))
        };
        let (input, chain) = (inputs[0], Kind::Chain);
        let (joins, other) = match &node.op {
            Op::BatchNorm2d(_) => (open(&mut units, input, &|c| c.takes_norm(graph)), None),
            Op::Activation { .. } => (open(&mut units, input, &|c| c.activation.is_none()), None),
            Op::Add if inputs[0] == inputs[1] => (None, Some(inputs[1])),
            Op::Add => match open(&mut units, inputs[0], &Chain::takes_sum) {
                Some(at) => (Some(at), Some(inputs[1])),
                None => {
                    let at = open(&mut units, inputs[1], &Chain::takes_sum);
                    (at, Some(if at.is_some() { inputs[0] } else { inputs[1] }))
                }
            },
            Op::Input
            | Op::Conv2d(_)
            | Op::MaxPool2d(_)
            | Op::GlobalAvgPool
            | Op::Linear(_)
            | Op::Linears(_)
            | Op::LayerNorm(_)
            | Op::Smooth { .. }
            | Op::Attention(_)
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
            | Op::AvgPool2d(_) => (None, None),
        };
        let at = joins.unwrap_or_else(|| {
            units.push(Unit { kind: chain(Chain::default()), input, output: i });
            units.len() - 1
        });
        let unit = &mut units[at];
        unit.output = i;
        match (&node.op, &mut unit.kind) {
            (Op::Conv2d(_), Kind::Chain(chain)) => chain.conv = Some(i),
            (Op::BatchNorm2d(_), Kind::Chain(chain)) => chain.norm = Some(i),
            (Op::Add, Kind::Chain(chain)) => chain.other = other,
            (Op::Activation { function }, Kind::Chain(chain)) => chain.activation = Some(*function),
            (
                Op::MaxPool2d(_)
                | Op::GlobalAvgPool
                | Op::Linear(_)
                | Op::Linears(_)
                | Op::LayerNorm(_)
                | Op::Smooth { .. }
                | Op::Attention(_)
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
                | Op::AvgPool2d(_),
                kind,
            ) => *kind = Kind::Single,
            (Op::Input | Op::Conv2d(_) | Op::BatchNorm2d(_) | Op::Add | Op::Activation { .. }, _) => {}
        }
    }
    units.sort_by_key(|unit| unit.output);
    units
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GraphBuilder, Padding};

    #[test]
    fn a_residual_block_is_a_unit_a_convolution() {
        let mut b = GraphBuilder::new([8, 8, 4]);
        let x = b.conv("a", b.input(), 4, (3, 1), Padding::Same).unwrap();
        let x = b.batch_norm("bn", x, 1e-5).unwrap();
        let short = b.conv("short", b.input(), 4, (1, 1), Padding::Same).unwrap();
        let short = b.batch_norm("short_bn", short, 1e-5).unwrap();
        let x = b.add("add", Op::Add, &[x, short]).unwrap();
        let x = b.activation("relu", x, Activation::Relu).unwrap();
        let twice = b.add("twice", Op::Add, &[x, x]).unwrap();
        b.activation("relu2", twice, Activation::Relu).unwrap();
        let graph = b.finish();
        let chain = |conv, norm, other, activation| Kind::Chain(Chain { conv, norm, other, activation });
        let relu = Some(Activation::Relu);
        assert_eq!(
            units(&graph),
            [
                Unit { kind: chain(Some(3), Some(4), None, None), input: 0, output: 4 },
                Unit { kind: chain(Some(1), Some(2), Some(4), relu), input: 0, output: 6 },
                Unit { kind: chain(None, None, Some(6), relu), input: 6, output: 8 },
            ]
        );
    }
}
