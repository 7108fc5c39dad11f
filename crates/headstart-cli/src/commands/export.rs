//! `headstart export`: a classifier for other programs.

use crate::args::Export;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{short, thousands};
use headstart::models::Home;
use headstart::{Classifier, OnnxReport, export_onnx};

pub(crate) fn run(args: &Export, printer: &Printer) -> anyhow::Result<Outcome> {
    let classifier = Classifier::open(&args.model, &Home::from_env()?)?;
    let report = export_onnx(&classifier, &args.onnx, args.with_preprocessing)?;
    if printer.is_json() {
        printer.json(&report)?;
        return Ok(Outcome::Fine);
    }
    printer.data(&text(&report))?;
    report.notes.iter().for_each(|note| printer.say(&format!("note: {note}")));
    printer.say(&format!(
        "Run it with ONNX Runtime (pip install onnxruntime): `onnxruntime.InferenceSession({:?}).run([{:?}], {{{:?}: images}})`; \
         its metadata holds the labels.",
        report.path.display().to_string(),
        report.outputs[1],
        report.input,
    ));
    Ok(Outcome::Fine)
}

fn text(report: &OnnxReport) -> String {
    let p = &report.preprocess;
    let filter = format!("{:?}", p.interpolation).to_lowercase();
    let sizes = format!("resize {} ({filter}), crop {}", p.resize, p.crop);
    let numbers = format!("mean {:?}, std {:?}", p.mean, p.std);
    let done = if report.with_preprocessing { "inside the file" } else { "yours to do" };
    let bytes = thousands(report.bytes as u64);
    let mut text = format!("{}\n", report.path.display());
    for (what, value) in [
        ("file", format!("{bytes} bytes, operator set {}, {} nodes", report.opset, report.nodes)),
        ("backbone", format!("{}, {} parameters", report.backbone, short(report.parameters as u64))),
        ("input", format!("{}: {} [{}], RGB", report.input, report.element, report.shape.join(", "))),
        ("pixels", format!("{done}: {sizes}, then (pixel / 255 - mean) / std")),
        ("", numbers),
        ("outputs", format!("{}: [batch, {}]", report.outputs.join(" and "), report.classes)),
        ("temperature", format!("{:.4}, applied to the probabilities", report.temperature)),
        ("licence", report.licence.clone().unwrap_or_else(|| "not known".to_owned())),
    ] {
        text += &format!("  {what:<12} {value}\n");
    }
    text
}
