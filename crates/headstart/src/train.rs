//! The main job: from a folder of labelled images to a model file and an honest accuracy.

use crate::artifact::{FIRST_VERSION, Manifest, Recipe, Validation, whole_fingerprint};
use crate::calibration::{CalibrationPart, calibrate};
use crate::cross_validation::{CrossValidation, Material, Repeats, enough};
use crate::doctor::{self, Findings, Image, Images, brief};
use crate::evaluate::labels;
use crate::fit::{Epoch, fit_epochs};
use crate::head::{ClassWeights, LinearHead, LogisticRegression, nearest_centroid};
use crate::metrics::{Answer, Evaluation, correct, majority_accuracy};
use crate::parts::{Parts, Source, data_hash, strict, warn};
use crate::precision::{self, PrecisionPart};
use crate::unknown::{self, Unknown};
use crate::{Artifact, Backbone, Error, Features, Session, SkippedFile, Solver, TrainOptions, extract};
use headstart_data::{Item, Picture};
use headstart_models::{Pretrained, fingerprint};
use headstart_tensor::Tensor;
use serde::Serialize;
use std::time::Instant;

/// Suspects whose images are kept to be shown.
const SUSPECTED: usize = 24;

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
    pub val: Evaluation,
    /// The temperature, and what it does to the probabilities. Those of `val` are after it.
    pub calibration: CalibrationPart,
    /// How images of no known class are told; `null` where the validation images are too few to say.
    pub unknown: Option<Unknown>,
    /// Every image held out once (`--folds`), where that was asked for.
    pub folds: Option<CrossValidation>,
    /// The spread over several splits (`--repeats`), where that was asked for.
    pub repeats: Option<Repeats>,
    /// What answering the most frequent training class would give on the validation images.
    pub majority_accuracy: f64,
    /// What the nearest class mean of the same features, standardised, would give on them.
    pub centroid_accuracy: f64,
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
    /// The answer for every validation image; not part of the JSON.
    #[serde(skip)]
    pub answers: Vec<Answer>,
    /// The images of `answers`, in their order; not part of the JSON.
    #[serde(skip)]
    pub pictures: Vec<Picture>,
    /// What is doubtful in the images; not part of the JSON, `doctor` has one.
    #[serde(skip)]
    pub findings: Findings,
    /// The images of the first of its suspects, for the eye; not part of the JSON.
    #[serde(skip)]
    pub suspected: Vec<Picture>,
}

/// The training images.
#[derive(Debug, Clone, Serialize)]
pub struct TrainPart {
    /// Images.
    pub n: usize,
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
        group_by: options.group_by.as_deref(),
        exclude: options.exclude.as_deref(),
    };
    let mut parts = Parts::open(session, &source, None)?;
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

    warn(session, &parts.classes, (&train, &train_labels), (&val, &val_labels));
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
        validation: Validation::of(&evaluation),
        fine_tuned: None,
        temperature: calibration.temperature,
        unknown: unknown.clone(),
    };
    let weights_sha256 = whole_fingerprint(&manifest.graph, &manifest.classifier, &backbone.params, &head);
    let name = backbone.name.clone();
    let manifest = Manifest { weights_sha256, ..manifest }.with_version();
    let artifact = Artifact { manifest, backbone, head, directions };
    artifact.save(&options.output)?;

    let seconds = train.seconds + val.seconds;
    let computed = train.computed + val.computed;
    Ok(TrainReport {
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

/// What the doctor sees of the images, and those of the first suspects; says how much it is.
fn doubts(
    session: &Session,
    parts: &Parts,
    views: usize,
    (train, val): (&Features, &Features),
    answers: &[Answer],
) -> Result<(Findings, Vec<Picture>), Error> {
    let of = |items: &[Item], features: &Features, split| {
        let image = |&i: &usize| {
            let item: &Item = &items[i];
            (item.picture.clone(), item.label, split)
        };
        features.kept.iter().map(image).collect::<Vec<(Picture, usize, &'static str)>>()
    };
    let all = [of(&parts.train, train, "train"), of(&parts.val, val, "val")].concat();
    let images = all.iter().map(|(p, label, split)| Image { path: p.path(), label: Some(*label), split });
    let images = Images { images: images.collect(), classes: &parts.classes };
    let hashes = [&train.hashes[..], &val.hashes].concat();
    let d = train.values.row_len();
    // Of several views the first is the centre.
    let centres = train.values.data().chunks_exact(d * views).flat_map(|views| &views[..d]).copied();
    let values = Tensor::new([all.len(), d], centres.chain(val.values.data().iter().copied()).collect())?;
    let (found, suspects) = doctor::findings(session, &images, &hashes, &values, answers)?;
    let suspected = suspects.into_iter().take(SUSPECTED).map(|i| all[i].0.clone()).collect();
    if !found.suspects.is_empty() || !found.duplicates.is_empty() {
        session.progress.note(&format!(
            "labels that look wrong: {}; groups of images that are the same or nearly so: {}; of these across the split: \
             {} validation images. The report shows them",
            found.suspects.len(),
            found.duplicates.len(),
            found.leaks.len()
        ));
    }
    Ok((found, suspected))
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

/// Whether `parts` allow the folds and repeats that are asked for: to be known before any work.
///
/// # Errors
/// Where they do not.
fn resamplable(options: &TrainOptions, parts: &Parts) -> Result<(), Error> {
    if options.repeats > 1 && parts.val_fraction.is_none() {
        let (found, expected) = ("given with validation data of its own", "data that is split here");
        return Err(Error::Setting { name: "--repeats", found: found.to_owned(), expected });
    }
    let Some(k) = options.folds else { return Ok(()) };
    let val = if parts.val_fraction.is_some() { &parts.val[..] } else { &[] };
    let labels: Vec<usize> = parts.train.iter().chain(val).map(|item| item.label).collect();
    enough(k, &labels, &parts.classes)
}

/// What folds and repeated splits say, where they were asked for. They take all images that were split here; where
/// validation data was set apart, folds take the training images.
fn resample(
    session: &Session,
    options: &TrainOptions,
    parts: &Parts,
    class_weights: &ClassWeights,
    (train, train_labels): (&Features, &[usize]),
    (val, val_labels): (&Features, &[usize]),
    accuracy: f64,
) -> Result<(Option<CrossValidation>, Option<Repeats>), Error> {
    if options.folds.is_none() && options.repeats == 1 {
        return Ok((None, None));
    }
    let groups = parts.groups.as_ref().map(|[a, b]| (a.at(&train.kept), b));
    let fit = |values: &Tensor, targets: &[usize], seed: u64| {
        let (head, _) =
            fit_head(session, options, class_weights, (values, targets), parts.classes.len(), seed)?;
        Ok(head)
    };
    let material = match parts.val_fraction {
        None => Material {
            values: train.values.clone(),
            labels: train_labels.to_vec(),
            classes: &parts.classes,
            groups: groups.map(|(a, _)| a),
            fit: &fit,
        },
        Some(_) => Material {
            values: Tensor::new(
                [train_labels.len() + val_labels.len(), train.values.row_len()],
                [train.values.data(), val.values.data()].concat(),
            )?,
            labels: [train_labels, val_labels].concat(),
            classes: &parts.classes,
            groups: groups.map(|(a, b)| a.and(&b.at(&val.kept))),
            fit: &fit,
        },
    };
    let folds = match options.folds {
        Some(k) => Some(material.cross_validate(session, k, options.seed)?),
        None => None,
    };
    let repeats = match (options.repeats, parts.val_fraction) {
        (1, _) | (_, None) => None,
        (n, Some(fraction)) => Some(material.repeat(session, (n, fraction), options.seed, accuracy)?),
    };
    Ok((folds, repeats))
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
