//! A file from an address to the disk: resumed, bounded, checked, and put in its place last.
//!
//! What has come is kept in an unfinished file, which one process holds at a time. A broken transfer goes on with a
//! `Range` request, in the same call or in a later one, but only where a checksum will judge the whole: without one a
//! transfer begins again. A server that ignores the range, or whose file has changed meanwhile, costs time, never a
//! wrong file.

use crate::checksum::{add, hex};
use crate::client::{Request, text};
use crate::url::shown;
use crate::{Checksum, Client, DownloadError, Watch};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Instant;
use ureq::Body;
use ureq::http::{Response, StatusCode};

/// Bytes that a try must bring to count as progress.
const PROGRESS: u64 = 1 << 16;
/// A transfer slower than this many bytes a second counts as broken off.
const SLOWEST: u64 = 512;

/// A file to get.
#[derive(Debug, Clone)]
pub struct Download {
    /// Its address.
    pub url: String,
    /// Where it shall be.
    pub to: PathBuf,
    /// Where it is while it is not whole, on the same disk.
    pub unfinished: PathBuf,
    /// What is known of its content.
    pub checksum: Checksum,
    /// Its size in bytes, where that is known.
    pub size: Option<u64>,
    /// The most bytes it may have.
    pub most: u64,
    /// A token for the server of `url`.
    pub token: Option<String>,
}

/// What a download did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The file's bytes.
    pub bytes: u64,
    /// How many of them were here already.
    pub resumed: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// What of a file is here.
struct Part {
    file: File,
    hasher: Sha256,
    have: u64,
}

/// What ended a try.
enum End {
    /// The whole file is here.
    Whole,
    /// Some of it, and what ended the transfer.
    Early(Option<u64>, String),
    /// The server has no such range: begin again.
    Again,
}

impl Download {
    /// Gets the file.
    ///
    /// # Errors
    /// [`DownloadError`]. What has come stays for the next call where it can be part of the file; nothing is ever at
    /// [`to`](Self::to) but the whole file.
    pub fn fetch(&self, client: &Client, watch: &dyn Watch) -> Result<Fetched, DownloadError> {
        let io = |source| DownloadError::Io { path: self.unfinished.clone(), source };
        let mut part = self.open()?;
        let mut resumed = part.have;
        let mut restarted = false;
        loop {
            let result = self.whole(&mut part, client, watch);
            watch.end();
            result?;
            let sha256 = hex(part.hasher.clone());
            if self.checksum.fits(&sha256) {
                part.file.sync_all().map_err(io)?;
                std::fs::rename(&self.unfinished, &self.to)
                    .map_err(|source| DownloadError::Io { path: self.to.clone(), source })?;
                return Ok(Fetched { bytes: part.have, resumed: resumed.min(part.have), sha256 });
            }
            let bytes = part.have;
            part.clear().map_err(io)?;
            if resumed == 0 || restarted {
                // Nobody should take it for something to go on with.
                let _ = std::fs::remove_file(&self.unfinished);
                let (url, expected) = (shown(&self.url), self.checksum.to_string());
                return Err(DownloadError::Checksum { url, expected, found: sha256, bytes });
            }
            (resumed, restarted) = (0, true);
            watch.note("what was here of the file is not part of it: it is fetched from the start");
        }
    }

    /// The unfinished file, held by this process, with what of it is here.
    fn open(&self) -> Result<Part, DownloadError> {
        let io = |source| DownloadError::Io { path: self.unfinished.clone(), source };
        for folder in [self.unfinished.parent(), self.to.parent()].into_iter().flatten() {
            std::fs::create_dir_all(folder)
                .map_err(|source| DownloadError::Io { path: folder.to_owned(), source })?;
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&self.unfinished)
            .map_err(io)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(DownloadError::Busy { path: self.unfinished.clone() });
            }
            // Some network disks have no locks: what two processes would spoil, the checksum finds.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        let mut part = Part { file, hasher: Sha256::new(), have: 0 };
        let length = part.file.metadata().map_err(io)?.len();
        if self.checksum.is_known() && length <= self.size.unwrap_or(self.most) {
            part.have = add(&mut part.hasher, &mut part.file).map_err(io)?;
        } else {
            part.clear().map_err(io)?;
        }
        Ok(part)
    }

    /// Tries until the whole file is here.
    fn whole(&self, part: &mut Part, client: &Client, watch: &dyn Watch) -> Result<(), DownloadError> {
        let (mut tries, mut size, mut cleared, mut answered) = (0, self.size, false, false);
        loop {
            if size.is_some_and(|size| part.have == size) && part.have > 0 {
                return Ok(());
            }
            let before = part.have;
            let (error, why) = match self.attempt(part, client, watch) {
                Ok(End::Whole) => return Ok(()),
                Ok(End::Again) if !cleared => {
                    part.clear().map_err(|source| self.disk(source))?;
                    cleared = true;
                    continue;
                }
                Ok(End::Again) => {
                    return Err(DownloadError::BrokenOff {
                        url: shown(&self.url),
                        expected: size,
                        found: part.have,
                        tries: tries + 1,
                        why: "the server has no more of it".to_owned(),
                    });
                }
                Ok(End::Early(total, why)) => {
                    size = size.or(total);
                    (None, why)
                }
                // A machine that is not online is told so at once.
                Err(error) if error.may_pass() && (answered || error.is_answer()) => {
                    let why = error.to_string();
                    (Some(error), why)
                }
                Err(error) => return Err(error),
            };
            answered = true;
            tries = if part.have >= before.saturating_add(PROGRESS) { 1 } else { tries + 1 };
            if tries >= client.tries {
                return Err(error.unwrap_or_else(|| DownloadError::BrokenOff {
                    url: shown(&self.url),
                    expected: size,
                    found: part.have,
                    tries,
                    why,
                }));
            }
            if error.is_none() && !self.checksum.is_known() {
                part.clear().map_err(|source| self.disk(source))?;
            }
            let pause = client.pause * (1 << (tries - 1).min(5));
            watch.note(&format!(
                "{why}: {} bytes are here, trying again in {:.0} s",
                part.have,
                pause.as_secs_f64().ceil()
            ));
            std::thread::sleep(pause);
        }
    }

    /// One request, and what it brings.
    fn attempt(&self, part: &mut Part, client: &Client, watch: &dyn Watch) -> Result<End, DownloadError> {
        let request = Request { url: &self.url, head: false, from: part.have, token: self.token.as_deref() };
        let answer = client.send(&request)?;
        let status = answer.status();
        let length = text(answer.headers(), "content-length").and_then(|n| n.trim().parse::<u64>().ok());
        let total = match status {
            StatusCode::OK => {
                if part.have > 0 {
                    watch.note("the server does not go on where a transfer broke off: it begins again");
                    part.clear().map_err(|source| self.disk(source))?;
                }
                length
            }
            StatusCode::PARTIAL_CONTENT => match range(&answer) {
                Some((start, total)) if start == part.have => total,
                _ => return Ok(End::Again),
            },
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(End::Again),
            other => return Err(DownloadError::Status { url: shown(&self.url), status: other.as_u16() }),
        };
        match (self.size, total) {
            (Some(expected), Some(found)) if expected != found => {
                return Err(DownloadError::Size { url: shown(&self.url), expected, found });
            }
            (_, Some(found)) if found > self.most => {
                return Err(DownloadError::TooLarge {
                    url: shown(&self.url),
                    most: self.most,
                    found: Some(found),
                });
            }
            _ => {}
        }
        let total = self.size.or(total);
        watch.begin(&self.name(), part.have, total);
        self.receive(part, answer.into_body(), total, client, watch)
    }

    /// Everything that comes, up to what the file may have.
    fn receive(
        &self,
        part: &mut Part,
        body: Body,
        total: Option<u64>,
        client: &Client,
        watch: &dyn Watch,
    ) -> Result<End, DownloadError> {
        let most = total.unwrap_or(self.most);
        let mut reader = body.into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 16];
        let (mut since, mut came) = (Instant::now(), 0);
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) if total.is_none_or(|total| part.have == total) => return Ok(End::Whole),
                Ok(0) => return Ok(End::Early(total, "the transfer ended early".to_owned())),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(End::Early(total, error.to_string())),
            };
            if part.have + n as u64 > most {
                let (url, found) = (shown(&self.url), part.have + n as u64);
                part.clear().map_err(|source| self.disk(source))?;
                return Err(match total {
                    Some(expected) => DownloadError::Size { url, expected, found },
                    None => DownloadError::TooLarge { url, most, found: None },
                });
            }
            part.push(&buffer[..n]).map_err(|source| self.disk(source))?;
            watch.advance(n as u64);
            came += n as u64;
            let window = since.elapsed();
            if window >= client.patience {
                if came < SLOWEST.saturating_mul(window.as_secs()) {
                    return Ok(End::Early(total, format!("{came} bytes in {} s", window.as_secs())));
                }
                (since, came) = (Instant::now(), 0);
            }
        }
    }

    fn name(&self) -> String {
        let end = shown(&self.url);
        end.rsplit('/').next().unwrap_or_default().to_owned()
    }

    fn disk(&self, source: io::Error) -> DownloadError {
        DownloadError::Io { path: self.unfinished.clone(), source }
    }
}

impl Part {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Nothing is here.
    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Sha256::new();
        self.have = 0;
        Ok(())
    }
}

/// First byte and size of the whole file, of `Content-Range: bytes 5-9/10`.
fn range(answer: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let range = text(answer.headers(), "content-range")?.strip_prefix("bytes ")?;
    let (span, total) = range.split_once('/')?;
    let (start, end) = span.split_once('-')?;
    let (start, end): (u64, u64) = (start.trim().parse().ok()?, end.trim().parse().ok()?);
    let total = if total.trim() == "*" { None } else { Some(total.trim().parse::<u64>().ok()?) };
    (start <= end && total.is_none_or(|total| end < total)).then_some((start, total))
}
