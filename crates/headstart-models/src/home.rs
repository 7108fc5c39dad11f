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

    /// The file of the imported network `name`, whether it is there or not.
    pub fn network(&self, name: &str) -> PathBuf {
        self.0.join("networks").join(format!("{name}.safetensors"))
    }

    /// The names of the imported networks, in order.
    pub fn networks(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.0.join("networks")).into_iter().flatten().flatten();
        let name = |file: std::fs::DirEntry| {
            file.file_name()
                .to_str()?
                .strip_suffix(".safetensors")
                .filter(|name| !name.starts_with('.'))
                .map(str::to_owned)
        };
        let mut names: Vec<String> = files.filter_map(name).collect();
        names.sort();
        names
    }

    /// The folder of files that are being brought here.
    pub fn downloads(&self) -> PathBuf {
        self.0.join("downloads")
    }

    /// The folder of the text encoder `owner/name`, whether it is there or not.
    pub fn encoder(&self, repository: &str) -> PathBuf {
        self.0.join("encoders").join(repository)
    }

    /// The text encoder that `name` stands for: a folder, or a repository that was pulled.
    pub fn find_encoder(&self, name: &str) -> Option<PathBuf> {
        let folder = PathBuf::from(name);
        let pulled = || is_repository(name).then(|| self.encoder(name)).filter(|folder| folder.is_dir());
        if folder.is_dir() { Some(folder) } else { pulled() }
    }

    /// The folder of cached features.
    pub fn features(&self) -> PathBuf {
        self.0.join("features")
    }
}

/// Whether `name` has the form of a repository on the Hugging Face hub: `owner/name`.
pub fn is_repository(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    name.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_from_paths() {
        assert!(is_repository("sentence-transformers/all-MiniLM-L6-v2"));
        for path in ["resnet18", "../x", "a/..", "./a", "/a", "a/b/c", "a/", r"a\b/c", "a/b c"] {
            assert!(!is_repository(path), "{path}");
        }
    }
}
