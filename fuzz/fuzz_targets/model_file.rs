//! Any bytes as a model file, and as the manifest of one.
//!
//! Bytes that start with `{` become the manifest of a sound file: its checksum would otherwise keep the fuzzer
//! from what is behind it. A manifest that can be read, with a small graph, also gets weights and their hash.

#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use headstart::graph::Freeze;
use headstart::models::{Home, fingerprint, sha256_hex};
use headstart::tensor::Tensor;
use headstart::{Artifact, Manifest};
use headstart_weights::{DType, StoredTensor, write_safetensors_to};
use libfuzzer_sys::fuzz_target;

const SIDE: usize = 8;
const MAX_PARAMETERS: usize = 1 << 16;
const MAX_MACS: u64 = 1 << 22;

fuzz_target!(|data: &[u8]| {
    match std::str::from_utf8(data) {
        Ok(text) if text.starts_with('{') => {
            open(file(text, &BTreeMap::new()));
            if let Some(file) = serde_json::from_str(text).ok().and_then(weighted) {
                open(file);
            }
        }
        _ => open(data.to_vec()),
    }
});

fn open(file: Vec<u8>) {
    let _ = Artifact::from_bytes(file, Path::new("fuzz"), &Home::at("/nonexistent"));
}

/// `manifest` with constant weights, their hash and golden tensors; nothing where that would be large.
fn weighted(mut manifest: Manifest) -> Option<Vec<u8>> {
    let small = manifest.graph.with_input([SIDE, SIDE, 3]).ok()?;
    let values = manifest.graph.params().iter().fold(0, |n: usize, p| n.saturating_add(p.shape.len()));
    if values > MAX_PARAMETERS || small.macs() > MAX_MACS {
        return None;
    }
    let (mut params, mut tensors) = (headstart::graph::Params::new(), BTreeMap::new());
    for spec in manifest.graph.params() {
        let mut value = Tensor::zeros(spec.shape);
        value.data_mut().fill(0.5);
        tensors.insert(spec.name.clone(), StoredTensor::from_tensor(&value));
        params.insert(spec.name, value);
    }
    manifest.weights_sha256 = fingerprint(&manifest.graph, &params);
    // The trunk's hash too: without it the golden inputs would never be run.
    let head = Freeze::everything().unfreeze(&manifest.graph, &manifest.classifier).ok()?;
    manifest.trunk_sha256 = fingerprint(&manifest.graph.split(&head).ok()?.trunk, &params);
    let images = StoredTensor::new(DType::U8, [4, SIDE, SIDE, 3], vec![7; 4 * SIDE * SIDE * 3])?;
    tensors.insert("golden.images".into(), images);
    let logits = Tensor::zeros([4, manifest.labels.len()]);
    tensors.insert("golden.logits".into(), StoredTensor::from_tensor(&logits));
    Some(file(&serde_json::to_string(&manifest).ok()?, &tensors))
}

/// A file of `tensors` with the manifest `text` and its checksum.
fn file(text: &str, tensors: &BTreeMap<String, StoredTensor>) -> Vec<u8> {
    let golden = ["golden.images", "golden.logits"].map(|n| tensors.get(n).map_or(&[][..], |t| t.bytes()));
    let sum = sha256_hex(&[text.as_bytes(), golden[0], golden[1]].concat());
    let metadata =
        BTreeMap::from([("headstart".to_owned(), text.to_owned()), ("headstart.sha256".to_owned(), sum)]);
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut out = Vec::new();
    write_safetensors_to(&mut out, &tensors, &metadata).expect("memory takes every write");
    out
}
