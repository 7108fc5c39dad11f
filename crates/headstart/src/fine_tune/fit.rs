//! The epochs of a fine-tuning: batches from the boundary through the tail, a look at the validation images, the best
//! weights kept, the state on disk.

use super::boundary::{Boundary, Photos, Setting};
use super::checkpoint::{self, Checkpoint, State};
use super::history::{History, Line};
use super::rows::Group;
use super::step::{Stepper, Tail, optimizer, rates};
use super::unfreeze::Unfrozen;
use super::{Best, TuneEpoch, TuneOptions, TuneRecipe};
use crate::features::Views;
use crate::input::Input;
use crate::metrics::{argmax, log_loss};
use crate::optim::Optimizer;
use crate::{Error, Session};
use headstart_data::View;
use headstart_graph::{BnStats, Graph, Params, Trainer, Trunk};
use headstart_tensor::{Rng, Tensor};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Values of the activations that are evaluated at once.
const BLOCK_VALUES: usize = 8 << 20;
/// Texts that are evaluated at once.
const TEXTS: usize = 256;

/// What a fit is made of.
#[derive(Clone, Copy)]
pub(crate) struct Fit<'a> {
    pub(crate) session: &'a Session<'a>,
    pub(crate) options: &'a TuneOptions,
    /// The whole network.
    pub(crate) graph: &'a Graph,
    pub(crate) unfrozen: &'a Unfrozen,
    pub(crate) input: &'a Input,
    pub(crate) train: &'a Photos,
    pub(crate) val: &'a Photos,
    pub(crate) class_weights: Option<&'a [f32]>,
}

/// A stretch of the fit in which the same part of the network learns.
pub(crate) struct Phase {
    /// Trained stages besides the classifier's.
    upper: usize,
    pub(crate) tail: Tail,
    pub(crate) cut: String,
    pub(crate) boundary: Boundary,
    views: Views,
}

/// A fit under way.
pub(crate) struct Run {
    pub(crate) state: State,
    /// The trained parameters at their best.
    pub(crate) best: BTreeMap<String, Tensor>,
    optimizer: Optimizer,
    saved: Instant,
}

impl Run {
    /// A fit before its first step, where `start` is what the parameters give.
    pub(crate) fn new(fit: &Fit, state: State, params: &Params) -> Result<Run, Error> {
        let optimizer = optimizer(&state.recipe)?;
        Ok(Run { best: fit.trained(params), optimizer, state, saved: Instant::now() })
    }

    /// A fit that goes on from `checkpoint`, which also sets `params`.
    pub(crate) fn resumed(checkpoint: Checkpoint, params: &mut Params) -> Result<Run, Error> {
        let mut optimizer = optimizer(&checkpoint.state.recipe)?;
        optimizer.state = checkpoint.memory;
        checkpoint.now.into_iter().for_each(|(name, value)| params.insert(name, value));
        Ok(Run { best: checkpoint.best, optimizer, state: checkpoint.state, saved: Instant::now() })
    }
}

impl Fit<'_> {
    /// The parameters that any phase trains.
    fn trained(&self, params: &Params) -> BTreeMap<String, Tensor> {
        let names = self.unfrozen.freeze.trainable();
        names.filter_map(|n| Some((n.to_owned(), params.get(n)?.clone()))).collect()
    }

    /// Trained stages besides the classifier's in epoch `epoch` (from 1).
    pub(crate) fn upper(&self, recipe: &TuneRecipe, epoch: usize) -> usize {
        let all = self.unfrozen.stages.len().saturating_sub(1);
        match recipe.gradual {
            true => (epoch * all).div_ceil(recipe.epochs.max(1)).clamp(1, all.max(1)),
            false => all,
        }
    }

    /// The phase of epoch `epoch` (from 1).
    pub(crate) fn phase(&self, recipe: &TuneRecipe, params: &Params, epoch: usize) -> Result<Phase, Error> {
        let upper = self.upper(recipe, epoch);
        let unfrozen = self.unfrozen.upper(self.graph, upper)?;
        let split = self.graph.split(&unfrozen.freeze)?;
        let cacheable = split.trunk.nodes().len() > 1;
        let each = recipe.views.unwrap_or(match (recipe.augment.strength(), cacheable) {
            (None, _) => 1,
            (Some(_), true) => 4,
            (Some(_), false) => 0,
        });
        let views = Views { each, seed: self.options.seed, strength: recipe.augment.strength() };
        let setting = Setting {
            input: self.input,
            train: self.train,
            val: self.val,
            views,
            cache: self.options.cache,
            precision: self.options.cache_precision,
        };
        let boundary = Boundary::open(self.session, &split.trunk, params, &setting)?;
        let rates = rates(self.graph, self.unfrozen, &unfrozen.freeze, recipe.lr_decay);
        // The running statistics of norms never move: they fit the data better than a small batch's.
        let trainer = Trainer::new(split.tail, unfrozen.freeze, BnStats::Running);
        let tail = Tail { trainer, rates };
        Ok(Phase { upper, tail, cut: split.cut, boundary, views })
    }

    /// What `params` give on the validation images: right answers and mean cross-entropy, not finite where an answer is
    /// none; and the logits.
    pub(crate) fn evaluate(&self, phase: &mut Phase, params: &Params) -> Result<(Best, Tensor), Error> {
        let all: Vec<(usize, View)> = (0..self.val.labels.len()).map(|i| (i, View::Center)).collect();
        let logits = match self.input {
            Input::Image(_) => self.answer(phase, params, &all)?,
            Input::Text(_) => self.answer_texts(phase, params, &all)?,
        };
        if let Some(&value) = logits.data().iter().find(|v| !v.is_finite()) {
            return Ok((Best { epoch: 0, accuracy: 0.0, loss: f64::from(value) }, logits));
        }
        let right = self.val.labels.iter().enumerate().filter(|&(i, &l)| argmax(logits.row(i)) == l).count();
        let accuracy = right as f64 / all.len().max(1) as f64;
        let loss = log_loss(&logits, &self.val.labels)?;
        Ok((Best { epoch: 0, accuracy, loss }, logits))
    }

    /// The tail's logits for images of the validation data.
    fn answer(&self, phase: &mut Phase, params: &Params, all: &[(usize, View)]) -> Result<Tensor, Error> {
        let tail = Trunk::compile(phase.tail.trainer.graph(), params)?;
        let block = (BLOCK_VALUES / tail.input().len().max(1)).clamp(1, 512);
        let mut logits = Vec::new();
        for some in all.chunks(block) {
            self.session.check()?;
            let x = phase.boundary.rows(self.session, self.val, some)?;
            logits.extend(tail.run(self.session.pool, &x)?.into_data());
        }
        Ok(Tensor::new([all.len(), tail.output().len()], logits)?)
    }

    /// As [`Fit::answer`], for texts.
    fn answer_texts(
        &self,
        phase: &mut Phase,
        params: &Params,
        all: &[(usize, View)],
    ) -> Result<Tensor, Error> {
        let trainer = &mut phase.tail.trainer;
        let classes = trainer.graph().output().len();
        let mut logits = vec![0.0; all.len() * classes];
        for (block, some) in all.chunks(TEXTS).enumerate() {
            self.session.check()?;
            for group in phase.boundary.batch(self.session, self.val, some)? {
                trainer.set_input(&group.shape())?;
                let found = trainer.forward(params, &group.rows, self.session.pool)?;
                for (i, member) in group.members.into_iter().enumerate() {
                    let at = (block * TEXTS + member) * classes;
                    logits[at..at + classes].copy_from_slice(found.row(i));
                }
            }
        }
        Ok(Tensor::new([all.len(), classes], logits)?)
    }

    /// The groups and classes of a batch of epoch `epoch`.
    pub(crate) fn batch(
        &self,
        phase: &mut Phase,
        epoch: usize,
        images: &[usize],
    ) -> Result<(Vec<Group>, Vec<usize>), Error> {
        let views = phase.views;
        let view = |&i: &usize| {
            let hash = &self.train.hashes[i];
            match views.each {
                0 => (i, views.draw(hash, &format!("epoch {epoch}"))),
                each => (i, views.view(hash, (epoch - 1 + usize::from(hash[0])) % each)),
            }
        };
        let wanted: Vec<(usize, View)> = images.iter().map(view).collect();
        let groups = phase.boundary.batch(self.session, self.train, &wanted)?;
        Ok((groups, images.iter().map(|&i| self.train.labels[i]).collect()))
    }

    /// The training images in the order of epoch `epoch`.
    pub(crate) fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.train.labels.len()).collect();
        Rng::named(self.options.seed, &format!("order of epoch {epoch}")).shuffle(&mut order);
        order
    }

    /// Runs the epochs that are left; `params` become those of the best one. `phase` is that of the next epoch.
    ///
    /// # Errors
    /// Where the loss runs away or the run is interrupted: then the state is on disk.
    pub(crate) fn run(
        &self,
        run: &mut Run,
        params: &mut Params,
        phase: &mut Phase,
        history: &mut History,
    ) -> Result<(), Error> {
        let recipe = run.state.recipe.clone();
        let started = Instant::now();
        let before = run.state.epochs.len();
        while run.state.epochs.len() < recipe.epochs && !self.is_stale(run) {
            let epoch = run.state.epochs.len() + 1;
            if self.upper(&recipe, epoch) != phase.upper {
                let before = (phase.boundary.computed, phase.boundary.cached);
                *phase = match self.phase(&recipe, params, epoch) {
                    Err(Error::Interrupted) => return Err(self.pause(run, params, epoch)),
                    phase => phase?,
                };
                phase.boundary.computed += before.0;
                phase.boundary.cached += before.1;
                let stages = &self.unfrozen.stages[self.unfrozen.stages.len() - 1 - phase.upper..];
                self.session.progress.note(&format!("from epoch {epoch} on {} learn", stages.join(", ")));
            }
            self.session.progress.start(&format!("epoch {epoch}/{}", recipe.epochs), self.steps());
            let epoch = self.epoch(run, params, phase, history, epoch);
            self.session.progress.finish();
            let epoch = epoch?;
            let each = started.elapsed().as_secs_f64() / (epoch.epoch - before) as f64;
            let left = each * (recipe.epochs - epoch.epoch) as f64;
            self.session.progress.note(&format!(
                "epoch {}/{}: loss {:.4}, {:.1} % right; validation {:.4}, {:.1} %; rate {:.2e}, {:.1} {} a second, {left:.0} s left",
                epoch.epoch,
                recipe.epochs,
                epoch.train_loss,
                100.0 * epoch.train_accuracy,
                epoch.val_loss,
                100.0 * epoch.val_accuracy,
                epoch.lr,
                epoch.images_per_second,
                self.input.kind().many()
            ));
        }
        std::mem::take(&mut run.best).into_iter().for_each(|(name, value)| params.insert(name, value));
        Ok(())
    }

    /// Whether the patience is at its end.
    fn is_stale(&self, run: &Run) -> bool {
        let State { recipe, epochs, best, .. } = &run.state;
        // It is counted from where the last stage has joined: before, nothing is known of what that brings.
        let whole = self.upper(recipe, recipe.epochs);
        let joined = (1..=recipe.epochs).find(|&e| self.upper(recipe, e) == whole).unwrap_or(1) - 1;
        recipe.patience > 0 && epochs.len() >= best.epoch.max(joined) + recipe.patience
    }

    /// Steps of an epoch.
    pub(crate) fn steps(&self) -> usize {
        self.train.labels.len().div_ceil(self.options.recipe.batch_size)
    }

    /// What is left of epoch `epoch`, its validation, and the state after it.
    fn epoch(
        &self,
        run: &mut Run,
        params: &mut Params,
        phase: &mut Phase,
        history: &mut History,
        epoch: usize,
    ) -> Result<TuneEpoch, Error> {
        let recipe = run.state.recipe.clone();
        let (per, started, from) = (self.steps(), Instant::now(), run.state.sums.2);
        let stepper = Stepper { recipe: &recipe, class_weights: self.class_weights, pool: self.session.pool };
        let order = self.order(epoch);
        let done = run.state.step - (epoch - 1) * per;
        self.session.progress.advance(done);
        let mut lr = recipe.lr * self.share(&recipe, run.state.step.saturating_sub(1));
        for images in order.chunks(recipe.batch_size).skip(done) {
            if self.session.check().is_err() {
                return Err(self.pause(run, params, epoch));
            }
            lr = recipe.lr * self.share(&recipe, run.state.step);
            let (groups, targets) = self.batch(phase, epoch, images)?;
            let mut rng = Rng::named(self.options.seed, &format!("step {}", run.state.step));
            let batch = (groups, &targets[..]);
            let found = stepper.step(&mut phase.tail, params, &mut run.optimizer, batch, lr, &mut rng)?;
            if !found.loss.is_finite() {
                return Err(self.runaway(found.loss, epoch, run.state.step + 1, recipe.lr));
            }
            run.state.step += 1;
            let (loss, sums) = (f64::from(found.loss), &mut run.state.sums);
            *sums = (sums.0 + loss * images.len() as f64, sums.1 + found.correct, sums.2 + images.len());
            let accuracy = found.correct as f64 / images.len() as f64;
            history.write(&Line::Step { step: run.state.step, epoch, loss, accuracy, lr })?;
            let (right, seen) = (100.0 * sums.1 as f64 / sums.2 as f64, sums.0 / sums.2 as f64);
            self.session.progress.status(&format!("loss {seen:.4}, {right:.1} % right, rate {lr:.2e}"));
            self.session.progress.advance(1);
            let pause = Duration::from_secs_f64(60.0 * self.options.checkpoint_minutes);
            if run.saved.elapsed() >= pause && finite(params, &run.best) {
                self.save(run, params)?;
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        let (found, _) = match self.evaluate(phase, params) {
            Err(Error::Interrupted) => return Err(self.pause(run, params, epoch)),
            found => found?,
        };
        if !found.loss.is_finite() {
            return Err(self.runaway(found.loss as f32, epoch, run.state.step, recipe.lr));
        }
        let (loss, correct, seen) = std::mem::take(&mut run.state.sums);
        let result = TuneEpoch {
            epoch,
            train_loss: loss / seen.max(1) as f64,
            train_accuracy: correct as f64 / seen.max(1) as f64,
            val_loss: found.loss,
            val_accuracy: found.accuracy,
            lr,
            images_per_second: (seen - from) as f64 / seconds.max(1e-9),
        };
        run.state.epochs.push(result.clone());
        if found.beats(&run.state.best) {
            run.state.best = Best { epoch, ..found };
            run.best = self.trained(params);
        }
        history.write(&Line::Epoch(result.clone()))?;
        self.save(run, params)?;
        Ok(result)
    }

    /// The share of the learning rate in step `step` (from 0) of the fit.
    fn share(&self, recipe: &TuneRecipe, step: usize) -> f64 {
        let steps = recipe.epochs * self.steps();
        recipe.schedule.share(step, steps, (recipe.warmup * steps as f64).round() as usize)
    }

    pub(crate) fn save(&self, run: &mut Run, params: &Params) -> Result<(), Error> {
        run.saved = Instant::now();
        checkpoint::save(&self.options.folder, &run.state, params, &run.best, &run.optimizer)
    }

    /// Saves the state; the error that says where.
    fn pause(&self, run: &mut Run, params: &Params, epoch: usize) -> Error {
        match self.save(run, params) {
            Err(error) => error,
            Ok(()) => Error::Paused { folder: self.options.folder.clone(), epoch, step: run.state.step },
        }
    }

    fn runaway(&self, loss: f32, epoch: usize, step: usize, lr: f64) -> Error {
        let folder = self.options.folder.clone();
        Error::Runaway { loss, epoch, step, lr, suggested: lr / 10.0, folder }
    }
}

/// Whether the trained parameters are numbers: others are not worth a checkpoint.
fn finite(params: &Params, trained: &BTreeMap<String, Tensor>) -> bool {
    trained.keys().filter_map(|name| params.get(name)).all(|t| t.data().iter().all(|v| v.is_finite()))
}
