//! `headstart embed`: features as a NumPy file.

use super::skipped;
use crate::args::Embed;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::workplace::Workplace;
use headstart::{Classifier, embed};

pub(crate) fn run(args: &Embed, printer: &Printer) -> anyhow::Result<Outcome> {
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    let mut classifier = Classifier::open(&args.backbone, &workplace.home)?;
    classifier.backbone.preprocess.decode = args.decode.into();
    let report = embed(
        &workplace.session(),
        &mut classifier.backbone,
        args.precision.into(),
        &args.data,
        &args.output,
    )?;
    if printer.is_json() {
        printer.json(&report)?;
    } else {
        skipped::say(&report.skipped, printer);
        printer.data(&format!(
            "features  {} images, {} values each, {} computed, {} cached\narray     {}\nrows      {}",
            report.n,
            report.dim,
            report.computed,
            report.cached,
            report.output.display(),
            report.rows.display(),
        ))?;
    }
    Ok(Outcome::of(&report.skipped))
}
