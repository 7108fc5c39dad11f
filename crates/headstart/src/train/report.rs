//! What a training reports.

use crate::SkippedFile;
use crate::calibration::CalibrationPart;
use crate::cross_validation::{CrossValidation, Repeats};
use crate::doctor::Findings;
use crate::fit::Epoch;
use crate::metrics::{Answer, Evaluation};
use crate::precision::PrecisionPart;
use crate::unknown::Unknown;
use headstart_data::{Kind, Picture};
use serde::Serialize;

/// What `train` reports.
#[derive(Debug, Clone, Serialize)]
pub struct TrainReport {
    /// What was learned from; not part of the JSON.
    #[serde(skip)]
    pub kind: Kind,
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
