//! `headstart compare`: whether classifiers differ on the same images, or could by chance.

use crate::args::Compare;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{Align, Table, percent};
use crate::workplace::Workplace;
use headstart::{CompareReport, compare};

pub(crate) fn run(args: &Compare, printer: &Printer) -> anyhow::Result<Outcome> {
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    let report = compare(&workplace.session(), &args.runs, args.data.as_deref())?;
    if printer.is_json() {
        printer.json(&report)?;
    } else {
        printer.data(&text(&report))?;
    }
    Ok(Outcome::Fine)
}

fn text(report: &CompareReport) -> String {
    let mut runs =
        Table::new([("run", Align::Left), ("accuracy", Align::Right), ("95 % interval", Align::Left)]);
    for run in &report.runs {
        let [low, high] = run.accuracy_ci95.map(percent);
        runs.row([run.name.clone(), percent(run.accuracy), format!("{low} to {high}")]);
    }
    let mut text = format!("{runs}\n{} images\n", report.n);
    for pair in &report.pairs {
        let (first, second) = (pair.test.only_first, pair.test.only_second);
        text += &format!(
            "{}; {first} images only the first gets right, {second} only the second\n",
            pair.verdict
        );
    }
    if report.pairs.len() > 1 {
        text += "p is corrected for the number of pairs (Holm)\n";
    }
    text
}
