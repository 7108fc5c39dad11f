//! The tail trained on the target without labels, from cached activations at the cut. The head stays: it says what the
//! classes are.

use super::domains::{class_sums, hard, one_hot, soft, unit};
use super::matrix;
use super::objective::Objective;
use crate::features::Views;
use crate::fine_tune::boundary::{Boundary, Photos, Setting};
use crate::fine_tune::{CacheUse, unfreeze};
use crate::head::LinearHead;
use crate::optim::{Optimizer, Rule};
use crate::{Backbone, CachePrecision, Error, Session};
use headstart_data::View;
use headstart_graph::{BnStats, Freeze, Gradients, Graph, Params, Trainer, Trunk};
use headstart_kernels::Pool;
use headstart_tensor::{Rng, Tensor};

/// Images a step.
const BATCH: usize = 64;
/// Images whose features are computed at once.
const BLOCK: usize = 128;
/// Epochs without a better one after which a fit stops.
const PATIENCE: usize = 3;
/// Rounds in which pseudo-labels settle.
const SETTLING: usize = 2;

/// What every fit of the tail is told.
#[derive(Clone, Copy)]
pub(super) struct Tail<'a> {
    pub(super) session: &'a Session<'a>,
    /// The network.
    pub(super) backbone: &'a Backbone,
    /// The head, on the target's features.
    pub(super) head: &'a LinearHead,
    pub(super) target: &'a Photos,
    /// Names of what learns, as for fine-tuning.
    pub(super) unfreeze: &'a [String],
    /// Passes over the target, at most.
    pub(super) epochs: usize,
    pub(super) seed: u64,
    /// How good logits of all of the target are, without its labels: the best epoch is kept, the start among them.
    pub(super) judge: &'a dyn Fn(&Tensor) -> [f64; 2],
}

/// The best of what a fit has come to, epoch by epoch.
pub(super) struct Best<T> {
    score: [f64; 2],
    epoch: usize,
    found: T,
}

impl<T> Best<T> {
    pub(super) fn new(score: [f64; 2], start: T) -> Best<T> {
        Best { score, epoch: 0, found: start }
    }

    /// What an epoch came to; whether another one is worth trying.
    pub(super) fn see(&mut self, score: [f64; 2], epoch: usize, found: impl FnOnce() -> T) -> bool {
        if score > self.score {
            *self = Best { score, epoch, found: found() };
        }
        epoch < self.epoch + PATIENCE
    }

    /// The best and its epoch, 0 for the start, and a line about it where it is not the last.
    pub(super) fn take(self, session: &Session, name: &str, last: usize) -> (T, usize) {
        if self.epoch < last {
            let what = if self.epoch == 0 {
                "what it started from".to_owned()
            } else {
                format!("epoch {}", self.epoch)
            };
            session
                .progress
                .note(&format!("{name}: no epoch is better than {what}, without labels: it is kept"));
        }
        (self.found, self.epoch)
    }
}

/// How the tail is trained on the target alone.
#[derive(Clone, Copy)]
pub(super) struct TailFit<'a> {
    pub(super) tail: Tail<'a>,
    pub(super) objective: Objective,
}

impl TailFit<'_> {
    /// The parameters of the best epoch, and which that is: 0 where none is better than the start. A loss that runs away ends the
    /// fit.
    ///
    /// # Errors
    /// Where a name is unknown, an image cannot be read any more, or the run was interrupted.
    pub(super) fn run(&self) -> Result<(Params, usize), Error> {
        let (tail, objective) = (self.tail, self.objective);
        let session = tail.session;
        let freeze = tail.free(objective.norms_only)?;
        let split = tail.backbone.trunk_graph().split(&freeze)?;
        let mut params = tail.backbone.params.clone();
        let mut boundary = tail.open(&split.trunk, tail.target)?;
        let mut trainer = Trainer::new(split.tail, freeze, BnStats::Running);
        let mut optimizer = Optimizer::new(Rule::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-3 })?;
        let n = tail.target.hashes.len();
        let steps = tail.epochs * n.div_ceil(BATCH);
        let mut step = 0;
        let mut features = tail.features(&mut boundary, trainer.graph(), &params)?;
        let mut best = Best::new(tail.judged(&features, tail.head)?, params.clone());
        let mut last = 0;
        'epochs: for epoch in 1..=tail.epochs {
            let pseudo = self.pseudo(&features)?;
            let mut order: Vec<usize> = (0..n).collect();
            Rng::named(tail.seed, &format!("order of epoch {epoch}")).shuffle(&mut order);
            session.progress.start(&format!("{} {epoch}/{}", objective.name(), tail.epochs), n);
            let mut sum = 0.0;
            for some in order.chunks(BATCH) {
                session.check().inspect_err(|_| session.progress.finish())?;
                // The mean answer to a handful of images says nothing.
                if some.len() < BATCH / 4 && n > BATCH {
                    continue;
                }
                let wanted: Vec<(usize, View)> = some.iter().map(|&i| (i, View::Center)).collect();
                let rows = boundary.rows(session, tail.target, &wanted)?;
                let labels: Vec<usize> = some.iter().map(|&i| pseudo[i]).collect();
                let features = trainer.forward(&params, &rows, session.pool)?;
                let logits = tail.head.logits(session.pool, features)?;
                let (loss, slope) = objective.loss(&logits, &labels);
                if !loss.is_finite() {
                    ran_away(session, objective.name(), epoch);
                    break 'epochs;
                }
                sum += loss * some.len() as f64;
                let slope = back(session.pool, &slope, tail.head)?;
                let lr = annealed(objective.lr, step, steps);
                let gradients = trainer.backward(&params, &slope, session.pool)?;
                move_tail(&mut optimizer, &mut params, gradients, lr)?;
                step += 1;
                session.progress.advance(some.len());
            }
            session.progress.finish();
            session.progress.note(&format!(
                "{} {epoch}/{}: loss {:.4}",
                objective.name(),
                tail.epochs,
                sum / n as f64
            ));
            features = tail.features(&mut boundary, trainer.graph(), &params)?;
            last = epoch;
            if !best.see(tail.judged(&features, tail.head)?, epoch, || params.clone()) {
                break;
            }
        }
        Ok(best.take(session, objective.name(), last))
    }

    /// Pseudo-labels: the nearest, by the cosine, of class means that the answers weight, then of the means of those
    /// nearest to them (SHOT, equations 5 and 6).
    fn pseudo(&self, features: &Tensor) -> Result<Vec<usize>, Error> {
        let (pool, classes) = (self.tail.session.pool, self.tail.head.classes());
        let rows = unit(pool, &super::domains::centred(pool, features, false)?.0);
        let mut weights = soft(&self.tail.head.logits(pool, features)?);
        let mut labels = Vec::new();
        for _ in 0..SETTLING {
            let centres = unit(pool, &class_sums(pool, &weights, &rows)?);
            labels = hard(&LinearHead::new(centres, Tensor::zeros([classes]))?.logits(pool, &rows)?);
            weights = one_hot(&labels, classes);
        }
        Ok(labels)
    }
}

impl Tail<'_> {
    /// What of the tail learns: never the classifier; norms alone where that is asked for.
    ///
    /// # Errors
    /// Where a name is unknown, there is none besides the classifier's, or no norm is left.
    pub(super) fn free(&self, norms_only: bool) -> Result<Freeze, Error> {
        let Backbone { graph, classifier, name: network, .. } = self.backbone;
        let found = unfreeze(graph, classifier, self.unfreeze)?;
        let classifier = format!("{classifier}.");
        let norms: Vec<&str> = super::statistics::norms(graph).map(|norm| norm.name).collect();
        let norm = |name: &str| name.rsplit_once('.').is_some_and(|(layer, _)| norms.contains(&layer));
        let mut freeze = Freeze::everything();
        for name in found.freeze.trainable().filter(|name| !name.starts_with(&classifier)) {
            if !norms_only || norm(name) {
                freeze = freeze.unfreeze(graph, name)?;
            }
        }
        if freeze.trainable().next().is_some() {
            return Ok(freeze);
        }
        Err(Error::NoBatchNorm { network: network.clone() })
    }

    /// How good the answers of a head to features of the target are.
    ///
    /// # Errors
    /// Where the features are of another length.
    pub(super) fn judged(&self, features: &Tensor, head: &LinearHead) -> Result<[f64; 2], Error> {
        Ok((self.judge)(&head.logits(self.session.pool, features)?))
    }

    /// Features `[n, d]` of all images of the target.
    ///
    /// # Errors
    /// Where an image cannot be read any more, or the run was interrupted.
    pub(super) fn features(
        &self,
        boundary: &mut Boundary,
        tail: &Graph,
        params: &Params,
    ) -> Result<Tensor, Error> {
        let Tail { session, target, .. } = self;
        let tail = Trunk::compile(tail, params)?;
        let all: Vec<(usize, View)> = (0..target.hashes.len()).map(|i| (i, View::Center)).collect();
        let mut values = Vec::new();
        for some in all.chunks(BLOCK) {
            session.check()?;
            let rows = boundary.rows(session, target, some)?;
            values.extend(tail.run(session.pool, &rows)?.into_data());
        }
        Ok(Tensor::new([all.len(), tail.output().len()], values)?)
    }

    /// Activations of images at the cut, in the cache where there is room.
    ///
    /// # Errors
    /// Where an image cannot be read any more, or the run was interrupted.
    pub(super) fn open(&self, trunk: &Graph, photos: &Photos) -> Result<Boundary, Error> {
        let setting = Setting {
            input: &self.backbone.input,
            train: photos,
            val: &Photos::default(),
            views: Views { each: 1, seed: self.seed, strength: None },
            cache: CacheUse::Auto,
            precision: CachePrecision::F32,
        };
        Boundary::open(self.session, trunk, &self.backbone.params, &setting)
    }
}

/// Ends what is shown of an epoch whose loss is no number any more, and says so.
pub(super) fn ran_away(session: &Session, name: &str, epoch: usize) {
    session.progress.finish();
    session
        .progress
        .note(&format!("{name}: the loss ran away in epoch {epoch}; the best epoch before it counts"));
}

/// The learning rate of a step: `lr (1 + 10 t)^-0.75` at the share `t` of all steps (Ganin et al. 2016).
pub(super) fn annealed(lr: f64, step: usize, steps: usize) -> f64 {
    lr * (1.0 + 10.0 * step as f64 / steps.max(1) as f64).powf(-0.75)
}

/// The gradient by features `[n, d]` of what has this gradient by a head's logits `[n, classes]`.
///
/// # Errors
/// Never for logits of that head.
pub(super) fn back(pool: &Pool, by_logits: &Tensor, head: &LinearHead) -> Result<Tensor, Error> {
    let sizes = [by_logits.dims()[0], head.classes(), head.weight.row_len()];
    let values = matrix::product(pool, by_logits.data(), head.weight.data(), sizes);
    Ok(Tensor::new([sizes[0], sizes[2]], values)?)
}

/// One step of the tail; norms and biases do not decay.
///
/// # Errors
/// Where a gradient is no number.
pub(super) fn move_tail(
    optimizer: &mut Optimizer,
    params: &mut Params,
    gradients: &Gradients,
    lr: f64,
) -> Result<(), Error> {
    for (name, gradient) in gradients {
        let values = params.get_mut(name).map(Tensor::data_mut).unwrap_or_default();
        match gradient.dims().len() {
            0 | 1 => optimizer.step_undecayed(name, values, gradient.data(), lr)?,
            _ => optimizer.step(name, values, gradient.data(), lr)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::testing::quiet;

    #[test]
    fn the_best_epoch_is_kept_and_three_without_a_better_one_end_the_fit() {
        quiet(|session| {
            let mut best = Best::new([0.5, 0.0], "start");
            let scores = [0.4, 0.6, 0.6, 0.5, 0.3, 0.9].map(|worth| [worth, 0.0]);
            let mut ran = (1..).zip(scores).take_while(|&(epoch, score)| best.see(score, epoch, || "later"));
            assert_eq!(ran.by_ref().last(), Some((4, [0.5, 0.0])));
            assert_eq!(best.take(session, "shot", 5), ("later", 2));
            let mut worse = Best::new([0.5, 0.0], "start");
            assert!(worse.see([f64::NAN; 2], 1, || "later") && worse.see([0.5, -0.1], 2, || "later"));
            assert_eq!(worse.take(session, "shot", 2), ("start", 0));
        });
    }
}
