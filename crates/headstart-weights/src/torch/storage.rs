//! Storages: the untyped bytes that tensors view, by key.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headstart_pickle::Value;

use crate::source::Source;
use crate::{DType, WeightsError};

/// A persistent id: `("storage", torch.FloatStorage, key, location, numel)`, in the legacy format with a view behind.
pub(crate) struct StorageId<'p> {
    pub(crate) dtype: DType,
    pub(crate) key: &'p str,
    /// Elements of the whole storage.
    pub(crate) numel: usize,
    /// Offset and length, in elements, of the part that is meant.
    pub(crate) view: Option<(usize, usize)>,
}

impl<'p> StorageId<'p> {
    /// `None` where `id` is not of that form.
    pub(crate) fn parse(id: Value<'p>) -> Option<Self> {
        let id = id.tuple()?;
        let Value::Global(class) = id.get(1)? else { return None };
        if id.get(0)?.text() != Some("storage") || class.module != "torch" || id.len() > 6 {
            return None;
        }
        let view = match id.get(5) {
            None | Some(Value::None) => None,
            Some(view) => {
                let view = view.tuple().filter(|v| v.len() == 3)?;
                Some((view.get(1)?.size()?, view.get(2)?.size()?))
            }
        };
        let dtype = DType::from_storage_class(class.name)?;
        Some(StorageId { dtype, key: id.get(2)?.text()?, numel: id.get(4)?.size()?, view })
    }
}

/// Where the bytes of a storage lie in the file.
pub(crate) struct Extent {
    pub(crate) range: Range<usize>,
    /// The checksum that the archive holds, until it was compared.
    pub(crate) crc: Option<u32>,
}

/// The storages of one file.
pub(crate) struct Storages {
    pub(crate) file: PathBuf,
    pub(crate) source: Arc<Source>,
    pub(crate) extents: BTreeMap<String, Extent>,
}

impl Storages {
    pub(crate) fn new(source: &Arc<Source>, file: &Path) -> Self {
        Storages { file: file.to_owned(), source: Arc::clone(source), extents: BTreeMap::new() }
    }

    /// The bytes that `id` stands for, as a range of the source: its size and checksum are checked.
    pub(crate) fn find(&mut self, id: &StorageId<'_>) -> Result<Range<usize>, WeightsError> {
        let damaged = |expected: String, found: String| WeightsError::Damaged {
            file: self.file.clone(),
            part: format!("storage {:?}", id.key),
            expected,
            found,
        };
        let Some(extent) = self.extents.get_mut(id.key) else {
            return Err(damaged("its bytes in the file".to_owned(), "none".to_owned()));
        };
        let range = extent.range.clone();
        if id.numel.checked_mul(id.dtype.size()) != Some(range.len()) {
            let expected = format!("{} elements of {}", id.numel, id.dtype);
            return Err(damaged(expected, format!("{} bytes", range.len())));
        }
        if let Some(expected) = extent.crc.take() {
            let found = crc32fast::hash(self.source.bytes().get(range.clone()).unwrap_or_default());
            if found != expected {
                return Err(damaged(format!("checksum {expected:08x}"), format!("{found:08x}")));
            }
        }
        let Some((offset, len)) = id.view else { return Ok(range) };
        // Both products fit: they are at most `numel` elements, whose bytes were counted above.
        match offset.checked_add(len) {
            Some(end) if end <= id.numel => {
                let start = range.start + offset * id.dtype.size();
                Ok(start..start + len * id.dtype.size())
            }
            _ => Err(damaged(
                format!("a view within {} elements", id.numel),
                format!("{offset} and {len} more"),
            )),
        }
    }
}
