//! Where published files are looked for: addresses, mirrors, and the caches of other programs.

use crate::{ModelsError, Origin, PretrainedCfg};
use headstart_download::{DownloadError, Hub, shown};
use std::path::PathBuf;

/// The places of this environment.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The Hugging Face hub or its mirror, and its cache.
    pub hub: Hub,
    /// An address that stands for every other: files are directly under it.
    pub mirror: Option<String>,
    /// The folder in which PyTorch keeps what it downloaded.
    pub torch: Option<PathBuf>,
}

/// A file that a record can be pulled from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) url: String,
    pub(crate) file: &'static str,
    /// First digits of its SHA-256; empty where only its hub knows.
    pub(crate) sha256: &'static str,
}

impl Sources {
    /// The places that the environment names: `HEADSTART_MIRROR`, those of [`Hub::from_env`], and `TORCH_HOME`.
    ///
    /// # Errors
    /// As [`Hub::from_env`], and where the mirror is no http address.
    pub fn from_env() -> Result<Sources, ModelsError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let mirror =
            set("HEADSTART_MIRROR").map(|v| v.to_string_lossy().trim().trim_end_matches('/').to_owned());
        if let Some(url) =
            mirror.as_deref().filter(|m| !m.starts_with("http://") && !m.starts_with("https://"))
        {
            let why = " in HEADSTART_MIRROR";
            return Err(DownloadError::Address { url: shown(url), why }.into());
        }
        let torch = set("TORCH_HOME").map(PathBuf::from);
        let torch = torch.or_else(|| set("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("torch")));
        let torch =
            torch.or_else(|| Some(directories::BaseDirs::new()?.home_dir().join(".cache").join("torch")));
        let torch = torch.map(|folder| folder.join("hub").join("checkpoints"));
        Ok(Sources { hub: Hub::from_env()?, mirror, torch })
    }

    /// The address a record is pulled from.
    pub fn address(&self, cfg: &PretrainedCfg) -> String {
        self.published(cfg).url
    }

    pub(crate) fn published(&self, cfg: &PretrainedCfg) -> Published {
        let (base, file, sha256) = match cfg.origin {
            Origin::Url(base) => (base, cfg.file, cfg.sha256),
            Origin::OtherFile { base, file, sha256 } => (base, file, sha256),
            Origin::Hub(repository) => {
                let url = self.hub.url(repository, REVISION, cfg.file);
                return Published { url, file: cfg.file, sha256: cfg.sha256 };
            }
        };
        let url = match &self.mirror {
            Some(mirror) => format!("{mirror}/{file}"),
            None => format!("{base}{file}"),
        };
        Published { url, file, sha256 }
    }
}

/// The revision of a hub's repository.
pub(crate) const REVISION: &str = "main";
