//! The freeze receipt: what every frozen parameter and buffer was before a fit, and that it still is.

use crate::Error;
use headstart_graph::{Freeze, Graph, Params};
use headstart_models::sha256_hex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// SHA-256 of each frozen parameter and buffer, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Receipt(pub BTreeMap<String, String>);

impl Receipt {
    /// The hashes of all that `freeze` leaves frozen, running statistics included.
    pub fn of(graph: &Graph, params: &Params, freeze: &Freeze) -> Receipt {
        let frozen = graph.params().into_iter().filter(|p| !freeze.is_trainable(&p.name));
        let hash = |name: String| {
            let value = params.get(&name)?;
            let bytes: Vec<u8> = value.data().iter().flat_map(|v| v.to_le_bytes()).collect();
            Some((name, sha256_hex(&bytes)))
        };
        Receipt(frozen.filter_map(|p| hash(p.name)).collect())
    }

    /// Whether `after` is the same to the last byte.
    ///
    /// # Errors
    /// [`Error::ParameterMoved`] with the first name whose bytes moved, or that is in one of the two alone.
    pub fn check(&self, after: &Receipt) -> Result<(), Error> {
        let names = self.0.keys().chain(after.0.keys());
        let mut moved = names.filter(|name| self.0.get(*name) != after.0.get(*name));
        match moved.next() {
            None => Ok(()),
            Some(name) => Err(Error::ParameterMoved { name: name.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_graph::{GraphBuilder, Padding};
    use headstart_testing::seeded;

    #[test]
    fn a_frozen_byte_that_moves_is_named_and_a_trained_one_is_not() {
        let mut b = GraphBuilder::new([4, 4, 3]);
        let input = b.input();
        let x = b.conv("conv1", input, 2, (3, 1), Padding::Same).unwrap();
        let x = b.batch_norm("bn1", x, 1e-5).unwrap();
        b.conv("conv2", x, 2, (1, 1), Padding::Same).unwrap();
        let graph = b.finish();
        let params = graph.params().into_iter();
        let mut params: Params =
            params.map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 3, 1.0))).collect();
        let freeze = Freeze::everything().unfreeze(&graph, "conv2").unwrap();
        let before = Receipt::of(&graph, &params, &freeze);
        assert_eq!(before.0.len(), 5, "conv1 and all four of bn1");
        let mut nudge = |name: &str| {
            let value = &mut params.get_mut(name).unwrap().data_mut()[0];
            *value = f32::from_bits(value.to_bits() ^ 1);
            before.check(&Receipt::of(&graph, &params, &freeze))
        };
        assert!(nudge("conv2.weight").is_ok());
        let error = nudge("bn1.running_var").unwrap_err().to_string();
        assert!(error.contains("the frozen `bn1.running_var` moved"), "{error}");
        assert!(nudge("bn1.running_var").is_ok(), "moved back");
        assert!(nudge("conv1.weight").is_err());
    }
}
