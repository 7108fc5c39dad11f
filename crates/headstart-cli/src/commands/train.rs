//! `headstart train`: labelled images in, a model file and an honest accuracy out.

use super::report::{self, Shown};
use super::{accuracy, advise, calibration, skipped};
use crate::args::Train;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::percent;
use crate::workplace::Workplace;
use headstart::data::Kind;
use headstart::graph::Precision;
use headstart::report::Page;
use headstart::{TrainOptions, TrainReport, train};
use std::path::Path;

/// Classes named in the report; of more there is only their number.
const NAMED: usize = 20;

pub(crate) fn run(args: Train, printer: &Printer) -> anyhow::Result<Outcome> {
    if args.weights.is_none() {
        args.pull.before(&[&args.backbone], printer)?;
    }
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    let page = report::beside(&args.output, args.report.as_deref())?;
    let options = TrainOptions {
        solver: args.epochs.solver(),
        data: args.data,
        val: args.val,
        exclude: args.exclude,
        columns: args.columns.to_columns(),
        val_fraction: args.val_fraction,
        group_by: args.group_by,
        folds: args.folds,
        repeats: args.repeats,
        backbone: args.backbone,
        weights: args.weights,
        size: args.size,
        precision: args.precision.into(),
        decode: args.decode.into(),
        seed: args.seed,
        views: args.views,
        class_weights: args.class_weights,
        strict: args.strict,
        slim: args.slim,
        output: args.output,
    };
    let session = workplace.session();
    let report = train(&session, &options)?;
    let write = |command: &str, path: &Path| {
        Page::of_training(&session, &options, &report, command)?.write(&session, path)
    };
    let (page, outcome) = report::write(page.as_deref(), write, printer);
    if printer.is_json() {
        printer.json(&Shown { result: &report, report: page })?;
        return Ok(outcome);
    }
    skipped::say(&report.skipped, report.kind, printer);
    printer.data(&text(&report, page.as_deref()))?;
    let model = &report.model;
    // The model is written: what cannot be advised on is no reason to fail.
    // Advice knows of no exclusions.
    if options.exclude.is_none()
        && let Ok(line) =
            advise::line(&session, &options.output, (&options.data, &options.columns), options.val.as_deref())
    {
        printer.say(&line);
    }
    let item = if report.kind == Kind::Images { "PHOTO" } else { "--text TEXT" };
    printer.say(&format!("Next: `headstart predict {model} {item}`, `headstart eval {model} OTHER_DATA`."));
    Ok(outcome)
}

fn text(report: &TrainReport, page: Option<&str>) -> String {
    let TrainReport { train, val, features, head, seconds, .. } = report;
    let names = match report.classes.len() {
        n if n > NAMED => String::new(),
        _ => format!(": {}", report.classes.join(", ")),
    };
    let mut text = String::new();
    let mut line = |what: &str, value: String| text += &format!("{what:<10} {value}\n");
    line("backbone", report.backbone.clone());
    line("classes", format!("{}{names}", report.classes.len()));
    line(report.kind.many(), format!("{} for training, {} for validation", train.n, val.n));
    match (&report.precision.why, report.precision.chosen) {
        (Some(why), chosen) => line("precision", format!("{chosen}: {why}")),
        (None, Precision::F32) => {}
        (None, chosen) => line("precision", chosen.to_string()),
    }
    let rate = match features.computed {
        0 => String::new(),
        _ => format!(", {:.1} {} a second", features.images_per_second, report.kind.many()),
    };
    line("features", format!("{} computed, {} cached{rate}", features.computed, features.cached));
    if let Some(l2) = head.l2 {
        let ending = if head.converged == Some(false) { ", not converged" } else { "" };
        line("head", format!("logistic regression, L2 {l2:.3e}{ending}"));
    }
    if let Some(last) = head.epochs.last() {
        line("head", format!("{} epochs, the last with loss {:.4}", last.epoch, last.train_loss));
    }
    let time = format!("{:.1} s: features {:.1}, head {:.1}", seconds.total, seconds.features, seconds.head);
    line("time", time);
    line("accuracy", accuracy(val));
    line(
        "majority",
        format!("{} by always answering the most frequent training class", percent(report.majority_accuracy)),
    );
    if let Some(folds) = &report.folds {
        let [low, high] = folds.accuracy_ci95.map(percent);
        let each: Vec<String> = folds.folds.iter().map(|f| percent(f.accuracy)).collect();
        let accuracy = percent(folds.accuracy);
        line("folds", format!("{accuracy} of {} held out ({low} to {high}): {}", folds.n, each.join(", ")));
    }
    if let Some(repeats) = &report.repeats {
        let each: Vec<String> = repeats.seeds.iter().map(|s| percent(s.accuracy)).collect();
        let (mean, deviation) = (percent(repeats.mean), 100.0 * repeats.deviation);
        line("splits", format!("{mean} +- {deviation:.1} (standard deviation): {}", each.join(", ")));
    }
    line("calibrated", calibration(&report.calibration));
    line(
        "centroids",
        format!("{} by the nearest class mean of the same features", percent(report.centroid_accuracy)),
    );
    if let Some(doubt) = val.doubt("validation", report.kind) {
        line("doubt", doubt);
    }
    line("model", report.model.clone());
    page.into_iter().for_each(|page| line("report", page.to_owned()));
    text
}
