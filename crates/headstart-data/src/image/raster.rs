//! PNG, WebP, BMP, GIF and TIFF, through the `image` crate.

use std::cell::Cell;
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};

use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::{Decoded, ImageError, MAX_PIXELS, check_size, format, upright};

/// What a decoder may allocate: [`MAX_PIXELS`] of the widest samples (16-bit RGBA) and as much again to work in.
const MAX_MEMORY: u64 = MAX_PIXELS * 16;

pub(super) fn decode(bytes: &[u8], format: ImageFormat) -> Result<Decoded, ImageError> {
    let name = format::name(format);
    let ran_out = Cell::new(false);
    let describe = |error| describe(name, error, ran_out.get());
    let source = Source { bytes: Cursor::new(bytes), ran_out: &ran_out };
    let mut decoder = ImageReader::with_format(source, format).into_decoder().map_err(describe)?;
    let (width, height) = decoder.dimensions();
    check_size(name, u64::from(width), u64::from(height))?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_MEMORY);
    decoder.set_limits(limits).map_err(describe)?;
    // A broken EXIF block does not make the pixels worse.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(describe)?;
    let Some(pixels) = rgb(image) else {
        return Err(ImageError::Unsupported {
            format: name,
            detail: "with floating-point samples".to_owned(),
        });
    };
    upright(name, width, height, pixels, orientation)
}

/// 8-bit red, green and blue: alpha dropped, the high byte of 16-bit samples. `None` for floating-point samples.
fn rgb(image: DynamicImage) -> Option<Vec<u8>> {
    Some(match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageLuma8(image) => image.as_raw().iter().flat_map(|&l| [l; 3]).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().flat_map(|p| [p.0[0]; 3]).collect(),
        DynamicImage::ImageRgba8(image) => image.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]]).collect(),
        DynamicImage::ImageLuma16(image) => image.as_raw().iter().flat_map(|&l| [high(l); 3]).collect(),
        DynamicImage::ImageLumaA16(image) => image.pixels().flat_map(|p| [high(p.0[0]); 3]).collect(),
        DynamicImage::ImageRgb16(image) => image.as_raw().iter().map(|&v| high(v)).collect(),
        DynamicImage::ImageRgba16(image) => {
            image.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]].map(high)).collect()
        }
        _ => return None,
    })
}

fn high(sample: u16) -> u8 {
    (sample >> 8) as u8
}

fn describe(format: &'static str, error: ::image::ImageError, ran_out: bool) -> ImageError {
    match error {
        _ if ran_out => ImageError::Truncated { format },
        ::image::ImageError::Unsupported(detail) => {
            ImageError::Unsupported { format, detail: format!("({detail})") }
        }
        other => ImageError::Corrupt { format, detail: other.to_string() },
    }
}

/// The encoded bytes, and whether a decoder asked for more than there are: it tells a file that is cut short
/// from a damaged one, which the decoders' errors do not.
struct Source<'a> {
    bytes: Cursor<&'a [u8]>,
    ran_out: &'a Cell<bool>,
}

impl Read for Source<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(out)?;
        self.ran_out.set(self.ran_out.get() || (read == 0 && !out.is_empty()));
        Ok(read)
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let rest = self.bytes.fill_buf()?;
        self.ran_out.set(self.ran_out.get() || rest.is_empty());
        Ok(rest)
    }

    fn consume(&mut self, amount: usize) {
        self.bytes.consume(amount);
    }
}

impl Seek for Source<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}
