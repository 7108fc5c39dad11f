//! A network without weights: what can be said of it where they are not needed, or not here.

use crate::pretrained::named;
use crate::{Home, ModelsError, network_record};
use headstart_data::Preprocess;
use headstart_graph::Graph;

/// A network without weights.
#[derive(Debug, Clone)]
pub struct Outline {
    /// `arch.tag`, or the name that an imported network is kept under.
    pub name: String,
    /// The architecture's name; an imported network's own.
    pub architecture: String,
    /// The layer that classifies.
    pub classifier: String,
    /// The network.
    pub graph: Graph,
    /// What images go through before it, in its own size.
    pub input: Preprocess,
}

impl Outline {
    /// The network that `name` stands for, for images of `size` pixels, or of its own size.
    ///
    /// # Errors
    /// Where the name is unknown, or the network cannot take images of that size.
    pub fn open(name: &str, home: &Home, size: Option<usize>) -> Result<Outline, ModelsError> {
        let Some((architecture, cfg)) = named(name, home)? else {
            let record = network_record(name, home)?;
            let graph = match size {
                Some(size) => record.graph.with_input([size, size, 3])?,
                None => record.graph,
            };
            let (name, classifier, input) = (name.to_owned(), record.classifier, record.input);
            return Ok(Outline { architecture: name.clone(), name, classifier, graph, input });
        };
        Ok(Outline {
            name: cfg.name(),
            architecture: architecture.name.to_owned(),
            classifier: architecture.classifier.to_owned(),
            graph: architecture.build(size.unwrap_or(cfg.input.crop), cfg.outputs())?,
            input: cfg.input.clone(),
        })
    }
}
