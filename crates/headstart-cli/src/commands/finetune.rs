//! `headstart finetune`: a model file or a backbone in, one whose last stages were trained on out.

use super::report::{self, Shown};
use super::{accuracy, calibration, skipped};
use crate::args::Finetune;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{Align, Table, percent};
use crate::workplace::Workplace;
use headstart::data::Kind;
use headstart::fine_tune::{TunePlan, plan};
use headstart::report::Page;
use headstart::{TuneReport, fine_tune};
use std::path::Path;

pub(crate) fn run(args: Finetune, printer: &Printer) -> anyhow::Result<Outcome> {
    args.pull_backbone(printer)?;
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    let (dry_run, page) = (args.dry_run, args.report.clone());
    let options = args.options(&workplace.home)?;
    let page = report::beside(&options.output, page.as_deref())?;
    if dry_run {
        let plan = plan(&workplace.session(), &options)?;
        if printer.is_json() {
            printer.json(&plan)?;
        } else {
            printer.say(&planned(&plan));
            printer.data(&plan.recipe.to_toml())?;
        }
        return Ok(Outcome::Fine);
    }
    let session = workplace.session();
    let report = fine_tune(&session, &options)?;
    let write = |command: &str, path: &Path| {
        Page::of_fine_tuning(&session, &options, &report, command)?.write(&session, path)
    };
    let (page, outcome) = report::write(page.as_deref(), write, printer);
    if printer.is_json() {
        printer.json(&Shown { result: &report, report: page })?;
        return Ok(outcome);
    }
    skipped::say(&report.skipped, report.kind, printer);
    printer.data(&text(&report, page.as_deref()))?;
    let model = &report.model;
    let item = if report.kind == Kind::Images { "PHOTO" } else { "--text TEXT" };
    printer.say(&format!("Next: `headstart predict {model} {item}`, `headstart eval {model} OTHER_DATA`."));
    Ok(outcome)
}

fn planned(plan: &TunePlan) -> String {
    let [train, val] = plan.images;
    let shape: Vec<String> = plan.activations.iter().map(usize::to_string).collect();
    format!(
        "{}: {} learn, {} parameters, {} are frozen\n\
         cut after `{}`, {} values {one}; {train} {many} for training, {val} for validation, {} steps",
        plan.backbone,
        plan.unfrozen.join(", "),
        plan.trainable_parameters,
        plan.frozen_parameters,
        plan.cut,
        shape.join("x"),
        plan.steps,
        many = plan.kind.many(),
        one = if plan.kind == Kind::Images { "an image" } else { "the longest text" },
    )
}

fn text(report: &TuneReport, page: Option<&str>) -> String {
    let TuneReport { train, val, features, frozen, seconds, start, .. } = report;
    let mut epochs = Table::new([
        ("epoch", Align::Right),
        ("loss", Align::Right),
        ("right", Align::Right),
        ("val loss", Align::Right),
        ("val right", Align::Right),
        ("rate", Align::Right),
        (if report.kind == Kind::Images { "images/s" } else { "texts/s" }, Align::Right),
    ]);
    let blank = || "-".to_owned();
    let loss = |loss: f64| format!("{loss:.4}");
    epochs.row(["0".into(), blank(), blank(), loss(start.loss), percent(start.accuracy), blank(), blank()]);
    for e in &report.epochs {
        epochs.row([
            e.epoch.to_string(),
            loss(e.train_loss),
            percent(e.train_accuracy),
            loss(e.val_loss),
            percent(e.val_accuracy),
            format!("{:.2e}", e.lr),
            format!("{:.1}", e.images_per_second),
        ]);
    }
    let mut text = format!("{epochs}\n");
    let mut line = |what: &str, value: String| text += &format!("{what:<10} {value}\n");
    line("backbone", report.backbone.clone());
    line("recipe", report.recipe.name.clone());
    line(report.kind.many(), format!("{} for training, {} for validation", train.n, val.n));
    let learned = report.unfrozen.join(", ");
    line(
        "trained",
        format!("{learned}: {} parameters, cut after `{}`", report.trainable_parameters, report.cut),
    );
    line("frozen", format!("{} parameters, {} tensors, {}", frozen.parameters, frozen.tensors, frozen.sha));
    line("features", format!("{} computed, {} cached", features.computed, features.cached));
    line(
        "time",
        format!(
            "{:.1} s: features {:.1}, head {:.1}, fit {:.1}",
            seconds.total, seconds.features, seconds.head, seconds.fit
        ),
    );
    line("accuracy", format!("{}, epoch {}", accuracy(val), report.best_epoch));
    line("calibrated", calibration(&report.calibration));
    if let Some(doubt) = val.doubt("validation", report.kind) {
        line("doubt", doubt);
    }
    line("model", report.model.clone());
    page.into_iter().for_each(|page| line("report", page.to_owned()));
    text
}
