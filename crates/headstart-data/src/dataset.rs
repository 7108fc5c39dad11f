//! A data set: classes, and the labelled images of each split, whatever layout it came in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::listing::{Kind, Listing, Row, Split, left_out};
use crate::text::TextColumns;
use crate::walk::{self, Folder};
use crate::{DataError, Item, Picture, Skipped, cifar, folder, image, nearest, table, text};

/// How to open a data set.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The classes, in label order, where a model has decided them already. Then every label of the data must
    /// be one of them, no split need be a training split, and one class is enough: what evaluation wants.
    pub classes: Option<Vec<String>>,
    /// Where a table holds texts and their labels.
    pub columns: TextColumns,
}

/// The images of a data set with their labels. Opening reads names, not pixels.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Dataset {
    /// What the items are.
    pub kind: Kind,
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
    /// Opens the data at `path`: class folders, alone or below `train/`, `val/` (`valid/`, `validation/`) and
    /// `test/`; a CSV or TSV table with the columns `path`, `label` and, if wanted, `split`; CIFAR-10 in its binary
    /// or Python version, as a folder or as the published `.tar.gz`. Texts: a CSV, TSV or JSON lines file with the columns
    /// `text`, `label` and, if wanted, `split`, or a folder of such files named `train`, `val` (`dev`) and `test`.
    ///
    /// A class folder without images is left out of `classes` and named in `skipped`.
    ///
    /// # Errors
    ///
    /// [`DataError`], with what was found and what to do.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, DataError> {
        let path = path.as_ref();
        assemble(path, list(path, &options.columns)?, options)
    }

    /// The split to measure on, with its name: `test`, else `val`, else `train`.
    pub fn held_out(&self) -> (&'static str, &[Item]) {
        match (&self.test, &self.val) {
            (Some(test), _) => (Split::Test.name(), test),
            (None, Some(val)) => (Split::Val.name(), val),
            (None, None) => (Split::Train.name(), &self.train),
        }
    }

    /// Pairs of classes that differ in upper and lower case only: often one class by mistake.
    pub fn similar_classes(&self) -> Vec<(&str, &str)> {
        let mut by_lower = BTreeMap::new();
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
/// Each is shown as the path it was named by, with `/` on every platform.
///
/// # Errors
///
/// [`DataError::Missing`] for a path that is not there; [`DataError::NoImages`] for a folder without images.
pub fn open_unlabelled(paths: &[PathBuf]) -> Result<(Vec<Picture>, Vec<Skipped>), DataError> {
    let (mut pictures, mut skipped) = (Vec::new(), Vec::new());
    for path in paths {
        let shown = path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
        if !metadata(path)?.is_dir() {
            pictures.push(Picture::from_file(shown, path));
            continue;
        }
        let before = skipped.len();
        let found = walk::images(path, &shown, &mut skipped)?;
        if found.is_empty() {
            return Err(DataError::NoImages { path: path.clone(), hint: left_out(&skipped[before..]) });
        }
        pictures.extend(found);
    }
    Ok((pictures, skipped))
}

/// Lists the labelled images or texts at `path`, whatever the layout.
pub(crate) fn list(path: &Path, columns: &TextColumns) -> Result<Listing, DataError> {
    if !metadata(path)?.is_dir() {
        return if text::is_text(path, columns) { text::list(path, columns) } else { list_file(path) };
    }
    if let Some(listing) = text::list_folder(path, columns)? {
        return Ok(listing);
    }
    match cifar::list_folder(path)? {
        Some(listing) => Ok(listing),
        None => folder::list(path),
    }
}

pub(crate) fn metadata(path: &Path) -> Result<fs::Metadata, DataError> {
    let cannot = |detail: String| DataError::Io { path: path.to_owned(), detail };
    let found = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            DataError::Missing { path: path.to_owned(), nearest: nearest::paths(path) }
        }
        _ => cannot(error.to_string()),
    })?;
    // Opening a pipe would wait for its writer, for ever and deaf to Ctrl-C.
    if found.is_file() || found.is_dir() {
        Ok(found)
    } else {
        Err(cannot("it is neither a file nor a folder".to_owned()))
    }
}

/// A table or an archive.
fn list_file(path: &Path) -> Result<Listing, DataError> {
    let mut first = Vec::new();
    File::open(path)
        .and_then(|file| file.take(32).read_to_end(&mut first))
        .map_err(|error| DataError::Io { path: path.to_owned(), detail: error.to_string() })?;
    if first.starts_with(b"\x1F\x8B") {
        return cifar::list_archive(path);
    }
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    if ["csv", "tsv", "tab", "txt"].iter().any(|known| ending == *known) {
        return table::list(path);
    }
    Err(DataError::NotData { path: path.to_owned(), image: image::looks_like_image(&first) })
}

/// Turns class names into labels and checks that the whole makes sense.
fn assemble(path: &Path, listing: Listing, options: &OpenOptions) -> Result<Dataset, DataError> {
    let Listing { kind, rows, skipped, empty_classes } = listing;
    let root = || path.to_owned();
    if rows.is_empty() {
        let (path, hint) = (root(), left_out(&skipped));
        return Err(match kind {
            Kind::Images => DataError::NoImages { path, hint },
            Kind::Texts => DataError::NoTexts { path, hint },
        });
    }
    let classes = match &options.classes {
        Some(classes) => classes.clone(),
        None => training_classes(path, &rows, empty_classes)?,
    };
    let labels: BTreeMap<&str, usize> = classes.iter().enumerate().map(|(i, c)| (c.as_str(), i)).collect();
    let mut splits: BTreeMap<Split, Vec<Item>> = BTreeMap::new();
    for Row { split, class, picture } in rows {
        let Some(&label) = labels.get(&*class) else {
            let names = classes.iter().map(String::as_str);
            let (label, nearest) = (class.to_string(), nearest::names(&class, names));
            let split = split.name();
            return Err(DataError::UnknownLabel { path: root(), split, label, nearest, classes });
        };
        splits.entry(split).or_default().push(Item { picture, label });
    }
    drop(labels);
    Ok(Dataset {
        kind,
        classes,
        train: splits.remove(&Split::Train).unwrap_or_default(),
        val: splits.remove(&Split::Val),
        test: splits.remove(&Split::Test),
        skipped,
    })
}

/// The classes of the training images, sorted.
fn training_classes(path: &Path, rows: &[Row], empty: usize) -> Result<Vec<String>, DataError> {
    let root = || path.to_owned();
    let train = || rows.iter().filter(|row| row.split == Split::Train);
    let classes: BTreeSet<&str> = train().map(|row| &*row.class).collect();
    let classes: Vec<String> = classes.into_iter().map(str::to_owned).collect();
    match classes.as_slice() {
        [] => {
            let found: BTreeSet<&str> = rows.iter().map(|row| row.split.name()).collect();
            let found = found.into_iter().map(str::to_owned).collect();
            return Err(DataError::NoTrain { path: root(), found });
        }
        [class] if empty == 0 => {
            let hint = class_folders_below(&path.join(class));
            return Err(DataError::OneClass { path: root(), class: class.clone(), hint });
        }
        _ => {}
    }
    let (images, named) = (train().count(), classes.len() + empty);
    if images < named {
        return Err(DataError::FewImages { path: root(), images, classes: named });
    }
    if let [class] = classes.as_slice() {
        let hint = format!("{empty} more class folders are empty");
        return Err(DataError::OneClass { path: root(), class: class.clone(), hint });
    }
    Ok(classes)
}

/// Where the classes of a data set with one class probably are: one folder further down.
fn class_folders_below(class: &Path) -> String {
    match Folder::read(class).map(|folder| folder.folders).unwrap_or_default() {
        below if below.is_empty() => String::new(),
        below => format!("are the classes {}? then name {}", below.join(", "), class.display()),
    }
}
