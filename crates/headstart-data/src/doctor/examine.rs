//! One image or text looked at closely: what it holds, and what is wrong with it.

use ::image::metadata::Orientation;
use sha2::{Digest, Sha256};

use super::{Defect, DefectKind};
use crate::{ImageError, Picture, RgbImage, image};

/// Images with a shorter side of fewer pixels show nothing: those of MNIST have 28, of CIFAR 32.
const TINY: usize = 16;
/// An image is blank where no colour's standard deviation reaches this, of 255: JPEG's noise on one colour has less than 1,
/// the faintest of the 60,000 images of CIFAR-10 has 8.
const BLANK: f64 = 3.0;
/// Above this ratio of the sides a centre crop shows less than a fifth of the image.
pub const WIDEST: f64 = 4.0;

/// A text with fewer letters and digits says nothing: `ok`, `n/a`, `...`.
const SHORT: usize = 5;

/// What a look at an image or a text told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// SHA-256 of the encoded bytes; none where they could not be read.
    pub content: Option<[u8; 32]>,
    /// SHA-256 of what it shows: of an image size and upright pixels, of a text its words in small letters with single
    /// spaces between them. None where it could not be read.
    pub shown: Option<[u8; 32]>,
    /// Width and height, upright; none of a text, and where it could not be decoded.
    pub size: Option<[usize; 2]>,
    /// What is wrong with it, one of a kind.
    pub defects: Vec<Defect>,
}

impl Examined {
    /// Whether it can be trained on.
    pub fn is_readable(&self) -> bool {
        self.shown.is_some()
    }

    /// Longer side over shorter side, where that is more than [`WIDEST`].
    pub fn extreme_aspect(&self) -> Option<f64> {
        let [width, height] = self.size?;
        let ratio = width.max(height) as f64 / width.min(height).max(1) as f64;
        (ratio > WIDEST).then_some(ratio)
    }
}

/// Reads and decodes `picture` and looks for everything that can be told from one image alone.
pub fn examine(picture: &Picture) -> Examined {
    let mut found = Examined { content: None, shown: None, size: None, defects: Vec::new() };
    let bytes = match picture.bytes() {
        Ok(bytes) => bytes,
        Err(error) => {
            found.defects.push((&error).into());
            return found;
        }
    };
    found.content = Some(Sha256::digest(&bytes).into());
    if picture.file().is_some() {
        found.defects.extend(mistyped(picture.path(), &bytes));
    }
    match decode(picture, &bytes) {
        Err(error) => found.defects.push((&error).into()),
        Ok((image, orientation)) => {
            found.size = Some([image.width, image.height]);
            found.shown = Some(hash(&image));
            found.defects.extend(rotated(orientation));
            let tiny = tiny(&image);
            // A dot of one colour is tiny, and that is all there is to say.
            found.defects.extend(if tiny.is_some() { tiny } else { blank(&image) });
        }
    }
    found
}

/// Looks at `text`, a row of a table, for everything that can be told without a tokenizer.
pub fn examine_text(text: &Picture) -> Examined {
    let mut found = Examined { content: None, shown: None, size: None, defects: Vec::new() };
    let bytes = match text.bytes() {
        Ok(bytes) => bytes,
        Err(error) => {
            found.defects.push((&error).into());
            return found;
        }
    };
    found.content = Some(Sha256::digest(&bytes).into());
    let text = String::from_utf8_lossy(&bytes).to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    found.shown = Some(Sha256::digest(words.join(" ")).into());
    let letters = text.chars().filter(|c| c.is_alphanumeric()).take(SHORT).count();
    if letters < SHORT {
        let detail = format!("{letters} letters and digits");
        found.defects.push(Defect { kind: DefectKind::Short, detail });
    }
    found
}

fn decode(picture: &Picture, bytes: &[u8]) -> Result<image::Decoded, ImageError> {
    let mut orientation = Orientation::NoTransforms;
    let image = picture.decode_with(bytes, |bytes| {
        let (image, asked) = image::decode_as(bytes, None)?;
        orientation = asked;
        Ok(image)
    })?;
    Ok((image, orientation))
}

fn hash(image: &RgbImage) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update((image.width as u64).to_le_bytes());
    hasher.update((image.height as u64).to_le_bytes());
    hasher.update(&image.pixels);
    hasher.finalize().into()
}

/// Whether the ending of `path` is that of another format than the content's.
fn mistyped(path: &str, bytes: &[u8]) -> Option<Defect> {
    let found = image::format_name(bytes)?;
    let ending = path.rsplit_once('.')?.1;
    let promised = match ending.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" | "jpe" | "jfif" => "JPEG",
        "png" => "PNG",
        "webp" => "WebP",
        "bmp" | "dib" => "BMP",
        "gif" => "GIF",
        "tif" | "tiff" => "TIFF",
        _ => return None,
    };
    let detail = format!("a {found} image that is called .{ending}");
    (found != promised).then_some(Defect { kind: DefectKind::Mistyped, detail })
}

fn rotated(orientation: Orientation) -> Option<Defect> {
    let turned = match orientation {
        Orientation::NoTransforms => return None,
        Orientation::Rotate90 => "turned by 90 degrees",
        Orientation::Rotate180 => "turned by 180 degrees",
        Orientation::Rotate270 => "turned by 270 degrees",
        Orientation::FlipHorizontal => "mirrored left to right",
        Orientation::FlipVertical => "mirrored top to bottom",
        Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => "turned and mirrored",
    };
    let detail = format!("{turned} by its EXIF orientation {}", orientation.to_exif());
    Some(Defect { kind: DefectKind::Rotated, detail })
}

fn tiny(image: &RgbImage) -> Option<Defect> {
    let detail = || format!("{} x {} pixels", image.width, image.height);
    let few = image.width.min(image.height) < TINY;
    few.then(|| Defect { kind: DefectKind::Tiny, detail: detail() })
}

fn blank(image: &RgbImage) -> Option<Defect> {
    let (pixels, _) = image.pixels.as_chunks::<3>();
    let n = pixels.len() as f64;
    let (mut sums, mut squares) = ([0u64; 3], [0u64; 3]);
    for pixel in pixels {
        for ((sum, square), &value) in sums.iter_mut().zip(&mut squares).zip(pixel) {
            *sum += u64::from(value);
            *square += u64::from(value) * u64::from(value);
        }
    }
    let deviation = |(&sum, &square): (&u64, &u64)| {
        let mean = sum as f64 / n;
        (square as f64 / n - mean * mean).max(0.0).sqrt()
    };
    let largest = sums.iter().zip(&squares).map(deviation).fold(0.0, f64::max);
    let [r, g, b] = sums.map(|sum| (sum as f64 / n).round() as u8);
    let detail = format!("nothing but the colour #{r:02x}{g:02x}{b:02x}");
    (largest < BLANK).then_some(Defect { kind: DefectKind::Blank, detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(found: &Examined) -> Vec<DefectKind> {
        found.defects.iter().map(|d| d.kind).collect()
    }

    fn png(width: u32, height: u32, colour: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
        let image = ::image::RgbImage::from_fn(width, height, |x, y| ::image::Rgb(colour(x, y)));
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn of(name: &str, bytes: &[u8]) -> Examined {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        examine(&Picture::from_file(name, file))
    }

    #[test]
    fn every_defect_of_an_image_is_found_and_a_good_image_has_none() {
        let noise = |x: u32, y: u32| [(x * 37 + y * 91) as u8, (x * y) as u8, 7];
        let good = png(40, 30, noise);
        let found = of("a.png", &good);
        assert_eq!((kinds(&found), found.size), (vec![], Some([40, 30])));
        assert!(found.content.is_some() && found.is_readable() && found.extreme_aspect().is_none());
        for (name, bytes, kind) in [
            ("a.jpg", good.as_slice(), DefectKind::Mistyped),
            ("a.png", &good[..good.len() / 2], DefectKind::Truncated),
            ("a.png", b"", DefectKind::Empty),
            ("a.jpg", b"not a picture at all", DefectKind::NotAnImage),
            ("a.png", &png(40, 30, |_, _| [200, 200, 201]), DefectKind::Blank),
            ("a.png", &png(40, 15, noise), DefectKind::Tiny),
            ("a.png", &png(1, 1, |_, _| [0; 3]), DefectKind::Tiny),
            ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0", DefectKind::Unreadable),
        ] {
            assert_eq!(kinds(&of(name, bytes)), [kind], "{name}");
        }
        assert_eq!(
            kinds(&of("a.jpg", &good[..good.len() / 2])),
            [DefectKind::Mistyped, DefectKind::Truncated]
        );
        assert_eq!(of("a.PNG", &png(170, 40, noise)).extreme_aspect(), Some(4.25));
        let gone = examine(&Picture::from_file("gone.jpg", "/no/such/file.jpg"));
        assert_eq!((kinds(&gone), gone.content), (vec![DefectKind::Unreadable], None));
    }

    #[test]
    fn a_picture_stored_in_two_formats_has_one_hash_of_pixels_and_two_of_bytes() {
        let colour = |x: u32, y: u32| [x as u8 * 3, y as u8 * 5, 9];
        let png = png(20, 24, colour);
        let image = ::image::RgbImage::from_fn(20, 24, |x, y| ::image::Rgb(colour(x, y)));
        let mut bmp = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bmp, ::image::ImageFormat::Bmp).unwrap();
        let (a, b) = (of("a.png", &png), of("a.bmp", &bmp.into_inner()));
        assert_eq!(a.shown, b.shown);
        assert_ne!(a.content, b.content);
    }

    #[test]
    fn texts_that_differ_in_case_and_spaces_show_the_same() {
        let of = |text: &str| examine_text(&Picture::from_bytes("t.tsv:2", text.as_bytes()));
        let (a, b, c) = (of("A  good\tFilm"), of("a good film"), of("a good films"));
        assert_eq!(a.shown, b.shown);
        assert_ne!(a.content, b.content);
        assert_ne!(b.shown, c.shown);
        assert!(a.is_readable() && kinds(&a).is_empty());
        for (text, short) in
            [("n/a !!!", true), ("ok 123", false), ("\u{597d}\u{770b}", true), ("superb", false)]
        {
            assert_eq!(kinds(&of(text)), if short { vec![DefectKind::Short] } else { vec![] }, "{text}");
        }
    }

    #[test]
    fn a_photo_turned_by_exif_is_named_and_its_size_is_upright() {
        // An EXIF block of one entry: orientation 6.
        let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let jpeg = include_bytes!("../../tests/fixtures/decode/jpeg_420.jpg");
        let length = (exif.len() as u16 + 2).to_be_bytes();
        let turned = [&jpeg[..2], b"\xFF\xE1", &length, exif, &jpeg[2..]].concat();
        let (before, after) = (of("a.jpg", jpeg), of("a.jpg", &turned));
        assert_eq!(kinds(&after), [DefectKind::Rotated]);
        assert!(after.defects[0].detail.contains("90 degrees by its EXIF orientation 6"));
        let [width, height] = before.size.unwrap();
        assert_eq!(after.size, Some([height, width]));
    }
}
