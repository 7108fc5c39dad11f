//! A network with its published parameters and preprocessing.

use crate::{Architecture, Home, KeyMap, LoadReport, ModelsError, PretrainedCfg, embedded, load, registry};
use headstart_graph::{Graph, Params};
use headstart_tensor::Tensor;
use headstart_weights::StateDict;
use std::path::{Path, PathBuf};

/// Where a record's weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// Compiled into this binary.
    Embedded,
    /// Imported: the file in the home.
    Imported(PathBuf),
    /// Not on this machine.
    Absent,
}

/// A network with its parameters and its record.
#[derive(Debug, Clone)]
pub struct Pretrained {
    /// How it is built, and the name of its classifier.
    pub architecture: &'static Architecture,
    /// The record its preprocessing comes from.
    pub cfg: &'static PretrainedCfg,
    /// The network, at the record's input size.
    pub graph: Graph,
    /// All its parameters, in f32.
    pub params: Params,
    /// What was loaded.
    pub report: LoadReport,
}

impl PretrainedCfg {
    /// Where the weights of this record are. An imported file goes before an embedded one.
    pub fn whereabouts(&self, home: &Home) -> Whereabouts {
        let file = home.weights(self);
        if file.is_file() {
            Whereabouts::Imported(file)
        } else if embedded::weights(self).is_some() {
            Whereabouts::Embedded
        } else {
            Whereabouts::Absent
        }
    }
}

impl Pretrained {
    /// The network that `arch` or `arch.tag` stands for, with the weights of this machine.
    ///
    /// # Errors
    /// Where the name is unknown, the weights are not here, or they do not fit.
    pub fn open(name: &str, home: &Home) -> Result<Pretrained, ModelsError> {
        let (architecture, cfg) = registry::find(name)?;
        let (path, dict) = match (cfg.whereabouts(home), embedded::weights(cfg)) {
            (Whereabouts::Imported(path), _) => (path.clone(), StateDict::open(&path)?),
            (_, Some(bytes)) => {
                let path = PathBuf::from("the embedded weights");
                let dict = StateDict::from_static(bytes, &path)?;
                (path, dict)
            }
            (_, None) => {
                return Err(ModelsError::NoWeights {
                    name: name.to_owned(),
                    file: cfg.file.to_owned(),
                    source_name: cfg.source.to_owned(),
                });
            }
        };
        Pretrained::from_dict(architecture, cfg, &path, &dict)
    }

    /// The network that `name` stands for, with the weights of a file of the user's own.
    ///
    /// # Errors
    /// Where the name is unknown, or the file cannot be read or does not fit.
    pub fn from_file(name: &str, path: &Path) -> Result<Pretrained, ModelsError> {
        let (architecture, cfg) = registry::find(name)?;
        Pretrained::from_dict(architecture, cfg, path, &StateDict::open(path)?)
    }

    /// Replaces the classifier by one of `classes` outputs whose weights and biases are zero: the loss starts at
    /// `ln(classes)`, and nothing depends on a seed.
    ///
    /// # Errors
    /// Never for a registered network: its classifier is a linear layer.
    pub fn replace_head(&mut self, classes: usize) -> Result<(), ModelsError> {
        let classifier = self.architecture.classifier;
        self.graph = self.graph.with_classes(classifier, classes)?;
        for spec in self.graph.params() {
            if spec.name.strip_prefix(classifier).is_some_and(|rest| rest.starts_with('.')) {
                self.params.insert(spec.name, Tensor::zeros(spec.shape));
            }
        }
        Ok(())
    }

    fn from_dict(
        architecture: &'static Architecture,
        cfg: &'static PretrainedCfg,
        path: &Path,
        dict: &StateDict,
    ) -> Result<Pretrained, ModelsError> {
        let graph = architecture.build(cfg.input.crop, cfg.classes)?;
        let keys: Vec<&str> = dict.iter().map(|(name, _)| name).collect();
        let map = KeyMap::detect(&graph, &keys);
        let (params, report) = load(&graph, dict, map)?;
        if !report.is_complete() {
            let (path, name) = (path.to_owned(), cfg.name());
            return Err(ModelsError::Misfit { path, name, report: Box::new(report) });
        }
        Ok(Pretrained { architecture, cfg, graph, params, report })
    }
}
