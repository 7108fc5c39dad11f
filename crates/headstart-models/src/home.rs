//! Where weights and caches are kept between runs.

use crate::{ModelsError, PretrainedCfg};
use std::path::{Path, PathBuf};

/// The folder `HEADSTART_HOME`, or the platform's data folder for this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The home of this user. Nothing is created.
    ///
    /// # Errors
    /// Where the variable is not set and the platform names no folder.
    pub fn from_env() -> Result<Home, ModelsError> {
        match std::env::var_os("HEADSTART_HOME").filter(|v| !v.is_empty()) {
            Some(path) => Ok(Home(PathBuf::from(path))),
            None => directories::ProjectDirs::from("", "", "headstart")
                .map(|dirs| Home(dirs.data_dir().to_owned()))
                .ok_or(ModelsError::NoHome),
        }
    }

    /// A home at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Home {
        Home(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file of a record's weights, whether it is there or not.
    pub fn weights(&self, cfg: &PretrainedCfg) -> PathBuf {
        self.0.join("weights").join(format!("{}.safetensors", cfg.name()))
    }

    /// The folder of cached features.
    pub fn features(&self) -> PathBuf {
        self.0.join("features")
    }
}
