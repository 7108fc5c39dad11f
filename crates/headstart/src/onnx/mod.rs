//! A classifier as an ONNX file, for whatever runs such files: ONNX Runtime, a browser, a phone.
//!
//! [`export_onnx`] writes trunk and head in f32 by operator set 18, with an open batch. The input is `pixel_values`
//! `[batch, 3, crop, crop]`, normalised; or, with the preprocessing inside, `image` `[batch, height, width, 3]` in bytes. The
//! outputs are `logits` as the head gives them, and `probabilities` of them divided by the model's temperature. What else
//! there is to know is in the file's metadata.
//!
//! It stops at images: a text needs its tokenizer, which is no part of ONNX. [`import_onnx`] is the way back.

mod attention;
mod emitter;
mod import;
mod metadata;
mod operations;
mod preprocessing;
mod proto;
mod tokens;

#[cfg(test)]
mod tests;

pub use self::import::{OnnxError, OnnxImport, OnnxImportOptions, import_onnx};

use self::emitter::Emitter;
use self::proto::{ElementType, Extent, ModelProto, OperatorSetId, StringStringEntry, ValueInfo};
use crate::{Classifier, Error};
use headstart_data::Preprocess;
use headstart_graph::{Graph, ParamSpec, Params, Precision};
use headstart_weights::replace_file;
use prost::Message;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The operator set: the oldest with antialiasing in `Resize`.
const OPSET: i64 = 18;
/// The version of the format that came with it.
const IR_VERSION: i64 = 8;
/// What a message of protobuf may hold.
const MOST_BYTES: usize = i32::MAX as usize;

const PIXELS: &str = "pixel_values";
const IMAGE: &str = "image";
const LOGITS: &str = "logits";
const PROBABILITIES: &str = "probabilities";

/// What was written.
#[derive(Debug, Clone, Serialize)]
pub struct OnnxReport {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: usize,
    /// `arch.tag`.
    pub backbone: String,
    /// The operator set.
    pub opset: i64,
    /// ONNX nodes.
    pub nodes: usize,
    /// Trained values.
    pub parameters: usize,
    /// The name of the input.
    pub input: &'static str,
    /// Its elements: `float32` or `uint8`.
    pub element: &'static str,
    /// Its shape; a name where an extent is open.
    pub shape: Vec<String>,
    /// The names of the outputs, each `[batch, classes]`.
    pub outputs: [&'static str; 2],
    /// Classes.
    pub classes: usize,
    /// What logits are divided by before they become probabilities.
    pub temperature: f64,
    /// What images go through before the network.
    pub preprocess: Preprocess,
    /// Whether that is in the file.
    pub with_preprocessing: bool,
    /// The licence of the backbone's weights, and who publishes them, where that is known.
    pub licence: Option<String>,
    /// What of the model is not in the file.
    pub notes: Vec<String>,
}

/// Writes `classifier` to `path`, whole or not at all; the same model gives the same bytes.
///
/// # Errors
/// Where it reads texts, the name does not end in `.onnx`, the file would be larger than 2 GiB or cannot be written, or
/// its preprocessing cannot be done inside the graph.
pub fn export_onnx(
    classifier: &Classifier,
    path: &Path,
    with_preprocessing: bool,
) -> Result<OnnxReport, Error> {
    let preprocess = classifier.backbone.input.preprocess("export --onnx")?;
    check(path, preprocess, with_preprocessing)?;
    let backbone = &classifier.backbone;
    let needed = ParamSpec::values(&backbone.graph.params()).saturating_mul(4);
    if needed > MOST_BYTES {
        return Err(Error::TooLargeForOnnx { path: path.to_owned(), bytes: needed });
    }
    let mut params = backbone.params.clone();
    params.insert(format!("{}.weight", backbone.classifier), classifier.head.weight.clone());
    params.insert(format!("{}.bias", backbone.classifier), classifier.head.bias.clone());
    let licence = metadata::licence(&backbone.name);
    let about = metadata::metadata(classifier, preprocess, with_preprocessing, licence.as_deref());
    let parts = Parts { graph: &backbone.graph, params: &params, preprocess, with_preprocessing };
    let model = parts.model(classifier.temperature(), about)?;
    let bytes = model.encode_to_vec();
    if bytes.len() > MOST_BYTES {
        return Err(Error::TooLargeForOnnx { path: path.to_owned(), bytes: bytes.len() });
    }
    replace_file(path, |w| w.write_all(&bytes)).map_err(Error::io("write", path))?;
    let mut notes = Vec::new();
    if backbone.trunk().precision() != Precision::F32 {
        notes.push(format!(
            "the model computes in {}, the file in f32: answers may differ a little",
            backbone.trunk().precision()
        ));
    }
    if classifier.unknown().is_ok() {
        notes.push("the threshold for unknown images is not in the file".to_owned());
    }
    let side = preprocess.crop.to_string();
    let shape = match with_preprocessing {
        true => ["batch", "height", "width", "3"],
        false => ["batch", "3", side.as_str(), side.as_str()],
    };
    Ok(OnnxReport {
        path: path.to_owned(),
        bytes: bytes.len(),
        backbone: backbone.name.clone(),
        opset: OPSET,
        nodes: model.graph.map_or(0, |g| g.node.len()),
        parameters: backbone.graph.parameter_count(),
        input: if with_preprocessing { IMAGE } else { PIXELS },
        element: if with_preprocessing { "uint8" } else { "float32" },
        shape: shape.map(str::to_owned).to_vec(),
        outputs: [LOGITS, PROBABILITIES],
        classes: classifier.labels().len(),
        temperature: classifier.temperature(),
        preprocess: preprocess.clone(),
        with_preprocessing,
        licence,
        notes,
    })
}

/// Whether a file can be written there, and the preprocessing be part of it.
fn check(path: &Path, preprocess: &Preprocess, with_preprocessing: bool) -> Result<(), Error> {
    let refused = |expected| {
        let found = path.display().to_string();
        Err(Error::Setting { name: "--onnx", found, expected })
    };
    if path.extension().is_none_or(|e| e != "onnx") {
        return refused("a file that ends in .onnx");
    }
    if path.parent().is_some_and(|p| !p.as_os_str().is_empty() && !p.is_dir()) {
        return refused("a file in a folder that exists");
    }
    if with_preprocessing && preprocess.crop > preprocess.resize {
        let found = format!("for a model that pads {} pixels to {}", preprocess.resize, preprocess.crop);
        let expected = "a model whose crop is not larger than its resize: leave it out";
        return Err(Error::Setting { name: "--with-preprocessing", found, expected });
    }
    if let Some(style) = preprocess.style {
        let found = format!("of a model that sees {}", style.name());
        let expected = "a model that sees pictures as they are: the graph cannot redraw them";
        return Err(Error::Setting { name: "--onnx", found, expected });
    }
    Ok(())
}

/// What a file is made of.
#[derive(Clone, Copy)]
struct Parts<'a> {
    graph: &'a Graph,
    /// All its parameters, those of the classifier too.
    params: &'a Params,
    preprocess: &'a Preprocess,
    with_preprocessing: bool,
}

impl Parts<'_> {
    /// The model with these lines of metadata.
    fn model(self, temperature: f64, about: BTreeMap<String, String>) -> Result<ModelProto, Error> {
        self.params.check(self.graph)?;
        let mut emitter = Emitter::default();
        let open = |name: &str| Extent::Open(name.to_owned());
        let extent = |axis: usize| Extent::Fixed(self.graph.input().dims()[axis] as i64);
        let classes = self.graph.output().len() as i64;
        let (start, input) = match self.with_preprocessing {
            true => (
                preprocessing::preprocessing(&mut emitter, self.preprocess, IMAGE),
                ValueInfo::tensor(
                    IMAGE,
                    ElementType::Uint8,
                    vec![open("batch"), open("height"), open("width"), Extent::Fixed(3)],
                    "RGB pixels, upright",
                ),
            ),
            false => (
                PIXELS.to_owned(),
                ValueInfo::tensor(
                    PIXELS,
                    ElementType::Float,
                    vec![open("batch"), extent(2), extent(0), extent(1)],
                    "RGB, (pixel / 255 - mean) / std",
                ),
            ),
        };
        let output = operations::emit(&mut emitter, self.graph, self.params, &start)?;
        emitter.named(LOGITS, "Identity", &[&output], LOGITS, []);
        let divisor = emitter.floats("/temperature", &[], &[temperature as f32]);
        let divided = emitter.node("/tempered", "Div", &[LOGITS, &divisor], []);
        let axis = [proto::AttributeProto::int("axis", -1)];
        emitter.named(PROBABILITIES, "Softmax", &[&divided], PROBABILITIES, axis);
        let of_classes = |name, says| {
            let shape = vec![open("batch"), Extent::Fixed(classes)];
            ValueInfo::tensor(name, ElementType::Float, shape, says)
        };
        let outputs = vec![
            of_classes(LOGITS, "as the classifier gives them"),
            of_classes(PROBABILITIES, "of the logits divided by the temperature"),
        ];
        Ok(ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetId { domain: String::new(), version: OPSET }],
            producer_name: "headstart".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            doc_string:
                "An image classifier. The metadata says what its classes are and what images go through."
                    .to_owned(),
            graph: Some(emitter.finish("classifier", vec![input], outputs)),
            metadata_props: about.into_iter().map(|(key, value)| StringStringEntry { key, value }).collect(),
        })
    }
}
