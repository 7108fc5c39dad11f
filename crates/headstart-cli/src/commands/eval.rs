//! `headstart eval`: a classifier measured on labelled images.

use super::report::{self, Shown};
use super::skipped;
use crate::args::Eval;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{Align, Table, percent};
use crate::workplace::Workplace;
use headstart::report::Page;
use headstart::{Classifier, EvalReport, evaluate};

pub(crate) fn run(args: &Eval, printer: &Printer) -> anyhow::Result<Outcome> {
    args.report.as_deref().map(headstart::report::check).transpose()?;
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    let classifier = Classifier::open(&args.model, &workplace.home)?.with_views(args.tta)?;
    let session = workplace.session();
    let report = evaluate(&session, &classifier, &args.data)?;
    let of = |command: &str| {
        Page::of_evaluation(&session, (&args.model, &classifier), &args.data, &report, command)
    };
    let (page, outcome) = report::write(&session, args.report.as_deref(), of, printer);
    if printer.is_json() {
        printer.json(&Shown { result: &report, report: page })?;
    } else {
        skipped::say(&report.skipped, printer);
        printer.data(&text(&report))?;
        page.into_iter().for_each(|page| printer.say(&format!("The report is in {page}.")));
    }
    Ok(outcome.or(Outcome::of(&report.skipped)))
}

fn text(report: &EvalReport) -> String {
    let result = &report.evaluation;
    let mut table = Table::new([
        ("class", Align::Left),
        ("images", Align::Right),
        ("precision", Align::Right),
        ("recall", Align::Right),
        ("mostly taken for", Align::Left),
    ]);
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
    for (i, class) in result.per_class.iter().enumerate() {
        let wrong = result.confusion.rows()[i].iter().enumerate().filter(|&(j, &n)| j != i && n > 0);
        let taken = wrong.max_by_key(|&(j, &n)| (n, std::cmp::Reverse(j)));
        let taken = taken.map(|(j, n)| format!("{} ({n})", result.per_class[j].label)).unwrap_or_default();
        table.row([
            class.label.clone(),
            class.n.to_string(),
            share(class.precision),
            share(class.recall),
            taken,
        ]);
    }
    let [low, high] = result.accuracy_ci95.map(percent);
    format!(
        "{table}\nimages    {} ({})\naccuracy  {} (95 % interval {low} to {high})\nbalanced  {}\nloss      {:.4}\n",
        result.n,
        report.split,
        percent(result.accuracy),
        percent(result.balanced_accuracy),
        result.loss,
    )
}
