//! Markup under construction: the one place where text is escaped. Names of files and classes are input of strangers.

use std::fmt::{self, Display, Write};

/// Markup. Names of tags and attributes are fixed in the program; everything else goes through [`Escaped`].
#[derive(Debug, Default)]
pub(super) struct Html {
    out: String,
}

/// An attribute: its name and its value, escaped when it is written.
pub(super) type Attribute<'a> = (&'static str, &'a dyn Display);

impl Html {
    pub(super) fn finish(self) -> String {
        self.out
    }

    /// Text of any origin.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Html {
        // Writing to a string does not fail.
        let _ = write!(Escaped(&mut self.out), "{text}");
        self
    }

    /// An element with what `content` puts into it.
    pub(super) fn tag(
        &mut self,
        name: &'static str,
        attributes: &[Attribute],
        content: impl FnOnce(&mut Html),
    ) -> &mut Html {
        self.void(name, attributes);
        content(self);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
        self
    }

    /// An element that holds text alone.
    pub(super) fn leaf(
        &mut self,
        name: &'static str,
        attributes: &[Attribute],
        text: impl Display,
    ) -> &mut Html {
        self.tag(name, attributes, |h| {
            h.text(text);
        })
    }

    /// An opening tag, or an element without an end.
    pub(super) fn void(&mut self, name: &'static str, attributes: &[Attribute]) -> &mut Html {
        self.out.push('<');
        self.out.push_str(name);
        for (attribute, value) in attributes {
            self.out.push(' ');
            self.out.push_str(attribute);
            self.out.push_str("=\"");
            let _ = write!(Escaped(&mut self.out), "{value}");
            self.out.push('"');
        }
        self.out.push('>');
        self
    }

    /// A section with a heading, to which the contents link by `id`.
    pub(super) fn section(
        &mut self,
        id: &'static str,
        heading: &'static str,
        content: impl FnOnce(&mut Html),
    ) -> &mut Html {
        let title = format!("{id}-heading");
        self.tag("section", &[("id", &id), ("aria-labelledby", &title)], |h| {
            h.leaf("h2", &[("id", &title)], heading);
            content(h);
        })
    }

    /// A paragraph of quieter text.
    pub(super) fn note(&mut self, text: impl Display) -> &mut Html {
        self.leaf("p", &[("class", &"note")], text)
    }
}

/// Writes through what markup means; control characters become their pictures.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' => self.0.push(c),
                '\0'..'\x20' => self.0.push(char::from_u32(0x2400 + c as u32).unwrap_or('?')),
                // Marks that turn the direction of text would let a name rearrange what stands behind it.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\x7f' => self.0.push('\u{fffd}'),
                _ => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Html;

    #[test]
    fn text_and_attributes_of_any_content_stay_text_and_attributes() {
        let hostile = "\"><script>alert('a & b')</script>\0\u{202e}";
        let mut h = Html::default();
        h.tag("p", &[("title", &hostile)], |h| {
            h.text(hostile);
        });
        let escaped = "&quot;&gt;&lt;script&gt;alert(&#39;a &amp; b&#39;)&lt;/script&gt;\u{2400}\u{fffd}";
        assert_eq!(h.finish(), format!("<p title=\"{escaped}\">{escaped}</p>"));
    }
}
