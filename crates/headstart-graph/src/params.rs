//! The values of a network's parameters, under their checkpoint names.

use crate::{Graph, GraphError};
use headstart_tensor::Tensor;
use std::collections::BTreeMap;

/// Parameters by checkpoint name, in the checkpoint's layout, ordered by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Params(BTreeMap<String, Tensor>);

impl Params {
    /// No parameter yet.
    pub fn new() -> Self {
        Params::default()
    }

    /// Sets a parameter, whatever it was before.
    pub fn insert(&mut self, name: impl Into<String>, value: Tensor) {
        self.0.insert(name.into(), value);
    }

    /// The parameter of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// The parameter of that name.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Tensor> {
        self.0.get_mut(name)
    }

    /// Takes a parameter out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.0.remove(name)
    }

    /// All parameters, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether every parameter of `graph` has a value of the right shape. Others may be there too.
    ///
    /// # Errors
    /// Naming the first that is missing or misshapen.
    pub fn check(&self, graph: &Graph) -> Result<(), GraphError> {
        for spec in graph.params() {
            match self.0.get(&spec.name) {
                None => return Err(GraphError::MissingParam { name: spec.name, shape: spec.shape }),
                Some(value) if *value.shape() != spec.shape => {
                    let found = value.shape().clone();
                    return Err(GraphError::ParamShape { name: spec.name, expected: spec.shape, found });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// A parameter that [`Params::check`] found.
    pub(crate) fn of(&self, node: &str, part: &str) -> Result<&Tensor, GraphError> {
        let name = full_name(node, part);
        self.0.get(&name).ok_or_else(|| GraphError::MissingParam { name, shape: [].into() })
    }
}

/// A parameter's checkpoint name: a part without a name of its own has the node's.
pub(crate) fn full_name(node: &str, part: &str) -> String {
    if part.is_empty() { node.to_owned() } else { format!("{node}.{part}") }
}

impl FromIterator<(String, Tensor)> for Params {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(items: I) -> Self {
        Params(items.into_iter().collect())
    }
}
