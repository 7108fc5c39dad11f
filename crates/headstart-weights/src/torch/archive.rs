//! The zip archive of `torch.save` since PyTorch 1.6: `<name>/data.pkl` and `<name>/data/<key>`.
//!
//! Entries are stored, so that the storages are read where they lie. The central directory is what counts; local
//! headers must agree with it, and no two entries may overlap.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::rebuild::Rebuilder;
use super::storage::{Extent, Storages};
use super::{Contents, checkpoint, unpickle};
use crate::WeightsError;
use crate::source::Source;

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";
const END64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR64: [u8; 4] = *b"PK\x06\x07";
/// Bytes of the end record without its comment, and of the locator before it.
const END_LEN: usize = 22;
const LOCATOR_LEN: usize = 20;

/// True where `bytes` start as a zip archive does.
pub(crate) fn looks_like_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(&LOCAL) || bytes.starts_with(&END)
}

/// Reads the state dict of a zip file.
pub(crate) fn read_zip(
    source: &Arc<Source>,
    file: &Path,
    key: Option<&str>,
) -> Result<Contents, WeightsError> {
    let archive = Archive { bytes: source.bytes(), file };
    let mut entries = archive.entries()?;
    let names: Vec<_> = entries.keys().filter(|name| name.ends_with("/data.pkl")).cloned().collect();
    let [pickle_name] = names.as_slice() else {
        let found = format!("a zip archive with {} entries named data.pkl", names.len());
        return Err(WeightsError::UnknownFormat { file: file.to_owned(), found });
    };
    let folder = pickle_name.trim_end_matches("data.pkl");
    let is_code = |name: &String| {
        name.strip_prefix(folder).is_some_and(|rest| rest == "constants.pkl" || rest.starts_with("code/"))
    };
    if entries.keys().any(is_code) {
        return Err(WeightsError::TorchScript { file: file.to_owned() });
    }
    if let Some(order) = entries.get(&format!("{folder}byteorder")) {
        let order = archive.bytes.get(order.range.clone()).unwrap_or_default();
        if order != b"little" {
            let found = order.escape_ascii().take(20).map(char::from).collect();
            return Err(archive.damaged("the byte order", "little", found));
        }
    }
    let Some(pickle) = entries.remove(pickle_name) else { return Err(archive.cut("the entry data.pkl")) };
    let bytes = archive.bytes.get(pickle.range).unwrap_or_default();
    let found = crc32fast::hash(bytes);
    if pickle.crc.is_some_and(|expected| expected != found) {
        return Err(archive.damaged(pickle_name, "the checksum of the archive", format!("{found:08x}")));
    }
    let object = unpickle(bytes, 0, file)?;
    if object.end() != bytes.len() {
        let found = format!("{} bytes behind it", bytes.len() - object.end());
        return Err(archive.damaged(pickle_name, "one pickle", found));
    }
    let mut storages = Storages::new(source, file);
    let prefix = format!("{folder}data/");
    for (name, extent) in entries {
        if let Some(key) = name.strip_prefix(&prefix) {
            storages.extents.insert(key.to_owned(), extent);
        }
    }
    checkpoint::take(object.root(), key, &mut Rebuilder::new(storages), file)
}

struct Archive<'a> {
    bytes: &'a [u8],
    file: &'a Path,
}

/// The central directory.
struct Directory {
    range: Range<usize>,
    entries: u64,
}

impl Archive<'_> {
    /// The entries by name, each with its bytes in the file.
    fn entries(&self) -> Result<BTreeMap<String, Extent>, WeightsError> {
        let directory = self.directory()?;
        let mut entries = BTreeMap::new();
        let mut spans = Vec::new();
        let mut at = directory.range.start;
        while at < directory.range.end {
            let (name, extent, header, next) = self.entry(at, &directory)?;
            spans.push((header, extent.range.end));
            if entries.insert(name.clone(), extent).is_some() {
                return Err(WeightsError::DuplicateName { file: self.file.to_owned(), name });
            }
            at = next;
        }
        if at != directory.range.end || entries.len() as u64 != directory.entries {
            let found = format!("{} entries up to byte {at}", entries.len());
            let expected = format!("{} entries up to byte {}", directory.entries, directory.range.end);
            return Err(self.damaged("the central directory", &expected, found));
        }
        spans.sort_unstable();
        if let Some(pair) = spans.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            let found = format!("two that share byte {}", pair[1].0);
            return Err(self.damaged("the entries", "each its own bytes", found));
        }
        Ok(entries)
    }

    fn directory(&self) -> Result<Directory, WeightsError> {
        let bytes = self.bytes;
        let last = bytes.len().checked_sub(END_LEN).ok_or_else(|| self.cut("the end record"))?;
        let is_end = |&at: &usize| {
            self.u32(at) == Some(u32::from_le_bytes(END))
                && self.u16(at + 20).map(|comment| at + END_LEN + usize::from(comment)) == Some(bytes.len())
        };
        let first = last.saturating_sub(usize::from(u16::MAX));
        let end = (first..=last).rev().find(is_end).ok_or_else(|| self.cut("the end record"))?;
        let field = |offset| self.u32(end + offset).map(u64::from);
        let entries = self.u16(end + 10).map(u64::from);
        let locator = end.checked_sub(LOCATOR_LEN).filter(|&at| bytes[at..].starts_with(&LOCATOR64));
        let (entries, size, start, stop) = match locator {
            None => (entries, field(12), field(16), end),
            Some(locator) => {
                let end64 = self.u64(locator + 8).and_then(|at| usize::try_from(at).ok());
                let end64 = end64
                    .filter(|&at| at < locator && bytes[at..].starts_with(&END64))
                    .ok_or_else(|| self.cut("the zip64 end record"))?;
                let wide = |offset| self.u64(end64 + offset);
                let agree = |narrow: Option<u64>, wide: Option<u64>, all_ones: u64| {
                    narrow == Some(all_ones) || narrow == wide
                };
                if !agree(entries, wide(32), u64::from(u16::MAX))
                    || !agree(field(12), wide(40), u64::from(u32::MAX))
                    || !agree(field(16), wide(48), u64::from(u32::MAX))
                {
                    let found = "another".to_owned();
                    return Err(self.damaged(
                        "the zip64 end record",
                        "the directory of the end record",
                        found,
                    ));
                }
                (wide(32), wide(40), wide(48), end64)
            }
        };
        let (Some(entries), Some(size), Some(start)) = (entries, size, start) else {
            return Err(self.cut("the end record"));
        };
        if start.checked_add(size) != Some(stop as u64) {
            let found = format!("{size} bytes at {start}");
            return Err(self.damaged("the central directory", &format!("an end at byte {stop}"), found));
        }
        // Both are at most `stop`, a place in the file.
        Ok(Directory { range: start as usize..stop, entries })
    }

    /// The entry whose central record is at `at`: name, bytes, start of its local header, and the next record.
    fn entry(
        &self,
        at: usize,
        directory: &Directory,
    ) -> Result<(String, Extent, usize, usize), WeightsError> {
        let record = || self.cut("a record of the central directory");
        let fields = self.bytes.get(at..at + 46).filter(|f| f.starts_with(&CENTRAL)).ok_or_else(record)?;
        let u16_at = |i: usize| u16::from_le_bytes([fields[i], fields[i + 1]]);
        let u32_at = |i: usize| u32::from_le_bytes([fields[i], fields[i + 1], fields[i + 2], fields[i + 3]]);
        let (flags, method, crc) = (u16_at(8), u16_at(10), u32_at(16));
        let name_end = at + 46 + usize::from(u16_at(28));
        let extra_end = name_end + usize::from(u16_at(30));
        let next = extra_end + usize::from(u16_at(32));
        if next > directory.range.end {
            return Err(record());
        }
        let name = self.bytes.get(at + 46..name_end).unwrap_or_default();
        let extra = self.bytes.get(name_end..extra_end).unwrap_or_default();
        let entry = String::from_utf8_lossy(name).into_owned();

        let not_stored = |found: String| WeightsError::NotStored {
            file: self.file.to_owned(),
            entry: entry.clone(),
            found,
        };
        if flags & 0x2041 != 0 {
            return Err(not_stored("encrypted".to_owned()));
        }
        if method != 0 && entry.split('/').nth(1) == Some("code") {
            return Err(WeightsError::TorchScript { file: self.file.to_owned() });
        }
        if method != 0 {
            return Err(not_stored(format!("compressed (method {method})")));
        }
        let [size, stored, header] = Self::wide_fields([24, 20, 42].map(u32_at), extra).ok_or_else(record)?;
        let part = format!("entry {entry:?}");
        if stored != size {
            let expected = format!("{size} bytes, its size");
            return Err(self.damaged(&part, &expected, format!("{stored} stored")));
        }
        let local = usize::try_from(header).ok().and_then(|start| {
            let local = self.bytes.get(start..directory.range.start)?.first_chunk::<30>()?;
            (local.starts_with(&LOCAL)).then_some((start, local))
        });
        let Some((start, local)) = local else {
            return Err(self.damaged(&part, "a local header", format!("none at byte {header}")));
        };
        let local_u16 = |i: usize| u16::from_le_bytes([local[i], local[i + 1]]);
        let local_name = start + 30..start + 30 + usize::from(local_u16(26));
        let data = local_name.end + usize::from(local_u16(28));
        let same = self.bytes.get(local_name) == Some(name) && local_u16(8) == 0 && local_u16(6) == flags;
        if !same {
            let found = "another name, method or flag".to_owned();
            return Err(self.damaged(&part, "a local header that agrees", found));
        }
        let end = usize::try_from(size).ok().and_then(|size| data.checked_add(size));
        match end.filter(|&end| end <= directory.range.start) {
            Some(end) => Ok((entry, Extent { range: data..end, crc: Some(crc) }, start, next)),
            None => {
                let expected = format!("at most {} bytes", directory.range.start.saturating_sub(data));
                Err(self.damaged(&part, &expected, size.to_string()))
            }
        }
    }

    /// The fields of a central record that zip64 widens, in the order of its extra field: size, stored size, offset.
    fn wide_fields(narrow: [u32; 3], mut extra: &[u8]) -> Option<[u64; 3]> {
        let mut wide: &[u8] = &[];
        while let Some((head, rest)) = extra.split_first_chunk::<4>() {
            let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
            let (body, rest) = rest.split_at_checked(length)?;
            if head.starts_with(&[1, 0]) {
                wide = body;
            }
            extra = rest;
        }
        let mut out = [0; 3];
        for (value, narrow) in out.iter_mut().zip(narrow) {
            *value = u64::from(narrow);
            if narrow == u32::MAX {
                let (field, rest) = wide.split_first_chunk()?;
                *value = u64::from_le_bytes(*field);
                wide = rest;
            }
        }
        Some(out)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    fn damaged(&self, part: &str, expected: &str, found: String) -> WeightsError {
        let (file, part) = (self.file.to_owned(), part.to_owned());
        WeightsError::Damaged { file, part, expected: expected.to_owned(), found }
    }

    fn cut(&self, part: &str) -> WeightsError {
        self.damaged(part, "a zip archive that is complete", format!("none in {} bytes", self.bytes.len()))
    }
}
