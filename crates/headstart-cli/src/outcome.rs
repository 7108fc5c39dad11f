//! Exit codes: 0 fine, 1 the work ran and found fault, 2 error, 130 interrupted.

use crate::printer::Printer;
use headstart::SkippedFile;
use std::process::ExitCode;

/// How a command that ran to its end ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was done.
    Fine,
    /// The work ran, but some of what it was given could not be used.
    Fault,
}

impl Outcome {
    /// A fault where one of the files left out should have been usable.
    pub(crate) fn of(skipped: &[SkippedFile]) -> Self {
        if skipped.iter().any(|s| s.fault) { Outcome::Fault } else { Outcome::Fine }
    }

    /// A fault where one of both is.
    pub(crate) fn or(self, other: Self) -> Self {
        if self == Outcome::Fault { self } else { other }
    }
}

/// The exit code of an interrupted run: 128 and the number of SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// Prints clap's answer (help, version, or what is wrong with the command line).
pub(crate) fn unparsed(answer: &clap::Error) -> ExitCode {
    // Nobody is left to tell where the output is closed.
    let _ = answer.print();
    if answer.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

/// Prints the error, if there is one, and gives the exit code.
pub(crate) fn exit_code(result: anyhow::Result<Outcome>, printer: &Printer) -> ExitCode {
    match result {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Fault) => ExitCode::from(1),
        Err(error) => {
            printer.error(&error);
            match error.downcast_ref::<headstart::Error>() {
                Some(headstart::Error::Interrupted | headstart::Error::Paused { .. }) => {
                    ExitCode::from(INTERRUPTED)
                }
                _ => ExitCode::from(2),
            }
        }
    }
}
