//! A data set as it lies there, faults included.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::listing::{Kind, Listing, Row};
use crate::{DataError, Picture, SkipReason, Skipped, TextColumns, dataset, text, walk};

/// All images or texts of a data set, in the order of its layout, and everything that is none.
#[derive(Debug, Clone)]
pub struct Survey {
    /// What they are.
    pub kind: Kind,
    /// Names of all classes that any split names, those without images included, sorted by code point; empty where the data
    /// has no labels.
    pub classes: Vec<String>,
    /// The splits that are there: of `train`, `val` and `test`, in that order.
    pub splits: Vec<&'static str>,
    /// The images, or the texts.
    pub images: Vec<Surveyed>,
    /// What is not among them, and why.
    pub skipped: Vec<Skipped>,
}

/// An image or a text of a survey.
#[derive(Debug, Clone)]
pub struct Surveyed {
    /// The image or the text.
    pub picture: Picture,
    /// The position of its class; none where the data has no labels.
    pub label: Option<usize>,
    /// `train`, `val` or `test`; a folder of classes alone, or of images alone, is `train`.
    pub split: &'static str,
}

impl Survey {
    /// Lists the data at `path` in any layout that [`Dataset::open`](crate::Dataset::open) reads, a folder of images
    /// without labels, or a table of texts without a column of labels where none was asked for. Classes that only one split
    /// has, and single ones, are accepted. `columns` says where tables hold texts and labels.
    ///
    /// # Errors
    ///
    /// [`DataError`] where it is not there, holds nothing, or contradicts itself.
    pub fn of(path: &Path, columns: &TextColumns) -> Result<Survey, DataError> {
        let listing = match dataset::list(path, columns) {
            Err(DataError::NoClasses { path: found, .. }) if found == path => {
                let mut skipped = Vec::new();
                let pictures = walk::images(path, "", &mut skipped)?;
                return Ok(Survey::unlabelled(Kind::Images, pictures, skipped));
            }
            Err(error @ DataError::TextColumns { .. }) if columns.label.is_none() && path.is_file() => {
                let (texts, skipped) = text::without_labels(path, columns).map_err(|_| error)?;
                return Ok(Survey::unlabelled(Kind::Texts, texts, skipped));
            }
            listing => listing?,
        };
        let Listing { kind, rows, skipped, .. } = listing;
        if rows.is_empty() {
            let (path, hint) = (path.to_owned(), crate::listing::left_out(&skipped));
            return Err(match kind {
                Kind::Images => DataError::NoImages { path, hint },
                Kind::Texts => DataError::NoTexts { path, hint },
            });
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
        Ok(Survey { kind, classes, splits, images, skipped })
    }

    fn unlabelled(kind: Kind, items: Vec<Picture>, skipped: Vec<Skipped>) -> Survey {
        let images = items.into_iter().map(|picture| Surveyed { picture, label: None, split: "train" });
        Survey { kind, classes: Vec::new(), splits: vec!["train"], images: images.collect(), skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::Survey;
    use crate::{DataError, Kind, TextColumns};

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
        let survey = Survey::of(&folder.path().join("s"), &TextColumns::default()).unwrap();
        assert_eq!(survey.classes, ["ant", "bee", "wasp"]);
        assert_eq!(survey.splits, ["train", "val"]);
        let images: Vec<_> = survey.images.iter().map(|i| (i.picture.path(), i.label, i.split)).collect();
        assert_eq!(images, [("train/ant/1.jpg", Some(0), "train"), ("val/bee/1.jpg", Some(1), "val")]);
        let skipped: Vec<_> = survey.skipped.iter().map(|s| (s.path.as_str(), s.reason.name())).collect();
        assert_eq!(skipped, [("train/wasp", "empty_class"), ("val/.x.jpg", "hidden")]);

        let survey = Survey::of(&folder.path().join("flat"), &TextColumns::default()).unwrap();
        assert_eq!((survey.images[0].picture.path(), survey.images[0].label), ("1.jpg", None));
        assert_eq!((survey.classes.len(), survey.skipped.len()), (0, 1));
        assert!(Survey::of(&folder.path().join("nowhere"), &TextColumns::default()).is_err());
    }

    #[test]
    fn texts_are_surveyed_with_labels_and_without() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("r.csv", "text,label,split\nfine,pos,train\nbad,neg,dev\n,neg,dev\nso,neg,never\n");
        write("plain.tsv", "id\ttext\n1\tfine\n2\t \n");
        let of = |name: &str, columns: &TextColumns| Survey::of(&folder.path().join(name), columns);
        let survey = of("r.csv", &TextColumns::default()).unwrap();
        assert_eq!(
            (survey.kind, &survey.classes[..]),
            (Kind::Texts, &["neg".to_owned(), "pos".to_owned()][..])
        );
        let texts: Vec<_> = survey.images.iter().map(|i| (i.picture.path(), i.label, i.split)).collect();
        assert_eq!(texts, [("r.csv:2", Some(1), "train"), ("r.csv:3", Some(0), "val")]);
        let skipped: Vec<_> = survey.skipped.iter().map(|s| (s.path.as_str(), s.reason.name())).collect();
        assert_eq!(skipped, [("r.csv:4", "empty_text"), ("r.csv:5", "unknown_split")]);

        let survey = of("plain.tsv", &TextColumns::default()).unwrap();
        assert_eq!((survey.images[0].picture.path(), survey.images[0].label), ("plain.tsv:2", None));
        assert_eq!(survey.skipped[0].reason.name(), "empty_text");
        // A column that was asked for must be there.
        let named = TextColumns { label: Some("mood".parse().unwrap()), ..TextColumns::default() };
        assert!(matches!(of("plain.tsv", &named), Err(DataError::TextColumns { .. })));
    }
}
