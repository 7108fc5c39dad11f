//! How good a classifier is on labelled data.

use crate::metrics::{
    Answer, Evaluation, Separation, calibration_error, log_loss, majority_accuracy, reliability,
};
use crate::unknown::Unknown;
use crate::{Classifier, Error, Session, SkippedFile};
use headstart_data::{
    Dataset, Item, Kind, OpenOptions, Picture, TextColumns, open_unlabelled, open_unlabelled_texts,
};
use serde::Serialize;
use std::path::Path;

/// What `eval` reports.
#[derive(Debug, Clone, Serialize)]
pub struct EvalReport {
    /// What was answered; not part of the JSON.
    #[serde(skip)]
    pub kind: Kind,
    /// The measures.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// The part of the data that was used: `test`, `val` or `train` (all of a plain folder).
    pub split: &'static str,
    /// What the probabilities were without the model's temperature; `null` where it has none.
    pub uncalibrated: Option<Uncalibrated>,
    /// The share of these images that `predict --reject` would answer with `unknown`; `null` where the model has no
    /// threshold.
    pub rejected: Option<f64>,
    /// Images of other classes (`--ood`), where there are some.
    pub other: Option<OtherImages>,
    /// What answering the most frequent class of these images would give.
    pub majority_accuracy: f64,
    /// What was left out, and why.
    pub skipped: Vec<SkippedFile>,
    /// The answer for every image; not part of the JSON.
    #[serde(skip)]
    pub answers: Vec<Answer>,
    /// The images of `answers`, in their order; not part of the JSON.
    #[serde(skip)]
    pub pictures: Vec<Picture>,
    /// How little each of them is like what the model knows; not part of the JSON.
    #[serde(skip)]
    pub scores: Option<Vec<f64>>,
}

/// Images of classes that the model does not know.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OtherImages {
    /// Images.
    pub n: usize,
    /// The share that `predict --reject` answers with `unknown`.
    pub rejected: f64,
    /// How well the score tells them from the known ones.
    #[serde(flatten)]
    pub separation: Separation,
}

/// Probabilities without a temperature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Uncalibrated {
    /// The temperature that is left out here.
    pub temperature: f64,
    /// Mean log loss.
    pub loss: f64,
    /// Expected calibration error.
    pub ece: f64,
}

/// Measures `classifier` on the held-out part of the data at `path` (`test`, else `val`, else all of it).
///
/// # Errors
/// Where the data cannot be opened or has labels the classifier lacks, or nothing of it can be read.
pub fn evaluate(session: &Session, classifier: &Classifier, path: &Path) -> Result<EvalReport, Error> {
    evaluate_columns(session, classifier, (path, &TextColumns::default()))
}

/// As [`evaluate`], of texts in certain columns.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_columns(
    session: &Session,
    classifier: &Classifier,
    (path, columns): (&Path, &TextColumns),
) -> Result<EvalReport, Error> {
    classifier.backbone.input.expect(&classifier.backbone.name, path, columns)?;
    let options = OpenOptions { classes: Some(classifier.labels().to_vec()), columns: columns.clone() };
    let data = Dataset::open(path, &options)?;
    let (split, items) = data.held_out();
    let pictures: Vec<&Picture> = items.iter().map(|i| &i.picture).collect();
    let features = classifier.features(session, &pictures, "features")?;
    if features.kept.is_empty() {
        return Err(Error::NothingReadable { what: split.to_owned() });
    }
    let targets = labels(items, &features.kept);
    let temperature = classifier.temperature();
    let logits = classifier.logits(session, &features.values, temperature)?;
    let uncalibrated = if temperature == 1.0 {
        None
    } else {
        let raw = classifier.logits(session, &features.values, 1.0)?;
        let ece = calibration_error(&reliability(&raw, &targets)?);
        Some(Uncalibrated { temperature, loss: log_loss(&raw, &targets)?, ece })
    };
    let evaluation = Evaluation::new(&logits, &targets, classifier.labels())?;
    let skipped = data.skipped.iter().chain(&features.skipped).map(SkippedFile::from).collect();
    let pictures: Vec<Picture> = features.kept.iter().map(|&i| items[i].picture.clone()).collect();
    let answers = Answer::of(&logits, &targets, pictures.iter().map(Picture::path));
    let majority_accuracy = majority_accuracy(&targets, &targets).unwrap_or(0.0);
    let scores = classifier.scores(session, &features.values)?;
    Ok(EvalReport {
        kind: data.kind,
        evaluation,
        split,
        uncalibrated,
        rejected: classifier.unknown().ok().zip(scores.as_deref()).map(|(unknown, s)| rejected(unknown, s)),
        other: None,
        majority_accuracy,
        skipped,
        answers,
        pictures,
        scores,
    })
}

/// Measures how well `classifier` tells the images, or the texts in the column of `columns`, at `path`, all of which are of other
/// classes whatever their labels are, from those of `report`; adds that to it.
///
/// # Errors
/// Where the model has no threshold, or there is no image that can be read.
pub fn evaluate_other(
    session: &Session,
    classifier: &Classifier,
    (path, columns): (&Path, &TextColumns),
    report: &mut EvalReport,
) -> Result<(), Error> {
    let unknown = classifier.unknown()?;
    let paths = [path.to_owned()];
    let (pictures, skipped) = match classifier.backbone.input.kind() {
        Kind::Images => open_unlabelled(&paths)?,
        Kind::Texts => open_unlabelled_texts(&paths, columns)?,
    };
    let pictures: Vec<&Picture> = pictures.iter().collect();
    let what = format!("features of other {}", report.kind.many());
    let features = classifier.features(session, &pictures, &what)?;
    report.skipped.extend(skipped.iter().chain(&features.skipped).map(SkippedFile::from));
    if features.kept.is_empty() {
        return Err(Error::NothingReadable { what: path.display().to_string() });
    }
    let scores = classifier.scores(session, &features.values)?.unwrap_or_default();
    let known = report.scores.as_deref().unwrap_or_default();
    report.other = Separation::of(known, &scores).map(|separation| OtherImages {
        n: scores.len(),
        rejected: rejected(unknown, &scores),
        separation,
    });
    Ok(())
}

/// The share of scores above the threshold.
fn rejected(unknown: &Unknown, scores: &[f64]) -> f64 {
    let rejected = scores.iter().filter(|&&s| unknown.rejects(s)).count();
    rejected as f64 / scores.len().max(1) as f64
}

/// The labels of the items at `kept`.
pub(crate) fn labels(items: &[Item], kept: &[usize]) -> Vec<usize> {
    kept.iter().map(|&i| items[i].label).collect()
}
