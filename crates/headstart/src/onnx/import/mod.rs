//! An ONNX file of a classifier as a network of this program, kept in the home under a name.
//!
//! [`import_onnx`] reads what `torch.onnx` writes by either of its exporters, and what [`export_onnx`](crate::export_onnx) does.
//! ONNX has channels first, the network channels last: the reader follows how each value lies, so that turning and merging axes
//! costs nothing. Convolutions, norms and linear layers keep their weights; chains of elementwise operations and of those within
//! attention become the one node that they compute. A Softmax at the end is left out. All that is left out or assumed is in
//! the report, and whatever has no place in a network here is refused by its name.
//!
//! It stops at images, at one file (weights in a second one are refused), and at networks whose last layer is linear.

mod arithmetic;
mod attention;
mod attributes;
mod constant;
mod elementwise;
mod error;
mod extents;
mod layers;
mod limits;
mod names;
mod network;
mod pooling;
mod preprocess;
mod reader;
mod shapes;
mod value;
mod whole;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

pub use error::OnnxError;

use self::network::{Network, network};
use super::MOST_BYTES;
use super::proto::ModelProto;
use crate::{Backbone, Error};
use headstart_data::{Interpolation, Preprocess};
use headstart_models::{self as models, Home, NetworkRecord, check_name, sha256_hex};
use prost::Message;
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What an ONNX file does not say of itself. What is left open comes from its metadata where this program wrote it, else
/// from what is usual for ImageNet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OnnxImportOptions {
    /// The name to keep it under; the file's where not given.
    pub name: Option<String>,
    /// The shorter side that images are resized to, in pixels.
    pub resize: Option<usize>,
    /// The side of the network's input, in pixels, where the file leaves it open.
    pub crop: Option<usize>,
    /// The filter of the resize.
    pub interpolation: Option<Interpolation>,
    /// What is subtracted from pixels in 0 to 1: red, green, blue.
    pub mean: Option<[f32; 3]>,
    /// What the difference is divided by.
    pub std: Option<[f32; 3]>,
    /// In which precision weights are kept.
    pub precision: models::Precision,
}

/// What was imported.
#[derive(Debug, Clone, Serialize)]
pub struct OnnxImport {
    /// The name that it is used by.
    pub name: String,
    /// The file it is kept in.
    pub path: PathBuf,
    /// SHA-256 of the ONNX file.
    pub sha256: String,
    /// What wrote it, as it says.
    pub producer: String,
    /// Its operator set.
    pub opset: i64,
    /// Operations of the network.
    pub layers: usize,
    /// Trained values.
    pub parameters: usize,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// The linear layer that classifies.
    pub classifier: String,
    /// Classes.
    pub classes: usize,
    /// What images go through before it.
    pub preprocess: Preprocess,
    /// What was left out, decided or assumed.
    pub notes: Vec<String>,
}

/// Imports the ONNX file `file` into `home`, whole or not at all.
///
/// # Errors
/// [`Error::OnnxImport`] where the file is no such network; also where it cannot be read, a setting is out of its range, or the name
/// cannot be used.
pub fn import_onnx(home: &Home, file: &Path, options: &OnnxImportOptions) -> Result<OnnxImport, Error> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = options.name.clone().or(stem).unwrap_or_default();
    check_name(&name)?;
    let bytes = read(file)?;
    let wrong = |source: OnnxError| Error::OnnxImport { path: file.to_owned(), source };
    let model = model(&bytes).map_err(wrong)?;
    let sha256 = sha256_hex(&bytes);
    drop(bytes);
    let about = preprocess::metadata(&model);
    let Network { graph, params, classifier, mut notes } = network(&model, options.crop).map_err(wrong)?;
    let preprocess = preprocess::preprocess(&about, graph.input().dims()[0], options, &mut notes)?;
    let labels = preprocess::labels(&about, graph.output().len(), &mut notes);
    if labels.len() < 2 {
        let found = format!("a layer of {} class", labels.len());
        return Err(wrong(OnnxError::NoClassifier { output: classifier, found }));
    }
    // Whatever cannot be compiled would not be of use.
    Backbone::new(graph.clone(), classifier.clone(), params.clone(), preprocess.clone(), name.clone())?;
    if home.network(&name).is_file() {
        notes.push(format!("it takes the place of the network that was kept as {name}"));
    }
    let report = OnnxImport {
        path: home.network(&name),
        name,
        sha256,
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().to_owned(),
        opset: model.opset_import.iter().map(|set| set.version).max().unwrap_or(0),
        layers: graph.nodes().len() - 1,
        parameters: graph.parameter_count(),
        macs: graph.macs(),
        classifier: classifier.clone(),
        classes: labels.len(),
        preprocess: preprocess.clone(),
        notes,
    };
    let file = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let record =
        NetworkRecord { graph, classifier, input: preprocess, labels, file, sha256: report.sha256.clone() };
    models::Network { record, params }.keep(&report.name, home, options.precision)?;
    Ok(report)
}

/// The bytes of a file that may be an ONNX model.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let io = Error::io("read", path);
    let mut bytes = Vec::new();
    let limit = MOST_BYTES as u64;
    let whole = std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    let found = whole.map_err(io)? as u64;
    match found > limit {
        true => Err(Error::OnnxImport {
            path: path.to_owned(),
            source: OnnxError::TooLarge { what: "bytes", found, limit },
        }),
        false => Ok(bytes),
    }
}

/// The model that `bytes` are.
fn model(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    limits::check(bytes)?;
    ModelProto::decode(bytes).map_err(|e| OnnxError::NotOnnx { detail: e.to_string() })
}
