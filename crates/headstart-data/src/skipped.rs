//! What was left out of the data, by name and reason: nothing is dropped without a word.

use std::fmt;

use crate::ImageError;

/// One file, folder or table row that is not part of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where it is: relative to the data root, with `/` on every platform.
    pub path: String,
    /// Why it was left out.
    pub reason: SkipReason,
}

/// Why something was left out. `Display` gives the sentence, [`SkipReason::name`] the stable name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// A hidden or system file or folder (`.DS_Store`, `._*`, `Thumbs.db`, `__MACOSX`).
    Hidden,
    /// A file that is no image by its name and by its first bytes (a README, a `labels.json`).
    OtherFile,
    /// An image that lies beside the class folders, so that it has no label.
    NoLabel,
    /// A folder beside `train/`, `val/` and `test/`.
    OutsideSplits,
    /// A class folder without one image.
    EmptyClass,
    /// A `test/` folder of images without class folders: no label to test against.
    UnlabelledSplit {
        /// How many images lie in it.
        images: usize,
    },
    /// A link to a folder that was read already, often one of its own parents.
    LinkLoop,
    /// A file that a table or a link names and that is not there.
    Missing,
    /// A table row whose path was given by an earlier row.
    RepeatedRow {
        /// The table's line, counted from 1.
        line: u64,
    },
    /// A file or folder that the system would not let us read.
    Unreadable {
        /// The system's words.
        detail: String,
    },
    /// A text without a character.
    EmptyText,
    /// A text without a label.
    EmptyLabel,
    /// A text that says it is of a split that there is not.
    UnknownSplit {
        /// What it says.
        split: String,
    },
    /// A row of a table of texts that ends before its columns.
    FewColumns {
        /// Its columns.
        found: usize,
        /// Columns that it takes.
        needed: usize,
    },
    /// A row whose bytes are no UTF-8.
    NotUtf8,
    /// A line that is no JSON object with a text.
    NotJson {
        /// What is wrong.
        detail: String,
    },
    /// A text that is longer than any that is read.
    TextTooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// A text of which the network's tokenizer makes nothing.
    NoTokens {
        /// What the tokenizer says.
        detail: String,
    },
    /// An image or a row that a list of [`Exclusions`](crate::doctor::Exclusions) names.
    Excluded,
    /// An image that could not be decoded.
    Image(ImageError),
}

impl SkipReason {
    /// A stable name in snake case, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            SkipReason::Hidden => "hidden",
            SkipReason::OtherFile => "other_file",
            SkipReason::NoLabel => "no_label",
            SkipReason::OutsideSplits => "outside_splits",
            SkipReason::EmptyClass => "empty_class",
            SkipReason::UnlabelledSplit { .. } => "unlabelled_split",
            SkipReason::LinkLoop => "link_loop",
            SkipReason::Missing => "missing",
            SkipReason::RepeatedRow { .. } => "repeated_row",
            SkipReason::Unreadable { .. } => "unreadable",
            SkipReason::EmptyText => "empty_text",
            SkipReason::EmptyLabel => "empty_label",
            SkipReason::UnknownSplit { .. } => "unknown_split",
            SkipReason::FewColumns { .. } => "few_columns",
            SkipReason::NotUtf8 => "not_utf8",
            SkipReason::NotJson { .. } => "not_json",
            SkipReason::TextTooLong { .. } => "text_too_long",
            SkipReason::NoTokens { .. } => "no_tokens",
            SkipReason::Excluded => "excluded",
            SkipReason::Image(error) => error.name(),
        }
    }

    /// Whether this is a fault of the data, which `--strict` refuses. System files and files that never
    /// were images are none.
    pub fn is_fault(&self) -> bool {
        !matches!(
            self,
            SkipReason::Hidden
                | SkipReason::OtherFile
                | SkipReason::OutsideSplits
                | SkipReason::UnlabelledSplit { .. }
                | SkipReason::Excluded
        )
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SkipReason::Hidden => f.write_str("a hidden or system file"),
            SkipReason::OtherFile => f.write_str("not an image"),
            SkipReason::NoLabel => f.write_str("an image outside the class folders, so it has no label"),
            SkipReason::OutsideSplits => f.write_str("a folder beside train, val and test"),
            SkipReason::EmptyClass => f.write_str("a class folder without images"),
            SkipReason::UnlabelledSplit { images } => {
                write!(f, "{images} images without class folders, so without labels")
            }
            SkipReason::LinkLoop => f.write_str("a link to a folder that was read already"),
            SkipReason::Missing => f.write_str("the file is not there"),
            SkipReason::RepeatedRow { line } => write!(f, "line {line} repeats a path of an earlier line"),
            SkipReason::Unreadable { detail } => write!(f, "cannot be read: {detail}"),
            SkipReason::EmptyText => f.write_str("the text is empty"),
            SkipReason::EmptyLabel => f.write_str("it has no label"),
            SkipReason::UnknownSplit { split } => {
                write!(f, "its split is \"{split}\"; it may be train, val, dev or test")
            }
            SkipReason::FewColumns { found, needed } => {
                write!(f, "{found} columns; the text or the label is in column {needed}")
            }
            SkipReason::NotUtf8 => f.write_str("it is not UTF-8"),
            SkipReason::NotJson { detail } => write!(f, "it is not usable JSON: {detail}"),
            SkipReason::TextTooLong { bytes } => {
                write!(f, "the text has {bytes} bytes; up to 1048576 are read")
            }
            SkipReason::NoTokens { detail } => write!(f, "the tokenizer makes nothing of it: {detail}"),
            SkipReason::Excluded => f.write_str("left out as the list of exclusions says"),
            SkipReason::Image(error) => error.fmt(f),
        }
    }
}

impl From<ImageError> for SkipReason {
    fn from(error: ImageError) -> Self {
        SkipReason::Image(error)
    }
}
