//! One step of a fit: a batch through the tail, its loss, the gradients, and the parameters moved.

use super::TuneRecipe;
use super::rows::Group;
use super::unfreeze::{Unfrozen, stage_of};
use crate::head::HeadError;
use crate::loss::{SoftTarget, soft_cross_entropy};
use crate::metrics::argmax;
use crate::optim::{Optimizer, Rule};
use crate::{Error, OptimizerKind};
use headstart_graph::{Freeze, Gradients, Graph, Params, Trainer};
use headstart_kernels::Pool;
use headstart_tensor::{Rng, Tensor};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A cross-entropy that only a fit which is running away reaches.
const RUNAWAY: f32 = 1e4;

/// The part of a network that learns.
pub(crate) struct Tail {
    /// Its input is the trunk's output.
    pub(crate) trainer: Trainer,
    /// Each trained parameter's learning rate, as a share of the classifier's.
    pub(crate) rates: BTreeMap<String, f64>,
}

/// What a batch gave before its step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stepped {
    /// The loss; not finite where the fit ran away: then nothing has moved.
    pub(crate) loss: f32,
    /// Images that were right; of a mixed one, by its larger part.
    pub(crate) correct: usize,
}

/// What every step of a fit has in common.
pub(crate) struct Stepper<'a> {
    pub(crate) recipe: &'a TuneRecipe,
    pub(crate) class_weights: Option<&'a [f32]>,
    pub(crate) pool: &'a Pool,
}

/// The optimiser that a recipe names, before its first step.
pub(crate) fn optimizer(recipe: &TuneRecipe) -> Result<Optimizer, HeadError> {
    let (momentum, nesterov, weight_decay) = (recipe.momentum, recipe.nesterov, recipe.weight_decay);
    Optimizer::new(match recipe.optimizer {
        OptimizerKind::Sgd => Rule::Sgd { momentum, nesterov, weight_decay },
        OptimizerKind::Adamw => Rule::AdamW { betas: recipe.betas, eps: 1e-8, weight_decay },
    })
}

/// Each trained parameter's share of the learning rate: `decay` to the power of its stage's distance from the classifier,
/// counted in trained stages of `all`.
pub(crate) fn rates(graph: &Graph, all: &Unfrozen, freeze: &Freeze, decay: f64) -> BTreeMap<String, f64> {
    let last = all.stages.len().saturating_sub(1);
    let share = |name: &str| {
        let place = stage_of(graph, name).and_then(|stage| all.stages.iter().position(|s| s == stage));
        let distance = last - place.unwrap_or(last);
        (0..distance).fold(1.0, |share, _| share * decay)
    };
    freeze.trainable().map(|name| (name.to_owned(), share(name))).collect()
}

impl Stepper<'_> {
    /// Takes one step of learning rate `lr` on the groups of a batch of classes `targets`; `rng` draws mixup.
    pub(crate) fn step(
        &self,
        tail: &mut Tail,
        params: &mut Params,
        optimizer: &mut Optimizer,
        (groups, targets): (Vec<Group>, &[usize]),
        lr: f64,
        rng: &mut Rng,
    ) -> Result<Stepped, Error> {
        let weight = |class: usize| self.class_weights.map_or(1.0, |weights| f64::from(weights[class]));
        let weigh = |targets: &[usize]| targets.iter().map(|&t| weight(t)).sum::<f64>();
        let (all, mut sum) = (weigh(targets), Gradients::new());
        let mut found = Stepped { loss: 0.0, correct: 0 };
        let own = |group: &Group| -> Vec<usize> { group.members.iter().map(|&i| targets[i]).collect() };
        let gradients = match <[Group; 1]>::try_from(groups) {
            Ok([group]) => {
                let own = own(&group);
                found = self.learn(&mut tail.trainer, params, (&group, &own, 1.0), self.pool, rng)?;
                tail.trainer.gradients()
            }
            // Each on one thread: most have one member. They are added up in their order.
            Err(groups) => {
                let part = |i: usize| {
                    let (own, mut trainer) = (own(&groups[i]), tail.trainer.fresh());
                    let share = weigh(&own) / all;
                    let (pool, mut rng) = (Pool::single(), Rng::new(0));
                    let part =
                        self.learn(&mut trainer, params, (&groups[i], &own, share), &pool, &mut rng)?;
                    Ok((part, share, trainer.into_gradients()))
                };
                let done = self.pool.stream(groups.len(), 0, part, |_, part| match part {
                    Err(error) => ControlFlow::Break(error),
                    Ok((part, share, gradients)) => {
                        found.loss += share as f32 * part.loss;
                        found.correct += part.correct;
                        add(&mut sum, gradients);
                        ControlFlow::Continue(())
                    }
                });
                if let ControlFlow::Break(error) = done {
                    return Err(error);
                }
                &sum
            }
        };
        if !found.loss.is_finite() {
            return Ok(found);
        }
        let norm = norm(gradients);
        if !norm.is_finite() {
            return Ok(Stepped { loss: f32::NAN, correct: 0 });
        }
        let scale = match self.recipe.clip {
            clip if clip > 0.0 && norm > clip => Some((clip / norm) as f32),
            _ => None,
        };
        for (name, gradient) in gradients {
            let clipped: Option<Vec<f32>> = scale.map(|s| gradient.data().iter().map(|g| g * s).collect());
            let values = clipped.as_deref().unwrap_or(gradient.data());
            let parameter = params.get_mut(name).map(Tensor::data_mut).unwrap_or_default();
            let lr = lr * tail.rates.get(name).copied().unwrap_or(1.0);
            // Norms and biases are the parameters of one dimension.
            match gradient.dims().len() {
                0 | 1 => optimizer.step_undecayed(name, parameter, values, lr)?,
                _ => optimizer.step(name, parameter, values, lr)?,
            }
        }
        Ok(found)
    }

    /// The mean loss of a group, which counts `share` of the batch's, its right answers, and the gradients of that share.
    fn learn(
        &self,
        trainer: &mut Trainer,
        params: &Params,
        (group, targets, share): (&Group, &[usize], f64),
        pool: &Pool,
        rng: &mut Rng,
    ) -> Result<Stepped, Error> {
        trainer.set_input(&group.shape())?;
        let mut mixed = None;
        let targets = match self.recipe.mixup {
            0.0 => targets.iter().map(|&t| SoftTarget::from(t)).collect(),
            _ => self.mix(mixed.insert(group.rows.clone()), targets, rng),
        };
        let logits = trainer.forward(params, mixed.as_ref().unwrap_or(&group.rows), pool)?;
        let lost = |loss| Ok(Stepped { loss, correct: 0 });
        if let Some(&value) = logits.data().iter().find(|v| !v.is_finite()) {
            return lost(value);
        }
        let smoothing = self.recipe.label_smoothing;
        let (loss, mut gradient) = soft_cross_entropy(logits, &targets, smoothing, self.class_weights)?;
        if !(loss.is_finite() && loss < RUNAWAY) {
            return lost(if loss.is_finite() { f32::INFINITY } else { loss });
        }
        let right = |(i, t): (usize, &SoftTarget)| {
            argmax(logits.row(i)) == if t.share >= 0.5 { t.class } else { t.other }
        };
        let correct = targets.iter().enumerate().filter(|&t| right(t)).count();
        gradient.data_mut().iter_mut().for_each(|g| *g *= share as f32);
        trainer.backward(params, &gradient, pool)?;
        Ok(Stepped { loss, correct })
    }

    /// Mixup (Zhang et al. 2018) of the rows at the cut: each with another of the batch, by one share for all of them.
    fn mix(&self, x: &mut Tensor, targets: &[usize], rng: &mut Rng) -> Vec<SoftTarget> {
        let (a, b) = (gamma(self.recipe.mixup, rng), gamma(self.recipe.mixup, rng));
        let share = if a + b > 0.0 { a / (a + b) } else { 1.0 };
        let mut partner: Vec<usize> = (0..targets.len()).collect();
        rng.shuffle(&mut partner);
        let (own, len) = (x.clone(), x.row_len());
        for (row, &other) in x.data_mut().chunks_exact_mut(len).zip(&partner) {
            for (value, &other) in row.iter_mut().zip(own.row(other)) {
                *value = share as f32 * *value + (1.0 - share) as f32 * other;
            }
        }
        let mixed = targets.iter().zip(partner);
        mixed.map(|(&class, other)| SoftTarget { class, other: targets[other], share }).collect()
    }
}

/// A draw of the Gamma distribution of shape `a` above 0 (Marsaglia and Tsang 2000).
fn gamma(a: f64, rng: &mut Rng) -> f64 {
    if a < 1.0 {
        return gamma(a + 1.0, rng) * (1.0 - rng.uniform()).powf(1.0 / a);
    }
    let d = a - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = rng.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - rng.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// Adds gradients to what others came to.
fn add(sum: &mut Gradients, more: Gradients) {
    for (name, more) in more {
        match sum.get_mut(&name) {
            None => {
                sum.insert(name, more);
            }
            Some(sum) => sum.data_mut().iter_mut().zip(more.data()).for_each(|(s, m)| *s += m),
        }
    }
}

/// The Euclidean norm of all gradients together, in the order of the names.
fn norm(gradients: &Gradients) -> f64 {
    let squares = |g: &Tensor| g.data().iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    gradients.values().map(squares).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fine_tune::unfreeze::unfreeze;
    use headstart_graph::{BnStats, GraphBuilder, Op, Padding};
    use headstart_testing::{input, seeded};

    fn tail() -> (Tail, Params) {
        let mut b = GraphBuilder::new([4, 4, 3]);
        b.stage("one");
        let x = b.conv("conv1", b.input(), 4, (3, 1), Padding::Same).unwrap();
        b.stage("two");
        let x = b.batch_norm("bn2", x, 1e-5).unwrap();
        b.stage("fc");
        let x = b.add("pool", Op::GlobalAvgPool, &[x]).unwrap();
        b.linear("fc", x, 3).unwrap();
        let graph = b.finish();
        let params = graph.params().into_iter();
        let params: Params =
            params.map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 3, 1.0))).collect();
        let all = unfreeze(&graph, "fc", &["all".into()]).unwrap();
        let rates = rates(&graph, &all, &all.freeze, 0.5);
        (Tail { trainer: Trainer::new(graph, all.freeze, BnStats::Running), rates }, params)
    }

    fn whole(rows: Tensor) -> Vec<Group> {
        vec![Group { members: (0..rows.dims()[0]).collect(), rows }]
    }

    fn one_step(recipe: &TuneRecipe, lr: f64) -> (Params, Params, Stepped) {
        let (mut tail, before) = tail();
        let mut after = before.clone();
        let pool = Pool::new(1);
        let stepper = Stepper { recipe, class_weights: None, pool: &pool };
        let mut optimizer = optimizer(recipe).unwrap();
        let batch = (whole(input(4, 4, 4, 3, 1)), &[0, 1, 2, 0][..]);
        let stepped =
            stepper.step(&mut tail, &mut after, &mut optimizer, batch, lr, &mut Rng::new(1)).unwrap();
        (before, after, stepped)
    }

    fn moved(before: &Params, after: &Params, name: &str) -> f64 {
        let (a, b) = (before.get(name).unwrap(), after.get(name).unwrap());
        a.data().iter().zip(b.data()).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    }

    fn plain() -> TuneRecipe {
        TuneRecipe { momentum: 0.0, nesterov: false, weight_decay: 0.0, clip: 0.0, ..TuneRecipe::default() }
    }

    #[test]
    fn stages_further_down_learn_slower_and_statistics_never() {
        let (tail, _) = tail();
        let rate = |name: &str| tail.rates[name];
        assert_eq!([rate("fc.bias"), rate("bn2.bias"), rate("conv1.weight")], [1.0, 0.5, 0.25]);
        let (before, after, _) = one_step(&plain(), 0.1);
        assert!(moved(&before, &after, "conv1.weight") > 0.0);
        assert_eq!(moved(&before, &after, "bn2.running_mean"), 0.0);
        // The same gradients at a tenth of the rate move a tenth as far.
        let (_, slow, _) = one_step(&plain(), 0.01);
        let ratio = moved(&before, &after, "conv1.weight") / moved(&before, &slow, "conv1.weight");
        assert!((ratio - 10.0).abs() < 1e-2, "{ratio}");
    }

    #[test]
    fn decay_takes_from_weights_and_leaves_norms_and_biases() {
        let decayed = TuneRecipe { weight_decay: 0.5, ..plain() };
        let ((_, without, _), (_, with, _)) = (one_step(&plain(), 0.1), one_step(&decayed, 0.1));
        for name in ["fc.bias", "bn2.weight", "bn2.bias"] {
            assert_eq!(moved(&without, &with, name), 0.0, "{name}");
        }
        assert!(moved(&without, &with, "fc.weight") > 0.0 && moved(&without, &with, "conv1.weight") > 0.0);
    }

    #[test]
    fn clipping_bounds_the_whole_step() {
        let clipped = TuneRecipe { clip: 1e-3, ..plain() };
        let (before, after, _) = one_step(&clipped, 1.0);
        let (tail, _) = tail();
        let moved = tail
            .trainer
            .freeze()
            .trainable()
            .map(|name| (moved(&before, &after, name) / tail.rates[name]).powi(2));
        let length = moved.sum::<f64>().sqrt();
        assert!((length - 1e-3).abs() < 1e-5, "{length}");
    }

    #[test]
    fn a_batch_in_groups_takes_the_step_of_the_whole() {
        let (pool, recipe, rows) = (Pool::new(1), plain(), input(4, 4, 4, 3, 1));
        let group = |members: &[usize]| Group { members: members.to_vec(), rows: rows.rows(members) };
        let weights = [1.0, 3.0, 0.5];
        let step = |groups: Vec<Group>| {
            let (mut tail, mut params) = tail();
            let stepper = Stepper { recipe: &recipe, class_weights: Some(&weights), pool: &pool };
            let (mut optimizer, mut rng) = (optimizer(&recipe).unwrap(), Rng::new(1));
            let batch = (groups, &[0, 1, 2, 0][..]);
            let found = stepper.step(&mut tail, &mut params, &mut optimizer, batch, 0.1, &mut rng).unwrap();
            (params, found)
        };
        let (whole, parts) = (step(whole(rows.clone())), step(vec![group(&[2]), group(&[0, 3, 1])]));
        assert!((whole.1.loss - parts.1.loss).abs() < 1e-6 && whole.1.correct == parts.1.correct);
        for (name, value) in whole.0.iter() {
            let apart = headstart_testing::relative_l2(parts.0.get(name).unwrap().data(), value.data());
            assert!(apart < 1e-6, "{name}: {apart}");
        }
    }

    #[test]
    fn mixing_changes_the_step_and_draws_from_its_stream_alone() {
        let mixed = TuneRecipe { mixup: 0.4, ..plain() };
        let (a, b) = (one_step(&mixed, 0.1), one_step(&mixed, 0.1));
        assert_eq!(a.1, b.1);
        assert_ne!(a.2.loss, one_step(&plain(), 0.1).2.loss);
        let mut rng = Rng::new(3);
        let draws: Vec<f64> = (0..4000).map(|_| gamma(0.4, &mut rng)).collect();
        let mean = draws.iter().sum::<f64>() / 4000.0;
        assert!((mean - 0.4).abs() < 0.04, "the mean of Gamma(a) is a: {mean}");
    }

    #[test]
    fn a_batch_that_runs_away_moves_nothing() {
        let (mut tail, mut params) = tail();
        params.get_mut("fc.bias").unwrap().data_mut()[1] = f32::NAN;
        let before = params.clone();
        let (pool, recipe) = (Pool::new(1), plain());
        let stepper = Stepper { recipe: &recipe, class_weights: None, pool: &pool };
        let batch = (whole(input(2, 4, 4, 3, 1)), &[0, 1][..]);
        let mut optimizer = optimizer(&recipe).unwrap();
        let stepped =
            stepper.step(&mut tail, &mut params, &mut optimizer, batch, 0.1, &mut Rng::new(1)).unwrap();
        assert!(stepped.loss.is_nan());
        let bits = |p: &Params| -> Vec<u32> {
            p.iter().flat_map(|(_, t)| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>()).collect()
        };
        assert_eq!(bits(&params), bits(&before));
    }
}
