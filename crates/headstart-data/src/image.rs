//! Bytes to red, green and blue: told by content, upright, within limits, whole or not at all.

mod encode;
mod format;
mod jpeg;
mod raster;

use std::fmt;

use ::image::DynamicImage;
use ::image::metadata::Orientation;

use self::format::Format;

/// Images of more pixels are refused from their header.
pub const MAX_PIXELS: u64 = 100_000_000;

/// An upright image, and how its file had it lie.
pub(crate) type Decoded = (RgbImage, Orientation);

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
    #[error("this {format} {detail} is not supported: convert it to PNG or JPEG")]
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
/// EXIF orientation is applied, as with Pillow's `ImageOps.exif_transpose`. JPEG pixels are those of
/// libjpeg-turbo, bit for bit.
///
/// # Errors
///
/// [`ImageError`]: an image comes out whole or not at all.
pub fn decode(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    decode_as(bytes, None).map(|(image, _)| image)
}

/// As [`decode`], but JPEG files at the smallest of the scales 1, 1/2, 1/4 and 1/8 that leaves `shorter` pixels on the
/// shorter side: fewer frequencies are transformed back, which is faster and gives other pixels than a resize.
/// They are those of Pillow's `Image.draft`, bit for bit.
///
/// # Errors
///
/// Those of [`decode`].
pub fn decode_scaled(bytes: &[u8], shorter: usize) -> Result<RgbImage, ImageError> {
    decode_as(bytes, Some(shorter.max(1))).map(|(image, _)| image)
}

/// As [`decode`] or, where `shorter` is given, [`decode_scaled`]; says too what EXIF asked for.
pub(crate) fn decode_as(bytes: &[u8], shorter: Option<usize>) -> Result<Decoded, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    match Format::of(bytes) {
        Some(Format::Jpeg) => contained("JPEG", || jpeg::decode(bytes, shorter)),
        Some(Format::Raster(format)) => contained("raster", || raster::decode(bytes, format)),
        Some(Format::Foreign(format)) => Err(ImageError::Unsupported { format, detail: "image".to_owned() }),
        None => Err(ImageError::NotAnImage { starts_with: format::first_bytes(bytes) }),
    }
}

/// Runs a decoder so that a panic of its own spoils one file, not the run: decoders are the largest code that
/// meets bytes of strangers.
fn contained(
    format: &'static str,
    decoder: impl FnOnce() -> Result<Decoded, ImageError>,
) -> Result<Decoded, ImageError> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decoder));
    outcome.unwrap_or_else(|_| Err(ImageError::Corrupt { format, detail: "its decoder gave up".to_owned() }))
}

/// Whether these first bytes of a file (32 are enough) are those of an image, readable here or not.
pub(crate) fn looks_like_image(first_bytes: &[u8]) -> bool {
    Format::of(first_bytes).is_some()
}

/// The name of the image format that these first bytes of a file (32 are enough) promise, readable here or not.
pub(crate) fn format_name(first_bytes: &[u8]) -> Option<&'static str> {
    Format::of(first_bytes).map(Format::name)
}

/// Refuses sizes beyond [`MAX_PIXELS`], and empty ones.
fn check_size(format: &'static str, width: u64, height: u64) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::Corrupt { format, detail: format!("its size is {width} x {height}") });
    }
    if width.saturating_mul(height) > MAX_PIXELS {
        return Err(ImageError::TooLarge { width, height });
    }
    Ok(())
}

/// Turns pixels upright and gives them their name.
fn upright(
    format: &'static str,
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    orientation: Orientation,
) -> Result<Decoded, ImageError> {
    let Some(buffer) = ::image::RgbImage::from_raw(width, height, pixels) else {
        let detail = "its pixels do not fill its size".to_owned();
        return Err(ImageError::Corrupt { format, detail });
    };
    let mut image = DynamicImage::ImageRgb8(buffer);
    image.apply_orientation(orientation);
    let image = image.into_rgb8();
    let (width, height) = (image.width() as usize, image.height() as usize);
    Ok((RgbImage { width, height, pixels: image.into_raw() }, orientation))
}

#[cfg(test)]
mod tests {
    use super::{decode, decode_scaled};

    /// A PNG header of any size, without the rest.
    fn png_header(width: u32, height: u32) -> Vec<u8> {
        let mut ihdr = b"IHDR".to_vec();
        ihdr.extend(width.to_be_bytes());
        ihdr.extend(height.to_be_bytes());
        ihdr.extend([8, 2, 0, 0, 0]);
        let mut crc = flate2::Crc::new();
        crc.update(&ihdr);
        let sum = crc.sum().to_be_bytes();
        [b"\x89PNG\r\n\x1A\n\0\0\0\x0D".as_slice(), &ihdr, &sum, b"\0\0\0\x10IDAT"].concat()
    }

    #[test]
    fn a_decoder_that_panics_spoils_one_file() {
        let error = super::contained("JPEG", || panic!("an index out of bounds")).unwrap_err();
        assert_eq!((error.name(), error.to_string().contains("gave up")), ("corrupt", true), "{error}");
    }

    #[test]
    fn each_bad_input_has_a_name_and_a_sentence() {
        let jpeg = include_bytes!("../tests/fixtures/decode/jpeg_420.jpg").as_slice();
        let mut huge_jpeg = jpeg.to_vec();
        let frame = huge_jpeg.windows(2).position(|w| w == b"\xFF\xC0").unwrap();
        huge_jpeg[frame + 5..frame + 9].copy_from_slice(&[0x40, 0, 0x40, 0]);
        for (bytes, name, sentence) in [
            (b"".as_slice(), "empty", "the file is empty"),
            (b"<html>404</html>", "not_an_image", r#"not an image: the first bytes are "<html>404</html>""#),
            (&jpeg[..jpeg.len() / 2], "truncated", "the JPEG image is cut short"),
            (&jpeg[..3], "truncated", "the JPEG image is cut short"),
            (&huge_jpeg, "too_large", "16384 x 16384 pixels are more than the 100 megapixels that are read"),
            (
                &png_header(20_000, 10_000),
                "too_large",
                "20000 x 10000 pixels are more than the 100 megapixels that are read",
            ),
            (&png_header(0, 10), "corrupt", "the PNG image is damaged"),
            (
                b"\0\0\0\x18ftypheic\0\0\0\0",
                "unsupported",
                "this HEIC image is not supported: convert it to PNG or JPEG",
            ),
        ] {
            let error = decode(bytes).unwrap_err();
            assert_eq!(error.name(), name, "{error}");
            assert!(error.to_string().starts_with(sentence), "{error}");
        }
    }

    #[test]
    fn damaged_files_are_errors_or_images_but_no_panic() {
        let mut rng = headstart_tensor::Rng::new(5);
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/decode")).unwrap()
        {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "rgb") {
                continue;
            }
            let whole = std::fs::read(&path).unwrap();
            for _ in 0..40 {
                let mut bytes = whole.clone();
                for _ in 0..1 + rng.below(8) {
                    let at = rng.below(bytes.len());
                    bytes[at] = rng.next_u64() as u8;
                }
                for image in [decode(&bytes), decode_scaled(&bytes, 5)].into_iter().flatten() {
                    assert_eq!(image.pixels.len(), image.width * image.height * 3, "{path:?}");
                }
            }
        }
    }
}
