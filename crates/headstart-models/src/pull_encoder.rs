//! Getting a text encoder, a repository of the Hugging Face hub, into a folder of the home.

use crate::sources::REVISION;
use crate::tokens::MAX_TOKENIZER;
use crate::{Home, ModelsError, Sources, TextEncoder, is_repository};
use headstart_download::{Client, DownloadError, Watch};
use std::path::{Path, PathBuf};

/// Bytes of a configuration and of weights at most.
const MAX_CONFIG: u64 = 1 << 20;
const MAX_WEIGHTS: u64 = 8 << 30;
/// The weights, the first that is there.
const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// What the pull of a text encoder did.
#[derive(Debug, Clone)]
pub struct EncoderPull {
    /// The folder.
    pub folder: PathBuf,
    /// Whether it was there already; the network was not asked then.
    pub was_here: bool,
    /// Its files, in the order in which they came; none where it was there.
    pub files: Vec<String>,
}

/// Gets the text encoder `repository` (`owner/name`) into the home, where it is not there.
///
/// # Errors
/// Where a file cannot be had, or they are no encoder that is known. Nothing is left half-made.
pub fn pull_encoder(
    repository: &str,
    home: &Home,
    sources: &Sources,
    client: &Client,
    watch: &dyn Watch,
) -> Result<EncoderPull, ModelsError> {
    let folder = home.encoder(repository);
    if !is_repository(repository) {
        let name = repository.to_owned();
        return Err(ModelsError::UnknownName { name, nearest: Vec::new() });
    }
    if folder.is_dir() {
        return Ok(EncoderPull { folder, was_here: true, files: Vec::new() });
    }
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ModelsError::Io { path, source }
    };
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let staging = Staging(folder.with_file_name(format!(".{name}.{}.partial", std::process::id())));
    let mut files = Vec::new();
    let mut get = |file: &str, most: u64| -> Result<bool, ModelsError> {
        let got = match sources.hub.file((repository, REVISION, file), most, client, watch) {
            Ok(got) => got,
            Err(DownloadError::Status { status: 404, .. }) => return Ok(false),
            Err(source) => {
                let (name, source) = (repository.to_owned(), Box::new(source));
                return Err(ModelsError::PullEncoder { name, source });
            }
        };
        let to = staging.0.join(file);
        std::fs::create_dir_all(to.parent().unwrap_or(&staging.0)).map_err(io(&to))?;
        let from = std::fs::canonicalize(&got.path).map_err(io(&got.path))?;
        if std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to).map_err(io(&to))?;
        }
        files.push(file.to_owned());
        Ok(true)
    };
    let modules = get("modules.json", MAX_CONFIG)?;
    for file in ["config.json", "tokenizer_config.json", "sentence_bert_config.json"] {
        get(file, MAX_CONFIG)?;
    }
    if modules {
        for path in module_folders(&staging.0.join("modules.json")) {
            get(&format!("{path}/config.json"), MAX_CONFIG)?;
        }
    }
    get("tokenizer.json", MAX_TOKENIZER)?;
    if !get(WEIGHTS[0], MAX_WEIGHTS)? {
        get(WEIGHTS[1], MAX_WEIGHTS)?;
    }
    if files.is_empty() {
        let url = sources.hub.url(repository, REVISION, "config.json");
        let source = Box::new(DownloadError::Status { url, status: 404 });
        return Err(ModelsError::PullEncoder { name: repository.to_owned(), source });
    }
    TextEncoder::open(&staging.0)?;
    std::fs::rename(&staging.0, &folder).map_err(io(&folder))?;
    Ok(EncoderPull { folder, was_here: false, files })
}

/// The folders that `modules.json` names, but for those that lead elsewhere: opening refuses them.
fn module_folders(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let modules: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
    let paths = modules.iter().filter_map(|module| module.get("path")?.as_str());
    let plain = |path: &&str| {
        !path.is_empty() && path.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    paths.filter(plain).take(16).map(str::to_owned).collect()
}

/// A folder that is removed unless it was renamed.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        // Where it was renamed there is none.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
