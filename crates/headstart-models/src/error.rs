//! What can be wrong with a name, a weight file or the place where weights are kept.

use crate::LoadReport;
use headstart_graph::GraphError;
use headstart_weights::WeightsError;
use std::path::PathBuf;

/// What can be wrong with a name, a weight file or the place where weights are kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelsError {
    /// No architecture or weight set of that name.
    #[error("there is no network named `{name}`{}; `headstart models` lists them", did_you_mean(nearest))]
    UnknownName {
        /// The name asked for.
        name: String,
        /// The nearest that exist, best first.
        nearest: Vec<String>,
    },
    /// The weights of a record are not on this machine.
    #[error(
        "the weights of {name} are not on this machine: `headstart models pull {name}` gets them; without a network bring \
         the file {file} ({source_name}) here and run `headstart models import {file} --arch {name}`"
    )]
    NoWeights {
        /// `arch.tag`.
        name: String,
        /// The published file's name.
        file: String,
        /// Who publishes it.
        source_name: String,
    },
    /// A name that has the form of a text encoder's repository, and is none that was pulled.
    #[error(
        "there is no folder {name}, and no text encoder of that name was pulled: `headstart models pull {name}` gets it from \
         the Hugging Face hub"
    )]
    NoEncoder {
        /// `owner/name`.
        name: String,
    },
    /// Weights that come without a classifier of their own were to classify.
    #[error(
        "{name} has features but no classifier to answer with: train one on your images with \
         `headstart train DATA --backbone {name}`"
    )]
    NoClassifier {
        /// `arch.tag`.
        name: String,
    },
    /// A weight file does not fit the architecture.
    #[error("{} does not fit {name}: {report}; is it the right network's name, and the right file?", path.display())]
    Misfit {
        /// The weight file.
        path: PathBuf,
        /// The architecture.
        name: String,
        /// What fits and what does not.
        report: Box<LoadReport>,
    },
    /// A whole network where weights, a model or a name was expected.
    #[error(
        "{} is a whole network in ONNX: `headstart models import {}` keeps it under a name, which is then given in its place (for \
         `train`, with --backbone)",
        path.display(),
        path.display()
    )]
    OnnxFile {
        /// The file.
        path: PathBuf,
    },
    /// A name that no network can be kept under.
    #[error("a network cannot be kept under the name `{name}`: expected {expected}; --name gives another")]
    NetworkName {
        /// The name.
        name: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The file of an imported network that is not as it was written.
    #[error("{} is no imported network that can be used: {detail}; import it again", path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A folder that is no text encoder, or not one that can be read.
    #[error("{} is no text encoder that can be used: {detail}", path.display())]
    Encoder {
        /// The folder or the file in it.
        path: PathBuf,
        /// What is wrong and what was expected.
        detail: String,
    },
    /// The platform names no folder for data, and `HEADSTART_HOME` is not set.
    #[error(
        "this system names no data folder: set HEADSTART_HOME to the folder that shall hold weights and caches"
    )]
    NoHome,
    /// A folder or file of the home could not be made or read.
    #[error("cannot use {}: {source}; HEADSTART_HOME names another folder for weights", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A published file could not be had.
    #[cfg(feature = "download")]
    #[error(
        "{source}. By hand: bring {file} here from a machine that has it and run \
         `headstart models import {file} --arch {name}`"
    )]
    Pull {
        /// `arch.tag`.
        name: String,
        /// The file's name.
        file: String,
        /// Why not.
        source: Box<headstart_download::DownloadError>,
    },
    /// A file of a text encoder could not be had.
    #[cfg(feature = "download")]
    #[error(
        "{source}. By hand: bring the repository's config.json, tokenizer.json and model.safetensors here in one folder \
         and give that folder in place of {name}"
    )]
    PullEncoder {
        /// `owner/name`.
        name: String,
        /// Why not.
        source: Box<headstart_download::DownloadError>,
    },
    /// The environment names no place to get files from.
    #[cfg(feature = "download")]
    #[error(transparent)]
    Download(Box<headstart_download::DownloadError>),
    /// A weight file could not be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A graph could not be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

#[cfg(feature = "download")]
impl From<headstart_download::DownloadError> for ModelsError {
    fn from(error: headstart_download::DownloadError) -> Self {
        ModelsError::Download(Box::new(error))
    }
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!(": did you mean `{}`?", nearest.join("`, `")) }
}
