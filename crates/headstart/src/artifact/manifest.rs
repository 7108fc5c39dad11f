//! Everything about a model but its tensors, as its file's metadata says it.

use crate::TrainOptions;
use crate::adapt::Adapted;
use crate::fine_tune::FineTuned;
use crate::input::Input;
use crate::metrics::Evaluation;
use crate::unknown::Unknown;
use headstart_data::{Decode, Preprocess};
use headstart_graph::{Calibration, Graph, Precision};
use serde::{Deserialize, Serialize};

/// The newest version of model files this program reads: that of adapted models.
pub const VERSION: u32 = 5;
/// That of models of texts.
pub const FOURTH_VERSION: u32 = 4;
/// That of other models with a temperature, with a threshold for unknown images, or trained on groups.
pub const THIRD_VERSION: u32 = 3;
/// That of other models that are fine-tuned, of trunks in a lower precision, and of photos that are not decoded exactly.
pub const SECOND_VERSION: u32 = 2;
/// The version of all other models: older programs read them too.
pub const FIRST_VERSION: u32 = 1;

/// Everything about a model but its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The oldest version that can say all of it: [`Manifest::with_version`].
    pub version: u32,
    /// The headstart that wrote it.
    pub headstart: String,
    /// Class names in the order of the logits.
    pub labels: Vec<String>,
    /// What images go through; a model of texts has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
    /// What texts go through; a model of images has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextPart>,
    /// `arch.tag` of the backbone.
    pub backbone: String,
    /// The whole network.
    pub graph: Graph,
    /// The head's layer.
    pub classifier: String,
    /// Precision of the trunk that the head was fitted to. Golden inputs are run in f32 whatever it is: they tell other
    /// weights and another preprocessing, not the rounding of a lower precision.
    #[serde(default, skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// The ranges of an int8 trunk.
    #[serde(default, skip_serializing_if = "is_default")]
    pub calibration: Calibration,
    /// SHA-256 of the trunk's weights.
    pub trunk_sha256: String,
    /// SHA-256 of all weights.
    pub weights_sha256: String,
    /// Whether the trunk's weights are left out.
    pub slim: bool,
    /// How it was trained.
    pub recipe: Recipe,
    /// SHA-256 over the training images' contents and labels.
    pub data_sha256: String,
    /// Training images.
    pub train_images: usize,
    /// What validation gave.
    pub validation: Validation,
    /// How more than the head was trained, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine_tuned: Option<FineTuned>,
    /// What logits are divided by before they become probabilities, where one was fitted: [`crate::calibration`]. Golden
    /// logits are those before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// How images of no known class are told, where validation was enough to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<Unknown>,
    /// How it came to another domain, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapted: Option<Adapted>,
}

impl Manifest {
    /// The same, with the oldest version that can say all of it.
    pub fn with_version(self) -> Self {
        let decoded = self.preprocess.as_ref().is_none_or(|p| p.decode == Decode::Exact);
        let exact = self.precision == Precision::F32 && decoded;
        let restyled = self.preprocess.as_ref().is_some_and(|p| p.style.is_some());
        let version = if self.adapted.is_some() || restyled {
            VERSION
        } else if self.text.is_some() {
            FOURTH_VERSION
        } else if self.temperature.is_some() || self.unknown.is_some() || self.recipe.group_by.is_some() {
            THIRD_VERSION
        } else if self.fine_tuned.is_some() || !exact {
            SECOND_VERSION
        } else {
            FIRST_VERSION
        };
        Manifest { version, ..self }
    }
}

/// What texts go through. The tokenizer itself is a tensor of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextPart {
    /// SHA-256 of the `tokenizer.json`.
    pub tokenizer_sha256: String,
    /// The most tokens of a text: longer ones are cut.
    pub max_tokens: usize,
    /// Whether capitals are made small before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lowercase: bool,
    /// The ids of [`SENTENCE`]: a tokenizer that gives others here is another.
    pub sentence_ids: Vec<u32>,
}

/// A sentence that every tokenizer makes something else of: capitals, accents, digits, signs, and words of other scripts.
pub const SENTENCE: &str = "It's an \u{c9}lan: 1,234.5 km/h, unbelievably \u{201c}good\u{201d}! \u{7f8e}\u{4e3d} \u{43c}\u{438}\u{440} \u{1f600}";

impl TextPart {
    /// That of an input; none where it takes images.
    pub(crate) fn of(input: &Input) -> Option<TextPart> {
        let Input::Text(tokens) = input else { return None };
        Some(TextPart {
            tokenizer_sha256: tokens.sha256().to_owned(),
            max_tokens: tokens.most(),
            lowercase: tokens.lowercase(),
            sentence_ids: tokens.ids(SENTENCE).unwrap_or_default(),
        })
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The settings that repeat a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The seed of split, folds, views and order.
    pub seed: u64,
    /// Views of each training image.
    pub views: usize,
    /// Share held out; `null` where the data set its own apart.
    pub val_fraction: Option<f64>,
    /// What kept images together in the split, where something did: a regular expression on file names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// How the head was fitted.
    pub solver: crate::Solver,
    /// What an image of each class counted, in the order of the labels; `null`: all the same.
    pub class_weights: Option<Vec<f64>>,
    /// L2 strength of the head, where it was fitted to convergence.
    pub l2: Option<f64>,
}

impl Recipe {
    /// What `options` and the fit say.
    pub(crate) fn of(
        options: &TrainOptions,
        val_fraction: Option<f64>,
        class_weights: Option<Vec<f64>>,
        l2: Option<f64>,
    ) -> Self {
        Recipe {
            seed: options.seed,
            views: options.views,
            val_fraction,
            group_by: options.group_by.clone(),
            solver: options.solver.clone(),
            class_weights,
            l2,
        }
    }
}

/// A validation result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// Images.
    pub n: usize,
    /// Share that was right.
    pub accuracy: f64,
    /// Its 95 % Wilson interval.
    pub accuracy_ci95: [f64; 2],
}

impl Validation {
    /// What an evaluation found.
    pub(crate) fn of(evaluation: &Evaluation) -> Self {
        let Evaluation { n, accuracy, accuracy_ci95, .. } = *evaluation;
        Validation { n, accuracy, accuracy_ci95 }
    }
}
