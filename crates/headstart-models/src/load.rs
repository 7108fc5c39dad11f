//! From a file's tensors to a graph's parameters, with an account of every name.

use crate::KeyMap;
use headstart_graph::{Graph, Params};
use headstart_tensor::Shape;
use headstart_weights::{StateDict, WeightsError};
use std::collections::BTreeMap;
use std::fmt;

/// A tensor of another shape than the graph wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The parameter.
    pub name: String,
    /// The shape the graph wants.
    pub expected: Shape,
    /// The shape in the file.
    pub found: Shape,
}

/// What became of every parameter of a graph and every tensor of a file. Anything but "loaded" is an error
/// unless the caller named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// The dialect of the file's names.
    pub key_map: KeyMap,
    /// Parameters that got their value.
    pub loaded: Vec<String>,
    /// Parameters that the file does not have.
    pub missing: Vec<String>,
    /// Tensors of the file that the graph does not have, under the file's names.
    pub unexpected: Vec<String>,
    /// Tensors of another shape.
    pub mismatched: Vec<Mismatch>,
    /// Batch norm counters (`num_batches_tracked`), which inference does not need.
    pub counters: usize,
}

impl LoadReport {
    /// Whether every parameter was loaded and nothing was left over.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }
}

impl fmt::Display for LoadReport {
    /// `122 loaded, 2 missing (fc.weight, fc.bias), ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} loaded", self.loaded.len())?;
        if self.key_map != KeyMap::Native {
            write!(f, " (names of {})", self.key_map)?;
        }
        let mismatched: Vec<String> = self
            .mismatched
            .iter()
            .map(|m| format!("{} is {}, expected {}", m.name, m.found, m.expected))
            .collect();
        for (what, names) in
            [("missing", &self.missing), ("unexpected", &self.unexpected), ("of another shape", &mismatched)]
        {
            if !names.is_empty() {
                let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
                let more = if names.len() > 5 { ", .." } else { "" };
                write!(f, "; {} {what} ({shown}{more})", names.len())?;
            }
        }
        if self.counters > 0 {
            write!(f, "; {} batch norm counters not needed", self.counters)?;
        }
        Ok(())
    }
}

/// Takes the parameters of `graph` out of `dict`, whose names are in the dialect `map`.
///
/// # Errors
/// Where a tensor cannot be turned into f32. Names and shapes that do not fit are in the report.
pub fn load(graph: &Graph, dict: &StateDict, map: KeyMap) -> Result<(Params, LoadReport), WeightsError> {
    let mut wanted: BTreeMap<String, Shape> = graph.params().into_iter().map(|p| (p.name, p.shape)).collect();
    let mut params = Params::new();
    let mut report = LoadReport {
        key_map: map,
        loaded: Vec::new(),
        missing: Vec::new(),
        unexpected: Vec::new(),
        mismatched: Vec::new(),
        counters: 0,
    };
    for (key, stored) in dict.iter() {
        let name = map.name(graph, key).unwrap_or_else(|| key.to_owned());
        match wanted.remove(&name) {
            Some(shape) if shape == *stored.shape() => {
                params.insert(name.clone(), stored.to_tensor()?);
                report.loaded.push(name);
            }
            Some(expected) => {
                report.mismatched.push(Mismatch { name, expected, found: stored.shape().clone() })
            }
            None if name.ends_with(".num_batches_tracked") => report.counters += 1,
            None => report.unexpected.push(key.to_owned()),
        }
    }
    report.missing = wanted.into_keys().collect();
    Ok((params, report))
}
