//! Networks that are no rows of the registry: imported under a name of the user's, with all that using them takes in one file.
//!
//! The file is safetensors. Its metadata holds the graph, the preprocessing and the labels as JSON under `headstart.network`, with
//! the fingerprint of the weights, which is compared at load.

use crate::import::stored;
use crate::{Home, KeyMap, LoadReport, ModelsError, Precision, fingerprint, load, registry};
use headstart_data::Preprocess;
use headstart_graph::{Graph, Op, Params};
use headstart_weights::{StateDict, StoredTensor, write_safetensors};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const RECORD: &str = "headstart.network";
/// The newest record that is read.
const VERSION: u32 = 1;

/// What is known of an imported network besides its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRecord {
    /// The whole network, its classifier last.
    pub graph: Graph,
    /// The linear layer that classifies.
    pub classifier: String,
    /// What images go through before it.
    pub input: Preprocess,
    /// Class names in the order of the outputs.
    pub labels: Vec<String>,
    /// The name of the file it came from.
    pub file: String,
    /// SHA-256 of that file.
    pub sha256: String,
}

/// An imported network.
#[derive(Debug, Clone)]
pub struct Network {
    /// All but its weights.
    pub record: NetworkRecord,
    /// All its parameters, in f32.
    pub params: Params,
}

/// A record as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    /// SHA-256 of the weights as they are in the file.
    weights_sha256: String,
    #[serde(flatten)]
    record: NetworkRecord,
}

/// Whether a network may be kept under `name`.
///
/// # Errors
/// Where it is no plain name, or one of the registry.
pub fn check_name(name: &str) -> Result<(), ModelsError> {
    let bad = |expected| ModelsError::NetworkName { name: name.to_owned(), expected };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
    if name.is_empty() || name.len() > 100 || name.starts_with(['.', '-']) || !name.bytes().all(plain) {
        return Err(bad("up to 100 letters, digits, `-`, `_` and `.`, the first a letter, a digit or `_`"));
    }
    if ["safetensors", "safetensor", "pt", "pth", "onnx"].contains(&extension) {
        return Err(bad("one that does not end as a file's does"));
    }
    match registry::find(name) {
        Ok(_) => Err(bad("one that no network of `headstart models list` has")),
        Err(_) => Ok(()),
    }
}

/// Refuses a file that is named as a whole network where something else is expected.
///
/// # Errors
/// [`ModelsError::OnnxFile`], which says how it is used.
pub fn refuse_onnx(path: &Path) -> Result<(), ModelsError> {
    match path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) {
        true => Err(ModelsError::OnnxFile { path: path.to_owned() }),
        false => Ok(()),
    }
}

impl Network {
    /// Keeps it in the home under `name`, whole or not at all, in place of one that was there.
    ///
    /// # Errors
    /// Where the name cannot be used, or the file not be written.
    pub fn keep(&self, name: &str, home: &Home, precision: Precision) -> Result<PathBuf, ModelsError> {
        check_name(name)?;
        let path = home.network(name);
        let graph = &self.record.graph;
        let (mut tensors, mut kept): (Vec<(String, StoredTensor)>, Params) = (Vec::new(), Params::new());
        self.params.check(graph)?;
        for spec in graph.params() {
            let Some(value) = self.params.get(&spec.name) else { continue };
            let stored = stored(value, precision)?;
            kept.insert(spec.name.clone(), stored.to_tensor()?);
            tensors.push((spec.name, stored));
        }
        let weights_sha256 = fingerprint(graph, &kept);
        let written = Written { version: VERSION, weights_sha256, record: self.record.clone() };
        let text = serde_json::to_string(&written).map_err(|e| damaged(&path, e.to_string()))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|source| ModelsError::Io { path: folder.to_owned(), source })?;
        }
        let tensors: Vec<(&str, &StoredTensor)> =
            tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
        write_safetensors(&path, &tensors, &BTreeMap::from([(RECORD.to_owned(), text)]))?;
        Ok(path)
    }

    /// The network that is kept under `name`.
    ///
    /// # Errors
    /// Where its file cannot be read, or is not as it was written.
    pub(crate) fn open(name: &str, home: &Home) -> Result<(Network, LoadReport), ModelsError> {
        let path = home.network(name);
        let dict = StateDict::open(&path)?;
        let (record, weights_sha256) = record(&dict, &path)?;
        let (params, report) = load(&record.graph, &dict, KeyMap::Native)?;
        if !report.is_complete() {
            let (name, report) = (name.to_owned(), Box::new(report));
            return Err(ModelsError::Misfit { path, name, report });
        }
        match fingerprint(&record.graph, &params) == weights_sha256 {
            true => Ok((Network { record, params }, report)),
            false => Err(damaged(&path, "its weights are not those it was kept with".to_owned())),
        }
    }
}

/// What is known of the network that is kept under `name`; its weights are not looked at.
///
/// # Errors
/// As for opening it.
pub fn network_record(name: &str, home: &Home) -> Result<NetworkRecord, ModelsError> {
    let path = home.network(name);
    Ok(record(&StateDict::open(&path)?, &path)?.0)
}

/// The record of a file, and the fingerprint of its weights.
fn record(dict: &StateDict, path: &Path) -> Result<(NetworkRecord, String), ModelsError> {
    let bad = |detail: String| damaged(path, detail);
    let text = dict.metadata().get(RECORD).ok_or_else(|| bad("it has no record of a network".to_owned()))?;
    let Written { version, weights_sha256, record } =
        serde_json::from_str(text).map_err(|e| bad(format!("its record cannot be read ({e})")))?;
    if version > VERSION {
        return Err(bad(format!(
            "it is of version {version}, and {VERSION} is the newest that is known here"
        )));
    }
    record.input.check().map_err(|e| bad(e.to_string()))?;
    let side = record.input.crop;
    if record.graph.input().dims() != [side, side, 3] {
        return Err(bad(format!("images of {side} pixels for an input of {}", record.graph.input())));
    }
    let last = record.graph.nodes().last().filter(|node| node.name == record.classifier);
    if !last
        .is_some_and(|node| matches!(node.op, Op::Linear(_)) && node.shape.dims() == [record.labels.len()])
    {
        return Err(bad(format!(
            "`{}` is no linear layer of {} classes at its end",
            record.classifier,
            record.labels.len()
        )));
    }
    Ok((record, weights_sha256))
}

fn damaged(path: &Path, detail: String) -> ModelsError {
    ModelsError::Network { path: path.to_owned(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_graph::{GraphBuilder, Op};
    use headstart_testing::seeded;

    fn network() -> Network {
        let mut b = GraphBuilder::new([8, 8, 3]);
        let x = b.add("pool", Op::GlobalAvgPool, &[b.input()]).unwrap();
        b.linear("fc", x, 2).unwrap();
        let graph = b.finish();
        let params = graph.params().into_iter();
        let params = params.map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 3, 1.0))).collect();
        let input = Preprocess { resize: 9, crop: 8, ..registry::PRETRAINED[0].input.clone() };
        let labels = vec!["a".to_owned(), "b".to_owned()];
        let record = NetworkRecord {
            graph,
            classifier: "fc".into(),
            input,
            labels,
            file: "n.onnx".into(),
            sha256: "0".into(),
        };
        Network { record, params }
    }

    #[test]
    fn a_network_is_kept_whole_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        let network = network();
        for precision in [Precision::F16, Precision::F32] {
            network.keep("mine", &home, precision).unwrap();
            assert_eq!(Network::open("mine", &home).unwrap().0.record, network.record);
        }
        assert_eq!(home.networks(), ["mine"]);
        assert_eq!(
            Network::open("mine", &home).unwrap().0.params.get("fc.weight"),
            network.params.get("fc.weight")
        );
        let (path, whole) = (home.network("mine"), std::fs::read(home.network("mine")).unwrap());
        let text = String::from_utf8_lossy(&whole).into_owned();
        for (from, to, words) in [
            (r#"\"crop\":8"#, r#"\"crop\":7"#, "images of 7 pixels"),
            (r#"[\"a\",\"b\"]"#, r#"[\"abbbbbb\"]"#, "no linear layer of 1 classes"),
            (r#"\"version\":1"#, r#"\"version\":9"#, "version 9"),
            (r#"\"op\":\"linear\""#, r#"\"op\":\"lineal\""#, "cannot be read"),
        ] {
            assert!(text.contains(from), "{from}");
            let at = whole.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
            let mut changed = whole.clone();
            changed[at..at + from.len()].copy_from_slice(to.as_bytes());
            std::fs::write(&path, changed).unwrap();
            let error = Network::open("mine", &home).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("mine.safetensors"), "{error}");
        }
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert!(Network::open("mine", &home).unwrap_err().to_string().contains("not those it was kept with"));
    }

    #[test]
    fn names_are_plain_and_not_those_of_the_registry() {
        for name in ["mine", "my-net_2.v1", "resnet18b"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            ".x",
            "-x",
            "a/b",
            "a b",
            "../x",
            "resnet18",
            "resnet18.tv_in1k",
            "net.onnx",
            "x.safetensors",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
