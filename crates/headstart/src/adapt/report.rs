//! What an adaptation tells, and what the model file keeps of it.

use super::score::Score;
use super::seen::{Seen, Taken};
use super::statistics::MovedNorm;
use crate::SkippedFile;
use headstart_data::Picture;
use serde::{Deserialize, Serialize};

/// What an adaptation found and wrote.
#[derive(Debug, Clone, Serialize)]
pub struct AdaptReport {
    /// `arch.tag`.
    pub backbone: String,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// Images of the source, where it was given.
    pub source: Option<usize>,
    /// Images of the target that could be read.
    pub target: usize,
    /// Labelled images of the target that methods may look at, where they were given.
    pub few: Option<usize>,
    /// Labelled images of the target that the accuracies are of, where they were given.
    pub eval: Option<usize>,
    /// What was tried, in the order of trying.
    pub tried: Vec<Tried>,
    /// The method of the model that was written.
    pub chosen: String,
    /// Why that one.
    pub why: String,
    /// How batch norm statistics moved, where the chosen method moves them.
    pub moved: Vec<MovedNorm>,
    /// Images that are worth a label: unlike one another, and like many others.
    pub label_first: Vec<String>,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// The model file.
    pub model: String,
    /// Images of `label_first`, in their order; not part of the JSON, nor are the next three.
    #[serde(skip)]
    pub first: Vec<Picture>,
    /// Some images of both domains before and after, where they lie and what they are taken for.
    #[serde(skip)]
    pub seen: [Seen; 2],
    /// What every image of the target is taken for.
    #[serde(skip)]
    pub taken: Vec<Taken>,
    /// The images of `taken`, in their order.
    #[serde(skip)]
    pub pictures: Vec<Picture>,
    /// What was left out, and why.
    pub skipped: Vec<SkippedFile>,
}

/// One method.
#[derive(Debug, Clone, Serialize)]
pub struct Tried {
    /// Its name.
    pub method: String,
    /// Its label-free figures.
    #[serde(flatten)]
    pub score: Score,
    /// Answers of each class on the target, in label order.
    pub answers: Vec<usize>,
    /// Seconds that it took, without what others share.
    pub seconds: f64,
    /// The epoch that was kept, where a tail was trained; 0 where none was better than the start.
    pub epoch: Option<usize>,
    /// Share of `--few` that is right: held out from the method that learns from them.
    pub few: Option<f64>,
    /// What `--eval` gives; no choice looks at it.
    pub eval: Option<EvalAccuracy>,
}

/// An accuracy on labelled images of the target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvalAccuracy {
    /// Share that is right.
    pub accuracy: f64,
    /// Its 95 % Wilson interval.
    pub accuracy_ci95: [f64; 2],
    /// Share of each class that is right, in label order; `null` for a class without an image.
    pub recall: Vec<Option<f64>>,
}

/// How a model came to another domain, as its file says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapted {
    /// The method.
    pub method: String,
    /// Images of the target.
    pub target_images: usize,
    /// SHA-256 over their contents.
    pub target_sha256: String,
    /// The weights that it started from.
    pub started_from: String,
    /// What random choices were drawn from.
    pub seed: u64,
    /// Agreement of the unadapted and of this model.
    pub agreement: [f64; 2],
    /// How batch norm statistics moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<MovedNorm>,
    /// Stages that were trained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfrozen: Vec<String>,
}
