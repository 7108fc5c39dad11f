//! What images go through before an imported network, and what its classes are called: as flags say, else as the metadata of
//! our own files does, else as is usual.

use super::OnnxImportOptions;
use crate::Error;
use crate::onnx::proto::ModelProto;
use headstart_data::{Decode, Interpolation, Preprocess};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// ImageNet's mean and standard deviation, as torchvision has them.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The metadata, where this program wrote it: in others' the same words may mean other things.
pub(crate) fn metadata(model: &ModelProto) -> BTreeMap<String, String> {
    let lines = model.metadata_props.iter().map(|line| (line.key.clone(), line.value.clone()));
    let lines: BTreeMap<String, String> = lines.collect();
    if lines.contains_key("headstart") { lines } else { BTreeMap::new() }
}

/// The preprocessing of a network whose input has sides of `crop` pixels. Notes say where it is from.
///
/// # Errors
/// Where a setting is out of its range.
pub(crate) fn preprocess(
    about: &BTreeMap<String, String>,
    crop: usize,
    options: &OnnxImportOptions,
    notes: &mut Vec<String>,
) -> Result<Preprocess, Error> {
    let mut assumed = Vec::new();
    // ImageNet's 256 of 224.
    let resize = options.resize.or_else(|| written(about, "resize")).unwrap_or_else(|| {
        assumed.push("--resize");
        (crop * 8).div_ceil(7)
    });
    let filter = about.get("interpolation").and_then(|name| serde_json::from_str(&format!("{name:?}")).ok());
    let interpolation = options.interpolation.or(filter).unwrap_or_else(|| {
        assumed.push("--interpolation");
        Interpolation::Bilinear
    });
    let mean = options.mean.or_else(|| written(about, "mean")).unwrap_or_else(|| {
        assumed.push("--mean");
        MEAN
    });
    let std = options.std.or_else(|| written(about, "std")).unwrap_or_else(|| {
        assumed.push("--std");
        STD
    });
    if !assumed.is_empty() {
        notes.push(format!(
            "the file does not say what images go through: ImageNet's usual preprocessing is assumed; where the network was trained \
             otherwise, it answers worse without any error: {} say so",
            assumed.join(", ")
        ));
    }
    if let Some(temperature) = written::<f64>(about, "temperature").filter(|t| *t != 1.0) {
        notes
            .push(format!("the temperature of {temperature} that the file's probabilities have is left out"));
    }
    let preprocess =
        Preprocess { resize, crop, interpolation, mean, std, decode: Decode::Exact, style: None };
    preprocess.check()?;
    Ok(preprocess)
}

/// The names of `classes` classes; their numbers where the file has none.
pub(crate) fn labels(
    about: &BTreeMap<String, String>,
    classes: usize,
    notes: &mut Vec<String>,
) -> Vec<String> {
    match written::<Vec<String>>(about, "labels").filter(|labels| labels.len() == classes) {
        Some(labels) => labels,
        None => {
            notes.push(format!(
                "the file does not name its classes: they are called by their numbers, 0 to {}",
                classes - 1
            ));
            (0..classes).map(|class| class.to_string()).collect()
        }
    }
}

/// A line of the metadata.
fn written<T: DeserializeOwned>(about: &BTreeMap<String, String>, key: &str) -> Option<T> {
    about.get(key).and_then(|text| serde_json::from_str(text).ok())
}
