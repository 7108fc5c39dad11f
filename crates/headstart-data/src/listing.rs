//! What a layout lists before labels are numbers: split, class name and image, and what was left out.

use std::sync::Arc;

use crate::{Picture, SkipReason, Skipped};

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Split {
    Train,
    Val,
    Test,
}

impl Split {
    /// The split that a folder or a table's `split` column calls `name`.
    pub(crate) fn named(name: &str) -> Option<Split> {
        match name.to_ascii_lowercase().as_str() {
            "train" => Some(Split::Train),
            "val" | "valid" | "validation" => Some(Split::Val),
            "test" => Some(Split::Test),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }
}

/// What the items of a data set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Pictures.
    #[default]
    Images,
    /// Texts.
    Texts,
}

impl Kind {
    /// One of them, in a word: `image`.
    pub fn one(self) -> &'static str {
        match self {
            Kind::Images => "image",
            Kind::Texts => "text",
        }
    }

    /// Several of them: `images`.
    pub fn many(self) -> &'static str {
        match self {
            Kind::Images => "images",
            Kind::Texts => "texts",
        }
    }

    /// `1 image`, `2 images`.
    pub fn count(self, n: usize) -> String {
        match n {
            1 => format!("1 {}", self.one()),
            n => format!("{n} {}", self.many()),
        }
    }
}

/// One labelled image.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) split: Split,
    pub(crate) class: Arc<str>,
    pub(crate) picture: Picture,
}

/// All labelled images in the order of the layout.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) kind: Kind,
    pub(crate) rows: Vec<Row>,
    pub(crate) skipped: Vec<Skipped>,
    /// Training classes that are named but have no image.
    pub(crate) empty_classes: usize,
}

impl Listing {
    pub(crate) fn skip(&mut self, path: impl Into<String>, reason: SkipReason) {
        self.skipped.push(Skipped { path: path.into(), reason });
    }
}

/// The first few things that were left out, in words, for an error that nothing is left.
pub(crate) fn left_out(skipped: &[Skipped]) -> String {
    const NAMED: usize = 3;
    let mut words: Vec<String> =
        skipped.iter().take(NAMED).map(|s| format!("{}: {}", s.path, s.reason)).collect();
    if skipped.len() > NAMED {
        words.push(format!("{} more", skipped.len() - NAMED));
    }
    words.join("; ")
}
