//! What can be wrong with a data set as a whole. What is wrong with one image is an [`ImageError`](crate::ImageError).

use std::path::PathBuf;

/// Why data could not be opened or prepared. Every message says what was found and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The path does not exist.
    #[error("{} does not exist{}", path.display(), did_you_mean(nearest))]
    Missing {
        /// The path asked for.
        path: PathBuf,
        /// The nearest names that do exist, best first.
        nearest: Vec<String>,
    },
    /// The system refused to read a file or folder.
    #[error("cannot read {}: {detail}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        detail: String,
    },
    /// A file that is no table and no CIFAR-10 archive.
    #[error(
        "{} is neither a folder of classes, nor a table (.csv or .tsv), nor a CIFAR-10 archive (.tar.gz){}",
        path.display(), if *image { "; it is a single image: name the folder that holds the class folders" } else { "" }
    )]
    NotData {
        /// The file.
        path: PathBuf,
        /// Whether it is an image.
        image: bool,
    },
    /// No image was found at all.
    #[error("{} holds no images{}", path.display(), in_brackets(hint))]
    NoImages {
        /// The folder, table or archive.
        path: PathBuf,
        /// What was there instead, or empty.
        hint: String,
    },
    /// Images, but no class folders.
    #[error(
        "{} holds {images} images but no class folders: put the images of each class into a folder \
         named after the class, or give a table with the columns path,label", path.display()
    )]
    NoClasses {
        /// The folder.
        path: PathBuf,
        /// Images that lie in it.
        images: usize,
    },
    /// A classifier needs two classes.
    #[error("{} has one class only, \"{class}\": training needs two or more{}", path.display(), in_brackets(hint))]
    OneClass {
        /// The data root.
        path: PathBuf,
        /// The class.
        class: String,
        /// Where the class folders probably are, or empty.
        hint: String,
    },
    /// Fewer training images than classes.
    #[error(
        "{} has {images} training images for {classes} classes: each class needs at least one", path.display()
    )]
    FewImages {
        /// The data root.
        path: PathBuf,
        /// Training images found.
        images: usize,
        /// Classes named.
        classes: usize,
    },
    /// Two class folders whose names are equal when spaces around them are dropped.
    #[error(
        "{}: the class folders \"{first}\" and \"{second}\" have the same name but for spaces: \
         rename or merge one of them", path.display()
    )]
    DuplicateClass {
        /// The folder that holds both.
        path: PathBuf,
        /// One folder's name.
        first: String,
        /// The other's.
        second: String,
    },
    /// A label of a split that no training image has.
    #[error(
        "{} has the label \"{label}\"{}, which is none of the {} known classes{}",
        path.display(), within(split), classes.len(), did_you_mean_or_list(nearest, classes)
    )]
    UnknownLabel {
        /// The data root.
        path: PathBuf,
        /// `"val"` or `"test"`, or `"train"` where the classes were given by the caller.
        split: &'static str,
        /// The label.
        label: String,
        /// The nearest known classes.
        nearest: Vec<String>,
        /// All known classes.
        classes: Vec<String>,
    },
    /// Splits, but none to train on.
    #[error(
        "{} has no training images, only {}: put the training images under train/", path.display(), found.join(" and ")
    )]
    NoTrain {
        /// The data root.
        path: PathBuf,
        /// The splits that are there.
        found: Vec<String>,
    },
    /// Two folders for the same split.
    #[error("{} has both {first}/ and {second}/, which mean the same: keep one", path.display())]
    DuplicateSplit {
        /// The data root.
        path: PathBuf,
        /// One folder.
        first: String,
        /// The other.
        second: String,
    },
    /// Two files for the same split.
    #[error("{} has both {first} and {second}, which mean the same split: keep one", path.display())]
    DuplicateSplitFile {
        /// The data root.
        path: PathBuf,
        /// One file.
        first: String,
        /// The other.
        second: String,
    },
    /// A table of texts without the columns that were asked for.
    #[error("{} {}; it has: {}{}", path.display(), text_columns(wanted, *numbers, *json), list(found), text_hint(wanted, *numbers, *json))]
    TextColumns {
        /// The file.
        path: PathBuf,
        /// The columns that were asked for, text first.
        wanted: Vec<String>,
        /// How many of them by their number.
        numbers: usize,
        /// Whether the file holds JSON objects.
        json: bool,
        /// The fields of its first line.
        found: Vec<String>,
    },
    /// No text was found at all.
    #[error("{} holds no texts that can be used{}", path.display(), in_brackets(hint))]
    NoTexts {
        /// The file or folder.
        path: PathBuf,
        /// What was there instead, or empty.
        hint: String,
    },
    /// Something else where texts are wanted.
    #[error("{} is {found}: texts come in .csv, .tsv and .jsonl files, or as the lines of any other", path.display())]
    NotTexts {
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A table without the columns it needs.
    #[error(
        "{} needs a first line with the columns path and label (and, if wanted, split); it has: {} (texts have the columns \
         text and label; --text-column and --label-column name others, or number them where no line names them)",
        path.display(), list(found)
    )]
    TableColumns {
        /// The table.
        path: PathBuf,
        /// The columns of its first line.
        found: Vec<String>,
    },
    /// A line of a table that cannot be read.
    #[error("{}, line {line}: {detail}", path.display())]
    TableLine {
        /// The table.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// One path with two labels.
    #[error(
        "{}, line {line}: {image} is labelled \"{second}\", but an earlier line labels it \"{first}\": keep one",
        path.display()
    )]
    TwoLabels {
        /// The table.
        path: PathBuf,
        /// The later line, counted from 1.
        line: u64,
        /// The image's path in the table.
        image: String,
        /// The earlier label.
        first: String,
        /// The later label.
        second: String,
    },
    /// A CIFAR-10 file that is not as published.
    #[error("{} is not a CIFAR-10 file: {detail}", path.display())]
    Cifar {
        /// The file, or the file inside the archive.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A share for validation that is no share.
    #[error("the share of images for validation must lie between 0 and 1, not {found}")]
    Fraction {
        /// The share asked for.
        found: f64,
    },
    /// No class has an image to spare for validation.
    #[error(
        "none of the classes has two or more images ({images} images in all), so none can be held out for \
         validation: add images, or name a validation folder"
    )]
    NothingToHoldOut {
        /// All images.
        images: usize,
    },
    /// A preprocessing value out of range.
    #[error("preprocessing: {field} must be {expected}, not {found}")]
    Preprocess {
        /// The field's name.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// A folder of classes alone counts as `train`, though nothing in it is called so.
fn within(split: &str) -> String {
    if split == "train" { String::new() } else { format!(" in {split}") }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => names.iter().map(|name| short(name)).collect::<Vec<_>>().join(", "),
    }
}

/// A name that is too long for one, as a sentence where names were expected, cut.
fn short(name: &str) -> String {
    const MOST: usize = 40;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}..", &name[..end]),
        None => name.to_owned(),
    }
}

fn did_you_mean(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}

fn did_you_mean_or_list(nearest: &[String], classes: &[String]) -> String {
    match (nearest, classes.len()) {
        ([], 0..=20) => format!(": {}", list(classes)),
        (nearest, _) => did_you_mean(nearest),
    }
}

fn in_brackets(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(" ({hint})") }
}

/// What a table of texts needs.
fn text_columns(wanted: &[String], numbers: usize, json: bool) -> String {
    let all = wanted.join(" and ");
    match (json, numbers) {
        (true, 0) => format!("needs objects with {all}, one a line"),
        (true, _) => "holds JSON objects, whose fields have names, not numbers".to_owned(),
        (false, 0) => format!("needs a first line with the columns {all}"),
        (false, n) if n == wanted.len() => format!("has no columns {all}"),
        _ => format!("needs both columns by name or both by number, not {all}"),
    }
}

/// What to do about it.
fn text_hint(wanted: &[String], numbers: usize, json: bool) -> &'static str {
    match (json, numbers, wanted.len()) {
        (false, 0, 1) => " (--text-column names another, or its number where no line names them)",
        (_, 0, _) => {
            " (--text-column and --label-column name others, or number them, from 1, where no line names them)"
        }
        _ => "",
    }
}
