//! Forward with everything kept, and backward: the graph is the tape.
//!
//! Batches are `[n, ..]`. Results do not depend on the number of threads.

use crate::ops::norm::NormParams;
use crate::ops::{adaptive_pool, batch_shape, elementwise, embedding, pool as pooling};
use crate::params::full_name;
use crate::{Freeze, Graph, GraphError, Node, Op, Params};
use headstart_kernels::Pool;
use headstart_tensor::Tensor;
use std::collections::BTreeMap;

/// The output of every node for one batch.
#[derive(Debug, Clone)]
pub struct Activations(Vec<Tensor>);

impl Activations {
    /// The network's output, `[n, ..]`.
    pub fn output(&self) -> &Tensor {
        &self.0[self.0.len() - 1]
    }
}

/// Gradients of the trained parameters, by name.
pub type Gradients = BTreeMap<String, Tensor>;

/// Runs a network on a batch `[n, ..input]` and keeps what backward needs.
///
/// # Errors
/// Where the input's shape is not the network's, or a parameter is missing or misshapen.
pub fn forward(
    graph: &Graph,
    params: &Params,
    input: Tensor,
    pool: &Pool,
) -> Result<Activations, GraphError> {
    params.check(graph)?;
    let n = input.dims().first().copied().unwrap_or(0);
    if *input.shape() != batch_shape(n, graph.input()) {
        return Err(GraphError::Input { expected: graph.input().clone(), found: input.shape().clone() });
    }
    let mut values = vec![input];
    for node in &graph.nodes()[1..] {
        let x = &values[node.inputs[0].index()];
        let shape_in = &graph.nodes()[node.inputs[0].index()].shape;
        let out = match &node.op {
            Op::Input => continue,
            Op::Conv2d(conv) => {
                let bias = conv.bias.then(|| params.of(&node.name, "bias")).transpose()?;
                conv.forward(
                    pool,
                    x,
                    &conv.sizes(shape_in, &node.shape),
                    params.of(&node.name, "weight")?,
                    bias,
                )
            }
            Op::BatchNorm2d(norm) => norm.forward(pool, x, norm_params(params, node)?),
            Op::Activation { function } => function.forward(pool, x),
            Op::Add => elementwise::add(pool, x, &values[node.inputs[1].index()]),
            Op::MaxPool2d(max) => max.forward(pool, x, &max.sizes(shape_in, &node.shape)),
            Op::GlobalAvgPool => pooling::global_avg_pool(pool, x),
            Op::Linear(linear) => {
                linear.forward(pool, x, params.of(&node.name, "weight")?, params.of(&node.name, "bias")?)
            }
            Op::Linears(linears) => {
                let (weight, bias) = linears.join(|part| params.of(&node.name, part))?;
                linears.joint().forward(pool, x, &weight, &bias)
            }
            Op::LayerNorm(norm) => {
                norm.forward(pool, x, params.of(&node.name, "weight")?, params.of(&node.name, "bias")?)
            }
            Op::Smooth { function } => function.forward(pool, x),
            Op::Attention(attention) => attention.forward(pool, x, second(node, &values)),
            Op::Embedding(embedding) => embedding.forward(pool, x, params.of(&node.name, "weight")?),
            Op::PadMask { pad } => {
                let mut out = x.clone();
                embedding::pad_mask(*pad, x.data(), out.data_mut());
                out
            }
            Op::ClassToken(token) => token.forward(pool, x, params.of(&node.name, "")?),
            Op::AddRows(rows) => rows.forward(pool, x, params.of(&node.name, rows.part())?),
            Op::TokenPool(tokens) => tokens.forward(pool, x, second(node, &values)),
            Op::AdaptiveAvgPool(adaptive) => adaptive.forward(pool, x),
            Op::Flatten => adaptive_pool::flatten_images(pool, x),
        };
        values.push(out);
    }
    Ok(Activations(values))
}

/// Gradients of the parameters that `freeze` leaves free, from the gradient of the output `[n, ..output]`.
///
/// # Errors
/// Where the gradient's shape is not the output's, or a parameter is missing.
pub fn backward(
    graph: &Graph,
    params: &Params,
    activations: &Activations,
    gradient: Tensor,
    freeze: &Freeze,
    pool: &Pool,
) -> Result<Gradients, GraphError> {
    if gradient.shape() != activations.output().shape() {
        let (expected, found) = (activations.output().shape().clone(), gradient.shape().clone());
        return Err(GraphError::Input { expected, found });
    }
    let nodes = graph.nodes();
    let trained: Vec<bool> =
        nodes.iter().map(|n| n.params().iter().any(|p| freeze.is_trainable(&p.name))).collect();
    // A node needs its gradient where it or one before it is trained.
    let mut needed = trained.clone();
    for (i, node) in nodes.iter().enumerate() {
        needed[i] = trained[i] || node.inputs.iter().any(|input| needed[input.index()]);
    }
    let mut pending: Vec<Option<Tensor>> = vec![None; nodes.len()];
    pending[nodes.len() - 1] = Some(gradient);
    let mut gradients = Gradients::new();
    for (i, node) in nodes.iter().enumerate().skip(1).rev() {
        let Some(g) = pending[i].take() else { continue };
        if !needed[i] {
            continue;
        }
        let first = node.inputs[0].index();
        let x = &activations.0[first];
        let (below, wants) = (needed[first], (needed[first], trained[i]));
        let mut keep = |part: &str, value: Tensor| {
            let name = full_name(&node.name, part);
            if freeze.is_trainable(&name) {
                gradients.insert(name, value);
            }
        };
        let dx = match &node.op {
            Op::Input => None,
            Op::Conv2d(conv) => {
                let sizes = conv.sizes(&nodes[first].shape, &node.shape);
                let found = conv.backward(pool, x, &sizes, params.of(&node.name, "weight")?, &g, wants);
                found.weight.into_iter().for_each(|w| keep("weight", w));
                found.bias.into_iter().for_each(|b| keep("bias", b));
                found.input
            }
            Op::BatchNorm2d(norm) => {
                let p = norm_params(params, node)?;
                if trained[i] {
                    let (weight, bias) = norm.param_gradients(x, p, &g);
                    keep("weight", weight);
                    keep("bias", bias);
                }
                below.then(|| norm.input_gradient(pool, p, &g))
            }
            Op::Linear(linear) => {
                if trained[i] {
                    let (weight, bias) = linear.param_gradients(x, &g);
                    keep("weight", weight);
                    keep("bias", bias);
                }
                let weight = params.of(&node.name, "weight")?;
                below.then(|| linear.input_gradient(pool, weight, &g))
            }
            Op::Linears(linears) => {
                if trained[i] {
                    linears.param_gradients(x, &g).into_iter().for_each(|(part, value)| keep(&part, value));
                }
                let (weight, _) = linears.join(|part| params.of(&node.name, part))?;
                below.then(|| linears.joint().input_gradient(pool, &weight, &g))
            }
            Op::LayerNorm(norm) => {
                let weight = params.of(&node.name, "weight")?;
                if trained[i] {
                    let (dw, db) = norm.param_gradients(pool, x, weight, &g);
                    keep("weight", dw);
                    keep("bias", db);
                }
                below.then(|| norm.input_gradient(pool, x, weight, &g))
            }
            Op::Embedding(embedding) => {
                keep("weight", embedding.param_gradient(x, &g));
                None
            }
            Op::PadMask { .. } => None,
            Op::ClassToken(token) => {
                keep("", token.param_gradient(&g));
                below.then(|| token.input_gradient(pool, &nodes[first].shape, &g))
            }
            Op::AddRows(rows) => {
                if trained[i] {
                    keep(rows.part(), rows.param_gradient(&g));
                }
                below.then_some(g)
            }
            Op::Smooth { function } => Some(function.backward(pool, x, &g)),
            Op::Attention(attention) => Some(attention.backward(pool, x, second(node, &activations.0), &g)),
            Op::TokenPool(tokens) => {
                let mask = second(node, &activations.0);
                Some(tokens.backward(pool, &nodes[first].shape, mask, &g))
            }
            Op::AdaptiveAvgPool(adaptive) => Some(adaptive.backward(pool, &nodes[first].shape, &g)),
            Op::Flatten => Some(adaptive_pool::flatten_gradient(pool, &nodes[first].shape, &g)),
            Op::Activation { function } => Some(function.backward(pool, x, &g)),
            Op::MaxPool2d(max) => {
                Some(max.backward(pool, x, &max.sizes(&nodes[first].shape, &node.shape), &g))
            }
            Op::GlobalAvgPool => Some(pooling::global_avg_pool_gradient(pool, &nodes[first].shape, &g)),
            Op::Add => {
                add_to(pool, &mut pending[node.inputs[1].index()], g.clone());
                Some(g)
            }
        };
        if let Some(dx) = dx {
            add_to(pool, &mut pending[first], dx);
        }
    }
    Ok(gradients)
}

/// The value of a node's second input.
fn second<'a>(node: &Node, values: &'a [Tensor]) -> Option<&'a Tensor> {
    node.inputs.get(1).map(|input| &values[input.index()])
}

fn add_to(pool: &Pool, slot: &mut Option<Tensor>, term: Tensor) {
    match slot {
        None => *slot = Some(term),
        Some(sum) => elementwise::accumulate(pool, sum, &term),
    }
}

fn norm_params<'a>(params: &'a Params, node: &Node) -> Result<NormParams<'a>, GraphError> {
    let of = |part| params.of(&node.name, part).map(Tensor::data);
    Ok(NormParams {
        weight: of("weight")?,
        bias: of("bias")?,
        mean: of("running_mean")?,
        var: of("running_var")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Activation, AdaptiveAvgPool, AddRows, Attention, BatchNorm2d, ClassToken, Conv2d, GraphBuilder,
        LayerNorm, Linear, Linears, MaxPool2d, Padding, Pooled, Smooth, TokenPool,
    };
    use headstart_tensor::Rng;
    use headstart_testing::seeded;

    /// One of each variant that has a backward and no second input of another shape (those are in `tests/tokens.rs`); the
    /// match keeps the list complete.
    fn ops() -> Vec<(Op, Vec<usize>)> {
        let conv = |groups, padding, bias| {
            let (kernel, stride) = ([3, 3], [2, 2]);
            Op::Conv2d(Conv2d { in_channels: 4, out_channels: 4, kernel, stride, padding, groups, bias })
        };
        let all = vec![
            (conv(1, Padding::Symmetric([1, 1]), true), vec![5, 6, 4]),
            (conv(4, Padding::Same, false), vec![5, 6, 4]),
            (Op::BatchNorm2d(BatchNorm2d { channels: 4, eps: 1e-3 }), vec![3, 2, 4]),
            (Op::Activation { function: Activation::Relu }, vec![3, 2, 4]),
            (Op::Activation { function: Activation::Relu6 }, vec![3, 2, 4]),
            (Op::Add, vec![3, 2, 4]),
            (Op::MaxPool2d(MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [1, 1] }), vec![5, 6, 4]),
            (Op::GlobalAvgPool, vec![3, 2, 4]),
            (Op::Linear(Linear { in_features: 5, out_features: 3 }), vec![5]),
            (Op::Linear(Linear { in_features: 4, out_features: 3 }), vec![3, 4]),
            (
                Op::Linears(Linears {
                    in_features: 4,
                    out_features: 3,
                    parts: vec!["query".into(), "key".into()],
                }),
                vec![3, 4],
            ),
            (Op::LayerNorm(LayerNorm { features: 4, eps: 1e-3 }), vec![3, 4]),
            (Op::Smooth { function: Smooth::Gelu }, vec![3, 4]),
            (Op::Smooth { function: Smooth::GeluTanh }, vec![3, 4]),
            (Op::Smooth { function: Smooth::Tanh }, vec![3, 4]),
            (Op::Attention(Attention { heads: 2, mask: false }), vec![3, 12]),
            (Op::ClassToken(ClassToken { features: 4 }), vec![2, 3, 4]),
            (Op::AddRows(AddRows { entries: 6, features: 4, first: 2, step: 1, whole: false }), vec![3, 4]),
            (Op::AddRows(AddRows { entries: 3, features: 4, first: 0, step: 1, whole: true }), vec![3, 4]),
            (Op::AddRows(AddRows { entries: 2, features: 4, first: 1, step: 0, whole: false }), vec![3, 4]),
            (Op::TokenPool(TokenPool { pooled: Pooled::First, mask: false }), vec![3, 4]),
            (Op::TokenPool(TokenPool { pooled: Pooled::Mean, mask: false }), vec![3, 4]),
            (Op::AdaptiveAvgPool(AdaptiveAvgPool { output: [2, 3] }), vec![5, 2, 4]),
            (Op::Flatten, vec![3, 2, 4]),
        ];
        let covered = |op: &Op| match op {
            Op::Input | Op::Embedding(_) | Op::PadMask { .. } => true,
            Op::Linears(_)
            | Op::LayerNorm(_)
            | Op::Smooth { .. }
            | Op::Attention(_)
            | Op::ClassToken(_)
            | Op::AddRows(_)
            | Op::TokenPool(_)
            | Op::AdaptiveAvgPool(_)
            | Op::Flatten
            | Op::Conv2d(_)
            | Op::BatchNorm2d(_)
            | Op::Activation { .. }
            | Op::Add
            | Op::MaxPool2d(_)
            | Op::GlobalAvgPool
            | Op::Linear(_) => {
                all.iter().any(|(o, _)| std::mem::discriminant(o) == std::mem::discriminant(op))
            }
        };
        assert!(all.iter().all(|(op, _)| covered(op)));
        all
    }

    /// A network around one op: what is before it makes its input trainable through `before`.
    fn around(op: &Op, input: &[usize]) -> (Graph, Params) {
        let mut b = GraphBuilder::new(input);
        let x = if input.len() == 3 {
            b.batch_norm("before", b.input(), 0.0).unwrap()
        } else {
            b.linear("before", b.input(), input[input.len() - 1]).unwrap()
        };
        let inputs = vec![x; op.arity()];
        b.add("op", op.clone(), &inputs).unwrap();
        let graph = b.finish();
        let params = graph
            .params()
            .into_iter()
            .map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 2, 1.0)))
            .collect();
        (graph, params)
    }

    #[test]
    fn every_op_agrees_with_finite_differences() {
        let mut rng = Rng::new(8);
        for (op, input) in ops() {
            let (graph, params) = around(&op, &input);
            let freeze = Freeze::everything().unfreeze(&graph, "before").unwrap();
            let freeze = freeze.unfreeze(&graph, "op").unwrap();
            let x = Tensor::from_fn(batch_shape(5, graph.input()), |_| rng.range(-3.0, 8.0) as f32);
            let weights = Tensor::from_fn(batch_shape(5, graph.output()), |_| rng.range(-1.0, 1.0) as f32);
            let loss = |params: &Params| -> f64 {
                let out = forward(&graph, params, x.clone(), &Pool::new(1)).unwrap();
                let terms = out.output().data().iter().zip(weights.data());
                terms.map(|(&o, &w)| f64::from(o) * f64::from(w)).sum()
            };
            let activations = forward(&graph, &params, x.clone(), &Pool::new(1)).unwrap();
            let found =
                backward(&graph, &params, &activations, weights.clone(), &freeze, &Pool::new(1)).unwrap();
            assert_eq!(found.len(), freeze.trainable().count(), "{op}");
            for (name, gradient) in &found {
                for i in 0..gradient.len().min(12) {
                    let moved = |by: f32| {
                        let mut params = params.clone();
                        params.get_mut(name).unwrap().data_mut()[i] += by;
                        loss(&params)
                    };
                    let step = 2e-3;
                    let expected = (moved(step) - moved(-step)) / f64::from(2.0 * step);
                    let found = f64::from(gradient.data()[i]);
                    // The kinks of ReLU and of the maximum leave an error in the difference, never a large one.
                    let scale = gradient.data().iter().fold(1.0f64, |m, &g| m.max(f64::from(g.abs())));
                    assert!((found - expected).abs() < 0.02 * scale, "{op} {name}[{i}]: {found} {expected}");
                }
            }
            let two = backward(&graph, &params, &activations, weights, &freeze, &Pool::new(2)).unwrap();
            assert_eq!(found, two, "{op}: the same bytes with two threads");
        }
    }

    #[test]
    fn frozen_parameters_get_no_gradient_and_a_wrong_input_is_named() {
        let (graph, params) = around(&ops()[0].0, &[5, 6, 4]);
        let freeze = Freeze::everything().unfreeze(&graph, "op.bias").unwrap();
        let pool = Pool::new(1);
        let activations = forward(&graph, &params, Tensor::full([2, 5, 6, 4], 1.0), &pool).unwrap();
        let gradient = Tensor::full(activations.output().shape().clone(), 1.0);
        let found = backward(&graph, &params, &activations, gradient, &freeze, &pool).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["op.bias"]);
        let error = forward(&graph, &params, Tensor::full([2, 5, 7, 4], 1.0), &pool).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the input has shape [2, 5, 7, 4], the network takes [5, 6, 4] for each image"
        );
    }
}
