//! Everything that can stop a run.

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
    /// No image of a class or split could be read.
    #[error("no image of {what} could be read: see the skipped files and their reasons")]
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
