//! `headstart predict`: what is in images or what texts are, a line each as soon as it is known.

use super::texts;
use crate::args::Predict;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::progress::Talk;
use crate::table::percent;
use crate::workplace::Workplace;
use headstart::data::{Kind, Picture, SkipReason, Skipped, open_unlabelled};
use headstart::models::Home;
use headstart::{Classifier, Prediction};
use std::path::{Path, PathBuf};

pub(crate) fn run(args: &Predict, printer: &Printer) -> anyhow::Result<Outcome> {
    let classifier = Classifier::open(&args.model, &Home::from_env()?)?.with_views(args.tta)?;
    let classifier = if args.reject { classifier.rejecting()? } else { classifier };
    // Standard input is read before Ctrl-C is taken over, so that one is enough to end the waiting.
    let (pictures, skipped) = match classifier.backbone.input.kind() {
        Kind::Images if !args.text.is_empty() => {
            anyhow::bail!("--text is for models of texts, {} is one of images", args.model)
        }
        Kind::Images => pictures(&args.items)?,
        Kind::Texts => texts::given(&args.text, &args.items, args.text_column.as_ref())?,
    };
    let workplace = Workplace::open(args.threads.count, Talk::notes(*printer))?;
    let mut outcome = Outcome::Fine;
    let mut skip = |skipped: &Skipped| {
        printer.say(&format!("skipped {}: {}", skipped.path, skipped.reason));
        if skipped.reason.is_fault() {
            outcome = Outcome::Fault;
        }
    };
    skipped.iter().filter(|s| s.reason != SkipReason::Hidden).for_each(&mut skip);
    let mut written = Ok(true);
    classifier.predict(&workplace.session(), &pictures, args.top, &mut |answer| {
        match answer {
            Ok(prediction) if printer.is_json() => written = printer.json(&prediction),
            Ok(prediction) => written = printer.data(&text(&prediction)),
            Err(skipped) => skip(&skipped),
        }
        matches!(written, Ok(true))
    })?;
    written?;
    Ok(outcome)
}

/// The images that were named, in their order.
fn pictures(paths: &[PathBuf]) -> anyhow::Result<(Vec<Picture>, Vec<Skipped>)> {
    let (mut pictures, mut skipped) = (Vec::new(), Vec::new());
    for path in paths {
        if path == Path::new("-") {
            pictures.push(Picture::from_bytes("-", texts::standard_input()?));
        } else {
            let (found, left) = open_unlabelled(std::slice::from_ref(path))?;
            pictures.extend(found);
            skipped.extend(left);
        }
    }
    Ok((pictures, skipped))
}

/// `photo.jpg: cat 98.1 %, dog 1.2 %`.
fn text(prediction: &Prediction) -> String {
    let top = prediction.top.iter().map(|r| format!("{} {}", r.label, percent(r.probability)));
    let unknown = if prediction.unknown == Some(true) { "unknown; else " } else { "" };
    format!("{}: {unknown}{}", prediction.path, top.collect::<Vec<_>>().join(", "))
}
