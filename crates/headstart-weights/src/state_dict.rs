//! Names and tensors of one weight file, whatever its format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headstart_tensor::Tensor;

use crate::source::Source;
use crate::{StoredTensor, WeightsError, safetensors, torch};

/// The format of a weight file, known by its content, not by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.safetensors`.
    Safetensors,
    /// What `torch.save` writes since PyTorch 1.6: a zip archive.
    TorchZip,
    /// What `torch.save` wrote before: several pickles, then the storages.
    TorchLegacy,
}

/// Tensors by name, in the order of the file.
#[derive(Debug, Clone)]
pub struct StateDict {
    file: PathBuf,
    format: Format,
    tensors: Vec<(String, StoredTensor)>,
    places: BTreeMap<String, usize>,
    metadata: BTreeMap<String, String>,
    taken: Option<String>,
    ignored: Vec<String>,
}

impl StateDict {
    /// Opens `path`: safetensors, or a state dict of `torch.save` (either of its formats).
    ///
    /// A whole checkpoint gives the one dict of tensors in it; [`taken`](Self::taken) and
    /// [`ignored`](Self::ignored) say what that was. The file is mapped: it must not be changed in place meanwhile.
    ///
    /// # Errors
    /// See [`WeightsError`]. Nothing of the file is run, and a file that lies about its sizes is refused
    /// before memory is taken for it.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        Self::read(map(path)?, path, None)
    }

    /// Opens the dict of tensors under `key` of a whole checkpoint, where it holds several
    /// (`state_dict` beside `state_dict_ema`).
    ///
    /// # Errors
    /// As [`open`](Self::open); [`WeightsError::NoStateDict`] where `key` is none.
    pub fn open_entry(path: &Path, key: &str) -> Result<Self, WeightsError> {
        Self::read(map(path)?, path, Some(key))
    }

    /// Reads a weight file that is compiled into the program, without copying it. `name` stands for its path in
    /// messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_static(bytes: &'static [u8], name: &Path) -> Result<Self, WeightsError> {
        Self::read(Source::Static(bytes), name, None)
    }

    /// Reads a weight file that is in memory. `name` stands for its path in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: Vec<u8>, name: &Path) -> Result<Self, WeightsError> {
        Self::read(Source::Owned(bytes), name, None)
    }

    fn read(source: Source, file: &Path, key: Option<&str>) -> Result<Self, WeightsError> {
        let source = Arc::new(source);
        let bytes = source.bytes();
        let (format, contents) = if torch::looks_like_zip(bytes) {
            (Format::TorchZip, torch::read_zip(&source, file, key)?)
        } else if torch::looks_like_legacy(bytes) {
            (Format::TorchLegacy, torch::read_legacy(&source, file, key)?)
        } else if safetensors::looks_like(bytes) {
            let safetensors::Contents { tensors, metadata } = safetensors::read(&source, file)?;
            let contents = torch::Contents { tensors, taken: None, ignored: Vec::new() };
            return Self::collect(file, Format::Safetensors, contents, metadata);
        } else {
            return Err(WeightsError::UnknownFormat { file: file.to_owned(), found: describe(bytes) });
        };
        Self::collect(file, format, contents, BTreeMap::new())
    }

    fn collect(
        file: &Path,
        format: Format,
        contents: torch::Contents,
        metadata: BTreeMap<String, String>,
    ) -> Result<Self, WeightsError> {
        let torch::Contents { tensors, taken, ignored } = contents;
        let mut places = BTreeMap::new();
        for (place, (name, _)) in tensors.iter().enumerate() {
            if places.insert(name.clone(), place).is_some() {
                return Err(WeightsError::DuplicateName { file: file.to_owned(), name: name.clone() });
            }
        }
        Ok(StateDict { file: file.to_owned(), format, tensors, places, metadata, taken, ignored })
    }

    /// The file, as it was given.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The file's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The metadata of a safetensors file; empty for the other formats.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The key of a whole checkpoint that the tensors were taken from; `None` where the file is the state dict.
    pub fn taken(&self) -> Option<&str> {
        self.taken.as_deref()
    }

    /// The keys of a whole checkpoint that were left alone, in the order of the file.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Names and tensors in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StoredTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&StoredTensor> {
        self.places.get(name).and_then(|&place| self.tensors.get(place)).map(|(_, tensor)| tensor)
    }

    /// The tensor called `name` in f32 (see [`StoredTensor::to_tensor`]).
    ///
    /// # Errors
    /// [`WeightsError::Missing`], or that of the conversion.
    pub fn tensor(&self, name: &str) -> Result<Tensor, WeightsError> {
        let missing = || WeightsError::Missing {
            file: self.file.clone(),
            tensor: name.to_owned(),
            found: self.tensors.len(),
        };
        self.get(name).ok_or_else(missing)?.to_tensor()
    }
}

fn map(path: &Path) -> Result<Source, WeightsError> {
    Source::open(path).map_err(|source| WeightsError::Io { file: path.to_owned(), action: "read", source })
}

/// What a file that is no weight file looks like.
fn describe(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "empty".to_owned();
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return "a pointer of Git LFS (fetch the real file with git lfs pull)".to_owned();
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return "a tar archive (an older PyTorch wrote such files: load and save it again there)".to_owned();
    }
    if bytes.starts_with(b"\x80") {
        return "a pickle, but not one of torch.save".to_owned();
    }
    let start = &bytes[..bytes.len().min(8)];
    format!("{} bytes that start with \"{}\"", bytes.len(), start.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        StateDict::from_bytes(bytes.to_vec(), Path::new("w.pt")).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_weight_file_is_described() {
        assert!(refusal(b"").contains("w.pt is no weight file: it is empty"));
        assert!(refusal(b"<html>\xff</html>").contains(r#"14 bytes that start with "<html>\xff<""#));
        assert!(refusal(b"version https://git-lfs.github.com/spec/v1").contains("git lfs pull"));
        assert!(refusal(b"\x80\x04N.").contains("not one of torch.save"));
        let folder = tempfile::tempdir().unwrap();
        assert!(StateDict::open(folder.path()).unwrap_err().to_string().contains("not a regular file"));
        let missing = StateDict::open(&folder.path().join("no.pt")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read ") && missing.contains("no.pt"), "{missing}");
    }

    #[test]
    fn a_missing_tensor_is_named() {
        let state = StateDict::from_static(b"\x08\0\0\0\0\0\0\0{}      ", Path::new("embedded")).unwrap();
        assert!(state.is_empty());
        assert_eq!(
            state.tensor("w").unwrap_err().to_string(),
            "embedded holds no tensor \"w\"; it holds 0 others"
        );
    }
}
