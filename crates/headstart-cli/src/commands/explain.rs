//! `headstart explain`: where the network looked, as heat over the picture; of texts, which words spoke for the answer.

use super::texts;
use crate::args::Explain;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::progress::Talk;
use crate::table::percent;
use crate::workplace::Workplace;
use headstart::data::{Kind, Picture};
use headstart::models::Home;
use headstart::{Classifier, TextReport, explain, explain_texts};
use std::path::Path;

/// Where the picture goes.
const OUTPUT: &str = "overlay.png";
/// Signs of the bar of the weightiest word.
const BAR: f32 = 10.0;

pub(crate) fn run(args: &Explain, printer: &Printer) -> anyhow::Result<Outcome> {
    let classifier = Classifier::open(&args.model, &Home::from_env()?)?;
    match classifier.backbone.input.kind() {
        Kind::Images => picture(args, &classifier, printer),
        Kind::Texts => words(args, &classifier, printer),
    }
}

fn picture(args: &Explain, classifier: &Classifier, printer: &Printer) -> anyhow::Result<Outcome> {
    let Some(image) = args.item.as_ref().filter(|_| args.text.is_empty()) else {
        anyhow::bail!("--text is for models of texts, {} is one of images", args.model)
    };
    let workplace = Workplace::open(args.threads.count, Talk::notes(*printer))?;
    let output = args.output.as_deref().unwrap_or(Path::new(OUTPUT));
    let picture = Picture::from_file(image.display().to_string(), image);
    let report = explain(&workplace.session(), classifier, &picture, args.class.as_deref(), output)?;
    if printer.is_json() {
        printer.json(&report)?;
        return Ok(Outcome::Fine);
    }
    let probability = percent(report.probability);
    let rather = rather(&report.class, &report.predicted);
    printer.data(&format!("{}: {} {probability}{rather}, {}", report.path, report.class, report.output))?;
    if report.heat.values.iter().all(|&v| v == 0.0) {
        printer.say("nothing in the picture speaks for that class: the map is empty");
    }
    Ok(Outcome::Fine)
}

fn words(args: &Explain, classifier: &Classifier, printer: &Printer) -> anyhow::Result<Outcome> {
    if let Some(output) = &args.output {
        anyhow::bail!(
            "--output {} is for pictures, and {} is a model of texts: their words are printed, --json prints them with their places",
            output.display(),
            args.model
        );
    }
    // Standard input is read before Ctrl-C is taken over, so that one is enough to end the waiting.
    let column = args.text_column.as_ref();
    let (mut found, mut skipped) = texts::given(&args.text, &[], column)?;
    if let Some(path) = &args.item {
        let (more, left) = match texts::line(path, column)? {
            Some(one) => one,
            None => texts::given(&[], std::slice::from_ref(path), column)?,
        };
        found.extend(more);
        skipped.extend(left);
    }
    let workplace = Workplace::open(args.threads.count, Talk::notes(*printer))?;
    let mut outcome = Outcome::Fine;
    let mut written = Ok(true);
    explain_texts(&workplace.session(), classifier, &found, args.class.as_deref(), &mut |answer| {
        match answer {
            Ok(report) if printer.is_json() => written = printer.json(&report),
            Ok(report) => written = printer.data(&text(&report)),
            Err(without) => skipped.push(without),
        }
        matches!(written, Ok(true))
    })?;
    written?;
    for skipped in skipped {
        printer.say(&format!("skipped {}: {}", skipped.path, skipped.reason));
        outcome = Outcome::Fault;
    }
    Ok(outcome)
}

/// The answer, and a line a word: its weight, and a bar of `+` or `-`.
fn text(report: &TextReport) -> String {
    let against = report.against.as_ref().map(|class| format!(", against {class}")).unwrap_or_default();
    let (class, probability) = (&report.class, percent(report.probability));
    let rather = rather(class, &report.predicted);
    let mut text = format!("{}: {class} {probability}{rather}{against}", report.path);
    let most = report.words.iter().fold(0.0f32, |most, word| most.max(word.weight.abs()));
    let longest = report.words.iter().map(|w| w.word.chars().count()).max().unwrap_or(0);
    for word in &report.words {
        let share = if most > 0.0 { word.weight / most } else { 0.0 };
        let sign = if share > 0.0 { "+" } else { "-" };
        let bar = sign.repeat((share.abs() * BAR).round() as usize);
        // What a terminal would obey is shown instead.
        let shown = word.word.replace(char::is_control, "\u{fffd}");
        let line = format!("  {shown:<longest$}  {:>+8.3}  {bar}", word.weight);
        text += &format!("\n{}", line.trim_end());
    }
    if report.lost > 0 {
        text += &format!("\n  ... and {} tokens that the network does not read", report.lost);
    }
    text
}

fn rather(class: &str, predicted: &str) -> String {
    if class == predicted { String::new() } else { format!(" (most probable: {predicted})") }
}
