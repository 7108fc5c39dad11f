//! What was done, in plain words: from the reports of training, fine-tuning and evaluation to a [`Page`].

use super::words::weighed;
use super::{Curve, Look, Page, Plot, percent, plural, plural_classes};
use crate::artifact::{Manifest, Recipe};
use crate::fine_tune::Start;
use crate::input::Input;
use crate::metrics::Evaluation;
use crate::{
    Artifact, Classifier, Error, EvalReport, Session, Solver, TrainOptions, TrainReport, TuneOptions,
    TuneReport,
};
use headstart_data::Kind;
use headstart_kernels::{Isa, REVISION};
use std::path::Path;

impl Page {
    /// Of a training, whose model is written. `command` repeats it.
    ///
    /// # Errors
    /// Where the model cannot be read again.
    pub fn of_training(
        session: &Session,
        options: &TrainOptions,
        report: &TrainReport,
        command: &str,
    ) -> Result<Page, Error> {
        let (classifier, manifest) = written(session, &options.output)?;
        let loss = Curve {
            name: "training",
            first: 1,
            values: report.head.epochs.iter().map(|e| e.train_loss).collect(),
        };
        let plot = Plot { title: "Loss", share: false, curves: vec![loss], marked: None };
        let train = report.kind.count(report.train.n);
        let (others, sees) = match report.kind {
            Kind::Images => ("pictures", "sees in"),
            Kind::Texts => ("texts", "makes of"),
        };
        let how = format!(
            "The network {}, trained by others on other {others}, was kept as it is. A linear classifier was fitted to what \
             it {sees} {train} of {} in {}.",
            report.backbone,
            plural_classes(report.classes.len()),
            options.data.display()
        );
        let held_out = held_out(manifest.recipe.val_fraction, options.seed);
        let lead =
            [vec![how], found(&report.val, "validation", &held_out, report.kind), resampled(report)].concat();
        Ok(Page {
            kind: report.kind,
            title: format!("Training on {}", name(&options.data)),
            lead,
            labels: report.classes.clone(),
            evaluation: report.val.clone(),
            baselines: vec![
                ("Nearest class mean".into(), report.centroid_accuracy),
                ("Most frequent class".into(), report.majority_accuracy),
            ],
            looks: Look::into(session, &classifier, &report.answers, &report.pictures)?,
            words: weighed(session, &classifier, &report.answers, &report.pictures)?,
            answers: report.answers.clone(),
            pictures: report.pictures.clone(),
            plots: if report.head.epochs.is_empty() { Vec::new() } else { vec![plot] },
            findings: Some(report.findings.clone()),
            suspected: report.suspected.clone(),
            skipped: report.skipped.clone(),
            facts: facts(&report.model, Some(&manifest), &classifier),
            recipe: None,
            command: command.to_owned(),
        })
    }

    /// Of a fine-tuning, whose model is written. `command` repeats it.
    ///
    /// # Errors
    /// Where the model cannot be read again.
    pub fn of_fine_tuning(
        session: &Session,
        options: &TuneOptions,
        report: &TuneReport,
        command: &str,
    ) -> Result<Page, Error> {
        let (classifier, manifest) = written(session, &options.output)?;
        let start = match &options.start {
            Start::Model(path) => path.display().to_string(),
            Start::Backbone(name) => name.clone(),
        };
        let how = format!(
            "{start} was trained on: {} ({} parameters) learned from {} of {} in {}, for {} by the recipe {}. The other {} \
             parameters are unchanged.",
            report.unfrozen.join(", "),
            report.trainable_parameters,
            report.kind.count(report.train.n),
            plural_classes(report.classes.len()),
            options.data.display(),
            plural(report.epochs.len(), "epoch"),
            report.recipe.name,
            report.frozen.parameters,
        );
        let chosen = match report.best_epoch {
            0 => "No epoch was better on them than the start, so the model is that of the start.".to_owned(),
            best => format!(
                "Epoch {best} was the best on these {many}, and they chose it: that flatters the accuracy. `headstart eval` \
                 on other {many} says more.",
                many = report.kind.many()
            ),
        };
        let lead =
            [vec![how], found(&report.val, "validation", " for validation", report.kind), vec![chosen]]
                .concat();
        Ok(Page {
            kind: report.kind,
            title: format!("Fine-tuning on {}", name(&options.data)),
            lead,
            labels: report.classes.clone(),
            evaluation: report.val.clone(),
            baselines: vec![
                ("Before the first step".into(), report.start.accuracy),
                ("Nearest class mean".into(), report.centroid_accuracy),
                ("Most frequent class".into(), report.majority_accuracy),
            ],
            looks: Look::into(session, &classifier, &report.answers, &report.pictures)?,
            words: weighed(session, &classifier, &report.answers, &report.pictures)?,
            answers: report.answers.clone(),
            pictures: report.pictures.clone(),
            plots: tune_plots(report),
            findings: None,
            suspected: Vec::new(),
            skipped: report.skipped.clone(),
            facts: facts(&report.model, Some(&manifest), &classifier),
            recipe: Some(report.recipe.to_toml()),
            command: command.to_owned(),
        })
    }

    /// Of an evaluation of `classifier`, opened as `model`, on the data at `data`. `command` repeats it.
    ///
    /// # Errors
    /// Where the network cannot be run.
    pub fn of_evaluation(
        session: &Session,
        (model, classifier): (&str, &Classifier),
        data: &Path,
        report: &EvalReport,
        command: &str,
    ) -> Result<Page, Error> {
        // A folder without parts is measured as a whole.
        let part = if report.split == "train" { String::new() } else { format!(" ({}/)", report.split) };
        let how = format!(
            "{model} ({}) was asked about the {} of {}{part}.",
            classifier.backbone.name,
            report.kind.many(),
            data.display(),
        );
        let manifest = Artifact::manifest_of(Path::new(model)).ok();
        Ok(Page {
            kind: report.kind,
            title: format!("{} on {}", name(Path::new(model)), name(data)),
            lead: [vec![how], found(&report.evaluation, "such", "", report.kind)].concat(),
            labels: classifier.labels().to_vec(),
            evaluation: report.evaluation.clone(),
            baselines: vec![("Most frequent class".into(), report.majority_accuracy)],
            looks: Look::into(session, classifier, &report.answers, &report.pictures)?,
            words: weighed(session, classifier, &report.answers, &report.pictures)?,
            answers: report.answers.clone(),
            pictures: report.pictures.clone(),
            plots: Vec::new(),
            findings: None,
            suspected: Vec::new(),
            skipped: report.skipped.clone(),
            facts: facts(model, manifest.as_ref(), classifier),
            recipe: None,
            command: command.to_owned(),
        })
    }
}

/// The model as it was written: what is shown of it is what others will load.
pub(super) fn written(session: &Session, model: &Path) -> Result<(Classifier, Manifest), Error> {
    let manifest = Artifact::manifest_of(model)?;
    // A path without a folder could be taken for the name of a network.
    let path = if model.is_absolute() { model.to_owned() } else { Path::new(".").join(model) };
    Ok((Classifier::open(&path.to_string_lossy(), session.home)?, manifest))
}

/// What a path ends in.
pub(super) fn name(path: &Path) -> String {
    let end = std::fs::canonicalize(path).ok();
    let end = end.as_deref().unwrap_or(path).file_name();
    end.map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

fn held_out(val_fraction: Option<f64>, seed: u64) -> String {
    match val_fraction {
        Some(share) => format!(" for validation ({} of the data, held out by seed {seed})", percent(share)),
        None => " for validation (those the data sets apart)".to_owned(),
    }
}

/// What the measures say, in words.
fn found(e: &Evaluation, split: &str, which: &str, kind: Kind) -> Vec<String> {
    let [low, high] = e.accuracy_ci95.map(percent);
    let right = e.confusion.correct();
    let what = format!(
        "Of {}{which} it answered {right} right: {}. For other {} of the same kind the accuracy lies, with \
         95 % confidence, between {low} and {high}.",
        kind.count(e.n),
        percent(e.accuracy),
        kind.many()
    );
    let doubt = e.doubt(split, kind).map(|doubt| {
        let mut letters = doubt.chars();
        letters
            .next()
            .map(|c| c.to_uppercase().collect::<String>() + letters.as_str() + ".")
            .unwrap_or_default()
    });
    std::iter::once(what).chain(doubt).collect()
}

/// What other parts of the same images say, where that was asked for.
fn resampled(report: &TrainReport) -> Vec<String> {
    let folds = report.folds.as_ref().map(|f| {
        let [low, high] = f.accuracy_ci95.map(percent);
        let (right, k, n) = (percent(f.accuracy), f.folds.len(), report.kind.count(f.n));
        format!("With each of {n} held out once, in {k} folds, {right} were right ({low} to {high}).")
    });
    let repeats = report.repeats.as_ref().map(|r| {
        let (n, mean, deviation) = (r.seeds.len(), percent(r.mean), 100.0 * r.deviation);
        format!("Over {n} random splits the accuracy is {mean} on average, with a standard deviation of {deviation:.1} points.")
    });
    folds.into_iter().chain(repeats).collect()
}

fn tune_plots(report: &TuneReport) -> Vec<Plot> {
    if report.epochs.is_empty() {
        return Vec::new();
    }
    let curve = |name, start: Option<f64>, value: fn(&crate::fine_tune::TuneEpoch) -> f64| Curve {
        name,
        first: usize::from(start.is_none()),
        values: start.into_iter().chain(report.epochs.iter().map(value)).collect(),
    };
    let marked = Some((report.best_epoch, "kept"));
    let (loss, accuracy) = (Some(report.start.loss), Some(report.start.accuracy));
    let losses = vec![curve("training", None, |e| e.train_loss), curve("validation", loss, |e| e.val_loss)];
    let shares = vec![
        curve("training", None, |e| e.train_accuracy),
        curve("validation", accuracy, |e| e.val_accuracy),
    ];
    vec![
        Plot { title: "Loss", share: false, curves: losses, marked },
        Plot { title: "Accuracy", share: true, curves: shares, marked },
    ]
}

pub(super) fn facts(
    model: &str,
    manifest: Option<&Manifest>,
    classifier: &Classifier,
) -> Vec<(String, String)> {
    let backbone = &classifier.backbone;
    let made = match &backbone.input {
        Input::Image(p) => (
            "Images".to_owned(),
            format!("shorter side to {} pixels, the middle {} x {}", p.resize, p.crop, p.crop),
        ),
        Input::Text(t) => ("Texts".to_owned(), format!("the first {} tokens", t.most())),
    };
    let mut facts = vec![
        ("Model".to_owned(), model.to_owned()),
        ("Network".to_owned(), backbone.name.clone()),
        made,
        ("Precision".to_owned(), backbone.trunk().precision().to_string()),
    ];
    let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
    if let Some(m) = manifest {
        let seed = match (&m.adapted, &m.fine_tuned) {
            (Some(adapted), _) => adapted.seed,
            (None, Some(tuned)) => tuned.seed,
            (None, None) => m.recipe.seed,
        };
        if let Some(adapted) = &m.adapted {
            let trained = match adapted.unfrozen.as_slice() {
                [] => String::new(),
                stages => format!("; trained: {}", stages.join(", ")),
            };
            fact("Adapted by", format!("{}{trained}", adapted.method));
            fact("Adapted from the weights", adapted.started_from.clone());
            fact("SHA-256 of the target", adapted.target_sha256.clone());
        } else {
            fact("Classifier", head(&m.recipe));
        }
        fact("Seed", seed.to_string());
        fact("Trained with", format!("headstart {}", m.headstart));
        if let Some(t) = m.temperature {
            fact("Temperature", format!("{t:.3}, which the classifier's outputs are divided by"));
        }
        if let Some(unknown) = &m.unknown {
            let kept =
                plural(unknown.images, if m.adapted.is_some() { "target image" } else { "validation image" });
            fact(
                "Unknown images",
                format!("told by a threshold that keeps 95\u{a0}% of {kept} (`predict --reject`)"),
            );
        }
        fact("SHA-256 of the weights", m.weights_sha256.clone());
        fact("SHA-256 of the training data", m.data_sha256.clone());
    }
    fact("SHA-256 of the network before the classifier", backbone.fingerprint.clone());
    let version = format!("headstart {}, kernels {REVISION}, {}", env!("CARGO_PKG_VERSION"), Isa::current());
    fact("This page by", version);
    facts
}

fn head(recipe: &Recipe) -> String {
    let weights = match &recipe.class_weights {
        None => "",
        Some(_) => ", classes weighted",
    };
    let views = match recipe.views {
        1 => String::new(),
        n => format!(", {n} views of each image"),
    };
    match (&recipe.solver, recipe.l2) {
        (Solver::Convergence, Some(l2)) => format!("logistic regression, L2 {l2:.3e}{weights}{views}"),
        (Solver::Convergence, None) => format!("logistic regression{weights}{views}"),
        (Solver::Epochs(e), _) => format!(
            "{} epochs of {}, rate {}, batches of {}, momentum {}, weight decay {}{weights}{views}",
            e.epochs,
            format!("{:?}", e.optimizer).to_lowercase(),
            e.lr,
            e.batch_size,
            e.momentum,
            e.weight_decay
        ),
    }
}
