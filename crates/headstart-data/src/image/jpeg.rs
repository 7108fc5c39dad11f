//! JPEG, with libjpeg-turbo's arithmetic, so that pixels equal Pillow's bit for bit.
//!
//! The decoder's arithmetic is integer, and its SIMD kernels give the bytes of its scalar ones: the same on every
//! machine. It is strict: data that ends early is an error, never a half grey image.

use ::image::metadata::Orientation;
use libjpeg_turbo_rs::{ComponentInfo, DecodeLimits, Decoder, JpegError, PixelFormat, ScalingFactor};

use super::{Decoded, ImageError, MAX_PIXELS, check_size, upright};

/// What a progressive image of [`MAX_PIXELS`] pixels in three full planes takes: i16 coefficients and samples.
const MAX_MEMORY: u64 = MAX_PIXELS * 12;
/// Scans of a progressive image: encoders write about ten.
const MAX_SCANS: usize = 500;

/// Decodes a JPEG file; where `shorter` is given, at the smallest of the scales 1, 1/2, 1/4 and 1/8 that leaves that
/// many pixels on the shorter side.
pub(super) fn decode(bytes: &[u8], shorter: Option<usize>) -> Result<Decoded, ImageError> {
    let limits =
        DecodeLimits { max_scans: MAX_SCANS, max_memory: Some(MAX_MEMORY), ..DecodeLimits::default() };
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(describe)?;
    let header = decoder.header();
    check_size("JPEG", u64::from(header.width), u64::from(header.height))?;
    let kind = |detail: &str| ImageError::Unsupported { format: "JPEG", detail: detail.to_owned() };
    if header.precision != 8 {
        return Err(kind(&format!("of {} bits a sample", header.precision)));
    }
    if header.is_lossless {
        return Err(kind("of the lossless kind"));
    }
    let cmyk = match header.components.len() {
        1 | 3 => false,
        4 => true,
        n => return Err(kind(&format!("of {n} components"))),
    };
    if !sampling_is_known(&header.components) {
        return Err(kind("with such sampling factors"));
    }
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk);
    decoder.set_output_format(if cmyk { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    if let Some(shorter) = shorter {
        let side = usize::from(decoder.header().width.min(decoder.header().height));
        let part = [8, 4, 2].into_iter().find(|part| side / part >= shorter).unwrap_or(1);
        decoder.set_scale(ScalingFactor::try_new(1, part as u32).map_err(describe)?);
    }
    let image = decoder.decode_image().map_err(describe)?;
    let pixels = if cmyk { rgb_of_inverted_cmyk(&image.data) } else { image.data };
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    upright("JPEG", image.width as u32, image.height as u32, pixels, orientation)
}

/// Whether the first component, and black where there is one, have the full resolution, and every other component
/// a whole part of it. The decoder indexes out of bounds on other files (which hardly any writer makes).
fn sampling_is_known(components: &[ComponentInfo]) -> bool {
    let Some(first) = components.first() else {
        return false;
    };
    let black = components.get(3).unwrap_or(first);
    let part = |full: u8, part: u8| part > 0 && full.is_multiple_of(part);
    components.iter().all(|other| {
        part(first.horizontal_sampling, other.horizontal_sampling)
            && part(first.vertical_sampling, other.vertical_sampling)
    }) && (black.horizontal_sampling, black.vertical_sampling)
        == (first.horizontal_sampling, first.vertical_sampling)
}

/// Red, green and blue of CMYK as Adobe writes it into JPEG files: inverted, 255 being no ink. Pillow takes every
/// CMYK JPEG to be so.
fn rgb_of_inverted_cmyk(cmyk: &[u8]) -> Vec<u8> {
    let (inks, _) = cmyk.as_chunks::<4>();
    inks.iter().flat_map(|&[c, m, y, k]| [c, m, y].map(|paper| shade(paper, k))).collect()
}

/// Pillow's `CLIP8(nk - MULDIV255(255 - paper, nk))`.
fn shade(paper: u8, light: u8) -> u8 {
    let product = u32::from(255 - paper) * u32::from(light) + 128;
    let ink = ((product >> 8) + product) >> 8;
    light.saturating_sub(ink as u8)
}

fn describe(error: JpegError) -> ImageError {
    match error {
        JpegError::UnexpectedEof => ImageError::Truncated { format: "JPEG" },
        JpegError::Unsupported(detail) => {
            ImageError::Unsupported { format: "JPEG", detail: format!("({detail})") }
        }
        other => ImageError::Corrupt { format: "JPEG", detail: other.to_string() },
    }
}
