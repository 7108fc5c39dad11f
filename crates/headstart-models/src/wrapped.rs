//! Networks inside other things: a part of a whole checkpoint, behind the name of an attribute.
//!
//! `nn.DataParallel` puts `module.` before every name, `torch.compile` `_orig_mod.`, and a class that holds the network the
//! name of its attribute (`self.base`). A checkpoint may hold the trained weights and their moving average side by side.

use crate::KeyMap;
use headstart_graph::Graph;
use headstart_weights::{StateDict, WeightsError};
use std::collections::BTreeSet;
use std::path::Path;

/// Attributes and wrappers that networks are met behind. None is the name of a part of a network here.
const WRAPPERS: [&str; 11] = [
    "module.",
    "_orig_mod.",
    "model.",
    "backbone.",
    "base.",
    "base_model.",
    "net.",
    "network.",
    "resnet.",
    "cnn.",
    "student.",
];

/// Parts of a checkpoint, the one to take first: an average of the weights before the weights, as timm has it.
const PARTS: [&str; 8] = [
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
];

/// The state dict of a file; of several in one checkpoint the first of [`PARTS`]. The report says which.
pub(crate) fn open(path: &Path) -> Result<StateDict, WeightsError> {
    match StateDict::open(path) {
        Err(WeightsError::Ambiguous { file, found }) => {
            match PARTS.into_iter().find(|part| found.iter().any(|name| *name == format!("{part:?}"))) {
                Some(part) => StateDict::open_entry(path, part),
                None => Err(WeightsError::Ambiguous { file, found }),
            }
        }
        other => other,
    }
}

/// What stands before the names of `graph` in `dict`, and the dialect of those names: where most of them are found.
pub(crate) fn detect(graph: &Graph, dict: &StateDict) -> (String, KeyMap) {
    let names: BTreeSet<String> = graph.params().into_iter().map(|p| p.name).collect();
    let keys: Vec<&str> = dict.iter().map(|(name, _)| name).collect();
    let mut prefixes = BTreeSet::from([String::new()]);
    prefixes.extend(keys.iter().map(|key| wrappers(key).to_owned()));
    let mut best = (0, String::new(), KeyMap::Native);
    for prefix in prefixes {
        let inner: Vec<&str> = keys.iter().filter_map(|key| key.strip_prefix(prefix.as_str())).collect();
        let map = KeyMap::detect(graph, &inner);
        let hits = inner.iter().filter_map(|k| map.name(graph, k)).filter(|n| names.contains(n)).count();
        if hits > best.0 || (hits == best.0 && prefix.is_empty()) {
            best = (hits, prefix, map);
        }
    }
    (best.1, best.2)
}

/// The wrappers at the beginning of `key`.
fn wrappers(key: &str) -> &str {
    let mut rest = key;
    while let Some(inner) = WRAPPERS.iter().find_map(|wrapper| rest.strip_prefix(wrapper)) {
        rest = inner;
    }
    key.strip_suffix(rest).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::ARCHITECTURES;

    #[test]
    fn wrappers_are_told_from_parts_of_networks() {
        assert_eq!(wrappers("module._orig_mod.base.conv1.weight"), "module._orig_mod.base.");
        assert_eq!(wrappers("model.weight"), "model.");
        assert_eq!(wrappers("modules.weight"), "");
        for arch in ARCHITECTURES {
            let graph = arch.build(224, 10).or_else(|_| arch.build(300, 10)).unwrap();
            assert!(graph.params().iter().all(|p| wrappers(&p.name).is_empty()), "{}", arch.name);
        }
    }
}
