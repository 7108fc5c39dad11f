//! `headstart rank`: which network suits the data.

use super::skipped;
use crate::args::Rank;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{Align, Table, percent, short};
use crate::workplace::Workplace;
use headstart::data::Kind;
use headstart::{RankReport, rank};

pub(crate) fn run(args: &Rank, printer: &Printer) -> anyhow::Result<Outcome> {
    let options = args.options();
    let names: Vec<&str> = options.backbones.iter().map(String::as_str).collect();
    args.pull.before(&names, printer)?;
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    let report = rank(&workplace.session(), &options)?;
    if printer.is_json() {
        printer.json(&report)?;
    } else {
        skipped::say(&report.skipped, Kind::Images, printer);
        printer.data(&text(&report))?;
        printer.say(&format!("Next: `headstart train DATA --backbone {}`.", report.choice.backbone));
    }
    Ok(Outcome::of(&report.skipped))
}

fn text(report: &RankReport) -> String {
    let mut table = Table::new([
        ("network", Align::Left),
        ("accuracy", Align::Right),
        ("95 % interval", Align::Left),
        ("LogME", Align::Right),
        ("images/s", Align::Right),
        ("parameters", Align::Right),
        ("features", Align::Right),
        ("pixels", Align::Right),
    ]);
    for network in &report.networks {
        let [low, high] = network.accuracy_ci95.map(percent);
        table.row([
            network.backbone.clone(),
            percent(network.accuracy),
            format!("{low} to {high}"),
            format!("{:.3}", network.logme),
            format!("{:.0}", network.images_per_second),
            short(network.parameters as u64),
            network.width.to_string(),
            network.pixels.to_string(),
        ]);
    }
    let of = if report.n < report.of { format!(" of {}", report.of) } else { String::new() };
    format!(
        "{table}\n{}{of} training images of {} classes, each held out once in {} folds: a linear classifier on frozen features\n{}\n",
        report.n, report.classes, report.folds, report.choice.why
    )
}
