//! The data of a training: what is trained on, what is measured on, and what makes that measure less worth.

use crate::{Error, Features, Session, SkippedFile};
use headstart_data::doctor::Exclusions;
use headstart_data::{Dataset, Item, OpenOptions, split};
use headstart_models::sha256_hex;
use std::collections::BTreeMap;
use std::path::Path;

/// The data, parted into what is trained on and what is measured on.
pub(crate) struct Parts {
    pub(crate) classes: Vec<String>,
    pub(crate) train: Vec<Item>,
    pub(crate) val: Vec<Item>,
    /// The share that was held out here; none where the data set its own apart.
    pub(crate) val_fraction: Option<f64>,
    pub(crate) skipped: Vec<SkippedFile>,
}

/// Where data is, and how it is parted where it does not say so itself.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) data: &'a Path,
    /// Validation data of its own.
    pub(crate) val: Option<&'a Path>,
    /// Share of each class held out otherwise, drawn from `seed`.
    pub(crate) val_fraction: f64,
    pub(crate) seed: u64,
    /// A list of images of `data` to leave out.
    pub(crate) exclude: Option<&'a Path>,
}

impl Parts {
    /// Opens the data; `classes` are those of a model that has decided them already.
    pub(crate) fn open(
        session: &Session,
        source: &Source,
        classes: Option<Vec<String>>,
    ) -> Result<Parts, Error> {
        let mut data = Dataset::open(source.data, &OpenOptions { classes })?;
        let note = |text: String| session.progress.note(&text);
        if let Some(list) = source.exclude {
            let exclusions = Exclusions::read(list)?;
            let unknown = exclusions.apply(&mut data);
            if let Some(first) = unknown.first() {
                note(format!(
                    "{} of the paths in {} are not in the data, the first is {first}",
                    unknown.len(),
                    list.display()
                ));
            }
        }
        for (a, b) in data.similar_classes() {
            note(format!(
                "the classes \"{a}\" and \"{b}\" differ in upper and lower case only: are they one class?"
            ));
        }
        if let (Some(path), Some(unused)) = (source.val, &data.val) {
            note(format!("{} images of val/ are not used: --val names {}", unused.len(), path.display()));
        }
        let mut skipped: Vec<SkippedFile> = data.skipped.iter().map(SkippedFile::from).collect();
        let own = source.val.is_some() || data.val.is_some();
        let (train, val) = match (source.val, data.val) {
            (Some(path), _) => {
                let known = OpenOptions { classes: Some(data.classes.clone()) };
                let val = Dataset::open(path, &known)?;
                skipped.extend(val.skipped.iter().map(SkippedFile::from));
                let (split, items) = val.held_out();
                if items.len()
                    < val.train.len() + val.val.iter().chain(&val.test).map(Vec::len).sum::<usize>()
                {
                    note(format!("of {} only {split}/ is used for validation", path.display()));
                }
                (data.train, items.to_vec())
            }
            (None, Some(val)) => (data.train, val),
            (None, None) => {
                let labels: Vec<usize> = data.train.iter().map(|i| i.label).collect();
                let (train, val) = split::stratified(&labels, source.val_fraction, source.seed)?;
                let take =
                    |positions: Vec<usize>| positions.into_iter().map(|i| data.train[i].clone()).collect();
                (take(train), take(val))
            }
        };
        let val_fraction = (!own).then_some(source.val_fraction);
        Ok(Parts { classes: data.classes, train, val, val_fraction, skipped })
    }
}

/// Says what makes the accuracy less worth than it looks: images on both sides, classes that are not measured, images
/// with two labels.
pub(crate) fn warn(
    session: &Session,
    classes: &[String],
    train: (&Features, &[usize]),
    val: (&Features, &[usize]),
) {
    let images = |(count, what): (usize, &str)| match count {
        1 => format!("1 image {what}"),
        n => format!("{n} images {what}"),
    };
    let mut known: BTreeMap<&[u8; 32], usize> = BTreeMap::new();
    let mut two_labels = 0;
    for (hash, &label) in train.0.hashes.iter().zip(train.1) {
        two_labels += usize::from(*known.entry(hash).or_insert(label) != label);
    }
    let leaks = val.0.hashes.iter().filter(|hash| known.contains_key(hash)).count();
    if leaks > 0 {
        let text = images((leaks, "for validation stand among those for training, byte for byte"));
        session.progress.note(&format!("{text}: the accuracy looks better than it is"));
    }
    if two_labels > 0 {
        session
            .progress
            .note(&images((two_labels, "for training repeat another one under a different label")));
    }
    let absent: Vec<&str> = classes
        .iter()
        .enumerate()
        .filter(|(c, _)| !val.1.contains(c))
        .map(|(_, name)| name.as_str())
        .collect();
    if !absent.is_empty() {
        session
            .progress
            .note(&format!("no image for validation, so nothing is known about: {}", absent.join(", ")));
    }
}

/// Whether faults are accepted.
///
/// # Errors
/// Where there are some and `strict` accepts none.
pub(crate) fn strict(strict: bool, skipped: &[SkippedFile]) -> Result<(), Error> {
    let faults: Vec<&SkippedFile> = skipped.iter().filter(|s| s.fault).collect();
    match faults.first() {
        Some(first) if strict => {
            let first = format!("{} ({})", first.path, first.detail);
            Err(Error::Strict { count: faults.len(), first })
        }
        _ => Ok(()),
    }
}

/// What was trained on: the content and label of every image, in order.
pub(crate) fn data_hash(features: &Features, labels: &[usize]) -> String {
    let mut bytes = Vec::with_capacity(features.hashes.len() * 40);
    for (hash, &label) in features.hashes.iter().zip(labels) {
        bytes.extend(hash);
        bytes.extend((label as u64).to_le_bytes());
    }
    sha256_hex(&bytes)
}
