//! The ops that training computes alone. The image ops and linear layers go over slices; the others take and give tensors,
//! which are copies of those slices.

use super::pass::{Activations, Flow};
use super::unit::Unit;
use crate::ops::{
    Engine, adaptive_pool, batch_shape, concat, embedding, normalize, pool as pooling, scale_channels,
};
use crate::{Graph, GraphError, Node, Op, Params};
use headstart_kernels::{self as kernels, Buffer, Masked};
use headstart_tensor::{Shape, Tensor};

/// A node with what it reads.
pub(super) struct Single<'a> {
    engine: &'a Engine<'a>,
    params: &'a Params,
    node: &'a Node,
    /// The input's index, its shape for one image, and the batch.
    input: (usize, &'a Shape, &'a [f32]),
    /// The second input, in the same way.
    second: Option<(usize, &'a Shape, &'a [f32])>,
    output: &'a [f32],
}

impl<'a> Single<'a> {
    pub(super) fn of(
        engine: &'a Engine<'a>,
        graph: &'a Graph,
        unit: &Unit,
        params: &'a Params,
        found: &'a Activations,
    ) -> Single<'a> {
        let nodes = graph.nodes();
        let node = &nodes[unit.output];
        let of = |i: usize| (i, &nodes[i].shape, found.value(i));
        let (input, second) = (of(unit.input), node.inputs.get(1).map(|id| of(id.index())));
        let output = found.value(unit.output);
        Single { engine, params, node, input, second, output }
    }

    pub(super) fn forward(&self) -> Result<Buffer, GraphError> {
        let Single { engine, node, input: (_, shape, x), .. } = *self;
        let (pool, of) = (engine.pool, |part: &str| self.params.of(&node.name, part));
        let (tensor, mask) = (|| batch(shape, x), || self.second.map(|(_, shape, x)| batch(shape, x)));
        let out = match &node.op {
            Op::MaxPool2d(max) => return Ok(max.forward(engine, &max.sizes(shape, &node.shape), x)),
            Op::GlobalAvgPool => return Ok(pooling::global_avg_pool(engine, shape, x)),
            Op::Linear(linear) => {
                let [weight, bias] = [of("weight")?.data(), of("bias")?.data()];
                return Ok(linear.forward(engine, rows(shape), x, weight, bias));
            }
            Op::Linears(linears) => {
                let (weight, bias) = linears.join(of)?;
                return Ok(linears.joint().forward(engine, rows(shape), x, weight.data(), bias.data()));
            }
            Op::ScaleChannels => return Ok(scale_channels::forward(engine, shape.len(), x, self.other())),
            Op::LayerScale(scale) => return Ok(scale.forward(engine, x, of(scale.part())?.data())),
            Op::Concat => {
                return Ok(concat::forward(engine, rows(shape), self.widths(), x, self.other()));
            }
            Op::PadMask { pad } => {
                let mut out = engine.spare.take(x.len());
                embedding::pad_mask(*pad, x, &mut out);
                return Ok(out);
            }
            Op::LayerNorm(norm) => norm.forward(pool, &tensor(), of("weight")?, of("bias")?),
            Op::Smooth { function } => function.forward(pool, &tensor()),
            Op::Attention(attention) => attention.forward(pool, &tensor(), mask().as_ref()),
            Op::Embedding(embedding) => embedding.forward(pool, &tensor(), of("weight")?),
            Op::ClassToken(token) => token.forward(pool, &tensor(), of("")?),
            Op::AddRows(rows) => rows.forward(pool, &tensor(), of(rows.part())?),
            Op::TokenPool(tokens) => tokens.forward(pool, &tensor(), mask().as_ref()),
            Op::AdaptiveAvgPool(adaptive) => adaptive.forward(pool, &tensor()),
            Op::AvgPool2d(average) => average.forward(pool, &node.shape, &tensor()),
            Op::Flatten => adaptive_pool::flatten_images(pool, &tensor()),
            Op::Normalize => normalize::forward(pool, &tensor()),
            // Parts of chains.
            Op::Input | Op::Conv2d(_) | Op::BatchNorm2d(_) | Op::Activation { .. } | Op::Add => tensor(),
        };
        Ok(engine.spare.copy(out.data()))
    }

    /// The input's gradient, where it has one and that is needed, from that of the output.
    pub(super) fn backward(&self, gradient: &[f32], flow: &mut Flow) -> Result<Option<Buffer>, GraphError> {
        let Single { engine, node, input: (input, shape, x), .. } = *self;
        let (pool, of) = (engine.pool, |part: &str| self.params.of(&node.name, part));
        let (tensor, mask) = (|| batch(shape, x), || self.second.map(|(_, shape, x)| batch(shape, x)));
        let (below, g) = (flow.needed[input], || batch(&node.shape, gradient));
        let dx = match &node.op {
            Op::MaxPool2d(max) => {
                let sizes = max.sizes(shape, &node.shape);
                return Ok(Some(max.backward(engine, &sizes, x, self.output, gradient)));
            }
            Op::GlobalAvgPool => {
                return Ok(Some(pooling::global_avg_pool_gradient(engine, shape, gradient)));
            }
            Op::Linear(linear) => {
                let weight = of("weight")?;
                if flow.trains(node, "weight") {
                    linear.weight_gradient(engine, x, gradient, flow.slot(node, "weight", weight.shape()));
                }
                flow.keep(node, "bias", sums_of(engine, linear.out_features, gradient).into_iter());
                let dx = || linear.input_gradient(engine, rows(shape), weight.data(), gradient);
                return Ok(below.then(dx));
            }
            Op::Linears(linears) => {
                let (joint, (weight, _)) = (linears.joint(), linears.join(of)?);
                if node.params().iter().any(|p| flow.trains_parameter(&p.name)) {
                    let mut dw = engine.spare.take(weight.len());
                    joint.weight_gradient(engine, x, gradient, &mut dw);
                    let found = linears.split(&dw, &sums_of(engine, joint.out_features, gradient));
                    found.into_iter().for_each(|(part, value)| flow.put(node, &part, value));
                    engine.spare.give(dw);
                }
                let dx = || joint.input_gradient(engine, rows(shape), weight.data(), gradient);
                return Ok(below.then(dx));
            }
            Op::LayerNorm(norm) => {
                let (x, g, weight) = (tensor(), g(), of("weight")?);
                if flow.trains(node, "weight") || flow.trains(node, "bias") {
                    let (dw, db) = norm.param_gradients(pool, &x, weight, &g);
                    flow.put(node, "weight", dw);
                    flow.put(node, "bias", db);
                }
                below.then(|| norm.input_gradient(pool, &x, weight, &g))
            }
            Op::Embedding(embedding) => {
                flow.put(node, "weight", embedding.param_gradient(&tensor(), &g()));
                None
            }
            Op::PadMask { .. } => None,
            Op::ScaleChannels => {
                let (one, scale) = (shape.len(), self.other());
                if let Some((second, ..)) = self.second.filter(|(i, ..)| flow.needed[*i]) {
                    let found = scale_channels::scale_gradient(engine, one, x, scale, gradient);
                    flow.add(engine, second, found);
                }
                return Ok(below.then(|| scale_channels::input_gradient(engine, one, scale, gradient)));
            }
            Op::LayerScale(scale) => {
                if flow.trains(node, scale.part()) {
                    let found = scale.param_gradient(engine, shape.len(), x, gradient);
                    flow.put(node, scale.part(), found);
                }
                let gamma = of(scale.part())?.data();
                return Ok(below.then(|| scale.forward(engine, gradient, gamma)));
            }
            Op::Concat => {
                let (left, right) = self.widths();
                if let Some((second, ..)) = self.second.filter(|(i, ..)| flow.needed[*i]) {
                    flow.add(engine, second, concat::gradient(engine, left + right, (left, right), gradient));
                }
                return Ok(below.then(|| concat::gradient(engine, left + right, (0, left), gradient)));
            }
            Op::ClassToken(token) => {
                let g = g();
                flow.put(node, "", token.param_gradient(&g));
                below.then(|| token.input_gradient(pool, shape, &g))
            }
            Op::AddRows(rows) => {
                if flow.trains(node, rows.part()) {
                    flow.put(node, rows.part(), rows.param_gradient(&g()));
                }
                return Ok(below.then(|| engine.spare.copy(gradient)));
            }
            Op::Smooth { function } => Some(function.backward(pool, &tensor(), &g())),
            Op::Attention(attention) => Some(attention.backward(pool, &tensor(), mask().as_ref(), &g())),
            Op::TokenPool(tokens) => Some(tokens.backward(pool, shape, mask().as_ref(), &g())),
            Op::AdaptiveAvgPool(adaptive) => Some(adaptive.backward(pool, shape, &g())),
            Op::AvgPool2d(average) => Some(average.backward(pool, shape, &g())),
            Op::Flatten => Some(adaptive_pool::flatten_gradient(pool, shape, &g())),
            Op::Normalize => Some(normalize::backward(pool, &tensor(), &g())),
            // Parts of chains.
            Op::Input | Op::Conv2d(_) | Op::BatchNorm2d(_) | Op::Activation { .. } | Op::Add => None,
        };
        Ok(dx.map(|dx| engine.spare.copy(dx.data())))
    }
}

impl Single<'_> {
    /// The second input's values.
    fn other(&self) -> &[f32] {
        self.second.map_or(&[], |(.., values)| values)
    }

    /// The last extents of both inputs.
    fn widths(&self) -> (usize, usize) {
        let last = |shape: &Shape| shape.dims().last().copied().unwrap_or(1);
        (last(self.input.1), self.second.map_or(0, |(_, shape, _)| last(shape)))
    }
}

/// Rows of features in one image.
fn rows(shape: &Shape) -> usize {
    shape.len() / shape.dims().last().copied().unwrap_or(1).max(1)
}

/// A batch as a tensor `[n, ..shape]`.
fn batch(shape: &Shape, values: &[f32]) -> Tensor {
    let mut tensor = Tensor::zeros(batch_shape(values.len() / shape.len().max(1), shape));
    tensor.data_mut().copy_from_slice(values);
    tensor
}

/// The sum of each channel.
fn sums_of(engine: &Engine, channels: usize, gradient: &[f32]) -> Vec<f64> {
    let mut copy = engine.spare.copy(gradient);
    let by = Masked { channels, activation: None, against: None };
    let (sums, _) = kernels::masked(engine.isa, engine.pool, by, &mut copy);
    engine.spare.give(copy);
    sums
}
