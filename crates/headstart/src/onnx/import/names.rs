//! What layers are called, and the stages they belong to.
//!
//! A layer has the name of its weight in the file (`layer1.0.conv1`, of `layer1.0.conv1.weight`), or of its bias; exporters that
//! fold batch norms give the weights numbers (`onnx::Conv_193`), and then it has that of its node
//! (`/layer1/layer1.0/conv1/Conv`). A layer without any is called by its operator and counted.

use crate::onnx::proto::NodeProto;
use std::collections::{BTreeMap, BTreeSet};

/// The longest name that is taken over.
const LONGEST: usize = 200;

/// The names that are given.
#[derive(Debug, Default)]
pub(crate) struct Names {
    taken: BTreeSet<String>,
    /// How often a name was wanted.
    wanted: BTreeMap<String, usize>,
    /// Layers with weights that the file has no name for.
    pub(crate) made_up: usize,
}

impl Names {
    /// The name of a layer whose tensors have these names in the file.
    pub(crate) fn layer(&mut self, node: &NodeProto, tensors: &[(&str, &str)]) -> String {
        let of = |&(tensor, part): &(&str, &str)| tensor.strip_suffix(part).and_then(tidy);
        let wanted = tensors.iter().find_map(of).or_else(|| scope(node));
        let wanted = wanted.unwrap_or_else(|| {
            self.made_up += 1;
            format!("{}_{}", node.op_type.to_lowercase(), self.made_up)
        });
        self.unique(wanted)
    }

    /// The name of a layer without weights.
    pub(crate) fn step(&mut self, node: &NodeProto) -> String {
        let op = node.op_type.to_lowercase();
        let wanted = match scope(node) {
            Some(scope) if scope.rsplit('.').next().is_some_and(|last| last.starts_with(&op)) => scope,
            Some(scope) => format!("{scope}.{op}"),
            None => op,
        };
        self.unique(wanted)
    }

    fn unique(&mut self, wanted: String) -> String {
        let count = self.wanted.entry(wanted.clone()).or_default();
        loop {
            *count += 1;
            let name = if *count == 1 { wanted.clone() } else { format!("{wanted}_{count}") };
            // The network's input has this name.
            if name != "input" && self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// A name that can be given on a command line, of one that says something.
fn tidy(name: &str) -> Option<String> {
    let numbered = name.contains("::") || name.starts_with("val_");
    let fits = !name.is_empty() && name.len() <= LONGEST && !numbered;
    let plain = |c: char| {
        if c == '/' {
            '.'
        } else if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            c
        } else {
            '_'
        }
    };
    fits.then(|| name.trim_matches(['/', '.']).chars().map(plain).collect())
        .filter(|name: &String| !name.is_empty())
}

/// The module that a node was made of: `/layer1/layer1.0/conv1/Conv` is `layer1.0.conv1`.
fn scope(node: &NodeProto) -> Option<String> {
    let path = node.name.strip_prefix("node_").unwrap_or(&node.name);
    if path.len() > LONGEST {
        return None;
    }
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts
        .last()
        .is_some_and(|last| last.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_') == node.op_type)
    {
        parts.pop();
    }
    let mut modules: Vec<&str> = Vec::new();
    for part in parts {
        // A module within a sequence has the name of the sequence before its own.
        if modules
            .last()
            .is_some_and(|last| part.strip_prefix(last).is_some_and(|rest| rest.starts_with('.')))
        {
            modules.pop();
        }
        modules.push(part);
    }
    tidy(&modules.join("."))
}

/// The stage of a layer by its name behind `shared`: up to the first part that ends in a digit (`layer1`, `features.17`,
/// `blocks.3`), else the first part.
pub(crate) fn stage<'a>(layer: &'a str, shared: &str) -> &'a str {
    let from = if layer.starts_with(shared) { shared.len() } else { 0 };
    let mut end = from;
    for part in layer[from..].split('.') {
        end += part.len();
        if part.ends_with(|c: char| c.is_ascii_digit()) {
            return &layer[..end];
        }
        end += 1;
    }
    let first = layer[from..].split('.').next().map_or(0, str::len);
    &layer[..from + first]
}

/// The parts that all layers' names begin with (`model.`), the last dot included: a wrapper's, which part nothing.
pub(crate) fn shared<'a>(layers: &[&'a str]) -> &'a str {
    let Some(&first) = layers.first() else { return "" };
    let mut shared = first.rfind('.').map_or(0, |dot| dot + 1);
    while !layers.iter().all(|layer| layer.starts_with(&first[..shared])) {
        shared = first[..shared - 1].rfind('.').map_or(0, |dot| dot + 1);
    }
    &first[..shared]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, op: &str) -> NodeProto {
        NodeProto { name: name.into(), op_type: op.into(), ..NodeProto::default() }
    }

    #[test]
    fn layers_are_called_as_their_weights_or_their_modules() {
        let mut names = Names::default();
        let conv = node("/layer1/layer1.0/conv1/Conv", "Conv");
        assert_eq!(names.layer(&conv, &[("stem.conv.weight", ".weight")]), "stem.conv");
        assert_eq!(names.layer(&conv, &[("onnx::Conv_193", ".weight")]), "layer1.0.conv1");
        assert_eq!(names.layer(&conv, &[("val_3.weight", ".weight")]), "layer1.0.conv1_2");
        assert_eq!(names.layer(&node("/features/features.0/features.0.0/Conv", "Conv"), &[]), "features.0.0");
        assert_eq!((names.layer(&node("", "Conv"), &[]).as_str(), names.made_up), ("conv_1", 1));
        assert_eq!(names.layer(&node("Conv_12", "Conv"), &[]), "conv_2");
        assert_eq!(names.step(&node("/layer1/layer1.0/relu_1/Relu", "Relu")), "layer1.0.relu_1");
        assert_eq!(names.step(&node("/layer1/layer1.0/Add", "Add")), "layer1.0.add");
        assert_eq!(names.step(&node("node_relu_3", "Relu")), "relu_3");
        assert_eq!(names.layer(&node("input", "Gemm"), &[]), "input_2");
        assert_eq!(names.layer(&node("a b,c", "Gemm"), &[]), "a_b_c");
    }

    #[test]
    fn stages_are_those_of_the_registered_families() {
        for (layer, expected) in [
            ("layer1.0.conv1", "layer1"),
            ("features.17.conv.0.0", "features.17"),
            ("blocks.6.0.conv_pw", "blocks.6"),
            ("features.denseblock1.denselayer2.conv1", "features.denseblock1"),
            ("encoder.layers.encoder_layer_0.ln_1", "encoder.layers.encoder_layer_0"),
            ("fc", "fc"),
            ("conv1", "conv1"),
            ("head.fc", "head"),
        ] {
            assert_eq!(stage(layer, ""), expected);
        }
    }

    #[test]
    fn a_wrapper_is_no_stage() {
        let layers = ["model.conv.Conv2D", "model.conv2.Conv2D", "model.logits.MatMul"];
        assert_eq!(shared(&layers), "model.");
        assert_eq!(layers.map(|layer| stage(layer, "model.")), ["model.conv", "model.conv2", "model.logits"]);
        assert_eq!((shared(&["fc"]), shared(&["a.b", "c"]), shared(&[])), ("", "", ""));
        assert_eq!(shared(&["a.b.c", "a.b.d", "a.bc.d"]), "a.");
    }
}
