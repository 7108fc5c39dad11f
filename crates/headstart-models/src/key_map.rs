//! Dialects of parameter names: how a file's keys become the names of our graphs.

use headstart_graph::Graph;

/// A dialect of parameter names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyMap {
    /// The architecture's own names (torchvision's, timm's).
    Native,
    /// Those of the `efficientnet_pytorch` family: `_blocks.7._bn1.weight`, numbered without stages.
    EfficientNetPyTorch,
    /// Those of text encoders inside other networks (`bert.`, `distilbert.`, `roberta.`, `0.auto_model.`), and TensorFlow's
    /// names of norms (`LayerNorm.gamma`).
    TextEncoder,
    /// Those of torchvision's DenseNet files: `denselayer1.norm.1.weight` for `denselayer1.norm1.weight`.
    DottedDenseNet,
}

impl KeyMap {
    /// Every dialect.
    pub const ALL: [KeyMap; 4] =
        [KeyMap::Native, KeyMap::EfficientNetPyTorch, KeyMap::TextEncoder, KeyMap::DottedDenseNet];

    /// The name in `graph` of the file's `key`; `None` where the dialect has no such key.
    pub fn name(self, graph: &Graph, key: &str) -> Option<String> {
        match self {
            KeyMap::Native => Some(key.to_owned()),
            KeyMap::EfficientNetPyTorch => efficientnet_pytorch(graph, key),
            KeyMap::TextEncoder => Some(text_encoder(key)),
            KeyMap::DottedDenseNet => Some(dotted_densenet(key)),
        }
    }

    /// The dialect in which most of `keys` are parameters of `graph`.
    pub fn detect(graph: &Graph, keys: &[&str]) -> KeyMap {
        let names: std::collections::BTreeSet<String> = graph.params().into_iter().map(|p| p.name).collect();
        let hits = |map: KeyMap| {
            keys.iter().filter_map(|k| map.name(graph, k)).filter(|n| names.contains(n)).count()
        };
        // The earlier dialect where two fit alike.
        KeyMap::ALL.into_iter().rev().max_by_key(|&map| hits(map)).unwrap_or(KeyMap::Native)
    }
}

fn text_encoder(key: &str) -> String {
    let prefixes = ["bert.", "distilbert.", "roberta.", "0.auto_model."];
    let inner = prefixes.iter().find_map(|prefix| key.strip_prefix(prefix)).unwrap_or(key);
    for (theirs, ours) in [(".LayerNorm.gamma", "weight"), (".LayerNorm.beta", "bias")] {
        if let Some(layer) = inner.strip_suffix(theirs) {
            return format!("{layer}.LayerNorm.{ours}");
        }
    }
    inner.to_owned()
}

fn dotted_densenet(key: &str) -> String {
    let Some((block, layer)) = key.split_once(".denselayer") else { return key.to_owned() };
    let layer = layer.replacen(".norm.", ".norm", 1).replacen(".conv.", ".conv", 1);
    format!("{block}.denselayer{layer}")
}

fn efficientnet_pytorch(graph: &Graph, key: &str) -> Option<String> {
    let Some(rest) = key.strip_prefix("_blocks.") else {
        let (layer, part) = key.split_once('.')?;
        let layer = match layer {
            "_conv_stem" => "conv_stem",
            "_bn0" => "bn1",
            "_conv_head" => "conv_head",
            "_bn1" => "bn2",
            "_fc" => "classifier",
            _ => return None,
        };
        return Some(format!("{layer}.{part}"));
    };
    let mut parts = rest.splitn(3, '.');
    let (index, layer, part) = (parts.next()?.parse::<usize>().ok()?, parts.next()?, parts.next()?);
    let blocks = graph.nodes().iter().filter_map(|n| n.name.strip_suffix(".conv_dw"));
    let block = blocks.into_iter().nth(index)?;
    let expands = graph.node(&format!("{block}.conv_pwl")).is_some();
    let layer = match (layer, expands) {
        ("_expand_conv", true) => "conv_pw",
        ("_bn0", true) => "bn1",
        ("_depthwise_conv", _) => "conv_dw",
        ("_bn1", true) => "bn2",
        ("_project_conv", true) => "conv_pwl",
        ("_bn2", true) => "bn3",
        ("_bn1", false) => "bn1",
        ("_project_conv", false) => "conv_pw",
        ("_bn2", false) => "bn2",
        _ => return None,
    };
    Some(format!("{block}.{layer}.{part}"))
}

impl std::fmt::Display for KeyMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            KeyMap::Native => "native",
            KeyMap::EfficientNetPyTorch => "efficientnet_pytorch",
            KeyMap::TextEncoder => "a text encoder inside another network",
            KeyMap::DottedDenseNet => "torchvision's DenseNet files",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn flat_blocks_find_their_stage() {
        let graph = registry::architecture("tf_efficientnet_lite0").unwrap().build(224, 1000).unwrap();
        let name = |key| KeyMap::EfficientNetPyTorch.name(&graph, key);
        assert_eq!(name("_bn0.running_var").unwrap(), "bn1.running_var");
        assert_eq!(name("_blocks.0._project_conv.weight").unwrap(), "blocks.0.0.conv_pw.weight");
        assert_eq!(name("_blocks.0._bn2.bias").unwrap(), "blocks.0.0.bn2.bias");
        assert_eq!(name("_blocks.1._bn2.bias").unwrap(), "blocks.1.0.bn3.bias");
        assert_eq!(name("_blocks.15._expand_conv.weight").unwrap(), "blocks.6.0.conv_pw.weight");
        assert_eq!(name("_blocks.16._expand_conv.weight"), None);
        assert_eq!(name("_blocks.0._expand_conv.weight"), None);
        assert_eq!(KeyMap::detect(&graph, &["_bn0.weight", "_fc.bias"]), KeyMap::EfficientNetPyTorch);
        assert_eq!(KeyMap::detect(&graph, &["bn1.weight", "x"]), KeyMap::Native);
        let densenet = registry::architecture("densenet121").unwrap().build(64, 10).unwrap();
        let key = "features.denseblock2.denselayer12.norm.2.running_mean";
        let name = KeyMap::DottedDenseNet.name(&densenet, key).unwrap();
        assert_eq!(name, "features.denseblock2.denselayer12.norm2.running_mean");
        assert_eq!(KeyMap::detect(&densenet, &[key, "features.norm5.bias"]), KeyMap::DottedDenseNet);
        assert_eq!(KeyMap::detect(&densenet, &[&name, "features.norm5.bias"]), KeyMap::Native);
        let name = |key| KeyMap::TextEncoder.name(&graph, key).unwrap();
        assert_eq!(name("bert.embeddings.LayerNorm.gamma"), "embeddings.LayerNorm.weight");
        assert_eq!(name("0.auto_model.pooler.dense.bias"), "pooler.dense.bias");
        assert_eq!(name("distilbert.transformer.layer.0.ffn.lin1.bias"), "transformer.layer.0.ffn.lin1.bias");
    }
}
