//! Files of `torch.save`: a pickle that describes tensors, and the storages they view.

mod archive;
mod checkpoint;
mod legacy;
mod rebuild;
mod storage;

use std::path::Path;

use headstart_pickle::{Limits, Pickle, PickleError, Policy, read_from};

use crate::{StoredTensor, WeightsError};

pub(crate) use archive::{looks_like_zip, read_zip};
pub(crate) use legacy::{looks_like_legacy, read_legacy};

/// The tensors of a file, and where in it they were.
pub(crate) struct Contents {
    pub(crate) tensors: Vec<(String, StoredTensor)>,
    pub(crate) taken: Option<String>,
    pub(crate) ignored: Vec<String>,
}

/// The names that may stand in such a pickle. The first rows make state dicts; the others are met in the rest of a
/// whole checkpoint (optimizer, arguments, metrics), are never looked into, and stay symbols.
const GLOBALS: &[(&str, &str)] = &[
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
    ("torch.nn.parameter", "Parameter"),
    ("torch", "BoolStorage"),
    ("torch", "ByteStorage"),
    ("torch", "CharStorage"),
    ("torch", "ShortStorage"),
    ("torch", "IntStorage"),
    ("torch", "LongStorage"),
    ("torch", "HalfStorage"),
    ("torch", "BFloat16Storage"),
    ("torch", "FloatStorage"),
    ("torch", "DoubleStorage"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch", "float16"),
    ("torch", "bfloat16"),
    ("torch", "float32"),
    ("torch", "float64"),
    ("torch", "int64"),
    ("argparse", "Namespace"),
    ("builtins", "dict"),
    ("__builtin__", "dict"),
    ("builtins", "set"),
    ("__builtin__", "set"),
    ("collections", "Counter"),
    ("collections", "defaultdict"),
    ("pathlib", "PosixPath"),
    ("pathlib", "PurePosixPath"),
    ("pathlib", "WindowsPath"),
    ("pathlib._local", "PosixPath"),
    ("pathlib._local", "PurePosixPath"),
    ("pathlib._local", "WindowsPath"),
    ("torch.torch_version", "TorchVersion"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
];

/// Reads the pickle at byte `start` of `bytes`, a part of `file`.
fn unpickle<'a>(bytes: &'a [u8], start: usize, file: &Path) -> Result<Pickle<'a>, WeightsError> {
    let policy = Policy { globals: GLOBALS, limits: Limits::default() };
    read_from(bytes, start, &policy).map_err(|source| {
        let file = file.to_owned();
        match source {
            PickleError::GlobalRefused { .. } => WeightsError::CodeRefused { file, source },
            _ => WeightsError::Pickle { file, source },
        }
    })
}
