//! The main job: from a folder of labelled images to a model file and an honest accuracy.

mod doubts;
mod report;
mod resample;

pub use report::TrainReport;
pub(crate) use report::{FeaturePart, HeadPart, Seconds, TrainPart};

use self::doubts::doubts;
use self::resample::{resamplable, resample};
use crate::artifact::{FIRST_VERSION, Manifest, Recipe, TextPart, Validation, whole_fingerprint};
use crate::calibration::calibrate;
use crate::doctor::brief;
use crate::evaluate::labels;
use crate::fit::fit_epochs;
use crate::head::{ClassWeights, LinearHead, LogisticRegression, nearest_centroid};
use crate::metrics::{Answer, Evaluation, correct, majority_accuracy};
use crate::parts::{Parts, Source, data_hash, strict, warn};
use crate::precision;
use crate::unknown::{self, Unknown};
use crate::{Artifact, Backbone, Error, Session, SkippedFile, Solver, TrainOptions, extract};
use headstart_data::{Item, Picture};
use headstart_models::fingerprint;
use headstart_tensor::Tensor;
use std::time::Instant;

/// Trains a classifier on the data and writes the model.
///
/// # Errors
/// Where settings, data or weights are not usable, or the run was interrupted. The model file is written last,
/// whole or not at all.
pub fn train(session: &Session, options: &TrainOptions) -> Result<TrainReport, Error> {
    let started = Instant::now();
    options.check()?;
    let mut backbone = Backbone::open(session, &options.backbone, options.weights.as_deref(), options.size)?;
    backbone.set_decode(options.decode);
    if options.views > 1 {
        backbone.input.preprocess("--views")?;
    }
    if options.slim {
        backbone.input.preprocess("--slim")?;
    }
    let source = Source {
        data: &options.data,
        val: options.val.as_deref(),
        val_fraction: options.val_fraction,
        seed: options.seed,
        group_by: options.group_by.as_deref(),
        exclude: options.exclude.as_deref(),
        columns: &options.columns,
    };
    let mut parts = Parts::open(session, &source, &backbone, None)?;
    strict(options.strict, &parts.skipped)?;
    resamplable(options, &parts)?;
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

    warn(session, (parts.kind, &parts.classes), (&train, &train_labels), (&val, &val_labels));
    brief(session, &options.data, &parts, &train_labels);

    let fitting = Instant::now();
    let targets: Vec<usize> =
        train_labels.iter().flat_map(|&label| std::iter::repeat_n(label, options.views)).collect();
    let weights = match &class_weights {
        ClassWeights::None => None,
        other => Some(other.resolve(&count(&targets, classes))?),
    };
    let (head, report) =
        fit_head(session, options, &class_weights, (&train.values, &targets), classes, options.seed)?;
    let head_seconds = fitting.elapsed().as_secs_f64();
    let after = fingerprint(backbone.trunk_graph(), &backbone.params);
    if after != backbone.fingerprint {
        return Err(Error::FrozenMoved { before: backbone.fingerprint, after });
    }
    let logits = head.logits(session.pool, &val.values)?;
    let (unknown, directions) = unknown(session, &train.values, &val.values, &logits, options.seed)?;
    let (calibration, logits) = calibrate(&logits, &val_labels, options.seed)?;
    let evaluation = Evaluation::new(&logits, &val_labels, &parts.classes)?;
    let (folds, repeats) = resample(
        session,
        options,
        &parts,
        &class_weights,
        (&train, &train_labels),
        (&val, &val_labels),
        evaluation.accuracy,
    )?;
    let pictures: Vec<Picture> = val.kept.iter().map(|&i| parts.val[i].picture.clone()).collect();
    let answers = Answer::of(&logits, &val_labels, pictures.iter().map(Picture::path));
    let (findings, suspected) = doubts(session, &parts, options.views, (&train, &val), &answers)?;
    let centroids = nearest_centroid(session.pool, &train.values, &targets, classes)?;
    let centroid_right = correct(&centroids.logits(session.pool, &val.values)?, &val_labels);

    let manifest = Manifest {
        version: FIRST_VERSION,
        headstart: env!("CARGO_PKG_VERSION").to_owned(),
        labels: parts.classes.clone(),
        preprocess: backbone.input.preprocess("train").ok().cloned(),
        text: TextPart::of(&backbone.input),
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
        validation: Validation::of(&evaluation),
        fine_tuned: None,
        temperature: calibration.temperature,
        unknown: unknown.clone(),
        adapted: None,
    };
    let weights_sha256 = whole_fingerprint(&manifest.graph, &manifest.classifier, &backbone.params, &head);
    let name = backbone.name.clone();
    let manifest = Manifest { weights_sha256, ..manifest }.with_version();
    let artifact = Artifact { manifest, backbone, head, directions };
    artifact.save(&options.output)?;

    let seconds = train.seconds + val.seconds;
    let computed = train.computed + val.computed;
    Ok(TrainReport {
        kind: parts.kind,
        backbone: name,
        majority_accuracy: majority_accuracy(&train_labels, &val_labels).unwrap_or(0.0),
        centroid_accuracy: centroid_right as f64 / evaluation.n as f64,
        classes: parts.classes,
        train: TrainPart { n: train_labels.len() },
        val: evaluation,
        calibration,
        unknown,
        folds,
        repeats,
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
        answers,
        pictures,
        findings,
        suspected,
    })
}

/// A head for features `[n, d]` of images of those classes, by the solver of `options`.
fn fit_head(
    session: &Session,
    options: &TrainOptions,
    class_weights: &ClassWeights,
    (values, targets): (&Tensor, &[usize]),
    classes: usize,
    seed: u64,
) -> Result<(LinearHead, HeadPart), Error> {
    match &options.solver {
        Solver::Convergence => {
            let (class_weights, views) = (class_weights.clone(), options.views);
            let settings = LogisticRegression { class_weights, seed, views, ..LogisticRegression::default() };
            let fit = settings.fit(values, targets, classes, session.pool, session.interrupt)?;
            let part = HeadPart { l2: Some(fit.l2), converged: Some(fit.converged), epochs: Vec::new() };
            Ok((fit.head, part))
        }
        Solver::Epochs(epochs) => {
            let weights = match class_weights {
                ClassWeights::None => None,
                other => Some(other.resolve(&count(targets, classes))?),
            };
            let weights: Option<Vec<f32>> = weights.map(|w| w.iter().map(|&v| v as f32).collect());
            let (head, epochs) =
                fit_epochs(session, epochs, values, targets, weights.as_deref(), classes, seed)?;
            Ok((head, HeadPart { l2: None, converged: None, epochs }))
        }
    }
}

/// The threshold for unknown images from the validation images' features and raw logits, and the training features'
/// directions where there is one.
fn unknown(
    session: &Session,
    train: &Tensor,
    val: &Tensor,
    logits: &Tensor,
    seed: u64,
) -> Result<(Option<Unknown>, Option<Tensor>), Error> {
    if val.dims()[0] < unknown::FEWEST {
        return Ok((None, None));
    }
    let directions = unknown::directions(session.pool, train, seed)?;
    let residuals = unknown::residuals(session.pool, &directions, val)?;
    let directions_sha256 = Some(unknown::fingerprint(&directions)?);
    let found = Unknown::fit(&unknown::energies(logits), Some(&residuals));
    Ok((found.map(|found| Unknown { directions_sha256, ..found }), Some(directions)))
}

fn count(targets: &[usize], classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    targets.iter().for_each(|&t| counts[t] += 1);
    counts
}
