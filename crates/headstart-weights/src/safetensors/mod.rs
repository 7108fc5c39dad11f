//! The safetensors format: a length, a JSON header, the tensors' bytes.
//!
//! ```text
//! u64 n | n bytes of JSON: {"__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets"}} | data
//! ```

mod read;
mod write;

pub(crate) use read::{Contents, looks_like, read};
pub use write::{write_safetensors, write_safetensors_to};

/// The longest header that is read. Ten thousand tensors take about one megabyte.
const MAX_HEADER: u64 = 32 << 20;

/// The header's key that is no tensor.
const METADATA: &str = "__metadata__";
