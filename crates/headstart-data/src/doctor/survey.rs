//! A data set as it lies there, faults included.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::listing::{Kind, Listing, Row};
use crate::{DataError, Picture, SkipReason, Skipped, TextColumns, dataset, walk};

/// All images of a data set, in the order of its layout, and everything that is none.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Names of all classes that any split names, those without images included, sorted by code point; empty where the data
    /// has no labels.
    pub classes: Vec<String>,
    /// The splits that are there: of `train`, `val` and `test`, in that order.
    pub splits: Vec<&'static str>,
    /// The images.
    pub images: Vec<Surveyed>,
    /// What is not among them, and why.
    pub skipped: Vec<Skipped>,
}

/// An image of a survey.
#[derive(Debug, Clone)]
pub struct Surveyed {
    /// The image.
    pub picture: Picture,
    /// The position of its class; none where the data has no labels.
    pub label: Option<usize>,
    /// `train`, `val` or `test`; a folder of classes alone, or of images alone, is `train`.
    pub split: &'static str,
}

impl Survey {
    /// Lists the data at `path` in any layout that [`Dataset::open`](crate::Dataset::open) reads, or a folder of images
    /// without labels. Classes that only one split has, and single ones, are accepted.
    ///
    /// # Errors
    ///
    /// [`DataError`] where it is not there, holds no images, or contradicts itself.
    pub fn of(path: &Path) -> Result<Survey, DataError> {
        let listing = match dataset::list(path, &TextColumns::default()) {
            Err(DataError::NoClasses { path: found, .. }) if found == path => {
                return Survey::unlabelled(path);
            }
            listing => listing?,
        };
        let Listing { kind, rows, skipped, .. } = listing;
        if kind == Kind::Texts {
            return Err(DataError::NotImages { path: path.to_owned() });
        }
        if rows.is_empty() {
            let hint = crate::listing::left_out(&skipped);
            return Err(DataError::NoImages { path: path.to_owned(), hint });
        }
        let empty = skipped.iter().filter(|s| s.reason == SkipReason::EmptyClass);
        let empty = empty.map(|s| s.path.rsplit('/').next().unwrap_or_default().trim());
        let classes: BTreeSet<&str> = rows.iter().map(|row| &*row.class).chain(empty).collect();
        let classes: Vec<String> = classes.into_iter().map(str::to_owned).collect();
        let labels: BTreeMap<&str, usize> =
            classes.iter().enumerate().map(|(i, c)| (c.as_str(), i)).collect();
        let splits: BTreeSet<_> = rows.iter().map(|row| row.split).collect();
        let splits = splits.into_iter().map(|split| split.name()).collect();
        let images = rows.into_iter().map(|Row { split, class, picture }| Surveyed {
            picture,
            label: labels.get(&*class).copied(),
            split: split.name(),
        });
        let images = images.collect();
        drop(labels);
        Ok(Survey { classes, splits, images, skipped })
    }

    fn unlabelled(path: &Path) -> Result<Survey, DataError> {
        let mut skipped = Vec::new();
        let pictures = walk::images(path, "", &mut skipped)?;
        let images = pictures.into_iter().map(|picture| Surveyed { picture, label: None, split: "train" });
        Ok(Survey { classes: Vec::new(), splits: vec!["train"], images: images.collect(), skipped })
    }
}

#[cfg(test)]
mod tests {
    use super::Survey;

    #[test]
    fn what_a_training_would_refuse_is_surveyed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"x").unwrap();
        };
        for name in ["s/train/ant/1.jpg", "s/val/bee/1.jpg", "s/val/.x.jpg", "flat/1.jpg", "flat/notes.txt"] {
            write(name);
        }
        std::fs::create_dir_all(folder.path().join("s/train/wasp")).unwrap();
        let survey = Survey::of(&folder.path().join("s")).unwrap();
        assert_eq!(survey.classes, ["ant", "bee", "wasp"]);
        assert_eq!(survey.splits, ["train", "val"]);
        let images: Vec<_> = survey.images.iter().map(|i| (i.picture.path(), i.label, i.split)).collect();
        assert_eq!(images, [("train/ant/1.jpg", Some(0), "train"), ("val/bee/1.jpg", Some(1), "val")]);
        let skipped: Vec<_> = survey.skipped.iter().map(|s| (s.path.as_str(), s.reason.name())).collect();
        assert_eq!(skipped, [("train/wasp", "empty_class"), ("val/.x.jpg", "hidden")]);

        let survey = Survey::of(&folder.path().join("flat")).unwrap();
        assert_eq!((survey.images[0].picture.path(), survey.images[0].label), ("1.jpg", None));
        assert_eq!((survey.classes.len(), survey.skipped.len()), (0, 1));
        assert!(Survey::of(&folder.path().join("nowhere")).is_err());
    }
}
