//! `headstart explain`: where the network looked, as heat over the picture.

use crate::args::Explain;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::progress::Talk;
use crate::table::percent;
use crate::workplace::Workplace;
use headstart::data::Picture;
use headstart::{Classifier, explain};

pub(crate) fn run(args: &Explain, printer: &Printer) -> anyhow::Result<Outcome> {
    let workplace = Workplace::open(args.threads.count, Talk::notes(*printer))?;
    let classifier = Classifier::open(&args.model, &workplace.home)?;
    let picture = Picture::from_file(args.image.display().to_string(), &args.image);
    let report = explain(&workplace.session(), &classifier, &picture, args.class.as_deref(), &args.output)?;
    if printer.is_json() {
        printer.json(&report)?;
        return Ok(Outcome::Fine);
    }
    let probability = percent(report.probability);
    let rather = match report.class == report.predicted {
        true => String::new(),
        false => format!(" (most probable: {})", report.predicted),
    };
    printer.data(&format!("{}: {} {probability}{rather}, {}", report.path, report.class, report.output))?;
    if report.heat.values.iter().all(|&v| v == 0.0) {
        printer.say("nothing in the picture speaks for that class: the map is empty");
    }
    Ok(Outcome::Fine)
}
