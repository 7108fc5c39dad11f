//! An item as a page shows it: a picture made small, or the beginning of a text.

use super::base64::data_uri;
use super::html::Html;
use super::words::{self, Part};
use crate::explain::WordWeight;
use headstart_data::{ImageError, Kind, Picture};

/// The longer side of a picture, in pixels.
const SIDE: usize = 128;
const QUALITY: u8 = 76;
/// Characters of a text.
const CHARACTERS: usize = 600;
/// Stands where a text goes on.
const CUT: &str = "\u{2026}";

/// An item as a page shows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shown {
    /// A JPEG as a data URI, its width and its height.
    Picture(String, [usize; 2]),
    /// The text, or its beginning.
    Text(String),
    /// The same in parts, some of them marked.
    Weighed(Vec<Part>),
}

impl Shown {
    pub(super) fn of(kind: Kind, item: &Picture) -> Result<Shown, ImageError> {
        if kind == Kind::Texts {
            let bytes = item.bytes()?;
            let text = String::from_utf8_lossy(&bytes);
            let shown = &text[..end(&text)];
            return Ok(Shown::Text(if shown.len() < text.len() {
                format!("{shown}{CUT}")
            } else {
                shown.to_owned()
            }));
        }
        let image = item.thumbnail(SIDE)?;
        let uri = data_uri("image/jpeg", &image.to_jpeg(QUALITY)?);
        Ok(Shown::Picture(uri, [image.width, image.height]))
    }

    /// A text with its words marked.
    pub(super) fn weighed(item: &Picture, words: &[WordWeight]) -> Result<Shown, ImageError> {
        let bytes = item.bytes()?;
        let text = String::from_utf8_lossy(&bytes);
        let end = end(&text);
        let mut parts = words::parts(&text, end, words);
        if end < text.len() {
            parts.extend(words::parts(CUT, CUT.len(), &[]));
        }
        Ok(Shown::Weighed(parts))
    }

    /// Characters that it takes in the page.
    pub(super) fn len(&self) -> usize {
        match self {
            Shown::Picture(uri, _) => uri.len(),
            Shown::Text(text) => text.len(),
            Shown::Weighed(parts) => words::len(parts),
        }
    }

    /// Writes it; `alt` is said where a picture cannot be seen.
    pub(super) fn write(&self, h: &mut Html, alt: &str) {
        match self {
            Shown::Picture(uri, [width, height]) => {
                h.void("img", &[("src", uri), ("alt", &alt), ("width", width), ("height", height)]);
            }
            Shown::Text(text) => {
                h.leaf("p", &[("class", &"said")], text);
            }
            Shown::Weighed(parts) => words::write(h, parts),
        }
    }
}

/// Where the beginning of a text ends.
fn end(text: &str) -> usize {
    text.char_indices().nth(CHARACTERS).map_or(text.len(), |(end, _)| end)
}

/// The class of a list of such items.
pub(super) fn gallery(kind: Kind) -> &'static str {
    if kind == Kind::Texts { "gallery texts" } else { "gallery" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let show = |text: &str| Shown::of(Kind::Texts, &Picture::from_bytes("t", text.as_bytes())).unwrap();
        assert_eq!(show("caf\u{e9}"), Shown::Text("caf\u{e9}".into()));
        let Shown::Text(cut) = show(&"\u{e9}".repeat(700)) else { panic!("no text") };
        assert_eq!(cut.chars().count(), CHARACTERS + 1);
        assert!(cut.ends_with("\u{e9}\u{2026}"));
    }
}
