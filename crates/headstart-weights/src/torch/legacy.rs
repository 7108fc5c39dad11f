//! The format of `torch.save` before PyTorch 1.6.
//!
//! ```text
//! pickle: magic number | pickle: 1001 | pickle: system | pickle: the object | pickle: [storage keys]
//! then for each key in that order: u64 elements | their bytes
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headstart_pickle::Value;

use super::rebuild::Rebuilder;
use super::storage::{Extent, StorageId, Storages};
use super::{Contents, checkpoint, unpickle};
use crate::WeightsError;
use crate::source::Source;

/// 0x1950a86a20f9469cfc6c, little endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

/// True where `bytes` start with protocol 2 and a ten-byte integer.
pub(crate) fn looks_like_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x80, 0x02, 0x8a, 0x0a])
}

/// Reads the state dict of a legacy file.
pub(crate) fn read_legacy(
    source: &Arc<Source>,
    file: &Path,
    key: Option<&str>,
) -> Result<Contents, WeightsError> {
    let bytes = source.bytes();
    let damaged = |part: &str, expected: &str, found: String| WeightsError::Damaged {
        file: file.to_owned(),
        part: part.to_owned(),
        expected: expected.to_owned(),
        found,
    };
    let magic = unpickle(bytes, 0, file)?;
    if !matches!(magic.root(), Value::Long(n) if n == MAGIC) {
        return Err(damaged("the magic number", "PyTorch's", "another".to_owned()));
    }
    let version = unpickle(bytes, magic.end(), file)?;
    if !matches!(version.root(), Value::Int(VERSION)) {
        return Err(damaged("the protocol version", "1001", format!("{:?}", version.root())));
    }
    let system = unpickle(bytes, version.end(), file)?;
    let little = match system.root() {
        Value::Dict(system) => system.get("little_endian"),
        _ => None,
    };
    if !matches!(little, Some(Value::Bool(true))) {
        return Err(damaged("the byte order", "little endian", "another".to_owned()));
    }
    let object = unpickle(bytes, system.end(), file)?;
    let list = unpickle(bytes, object.end(), file)?;
    let Value::List(keys) = list.root() else {
        return Err(damaged("the storage keys", "a list", list.root().kind().to_owned()));
    };

    let mut declared = BTreeMap::new();
    for id in object.persistent_ids() {
        let Some(id) = StorageId::parse(id) else {
            return Err(damaged("a persistent id", "a storage of a known type", id.kind().to_owned()));
        };
        let size = id.dtype.size();
        if declared.insert(id.key, size).is_some_and(|before| before != size) {
            let found = "two".to_owned();
            return Err(damaged(&format!("storage {:?}", id.key), "one element size", found));
        }
    }
    let mut storages = Storages::new(source, file);
    let mut at = list.end();
    for key in keys.iter() {
        let name = key.text().unwrap_or_default();
        let part = format!("storage {name:?}");
        let Some(size) = declared.remove(name) else {
            return Err(damaged(
                &part,
                "a tensor that uses it, and one place in the list",
                "none".to_owned(),
            ));
        };
        let rest = bytes.get(at..).unwrap_or_default();
        let length = rest.first_chunk().and_then(|n| usize::try_from(u64::from_le_bytes(*n)).ok());
        let end = length.and_then(|n| n.checked_mul(size)?.checked_add(at + 8));
        match end.filter(|&end| end <= bytes.len()) {
            Some(end) => {
                storages.extents.insert(name.to_owned(), Extent { range: at + 8..end, crc: None });
                at = end;
            }
            None => {
                let expected = match length {
                    Some(n) => format!("{n} elements of {size} bytes"),
                    None => "its length".to_owned(),
                };
                return Err(damaged(&part, &expected, format!("{} bytes left in the file", rest.len())));
            }
        }
    }
    if at != bytes.len() {
        let found = format!("{} bytes behind it", bytes.len() - at);
        return Err(damaged("the last storage", "the end of the file", found));
    }
    checkpoint::take(object.root(), key, &mut Rebuilder::new(storages), file)
}
