//! `headstart models import`: bringing weights in, and whole networks.

use crate::args;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::thousands;
use headstart::data::Preprocess;
use headstart::models::{Home, Imported, import};
use headstart::{OnnxImport, import_onnx};
use serde::Serialize;
use std::path::PathBuf;

pub(crate) fn run(args: args::Import, home: &Home, printer: &Printer) -> anyhow::Result<Outcome> {
    let file = args.file.clone();
    if args.is_onnx() {
        anyhow::ensure!(
            args.arch.is_none(),
            "--arch is for files of weights: {} holds its own network, and --name says what to call it",
            file.display()
        );
        return network(&import_onnx(home, &file, &args.options())?, printer);
    }
    if let Some(flag) = args.onnx_flag() {
        anyhow::bail!(
            "{flag} is for ONNX files, whose names end in .onnx; of {} the registry knows it: give --arch alone",
            file.display()
        );
    }
    let Some(arch) = args.arch else {
        anyhow::bail!(
            "{} holds weights: say which network they are for with --arch NAME (`headstart models list` lists them); a whole \
             network is imported from a file that ends in .onnx",
            file.display()
        );
    };
    let imported = import(&file, &arch, home, args::weight_precision(args.f16))?;
    weights(&imported, printer)
}

/// What an import did.
#[derive(Serialize)]
pub(crate) struct Import {
    path: PathBuf,
    sha256: String,
    published: bool,
    loaded: usize,
    report: String,
}

impl Import {
    pub(crate) fn of(imported: &Imported) -> Import {
        Import {
            path: imported.path.clone(),
            sha256: imported.sha256.clone(),
            published: imported.is_published,
            loaded: imported.report.loaded.len(),
            report: imported.report.to_string(),
        }
    }
}

/// Says so where the file is not the one that was published.
pub(crate) fn published_note(imported: &Imported, printer: &Printer) {
    if !imported.is_published && !imported.cfg.sha256.is_empty() {
        let (sha, file) = (&imported.sha256, imported.cfg.file);
        printer.say(&format!("note: this is not the published {file}: its SHA-256 is {sha}"));
    }
}

fn weights(imported: &Imported, printer: &Printer) -> anyhow::Result<Outcome> {
    #[derive(Serialize)]
    struct Named {
        name: String,
        #[serde(flatten)]
        import: Import,
    }
    let name = imported.cfg.name();
    if printer.is_json() {
        printer.json(&Named { name, import: Import::of(imported) })?;
        return Ok(Outcome::Fine);
    }
    printer.data(&format!("{name}: {}\n{}", imported.report, imported.path.display()))?;
    published_note(imported, printer);
    printer.say(&format!("Use it: `headstart train DATA --backbone {name}`."));
    Ok(Outcome::Fine)
}

fn network(imported: &OnnxImport, printer: &Printer) -> anyhow::Result<Outcome> {
    if printer.is_json() {
        printer.json(imported)?;
        return Ok(Outcome::Fine);
    }
    let [sizes, numbers] = pixels(&imported.preprocess);
    let producer = if imported.producer.is_empty() { "not said" } else { &imported.producer };
    let mut text = format!("{}\n", imported.name);
    for (what, value) in [
        ("file", imported.path.display().to_string()),
        ("written by", format!("{producer}, operator set {}", imported.opset)),
        (
            "network",
            format!("{} layers, {} parameters", imported.layers, thousands(imported.parameters as u64)),
        ),
        ("MACs", thousands(imported.macs)),
        ("classifier", format!("{}, {} classes", imported.classifier, imported.classes)),
        ("input", sizes),
        ("", numbers),
    ] {
        text += &format!("  {what:<11} {value}\n");
    }
    printer.data(&text)?;
    imported.notes.iter().for_each(|note| printer.say(&format!("note: {note}")));
    let name = &imported.name;
    printer.say(&format!(
        "Use it: `headstart train DATA --backbone {name}`. Its layers: `headstart inspect {name}`."
    ));
    Ok(Outcome::Fine)
}

/// Two lines about a preprocessing: its sizes, its numbers.
pub(crate) fn pixels(preprocess: &Preprocess) -> [String; 2] {
    let Preprocess { resize, crop, interpolation, mean, std, .. } = preprocess;
    let filter = format!("{interpolation:?}").to_lowercase();
    [format!("resize {resize}, crop {crop}, {filter}"), format!("mean {mean:?}, std {std:?}")]
}
