//! The data of a training: what is trained on, what is measured on, and what makes that measure less worth.

use crate::{Backbone, Error, Features, Session, SkippedFile};
use headstart_data::doctor::Exclusions;
use headstart_data::{Dataset, Item, Kind, OpenOptions, TextColumns, split};
use headstart_models::sha256_hex;
use regex::Regex;
use std::collections::BTreeMap;
use std::path::Path;

/// The data, parted into what is trained on and what is measured on.
pub(crate) struct Parts {
    /// What the items are.
    pub(crate) kind: Kind,
    pub(crate) classes: Vec<String>,
    pub(crate) train: Vec<Item>,
    pub(crate) val: Vec<Item>,
    /// The groups of the training and of the validation images, where there are groups.
    pub(crate) groups: Option<[Groups; 2]>,
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
    /// Images whose names give the same text by this regular expression stay on one side.
    pub(crate) group_by: Option<&'a str>,
    /// A list of images of `data` to leave out.
    pub(crate) exclude: Option<&'a Path>,
    /// Where tables hold texts and labels.
    pub(crate) columns: &'a TextColumns,
}

/// Which images belong together.
#[derive(Debug, Clone)]
pub(crate) struct Groups {
    /// The regular expression that says so.
    pub(crate) pattern: String,
    /// The group of each image.
    pub(crate) of: Vec<usize>,
}

impl Groups {
    /// Groups `items` by what `pattern` finds in their file names: its first capture group, else all that matches. An image
    /// in whose name it finds nothing is a group of its own; `telling` says how many are.
    fn find(session: &Session, pattern: &str, items: &[Item], telling: bool) -> Result<Groups, Error> {
        let bad = |detail: String| Error::GroupBy { pattern: pattern.to_owned(), detail };
        let regex = Regex::new(pattern).map_err(|e| bad(e.to_string()))?;
        let mut known = BTreeMap::new();
        let (mut of, mut alone) = (Vec::with_capacity(items.len()), 0);
        for (i, item) in items.iter().enumerate() {
            let path = item.picture.path();
            let name = path.rsplit('/').next().unwrap_or(path);
            let text = regex.captures(name).and_then(|c| c.get(1).or_else(|| c.get(0)));
            alone += usize::from(text.is_none());
            // The number of the first image of a group names it.
            of.push(text.map_or(i, |text| *known.entry(text.as_str()).or_insert(i)));
        }
        if let (true, Some(first)) = (known.is_empty(), items.first()) {
            return Err(bad(format!("it matches no file name, not `{}` say", first.picture.path())));
        }
        if telling {
            let text = format!("{} images in {} groups by their names", items.len() - alone, known.len());
            let rest =
                if alone > 0 { format!("; {alone} match nothing and stand alone") } else { String::new() };
            session.progress.note(&format!("{text}{rest}"));
        }
        Ok(Groups { pattern: pattern.to_owned(), of })
    }

    /// Those of the images at `positions`.
    pub(crate) fn at(&self, positions: &[usize]) -> Groups {
        Groups { pattern: self.pattern.clone(), of: positions.iter().map(|&i| self.of[i]).collect() }
    }

    /// These and `others`.
    pub(crate) fn and(&self, others: &Groups) -> Groups {
        Groups { pattern: self.pattern.clone(), of: [&self.of[..], &others.of].concat() }
    }
}

impl Parts {
    /// Opens the data for a backbone; `classes` are those of a model that has decided them already.
    pub(crate) fn open(
        session: &Session,
        source: &Source,
        backbone: &Backbone,
        classes: Option<Vec<String>>,
    ) -> Result<Parts, Error> {
        backbone.input.expect(&backbone.name, source.data, source.columns)?;
        let options = OpenOptions { classes, columns: source.columns.clone() };
        let mut data = Dataset::open(source.data, &options)?;
        let kind = data.kind;
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
            note(format!(
                "{} of val/ are not used: --val names {}",
                kind.count(unused.len()),
                path.display()
            ));
        }
        let mut skipped: Vec<SkippedFile> = data.skipped.iter().map(SkippedFile::from).collect();
        let mut groups = None;
        let own = source.val.is_some() || data.val.is_some();
        let (train, val) = match (source.val, data.val) {
            (Some(path), _) => {
                backbone.input.expect(&backbone.name, path, source.columns)?;
                let known =
                    OpenOptions { classes: Some(data.classes.clone()), columns: source.columns.clone() };
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
                let (train, val) = match source.group_by {
                    None => split::stratified(&labels, source.val_fraction, source.seed)?,
                    Some(pattern) => {
                        let all = Groups::find(session, pattern, &data.train, true)?;
                        let parted = split::grouped(&labels, &all.of, source.val_fraction, source.seed);
                        let (train, val) = parted.map_err(|e| Error::GroupBy {
                            pattern: pattern.to_owned(),
                            detail: format!("no group can be held out without emptying a class ({e})"),
                        })?;
                        groups = Some([all.at(&train), all.at(&val)]);
                        (train, val)
                    }
                };
                let take =
                    |positions: Vec<usize>| positions.into_iter().map(|i| data.train[i].clone()).collect();
                (take(train), take(val))
            }
        };
        if let (true, Some(pattern)) = (own, source.group_by) {
            let found = |items, telling| Groups::find(session, pattern, items, telling);
            groups = Some([found(&train, true)?, Groups { pattern: pattern.to_owned(), of: Vec::new() }]);
        }
        let val_fraction = (!own).then_some(source.val_fraction);
        Ok(Parts { kind, classes: data.classes, train, val, groups, val_fraction, skipped })
    }
}

/// Says what makes the accuracy less worth than it looks: images on both sides, classes that are not measured, images
/// with two labels.
pub(crate) fn warn(
    session: &Session,
    (kind, classes): (Kind, &[String]),
    train: (&Features, &[usize]),
    val: (&Features, &[usize]),
) {
    let images = |count: usize, what: &str, verb: &str| {
        let s = if count == 1 { "s" } else { "" };
        format!("{} for {what} {verb}{s}", kind.count(count))
    };
    let mut known: BTreeMap<&[u8; 32], usize> = BTreeMap::new();
    let mut two_labels = 0;
    for (hash, &label) in train.0.hashes.iter().zip(train.1) {
        two_labels += usize::from(*known.entry(hash).or_insert(label) != label);
    }
    let leaks = val.0.hashes.iter().filter(|hash| known.contains_key(hash)).count();
    if leaks > 0 {
        let text = images(leaks, "validation", "stand");
        let text = format!("{text} among those for training, byte for byte");
        session.progress.note(&format!("{text}: the accuracy looks better than it is"));
    }
    if two_labels > 0 {
        let text = images(two_labels, "training", "repeat");
        session.progress.note(&format!("{text} another one under a different label"));
    }
    let absent: Vec<&str> = classes
        .iter()
        .enumerate()
        .filter(|(c, _)| !val.1.contains(c))
        .map(|(_, name)| name.as_str())
        .collect();
    if !absent.is_empty() {
        session.progress.note(&format!(
            "no {} for validation, so nothing is known about: {}",
            kind.one(),
            absent.join(", ")
        ));
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
