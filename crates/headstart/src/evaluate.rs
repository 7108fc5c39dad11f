//! How good a classifier is on labelled data.

use crate::metrics::{Answer, Evaluation, majority_accuracy};
use crate::{Classifier, Error, Session, SkippedFile};
use headstart_data::{Dataset, Item, OpenOptions, Picture};
use serde::Serialize;
use std::path::Path;

/// What `eval` reports.
#[derive(Debug, Clone, Serialize)]
pub struct EvalReport {
    /// The measures.
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// The part of the data that was used: `test`, `val` or `train` (all of a plain folder).
    pub split: &'static str,
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
}

/// Measures `classifier` on the held-out part of the data at `path` (`test`, else `val`, else all of it).
///
/// # Errors
/// Where the data cannot be opened or has labels the classifier lacks, or nothing of it can be read.
pub fn evaluate(session: &Session, classifier: &Classifier, path: &Path) -> Result<EvalReport, Error> {
    let options = OpenOptions { classes: Some(classifier.labels().to_vec()) };
    let data = Dataset::open(path, &options)?;
    let (split, items) = data.held_out();
    let pictures: Vec<&Picture> = items.iter().map(|i| &i.picture).collect();
    let features = classifier.features(session, &pictures, "features")?;
    if features.kept.is_empty() {
        return Err(Error::NothingReadable { what: split.to_owned() });
    }
    let targets = labels(items, &features.kept);
    let logits = classifier.logits(session, &features.values)?;
    let evaluation = Evaluation::new(&logits, &targets, classifier.labels())?;
    let skipped = data.skipped.iter().chain(&features.skipped).map(SkippedFile::from).collect();
    let pictures: Vec<Picture> = features.kept.iter().map(|&i| items[i].picture.clone()).collect();
    let answers = Answer::of(&logits, &targets, pictures.iter().map(Picture::path));
    let majority_accuracy = majority_accuracy(&targets, &targets).unwrap_or(0.0);
    Ok(EvalReport { evaluation, split, majority_accuracy, skipped, answers, pictures })
}

/// The labels of the items at `kept`.
pub(crate) fn labels(items: &[Item], kept: &[usize]) -> Vec<usize> {
    kept.iter().map(|&i| items[i].label).collect()
}
