//! Image formats by their first bytes. File names say nothing here.

use ::image::ImageFormat;

/// What the first bytes of a file promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// JPEG.
    Jpeg,
    /// A format of the `image` crate.
    Raster(ImageFormat),
    /// An image format that is not read here.
    Foreign(&'static str),
}

impl Format {
    /// The format of a file that begins with `bytes`; 32 bytes are enough to tell.
    pub(super) fn of(bytes: &[u8]) -> Option<Format> {
        let at = |offset: usize, magic: &[u8]| bytes.get(offset..offset + magic.len()) == Some(magic);
        let raster = |format| Some(Format::Raster(format));
        let foreign = |name| Some(Format::Foreign(name));
        if at(0, b"\xFF\xD8\xFF") {
            return Some(Format::Jpeg);
        }
        if at(0, b"\x89PNG\r\n\x1A\n") {
            return raster(ImageFormat::Png);
        }
        if at(0, b"RIFF") && at(8, b"WEBP") {
            return raster(ImageFormat::WebP);
        }
        if at(0, b"GIF87a") || at(0, b"GIF89a") {
            return raster(ImageFormat::Gif);
        }
        if at(0, b"II*\0") || at(0, b"MM\0*") || at(0, b"II+\0") || at(0, b"MM\0+") {
            return raster(ImageFormat::Tiff);
        }
        // Two letters are a weak promise: the size of the second header must be one that exists.
        if at(0, b"BM") && [12, 16, 40, 52, 56, 64, 108, 124].iter().any(|&n| at(14, &[n, 0, 0, 0])) {
            return raster(ImageFormat::Bmp);
        }
        if at(4, b"ftyp") {
            return match bytes.get(8..12) {
                Some(b"avif" | b"avis") => foreign("AVIF"),
                Some(b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1") => foreign("HEIC"),
                _ => None,
            };
        }
        if at(0, b"\xFF\x0A") || at(0, b"\0\0\0\x0CJXL \r\n\x87\n") {
            return foreign("JPEG XL");
        }
        if at(0, b"\0\0\0\x0CjP  \r\n\x87\n") || at(0, b"\xFF\x4F\xFF\x51") {
            return foreign("JPEG 2000");
        }
        if at(0, b"8BPS\0\x01") {
            return foreign("Photoshop");
        }
        None
    }
}

impl Format {
    /// The name people know it by.
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "JPEG",
            Format::Raster(format) => name(format),
            Format::Foreign(name) => name,
        }
    }
}

/// The name people know a format by.
pub(super) fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Bmp => "BMP",
        _ => "image",
    }
}

/// The first bytes of a file in words: quoted where they are text, in hexadecimal otherwise.
pub(super) fn first_bytes(bytes: &[u8]) -> String {
    let first = &bytes[..bytes.len().min(16)];
    let text = first.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
    if text {
        return format!("{:?}", String::from_utf8_lossy(first));
    }
    let hex: Vec<String> = first.iter().take(8).map(|b| format!("{b:02x}")).collect();
    hex.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Format, first_bytes};

    #[test]
    fn a_text_that_begins_like_a_bitmap_is_no_image() {
        assert_eq!(Format::of(b"BMW is a maker of cars, and this is text"), None);
        assert_eq!(Format::of(b"<html><body>404 Not Found</body></html>"), None);
        assert_eq!(Format::of(b""), None);
        assert_eq!(Format::of(b"\0\0\0\x18ftypheic\0\0\0\0"), Some(Format::Foreign("HEIC")));
    }

    #[test]
    fn first_bytes_are_quoted_where_they_are_text() {
        assert_eq!(first_bytes(b"<html>\n"), r#""<html>\n""#);
        assert_eq!(first_bytes(b"PK\x03\x04rest of it"), "50 4b 03 04 72 65 73 74");
    }
}
