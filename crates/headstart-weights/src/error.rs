//! Why a weight file was not read or written.

use std::path::PathBuf;

use headstart_pickle::PickleError;
use headstart_tensor::Shape;

use crate::DType;

/// Why a weight file was not read or written. Each names the file, what was expected and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// "read" or "write".
        action: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// Neither safetensors nor a file of `torch.save`.
    #[error(
        "{} is no weight file: it is {found}. Give a .safetensors file, or a state dict saved by torch.save",
        file.display()
    )]
    UnknownFormat {
        /// The file.
        file: PathBuf,
        /// What it looks like.
        found: String,
    },
    /// A structure that contradicts itself or the file's length.
    #[error(
        "{} is damaged or was made to mislead: {part}: expected {expected}, found {found}. Fetch or save it again",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The part of the file.
        part: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The header of a safetensors file is not the JSON it must be.
    #[error("{}: the safetensors header is malformed: {source}. Fetch or save it again", file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The same name twice.
    #[error("{} holds {name:?} twice; names must be unique. Save it again with one of them", file.display())]
    DuplicateName {
        /// The file.
        file: PathBuf,
        /// The name.
        name: String,
    },
    /// An element type that is not supported.
    #[error(
        "{}: tensor {tensor:?} has elements of type {found}, expected one of BOOL, U8, I8, I16, I32, I64, F16, BF16, \
         F32, F64. Convert it before saving",
        file.display()
    )]
    UnsupportedType {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// A tensor whose bytes do not match its shape.
    #[error(
        "{}: tensor {tensor:?} of type {dtype} and shape {shape} takes {expected} bytes, found {found}. \
         Fetch or save the file again",
        file.display()
    )]
    Size {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: DType,
        /// Its shape.
        shape: Shape,
        /// The bytes the shape takes, `usize::MAX` where the number does not fit.
        expected: usize,
        /// The bytes there are.
        found: usize,
    },
    /// A zip entry that is not stored plainly.
    #[error(
        "{}: entry {entry:?} is {found}, expected plain stored bytes as torch.save writes them. \
         Open the file in Python and save it again with torch.save",
        file.display()
    )]
    NotStored {
        /// The file.
        file: PathBuf,
        /// The entry.
        entry: String,
        /// "compressed (method 8)" or "encrypted".
        found: String,
    },
    /// A TorchScript program.
    #[error(
        "{} is a TorchScript program, not a state dict, and programs are not run. In Python: \
         torch.save(torch.jit.load(FILE).state_dict(), \"weights.pt\")",
        file.display()
    )]
    TorchScript {
        /// The file.
        file: PathBuf,
    },
    /// A pickle that names more than a state dict needs: a whole module, or an attack.
    #[error(
        "{} holds Python objects, not only tensors: {source}. Nothing of it was run. If you trust the file, open it \
         in Python and save the tensors alone: torch.save(model.state_dict(), \"weights.pt\")",
        file.display()
    )]
    CodeRefused {
        /// The file.
        file: PathBuf,
        /// The name, and where it stands.
        source: PickleError,
    },
    /// A pickle that is malformed, over a limit, or does more than build data.
    #[error("{}: {source}. Save the state dict again with torch.save", file.display())]
    Pickle {
        /// The file.
        file: PathBuf,
        /// What was refused, and where it stands.
        source: PickleError,
    },
    /// No dict of tensors.
    #[error(
        "{} holds no state dict: found {found}. Save one with torch.save(model.state_dict(), \"weights.pt\")",
        file.display()
    )]
    NoStateDict {
        /// The file.
        file: PathBuf,
        /// What it holds instead.
        found: String,
    },
    /// More than one dict of tensors.
    #[error("{} holds several dicts of tensors: {}. Name the one to take", file.display(), found.join(", "))]
    Ambiguous {
        /// The file.
        file: PathBuf,
        /// Their keys.
        found: Vec<String>,
    },
    /// A value of the state dict that is not a tensor.
    #[error(
        "{}: {tensor:?} is {found}, expected a dense CPU tensor. Leave it out, or convert it, before saving",
        file.display()
    )]
    NotATensor {
        /// The file.
        file: PathBuf,
        /// The key.
        tensor: String,
        /// What it is.
        found: String,
    },
    /// A tensor that reaches past its storage.
    #[error(
        "{}: tensor {tensor:?} of shape {shape} needs {needed} elements of storage {storage:?}, which holds {found}. \
         Fetch or save the file again",
        file.display()
    )]
    OutsideStorage {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Shape,
        /// The storage's key.
        storage: String,
        /// Elements needed, `usize::MAX` where the number does not fit.
        needed: usize,
        /// Elements there are.
        found: usize,
    },
    /// Strided tensors that would take far more memory than the file.
    #[error(
        "{}: tensor {tensor:?} of shape {shape} repeats its storage into {needed} bytes, more than the {limit} left for \
         a file of this size. Save it as tensor.contiguous()",
        file.display()
    )]
    Expands {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Shape,
        /// The bytes it would take, `usize::MAX` where the number does not fit.
        needed: usize,
        /// The bytes left.
        limit: usize,
    },
    /// A finite value that the target type cannot hold.
    #[error("element {index} is {value:e}, which {dtype} cannot hold. Keep this tensor in a wider type")]
    OutOfRange {
        /// Which element, in row-major order.
        index: usize,
        /// Its value.
        value: f64,
        /// The target type.
        dtype: DType,
    },
    /// No tensor of that name.
    #[error("{} holds no tensor {tensor:?}; it holds {found} others", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The name asked for.
        tensor: String,
        /// How many there are.
        found: usize,
    },
}
