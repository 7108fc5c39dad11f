//! `headstart advise`: whether fine-tuning is likely to pay, and what each depth costs here.

use crate::args::Advise;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{Align, Table, percent};
use crate::workplace::Workplace;
use headstart::Session;
use headstart::data::{Kind, TextColumns};
use headstart::fine_tune::{Advice, Verdict, advise};
use std::path::Path;

pub(crate) fn run(args: &Advise, printer: &Printer) -> anyhow::Result<Outcome> {
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    let advice = advise(
        &workplace.session(),
        &args.model,
        (&args.data, &args.columns.to_columns()),
        args.val.as_deref(),
        true,
    )?;
    if printer.is_json() {
        printer.json(&advice)?;
    } else {
        printer.data(&text(&advice))?;
    }
    Ok(Outcome::Fine)
}

/// One line after `train`.
///
/// # Errors
/// As fine-tuning would, before its first step.
pub(crate) fn line(
    session: &Session,
    model: &Path,
    data: (&Path, &TextColumns),
    val: Option<&Path>,
) -> Result<String, headstart::Error> {
    let advice = advise(session, model, data, val, false)?;
    let cost = advice.depths.last().map_or(0.0, |depth| depth.minutes);
    Ok(format!(
        "Fine-tuning {}: {}. The last block would take about {} here; `headstart advise` says more.",
        words(advice.verdict),
        advice.reason,
        minutes(cost)
    ))
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Likely => "is likely to pay",
        Verdict::Maybe => "may pay",
        Verdict::Unlikely => "is unlikely to pay",
    }
}

fn minutes(minutes: f64) -> String {
    if minutes < 1.0 { format!("{:.0} s", 60.0 * minutes) } else { format!("{minutes:.1} min") }
}

fn text(advice: &Advice) -> String {
    let mut table = Table::new([
        ("unfreeze", Align::Left),
        ("parameters", Align::Right),
        (if advice.kind == Kind::Images { "images/s" } else { "texts/s" }, Align::Right),
        ("disk", Align::Right),
        ("time", Align::Right),
        ("trained", Align::Left),
    ]);
    for depth in &advice.depths {
        let done = depth.unfreeze == "none";
        table.row([
            depth.unfreeze.clone(),
            depth.trainable_parameters.to_string(),
            if done { "-".into() } else { format!("{:.1}", depth.images_per_second) },
            format!("{:.1} MB", depth.cache_bytes as f64 / 1e6),
            if done { "done".into() } else { minutes(depth.minutes) },
            depth.stages.join(", "),
        ]);
    }
    format!(
        "{table}\nhead      {} of the training {many} right, {} of the validation {many}\nadvice    fine-tuning {}: {}\n",
        percent(advice.train_accuracy),
        percent(advice.val_accuracy),
        words(advice.verdict),
        advice.reason,
        many = advice.kind.many()
    )
}
