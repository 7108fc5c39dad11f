//! `history.jsonl`: a line for every step and epoch of a fit as it happens, and the freeze receipt at both ends.

use super::{Receipt, TuneEpoch};
use crate::Error;
use headstart_weights::replace_file;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A line of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// The frozen parameters before the first step.
    FrozenBefore {
        /// Their hashes.
        sha256: Receipt,
    },
    /// A step.
    Step {
        /// Counted from 1 over the whole fit.
        step: usize,
        /// The epoch, from 1.
        epoch: usize,
        /// The batch's loss before the step.
        loss: f64,
        /// The share of the batch that was right before the step.
        accuracy: f64,
        /// The classifier's learning rate.
        lr: f64,
    },
    /// An epoch.
    Epoch(TuneEpoch),
    /// The frozen parameters after the last step.
    FrozenAfter {
        /// Their hashes.
        sha256: Receipt,
    },
}

/// The file, open at its end.
pub(crate) struct History {
    path: PathBuf,
    file: File,
}

impl History {
    /// The file's name in the folder of a run.
    pub(crate) const FILE: &'static str = "history.jsonl";

    /// The history in `folder` up to `step` steps and `epochs` epochs: what was written behind them belongs to steps
    /// that are taken again. Nothing of an older run where both are 0.
    pub(crate) fn open(folder: &Path, step: usize, epochs: usize) -> Result<History, Error> {
        let path = folder.join(History::FILE);
        let old = match step {
            0 => String::new(),
            _ => std::fs::read_to_string(&path).unwrap_or_default(),
        };
        let known = |line: &&str| match serde_json::from_str(line) {
            Ok(Line::Step { step: at, .. }) => at <= step,
            Ok(Line::Epoch(at)) => at.epoch <= epochs,
            Ok(Line::FrozenBefore { .. }) => true,
            // A line that a power cut left half-written is one of a step that is taken again.
            Ok(Line::FrozenAfter { .. }) | Err(_) => false,
        };
        let kept: Vec<&str> = old.lines().filter(known).collect();
        let write = replace_file(&path, |w| kept.iter().try_for_each(|line| writeln!(w, "{line}")));
        write.map_err(Error::io("write", &path))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(Error::io("write", &path))?;
        Ok(History { path, file })
    }

    /// Appends a line.
    pub(crate) fn write(&mut self, line: &Line) -> Result<(), Error> {
        let mut text = serde_json::to_string(line).unwrap_or_default();
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(Error::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_history_forgets_what_is_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let step = |step| Line::Step { step, epoch: 1, loss: 0.1 + 0.2, accuracy: 0.5, lr: 1e-3 };
        let mut history = History::open(folder.path(), 0, 0).unwrap();
        history.write(&Line::FrozenBefore { sha256: Receipt::default() }).unwrap();
        (1..=5).for_each(|s| history.write(&step(s)).unwrap());
        history.file.write_all(b"{\"kind\":\"st").unwrap();
        let mut history = History::open(folder.path(), 3, 0).unwrap();
        history.write(&step(4)).unwrap();
        let text = std::fs::read_to_string(folder.path().join(History::FILE)).unwrap();
        let lines: Vec<Line> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[1..], [step(1), step(2), step(3), step(4)]);
        History::open(folder.path(), 0, 0).unwrap();
        assert_eq!(std::fs::read(folder.path().join(History::FILE)).unwrap(), b"", "a new run begins anew");
    }
}
