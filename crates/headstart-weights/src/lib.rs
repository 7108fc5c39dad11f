//! State dicts from safetensors and PyTorch files, and back to safetensors.
//!
//! A [`StateDict`] is what every weight file becomes: names and tensors in the order of the file, in the
//! file's own element types, borrowed from the mapping where the file holds them contiguously. Which name
//! means what, and which shape it must have, is for `headstart-models` to say. Nothing of a file is run:
//! PyTorch's pickles are read by `headstart-pickle` with the few names a state dict of tensors needs.

mod dtype;
mod error;
mod replace;
mod safetensors;
mod source;
mod state_dict;
mod stored;
mod torch;

pub use dtype::DType;
pub use error::WeightsError;
pub use replace::replace_file;
pub use safetensors::{write_safetensors, write_safetensors_to};
pub use state_dict::{Format, StateDict};
pub use stored::StoredTensor;
