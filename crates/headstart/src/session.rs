//! What every long piece of work is given: where things are kept, who works, whom to tell, and when to stop.

use crate::Error;
use headstart_kernels::Pool;
use headstart_models::Home;
use std::sync::atomic::{AtomicBool, Ordering};

/// Told how long work comes along.
pub trait Progress: Sync {
    /// A piece of work of `total` steps begins.
    fn start(&self, what: &str, total: usize);
    /// `n` more steps are done.
    fn advance(&self, n: usize);
    /// The piece of work ended, done or not.
    fn finish(&self);
    /// Something a person should know, in a sentence.
    fn note(&self, text: &str);
    /// How the piece of work in hand is doing, in a few words.
    fn status(&self, _: &str) {}
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn start(&self, _: &str, _: usize) {}
    fn advance(&self, _: usize) {}
    fn finish(&self) {}
    fn note(&self, _: &str) {}
}

/// The surroundings of a run.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// Where weights and cached features are kept.
    pub home: &'a Home,
    /// The worker threads. Results do not depend on their number.
    pub pool: &'a Pool,
    /// Who is told.
    pub progress: &'a dyn Progress,
    /// Set from outside to stop: the run saves what it has and returns [`Error::Interrupted`].
    pub interrupt: &'a AtomicBool,
}

impl Session<'_> {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.interrupt.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}
