//! Cached features: content-addressed, checksummed, written atomically.
//!
//! A *space* is everything features depend on besides the image: trunk weights, cut, preprocessing, precision,
//! instruction set, version. It is a folder of segments, each written whole or not at all:
//!
//! ```text
//! magic [8] | d: u32 | n: u32 | n * (key [32], d * f32) | SHA-256 of all before [32]     little endian
//! ```
//!
//! A segment whose checksum is wrong is removed and its features are computed again, said aloud.

use crate::{Error, Progress};
use headstart_models::Home;
use headstart_weights::replace_file;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"HSFEAT01";
/// Features a segment holds at most: what an interrupted run can lose.
const SEGMENT: usize = 256;

/// The key of one image's features in a space: SHA-256 over its bytes and its view.
pub type FeatureKey = [u8; 32];

/// The cached features of one space.
#[derive(Debug)]
pub struct FeatureCache {
    folder: PathBuf,
    dim: usize,
    known: BTreeMap<FeatureKey, Vec<f32>>,
    pending: Vec<FeatureKey>,
}

impl FeatureCache {
    /// Opens the space of features of `dim` values that `description` stands for.
    ///
    /// # Errors
    /// Where the folder cannot be made or read.
    pub fn open(home: &Home, description: &str, dim: usize, progress: &dyn Progress) -> Result<Self, Error> {
        let folder = home.features().join(headstart_models::sha256_hex(description.as_bytes()));
        std::fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
        let mut cache = FeatureCache { folder, dim, known: BTreeMap::new(), pending: Vec::new() };
        for path in segments(&cache.folder)? {
            let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
            if cache.take(&bytes).is_none() {
                progress
                    .note(&format!("the cached features in {} are damaged: computed again", path.display()));
                std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(cache)
    }

    /// Adds a segment's features, if it is whole.
    fn take(&mut self, bytes: &[u8]) -> Option<()> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        let (head, entries) = body.split_at_checked(16)?;
        let number = |at: usize| head[at..at + 4].iter().rev().fold(0usize, |n, &b| n << 8 | usize::from(b));
        let (dim, count) = (number(8), number(12));
        let size = 32 + 4 * dim;
        let whole = head[..8] == *MAGIC
            && dim == self.dim
            && Some(entries.len()) == count.checked_mul(size)
            && Sha256::digest(body)[..] == *sum;
        if !whole {
            return None;
        }
        for entry in entries.chunks_exact(size) {
            let (key, values) = entry.split_first_chunk::<32>()?;
            self.known.insert(*key, values.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect());
        }
        Some(())
    }

    /// The features of that key, where they are known.
    pub fn get(&self, key: &FeatureKey) -> Option<&[f32]> {
        self.known.get(key).map(Vec::as_slice)
    }

    /// Adds features; now and then a segment is written.
    ///
    /// # Errors
    /// Where a segment cannot be written.
    pub fn insert(&mut self, key: FeatureKey, features: Vec<f32>) -> Result<(), Error> {
        debug_assert_eq!(features.len(), self.dim);
        if self.known.insert(key, features).is_none() {
            self.pending.push(key);
        }
        if self.pending.len() >= SEGMENT { self.flush() } else { Ok(()) }
    }

    /// Writes what is not on disk yet.
    ///
    /// # Errors
    /// Where the segment cannot be written; nothing is left half-written.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut body = MAGIC.to_vec();
        body.extend((self.dim as u32).to_le_bytes());
        body.extend((self.pending.len() as u32).to_le_bytes());
        for key in &self.pending {
            body.extend(key);
            body.extend(self.known[key].iter().flat_map(|v| v.to_le_bytes()));
        }
        let sum = Sha256::digest(&body);
        body.extend(&sum[..]);
        let name: String = sum[..16].iter().map(|b| format!("{b:02x}")).collect();
        let path = self.folder.join(format!("{name}.segment"));
        replace_file(&path, |w| w.write_all(&body)).map_err(Error::io("write", &path))?;
        self.pending.clear();
        Ok(())
    }
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
        let open = || FeatureCache::open(&home, "a space", 2, &Quiet).unwrap();
        let mut cache = open();
        cache.insert([1; 32], vec![1.0, 2.0]).unwrap();
        cache.insert([2; 32], vec![f32::MIN_POSITIVE, -0.0]).unwrap();
        cache.flush().unwrap();
        assert_eq!(open().get(&[1; 32]), Some(&[1.0, 2.0][..]));
        assert!(FeatureCache::open(&home, "another space", 2, &Quiet).unwrap().get(&[1; 32]).is_none());
        assert_eq!(cache_info(&home).unwrap().segments, 1);

        let segment = &segments(&cache.folder).unwrap()[0];
        let whole = std::fs::read(segment).unwrap();
        for i in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[i] ^= 1;
            std::fs::write(segment, &bytes).unwrap();
            assert!(open().get(&[1; 32]).is_none(), "byte {i}");
            assert!(!segment.exists(), "a damaged segment is removed");
        }
        std::fs::write(segment, &whole[..whole.len() - 1]).unwrap();
        assert!(open().get(&[1; 32]).is_none());
        assert_eq!(cache_clear(&home).unwrap().spaces, 2);
        assert_eq!(cache_info(&home).unwrap().spaces, 0);
    }
}
