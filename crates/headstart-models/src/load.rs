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
    /// What stands before every name of the network in the file (`module.`).
    pub prefix: String,
    /// The part of a whole checkpoint that was taken (`state_dict_ema`), and its other parts.
    pub taken: Option<String>,
    /// The parts of a whole checkpoint that were left alone.
    pub ignored: Vec<String>,
    /// Parameters that got their value.
    pub loaded: Vec<String>,
    /// Parameters that the file does not have.
    pub missing: Vec<String>,
    /// Tensors of the file that the graph does not have, under the file's names.
    pub unexpected: Vec<String>,
    /// Tensors of another shape.
    pub mismatched: Vec<Mismatch>,
    /// Of a classifier for other classes, or of none: what was left out, its shape in the file where it has one.
    pub classifier: Vec<(String, Option<Shape>)>,
    /// Tensors beside the network, whose names begin with something else than its prefix: parts of what it was in.
    pub beside: Vec<String>,
    /// Counters (batch norm's `num_batches_tracked`, an average's `n_averaged`), which inference does not need.
    pub counters: usize,
}

impl LoadReport {
    /// Whether every parameter was loaded and nothing was left over.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// Whether a person should know more than that it was complete.
    pub fn is_plain(&self) -> bool {
        self.is_complete() && self.taken.is_none() && self.classifier.is_empty() && self.beside.is_empty()
    }
}

impl fmt::Display for LoadReport {
    /// `122 loaded, 2 missing (fc.weight, fc.bias), ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} loaded", self.loaded.len())?;
        if self.key_map != KeyMap::Native {
            write!(f, " (names of {})", self.key_map)?;
        }
        if !self.prefix.is_empty() {
            write!(f, " behind `{}`", self.prefix)?;
        }
        if let Some(taken) = &self.taken {
            write!(f, " from `{taken}`")?;
            if !self.ignored.is_empty() {
                write!(f, " ({} left alone)", list(&self.ignored))?;
            }
        }
        if !self.classifier.is_empty() {
            let parts: Vec<String> = self
                .classifier
                .iter()
                .map(|(name, found)| match found {
                    Some(shape) => format!("{name} of shape {shape}"),
                    None => format!("{name}, which is not there"),
                })
                .collect();
            write!(f, "; a new classifier takes the place of the file's ({})", list(&parts))?;
        }
        let mismatched: Vec<String> = self
            .mismatched
            .iter()
            .map(|m| format!("{} is {}, expected {}", m.name, m.found, m.expected))
            .collect();
        for (what, names) in [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape", &mismatched),
            ("beside it, left alone", &self.beside),
        ] {
            if !names.is_empty() {
                write!(f, "; {} {what} ({})", names.len(), list(names))?;
            }
        }
        if self.counters > 0 {
            write!(f, "; {} counters not needed", self.counters)?;
        }
        Ok(())
    }
}

/// The first five.
fn list(names: &[String]) -> String {
    let more = if names.len() > 5 { ", .." } else { "" };
    format!("{}{more}", names.iter().take(5).cloned().collect::<Vec<_>>().join(", "))
}

/// Takes the parameters of `graph` out of `dict`, whose names are in the dialect `map`.
///
/// # Errors
/// Where a tensor cannot be turned into f32. Names and shapes that do not fit are in the report.
pub fn load(graph: &Graph, dict: &StateDict, map: KeyMap) -> Result<(Params, LoadReport), WeightsError> {
    load_behind(graph, dict, map, "")
}

/// As [`load`], where every name of the network stands behind `prefix`. Other tensors are told apart: they are
/// [`beside`](LoadReport::beside) it.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_behind(
    graph: &Graph,
    dict: &StateDict,
    map: KeyMap,
    prefix: &str,
) -> Result<(Params, LoadReport), WeightsError> {
    let mut wanted: BTreeMap<String, Shape> = graph.params().into_iter().map(|p| (p.name, p.shape)).collect();
    let mut params = Params::new();
    let mut report = LoadReport {
        key_map: map,
        prefix: prefix.to_owned(),
        taken: dict.taken().map(str::to_owned),
        ignored: dict.ignored().to_vec(),
        loaded: Vec::new(),
        missing: Vec::new(),
        unexpected: Vec::new(),
        mismatched: Vec::new(),
        classifier: Vec::new(),
        beside: Vec::new(),
        counters: 0,
    };
    for (key, stored) in dict.iter() {
        let Some(inner) = key.strip_prefix(prefix) else {
            // How many models an average is of: PyTorch's AveragedModel.
            if key == "n_averaged" {
                report.counters += 1
            } else {
                report.beside.push(key.to_owned())
            }
            continue;
        };
        let name = map.name(graph, inner).unwrap_or_else(|| inner.to_owned());
        match wanted.remove(&name) {
            Some(shape) if shape == *stored.shape() => {
                params.insert(name.clone(), stored.to_tensor()?);
                report.loaded.push(name);
            }
            Some(expected) => {
                report.mismatched.push(Mismatch { name, expected, found: stored.shape().clone() })
            }
            None if name.ends_with("num_batches_tracked") || name == "n_averaged" => report.counters += 1,
            None => report.unexpected.push(key.to_owned()),
        }
    }
    report.missing = wanted.into_keys().collect();
    Ok((params, report))
}
