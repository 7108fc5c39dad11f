//! The main job: from a folder of labelled images to a model file and an honest accuracy.

use crate::artifact::{FIRST_VERSION, Manifest, Recipe, VERSION, Validation, whole_fingerprint};
use crate::doctor::brief;
use crate::evaluate::labels;
use crate::fit::{Epoch, fit_epochs};
use crate::head::{ClassWeights, LogisticRegression};
use crate::metrics::{Evaluation, majority_accuracy};
use crate::parts::{Parts, Source, data_hash, strict, warn};
use crate::precision::{self, PrecisionPart};
use crate::{Artifact, Backbone, Error, Session, SkippedFile, Solver, TrainOptions, extract};
use headstart_data::{Decode, Item, Picture};
use headstart_graph::Precision;
use headstart_models::{Pretrained, fingerprint};
use serde::Serialize;
use std::time::Instant;

/// What `train` reports.
#[derive(Debug, Clone, Serialize)]
pub struct TrainReport {
    /// `arch.tag`.
    pub backbone: String,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// The training images.
    pub train: TrainPart,
    /// The validation images and the result on them.
    pub val: ValPart,
    /// What answering the most frequent training class would give on the validation images.
    pub majority_accuracy: f64,
    /// Precision of the trunk.
    pub precision: PrecisionPart,
    /// Where the features came from.
    pub features: FeaturePart,
    /// How the head was fitted.
    pub head: HeadPart,
    /// How long it took.
    pub seconds: Seconds,
    /// The model file.
    pub model: String,
    /// What was left out, and why.
    pub skipped: Vec<SkippedFile>,
}

/// The training images.
#[derive(Debug, Clone, Serialize)]
pub struct TrainPart {
    /// Images.
    pub n: usize,
}

/// The validation images and the result on them.
#[derive(Debug, Clone, Serialize)]
pub struct ValPart {
    /// Images.
    pub n: usize,
    /// Share that was right.
    pub accuracy: f64,
    /// Its 95 % Wilson interval.
    pub accuracy_ci95: [f64; 2],
    /// Mean cross-entropy.
    pub loss: f64,
}

/// Where the features came from.
#[derive(Debug, Clone, Serialize)]
pub struct FeaturePart {
    /// Views that went through the network.
    pub computed: usize,
    /// Views that were in the cache.
    pub cached: usize,
    /// Computed views a second, over the whole extraction.
    pub images_per_second: f64,
}

/// How the head was fitted.
#[derive(Debug, Clone, Serialize)]
pub struct HeadPart {
    /// The L2 strength, where it was fitted to convergence.
    pub l2: Option<f64>,
    /// Whether it converged; `null` for a fixed number of epochs.
    pub converged: Option<bool>,
    /// The epochs of the lesson's way.
    pub epochs: Vec<Epoch>,
}

/// Wall-clock seconds.
#[derive(Debug, Clone, Serialize)]
pub struct Seconds {
    /// All of it.
    pub total: f64,
    /// Feature extraction.
    pub features: f64,
    /// Fitting the head.
    pub head: f64,
}

/// Trains a classifier on the data and writes the model.
///
/// # Errors
/// Where settings, data or weights are not usable, or the run was interrupted. The model file is written last,
/// whole or not at all.
pub fn train(session: &Session, options: &TrainOptions) -> Result<TrainReport, Error> {
    let started = Instant::now();
    options.check()?;
    let pretrained = match &options.weights {
        None => Pretrained::open(&options.backbone, session.home)?,
        Some(file) => Pretrained::from_file(&options.backbone, file)?,
    };
    let (mut backbone, _, _) = Backbone::of(pretrained)?;
    backbone.preprocess.decode = options.decode;
    let source = Source {
        data: &options.data,
        val: options.val.as_deref(),
        val_fraction: options.val_fraction,
        seed: options.seed,
        exclude: options.exclude.as_deref(),
    };
    let mut parts = Parts::open(session, &source, None)?;
    strict(options.strict, &parts.skipped)?;
    let class_weights = options.class_weights.resolve(&parts.classes)?;
    let classes = parts.classes.len();
    let precision =
        precision::choose(session, &mut backbone, options.precision, &parts.train, classes, options.seed)?;

    let of = |items: &[Item], views, what| {
        let pictures: Vec<&Picture> = items.iter().map(|i| &i.picture).collect();
        extract(session, &backbone, &pictures, views, options.seed, what)
    };
    let train = of(&parts.train, options.views, "training features")?;
    let val = of(&parts.val, 1, "validation features")?;
    for features in [&train, &val] {
        parts.skipped.extend(features.skipped.iter().map(SkippedFile::from));
    }
    strict(options.strict, &parts.skipped)?;
    let (train_labels, val_labels) = (labels(&parts.train, &train.kept), labels(&parts.val, &val.kept));
    if let Some(class) = (0..classes).find(|c| !train_labels.contains(c)) {
        return Err(Error::NothingReadable { what: format!("the class \"{}\"", parts.classes[class]) });
    }
    if val_labels.is_empty() {
        return Err(Error::NothingReadable { what: "the validation data".into() });
    }

    warn(session, &parts.classes, (&train, &train_labels), (&val, &val_labels));
    brief(session, &options.data, &parts, &train_labels);

    let fitting = Instant::now();
    let targets: Vec<usize> =
        train_labels.iter().flat_map(|&label| std::iter::repeat_n(label, options.views)).collect();
    let weights = match &class_weights {
        ClassWeights::None => None,
        other => Some(other.resolve(&count(&targets, classes))?),
    };
    let (head, report) = match &options.solver {
        Solver::Convergence => {
            let (seed, views) = (options.seed, options.views);
            let settings = LogisticRegression { class_weights, seed, views, ..LogisticRegression::default() };
            let fit = settings.fit(&train.values, &targets, classes, session.pool, session.interrupt)?;
            (fit.head, HeadPart { l2: Some(fit.l2), converged: Some(fit.converged), epochs: Vec::new() })
        }
        Solver::Epochs(epochs) => {
            let weights: Option<Vec<f32>> = weights.as_ref().map(|w| w.iter().map(|&v| v as f32).collect());
            let weights = weights.as_deref();
            let (head, epochs) =
                fit_epochs(session, epochs, &train.values, &targets, weights, classes, options.seed)?;
            (head, HeadPart { l2: None, converged: None, epochs })
        }
    };
    let head_seconds = fitting.elapsed().as_secs_f64();
    let after = fingerprint(backbone.trunk_graph(), &backbone.params);
    if after != backbone.fingerprint {
        return Err(Error::FrozenMoved { before: backbone.fingerprint, after });
    }
    let logits = head.logits(session.pool, &val.values)?;
    let evaluation = Evaluation::new(&logits, &val_labels, &parts.classes)?;
    let val_part = ValPart {
        n: evaluation.n,
        accuracy: evaluation.accuracy,
        accuracy_ci95: evaluation.accuracy_ci95,
        loss: evaluation.loss,
    };

    let exact = precision.chosen == Precision::F32 && options.decode == Decode::Exact;
    let manifest = Manifest {
        version: if exact { FIRST_VERSION } else { VERSION },
        headstart: env!("CARGO_PKG_VERSION").to_owned(),
        labels: parts.classes.clone(),
        preprocess: backbone.preprocess.clone(),
        backbone: backbone.name.clone(),
        graph: backbone.graph.with_classes(&backbone.classifier, classes)?,
        classifier: backbone.classifier.clone(),
        precision: precision.chosen,
        calibration: backbone.calibration.clone(),
        trunk_sha256: backbone.fingerprint.clone(),
        weights_sha256: String::new(),
        slim: options.slim,
        recipe: Recipe::of(options, parts.val_fraction, weights, report.l2),
        data_sha256: data_hash(&train, &train_labels),
        train_images: train_labels.len(),
        validation: Validation {
            n: val_part.n,
            accuracy: val_part.accuracy,
            accuracy_ci95: val_part.accuracy_ci95,
        },
        fine_tuned: None,
    };
    let weights_sha256 = whole_fingerprint(&manifest.graph, &manifest.classifier, &backbone.params, &head);
    let name = backbone.name.clone();
    let artifact = Artifact { manifest: Manifest { weights_sha256, ..manifest }, backbone, head };
    artifact.save(&options.output)?;

    let seconds = train.seconds + val.seconds;
    let computed = train.computed + val.computed;
    Ok(TrainReport {
        backbone: name,
        majority_accuracy: majority_accuracy(&train_labels, &val_labels).unwrap_or(0.0),
        classes: parts.classes,
        train: TrainPart { n: train_labels.len() },
        val: val_part,
        precision,
        features: FeaturePart {
            computed,
            cached: train.cached + val.cached,
            images_per_second: computed as f64 / seconds.max(1e-9),
        },
        head: report,
        seconds: Seconds { total: started.elapsed().as_secs_f64(), features: seconds, head: head_seconds },
        model: options.output.display().to_string(),
        skipped: parts.skipped,
    })
}

fn count(targets: &[usize], classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    targets.iter().for_each(|&t| counts[t] += 1);
    counts
}
