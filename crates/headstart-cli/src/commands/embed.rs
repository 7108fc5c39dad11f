//! `headstart embed`: features as a NumPy file.

use super::skipped;
use crate::args::Embed;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::workplace::Workplace;
use headstart::{Backbone, Classifier, embed};

pub(crate) fn run(args: &Embed, printer: &Printer) -> anyhow::Result<Outcome> {
    args.pull.before(&[&args.backbone], printer)?;
    let workplace = Workplace::with_progress(args.threads.count, printer)?;
    // A text encoder, a folder, which has no classes; a model file brings its backbone.
    let mut backbone = match workplace.home.find_encoder(&args.backbone) {
        Some(_) => Backbone::open(&workplace.session(), &args.backbone, None, None)?,
        None => Classifier::open(&args.backbone, &workplace.home)?.backbone,
    };
    backbone.set_decode(args.decode.into());
    let columns = args.columns.to_columns();
    let data = (args.data.as_path(), &columns);
    let report = embed(&workplace.session(), &mut backbone, args.precision.into(), data, &args.output)?;
    if printer.is_json() {
        printer.json(&report)?;
    } else {
        skipped::say(&report.skipped, backbone.input.kind(), printer);
        printer.data(&format!(
            "features  {}, {} values each, {} computed, {} cached\narray     {}\nrows      {}",
            backbone.input.kind().count(report.n),
            report.dim,
            report.computed,
            report.cached,
            report.output.display(),
            report.rows.display(),
        ))?;
    }
    Ok(Outcome::of(&report.skipped))
}
