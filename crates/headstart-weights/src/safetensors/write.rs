//! Writing: the same tensors and metadata give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use super::METADATA;
use crate::{StoredTensor, WeightsError, replace_file};

/// Writes a safetensors file at `path`, whole or not at all (see [`replace_file`]).
///
/// The header keeps the order of `tensors`. The data lies with the widest elements first, in that order
/// otherwise, and starts at a multiple of eight bytes, so that every element is aligned.
///
/// # Errors
/// [`WeightsError::DuplicateName`] for a name that stands twice or is `__metadata__`; [`WeightsError::Io`] from the
/// file system, the old file left as it was.
pub fn write_safetensors(
    path: &Path,
    tensors: &[(&str, &StoredTensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), WeightsError> {
    let mut names = BTreeSet::from([METADATA]);
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !names.insert(name)) {
        return Err(WeightsError::DuplicateName { file: path.to_owned(), name: (*name).to_owned() });
    }
    replace_file(path, |writer| write_safetensors_to(writer, tensors, metadata))
        .map_err(|source| WeightsError::Io { file: path.to_owned(), action: "write", source })
}

/// Writes the bytes of [`write_safetensors`] to any writer. The names must be unique.
///
/// # Errors
/// Those of the writer.
pub fn write_safetensors_to(
    writer: &mut impl Write,
    tensors: &[(&str, &StoredTensor)],
    metadata: &BTreeMap<String, String>,
) -> io::Result<()> {
    let mut by_width: Vec<usize> = (0..tensors.len()).collect();
    by_width.sort_by_key(|&i| std::cmp::Reverse(tensors[i].1.dtype().size()));
    let mut offsets = vec![(0, 0); tensors.len()];
    let mut end = 0;
    for &i in &by_width {
        let start = end;
        end += tensors[i].1.bytes().len();
        offsets[i] = (start, end);
    }

    let mut header = String::from("{");
    if !metadata.is_empty() {
        header += &format!("{}:{}", quoted(METADATA)?, serde_json::to_string(metadata)?);
    }
    for ((name, tensor), (start, end)) in tensors.iter().zip(offsets) {
        let comma = if header.len() > 1 { "," } else { "" };
        let name = quoted(name)?;
        let shape = serde_json::to_string(tensor.shape().dims())?;
        let dtype = tensor.dtype();
        header +=
            &format!(r#"{comma}{name}:{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#);
    }
    header.push('}');
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }

    writer.write_all(&(header.len() as u64).to_le_bytes())?;
    writer.write_all(header.as_bytes())?;
    for &i in &by_width {
        writer.write_all(tensors[i].1.bytes())?;
    }
    writer.flush()
}

fn quoted(text: &str) -> io::Result<String> {
    Ok(serde_json::to_string(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, StateDict};

    fn tensors() -> [(&'static str, StoredTensor); 4] {
        [
            ("z \"quoted\"", StoredTensor::new(DType::F16, [3], vec![1; 6]).unwrap()),
            ("scalar", StoredTensor::new(DType::I64, [], vec![2; 8]).unwrap()),
            ("empty", StoredTensor::new(DType::F32, [0, 3], vec![]).unwrap()),
            ("a", StoredTensor::new(DType::F32, [2, 1], vec![3; 8]).unwrap()),
        ]
    }

    fn refs<'a>(tensors: &'a [(&'static str, StoredTensor)]) -> Vec<(&'a str, &'a StoredTensor)> {
        tensors.iter().map(|(name, tensor)| (*name, tensor)).collect()
    }

    #[test]
    fn what_is_written_is_read_back_in_order_and_aligned() {
        let tensors = tensors();
        let metadata = BTreeMap::from([("labels".to_owned(), "[\"ä\"]".to_owned())]);
        let mut bytes = Vec::new();
        write_safetensors_to(&mut bytes, &refs(&tensors), &metadata).unwrap();
        let header = u64::from_le_bytes(*bytes.first_chunk().unwrap());
        assert!(header.is_multiple_of(8));
        assert!(
            String::from_utf8_lossy(&bytes)
                .contains(r#""scalar":{"dtype":"I64","shape":[],"data_offsets":[0,8]}"#)
        );
        let state = StateDict::from_bytes(bytes.clone(), Path::new("written")).unwrap();
        let back: Vec<_> = state.iter().map(|(name, tensor)| (name, tensor.clone())).collect();
        assert_eq!(back, tensors);
        assert_eq!(state.metadata(), &metadata);
        let mut again = Vec::new();
        write_safetensors_to(&mut again, &refs(&tensors), &metadata).unwrap();
        assert_eq!(bytes, again);
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let tensors = tensors();
        let twice = [("a", &tensors[0].1), ("a", &tensors[1].1)];
        assert!(
            write_safetensors(&path, &twice, &BTreeMap::new())
                .unwrap_err()
                .to_string()
                .contains("\"a\" twice")
        );
        assert!(write_safetensors(&path, &[("__metadata__", &tensors[0].1)], &BTreeMap::new()).is_err());
        assert!(!path.exists());
        write_safetensors(&path, &refs(&tensors), &BTreeMap::new()).unwrap();
        assert_eq!(StateDict::open(&path).unwrap().len(), 4);
    }

    /// A disk with room for a number of bytes.
    struct Disk {
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"));
            }
            let written = bytes.len().min(self.room);
            self.room -= written;
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_fills_up_anywhere_is_an_error_and_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        let tensors = tensors();
        let metadata = BTreeMap::new();
        let mut whole = Vec::new();
        write_safetensors_to(&mut whole, &refs(&tensors), &metadata).unwrap();
        std::fs::write(&path, b"old").unwrap();
        for room in 0..whole.len() {
            let error =
                replace_file(&path, |_| write_safetensors_to(&mut Disk { room }, &refs(&tensors), &metadata));
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::StorageFull, "{room} bytes");
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        write_safetensors_to(&mut Disk { room: whole.len() }, &refs(&tensors), &metadata).unwrap();
    }
}
