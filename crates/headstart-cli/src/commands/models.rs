//! `headstart models`: what networks there are, and bringing weights in.

use super::import::pixels;
use crate::args::Models;
#[cfg(feature = "download")]
use crate::args::weight_precision;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{Align, Table, short, thousands};
use headstart::data::Preprocess;
use headstart::models::registry::{self, PRETRAINED};
use headstart::models::{DEFAULT_BACKBONE, Home, Outline, PretrainedCfg, Whereabouts, network_record};
use serde::Serialize;
use std::path::PathBuf;

pub(crate) fn run(action: Models, printer: &Printer) -> anyhow::Result<Outcome> {
    let home = Home::from_env()?;
    match action {
        Models::List => list(&home, printer),
        Models::Show { name } => show(&name, &home, printer),
        #[cfg(feature = "download")]
        Models::Pull { name, f16 } => super::pull::run(&name, weight_precision(f16), &home, printer),
        Models::Import(args) => super::import::run(*args, &home, printer),
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

/// All about an imported network.
#[derive(Serialize)]
struct Network {
    name: String,
    parameters: usize,
    macs: u64,
    /// `imported`.
    weights: &'static str,
    path: PathBuf,
    /// The file it came from.
    file: String,
    sha256: String,
    classifier: String,
    classes: usize,
    preprocess: Preprocess,
}

impl Network {
    fn of(name: &str, home: &Home) -> anyhow::Result<Network> {
        let record = network_record(name, home)?;
        Ok(Network {
            name: name.to_owned(),
            parameters: record.graph.parameter_count(),
            macs: record.graph.macs(),
            weights: "imported",
            path: home.network(name),
            file: record.file,
            sha256: record.sha256,
            classifier: record.classifier,
            classes: record.labels.len(),
            preprocess: record.input,
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
        networks: Vec<Network>,
    }
    let models = PRETRAINED.iter().map(|cfg| Model::of(cfg, home)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut networks = Vec::new();
    for name in home.networks() {
        match Network::of(&name, home) {
            Ok(network) => networks.push(network),
            Err(error) => printer.say(&format!("note: {error}")),
        }
    }
    if printer.is_json() {
        printer.json(&Models { default: DEFAULT_BACKBONE, models, networks })?;
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
    for network in networks {
        let Network { name, parameters, macs, file, .. } = network;
        let none = String::new();
        table.row([
            name,
            short(parameters as u64),
            short(macs),
            none.clone(),
            none,
            format!("imported: {file}"),
        ]);
    }
    printer.data(&table.to_string())?;
    printer.say(&format!(
        "The default is {DEFAULT_BACKBONE}. `headstart models show NAME` names the file of absent weights, `headstart models pull NAME` gets it."
    ));
    Ok(Outcome::Fine)
}

fn show(name: &str, home: &Home, printer: &Printer) -> anyhow::Result<Outcome> {
    if home.networks().iter().any(|network| network == name) {
        return show_network(&Network::of(name, home)?, printer);
    }
    let (_, cfg) = registry::find(&Outline::open(name, home, None)?.name)?;
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

fn show_network(network: &Network, printer: &Printer) -> anyhow::Result<Outcome> {
    if printer.is_json() {
        printer.json(network)?;
        return Ok(Outcome::Fine);
    }
    let [sizes, numbers] = pixels(&network.preprocess);
    let mut text = format!("{}\n", network.name);
    for (what, value) in [
        ("parameters", thousands(network.parameters as u64)),
        ("MACs", thousands(network.macs)),
        ("weights", format!("imported: {}", network.path.display())),
        ("file", network.file.clone()),
        ("sha256", network.sha256.clone()),
        ("classifier", format!("{}, {} classes", network.classifier, network.classes)),
        ("input", sizes),
        ("", numbers),
    ] {
        text += &format!("  {what:<11} {value}\n");
    }
    printer.data(&text)?;
    Ok(Outcome::Fine)
}
