//! Bringing published weight files into the home, as safetensors under our names.

use crate::{Home, LoadReport, ModelsError, Pretrained, PretrainedCfg, registry, sha256_hex};
use headstart_tensor::Tensor;
use headstart_weights::{StoredTensor, WeightsError, write_safetensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The element type of imported convolution and linear weights; batch norms and biases stay f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Every value unchanged.
    #[default]
    F32,
    /// Half the size, each weight rounded to 11 bits.
    F16,
}

/// What an import did.
#[derive(Debug)]
pub struct Imported {
    /// The record.
    pub cfg: &'static PretrainedCfg,
    /// The file written.
    pub path: PathBuf,
    /// SHA-256 of the file read.
    pub sha256: String,
    /// Whether that is the hash of the published file; false where that hash is not known.
    pub is_published: bool,
    /// What was loaded.
    pub report: LoadReport,
}

/// Converts a weight file of any format for the record `name` (`arch` or `arch.tag`) into the home.
///
/// # Errors
/// Where the file cannot be read, does not fit the architecture, or the home cannot be written. Nothing is
/// left half-written.
pub fn import(file: &Path, name: &str, home: &Home, precision: Precision) -> Result<Imported, ModelsError> {
    let (_, cfg) = registry::find(name)?;
    let pretrained = Pretrained::from_file(name, file)?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ModelsError::Io { path, source }
    };
    let sha256 = sha256_hex(&std::fs::read(file).map_err(io(file))?);
    let path = home.weights(cfg);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io(folder))?;
    }
    let mut tensors: Vec<(String, StoredTensor)> = Vec::new();
    let lost = |name: &str| pretrained.report.classifier.iter().any(|(part, _)| part == name);
    for spec in pretrained.graph.params().into_iter().filter(|spec| !lost(&spec.name)) {
        let Some(value) = pretrained.params.get(&spec.name) else { continue };
        tensors.push((spec.name, stored(value, precision)?));
    }
    let metadata = BTreeMap::from([
        ("architecture".to_owned(), cfg.arch.to_owned()),
        ("licence".to_owned(), cfg.licence.to_owned()),
        ("name".to_owned(), cfg.name()),
        ("sha256".to_owned(), sha256.clone()),
        ("source".to_owned(), cfg.source.to_owned()),
    ]);
    let tensors: Vec<(&str, &StoredTensor)> =
        tensors.iter().map(|(name, stored)| (name.as_str(), stored)).collect();
    write_safetensors(&path, &tensors, &metadata)?;
    let is_published = !cfg.sha256.is_empty() && sha256.starts_with(cfg.sha256);
    Ok(Imported { cfg, path, sha256, is_published, report: pretrained.report })
}

/// A parameter as it is kept: of f16 only those of rank 2 and more.
pub(crate) fn stored(value: &Tensor, precision: Precision) -> Result<StoredTensor, WeightsError> {
    match precision {
        Precision::F16 if value.shape().rank() >= 2 => StoredTensor::from_tensor_half(value),
        _ => Ok(StoredTensor::from_tensor(value)),
    }
}
