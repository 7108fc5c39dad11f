//! `headstart adapt`: a model file in, one that knows another domain out.

use super::report::{self, Shown};
use super::skipped;
use crate::args::Adapt;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{Align, Table, percent};
use crate::workplace::Workplace;
use headstart::adapt::Tried;
use headstart::data::Kind;
use headstart::report::AdaptPage;
use headstart::{AdaptReport, adapt};
use std::path::Path;

/// Norms whose statistics moved that are named.
const NAMED: usize = 3;

pub(crate) fn run(args: Adapt, printer: &Printer) -> anyhow::Result<Outcome> {
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    let page = args.report.clone();
    let options = args.options()?;
    let page = report::beside(&options.output, page.as_deref())?;
    let session = workplace.session();
    let report = adapt(&session, &options)?;
    let write = |command: &str, path: &Path| {
        AdaptPage::new(&session, &options, &report, command)?.write(&session, path)
    };
    let (page, outcome) = report::write(page.as_deref(), write, printer);
    if printer.is_json() {
        printer.json(&Shown { result: &report, report: page })?;
        return Ok(outcome);
    }
    skipped::say(&report.skipped, Kind::Images, printer);
    printer.data(&text(&report, page.as_deref()))?;
    let model = &report.model;
    printer.say(&format!("Next: `headstart predict {model} PHOTO`, `headstart eval {model} LABELLED`."));
    Ok(outcome)
}

fn text(report: &AdaptReport, page: Option<&str>) -> String {
    let mut table = Table::new([
        ("method", Align::Left),
        ("agreement", Align::Right),
        ("naming", Align::Right),
        ("entropy", Align::Right),
        ("diversity", Align::Right),
        ("seconds", Align::Right),
        ("few", Align::Right),
        ("right", Align::Left),
    ]);
    for tried in &report.tried {
        let Tried { method, score, seconds, few, eval, .. } = tried;
        let mark = if *method == report.chosen { " *" } else { "" };
        let right = eval.as_ref().map_or_else(
            || "-".to_owned(),
            |e| {
                format!(
                    "{} ({} to {})",
                    percent(e.accuracy),
                    percent(e.accuracy_ci95[0]),
                    percent(e.accuracy_ci95[1])
                )
            },
        );
        table.row([
            format!("{method}{mark}"),
            format!("{:.3}", score.agreement),
            score.naming.map_or_else(|| "-".to_owned(), |kappa| format!("{kappa:.3}")),
            format!("{:.3}", score.entropy),
            format!("{:.3}", score.diversity),
            format!("{seconds:.1}"),
            few.map_or_else(|| "-".to_owned(), percent),
            right,
        ]);
    }
    let mut text = format!("{table}\n");
    let mut line = |what: &str, value: String| text += &format!("{what:<11} {value}\n");
    line("backbone", report.backbone.clone());
    if let Some(source) = report.source {
        line("source", format!("{source} labelled images"));
    }
    line("target", format!("{} images, no label looked at", report.target));
    if let Some(few) = report.few {
        line("few", format!("{few} labelled images of it, which methods and the choice may look at"));
    }
    line("chosen", format!("{}: {}", report.chosen, report.why));
    let mut moved: Vec<_> = report.moved.iter().collect();
    moved.sort_by(|a, b| b.mean_shift.total_cmp(&a.mean_shift));
    if !moved.is_empty() {
        let most: Vec<String> =
            moved.iter().take(NAMED).map(|m| format!("{} by {:.2}", m.name, m.mean_shift)).collect();
        line("statistics", format!("{} norms moved, most {} deviations", moved.len(), most.join(", ")));
    }
    line("model", report.model.clone());
    page.into_iter().for_each(|page| line("report", page.to_owned()));
    if !report.label_first.is_empty() {
        text += "\nA few labels help more than any method without: label these first\n";
        report.label_first.iter().for_each(|path| text += &format!("  {path}\n"));
        text += "A stronger backbone may help as much: `headstart rank DATA` says which.\n";
    }
    text
}
