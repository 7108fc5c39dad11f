//! How long work comes along: a bar where a person watches, a line now and then in a log.

use crate::printer::Printer;
use headstart::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between two lines of a log.
const PAUSE: Duration = Duration::from_secs(10);

/// Shows progress on standard error.
pub(crate) struct Talk {
    printer: Printer,
    show: Show,
    state: Mutex<Option<Running>>,
}

/// What a piece of work shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    /// A bar that is drawn over again.
    Bar,
    /// A line now and then.
    Lines,
    /// Only notes.
    Notes,
}

/// The piece of work in hand.
struct Running {
    what: String,
    total: usize,
    done: usize,
    said: Instant,
    /// How it is doing, in a few words.
    status: String,
    /// Bytes that were here when it began, where bytes are counted.
    bytes: Option<u64>,
    began: Instant,
    bar: ProgressBar,
}

impl Talk {
    /// A bar on a terminal, lines elsewhere.
    pub(crate) fn new(printer: Printer) -> Self {
        let show = if std::io::stderr().is_terminal() { Show::Bar } else { Show::Lines };
        Talk { printer, show, state: Mutex::new(None) }
    }

    /// Only notes: for work whose results appear on the same screen one by one.
    pub(crate) fn notes(printer: Printer) -> Self {
        Talk { printer, show: Show::Notes, state: Mutex::new(None) }
    }

    fn state(&self) -> MutexGuard<'_, Option<Running>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bar(&self, what: &str, total: usize) -> ProgressBar {
        if self.show != Show::Bar {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {per_sec} eta {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar.set_message(what.to_owned());
        bar
    }
}

impl Running {
    /// `features: 30 of 100`, or `x.pth: 30.0 of 100.0 MB, 12 s left`.
    fn line(&self) -> String {
        let Some(before) = self.bytes else {
            return format!("{}: {} of {}{}", self.what, self.done, self.total, self.status);
        };
        let megabytes = |n: usize| n as f64 / 1e6;
        if self.total == 0 {
            return format!("{}: {:.1} MB", self.what, megabytes(self.done));
        }
        let came = (self.done as u64).saturating_sub(before).max(1) as f64;
        let left = self.began.elapsed().as_secs_f64() * self.total.saturating_sub(self.done) as f64 / came;
        let (done, total) = (megabytes(self.done), megabytes(self.total));
        format!("{}: {done:.1} of {total:.1} MB, {left:.0} s left", self.what)
    }
}

#[cfg(feature = "download")]
impl headstart::models::download::Watch for Talk {
    fn begin(&self, file: &str, have: u64, total: Option<u64>) {
        let total = total.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        self.start(file, total);
        let mut state = self.state();
        let Some(running) = state.as_mut() else { return };
        running.bytes = Some(have);
        running.done = usize::try_from(have).unwrap_or(0);
        let template = "{msg} [{bar:30}] {bytes} of {total_bytes} {bytes_per_sec} eta {eta}";
        let style = ProgressStyle::with_template(template);
        running.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        running.bar.set_position(have);
        running.bar.reset_eta();
    }

    fn advance(&self, bytes: u64) {
        Progress::advance(self, usize::try_from(bytes).unwrap_or(0));
    }

    fn end(&self) {
        self.finish();
    }

    fn note(&self, text: &str) {
        Progress::note(self, text);
    }
}

impl Progress for Talk {
    fn start(&self, what: &str, total: usize) {
        let bar = self.bar(what, total);
        let running = Running {
            what: what.to_owned(),
            total,
            done: 0,
            said: Instant::now(),
            status: String::new(),
            bytes: None,
            began: Instant::now(),
            bar,
        };
        if let Some(before) = self.state().replace(running) {
            before.bar.finish_and_clear();
        }
    }

    fn advance(&self, n: usize) {
        let mut state = self.state();
        let Some(running) = state.as_mut() else { return };
        running.done += n;
        running.bar.inc(n as u64);
        if self.show == Show::Lines && running.said.elapsed() >= PAUSE {
            running.said = Instant::now();
            self.printer.say(&running.line());
        }
    }

    fn finish(&self) {
        if let Some(running) = self.state().take() {
            running.bar.finish_and_clear();
        }
    }

    fn note(&self, text: &str) {
        match self.state().as_ref() {
            Some(running) => running.bar.suspend(|| self.printer.say(text)),
            None => self.printer.say(text),
        }
    }

    fn status(&self, text: &str) {
        if let Some(running) = self.state().as_mut() {
            running.status = format!(", {text}");
            running.bar.set_message(format!("{}{}", running.what, running.status));
        }
    }
}
