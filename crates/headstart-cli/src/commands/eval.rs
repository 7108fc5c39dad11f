//! `headstart eval`: a classifier measured on labelled images.

use super::report::{self, Shown};
use super::{accuracy, skipped};
use crate::args::Eval;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{Align, Table, percent};
use crate::workplace::Workplace;
use headstart::report::Page;
use headstart::{Classifier, EvalReport, evaluate_columns, evaluate_other, write_answers};
use std::path::Path;

/// Pairs of confused classes that are named.
const CONFUSED: usize = 5;

pub(crate) fn run(args: &Eval, printer: &Printer) -> anyhow::Result<Outcome> {
    args.report.as_deref().map(headstart::report::check).transpose()?;
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    let classifier = Classifier::open(&args.model, &workplace.home)?.with_views(args.tta)?;
    if args.ood.is_some() {
        classifier.unknown()?;
    }
    let session = workplace.session();
    let columns = args.columns.to_columns();
    let mut report = evaluate_columns(&session, &classifier, (&args.data, &columns))?;
    if let Some(path) = &args.ood {
        evaluate_other(&session, &classifier, (path, &args.columns.to_columns()), &mut report)?;
    }
    if let Some(path) = &args.answers {
        write_answers(path, &report.answers, classifier.labels())?;
    }
    let write = |command: &str, path: &Path| {
        Page::of_evaluation(&session, (&args.model, &classifier), &args.data, &report, command)?
            .write(&session, path)
    };
    let (page, outcome) = report::write(args.report.as_deref(), write, printer);
    if printer.is_json() {
        printer.json(&Shown { result: &report, report: page })?;
    } else {
        skipped::say(&report.skipped, report.kind, printer);
        printer.data(&text(&report))?;
        page.into_iter().for_each(|page| printer.say(&format!("The report is in {page}.")));
    }
    Ok(outcome.or(Outcome::of(&report.skipped)))
}

fn text(report: &EvalReport) -> String {
    let result = &report.evaluation;
    let mut table = Table::new([
        ("class", Align::Left),
        (report.kind.many(), Align::Right),
        ("precision", Align::Right),
        ("recall", Align::Right),
        ("F1", Align::Right),
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
            share(class.f1),
            taken,
        ]);
    }
    let mut text = format!("{table}\n");
    let mut line = |what: &str, value: String| text += &format!("{what:<13} {value}\n");
    line(report.kind.many(), format!("{} ({})", result.n, report.split));
    line("accuracy", accuracy(result));
    line(
        "majority",
        format!("{} by always answering the most frequent class", percent(report.majority_accuracy)),
    );
    for top in &result.top_k {
        line(&format!("top {}", top.k), percent(top.accuracy));
    }
    line("balanced", percent(result.balanced_accuracy));
    let mean = result.macro_average;
    let mean = [mean.precision, mean.recall, mean.f1].map(percent);
    line("macro average", format!("precision {}, recall {}, F1 {}", mean[0], mean[1], mean[2]));
    line("loss", format!("{:.4}", result.loss));
    line("Brier score", format!("{:.4} (0 is best, 2 worst)", result.brier));
    line(
        "calibration",
        format!("probabilities are {} off (expected calibration error)", percent(result.ece)),
    );
    if let Some(without) = &report.uncalibrated {
        let (loss, ece) = (without.loss, percent(without.ece));
        let text = format!("{:.2}; without it the loss were {loss:.4}, {ece} off", without.temperature);
        line("temperature", text);
    }
    if let Some(rejected) = report.rejected {
        line("rejected", format!("{} as unknown (predict --reject)", percent(rejected)));
    }
    if let Some(other) = &report.other {
        let (n, rejected) = (other.n, percent(other.rejected));
        line(&format!("other {}", report.kind.many()), format!("{n}, of which {rejected} are rejected"));
        let (auroc, passed) = (other.separation.auroc, percent(other.separation.fpr_at_95_recall));
        line(
            "separation",
            format!("AUROC {auroc:.3}; {passed} pass where 95 % of the known {} do", report.kind.many()),
        );
    }
    let most = result.most_confused.iter().take(CONFUSED);
    let most: Vec<String> = most.map(|c| format!("{} for {} ({})", c.label, c.taken_for, c.n)).collect();
    if !most.is_empty() {
        line("mistaken", most.join(", "));
    }
    if let Some(doubt) = result.doubt(report.split, report.kind) {
        line("doubt", doubt);
    }
    text
}
