//! Whether fine-tuning a model is likely to pay on its data, and what it would cost on this machine.
//!
//! What it would gain is judged from the features that `train` has cached: how the head does on what it was fitted to and on
//! what it was not. What it would cost is measured: a few steps at each depth, on copies.

use super::fit::Fit;
use super::prepare::{Opened, Prepared};
use super::unfreeze::unfreeze;
use super::{CacheUse, Start, TuneOptions, TuneRecipe, range};
use crate::head::LinearHead;
use crate::metrics::correct;
use crate::{Error, Progress, Quiet, Session};
use headstart_data::{Kind, TextColumns};
use headstart_graph::{ParamKind, ParamSpec};
use headstart_tensor::Tensor;
use serde::Serialize;
use std::path::Path;

/// Images of a measured step.
const BATCH: usize = 16;
/// A head that is right on as much of the validation images leaves little to gain.
const NEARLY_ALL: f64 = 0.98;
/// Images of a class below which the layers that learn mostly learn the images.
const FEW: usize = 20;

/// Whether fine-tuning is likely to pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The features do not tell the classes apart.
    Likely,
    /// They do on the training images, less so on others.
    Maybe,
    /// There is little to gain, or little to learn from.
    Unlikely,
}

/// What training to a depth costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Depth {
    /// What `--unfreeze` would say: `none`, `last`, `all`.
    pub unfreeze: String,
    /// The stages that would be trained.
    pub stages: Vec<String>,
    /// Values of trained parameters.
    pub trainable_parameters: usize,
    /// Bytes of the activations at the cut; 0 where none are kept.
    pub cache_bytes: u64,
    /// Training images a second, from the cache where there is one.
    pub images_per_second: f64,
    /// Minutes of the default recipe: the activations, and all its epochs.
    pub minutes: f64,
}

/// What is known before any fine-tuning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// What is learned from.
    #[serde(skip)]
    pub kind: Kind,
    /// Whether it is likely to pay.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub reason: String,
    /// Share of the training images on which the head is right.
    pub train_accuracy: f64,
    /// Share of the validation images on which it is.
    pub val_accuracy: f64,
    /// Images of the smallest class.
    pub smallest_class: usize,
    /// What each depth costs.
    pub depths: Vec<Depth>,
}

/// Tells how long work comes along, and leaves its notes out.
struct WithoutNotes<'a>(&'a dyn Progress);

impl Progress for WithoutNotes<'_> {
    fn start(&self, what: &str, total: usize) {
        self.0.start(what, total);
    }
    fn advance(&self, n: usize) {
        self.0.advance(n);
    }
    fn finish(&self) {
        self.0.finish();
    }
    fn note(&self, _: &str) {}
}

/// Looks at `model` on `data`, validated on `val` if that is given, and measures the depths `last` and, if `all`, `all`.
///
/// # Errors
/// As fine-tuning would, before its first step.
pub fn advise(
    session: &Session,
    model: &Path,
    (data, columns): (&Path, &TextColumns),
    val: Option<&Path>,
    all: bool,
) -> Result<Advice, Error> {
    // The notes of opening the data were said by `train`.
    let without_notes = WithoutNotes(session.progress);
    let telling = Session { progress: &without_notes, ..*session };
    let quiet = Session { progress: &Quiet, ..*session };
    let mut options = TuneOptions::new(Start::Model(model.to_owned()), data, model);
    options.recipe = TuneRecipe::suited(options.start.kind(session.home));
    options.cache = CacheUse::Never;
    options.val = val.map(Path::to_owned);
    options.columns = columns.clone();
    let prepared = Prepared::new(&telling, &options, Opened::new(&telling, &options)?)?;
    let accuracy = |features: &Tensor, labels: &[usize]| -> Result<f64, Error> {
        let classifier = &prepared.opened.backbone.classifier;
        let part =
            |part: &str| prepared.params.get(&format!("{classifier}.{part}")).cloned().unwrap_or_default();
        let logits = LinearHead::new(part("weight"), part("bias"))?.logits(session.pool, features)?;
        Ok(correct(&logits, labels) as f64 / labels.len().max(1) as f64)
    };
    let [train, val] = &prepared.values;
    let train_accuracy = accuracy(train, &prepared.train.labels)?;
    let val_accuracy = accuracy(val, &prepared.val.labels)?;
    let mut counts = vec![0; prepared.opened.parts.classes.len()];
    prepared.train.labels.iter().for_each(|&label| counts[label] += 1);
    let smallest_class = counts.into_iter().min().unwrap_or(0);
    let kind = prepared.opened.parts.kind;
    let (verdict, reason) = judge(kind, train_accuracy, val_accuracy, smallest_class);
    let graph = &prepared.opened.graph;
    let classifier = graph.params().into_iter().filter(|p| stage(p, &prepared.opened.backbone.classifier));
    let mut depths = vec![Depth {
        unfreeze: "none".into(),
        stages: prepared.opened.unfrozen.stages.last().cloned().into_iter().collect(),
        trainable_parameters: classifier.map(|p| p.shape.len()).sum(),
        cache_bytes: (4 * (train.len() + val.len())) as u64,
        images_per_second: 0.0,
        minutes: 0.0,
    }];
    for name in if all { &["last", "all"][..] } else { &["last"] } {
        depths.push(depth(&quiet, &options, &prepared, name)?);
    }
    Ok(Advice { kind, verdict, reason, train_accuracy, val_accuracy, smallest_class, depths })
}

fn stage(param: &ParamSpec, classifier: &str) -> bool {
    param.name.strip_prefix(classifier).is_some_and(|rest| rest.starts_with('.'))
}

fn depth(session: &Session, options: &TuneOptions, prepared: &Prepared, name: &str) -> Result<Depth, Error> {
    let Opened { graph, backbone, .. } = &prepared.opened;
    let unfrozen = unfreeze(graph, &backbone.classifier, &[name.to_owned()])?;
    let recipe = &options.recipe;
    let fit = Fit {
        session,
        options,
        graph,
        unfrozen: &unfrozen,
        input: &backbone.input,
        train: &prepared.train,
        val: &prepared.val,
        class_weights: None,
    };
    let mut phase = fit.phase(recipe, &prepared.params, recipe.epochs)?;
    let batch = prepared.train.labels.len().min(BATCH);
    let cost = range::measure(&fit, &mut phase, &prepared.params, recipe, batch)?;
    let (train, val) = (prepared.train.labels.len() as f64, prepared.val.labels.len() as f64);
    let (rows, step) = (cost.rows / batch as f64, cost.step / batch as f64);
    let cut = graph.split(&unfrozen.freeze)?;
    let cached = cut.trunk.nodes().len() > 1;
    let values =
        phase.boundary.values(session, &prepared.train)? + phase.boundary.values(session, &prepared.val)?;
    // A validation image goes forward only: about a third of a step.
    let learning = train * step + val * step / 3.0;
    let epochs = recipe.epochs as f64;
    let seconds = match cached {
        true => (train + val) * rows + epochs * learning,
        false => epochs * ((train + val) * rows + learning),
    };
    let weights = graph.params().into_iter().filter(|p| p.kind == ParamKind::Weight);
    let trained = weights.filter(|p| unfrozen.freeze.is_trainable(&p.name)).map(|p| p.shape.len());
    Ok(Depth {
        unfreeze: name.to_owned(),
        trainable_parameters: trained.sum(),
        stages: unfrozen.stages,
        cache_bytes: if cached { 4 * values as u64 } else { 0 },
        images_per_second: 1.0 / if cached { step } else { rows + step }.max(1e-9),
        minutes: seconds / 60.0,
    })
}

/// The verdict and its reason.
fn judge(kind: Kind, train: f64, val: f64, smallest: usize) -> (Verdict, String) {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let many = kind.many();
    let (of_train, of_val) = (percent(train), percent(val));
    if val >= NEARLY_ALL {
        let reason =
            format!("the head is right on {of_val} of the validation {many}: there is little to gain");
        return (Verdict::Unlikely, reason);
    }
    if smallest < FEW {
        let reason = format!("a class has only {smallest} {many} to learn from: more {many} would help more");
        return (Verdict::Unlikely, reason);
    }
    if train < NEARLY_ALL {
        let reason = format!(
            "the features do not tell the classes apart even on the training {many} ({of_train} right, {of_val} of the others)"
        );
        return (Verdict::Likely, reason);
    }
    let reason = format!("the head knows its training {many} ({of_train}) better than others ({of_val})");
    (Verdict::Maybe, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_follows_from_what_the_head_can_do() {
        let verdict = |train, val, smallest| judge(Kind::Images, train, val, smallest).0;
        assert_eq!(verdict(1.0, 0.99, 500), Verdict::Unlikely);
        assert_eq!(verdict(0.85, 0.8, 500), Verdict::Likely);
        assert_eq!(verdict(0.85, 0.8, 5), Verdict::Unlikely);
        assert_eq!(verdict(1.0, 0.9, 100), Verdict::Maybe);
        assert!(
            judge(Kind::Texts, 0.853, 0.8, 50)
                .1
                .contains("training texts (85.3 % right, 80.0 % of the others")
        );
    }
}
