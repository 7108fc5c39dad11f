//! What a fine-tuning reports, and what it leaves in the model file.

use super::{Receipt, TuneRecipe};
use crate::calibration::CalibrationPart;
use crate::metrics::{Answer, Evaluation};
use crate::train::{FeaturePart, HeadPart, TrainPart};
use crate::unknown::Unknown;
use crate::{CachePrecision, SkippedFile};
use headstart_data::{Kind, Picture};
use serde::{Deserialize, Serialize};

/// An epoch's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuneEpoch {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean loss over the epoch's images (smoothed, mixed and weighted as the recipe says), each before its step.
    pub train_loss: f64,
    /// Share of the epoch's images that was right, each before its step.
    pub train_accuracy: f64,
    /// Mean cross-entropy over the validation images.
    pub val_loss: f64,
    /// Share of the validation images that is right.
    pub val_accuracy: f64,
    /// The classifier's learning rate in the last step.
    pub lr: f64,
    /// Training images a second.
    pub images_per_second: f64,
}

/// A result on the validation images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The epoch it is of; 0 is before the first.
    pub epoch: usize,
    /// Share that is right.
    pub accuracy: f64,
    /// Mean cross-entropy.
    pub loss: f64,
}

impl Best {
    /// Whether this is a better result: more right, or as many at a lower loss.
    pub fn beats(&self, other: &Best) -> bool {
        self.accuracy > other.accuracy || (self.accuracy == other.accuracy && self.loss < other.loss)
    }
}

/// What is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FrozenPart {
    /// Values of frozen parameters, running statistics left out.
    pub parameters: usize,
    /// Frozen tensors, running statistics included: each was hashed before and after.
    pub tensors: usize,
    /// "unchanged": else there is no report.
    pub sha: &'static str,
}

/// Wall-clock seconds.
#[derive(Debug, Clone, Serialize)]
pub struct TuneSeconds {
    /// All of it.
    pub total: f64,
    /// Features and activations before the fit.
    pub features: f64,
    /// Fitting the head first.
    pub head: f64,
    /// The epochs.
    pub fit: f64,
}

/// What `finetune` reports.
#[derive(Debug, Clone, Serialize)]
pub struct TuneReport {
    /// What was learned from.
    #[serde(skip)]
    pub kind: Kind,
    /// `arch.tag`.
    pub backbone: String,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// The training images.
    pub train: TrainPart,
    /// The validation images and the result of the best epoch on them.
    pub val: Evaluation,
    /// The temperature, and what it does to the probabilities. Those of `val` are after it.
    pub calibration: CalibrationPart,
    /// How images of no known class are told; `null` where the validation images are too few to say.
    pub unknown: Option<Unknown>,
    /// What answering the most frequent training class would give on the validation images.
    pub majority_accuracy: f64,
    /// What the nearest class mean of the features before the fit, standardised, would give on them.
    pub centroid_accuracy: f64,
    /// Where the activations at the cut came from.
    pub features: FeaturePart,
    /// How the head was fitted first; nothing where the model brought one.
    pub head: HeadPart,
    /// How long it took.
    pub seconds: TuneSeconds,
    /// The model file.
    pub model: String,
    /// What was left out, and why.
    pub skipped: Vec<SkippedFile>,
    /// The recipe, with the rate and the number of epochs that were found for it.
    pub recipe: TuneRecipe,
    /// The stages that were trained.
    pub unfrozen: Vec<String>,
    /// The node after which the network was cut, at the end.
    pub cut: String,
    /// The result before the first step.
    pub start: Best,
    /// Epoch by epoch.
    pub epochs: Vec<TuneEpoch>,
    /// The epoch whose weights are in the model; 0 is before the first step.
    pub best_epoch: usize,
    /// What was frozen.
    pub frozen: FrozenPart,
    /// Values of trained parameters.
    pub trainable_parameters: usize,
    /// The folder of the run, with its history.
    pub run: String,
    /// The answer for every validation image; not part of the JSON.
    #[serde(skip)]
    pub answers: Vec<Answer>,
    /// The images of `answers`, in their order; not part of the JSON.
    #[serde(skip)]
    pub pictures: Vec<Picture>,
}

/// How a model was fine-tuned, as its manifest says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTuned {
    /// The recipe, with the rate and the number of epochs that were found for it.
    pub recipe: TuneRecipe,
    /// The seed of order, views and mixup.
    pub seed: u64,
    /// What an image of each class counted, in the order of the labels; `null`: all the same.
    pub class_weights: Option<Vec<f64>>,
    /// How the activations at the cut were rounded.
    pub cache_precision: CachePrecision,
    /// The stages that were trained.
    pub unfrozen: Vec<String>,
    /// SHA-256 of all weights that it started from.
    pub started_from: String,
    /// Epochs that were run.
    pub epochs: usize,
    /// The epoch whose weights these are; 0 is before the first step.
    pub best_epoch: usize,
    /// The frozen parameters and buffers: their SHA-256 before and after.
    pub frozen: Receipt,
}
