//! One image of the data: its name and where its bytes lie, not its pixels.
//!
//! Pictures are cheap to clone and to send to another thread; whoever wants pixels decodes them there.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{ImageError, RgbImage, image};

/// An image with a label: a position in [`Dataset::classes`](crate::Dataset::classes).
#[derive(Debug, Clone)]
pub struct Item {
    /// The image.
    pub picture: Picture,
    /// The position of its class.
    pub label: usize,
}

/// An image of the data, not read yet.
#[derive(Clone)]
pub struct Picture {
    path: String,
    source: Source,
}

#[derive(Clone)]
enum Source {
    /// An encoded image in a file.
    File(PathBuf),
    /// An encoded image in memory.
    Memory(Arc<[u8]>),
    /// Planes of red, green and blue in a CIFAR batch, `SIDE * SIDE` bytes each.
    Planes { batch: Arc<[u8]>, offset: usize },
}

/// Width and height of a CIFAR image.
const SIDE: usize = 32;
/// Bytes of a CIFAR image.
pub(crate) const PLANES: usize = 3 * SIDE * SIDE;

/// Larger than an uncompressed image of the most pixels that are read, in 16-bit RGBA.
const MAX_FILE: u64 = 1 << 30;

impl Picture {
    /// The image in `file`, called `path` towards people.
    pub fn from_file(path: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        Picture { path: path.into(), source: Source::File(file.into()) }
    }

    /// The encoded image `bytes`, called `path` towards people (standard input, a request).
    pub fn from_bytes(path: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        Picture { path: path.into(), source: Source::Memory(bytes.into()) }
    }

    /// The CIFAR image at `offset` of `batch`; `None` where the batch ends before it.
    pub(crate) fn from_planes(path: String, batch: &Arc<[u8]>, offset: usize) -> Option<Self> {
        batch.get(offset..offset.checked_add(PLANES)?)?;
        Some(Picture { path, source: Source::Planes { batch: Arc::clone(batch), offset } })
    }

    /// The name shown to people: relative to the data root, with `/` on every platform.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The file that holds this image alone, where there is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.source {
            Source::File(file) => Some(file),
            Source::Memory(_) | Source::Planes { .. } => None,
        }
    }

    /// The content that stands for the image, for hashing: the encoded file, or the raw planes of a CIFAR record.
    ///
    /// # Errors
    ///
    /// [`ImageError::Io`] where the file cannot be read, [`ImageError::FileTooLarge`] above 1 GiB.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>, ImageError> {
        match &self.source {
            Source::File(file) => read(file).map(Cow::Owned),
            Source::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Source::Planes { batch, offset } => {
                Ok(Cow::Borrowed(batch.get(*offset..offset + PLANES).unwrap_or_default()))
            }
        }
    }

    /// Reads and decodes the image.
    ///
    /// # Errors
    ///
    /// Those of [`Picture::bytes`] and [`image::decode`].
    pub fn decode(&self) -> Result<RgbImage, ImageError> {
        self.decode_bytes(&self.bytes()?)
    }

    /// Decodes what [`Picture::bytes`] gave, for callers that hash the same bytes.
    ///
    /// # Errors
    ///
    /// Those of [`image::decode`].
    pub fn decode_bytes(&self, bytes: &[u8]) -> Result<RgbImage, ImageError> {
        self.decode_with(bytes, image::decode)
    }

    /// The image with at most `side` pixels on its longer side, to be looked at: JPEG files are decoded at a fraction of
    /// their size where that is enough.
    ///
    /// # Errors
    ///
    /// Those of [`Picture::decode`].
    pub fn thumbnail(&self, side: usize) -> Result<RgbImage, ImageError> {
        let image = self.decode_with(&self.bytes()?, |bytes| image::decode_scaled(bytes, side))?;
        Ok(image.thumbnail(side))
    }

    /// As [`Picture::decode_bytes`], with `decoder` for an encoded image.
    pub(crate) fn decode_with(
        &self,
        bytes: &[u8],
        decoder: impl FnOnce(&[u8]) -> Result<RgbImage, ImageError>,
    ) -> Result<RgbImage, ImageError> {
        if !matches!(self.source, Source::Planes { .. }) {
            return decoder(bytes);
        }
        if bytes.len() != PLANES {
            return Err(ImageError::Truncated { format: "CIFAR" });
        }
        let pixels = (0..SIDE * SIDE).flat_map(|i| [0, 1, 2].map(|c| bytes[c * SIDE * SIDE + i])).collect();
        Ok(RgbImage { width: SIDE, height: SIDE, pixels })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, ImageError> {
    let unreadable = |error: std::io::Error| ImageError::Io { detail: error.to_string() };
    let opened = File::open(file).map_err(unreadable)?;
    let bytes = opened.metadata().map_err(unreadable)?.len();
    if bytes > MAX_FILE {
        return Err(ImageError::FileTooLarge { bytes });
    }
    let mut content = Vec::with_capacity(bytes as usize);
    opened.take(MAX_FILE).read_to_end(&mut content).map_err(unreadable)?;
    Ok(content)
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Picture").field(&self.path).finish()
    }
}
