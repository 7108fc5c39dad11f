//! A frozen network up to its classifier, compiled, with the preprocessing it was trained with.

use crate::{CachePrecision, Error};
use headstart_data::Preprocess;
use headstart_graph::{Calibration, Freeze, Graph, GraphError, Params, Precision, Trunk};
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
    /// The ranges that an int8 trunk was compiled with; else empty.
    pub calibration: Calibration,
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
        let calibration = Calibration::default();
        Ok(Backbone {
            graph,
            classifier,
            params,
            preprocess,
            name,
            fingerprint,
            calibration,
            trunk,
            trunk_graph,
        })
    }

    /// Compiles the trunk again, in another precision. Only int8 looks at the calibration, and keeps it.
    ///
    /// # Errors
    /// Where the calibration is of another network.
    pub fn compile_in(&mut self, precision: Precision, calibration: Calibration) -> Result<(), Error> {
        self.trunk = Trunk::compile_in(precision, &self.trunk_graph, &self.params, &calibration)?;
        self.calibration = if precision == Precision::Int8 { calibration } else { Calibration::default() };
        Ok(())
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
        let precision = (self.trunk.precision(), &self.calibration);
        space(&self.trunk_graph, &self.fingerprint, &self.preprocess, precision, CachePrecision::F32)
    }
}

/// Everything that the kept output of `trunk` depends on besides the image, where `fingerprint` is that of its weights.
pub(crate) fn space(
    trunk: &Graph,
    fingerprint: &str,
    p: &Preprocess,
    (precision, calibration): (Precision, &Calibration),
    kept: CachePrecision,
) -> String {
    let cut = trunk.nodes().last().map_or("", |n| n.name.as_str());
    let graph = serde_json::to_string(trunk).unwrap_or_default();
    let isa = Isa::current();
    // An int8 trunk has bf16 kernels too: which of both the machine has decides the bytes.
    let products = match precision {
        Precision::F32 => String::new(),
        _ => Precision::ALL.map(|p| if p.is_native(isa) { format!(" {p}") } else { String::new() }).concat(),
    };
    let ranges = serde_json::to_string(calibration).unwrap_or_default();
    let kept = match kept {
        CachePrecision::F32 => "",
        CachePrecision::F16 => ", kept in f16",
    };
    format!(
        "features of headstart {}, kernels {REVISION}; graph {}; weights {fingerprint}; cut {cut}; decode {:?} resize {} {:?} crop {} mean {:?} std {:?}; precision {precision} by{products}{kept}, ranges {}; isa {isa}",
        env!("CARGO_PKG_VERSION"),
        sha256_hex(graph.as_bytes()),
        p.decode,
        p.resize,
        p.interpolation,
        p.crop,
        p.mean,
        p.std,
        sha256_hex(ranges.as_bytes())
    )
}
