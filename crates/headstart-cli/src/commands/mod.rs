//! The commands: each reads its arguments, asks the library, and prints.

mod advise;
mod bench;
mod cache;
mod doctor;
mod embed;
mod eval;
mod finetune;
mod inspect;
mod models;
mod predict;
mod skipped;
mod train;

use crate::args::{self, Command};
use crate::outcome::Outcome;
use crate::printer::Printer;

/// Runs a command.
///
/// # Errors
/// What stopped it; nothing was printed about that yet.
pub(crate) fn run(command: Command, printer: &Printer) -> anyhow::Result<Outcome> {
    // A wrong name is an error before any work, not after it.
    headstart::Isa::from_env()?;
    match command {
        Command::Doctor(args) => doctor::run(&args, printer),
        Command::Train(args) => train::run(*args, printer),
        Command::Finetune(args) => finetune::run(*args, printer),
        Command::Advise(args) => advise::run(&args, printer),
        Command::Eval(args) => eval::run(&args, printer),
        Command::Predict(args) => predict::run(&args, printer),
        Command::Embed(args) => embed::run(&args, printer),
        Command::Inspect(args) => inspect::run(&args, printer),
        Command::Bench(args) => bench::run(&args, printer),
        Command::Models { action } => models::run(action.unwrap_or(args::Models::List), printer),
        Command::Cache { action } => cache::run(action.unwrap_or(args::Cache::Info), printer),
    }
}
