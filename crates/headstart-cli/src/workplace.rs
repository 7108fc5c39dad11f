//! What a session needs: the home, the threads, and Ctrl-C.

use crate::outcome::INTERRUPTED;
use crate::printer::Printer;
use crate::progress::Talk;
use anyhow::Context;
use headstart::models::Home;
use headstart::{Pool, Session};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Owns what a [`Session`] borrows.
pub(crate) struct Workplace {
    pub(crate) home: Home,
    pool: Pool,
    talk: Talk,
    interrupt: Arc<AtomicBool>,
}

impl Workplace {
    /// Opens the home, starts the threads and takes over Ctrl-C: the first asks the run to stop, the second
    /// ends the process.
    ///
    /// # Errors
    /// Where there is no home, or Ctrl-C cannot be taken over.
    pub(crate) fn open(threads: usize, talk: Talk) -> anyhow::Result<Self> {
        let interrupt = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupt);
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::Relaxed) {
                leave();
            }
        })
        .context("cannot take over Ctrl-C")?;
        Ok(Workplace { home: Home::from_env()?, pool: Pool::new(threads), talk, interrupt })
    }

    /// As [`Workplace::open`], with progress on standard error.
    ///
    /// # Errors
    /// As [`Workplace::open`].
    pub(crate) fn with_progress(threads: usize, printer: &Printer) -> anyhow::Result<Self> {
        Workplace::open(threads, Talk::new(*printer))
    }

    pub(crate) fn session(&self) -> Session<'_> {
        Session { home: &self.home, pool: &self.pool, progress: &self.talk, interrupt: &self.interrupt }
    }
}

#[expect(clippy::exit, reason = "the second Ctrl-C: whoever pressed it does not want to wait")]
fn leave() {
    std::process::exit(i32::from(INTERRUPTED));
}
