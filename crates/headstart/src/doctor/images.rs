//! Images or texts by name, label and split: what findings about several of them speak of.

use headstart_data::{Kind, Picture};

/// Which split may leak into which: from earlier ones into later ones.
const SPLITS: [&str; 3] = ["train", "val", "test"];

/// Images or texts in any order, and the names of their classes.
#[derive(Debug, Clone)]
pub(crate) struct Images<'a> {
    /// What they are.
    pub(crate) kind: Kind,
    pub(crate) images: Vec<Image<'a>>,
    /// Empty where the data has no labels.
    pub(crate) classes: &'a [String],
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image<'a> {
    pub(crate) picture: &'a Picture,
    /// The position of its class.
    pub(crate) label: Option<usize>,
    /// `train`, `val` or `test`.
    pub(crate) split: &'static str,
}

impl Images<'_> {
    /// The place of an image in a list.
    pub(super) fn order(&self, image: usize) -> (&str, u64, &str) {
        by_line(self.path(image))
    }

    pub(super) fn path(&self, image: usize) -> &str {
        self.images[image].picture.path()
    }

    /// Whether an image of both splits is a leak: `first` trains what `held_out` measures.
    pub(super) fn is_before(&self, first: usize, held_out: usize) -> bool {
        let place = |image: usize| SPLITS.iter().position(|split| *split == self.images[image].split);
        place(first) < place(held_out)
    }

    pub(super) fn paths(&self, images: &[usize]) -> Vec<String> {
        images.iter().map(|&image| self.path(image).to_owned()).collect()
    }

    /// Whether these images have more than one label.
    pub(super) fn contradict(&self, images: &[usize]) -> bool {
        images.windows(2).any(|pair| self.images[pair[0]].label != self.images[pair[1]].label)
    }
}

/// A path as people order it: `r.tsv:9` comes before `r.tsv:10`.
pub(super) fn by_line(path: &str) -> (&str, u64, &str) {
    let parts = path.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?)));
    let (file, line) = parts.unwrap_or((path, 0));
    (file, line, path)
}
