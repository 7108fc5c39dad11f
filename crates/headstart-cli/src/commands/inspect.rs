//! `headstart inspect`: a network layer by layer, as PyTorch's `print(model)`.

use crate::args::Inspect;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::{Align, Table, percent, thousands};
use headstart::fine_tune;
use headstart::graph::{CompiledLayer, Freeze, Graph, Precision, Summary};
use headstart::models::{Home, Outline};
use headstart::{Classifier, Isa};
use serde::Serialize;
use std::path::Path;

/// The JSON of a network.
#[derive(Serialize)]
struct Inspected<'a> {
    name: &'a str,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// The JSON of a compiled network.
#[derive(Serialize)]
struct Compiled<'a> {
    name: &'a str,
    isa: String,
    layers: &'a [CompiledLayer],
}

pub(crate) fn run(args: &Inspect, printer: &Printer) -> anyhow::Result<Outcome> {
    let Network { name, classifier, graph, precision } = network(args)?;
    if args.compiled {
        let layers = graph.compiled(args.precision.map_or(precision, Into::into))?;
        if printer.is_json() {
            printer.json(&Compiled { name: &name, isa: Isa::current().to_string(), layers: &layers })?;
        } else {
            printer.data(&compiled_text(&name, &layers))?;
        }
        return Ok(Outcome::Fine);
    }
    let freeze = match args.unfreeze.is_empty() {
        true => Freeze::everything().unfreeze(&graph, &classifier)?,
        false => fine_tune::unfreeze(&graph, &classifier, &args.unfreeze)?.freeze,
    };
    let summary = graph.summary(&freeze);
    if printer.is_json() {
        printer.json(&Inspected { name: &name, summary: &summary })?;
    } else {
        printer.data(&text(&name, &summary))?;
    }
    Ok(Outcome::Fine)
}

/// A network of a model file, or by architecture alone.
struct Network {
    name: String,
    classifier: String,
    graph: Graph,
    precision: Precision,
}

fn network(args: &Inspect) -> anyhow::Result<Network> {
    if Path::new(&args.name).is_file() {
        let model = Classifier::open(&args.name, &Home::from_env()?)?;
        let (labels, backbone) = (model.labels().len(), model.backbone);
        let mut graph = backbone.graph.with_classes(&backbone.classifier, labels)?;
        if let Some(size) = args.size {
            graph = graph.with_input([size, size, 3])?;
        }
        let precision = backbone.trunk().precision();
        return Ok(Network { name: backbone.name, classifier: backbone.classifier, graph, precision });
    }
    let Outline { architecture: name, classifier, graph, .. } =
        Outline::open(&args.name, &Home::from_env()?, args.size)?;
    Ok(Network { name, classifier, graph, precision: Precision::F32 })
}

fn compiled_text(name: &str, layers: &[CompiledLayer]) -> String {
    let mut table = Table::new([
        ("computes", Align::Left),
        ("kernel", Align::Left),
        ("output", Align::Left),
        ("weight bytes", Align::Right),
        ("MACs", Align::Right),
    ]);
    for layer in layers {
        table.row([
            layer.nodes.clone(),
            layer.kernel.clone(),
            dims(&layer.output),
            some(layer.bytes as u64),
            some(layer.macs),
        ]);
    }
    format!("{name} for {}: {} kernel calls\n\n{table}", Isa::current(), layers.len())
}

/// `112x112x32`.
fn dims(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// A number, or nothing for 0.
fn some(n: u64) -> String {
    if n == 0 { String::new() } else { thousands(n) }
}

fn text(name: &str, summary: &Summary) -> String {
    let mut table = Table::new([
        ("stage", Align::Left),
        ("layer", Align::Left),
        ("operation", Align::Left),
        ("output", Align::Left),
        ("parameters", Align::Right),
        ("MACs", Align::Right),
        ("frozen", Align::Left),
    ]);
    let mut stage = "";
    for layer in &summary.layers {
        let first = if layer.stage == stage { String::new() } else { layer.stage.clone() };
        stage = &layer.stage;
        let frozen = match layer.frozen {
            Some(true) => "frozen",
            Some(false) => "trained",
            None => "",
        };
        table.row([
            first,
            layer.name.clone(),
            layer.op.clone(),
            dims(&layer.output),
            some(layer.parameters as u64),
            some(layer.macs),
            frozen.to_owned(),
        ]);
    }
    let (all, trained) = (summary.parameters as u64, summary.trainable as u64);
    let mut text = format!("{name}, input {}\n\n{table}\n", dims(&summary.input));
    text += &format!("parameters  {}\n", thousands(all));
    let share = percent(trained as f64 / all.max(1) as f64);
    text += &format!("trained     {} ({share}), frozen {}\n", thousands(trained), thousands(all - trained));
    text += &format!("MACs        {} an image\n", thousands(summary.macs));
    if let Some(cut) = &summary.cut {
        text += &format!("cut         after {cut}: what comes before runs once an image and is cached\n");
    }
    text
}
