//! Cached features: content-addressed, checksummed, written atomically.
//!
//! A *space* is everything features depend on besides the image: trunk weights, cut, preprocessing, precision,
//! instruction set, version. It is a folder of segments, each written whole or not at all:
//!
//! ```text
//! magic [8] | d: u32 | n: u32 | n * (key [32], d * f32 or f16) | SHA-256 of all before [32]     little endian
//! ```
//!
//! A segment whose checksum is wrong is removed and its features are computed again, said aloud.

use crate::{Error, Progress};
use half::f16;
use half::slice::HalfFloatSliceExt;
use headstart_models::Home;
use headstart_weights::replace_file;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Features a segment holds at most: what an interrupted run can lose.
const SEGMENT: usize = 256;
/// Bytes after which a segment is written, however few features it holds: those of a cut deep in a network are large.
const SEGMENT_BYTES: usize = 32 << 20;
/// Segments that are open at once.
const OPEN: usize = 128;

/// How cached values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CachePrecision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to f16: half the disk. Runs with and without the cache round alike.
    F16,
}

impl CachePrecision {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            CachePrecision::F32 => 4,
            CachePrecision::F16 => 2,
        }
    }

    fn magic(self) -> &'static [u8; 8] {
        match self {
            CachePrecision::F32 => b"HSFEAT01",
            CachePrecision::F16 => b"HSFEATH1",
        }
    }

    /// Rounds `values` to what is kept of them.
    ///
    /// # Errors
    /// Where a value is beyond f16's largest.
    pub(crate) fn round(self, values: &mut [f32]) -> Result<(), Error> {
        if self == CachePrecision::F16 {
            for value in values {
                let half = f16::from_f32(*value);
                if value.is_finite() && !half.is_finite() {
                    let expected = "f32 for this network: an activation is beyond f16's largest number";
                    return Err(Error::Setting { name: "--cache-precision", found: "f16".into(), expected });
                }
                *value = half.to_f32();
            }
        }
        Ok(())
    }

    fn write(self, values: &[f32], out: &mut Vec<u8>) {
        match self {
            CachePrecision::F32 => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            CachePrecision::F16 => out.extend(values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes())),
        }
    }

    fn read(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            CachePrecision::F32 => out.extend(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
            CachePrecision::F16 => {
                let halves: Vec<f16> = bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b)).collect();
                let at = out.len();
                out.resize(at + halves.len(), 0.0);
                halves.convert_to_f32_slice(&mut out[at..]);
            }
        }
    }
}

/// The key of one image's features in a space: SHA-256 over its bytes and its view.
pub type FeatureKey = [u8; 32];

/// The cached features of one space. What is in memory is the index and the segment that is being filled.
#[derive(Debug)]
pub struct FeatureCache {
    folder: PathBuf,
    dim: usize,
    precision: CachePrecision,
    segments: Vec<PathBuf>,
    places: BTreeMap<FeatureKey, Place>,
    pending: Vec<(FeatureKey, Vec<f32>)>,
    /// Segments that were read from.
    open: BTreeMap<usize, File>,
}

/// Where features are.
#[derive(Debug, Clone, Copy)]
enum Place {
    Segment { segment: usize, entry: usize },
    Pending(usize),
}

const HEAD: usize = 16;

impl FeatureCache {
    /// Opens the space of features of `dim` values that `description` stands for, and checks its segments.
    ///
    /// # Errors
    /// Where the folder cannot be made or read.
    pub fn open(
        home: &Home,
        description: &str,
        dim: usize,
        precision: CachePrecision,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let folder = home.features().join(headstart_models::sha256_hex(description.as_bytes()));
        std::fs::create_dir_all(&folder).map_err(|source| Error::Home { path: folder.clone(), source })?;
        let mut cache = FeatureCache {
            segments: Vec::new(),
            places: BTreeMap::new(),
            pending: Vec::new(),
            open: BTreeMap::new(),
            folder,
            dim,
            precision,
        };
        for path in segments(&cache.folder)? {
            let bytes = match std::fs::read(&path) {
                // Another process has cleared the cache, or removed a damaged segment.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                bytes => bytes.map_err(Error::io("read", &path))?,
            };
            match keys(&bytes, dim, precision) {
                Some(keys) => cache.index(path, keys),
                None => {
                    let damaged =
                        format!("the cached features in {} are damaged: computed again", path.display());
                    progress.note(&damaged);
                    match std::fs::remove_file(&path) {
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        removed => removed.map_err(Error::io("remove", &path))?,
                    }
                }
            }
        }
        Ok(cache)
    }

    fn index(&mut self, path: PathBuf, keys: Vec<FeatureKey>) {
        let segment = self.segments.len();
        self.segments.push(path);
        for (entry, key) in keys.into_iter().enumerate() {
            self.places.insert(key, Place::Segment { segment, entry });
        }
    }

    /// Whether the features of that key are known.
    pub fn contains(&self, key: &FeatureKey) -> bool {
        self.places.contains_key(key)
    }

    /// Appends the features of that key to `out`.
    ///
    /// # Errors
    /// [`Error::CacheLost`] where they are not known, or their segment is not there any more.
    pub fn read(&mut self, key: &FeatureKey, out: &mut Vec<f32>) -> Result<(), Error> {
        let lost = |_| Error::CacheLost { path: self.folder.clone() };
        let (segment, entry) = match self.places.get(key) {
            None => return Err(Error::CacheLost { path: self.folder.clone() }),
            Some(Place::Pending(i)) => {
                out.extend_from_slice(&self.pending[*i].1);
                return Ok(());
            }
            Some(Place::Segment { segment, entry }) => (*segment, *entry),
        };
        let file = match self.open.entry(segment) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(File::open(&self.segments[segment]).map_err(lost)?),
        };
        let size = self.precision.size() * self.dim;
        let mut bytes = vec![0; size];
        let at = (HEAD + entry * (32 + size) + 32) as u64;
        let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(lost)?;
        self.precision.read(&bytes, out);
        if self.open.len() > OPEN {
            let other = self.open.keys().find(|&&s| s != segment).copied();
            other.and_then(|s| self.open.remove(&s));
        }
        Ok(())
    }

    /// Adds features; now and then a segment is written.
    ///
    /// # Errors
    /// Where a segment cannot be written, or a value cannot be kept in the cache's precision.
    pub fn insert(&mut self, key: FeatureKey, mut features: Vec<f32>) -> Result<(), Error> {
        debug_assert_eq!(features.len(), self.dim);
        if !self.contains(&key) {
            self.precision.round(&mut features)?;
            self.places.insert(key, Place::Pending(self.pending.len()));
            self.pending.push((key, features));
        }
        let full = SEGMENT.min(SEGMENT_BYTES / (self.precision.size() * self.dim).max(1)).max(1);
        if self.pending.len() >= full { self.flush() } else { Ok(()) }
    }

    /// Writes what is not on disk yet.
    ///
    /// # Errors
    /// Where the segment cannot be written; nothing is left half-written.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut body = self.precision.magic().to_vec();
        body.extend((self.dim as u32).to_le_bytes());
        body.extend((self.pending.len() as u32).to_le_bytes());
        for (key, features) in &self.pending {
            body.extend(key);
            self.precision.write(features, &mut body);
        }
        let sum = Sha256::digest(&body);
        body.extend(&sum[..]);
        let name: String = sum[..16].iter().map(|b| format!("{b:02x}")).collect();
        let path = self.folder.join(format!("{name}.segment"));
        replace_file(&path, |w| w.write_all(&body)).map_err(Error::io("write", &path))?;
        let keys = std::mem::take(&mut self.pending).into_iter().map(|(key, _)| key).collect();
        self.index(path, keys);
        Ok(())
    }
}

/// The keys of a segment, if it is whole.
fn keys(bytes: &[u8], expected_dim: usize, precision: CachePrecision) -> Option<Vec<FeatureKey>> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    let (head, entries) = body.split_at_checked(HEAD)?;
    let number = |at: usize| head[at..at + 4].iter().rev().fold(0usize, |n, &b| n << 8 | usize::from(b));
    let (dim, count) = (number(8), number(12));
    let size = 32 + precision.size() * dim;
    let whole = head[..8] == *precision.magic()
        && dim == expected_dim
        && Some(entries.len()) == count.checked_mul(size)
        && Sha256::digest(body)[..] == *sum;
    whole.then(|| entries.chunks_exact(size).filter_map(|e| e.first_chunk::<32>().copied()).collect())
}

fn segments(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if path.extension().is_some_and(|e| e == "segment") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What the cache holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheInfo {
    /// Its folder.
    pub path: PathBuf,
    /// Combinations of network, cut and preprocessing.
    pub spaces: usize,
    /// Segments.
    pub segments: usize,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Looks at the cache of `home`.
///
/// # Errors
/// Where it cannot be read.
pub fn cache_info(home: &Home) -> Result<CacheInfo, Error> {
    let path = home.features();
    let mut info = CacheInfo { path: path.clone(), spaces: 0, segments: 0, bytes: 0 };
    if !path.is_dir() {
        return Ok(info);
    }
    for space in std::fs::read_dir(&path).map_err(Error::io("read", &path))? {
        let space = space.map_err(Error::io("read", &path))?.path();
        if !space.is_dir() {
            continue;
        }
        info.spaces += 1;
        for segment in segments(&space)? {
            info.segments += 1;
            info.bytes += std::fs::metadata(&segment).map_err(Error::io("read", &segment))?.len();
        }
    }
    Ok(info)
}

/// Removes all cached features; returns what there was.
///
/// # Errors
/// Where they cannot be removed.
pub fn cache_clear(home: &Home) -> Result<CacheInfo, Error> {
    let info = cache_info(home)?;
    if info.path.is_dir() {
        std::fs::remove_dir_all(&info.path).map_err(Error::io("remove", &info.path))?;
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;

    #[test]
    fn features_come_back_and_a_damaged_segment_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        let open = |space| FeatureCache::open(&home, space, 2, CachePrecision::F32, &Quiet).unwrap();
        let read = |cache: &mut FeatureCache, key| {
            let mut out = Vec::new();
            cache.read(&key, &mut out).ok().map(|()| out)
        };
        let mut cache = open("a space");
        cache.insert([1; 32], vec![1.0, 2.0]).unwrap();
        cache.insert([2; 32], vec![f32::MIN_POSITIVE, -0.0]).unwrap();
        cache.insert([2; 32], vec![9.0, 9.0]).unwrap();
        assert_eq!(read(&mut cache, [2; 32]), Some(vec![f32::MIN_POSITIVE, -0.0]));
        cache.flush().unwrap();
        for mut cache in [cache, open("a space")] {
            assert_eq!(read(&mut cache, [2; 32]), Some(vec![f32::MIN_POSITIVE, -0.0]));
            assert_eq!(read(&mut cache, [1; 32]), Some(vec![1.0, 2.0]));
            assert_eq!(read(&mut cache, [3; 32]), None);
        }
        assert!(!open("another space").contains(&[1; 32]));
        assert_eq!(cache_info(&home).unwrap().segments, 1);

        let segment = &segments(&open("a space").folder).unwrap()[0];
        let whole = std::fs::read(segment).unwrap();
        for i in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[i] ^= 1;
            std::fs::write(segment, &bytes).unwrap();
            assert!(!open("a space").contains(&[1; 32]), "byte {i}");
            assert!(!segment.exists(), "a damaged segment is removed");
        }
        std::fs::write(segment, &whole[..whole.len() - 1]).unwrap();
        assert!(!open("a space").contains(&[1; 32]));
        assert_eq!(cache_clear(&home).unwrap().spaces, 2);
        assert_eq!(cache_info(&home).unwrap().spaces, 0);
    }

    #[test]
    fn halves_are_rounded_alike_before_and_after_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        let open = |precision| FeatureCache::open(&home, "a space", 3, precision, &Quiet).unwrap();
        let read = |cache: &mut FeatureCache| {
            let mut out = Vec::new();
            cache.read(&[1; 32], &mut out).unwrap();
            out
        };
        let mut cache = open(CachePrecision::F16);
        cache.insert([1; 32], vec![0.1, -65504.0, 1e-9]).unwrap();
        let expected = vec![0.099_975_586, -65504.0, 0.0];
        assert_eq!(read(&mut cache), expected);
        cache.flush().unwrap();
        assert_eq!(read(&mut cache), expected);
        assert_eq!(read(&mut open(CachePrecision::F16)), expected);
        let error = cache.insert([2; 32], vec![7e4, 0.0, 0.0]).unwrap_err().to_string();
        assert!(error.starts_with("--cache-precision is f16"), "{error}");
        assert!(!cache.contains(&[2; 32]));
        // The same folder read as f32 holds nothing.
        assert!(!open(CachePrecision::F32).contains(&[1; 32]));
    }

    #[test]
    fn more_segments_than_are_kept_open_are_all_read() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        let mut cache = FeatureCache::open(&home, "s", 1, CachePrecision::F32, &Quiet).unwrap();
        let key = |i: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&i.to_le_bytes());
            key
        };
        for i in 0..OPEN + 20 {
            cache.insert(key(i), vec![i as f32]).unwrap();
            cache.flush().unwrap();
        }
        for i in (0..OPEN + 20).rev().chain(0..OPEN + 20) {
            let mut out = Vec::new();
            cache.read(&key(i), &mut out).unwrap();
            assert_eq!(out, [i as f32]);
        }
        assert!(cache.open.len() <= OPEN);
    }
}
