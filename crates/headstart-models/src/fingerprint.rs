//! What weights are, as a hash: the same values give the same fingerprint, whatever file they came from.

use headstart_graph::{Graph, Params};
use sha2::{Digest, Sha256};

/// SHA-256, in hexadecimal, over name, shape and f32 bytes of every parameter of `graph` in the graph's order.
/// Parameters without a value count as absent.
pub fn fingerprint(graph: &Graph, params: &Params) -> String {
    let mut hasher = Sha256::new();
    for spec in graph.params() {
        let Some(value) = params.get(&spec.name) else { continue };
        hasher.update((spec.name.len() as u64).to_le_bytes());
        hasher.update(&spec.name);
        hasher.update((value.dims().len() as u64).to_le_bytes());
        value.dims().iter().for_each(|&d| hasher.update((d as u64).to_le_bytes()));
        let bytes: Vec<u8> = value.data().iter().flat_map(|v| v.to_le_bytes()).collect();
        hasher.update(bytes);
    }
    hex(&hasher.finalize())
}

/// SHA-256 of `bytes`, in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
