//! Why a file could not be had.

use std::path::PathBuf;

/// Why a file could not be had. Every message names the address, without what is secret in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// No connection, or none that answers.
    #[error(
        "cannot reach {url}: {why}. Is this machine online? HTTPS_PROXY names a proxy, NO_PROXY what goes past it"
    )]
    Unreachable {
        /// The address.
        url: String,
        /// What the connection ended with.
        why: String,
    },
    /// The server's certificate is not trusted, or TLS failed.
    #[error(
        "no secure connection to {url}: {why}. Where a proxy signs for it, SSL_CERT_FILE names its certificates"
    )]
    Insecure {
        /// The address.
        url: String,
        /// What TLS said.
        why: String,
    },
    /// An answer that is not the file.
    #[error("{url} answers {status}{}", meaning(*status))]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server sends elsewhere, and that is not followed.
    #[error("{url} sends elsewhere, which is not followed: {why}")]
    Redirect {
        /// The address.
        url: String,
        /// Why it is not followed.
        why: String,
    },
    /// The transfer ended too early, as often as was tried.
    #[error(
        "{url} broke off {tries} times: {found} of {} bytes are here ({why}). The next try goes on from there",
        expected.map_or("an unknown number of".to_owned(), |n| n.to_string())
    )]
    BrokenOff {
        /// The address.
        url: String,
        /// Bytes of the whole file, where that is known.
        expected: Option<u64>,
        /// Bytes that are here.
        found: u64,
        /// Tries.
        tries: u32,
        /// What the last one ended with.
        why: String,
    },
    /// More bytes than the file can have.
    #[error("{url} holds more than {most} bytes, the most this file can have{}", said(*found))]
    TooLarge {
        /// The address.
        url: String,
        /// The most bytes it may have.
        most: u64,
        /// The bytes that the server announced, where it did.
        found: Option<u64>,
    },
    /// Another size than the file has.
    #[error("{url}: expected {expected} bytes, found {found}")]
    Size {
        /// The address.
        url: String,
        /// The file's bytes.
        expected: u64,
        /// Those that came, or were announced.
        found: u64,
    },
    /// Another content than was published.
    #[error("{url}: expected {expected}, found {found} ({bytes} bytes). What came was thrown away")]
    Checksum {
        /// The address.
        url: String,
        /// The published checksum.
        expected: String,
        /// That of what came.
        found: String,
        /// Bytes that came.
        bytes: u64,
    },
    /// An answer without what a hub says of its files.
    #[error(
        "{url}: expected the header {header} of a Hugging Face hub, found {found}. Is HF_ENDPOINT a hub's address?"
    )]
    Header {
        /// The address.
        url: String,
        /// The header.
        header: &'static str,
        /// What stands there.
        found: String,
    },
    /// The user said that this machine is offline.
    #[error("{url} is not asked: HF_HUB_OFFLINE is set")]
    Offline {
        /// The address.
        url: String,
    },
    /// No address.
    #[error("{url} is no address: expected https://HOST/..{}", why)]
    Address {
        /// What was given.
        url: String,
        /// More about it.
        why: &'static str,
    },
    /// Another process gets the same file.
    #[error("another process is getting {}: wait for it, or end it", path.display())]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// The certificates of the user's own cannot be read.
    #[error("SSL_CERT_FILE is {}, expected a file of certificates (PEM): {why}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The disk.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The platform names no folder for caches, and `HF_HOME` is not set.
    #[error(
        "this system names no cache folder: set HF_HOME to the folder that shall hold files of the Hugging Face hub"
    )]
    NoCache,
}

impl DownloadError {
    /// Whether it may be gone in a moment.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            DownloadError::Unreachable { .. } => true,
            DownloadError::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502..=504),
            _ => false,
        }
    }

    /// Whether a server answered.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self, DownloadError::Status { .. })
    }
}

fn said(found: Option<u64>) -> String {
    found.map_or(String::new(), |n| format!(": it announces {n}"))
}

fn meaning(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            ": it does not let everyone have this file, or there is none. HF_TOKEN holds a token of the Hugging Face hub"
        }
        404 | 410 => ": there is no such file",
        407 => ": the proxy wants a name and a password (HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT)",
        408 | 429 => ": too many requests; try again later",
        500..=599 => ": the server has a fault; try again later",
        _ => ", expected 200",
    }
}
