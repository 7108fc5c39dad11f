//! A frozen network up to its classifier, compiled, with the preprocessing or the tokenizer it was trained with.

use crate::input::Input;
use crate::{CachePrecision, Error, Session};
use headstart_data::{Decode, Preprocess};
use headstart_graph::{Calibration, Freeze, Graph, GraphError, Params, Precision, Trunk};
use headstart_kernels::{Isa, REVISION};
use headstart_models::{
    CLASSIFIER, ModelsError, Pretrained, TextEncoder, fingerprint, is_repository, sha256_hex,
};
use headstart_tensor::Tensor;
use std::path::Path;

/// A frozen network up to its classifier.
#[derive(Debug)]
pub struct Backbone {
    /// The whole network, its classifier included.
    pub graph: Graph,
    /// The linear layer that classifies.
    pub classifier: String,
    /// The trunk's parameters.
    pub params: Params,
    /// What items go through before it.
    pub input: Input,
    /// `arch.tag`, or the name that an imported network is kept under.
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
        let pretrained = pretrained.with_linear_classifier()?;
        let Pretrained { name, classifier, graph, input, mut params, .. } = pretrained;
        let mut take = |part: &str| params.remove(&format!("{classifier}.{part}")).unwrap_or_default();
        let (weight, bias) = (take("weight"), take("bias"));
        Ok((Backbone::new(graph, classifier, params, input, name)?, weight, bias))
    }

    /// The network that `name` stands for: a folder with a text encoder as Hugging Face publishes it, or its repository
    /// (`owner/name`) where it was pulled, else `arch` or `arch.tag`, with the weights of this machine or of the file `weights`, or the name of an imported network. Says so where an encoder leaves open what its
    /// tokens become. With a `size`, images of so many pixels a side go in ([`Pretrained::at_size`]).
    ///
    /// # Errors
    /// Where it is not there or cannot be used, or takes no images of that size.
    pub fn open(
        session: &Session,
        name: &str,
        weights: Option<&Path>,
        size: Option<usize>,
    ) -> Result<Backbone, Error> {
        if let Some(folder) = session.home.find_encoder(name) {
            let setting = |name, found, expected| Err(Error::Setting { name, found, expected });
            return match (weights, size) {
                (None, None) => {
                    let encoder = TextEncoder::open(&folder)?;
                    if !encoder.says_pooling {
                        let name = folder.display();
                        session.progress.note(&format!(
                            "{name} does not say how tokens become a sentence (modules.json): their mean is taken"
                        ));
                    }
                    Backbone::text(encoder)
                }
                (Some(file), _) => {
                    let expected = "nothing: the folder of a text encoder holds its weights";
                    setting("--weights", file.display().to_string(), expected)
                }
                (None, Some(size)) => {
                    setting("--size", size.to_string(), "nothing: a text encoder takes texts of any length")
                }
            };
        }
        if is_repository(name) {
            return Err(ModelsError::NoEncoder { name: name.to_owned() }.into());
        }
        let pretrained = match weights {
            None => Pretrained::open(name, session.home)?,
            Some(file) => Pretrained::from_file(name, file)?,
        };
        if let Some(file) = weights.filter(|_| !pretrained.report.is_plain()) {
            session.progress.note(&format!("{}: {}", file.display(), pretrained.report));
        }
        let pretrained = match size {
            Some(size) if size != pretrained.input.crop => pretrained.at_size(size)?,
            _ => pretrained,
        };
        Ok(Backbone::of(pretrained)?.0)
    }

    /// The backbone of a text encoder.
    ///
    /// # Errors
    /// Never for an encoder that was opened.
    pub fn text(encoder: TextEncoder) -> Result<Backbone, Error> {
        // Of how many classes does not matter before a head is there.
        let graph = encoder.graph(2)?;
        Backbone::new(graph, CLASSIFIER.to_owned(), encoder.params, encoder.tokens, encoder.name)
    }

    /// Whether JPEG files become pixels exactly. Texts have none.
    pub fn set_decode(&mut self, decode: Decode) {
        if let Input::Image(preprocess) = &mut self.input {
            preprocess.decode = decode;
        }
    }

    /// A backbone of parts. `params` need not hold the classifier's.
    ///
    /// # Errors
    /// Where `classifier` is no layer of the graph, a parameter of the trunk is missing, or `input` makes something else
    /// than the graph takes.
    pub fn new(
        graph: Graph,
        classifier: String,
        params: Params,
        input: impl Into<Input>,
        name: String,
    ) -> Result<Backbone, Error> {
        let input = input.into();
        let found = input.shape();
        if *graph.input() != found {
            return Err(GraphError::Input { expected: graph.input().clone(), found }.into());
        }
        let trunk_graph = graph.split(&Freeze::everything().unfreeze(&graph, &classifier)?)?.trunk;
        let trunk = Trunk::compile(&trunk_graph, &params)?;
        let fingerprint = fingerprint(&trunk_graph, &params);
        let calibration = Calibration::default();
        Ok(Backbone { graph, classifier, params, input, name, fingerprint, calibration, trunk, trunk_graph })
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
        space(&self.trunk_graph, &self.fingerprint, &self.input, precision, CachePrecision::F32)
    }
}

/// Everything that the kept output of `trunk` depends on besides the image, where `fingerprint` is that of its weights.
pub(crate) fn space(
    trunk: &Graph,
    fingerprint: &str,
    input: &Input,
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
    let made = match input {
        // Every field is named, so that none that is added can be forgotten here.
        Input::Image(Preprocess { resize, crop, interpolation, mean, std, decode, style }) => {
            let style = style.map(|s| format!(" style {}", s.name())).unwrap_or_default();
            format!(
                "decode {decode:?} resize {resize} {interpolation:?} crop {crop} mean {mean:?} std {std:?}{style}"
            )
        }
        Input::Text(t) => {
            format!("tokenizer {} at most {} lowercase {}", t.sha256(), t.most(), t.lowercase())
        }
    };
    format!(
        "features of headstart {}, kernels {REVISION}; graph {}; weights {fingerprint}; cut {cut}; {made}; precision {precision} by{products}{kept}, ranges {}; isa {isa}",
        env!("CARGO_PKG_VERSION"),
        sha256_hex(graph.as_bytes()),
        sha256_hex(ranges.as_bytes())
    )
}
