//! A file that was left out, as reports carry it.

use headstart_data::Skipped;
use serde::Serialize;

/// A file that was left out, as reports carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkippedFile {
    /// The file, relative to the data.
    pub path: String,
    /// A stable name for the reason.
    pub reason: String,
    /// The reason in words.
    pub detail: String,
    /// Whether it is a fault of the data (`--strict` refuses those), not a file that never was an image.
    pub fault: bool,
}

impl From<&Skipped> for SkippedFile {
    fn from(skipped: &Skipped) -> Self {
        SkippedFile {
            path: skipped.path.clone(),
            reason: skipped.reason.name().to_owned(),
            detail: skipped.reason.to_string(),
            fault: skipped.reason.is_fault(),
        }
    }
}
