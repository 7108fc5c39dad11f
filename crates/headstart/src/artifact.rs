//! One model file: the tensors of trunk and head, and a manifest with everything else, in safetensors.
//!
//! The manifest is JSON in the file's metadata under `headstart`; it holds the hash of the weights. The SHA-256 of
//! manifest and golden tensors is under `headstart.sha256`, so that no tensor and no word of the manifest changes unseen.
//! Reading executes nothing. Golden inputs (`golden.images`, u8 `[n, h, w, 3]`) and their logits
//! (`golden.logits`) are run at load: a model that answers differently here is refused. A model of texts has word ids
//! (`golden.ids`, i32 `[n, tokens]`) instead, and its tokenizer (`tokenizer.json`, u8).

mod golden;
mod manifest;

pub use manifest::{
    FIRST_VERSION, FOURTH_VERSION, Manifest, Recipe, SECOND_VERSION, SENTENCE, THIRD_VERSION, TextPart,
    VERSION, Validation,
};

use crate::head::LinearHead;
use crate::input::Input;
use crate::unknown::Unknown;
use crate::{Backbone, Error};
use headstart_data::DataError;
use headstart_graph::{Graph, Op, Params, Precision};
use headstart_models::{Home, KeyMap, Pretrained, Tokens, fingerprint, load, refuse_onnx, sha256_hex};
use headstart_tensor::Tensor;
use headstart_weights::{DType, StateDict, StoredTensor, write_safetensors};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const MANIFEST: &str = "headstart";
const MANIFEST_SUM: &str = "headstart.sha256";
const GOLDEN_IMAGES: &str = "golden.images";
const GOLDEN_IDS: &str = "golden.ids";
const TOKENIZER: &str = "tokenizer.json";
const GOLDEN_LOGITS: &str = "golden.logits";
const DIRECTIONS: &str = "unknown.directions";
/// Relative distance of golden logits: instruction sets sum in other orders.
const GOLDEN_TOLERANCE: f64 = 1e-3;

/// A model as it is read or about to be written.
#[derive(Debug)]
pub struct Artifact {
    /// Everything but the tensors.
    pub manifest: Manifest,
    /// The frozen part.
    pub backbone: Backbone,
    /// The trained part, on features.
    pub head: LinearHead,
    /// The directions `[k, d]` of the training features, where the manifest's `unknown` has a residual.
    pub directions: Option<Tensor>,
}

impl Artifact {
    /// Writes the model to `path`, whole or not at all; the same model gives the same bytes.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let m = &self.manifest;
        let mut tensors: Vec<(String, StoredTensor)> = Vec::new();
        if !m.slim {
            for spec in self.backbone.trunk_graph().params() {
                if let Some(value) = self.backbone.params.get(&spec.name) {
                    tensors.push((spec.name, lossless(value)));
                }
            }
        }
        tensors.push((format!("{}.weight", m.classifier), StoredTensor::from_tensor(&self.head.weight)));
        tensors.push((format!("{}.bias", m.classifier), StoredTensor::from_tensor(&self.head.bias)));
        if let Some(directions) = &self.directions {
            tensors.push((DIRECTIONS.into(), StoredTensor::from_tensor_half(directions)?));
        }
        let (name, inputs) = golden::inputs(&self.backbone);
        let logits = golden::logits(&self.backbone, &self.head, &inputs)?;
        let logits = StoredTensor::from_tensor(&logits);
        let bytes = [inputs.bytes(), logits.bytes()].concat();
        tensors.push((name.into(), inputs));
        if let Input::Text(tokens) = &self.backbone.input {
            let file = tokens.file().to_vec();
            tensors.extend(StoredTensor::new(DType::U8, [file.len()], file).map(|t| (TOKENIZER.into(), t)));
        }
        tensors.push((GOLDEN_LOGITS.into(), logits));
        let damaged = |e: serde_json::Error| Error::Model { path: path.to_owned(), detail: e.to_string() };
        let text = serde_json::to_string(m).map_err(damaged)?;
        let sum = sha256_hex(&[text.as_bytes(), &bytes].concat());
        let metadata = BTreeMap::from([(MANIFEST.to_owned(), text), (MANIFEST_SUM.to_owned(), sum)]);
        let tensors: Vec<(&str, &StoredTensor)> =
            tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
        Ok(write_safetensors(path, &tensors, &metadata)?)
    }

    /// Whether the file at `path` is a model: whether it names a manifest.
    pub fn is_model(path: &Path) -> bool {
        StateDict::open(path).is_ok_and(|dict| dict.metadata().contains_key(MANIFEST))
    }

    /// What the file at `path` says of itself; its tensors are not looked at.
    ///
    /// # Errors
    /// Where the file is no model, its manifest was changed, or it is newer than this program.
    pub fn manifest_of(path: &Path) -> Result<Manifest, Error> {
        manifest(&StateDict::open(path)?, path)
    }

    /// Reads a model and checks all of it: hashes, shapes, and that golden inputs give their outputs.
    ///
    /// # Errors
    /// Where the file is no model, damaged, newer than this program, or a slim one whose backbone is not here.
    pub fn load(path: &Path, home: &Home) -> Result<Artifact, Error> {
        refuse_onnx(path)?;
        Self::from_dict(&StateDict::open(path)?, path, home)
    }

    /// As [`Artifact::load`], from bytes in memory; `path` stands for them in messages.
    ///
    /// # Errors
    /// As [`Artifact::load`].
    pub fn from_bytes(bytes: Vec<u8>, path: &Path, home: &Home) -> Result<Artifact, Error> {
        Self::from_dict(&StateDict::from_bytes(bytes, path)?, path, home)
    }

    fn from_dict(dict: &StateDict, path: &Path, home: &Home) -> Result<Artifact, Error> {
        let bad = |detail: String| Error::Model { path: path.to_owned(), detail };
        let m = manifest(dict, path)?;
        let input = input(dict, &m).map_err(|e| match e {
            Unusable::Data(error) => error.into(),
            Unusable::Words(detail) => bad(detail),
        })?;
        if m.labels.len() < 2 || m.graph.output().dims() != [m.labels.len()] {
            return Err(bad(format!(
                "{} labels for an output of shape {}",
                m.labels.len(),
                m.graph.output()
            )));
        }
        if *m.graph.input() != input.shape() {
            let what = match &input {
                Input::Image(p) => format!("images of {0}x{0} pixels", p.crop),
                Input::Text(tokens) => format!("texts of {} tokens", tokens.most()),
            };
            return Err(bad(format!("{what} for an input of {}", m.graph.input())));
        }
        if m.graph.nodes().last().map(|n| n.name.as_str()) != Some(&m.classifier) {
            return Err(bad(format!("`{}` is not its last layer", m.classifier)));
        }
        if m.temperature.is_some_and(|t| !(t > 0.0 && t.is_finite())) {
            return Err(bad(format!("its temperature is {:?}: expected a number above 0", m.temperature)));
        }
        let (mut params, report) = load(&m.graph, dict, KeyMap::Native)?;
        let head = |name: &String| name.starts_with(&format!("{}.", m.classifier));
        let absent = report.missing.iter().filter(|name| head(name) || !m.slim).count();
        let ours = [GOLDEN_IMAGES, GOLDEN_IDS, GOLDEN_LOGITS, DIRECTIONS, TOKENIZER];
        let golden = |name: &String| ours.contains(&name.as_str());
        if absent > 0 || !report.mismatched.is_empty() || !report.unexpected.iter().all(golden) {
            return Err(bad(report.to_string()));
        }
        if m.slim {
            let mut pretrained = Pretrained::open(&m.backbone, home)?;
            // Position embeddings are those of the size it was trained for.
            if let [size, _, _] = *m.graph.input().dims()
                && size != pretrained.input.crop
            {
                pretrained = pretrained.at_size(size)?;
            }
            let (backbone, _, _) = Backbone::of(pretrained)?;
            for (name, value) in backbone.params.iter() {
                params.insert(name, value.clone());
            }
        }
        if fingerprint(&m.graph, &params) != m.weights_sha256 {
            let detail = if m.slim {
                format!("it was trained on other weights of {} than those of this machine", m.backbone)
            } else {
                "its weights are not those it was saved with: copy the file again".to_owned()
            };
            return Err(bad(detail));
        }
        let mut take = |part: &str| params.remove(&format!("{}.{part}", m.classifier)).unwrap_or_default();
        let head = LinearHead::new(take("weight"), take("bias"))?;
        let mut backbone =
            Backbone::new(m.graph.clone(), m.classifier.clone(), params, input, m.backbone.clone())?;
        if backbone.fingerprint != m.trunk_sha256 || backbone.dim() != head.weight.row_len() {
            return Err(bad("its trunk is not the one its manifest names: copy the file again".to_owned()));
        }
        if m.precision != Precision::F32 {
            let lowered = backbone.compile_in(m.precision, m.calibration.clone());
            lowered.map_err(|e| bad(format!("its {} trunk cannot be compiled: {e}", m.precision)))?;
        }
        let directions = directions(dict, &m, backbone.dim()).map_err(bad)?;
        let model = Artifact { manifest: m, backbone, head, directions };
        model.check_golden(dict, path)?;
        Ok(model)
    }

    fn check_golden(&self, dict: &StateDict, path: &Path) -> Result<(), Error> {
        let bad = |detail: &str| Error::Model { path: path.to_owned(), detail: detail.to_owned() };
        let name = golden::name(&self.backbone);
        let (inputs, expected) = match (dict.get(name), dict.get(GOLDEN_LOGITS)) {
            (Some(inputs), Some(logits)) => (inputs, logits.to_tensor()?),
            _ => return Err(bad("it has no golden inputs to check its answers with")),
        };
        golden::check(&self.backbone, inputs).map_err(bad)?;
        let found = golden::logits(&self.backbone, &self.head, inputs)?;
        let square = |v: f64| v * v;
        let apart: f64 = found
            .data()
            .iter()
            .zip(expected.data())
            .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
            .sum();
        let norm: f64 = expected.data().iter().map(|&b| square(f64::from(b))).sum();
        if expected.shape() == found.shape() && apart.sqrt() <= GOLDEN_TOLERANCE * norm.sqrt() {
            Ok(())
        } else {
            Err(bad(
                "its golden inputs give other outputs here than where it was made: do not trust its answers",
            ))
        }
    }
}

/// The manifest of an open file.
fn manifest(dict: &StateDict, path: &Path) -> Result<Manifest, Error> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let bad = |detail: String| Error::Model { path: path.to_owned(), detail };
    let text = dict.metadata().get(MANIFEST).ok_or_else(|| {
        bad("it has no manifest of headstart; `headstart models import` takes weight files".to_owned())
    })?;
    let damaged =
        |e: serde_json::Error| bad(format!("its manifest cannot be read ({e}): copy the file again"));
    let golden = [GOLDEN_IMAGES, GOLDEN_IDS, GOLDEN_LOGITS]
        .map(|name| dict.get(name).map_or(&[][..], |t| t.bytes()))
        .concat();
    let sum = sha256_hex(&[text.as_bytes(), &golden].concat());
    if dict.metadata().get(MANIFEST_SUM) != Some(&sum) {
        return Err(bad("its manifest is not what was saved: copy the file again".to_owned()));
    }
    let version = serde_json::from_str::<Version>(text).map_err(damaged)?.version;
    if version > VERSION {
        return Err(Error::NewerModel { path: path.to_owned(), found: version, known: VERSION });
    }
    serde_json::from_str(text).map_err(damaged)
}

/// The directions that the manifest promises, if it does; or what is wrong with them.
fn directions(dict: &StateDict, m: &Manifest, dim: usize) -> Result<Option<Tensor>, String> {
    let numbers = |u: &Unknown| {
        let spreads = [Some(u.energy), u.residual].into_iter().flatten();
        u.threshold.is_finite() && spreads.into_iter().all(|s| s.mean.is_finite() && s.deviation > 0.0)
    };
    if !m.unknown.as_ref().is_none_or(numbers) {
        return Err("its threshold for unknown images is no number".to_owned());
    }
    let promised = m.unknown.as_ref().and_then(|u| u.residual.and(u.directions_sha256.as_ref()));
    match (promised, dict.get(DIRECTIONS)) {
        (None, None) => Ok(None),
        (Some(sha), Some(stored))
            if sha256_hex(stored.bytes()) == *sha && stored.shape().dims().get(1..) == Some(&[dim]) =>
        {
            stored.to_tensor().map(Some).map_err(|e| e.to_string())
        }
        _ => Err(format!("its `{DIRECTIONS}` is not the one its manifest names: copy the file again")),
    }
}

/// f16 where that loses nothing, else f32.
fn lossless(value: &Tensor) -> StoredTensor {
    let exact = StoredTensor::from_tensor_half(value).ok();
    let exact = exact.filter(|half| half.to_tensor().is_ok_and(|back| back == *value));
    exact.unwrap_or_else(|| StoredTensor::from_tensor(value))
}

/// Why the input of a model cannot be made.
enum Unusable {
    Data(DataError),
    Words(String),
}

/// What the manifest says that items go through.
fn input(dict: &StateDict, m: &Manifest) -> Result<Input, Unusable> {
    let bad = |detail: &str| Err(Unusable::Words(detail.to_owned()));
    let part = match (&m.preprocess, &m.text) {
        (Some(preprocess), None) => {
            preprocess.check().map_err(Unusable::Data)?;
            return Ok(Input::Image(preprocess.clone()));
        }
        (None, Some(part)) => part,
        _ => return bad("it must say what either images or texts go through"),
    };
    let file = dict.get(TOKENIZER).filter(|t| t.dtype() == DType::U8).map(StoredTensor::bytes);
    let Some(file) = file.filter(|file| sha256_hex(file) == part.tokenizer_sha256) else {
        return bad("its tokenizer is not the one its manifest names: copy the file again");
    };
    let words = m.graph.nodes().iter().find_map(|node| match &node.op {
        Op::Embedding(table) => Some(table.entries),
        _ => None,
    });
    let tokens = Tokens::new(file.to_vec(), words.unwrap_or(0), part.max_tokens, part.lowercase);
    let tokens = tokens.map_err(|e| Unusable::Words(format!("its tokenizer cannot be used: {e}")))?;
    if tokens.ids(SENTENCE).unwrap_or_default() != part.sentence_ids {
        return bad(
            "its tokenizer parts a sentence otherwise here than where it was made: do not trust its answers",
        );
    }
    Ok(Input::Text(tokens))
}

/// The fingerprint of a trunk and a head together.
pub(crate) fn whole_fingerprint(
    graph: &Graph,
    classifier: &str,
    trunk: &Params,
    head: &LinearHead,
) -> String {
    let mut params = trunk.clone();
    params.insert(format!("{classifier}.weight"), head.weight.clone());
    params.insert(format!("{classifier}.bias"), head.bias.clone());
    fingerprint(graph, &params)
}
