//! What can be wrong with a file, a folder or a row of a data set.

use std::fmt;

use serde::Serialize;

use crate::{ImageError, SkipReason};

/// The kinds of defects, by the names that programs see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DefectKind {
    /// The data ends before the image does.
    Truncated,
    /// A file without a byte.
    Empty,
    /// Named as an image, but of no image format.
    NotAnImage,
    /// Damaged, of a kind that is not read, not there, or kept back by the system.
    Unreadable,
    /// More pixels or bytes than are read.
    Huge,
    /// The name promises another format than the content has.
    Mistyped,
    /// All pixels of nearly one colour.
    Blank,
    /// Too few pixels to show anything.
    Tiny,
    /// A class folder without images.
    EmptyClass,
    /// A row without a text.
    EmptyText,
    /// A row without a label.
    EmptyLabel,
    /// A row that ends before its columns.
    FewColumns,
    /// A row whose bytes are no UTF-8.
    NotUtf8,
    /// A line that is no JSON object with a text.
    NotJson,
    /// A row of a split that there is not.
    UnknownSplit,
    /// A text of which the tokenizer makes nothing.
    NoTokens,
    /// A text of hardly a letter.
    Short,
    /// A text with more tokens than the encoder reads: what is behind them is lost.
    Cut,
    /// Turned or mirrored by its EXIF block, as cameras do: read upright here, but not by every program.
    Rotated,
    /// A hidden or system file: left out.
    Hidden,
}

impl DefectKind {
    /// All kinds, faults first.
    pub const ALL: [DefectKind; 20] = [
        DefectKind::Truncated,
        DefectKind::Empty,
        DefectKind::NotAnImage,
        DefectKind::Unreadable,
        DefectKind::Huge,
        DefectKind::Mistyped,
        DefectKind::Blank,
        DefectKind::Tiny,
        DefectKind::EmptyClass,
        DefectKind::EmptyText,
        DefectKind::EmptyLabel,
        DefectKind::FewColumns,
        DefectKind::NotUtf8,
        DefectKind::NotJson,
        DefectKind::UnknownSplit,
        DefectKind::NoTokens,
        DefectKind::Short,
        DefectKind::Cut,
        DefectKind::Rotated,
        DefectKind::Hidden,
    ];

    /// A stable name in snake case, for programs.
    pub fn name(self) -> &'static str {
        match self {
            DefectKind::Truncated => "truncated",
            DefectKind::Empty => "empty",
            DefectKind::NotAnImage => "not_an_image",
            DefectKind::Unreadable => "unreadable",
            DefectKind::Huge => "huge",
            DefectKind::Mistyped => "mistyped",
            DefectKind::Blank => "blank",
            DefectKind::Tiny => "tiny",
            DefectKind::EmptyClass => "empty_class",
            DefectKind::EmptyText => "empty_text",
            DefectKind::EmptyLabel => "empty_label",
            DefectKind::FewColumns => "few_columns",
            DefectKind::NotUtf8 => "not_utf8",
            DefectKind::NotJson => "not_json",
            DefectKind::UnknownSplit => "unknown_split",
            DefectKind::NoTokens => "no_tokens",
            DefectKind::Short => "short",
            DefectKind::Cut => "cut",
            DefectKind::Rotated => "rotated",
            DefectKind::Hidden => "hidden",
        }
    }

    /// Whether something should be done about it. What is not is a remark: it is as it should be in many good data
    /// sets, and is handled here.
    pub fn is_fault(self) -> bool {
        use DefectKind::{Cut, Hidden, Rotated, Short};
        !matches!(self, Rotated | Hidden | Short | Cut)
    }

    /// Whether an image or a row like this is better left out of a training.
    pub fn is_worthless(self) -> bool {
        use DefectKind::{EmptyClass, Mistyped};
        self.is_fault() && !matches!(self, Mistyped | EmptyClass)
    }
}

impl fmt::Display for DefectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that is wrong with a file, a folder or a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// What.
    pub kind: DefectKind,
    /// In words.
    pub detail: String,
}

impl Defect {
    /// The defect behind the reason that something was left out; none where it was no part of the images: a table of
    /// contents, a folder beside `train/`.
    pub fn of_skipped(reason: &SkipReason) -> Option<Defect> {
        let kind = match reason {
            SkipReason::Hidden => DefectKind::Hidden,
            SkipReason::EmptyClass => DefectKind::EmptyClass,
            SkipReason::Missing | SkipReason::Unreadable { .. } => DefectKind::Unreadable,
            SkipReason::EmptyText => DefectKind::EmptyText,
            SkipReason::EmptyLabel => DefectKind::EmptyLabel,
            SkipReason::FewColumns { .. } => DefectKind::FewColumns,
            SkipReason::NotUtf8 => DefectKind::NotUtf8,
            SkipReason::NotJson { .. } => DefectKind::NotJson,
            SkipReason::UnknownSplit { .. } => DefectKind::UnknownSplit,
            SkipReason::TextTooLong { .. } => DefectKind::Huge,
            SkipReason::NoTokens { .. } => DefectKind::NoTokens,
            SkipReason::Image(error) => return Some(error.into()),
            _ => return None,
        };
        Some(Defect { kind, detail: reason.to_string() })
    }
}

impl From<&ImageError> for Defect {
    fn from(error: &ImageError) -> Self {
        let kind = match error {
            ImageError::Empty => DefectKind::Empty,
            ImageError::NotAnImage { .. } => DefectKind::NotAnImage,
            ImageError::Truncated { .. } => DefectKind::Truncated,
            ImageError::TooLarge { .. } | ImageError::FileTooLarge { .. } => DefectKind::Huge,
            ImageError::Corrupt { .. } | ImageError::Unsupported { .. } | ImageError::Io { .. } => {
                DefectKind::Unreadable
            }
        };
        Defect { kind, detail: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::DefectKind;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_json_uses_it() {
        let names: std::collections::BTreeSet<&str> = DefectKind::ALL.iter().map(|k| k.name()).collect();
        assert_eq!(names.len(), DefectKind::ALL.len());
        for kind in DefectKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
