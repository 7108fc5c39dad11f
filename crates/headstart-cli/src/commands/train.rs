//! `headstart train`: labelled images in, a model file and an honest accuracy out.

use super::{advise, skipped};
use crate::args::Train;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::percent;
use crate::workplace::Workplace;
use headstart::graph::Precision;
use headstart::{TrainOptions, TrainReport, train};

/// Classes named in the report; of more there is only their number.
const NAMED: usize = 20;

pub(crate) fn run(args: Train, printer: &Printer) -> anyhow::Result<Outcome> {
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    let options = TrainOptions {
        solver: args.epochs.solver(),
        data: args.data,
        val: args.val,
        exclude: args.exclude,
        val_fraction: args.val_fraction,
        backbone: args.backbone,
        weights: args.weights,
        precision: args.precision.into(),
        decode: args.decode.into(),
        seed: args.seed,
        views: args.views,
        class_weights: args.class_weights,
        strict: args.strict,
        slim: args.slim,
        output: args.output,
    };
    let report = train(&workplace.session(), &options)?;
    if printer.is_json() {
        printer.json(&report)?;
        return Ok(Outcome::Fine);
    }
    skipped::say(&report.skipped, printer);
    printer.data(&text(&report))?;
    let model = &report.model;
    // The model is written: what cannot be advised on is no reason to fail.
    // Advice knows of no exclusions.
    if options.exclude.is_none()
        && let Ok(line) =
            advise::line(&workplace.session(), &options.output, &options.data, options.val.as_deref())
    {
        printer.say(&line);
    }
    printer.say(&format!("Next: `headstart predict {model} PHOTO`, `headstart eval {model} OTHER_DATA`."));
    Ok(Outcome::Fine)
}

fn text(report: &TrainReport) -> String {
    let TrainReport { train, val, features, head, seconds, .. } = report;
    let names = match report.classes.len() {
        n if n > NAMED => String::new(),
        _ => format!(": {}", report.classes.join(", ")),
    };
    let mut text = String::new();
    let mut line = |what: &str, value: String| text += &format!("{what:<10} {value}\n");
    line("backbone", report.backbone.clone());
    line("classes", format!("{}{names}", report.classes.len()));
    line("images", format!("{} for training, {} for validation", train.n, val.n));
    match (&report.precision.why, report.precision.chosen) {
        (Some(why), chosen) => line("precision", format!("{chosen}: {why}")),
        (None, Precision::F32) => {}
        (None, chosen) => line("precision", chosen.to_string()),
    }
    let rate = match features.computed {
        0 => String::new(),
        _ => format!(", {:.1} images a second", features.images_per_second),
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
    let [low, high] = val.accuracy_ci95.map(percent);
    line("accuracy", format!("{} (95 % interval {low} to {high})", percent(val.accuracy)));
    line(
        "majority",
        format!("{} by always answering the most frequent training class", percent(report.majority_accuracy)),
    );
    line("model", report.model.clone());
    text
}
