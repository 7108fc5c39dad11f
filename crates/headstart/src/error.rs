//! Everything that can stop a run.

use crate::OnnxError;
use crate::head::HeadError;
use headstart_data::DataError;
use headstart_graph::GraphError;
use headstart_models::ModelsError;
use headstart_weights::WeightsError;
use std::path::{Path, PathBuf};

/// Everything that can stop a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The run was interrupted; what was computed is in the cache.
    #[error("interrupted: features that were computed are in the cache, the same command goes on from there")]
    Interrupted,
    /// A setting is out of its range.
    #[error("{name} is {found}: expected {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The data has faults, and none were to be accepted.
    #[error("{count} files cannot be used and --strict accepts none; the first is {first}")]
    Strict {
        /// Number of faults.
        count: usize,
        /// The first, with its reason.
        first: String,
    },
    /// Nothing of a class or split could be read.
    #[error("nothing of {what} could be read: see what was skipped, and why")]
    NothingReadable {
        /// The class or split.
        what: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "read", "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Features that were just computed or found are no longer in the cache.
    #[error("the cache in {} was changed while it was used: run the command again", path.display())]
    CacheLost {
        /// The cache's folder.
        path: PathBuf,
    },
    /// More features than memory can hold.
    #[error("{rows} rows of {dim} features do not fit into memory: take fewer images, or a smaller --views")]
    TooManyFeatures {
        /// Images times views.
        rows: usize,
        /// Values of each.
        dim: usize,
    },
    /// A frozen weight moved during a fit: a defect of this program.
    #[error("the frozen weights moved during the fit ({before} became {after}): please report this")]
    FrozenMoved {
        /// Their hash before.
        before: String,
        /// Their hash after.
        after: String,
    },
    /// An image cannot be read, or not be written.
    #[error("{path}: {source}")]
    Image {
        /// The image.
        path: String,
        /// Why.
        source: headstart_data::ImageError,
    },
    /// A folder where a model file is wanted.
    #[error(
        "{} is a folder, not a model file: a text encoder has no classes of its own until `headstart train DATA --backbone \
         FOLDER` gave it some",
        path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// Something that works on images only, asked of a text encoder.
    #[error("{what} works on images, and this network reads texts")]
    ImagesOnly {
        /// A command or an option.
        what: &'static str,
    },
    /// Texts, and no network that reads them.
    #[error(
        "{} holds texts, and {network} reads images: name a text encoder with --backbone DIR, a folder with config.json, \
         tokenizer.json and model.safetensors as Hugging Face publishes them for BERT, RoBERTa and their kin \
         (sentence-transformers/all-MiniLM-L6-v2, say)",
        path.display()
    )]
    NeedsEncoder {
        /// The data.
        path: PathBuf,
        /// The network.
        network: String,
    },
    /// Images, and a network that reads texts.
    #[error("{} holds images, and {network} reads texts: texts come in .csv, .tsv and .jsonl files", path.display())]
    ReadsTexts {
        /// The data.
        path: PathBuf,
        /// The network.
        network: String,
    },
    /// There is no network to rank.
    #[error(
        "there is no network with weights here: `headstart models` lists them, `headstart models import` brings one in"
    )]
    NoNetworks,
    /// Texts, where networks of images are ranked.
    #[error("{} holds texts: `rank` ranks networks of images", path.display())]
    TextsNotRanked {
        /// The data.
        path: PathBuf,
    },
    /// A class has too few images for one to be held out.
    #[error(
        "of the images that are ranked on {found} are of the class \"{class}\": it takes two of each class, and --images N takes more"
    )]
    TooFewToRank {
        /// The class.
        class: String,
        /// Its images.
        found: usize,
    },
    /// An operation that the export to ONNX does not know.
    #[error("`{node}` ({op}) cannot be written to an ONNX file: only networks of images can")]
    NotInOnnx {
        /// The node.
        node: String,
        /// Its operation.
        op: String,
    },
    /// An ONNX file that is not imported.
    #[error("cannot import {}: {source}", path.display())]
    OnnxImport {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: OnnxError,
    },
    /// More than an ONNX file holds.
    #[error(
        "{} would take {} MB, and an ONNX file holds at most 2,147: export a smaller backbone",
        path.display(),
        bytes / 1_000_000
    )]
    TooLargeForOnnx {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: usize,
    },
    /// Where such a network looked cannot be said.
    #[error(
        "{name} has no map of features before its classifier, which Grad-CAM needs: ResNet, VGG, MobileNetV2 and EfficientNet-Lite have one, transformers have not"
    )]
    NotConvolutional {
        /// The network.
        name: String,
    },
    /// Which words counted cannot be said of such a network.
    #[error(
        "{name} has no word embeddings that all else follows from, which the weights of words need: encoders of the BERT architecture have"
    )]
    NoWordEmbeddings {
        /// The network.
        name: String,
    },
    /// A text of which the tokenizer makes nothing.
    #[error("the tokenizer makes nothing of the text: {detail}")]
    NoTokens {
        /// What it says.
        detail: String,
    },
    /// There is no class of that name.
    #[error(
        "there is no class `{name}`{}: {}",
        if nearest.is_empty() { String::new() } else { format!(" (did you mean `{}`?)", nearest.join("`, `")) },
        match classes.len() {
            0..=20 => format!("the model knows {}", classes.join(", ")),
            n => format!("the model knows {n} classes"),
        }
    )]
    UnknownClass {
        /// The name.
        name: String,
        /// The nearest names.
        nearest: Vec<String>,
        /// All names.
        classes: Vec<String>,
    },
    /// Features do not fill whole rows.
    #[error(transparent)]
    Shape(#[from] headstart_tensor::ShapeError),
    /// A table of class weights names other classes than the data, or holds something else than weights.
    #[error("{}: {detail}", path.display())]
    ClassWeights {
        /// The table.
        path: PathBuf,
        /// What is wrong and what was expected.
        detail: String,
    },
    /// The home cannot be written to.
    #[error("cannot make {}: {source}; HEADSTART_HOME names another folder for weights and cached features", path.display())]
    Home {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is no model, or a damaged one.
    #[error("{} is not a usable model file: {detail}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        detail: String,
    },
    /// A file of answers cannot be used.
    #[error("{} cannot be compared: {detail}", path.display())]
    Answers {
        /// The file or model.
        path: PathBuf,
        /// What is wrong and what was expected.
        detail: String,
    },
    /// The model cannot tell unknown images.
    #[error(
        "the model has no threshold for unknown images: `train` and `finetune` of this version find one where they have {fewest} validation images"
    )]
    NoThreshold {
        /// Validation images that it takes.
        fewest: usize,
    },
    /// Images cannot be grouped as asked for.
    #[error("--group-by `{pattern}`: {detail}")]
    GroupBy {
        /// The regular expression.
        pattern: String,
        /// What is wrong and what was expected.
        detail: String,
    },
    /// A model file of a version this program does not know.
    #[error("{} was written by a newer headstart (model version {found}, this one reads up to {known}): update headstart", path.display())]
    NewerModel {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest this program reads.
        known: u32,
    },
    /// The loss ran away.
    #[error("the loss became {loss} in epoch {epoch}: try a smaller --lr than {lr}")]
    Diverged {
        /// The epoch, from 1.
        epoch: usize,
        /// The loss.
        loss: f32,
        /// The learning rate.
        lr: f64,
    },
    /// A fine-tuning was interrupted; its state is on disk.
    #[error(
        "interrupted in epoch {epoch} at step {step}: `headstart finetune --resume {}` goes on from there",
        folder.display()
    )]
    Paused {
        /// The folder of the run.
        folder: PathBuf,
        /// The epoch, from 1.
        epoch: usize,
        /// Steps that were taken.
        step: usize,
    },
    /// The loss of a fine-tuning ran away.
    #[error(
        "the loss became {loss} in epoch {epoch} at step {step}, at the rate {lr:e}: try --lr {suggested:e}; the last good state stays in {} until a run is begun anew there",
        folder.display()
    )]
    Runaway {
        /// The loss, or what else was no number.
        loss: f32,
        /// The epoch, from 1.
        epoch: usize,
        /// The step, from 1.
        step: usize,
        /// The recipe's learning rate.
        lr: f64,
        /// A smaller one.
        suggested: f64,
        /// The folder of the run.
        folder: PathBuf,
    },
    /// Nothing is to be trained besides the classifier.
    #[error(
        "`{names}` unfreezes nothing besides the classifier, which `headstart train` fits: name one of {stages}"
    )]
    NothingUnfrozen {
        /// What was named.
        names: String,
        /// The stages there are.
        stages: String,
    },
    /// There is no recipe of that name.
    #[error(
        "there is no recipe `{name}`{}: lp-ft, encoder, lesson, gradual and full are there, or a TOML file",
        if nearest.is_empty() { String::new() } else { format!(" (did you mean `{}`?)", nearest.join("`, `")) }
    )]
    UnknownRecipe {
        /// The name.
        name: String,
        /// The nearest names.
        nearest: Vec<String>,
    },
    /// A file is no recipe.
    #[error("{} is no recipe: {detail}; `headstart finetune --dry-run` prints one", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A run cannot go on: something it depends on has changed.
    #[error(
        "the run in {} cannot go on to the same model: its {what} was {expected} and is {found} now; start it anew without --resume",
        folder.display()
    )]
    ResumeChanged {
        /// The folder of the run.
        folder: PathBuf,
        /// What has changed: "data", "recipe", "headstart version".
        what: &'static str,
        /// What it was.
        expected: String,
        /// What it is.
        found: String,
    },
    /// There is no run to go on with, or its state is damaged.
    #[error("{} holds no run that can go on: {detail}", path.display())]
    NoRun {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A frozen parameter moved during a fine-tuning: a defect of this program.
    #[error("the frozen `{name}` moved during the fit: please report this; no model was written")]
    ParameterMoved {
        /// The parameter or buffer.
        name: String,
    },
    /// An image that was readable when the run began is not any more, or has other content.
    #[error("{path} was readable when the run began and is not now ({detail}): put it back and use --resume")]
    ImageLost {
        /// The image.
        path: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Activations could not be kept.
    #[error(
        "cannot keep the activations in {}: {source}; free space there, or use --no-cache, which computes them in every epoch",
        path.display()
    )]
    CacheFull {
        /// The segment.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// An adaptation needs the labelled images of the domain that the model knows.
    #[error("`{method}` needs the labelled images that the model was trained on: name them with --source")]
    NeedsSource {
        /// The method.
        method: &'static str,
    },
    /// A network without batch norm has no statistics to estimate anew.
    #[error(
        "{network} has no batch norm that could adapt among what is to move: take another method than adabn, dsbn and tent"
    )]
    NoBatchNorm {
        /// The network.
        network: String,
    },
    /// The method learns from a few labels, and there are none.
    #[error("the method `few` learns from a few labelled images of the target: give them with --few")]
    NeedsFew,
    /// A method of adaptation of that name is not known.
    #[error("there is no method `{found}`: expected one of {known}")]
    UnknownMethod {
        /// What was asked for.
        found: String,
        /// Those that are there, and the nearest.
        known: String,
    },
    /// See [`DataError`].
    #[error(transparent)]
    Data(#[from] DataError),
    /// See [`ModelsError`].
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// See [`GraphError`].
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// See [`WeightsError`].
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// See [`HeadError`].
    #[error(transparent)]
    Head(HeadError),
}

impl From<HeadError> for Error {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Interrupted => Error::Interrupted,
            other => Error::Head(other),
        }
    }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}
