//! A network with its parameters and preprocessing, as they were published or imported.

use crate::{
    Architecture, Home, IMAGENET_1K, LoadReport, ModelsError, Network, NetworkRecord, PretrainedCfg,
    check_name, embedded, load::load_behind, positions, refuse_onnx, registry, wrapped,
};
use headstart_data::Preprocess;
use headstart_graph::{Graph, Linear, Node, Op, Params, nearest};
use headstart_tensor::{Shape, Tensor};
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

/// A network with its parameters and what images go through before it: of the registry, or imported whole.
#[derive(Debug, Clone)]
pub struct Pretrained {
    /// `arch.tag`, or the name that an imported network is kept under.
    pub name: String,
    /// The layer that classifies.
    pub classifier: String,
    /// How it is built in other sizes; an imported network has no architecture of the registry.
    pub architecture: Option<&'static Architecture>,
    /// The classes that the classifier of its weights names.
    pub labels: Vec<String>,
    /// What images go through before it: its own, unless another size was asked for.
    pub input: Preprocess,
    /// The network, for images as `input` makes them.
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
    /// The network that `arch` or `arch.tag` stands for, with the weights of this machine, or the one that was imported under
    /// that name.
    ///
    /// # Errors
    /// Where the name is unknown, the weights are not here, or they do not fit.
    pub fn open(name: &str, home: &Home) -> Result<Pretrained, ModelsError> {
        let Some((architecture, cfg)) = named(name, home)? else {
            let (Network { record, params }, report) = Network::open(name, home)?;
            let NetworkRecord { graph, classifier, input, labels, .. } = record;
            let name = name.to_owned();
            return Ok(Pretrained {
                name,
                classifier,
                architecture: None,
                labels,
                input,
                graph,
                params,
                report,
            });
        };
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

    /// The network of the registry that `name` stands for, with the weights of a file of the user's own.
    ///
    /// # Errors
    /// Where the name is unknown, or the file cannot be read or does not fit.
    pub fn from_file(name: &str, path: &Path) -> Result<Pretrained, ModelsError> {
        refuse_onnx(path)?;
        let (architecture, cfg) = registry::find(name)?;
        Pretrained::from_dict(architecture, cfg, path, &wrapped::open(path)?)
    }

    /// Turns a classifier that is a convolution into a linear layer of the averaged features, with the same weights: what every
    /// other network has. Its activation is left out, as it must be where the layer is trained for other classes.
    ///
    /// # Errors
    /// Never for a registered network.
    pub fn with_linear_classifier(mut self) -> Result<Pretrained, ModelsError> {
        let name = self.classifier.as_str();
        let Some((_, Node { op: Op::Conv2d(conv), inputs, stage, .. })) = self.graph.node(name) else {
            return Ok(self);
        };
        let (linear, before) =
            (Linear { in_features: conv.in_channels, out_features: conv.out_channels }, inputs[0]);
        let prefix = self.graph.prefix(before)?;
        let stage = stage.clone();
        self.graph =
            prefix.and_then(&stage, &[("pool", Op::GlobalAvgPool), (name, Op::Linear(linear.clone()))])?;
        let weight = format!("{name}.weight");
        if let Some(value) = self.params.get(&weight) {
            let flat = Tensor::from_fn([linear.out_features, linear.in_features], |i| value.data()[i]);
            self.params.insert(weight, flat);
        }
        Ok(self)
    }

    /// The same, if the classifier of its weights is a linear layer of its features.
    ///
    /// # Errors
    /// [`ModelsError::NoClassifier`] where there is none, or one for other classes, or (SqueezeNet's) it is more than that.
    pub fn with_own_classifier(self) -> Result<Pretrained, ModelsError> {
        let is_linear = |node: &Node| matches!(node.op, Op::Linear(_));
        let linear = self.graph.node(&self.classifier).is_some_and(|(_, node)| is_linear(node));
        if linear && !self.labels.is_empty() && self.report.classifier.is_empty() {
            Ok(self)
        } else {
            Err(ModelsError::NoClassifier { name: self.name })
        }
    }

    /// Replaces the classifier by one of `classes` outputs whose weights and biases are zero: the loss starts at
    /// `ln(classes)`, and nothing depends on a seed.
    ///
    /// # Errors
    /// Never: its classifier is a linear layer.
    pub fn replace_head(&mut self, classes: usize) -> Result<(), ModelsError> {
        let classifier = self.classifier.as_str();
        self.graph = self.graph.with_classes(classifier, classes)?;
        for spec in self.graph.params() {
            if spec.name.strip_prefix(classifier).is_some_and(|rest| rest.starts_with('.')) {
                self.params.insert(spec.name, Tensor::zeros(spec.shape));
            }
        }
        Ok(())
    }

    /// The same network for images of `size` pixels, whose shorter side is resized in proportion. Position embeddings are
    /// resampled as timm does it.
    ///
    /// # Errors
    /// Where the network cannot take images of that size.
    pub fn at_size(mut self, size: usize) -> Result<Pretrained, ModelsError> {
        let graph = match self.architecture {
            Some(architecture) => architecture.build(size, self.graph.output().len())?,
            None => self.graph.with_input([size, size, 3])?,
        };
        let grids = |graph: &Graph| {
            let patches = graph.nodes().iter().find(|node| node.shape.rank() == 3 && node.name != "input")?;
            Some([patches.shape.dims()[0], patches.shape.dims()[1]])
        };
        if let (Some(from), Some(to)) = (grids(&self.graph), grids(&graph)) {
            for node in graph.nodes() {
                let Op::AddRows(rows) = &node.op else { continue };
                let prefix = rows.entries.saturating_sub(to[0] * to[1]);
                let table = self.params.get(&node.name);
                if let Some(table) = table.and_then(|t| positions::resample(t, prefix, from, to)) {
                    self.params.insert(node.name.clone(), table);
                }
            }
        }
        self.input.resize = (self.input.resize * size).div_ceil(self.input.crop);
        self.input.crop = size;
        self.graph = graph;
        Ok(self)
    }

    fn from_dict(
        architecture: &'static Architecture,
        cfg: &'static PretrainedCfg,
        path: &Path,
        dict: &StateDict,
    ) -> Result<Pretrained, ModelsError> {
        let graph = architecture.build(cfg.input.crop, cfg.outputs())?;
        let (prefix, map) = wrapped::detect(&graph, dict);
        let (mut params, mut report) = load_behind(&graph, dict, map, &prefix)?;
        leave_out_classifier(&graph, architecture.classifier, cfg.classes, &mut params, &mut report);
        if !report.is_complete() {
            let (path, name) = (path.to_owned(), cfg.name());
            return Err(ModelsError::Misfit { path, name, report: Box::new(report) });
        }
        let labels = if cfg.classes > 0 { IMAGENET_1K.map(str::to_owned).to_vec() } else { Vec::new() };
        let (name, input, classifier) = (cfg.name(), cfg.input.clone(), architecture.classifier.to_owned());
        let architecture = Some(architecture);
        Ok(Pretrained { name, classifier, architecture, labels, input, graph, params, report })
    }
}

/// The row of the registry that `name` stands for; none where a network was imported under it.
pub(crate) fn named(
    name: &str,
    home: &Home,
) -> Result<Option<(&'static Architecture, &'static PretrainedCfg)>, ModelsError> {
    refuse_onnx(Path::new(name))?;
    match registry::find(name) {
        Ok(found) => Ok(Some(found)),
        Err(_) if check_name(name).is_ok() && home.network(name).is_file() => Ok(None),
        Err(ModelsError::UnknownName { name, nearest: published }) => {
            let here = home.networks();
            let mut nearest = nearest(&name, here.iter().map(String::as_str));
            nearest.extend(published);
            Err(ModelsError::UnknownName { name, nearest })
        }
        Err(other) => Err(other),
    }
}

/// A classifier that the file lacks, or has for another number of classes, becomes zeros: the published one is gone, and
/// training replaces it. The report keeps what was left out, unless the record has none to lose.
fn leave_out_classifier(
    graph: &Graph,
    classifier: &str,
    classes: usize,
    params: &mut Params,
    report: &mut LoadReport,
) {
    let of_classifier = |name: &str| name.strip_prefix(classifier).is_some_and(|rest| rest.starts_with('.'));
    let parts: Vec<_> = graph.params().into_iter().filter(|spec| of_classifier(&spec.name)).collect();
    let found = |name: &str| report.mismatched.iter().find(|m| m.name == name).map(|m| m.found.clone());
    let left_out: Vec<(String, Option<Shape>)> =
        parts.iter().map(|spec| (spec.name.clone(), found(&spec.name))).collect();
    let other_classes = |(at, (_, found)): (usize, &(String, Option<Shape>))| match found {
        // All but the number of classes is the network's.
        Some(found) => {
            let expected = parts[at].shape.dims();
            found.rank() == expected.len() && found.dims()[1..] == expected[1..]
        }
        None => false,
    };
    let is_absent = parts.iter().all(|spec| report.missing.contains(&spec.name));
    let is_other = !parts.is_empty() && left_out.iter().enumerate().all(other_classes);
    if !is_absent && !is_other {
        return;
    }
    report.missing.retain(|name| !of_classifier(name));
    report.mismatched.retain(|m| !of_classifier(&m.name));
    for spec in parts {
        params.insert(spec.name, Tensor::zeros(spec.shape));
    }
    if classes > 0 {
        report.classifier = left_out;
    }
}
