//! A whole model to a network: its input, its output, the nodes between them in order, stages.

use super::attributes::label;
use super::constant::external;
use super::error::OnnxError;
use super::names::{shared, stage};
use super::reader::Reader;
use super::value::{Layout, Value};
use crate::onnx::LOGITS;
use crate::onnx::proto::{ElementType, Extent, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfo};
use headstart_graph::{Graph, GraphBuilder, NodeId, Op, Params};
use headstart_tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet};

/// The operator sets whose meaning is known: from the first with today's `Conv` and `Reshape` to the newest there was.
pub(crate) const OPSETS: [i64; 2] = [9, 28];
/// The one that has all that is read in one operator each.
const BEST_OPSET: i64 = 20;

/// The most layers: a graph of more is not read from where it is kept.
const MOST_NODES: usize = 20_000;

/// What a model became.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) graph: Graph,
    pub(crate) params: Params,
    /// The linear layer that classifies.
    pub(crate) classifier: String,
    /// What was left out or decided.
    pub(crate) notes: Vec<String>,
}

/// The network of a model, for images of `size` pixels where the file leaves that open.
pub(crate) fn network(model: &ModelProto, size: Option<usize>) -> Result<Network, OnnxError> {
    let opset = opset(model)?;
    let missing = || OnnxError::NotOnnx { detail: "it has no graph".to_owned() };
    let graph = model.graph.as_ref().filter(|graph| !graph.node.is_empty()).ok_or_else(missing)?;
    graph.initializer.iter().try_for_each(external)?;
    let mut constants: BTreeMap<&str, &TensorProto> = BTreeMap::new();
    let twice = |value: &str| OnnxError::Twice { value: value.to_owned() };
    for tensor in &graph.initializer {
        if constants.insert(&tensor.name, tensor).is_some() {
            return Err(twice(&tensor.name));
        }
    }
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if constants.contains_key(name.as_str()) || makers.insert(name, at).is_some() {
                return Err(twice(name));
            }
        }
    }
    let mut notes = Vec::new();
    let input = input(graph, &constants, size, &mut notes)?;
    let (output, passed) = output(graph, &makers, &mut notes)?;
    let needed = needed(graph, &makers, output);
    let beside = graph.node.len().saturating_sub(needed.len() + passed);
    let mut reader = Reader::new(
        (&graph.node, &needed),
        (constants, makers),
        opset,
        &input,
        GraphBuilder::checked(input.shape)?,
    );
    for &at in &needed {
        reader.read(at)?;
    }
    for (what, count) in &reader.notes {
        notes.push(format!("{count} times: {what}"));
    }
    if beside > 0 {
        notes.push(format!("nodes that `{output}` does not need, left out: {beside}"));
    }
    let last = classifier(&reader, output, &graph.node)?;
    let by_name = reader.names.made_up == 0;
    let (whole, params) = (reader.builder.finish(), reader.params);
    params.check(&whole)?;
    let (graph, classifier) = pruned(&whole, last, by_name)?;
    if graph.nodes().len() > MOST_NODES {
        let (found, limit) = (graph.nodes().len() as u64, MOST_NODES as u64);
        return Err(OnnxError::TooLarge { what: "layers", found, limit });
    }
    let stages = graph.stages().join(", ");
    notes.push(match by_name {
        true => format!("stages by the names of the layers: {stages}"),
        false => format!("the file does not name all layers; stages by the size of the image: {stages}"),
    });
    Ok(Network { params: only(&graph, params), graph, classifier, notes })
}

/// The operator set of ONNX's own operators.
fn opset(model: &ModelProto) -> Result<i64, OnnxError> {
    let own = model.opset_import.iter().filter(|set| matches!(set.domain.as_str(), "" | "ai.onnx"));
    let found = own.map(|set| set.version).max();
    let found =
        found.ok_or_else(|| OnnxError::NotOnnx { detail: "it names no operator set of ONNX".to_owned() })?;
    let [least, most] = OPSETS;
    match (least..=most).contains(&found) {
        true => Ok(found),
        false => Err(OnnxError::Opset { found, least, most, hint: BEST_OPSET }),
    }
}

/// The one input of a graph.
pub(crate) struct Input<'a> {
    pub(crate) name: &'a str,
    /// Of an image, here.
    shape: [usize; 3],
    /// How ONNX has it.
    pub(crate) layout: Layout,
    /// The images of a batch, where that is fixed.
    pub(crate) batch: Option<i64>,
}

/// The one input, for images of `size` pixels where that is open.
fn input<'a>(
    graph: &'a GraphProto,
    constants: &BTreeMap<&str, &TensorProto>,
    size: Option<usize>,
    notes: &mut Vec<String>,
) -> Result<Input<'a>, OnnxError> {
    let inputs: Vec<&ValueInfo> =
        graph.input.iter().filter(|input| !constants.contains_key(input.name.as_str())).collect();
    let wrong = |found: String, hint: &str| OnnxError::Input { found, hint: hint.to_owned() };
    let [input] = inputs.as_slice() else {
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let found = format!("is not one: the graph has {} ({})", names.len(), names.join(", "));
        return Err(wrong(found, ""));
    };
    let name = input.name.as_str();
    let tensor = input.value_type.as_ref().and_then(|of| of.tensor_type.as_ref());
    let element = tensor.map_or(0, |tensor| tensor.elem_type);
    if !matches!(ElementType::try_from(element), Ok(ElementType::Float | ElementType::Float16)) {
        let hint = "; a file with the preprocessing inside (uint8) is exported again without it";
        return Err(wrong(format!("`{name}` has elements of type {element}"), hint));
    }
    let dims = tensor.and_then(|tensor| tensor.shape.as_ref()).map_or(&[][..], |shape| shape.dim.as_slice());
    let extents: Vec<Result<i64, &str>> = dims
        .iter()
        .map(|dim| match &dim.value {
            Some(Extent::Fixed(n)) => Ok(*n),
            Some(Extent::Open(name)) => Err(name.as_str()),
            None => Err("?"),
        })
        .collect();
    let shown: Vec<String> =
        extents.iter().map(|e| e.map_or_else(str::to_owned, |n| n.to_string())).collect();
    let shown = format!("`{name}` is [{}]", shown.join(", "));
    let (batch, sides, layout) = match extents.as_slice() {
        [batch, Ok(3), height, width] => (*batch, [*height, *width], Layout::Image),
        [batch, height, width, Ok(3)] => (*batch, [*height, *width], Layout::ChannelsLast),
        _ => return Err(wrong(shown, "")),
    };
    if let Ok(n) = batch {
        notes.push(format!("the batch of {n} in the file is open here"));
    }
    let side = match (sides, size) {
        ([Ok(height), Ok(width)], _) if height != width => {
            return Err(wrong(shown, "; square images are imported"));
        }
        ([Ok(side), Ok(_)], given) => match (usize::try_from(side), given) {
            (Ok(side), Some(given)) if given != side => {
                return Err(wrong(shown, &format!("; --crop {given} is for files that leave the size open")));
            }
            (side, _) => side.unwrap_or(0),
        },
        (_, Some(size)) => size,
        (_, None) => return Err(wrong(shown, "; its size is open: say it with --crop N")),
    };
    match (1..=4096).contains(&side) {
        true => Ok(Input { name, shape: [side, side, 3], layout, batch: batch.ok() }),
        false => Err(wrong(shown, "; sides of 1 to 4096 pixels are imported")),
    }
}

/// The value that holds the logits: what a softmax at the end reads, if there is one. And the nodes behind it.
fn output<'a>(
    graph: &'a GraphProto,
    makers: &BTreeMap<&str, usize>,
    notes: &mut Vec<String>,
) -> Result<(&'a str, usize), OnnxError> {
    let names: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
    let mut name = match names.as_slice() {
        [one] => *one,
        several => match several.iter().find(|name| **name == LOGITS) {
            Some(logits) => *logits,
            None => return Err(OnnxError::Outputs { found: several.join(", ") }),
        },
    };
    if names.len() > 1 {
        let others: Vec<&str> = names.into_iter().filter(|other| *other != name).collect();
        notes.push(format!("of the outputs `{name}` is taken, and left out: {}", others.join(", ")));
    }
    // Each step goes to an earlier node: a circle ends.
    let (mut before, mut passed) = (graph.node.len(), 0);
    while let Some(&at) = makers.get(name).filter(|at| **at < before) {
        let node = &graph.node[at];
        let Some(read) = node.input.first() else { break };
        match node.op_type.as_str() {
            "Softmax" | "LogSoftmax" => {
                notes.push(format!(
                    "{} `{}` at the end is left out: the logits before it are taken",
                    node.op_type,
                    label(node)
                ));
            }
            "Identity" => {}
            _ => break,
        }
        (name, before, passed) = (read, at, passed + 1);
    }
    Ok((name, passed))
}

/// The places of the nodes that `output` depends on.
fn needed(graph: &GraphProto, makers: &BTreeMap<&str, usize>, output: &str) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    let mut open: Vec<usize> = makers.get(output).copied().into_iter().collect();
    while let Some(at) = open.pop() {
        if needed.insert(at) {
            open.extend(graph.node[at].input.iter().filter_map(|name| makers.get(name.as_str())));
        }
    }
    needed
}

/// The linear layer that gives the logits.
fn classifier(reader: &Reader, output: &str, nodes: &[NodeProto]) -> Result<NodeId, OnnxError> {
    let refused = |found: String| OnnxError::NoClassifier { output: output.to_owned(), found };
    let maker = || {
        let node = nodes.iter().find(|node| node.output.iter().any(|name| name == output));
        node.map_or_else(|| "no node".to_owned(), |node| format!("`{}` ({})", label(node), node.op_type))
    };
    match reader.made(output) {
        Some(Value::Activation(activation)) => {
            let node = activation.node().ok_or_else(|| refused(maker()))?;
            match (activation.layout, reader.is_linear(node)) {
                (Layout::Features { .. }, true) => Ok(node),
                _ => Err(refused(maker())),
            }
        }
        _ => Err(refused(maker())),
    }
}

/// The nodes that `last` depends on, in their stages, and the name of the last.
fn pruned(whole: &Graph, last: NodeId, by_name: bool) -> Result<(Graph, String), OnnxError> {
    let nodes = whole.nodes();
    let mut reached = BTreeSet::from([last.index()]);
    // Inputs come before the nodes that read them.
    for at in (0..=last.index()).rev().filter(|&at| at > 0) {
        if reached.contains(&at) {
            reached.extend(nodes[at].inputs.iter().map(|input| input.index()));
        }
    }
    let mut builder = GraphBuilder::new(whole.input().clone());
    let mut now: BTreeMap<usize, NodeId> = BTreeMap::from([(0, builder.input())]);
    let mut sizes = Sizes { stage: 0, pixels: usize::MAX };
    let layers = reached.iter().map(|&at| &nodes[at]).filter(|node| !node.op.params().is_empty());
    let layers: Vec<&str> = layers.map(|node| node.name.as_str()).collect();
    let shared = shared(&layers);
    let mut current = layers.first().map_or_else(String::new, |layer| stage(layer, shared).to_owned());
    for &at in reached.iter().filter(|&&at| at > 0) {
        let node = &nodes[at];
        let has_weights = !node.op.params().is_empty();
        if !by_name {
            current =
                if at == last.index() { "classifier".to_owned() } else { sizes.stage(node.shape.dims()) };
        } else if has_weights {
            stage(&node.name, shared).clone_into(&mut current);
        }
        builder.stage(&current);
        let inputs: Vec<NodeId> = node.inputs.iter().filter_map(|i| now.get(&i.index()).copied()).collect();
        now.insert(at, builder.add(&node.name, node.op.clone(), &inputs)?);
    }
    Ok((builder.finish(), nodes[last.index()].name.clone()))
}

/// Stages by the size of the image: a new one where it gets smaller.
struct Sizes {
    stage: usize,
    pixels: usize,
}

impl Sizes {
    fn stage(&mut self, shape: &[usize]) -> String {
        // Rows and tokens belong to what was before them.
        if let &[height, width, _] = shape
            && height * width < self.pixels
        {
            (self.stage, self.pixels) = (self.stage + 1, height * width);
        }
        format!("stage{}", self.stage)
    }
}

/// The parameters of `graph`.
fn only(graph: &Graph, mut params: Params) -> Params {
    let taken =
        graph.params().into_iter().filter_map(|p| params.remove(&p.name).map(|value| (p.name, value)));
    taken.collect::<Vec<(String, Tensor)>>().into_iter().collect()
}

impl Reader<'_> {
    /// Whether a node of the network is a linear layer.
    fn is_linear(&self, node: NodeId) -> bool {
        matches!(self.builder.op(node), Op::Linear(_))
    }
}
