//! The lesson's way of fitting a head: epochs of mini-batches over cached features.

use crate::head::LinearHead;
use crate::loss::cross_entropy;
use crate::optim::{Optimizer, Rule};
use crate::{EpochOptions, Error, OptimizerKind, Session};
use headstart_graph::{BnStats, Freeze, GraphBuilder, Params, Trainer};
use headstart_tensor::{Rng, Tensor};
use serde::Serialize;

/// A cross-entropy that only a fit which is running away reaches.
const DIVERGED: f32 = 1e4;

/// An epoch's result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean cross-entropy over the epoch's images, each before the step it was part of.
    pub train_loss: f64,
}

/// Fits a linear head to `features` `[n, d]` by mini-batches in a seeded random order; an incomplete last batch
/// is used too. Weights start uniform in +-1/sqrt(d), as PyTorch's linear layer does.
///
/// # Errors
/// Where the loss is no number any more, or the run was interrupted.
pub fn fit_epochs(
    session: &Session,
    options: &EpochOptions,
    features: &Tensor,
    targets: &[usize],
    class_weights: Option<&[f32]>,
    classes: usize,
    seed: u64,
) -> Result<(LinearHead, Vec<Epoch>), Error> {
    let d = features.row_len();
    let mut builder = GraphBuilder::new([d]);
    let input = builder.input();
    builder.linear("head", input, classes)?;
    let graph = builder.finish();
    let freeze = Freeze::everything().unfreeze(&graph, "head")?;
    let mut rng = Rng::named(seed, "head");
    let bound = 1.0 / (d as f64).sqrt();
    let mut params = Params::new();
    for spec in graph.params() {
        params.insert(spec.name, Tensor::from_fn(spec.shape, |_| rng.range(-bound, bound) as f32));
    }
    let rule = match options.optimizer {
        OptimizerKind::Sgd => {
            Rule::Sgd { momentum: options.momentum, nesterov: false, weight_decay: options.weight_decay }
        }
        OptimizerKind::Adamw => {
            Rule::AdamW { betas: [0.9, 0.999], eps: 1e-8, weight_decay: options.weight_decay }
        }
    };
    let mut optimizer = Optimizer::new(rule)?;
    let mut trainer = Trainer::new(graph, freeze, BnStats::Running);
    let mut order: Vec<usize> = (0..targets.len()).collect();
    let mut epochs = Vec::new();
    for epoch in 1..=options.epochs {
        Rng::named(seed, &format!("order of epoch {epoch}")).shuffle(&mut order);
        let mut total = 0.0;
        for batch in order.chunks(options.batch_size) {
            session.check()?;
            let x = features.rows(batch);
            let y: Vec<usize> = batch.iter().map(|&i| targets[i]).collect();
            let logits = trainer.forward(&params, &x, session.pool)?;
            let (loss, gradient) = cross_entropy(logits, &y, class_weights)?;
            if !(loss.is_finite() && loss < DIVERGED) {
                return Err(Error::Diverged { epoch, loss, lr: options.lr });
            }
            total += f64::from(loss) * batch.len() as f64;
            let gradients = trainer.backward(&params, &gradient, session.pool)?;
            optimizer.step_all(&mut params, gradients, options.lr)?;
        }
        let train_loss = total / targets.len().max(1) as f64;
        session.progress.note(&format!("epoch {epoch}/{}: loss {train_loss:.4}", options.epochs));
        epochs.push(Epoch { epoch, train_loss });
    }
    let mut take = |name: &str| params.remove(name).unwrap_or_default();
    Ok((LinearHead::new(take("head.weight"), take("head.bias"))?, epochs))
}
