//! The Hugging Face hub: where it is, what it says of a file, and the cache that Python's `huggingface_hub` keeps too.
//!
//! `models--OWNER--NAME/blobs/ETAG` are the files, `snapshots/COMMIT/FILE` links to them, and `refs/REVISION` holds the
//! commit. The ETag of a large file is its SHA-256; of a small one it is git's, which is not compared: only its size is.

use crate::client::{Request, text};
use crate::url::shown;
use crate::{Checksum, Client, Download, DownloadError, Watch};
use std::path::{Path, PathBuf};

/// A hub and its cache.
#[derive(Debug, Clone)]
pub struct Hub {
    /// Its address, without a slash at the end.
    pub endpoint: String,
    /// The folder with one folder for each repository.
    pub cache: PathBuf,
    /// The user's token.
    pub token: Option<String>,
    /// Whether it may not be asked.
    pub offline: bool,
}

/// A file of the hub on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// Where it is in the cache.
    pub path: PathBuf,
    /// What the hub says of its content.
    pub checksum: Checksum,
    /// Whether it was there already; the hub was not asked then.
    pub was_here: bool,
    /// How many of its bytes an earlier try had brought.
    pub resumed: u64,
}

impl Hub {
    /// The hub of this environment: `HF_ENDPOINT`, `HF_HUB_CACHE` or `HF_HOME`, `HF_TOKEN` or the file of
    /// `huggingface-cli login`, `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// Where the platform names no cache folder and no variable does.
    pub fn from_env() -> Result<Hub, DownloadError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).and_then(|v| v.into_string().ok()).map(|v| v.trim().to_owned());
        let home = set("HF_HOME").map(PathBuf::from);
        let home = home.or_else(|| set("XDG_CACHE_HOME").map(|c| PathBuf::from(c).join("huggingface")));
        let home = home.or_else(|| {
            directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(".cache").join("huggingface"))
        });
        let cache = set("HF_HUB_CACHE").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join("hub")));
        let file = set("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home?.join("token")));
        let token = text("HF_TOKEN").or_else(|| std::fs::read_to_string(file?).ok());
        let token = token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let yes = ["1", "true", "yes", "on"];
        let offline = text("HF_HUB_OFFLINE").is_some_and(|v| yes.contains(&v.to_ascii_lowercase().as_str()));
        let cache = cache.ok_or(DownloadError::NoCache)?;
        Ok(Hub { endpoint: endpoint.trim_end_matches('/').to_owned(), cache, token, offline })
    }

    /// The address of a file.
    pub fn url(&self, repository: &str, revision: &str, file: &str) -> String {
        format!("{}/{repository}/resolve/{revision}/{file}", self.endpoint)
    }

    /// The file `file` of `repository` (`owner/name`), of at most `most` bytes: out of the cache where it is there whole,
    /// else from the hub.
    ///
    /// # Errors
    /// Where it is not here and cannot be had.
    pub fn file(
        &self,
        (repository, revision, file): (&str, &str, &str),
        most: u64,
        client: &Client,
        watch: &dyn Watch,
    ) -> Result<HubFile, DownloadError> {
        let folder = self.cache.join(format!("models--{}", repository.replace('/', "--")));
        if let Some(here) = kept(&folder, revision, file) {
            return Ok(here);
        }
        let url = self.url(repository, revision, file);
        if self.offline {
            return Err(DownloadError::Offline { url: shown(&url) });
        }
        let told = self.ask(&url, client)?;
        let blob = folder.join("blobs").join(&told.etag);
        let link = folder.join("snapshots").join(&told.commit).join(file);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| DownloadError::Io { path, source }
        };
        let mut resumed = 0;
        let was_here = is_whole(&blob, &told.checksum, told.size);
        if !was_here {
            let download = Download {
                url,
                to: blob.clone(),
                unfinished: folder.join("blobs").join(format!("{}.incomplete", told.etag)),
                checksum: told.checksum.clone(),
                size: told.size,
                most,
                token: self.token.clone(),
            };
            resumed = download.fetch(client, watch)?.resumed;
        }
        point(&link, &blob).map_err(io(&link))?;
        let reference = folder.join("refs").join(revision);
        if revision != told.commit {
            let write = || {
                std::fs::create_dir_all(folder.join("refs"))?;
                let sibling = folder.join("refs").join(format!(".{revision}.{}", std::process::id()));
                std::fs::write(&sibling, &told.commit)?;
                std::fs::rename(&sibling, &reference)
            };
            write().map_err(io(&reference))?;
        }
        Ok(HubFile { path: link, checksum: told.checksum, was_here, resumed })
    }

    /// What the hub says of the file.
    fn ask(&self, url: &str, client: &Client) -> Result<Told, DownloadError> {
        let request = Request { url, head: true, from: 0, token: self.token.as_deref() };
        let mut tries = 1;
        let answer = loop {
            let error = match client.send(&request) {
                Ok(answer) if answer.status().is_success() || answer.status().is_redirection() => {
                    break answer;
                }
                Ok(answer) => DownloadError::Status { url: shown(url), status: answer.status().as_u16() },
                Err(error) => error,
            };
            if tries >= client.tries || !matches!(error, DownloadError::Status { .. }) || !error.may_pass() {
                return Err(error);
            }
            std::thread::sleep(client.pause * (1 << (tries - 1).min(5)));
            tries += 1;
        };
        let header = |name: &str| text(answer.headers(), name).map(str::trim);
        let missing = |header: &'static str, found: Option<&str>| {
            let found =
                found.map_or("none".to_owned(), |v| format!("{:?}", v.chars().take(80).collect::<String>()));
            DownloadError::Header { url: shown(url), header, found }
        };
        let commit = header("x-repo-commit");
        let commit_is = commit.filter(|c| is_hex(c, 40)).ok_or_else(|| missing("X-Repo-Commit", commit))?;
        let etag = header("x-linked-etag").or_else(|| header("etag"));
        let bare = etag.map(|e| e.trim_start_matches("W/").trim_matches('"'));
        // It becomes the name of a file.
        let bare = bare.filter(|e| is_hex(e, 64) || is_hex(e, 40)).ok_or_else(|| missing("ETag", etag))?;
        let checksum = if bare.len() == 64 { Checksum::starting_with(bare) } else { Checksum::Unknown };
        // A redirect's own length says nothing of the file.
        let length = if answer.status().is_success() { header("content-length") } else { None };
        let size = header("x-linked-size").or(length).and_then(|n| n.parse().ok());
        Ok(Told { commit: commit_is.to_owned(), etag: bare.to_owned(), checksum, size })
    }
}

/// What a hub says of a file.
struct Told {
    commit: String,
    etag: String,
    checksum: Checksum,
    size: Option<u64>,
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The file out of the cache, where it is whole.
fn kept(folder: &Path, revision: &str, file: &str) -> Option<HubFile> {
    let commit = match is_hex(revision, 40) {
        true => revision.to_owned(),
        false => std::fs::read_to_string(folder.join("refs").join(revision)).ok()?.trim().to_owned(),
    };
    let path = folder.join("snapshots").join(is_hex(&commit, 40).then_some(commit)?).join(file);
    // The link's end is named by the content.
    let end = std::fs::canonicalize(&path).ok()?;
    let name = end.file_name()?.to_str()?;
    let checksum = if is_hex(name, 64) { Checksum::starting_with(name) } else { Checksum::Unknown };
    is_whole(&end, &checksum, None).then_some(HubFile { path, checksum, was_here: true, resumed: 0 })
}

fn is_whole(path: &Path, checksum: &Checksum, size: Option<u64>) -> bool {
    let length = std::fs::metadata(path).map(|m| m.len());
    length.is_ok_and(|length| size.is_none_or(|size| size == length)) && checksum.is_of(path)
}

/// Makes `link` lead to `blob`; a copy where the system has no links.
fn point(link: &Path, blob: &Path) -> std::io::Result<()> {
    let Some(folder) = link.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder)?;
    let name = link.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sibling = link.with_file_name(format!(".{name}.{}", std::process::id()));
    let _ = std::fs::remove_file(&sibling);
    #[cfg(unix)]
    {
        // Relative, as Python makes it, so that the cache can be moved.
        let blobs = folder.ancestors().position(|f| f.ends_with("snapshots")).map(|up| "../".repeat(up + 1));
        let end = match (blobs, blob.file_name()) {
            (Some(up), Some(name)) => Path::new(&up).join("blobs").join(name),
            _ => blob.to_owned(),
        };
        std::os::unix::fs::symlink(end, &sibling)?;
    }
    #[cfg(not(unix))]
    std::fs::copy(blob, &sibling)?;
    std::fs::rename(&sibling, link)
}
