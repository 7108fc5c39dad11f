//! `headstart models`: what networks there are, and bringing weights in.

use crate::args::Models;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{Align, Table, short, thousands};
use headstart::models::registry::{self, PRETRAINED};
use headstart::models::{DEFAULT_BACKBONE, Home, Imported, Precision, PretrainedCfg, Whereabouts, import};
use serde::Serialize;
use std::path::{Path, PathBuf};

pub(crate) fn run(action: Models, printer: &Printer) -> anyhow::Result<Outcome> {
    let home = Home::from_env()?;
    match action {
        Models::List => list(&home, printer),
        Models::Show { name } => show(&name, &home, printer),
        #[cfg(feature = "download")]
        Models::Pull { name, f16 } => {
            let precision = if f16 { Precision::F16 } else { Precision::F32 };
            super::pull::run(&name, precision, &home, printer)
        }
        Models::Import { file, arch, f16 } => {
            let precision = if f16 { Precision::F16 } else { Precision::F32 };
            bring_in(&file, &arch, precision, &home, printer)
        }
    }
}

/// All about a record.
#[derive(Serialize)]
struct Model {
    name: String,
    parameters: usize,
    macs: u64,
    /// ImageNet-1k validation top-1 in percent, as published.
    top1: f64,
    licence: &'static str,
    /// `embedded`, `imported` or `absent`.
    weights: &'static str,
    /// The imported file.
    path: Option<PathBuf>,
    source: &'static str,
    file: &'static str,
    /// The address that `models pull` asks.
    url: Option<String>,
    classifier: &'static str,
    classes: usize,
    resize: usize,
    crop: usize,
    interpolation: String,
    mean: [f32; 3],
    std: [f32; 3],
}

impl Model {
    fn of(cfg: &PretrainedCfg, home: &Home) -> anyhow::Result<Model> {
        let (architecture, _) = registry::find(cfg.arch)?;
        let graph = architecture.build(cfg.input.crop, cfg.outputs())?;
        let (weights, path) = match cfg.whereabouts(home) {
            Whereabouts::Embedded => ("embedded", None),
            Whereabouts::Imported(path) => ("imported", Some(path)),
            Whereabouts::Absent => ("absent", None),
        };
        Ok(Model {
            name: cfg.name(),
            parameters: graph.parameter_count(),
            macs: graph.macs(),
            top1: cfg.top1,
            licence: cfg.licence,
            weights,
            path,
            source: cfg.source,
            file: cfg.file,
            url: address(cfg),
            classifier: architecture.classifier,
            classes: cfg.classes,
            resize: cfg.input.resize,
            crop: cfg.input.crop,
            interpolation: format!("{:?}", cfg.input.interpolation).to_lowercase(),
            mean: cfg.input.mean,
            std: cfg.input.std,
        })
    }
}

#[cfg(feature = "download")]
fn address(cfg: &PretrainedCfg) -> Option<String> {
    // What is wrong with the environment, `models pull` says.
    headstart::models::Sources::from_env().ok().map(|sources| sources.address(cfg))
}

#[cfg(not(feature = "download"))]
fn address(_: &PretrainedCfg) -> Option<String> {
    None
}

fn list(home: &Home, printer: &Printer) -> anyhow::Result<Outcome> {
    #[derive(Serialize)]
    struct Models {
        default: &'static str,
        models: Vec<Model>,
    }
    let models = PRETRAINED.iter().map(|cfg| Model::of(cfg, home)).collect::<anyhow::Result<Vec<_>>>()?;
    if printer.is_json() {
        printer.json(&Models { default: DEFAULT_BACKBONE, models })?;
        return Ok(Outcome::Fine);
    }
    let mut table = Table::new([
        ("name", Align::Left),
        ("parameters", Align::Right),
        ("MACs", Align::Right),
        ("top-1", Align::Right),
        ("licence", Align::Left),
        ("weights", Align::Left),
    ]);
    for model in models {
        table.row([
            model.name,
            short(model.parameters as u64),
            short(model.macs),
            format!("{:.1} %", model.top1),
            model.licence.to_owned(),
            model.weights.to_owned(),
        ]);
    }
    printer.data(&table.to_string())?;
    printer.say(&format!(
        "The default is {DEFAULT_BACKBONE}. `headstart models show NAME` names the file of absent weights, `headstart models pull NAME` gets it."
    ));
    Ok(Outcome::Fine)
}

fn show(name: &str, home: &Home, printer: &Printer) -> anyhow::Result<Outcome> {
    let (_, cfg) = registry::find(name)?;
    let model = Model::of(cfg, home)?;
    if printer.is_json() {
        printer.json(&model)?;
        return Ok(Outcome::Fine);
    }
    let weights = match &model.path {
        Some(path) => format!("imported: {}", path.display()),
        None => model.weights.to_owned(),
    };
    let classifier = match model.classes {
        0 => format!("{}, none published", model.classifier),
        classes => format!("{}, {classes} classes", model.classifier),
    };
    let mut text = format!("{}\n", model.name);
    for (what, value) in [
        ("parameters", thousands(model.parameters as u64)),
        ("MACs", thousands(model.macs)),
        ("top-1", format!("{} % on ImageNet-1k", model.top1)),
        ("licence", model.licence.to_owned()),
        ("weights", weights),
        ("source", model.source.to_owned()),
        ("file", model.file.to_owned()),
        ("address", model.url.clone().unwrap_or_else(|| "this build pulls nothing".to_owned())),
        ("classifier", classifier),
        ("input", format!("resize {}, crop {}, {}", model.resize, model.crop, model.interpolation)),
        ("mean", format!("{:?}", model.mean)),
        ("std", format!("{:?}", model.std)),
    ] {
        text += &format!("  {what:<11} {value}\n");
    }
    printer.data(&text)?;
    if model.weights == "absent" {
        let (file, name) = (model.file, &model.name);
        if model.url.is_some() {
            printer.say(&format!("Get them: `headstart models pull {name}`."));
        }
        printer.say(&format!("With that file here: `headstart models import {file} --arch {name}`."));
    }
    Ok(Outcome::Fine)
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

fn bring_in(
    file: &Path,
    arch: &str,
    precision: Precision,
    home: &Home,
    printer: &Printer,
) -> anyhow::Result<Outcome> {
    #[derive(Serialize)]
    struct Named {
        name: String,
        #[serde(flatten)]
        import: Import,
    }
    let imported = import(file, arch, home, precision)?;
    let name = imported.cfg.name();
    if printer.is_json() {
        printer.json(&Named { name, import: Import::of(&imported) })?;
        return Ok(Outcome::Fine);
    }
    printer.data(&format!("{name}: {}\n{}", imported.report, imported.path.display()))?;
    published_note(&imported, printer);
    printer.say(&format!("Use it: `headstart train DATA --backbone {name}`."));
    Ok(Outcome::Fine)
}
