//! A frozen network up to its classifier, compiled, with the preprocessing it was trained with.

use crate::{CachePrecision, Error};
use headstart_data::Preprocess;
use headstart_graph::{Freeze, Graph, GraphError, Params, Trunk};
use headstart_kernels::{Isa, REVISION};
use headstart_models::{Pretrained, fingerprint, sha256_hex};
use headstart_tensor::{Shape, Tensor};

/// A frozen network up to its classifier.
#[derive(Debug)]
pub struct Backbone {
    /// The whole network, its classifier included.
    pub graph: Graph,
    /// The linear layer that classifies.
    pub classifier: String,
    /// The trunk's parameters.
    pub params: Params,
    /// What images go through.
    pub preprocess: Preprocess,
    /// `arch.tag`.
    pub name: String,
    /// SHA-256 of the trunk's weights.
    pub fingerprint: String,
    trunk: Trunk,
    trunk_graph: Graph,
}

impl Backbone {
    /// The backbone of a pre-trained network; also its published classifier's weight and bias.
    ///
    /// # Errors
    /// Where the network cannot be cut before its classifier.
    pub fn of(pretrained: Pretrained) -> Result<(Backbone, Tensor, Tensor), Error> {
        let classifier = pretrained.architecture.classifier.to_owned();
        let mut params = pretrained.params;
        let mut take = |part: &str| params.remove(&format!("{classifier}.{part}")).unwrap_or_default();
        let (weight, bias) = (take("weight"), take("bias"));
        let (graph, input, name) = (pretrained.graph, pretrained.cfg.input.clone(), pretrained.cfg.name());
        Ok((Backbone::new(graph, classifier, params, input, name)?, weight, bias))
    }

    /// A backbone of parts. `params` need not hold the classifier's.
    ///
    /// # Errors
    /// Where `classifier` is no layer of the graph, a parameter of the trunk is missing, or the preprocessing gives
    /// other images than the graph takes.
    pub fn new(
        graph: Graph,
        classifier: String,
        params: Params,
        preprocess: Preprocess,
        name: String,
    ) -> Result<Backbone, Error> {
        let found = Shape::from([preprocess.crop, preprocess.crop, 3]);
        if *graph.input() != found {
            return Err(GraphError::Input { expected: graph.input().clone(), found }.into());
        }
        let trunk_graph = graph.split(&Freeze::everything().unfreeze(&graph, &classifier)?)?.trunk;
        let trunk = Trunk::compile(&trunk_graph, &params)?;
        let fingerprint = fingerprint(&trunk_graph, &params);
        Ok(Backbone { graph, classifier, params, preprocess, name, fingerprint, trunk, trunk_graph })
    }

    /// Features of one image.
    pub fn dim(&self) -> usize {
        self.trunk.output().len()
    }

    /// The compiled trunk.
    pub fn trunk(&self) -> &Trunk {
        &self.trunk
    }

    /// The network before its classifier.
    pub fn trunk_graph(&self) -> &Graph {
        &self.trunk_graph
    }

    /// Everything features depend on besides the image, as text: the name of their space in the cache.
    pub(crate) fn space(&self) -> String {
        space(&self.trunk_graph, &self.fingerprint, &self.preprocess, CachePrecision::F32)
    }
}

/// Everything that the output of `trunk` depends on besides the image, where `fingerprint` is that of its weights.
pub(crate) fn space(
    trunk: &Graph,
    fingerprint: &str,
    preprocess: &Preprocess,
    precision: CachePrecision,
) -> String {
    let p = preprocess;
    let cut = trunk.nodes().last().map_or("", |n| n.name.as_str());
    let graph = serde_json::to_string(trunk).unwrap_or_default();
    let precision = match precision {
        CachePrecision::F32 => "f32",
        CachePrecision::F16 => "f16",
    };
    format!(
        "features of headstart {}, kernels {REVISION}; graph {}; weights {fingerprint}; cut {cut}; resize {} {:?} crop {} mean {:?} std {:?}; precision {precision}; isa {}",
        env!("CARGO_PKG_VERSION"),
        sha256_hex(graph.as_bytes()),
        p.resize,
        p.interpolation,
        p.crop,
        p.mean,
        p.std,
        Isa::current()
    )
}
