//! The commands: each reads its arguments, asks the library, and prints.

mod adapt;
mod advise;
mod bench;
mod cache;
mod compare;
mod doctor;
mod embed;
mod eval;
mod explain;
mod export;
mod finetune;
mod import;
mod inspect;
mod models;
mod predict;
#[cfg(feature = "download")]
pub(crate) mod pull;
mod rank;
mod report;
mod skipped;
mod texts;
mod train;

use crate::args::{self, Command};
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::percent;
use headstart::calibration::CalibrationPart;
use headstart::metrics::Evaluation;

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
        Command::Adapt(args) => adapt::run(args, printer),
        Command::Eval(args) => eval::run(&args, printer),
        Command::Compare(args) => compare::run(&args, printer),
        Command::Predict(args) => predict::run(&args, printer),
        Command::Explain(args) => explain::run(&args, printer),
        Command::Embed(args) => embed::run(&args, printer),
        Command::Rank(args) => rank::run(&args, printer),
        Command::Export(args) => export::run(&args, printer),
        Command::Inspect(args) => inspect::run(&args, printer),
        Command::Bench(args) => bench::run(&args, printer),
        Command::Models { action } => models::run(action.unwrap_or(args::Models::List), printer),
        Command::Cache { action } => cache::run(action.unwrap_or(args::Cache::Info), printer),
    }
}

/// `temperature 1.21: loss 0.71 before, 0.69 after, ..`, or why there is none.
fn calibration(part: &CalibrationPart) -> String {
    match (part.temperature, &part.why_not) {
        (None, None) => "no temperature".to_owned(),
        (None, Some(why)) => format!("no temperature: {why}"),
        (Some(temperature), _) => format!(
            "temperature {temperature:.2}: loss {:.4} before and {:.4} after, calibration error {} and {}",
            part.loss_before,
            part.loss_after,
            percent(part.ece_before),
            percent(part.ece_after)
        ),
    }
}

/// `93.2 % (95 % interval 91.0 % to 95.0 %)`.
fn accuracy(result: &Evaluation) -> String {
    let [low, high] = result.accuracy_ci95.map(percent);
    format!("{} (95 % interval {low} to {high})", percent(result.accuracy))
}
