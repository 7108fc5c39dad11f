//! The one place that writes: data to standard output, talk to standard error.

use anyhow::Context;
use serde::Serialize;
use std::io::{self, ErrorKind, Write};

/// Writes to the two streams of the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    json: bool,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        Printer { json }
    }

    /// Whether standard output carries JSON for a program, not text for a person.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes lines of data. False where the reader went away, which is no error: it has what it wanted.
    ///
    /// # Errors
    /// Where the stream cannot be written, a full disk say.
    pub(crate) fn data(&self, text: &str) -> anyhow::Result<bool> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error).context("cannot write to standard output"),
        }
    }

    /// Writes a value as one line of JSON. As [`Printer::data`].
    ///
    /// # Errors
    /// As [`Printer::data`].
    pub(crate) fn json(&self, value: &impl Serialize) -> anyhow::Result<bool> {
        self.data(&serde_json::to_string(value)?)
    }

    /// Says something to the person. A closed stream is no reason to stop.
    pub(crate) fn say(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
    }

    /// `error: ...` with its causes, each said once.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let mut text = format!("error: {error}");
        for cause in error.chain().skip(1) {
            let cause = cause.to_string();
            if !text.contains(&cause) {
                text += &format!("\n  because: {cause}");
            }
        }
        self.say(&text);
    }
}
