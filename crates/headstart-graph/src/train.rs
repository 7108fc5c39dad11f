//! Forward with what backward needs kept, and backward: the graph is the tape.
//!
//! Batches are `[n, ..]`. A unit (`unit.rs`) is computed at once: by running statistics a norm is part of the
//! convolution before it, forward and backward. Buffers are kept between steps. Results do not depend on the number of
//! threads.

mod pass;
mod single;
mod unit;

use crate::ops::{Engine, batch_shape};
use crate::{BnStats, Freeze, Graph, GraphError, Op, Params};
use headstart_kernels::{Isa, Pool, Spare};
use headstart_tensor::{Shape, Tensor};
use pass::Activations;
use std::collections::BTreeMap;
use unit::{Unit, units};

/// Gradients of the trained parameters, by name.
pub type Gradients = BTreeMap<String, Tensor>;

/// A network that is trained, with the buffers of a step, which the next one uses again.
#[derive(Debug)]
pub struct Trainer {
    graph: Graph,
    freeze: Freeze,
    stats: BnStats,
    units: Vec<Unit>,
    spare: Spare,
    activations: Option<Activations>,
    gradients: Gradients,
}

impl Trainer {
    /// Trains what `freeze` leaves free; `stats` says by which statistics its trained norms normalise.
    pub fn new(graph: Graph, freeze: Freeze, stats: BnStats) -> Trainer {
        let units = units(&graph);
        let (spare, activations, gradients) = (Spare::new(), None, Gradients::new());
        Trainer { graph, freeze, stats, units, spare, activations, gradients }
    }

    /// The network.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What is trained.
    pub fn freeze(&self) -> &Freeze {
        &self.freeze
    }

    /// Takes inputs of another shape from now on, as longer sequences are.
    ///
    /// # Errors
    /// Where a layer cannot take what comes out before it.
    pub fn set_input(&mut self, input: &Shape) -> Result<(), GraphError> {
        if self.graph.input() == input {
            return Ok(());
        }
        self.graph = self.graph.with_input(input.clone())?;
        self.units = units(&self.graph);
        if let Some(before) = self.activations.take() {
            before.recycle(&self.spare);
        }
        Ok(())
    }

    /// Runs a batch `[n, ..input]` to `[n, ..output]` and keeps what [`Trainer::backward`] needs. No statistic moves:
    /// [`Trainer::update_statistics`] does that.
    ///
    /// # Errors
    /// Where the input's shape is not the network's, a parameter is missing or misshapen, or a norm by the statistics
    /// of the batch has one value a channel.
    pub fn forward(&mut self, params: &Params, input: &Tensor, pool: &Pool) -> Result<&Tensor, GraphError> {
        check(&self.graph, params, input)?;
        if let Some(before) = self.activations.take() {
            before.recycle(&self.spare);
        }
        let norms = norms_by(&self.graph, &self.freeze, self.stats);
        let engine = Engine { isa: Isa::current(), pool, spare: &self.spare };
        let found = pass::forward(&engine, &self.graph, &self.units, params, input, &norms)?;
        Ok(self.activations.insert(found).output())
    }

    /// Gradients of the trained parameters, from that of the last forward's output, `[n, ..output]`.
    ///
    /// # Errors
    /// Where the gradient's shape is not the output's, there was no forward, or a parameter is missing.
    pub fn backward(
        &mut self,
        params: &Params,
        gradient: &Tensor,
        pool: &Pool,
    ) -> Result<&Gradients, GraphError> {
        let Some(activations) = &self.activations else {
            let (expected, found) = (self.graph.output().clone(), gradient.shape().clone());
            return Err(GraphError::Input { expected, found });
        };
        let engine = Engine { isa: Isa::current(), pool, spare: &self.spare };
        let of = (&self.graph, &self.units[..], &self.freeze);
        pass::backward(&engine, of, params, activations, gradient, &mut self.gradients)?;
        Ok(&self.gradients)
    }

    /// Another one of the same network, with no buffers yet.
    pub fn fresh(&self) -> Trainer {
        Trainer::new(self.graph.clone(), self.freeze.clone(), self.stats)
    }

    /// As [`Trainer::gradients`], without a copy.
    pub fn into_gradients(self) -> Gradients {
        self.gradients
    }

    /// What the last backward came to.
    pub fn gradients(&self) -> &Gradients {
        &self.gradients
    }

    /// Moves the running statistics of trained norms toward those of the last forward, by the momentum of
    /// [`BnStats::Batch`] or [`BnStats::Watched`]. Once a step; nothing for [`BnStats::Running`].
    ///
    /// # Errors
    /// Where a parameter is missing.
    pub fn update_statistics(&self, params: &mut Params) -> Result<(), GraphError> {
        let (BnStats::Batch { momentum } | BnStats::Watched { momentum }) = self.stats else { return Ok(()) };
        self.activations.iter().try_for_each(|a| a.update_statistics(&self.graph, momentum, params))
    }
}

fn check(graph: &Graph, params: &Params, input: &Tensor) -> Result<(), GraphError> {
    params.check(graph)?;
    let n = input.dims().first().copied().unwrap_or(0);
    if *input.shape() != batch_shape(n, graph.input()) {
        return Err(GraphError::Input { expected: graph.input().clone(), found: input.shape().clone() });
    }
    Ok(())
}

/// By which statistics each node normalises, if it is a norm: those with a trained parameter by `stats`.
fn norms_by(graph: &Graph, freeze: &Freeze, stats: BnStats) -> Vec<BnStats> {
    let trained = |node: &crate::Node| {
        matches!(node.op, Op::BatchNorm2d(_)) && node.params().iter().any(|p| freeze.is_trainable(&p.name))
    };
    graph.nodes().iter().map(|node| if trained(node) { stats } else { BnStats::Running }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Activation, AdaptiveAvgPool, AddRows, Attention, AvgPool2d, BatchNorm2d, ClassToken, Conv2d,
        GraphBuilder, LayerNorm, LayerScale, Linear, Linears, MaxPool2d, Padding, Pooled, Smooth, TokenPool,
    };
    use headstart_tensor::Rng;
    use headstart_testing::seeded;

    /// One of each variant that has a backward and no second input of another shape (those are in `tests/it/tokens.rs`); the
    /// match keeps the list complete.
    fn ops() -> Vec<(Op, Vec<usize>)> {
        let conv = |groups, padding, bias| {
            let (kernel, stride) = ([3, 3], [2, 2]);
            Op::Conv2d(Conv2d { in_channels: 4, out_channels: 4, kernel, stride, padding, groups, bias })
        };
        let all = vec![
            (conv(1, Padding::Symmetric([1, 1]), true), vec![5, 6, 4]),
            (conv(4, Padding::Same, false), vec![5, 6, 4]),
            (conv(2, Padding::Symmetric([1, 1]), false), vec![5, 6, 4]),
            (Op::BatchNorm2d(BatchNorm2d { channels: 4, eps: 1e-3 }), vec![3, 2, 4]),
            (Op::Activation { function: Activation::Relu }, vec![3, 2, 4]),
            (Op::Activation { function: Activation::Relu6 }, vec![3, 2, 4]),
            (Op::Add, vec![3, 2, 4]),
            (
                Op::MaxPool2d(MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [1, 1], ceil: false }),
                vec![5, 6, 4],
            ),
            (
                Op::MaxPool2d(MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [0, 0], ceil: true }),
                vec![5, 6, 4],
            ),
            (Op::GlobalAvgPool, vec![3, 2, 4]),
            (Op::Linear(Linear { in_features: 5, out_features: 3 }), vec![5]),
            (Op::Linear(Linear { in_features: 4, out_features: 3 }), vec![3, 4]),
            (Op::Linear(Linear { in_features: 4, out_features: 3 }), vec![2, 3, 4]),
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
            (Op::Smooth { function: Smooth::Silu }, vec![3, 4]),
            (Op::Smooth { function: Smooth::Sigmoid }, vec![3, 4]),
            (Op::Smooth { function: Smooth::HardSwish }, vec![3, 4]),
            (Op::Smooth { function: Smooth::HardSigmoid }, vec![3, 4]),
            (Op::Attention(Attention { heads: 2, mask: false }), vec![3, 12]),
            (Op::ClassToken(ClassToken { features: 4, count: 1 }), vec![2, 3, 4]),
            (Op::ClassToken(ClassToken { features: 4, count: 3 }), vec![2, 4]),
            (Op::AddRows(AddRows { entries: 6, features: 4, first: 2, step: 1, whole: false }), vec![3, 4]),
            (Op::AddRows(AddRows { entries: 3, features: 4, first: 0, step: 1, whole: true }), vec![3, 4]),
            (Op::AddRows(AddRows { entries: 2, features: 4, first: 1, step: 0, whole: false }), vec![3, 4]),
            (Op::AddRows(AddRows { entries: 6, features: 4, first: 0, step: 1, whole: true }), vec![3, 2, 4]),
            (Op::TokenPool(TokenPool { pooled: Pooled::First, mask: false }), vec![3, 4]),
            (Op::TokenPool(TokenPool { pooled: Pooled::Mean, mask: false }), vec![3, 4]),
            (Op::AdaptiveAvgPool(AdaptiveAvgPool { output: [2, 3] }), vec![5, 2, 4]),
            (Op::Flatten, vec![3, 2, 4]),
            (Op::Normalize, vec![3, 4]),
            (Op::ScaleChannels, vec![3, 2, 4]),
            (Op::LayerScale(LayerScale { features: 4, own_name: true }), vec![3, 2, 4]),
            (Op::LayerScale(LayerScale { features: 4, own_name: false }), vec![3, 4]),
            (Op::Concat, vec![3, 2, 4]),
            (Op::AvgPool2d(AvgPool2d { kernel: [3, 2], stride: [2, 2] }), vec![5, 6, 4]),
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
            | Op::Normalize
            | Op::ScaleChannels
            | Op::LayerScale(_)
            | Op::Concat
            | Op::AvgPool2d(_)
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
        let mut inputs = vec![x; op.arity()];
        match op {
            Op::ScaleChannels => inputs[1] = b.add("squeeze", Op::GlobalAvgPool, &[x]).unwrap(),
            Op::Concat => inputs[1] = b.conv("other", x, 3, (1, 1), Padding::Same).unwrap(),
            _ => {}
        }
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
    fn every_op_agrees_with_finite_differences_by_either_statistics() {
        let mut rng = Rng::new(8);
        for (op, input) in ops() {
            let (graph, params) = around(&op, &input);
            let freeze = Freeze::everything().unfreeze(&graph, "before").unwrap();
            let freeze = freeze.unfreeze(&graph, "op").unwrap();
            let x = Tensor::from_fn(batch_shape(5, graph.input()), |_| rng.range(-3.0, 8.0) as f32);
            let weights = Tensor::from_fn(batch_shape(5, graph.output()), |_| rng.range(-1.0, 1.0) as f32);
            let moving = [BnStats::Batch { momentum: 0.1 }, BnStats::Watched { momentum: 0.1 }];
            for stats in moving.into_iter().chain([BnStats::Running]) {
                let trainer = || Trainer::new(graph.clone(), freeze.clone(), stats);
                let loss = |params: &Params| -> f64 {
                    let mut trainer = trainer();
                    let out = trainer.forward(params, &x, &Pool::new(1)).unwrap();
                    let terms = out.data().iter().zip(weights.data());
                    terms.map(|(&o, &w)| f64::from(o) * f64::from(w)).sum()
                };
                let step = |pool: &Pool| {
                    let mut trainer = trainer();
                    trainer.forward(&params, &x, pool).unwrap();
                    let first = trainer.backward(&params, &weights, pool).unwrap().clone();
                    // The second time in memory that holds the first.
                    trainer.forward(&params, &x, pool).unwrap();
                    assert_eq!(first, *trainer.backward(&params, &weights, pool).unwrap(), "{op}");
                    first
                };
                let found = step(&Pool::new(1));
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
                        let what = format!("{op} {stats:?} {name}[{i}]: {found} {expected}");
                        assert!((found - expected).abs() < 0.02 * scale, "{what}");
                    }
                }
                assert_eq!(found, step(&Pool::new(2)), "{op}: the same bytes with two threads");
            }
        }
    }

    #[test]
    fn statistics_move_toward_the_batch_as_pytorchs_do() {
        let mut b = GraphBuilder::new([1, 2, 1]);
        let norm = b.batch_norm("bn", b.input(), 1e-5).unwrap();
        b.activation("relu", norm, Activation::Relu).unwrap();
        let graph = b.finish();
        let mut params: Params =
            [("weight", 1.0), ("bias", 0.0), ("running_mean", 1.0), ("running_var", 2.0)]
                .map(|(part, v)| (format!("bn.{part}"), Tensor::full([1], v)))
                .into_iter()
                .collect();
        let freeze = Freeze::everything().unfreeze(&graph, "bn").unwrap();
        let x = Tensor::new([2, 1, 2, 1], vec![1.0, 2.0, 3.0, 6.0]).unwrap();
        let before = params.clone();
        let mut still = Trainer::new(graph.clone(), freeze.clone(), BnStats::Running);
        still.forward(&params, &x, &Pool::single()).unwrap();
        still.update_statistics(&mut params).unwrap();
        assert_eq!(params, before);
        let still = still.forward(&before, &x, &Pool::single()).unwrap().clone();
        for (stats, is_still) in
            [(BnStats::Batch { momentum: 0.1 }, false), (BnStats::Watched { momentum: 0.1 }, true)]
        {
            let mut params = before.clone();
            let mut trainer = Trainer::new(graph.clone(), freeze.clone(), stats);
            let output = trainer.forward(&params, &x, &Pool::single()).unwrap();
            assert_eq!(*output == still, is_still, "what is watched goes by running statistics");
            assert_eq!(params, before, "a forward alone moves nothing");
            trainer.update_statistics(&mut params).unwrap();
            // Mean 3, unbiased variance 14 / 3.
            let found = ["bn.running_mean", "bn.running_var"].map(|name| params.get(name).unwrap().data()[0]);
            assert!((found[0] - 1.2).abs() < 1e-6 && (found[1] - 2.266_666_7).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn one_value_has_no_statistics() {
        let mut b = GraphBuilder::new([1, 1, 3]);
        let input = b.input();
        b.batch_norm("bn", input, 1e-5).unwrap();
        let graph = b.finish();
        let params = graph.params().into_iter().map(|p| (p.name, Tensor::full(p.shape, 1.0))).collect();
        let freeze = Freeze::everything().unfreeze(&graph, "bn").unwrap();
        let mut trainer = Trainer::new(graph, freeze, BnStats::Batch { momentum: 0.1 });
        let error = trainer.forward(&params, &Tensor::zeros([1, 1, 1, 3]), &Pool::single()).unwrap_err();
        assert_eq!(error, GraphError::LoneValue { node: "bn".into() });
        assert!(trainer.forward(&params, &Tensor::zeros([2, 1, 1, 3]), &Pool::single()).is_ok());
    }

    #[test]
    fn frozen_parameters_get_no_gradient_and_a_wrong_input_is_named() {
        let (graph, params) = around(&ops()[0].0, &[5, 6, 4]);
        let freeze = Freeze::everything().unfreeze(&graph, "op.bias").unwrap();
        let pool = Pool::new(1);
        let mut trainer = Trainer::new(graph, freeze, BnStats::Running);
        let output = trainer.forward(&params, &Tensor::full([2, 5, 6, 4], 1.0), &pool).unwrap();
        let gradient = Tensor::full(output.shape().clone(), 1.0);
        let found = trainer.backward(&params, &gradient, &pool).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["op.bias"]);
        let error = trainer.forward(&params, &Tensor::full([2, 5, 7, 4], 1.0), &pool).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the input has shape [2, 5, 7, 4], the network takes [5, 6, 4] for each image"
        );
    }
}
