//! The data doctor: what is wrong with a data set, before anything is trained on it.
//!
//! ```text
//! Survey, examine      every file or row: defects, hashes of bytes and of what they show -> problems, duplicates
//! extract              features of what is usable, from the cache          -> near duplicates, outliers
//! held-out heads       logistic regression on the features, cross-validated -> suspects, leakage, shift
//! ```
//!
//! It changes nothing. [`FixList`] writes down what it would leave out, for `train --exclude`.

mod brief;
mod duplicates;
mod files;
mod fix_list;
mod images;
mod leakage;
mod near;
mod outliers;
mod report;
mod resemblance;
mod rows;
mod shift;
mod suspects;
mod training;
mod units;

pub use fix_list::FixList;
pub use report::{Aspect, DoctorReport, Leakage, Missing, NearDuplicates, Outlier, Problem, Shift, Suspect};

pub use training::Findings;

pub(crate) use brief::brief;
pub(crate) use images::{Image, Images};
pub(crate) use training::findings;

use self::duplicates::{Equal, leaks, near_groups};
use self::files::Files;
use self::rows::Rows;
use crate::{Backbone, Error, Features, Input, Session, SkippedFile, extract};
use headstart_data::doctor::{Defect, Survey};
use headstart_data::{DataError, Kind, Picture, Skipped, TextColumns};
use headstart_graph::Precision;
use headstart_models::Tokens;
use headstart_tensor::Tensor;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What the doctor is told.
#[derive(Debug, Clone, PartialEq)]
pub struct DoctorOptions {
    /// The data: a folder, table or archive, with labels or without.
    pub data: PathBuf,
    /// A second set, to compare with.
    pub against: Option<PathBuf>,
    /// Where tables hold texts and labels.
    pub columns: TextColumns,
    /// The network whose features are looked at: `arch` or `arch.tag`; or a text encoder, as for `train`.
    pub backbone: String,
    /// Its precision.
    pub precision: Precision,
    /// Whether files alone are looked at, without a network.
    pub files_only: bool,
}

impl DoctorOptions {
    /// The default backbone in f32, whose features `train` uses too.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        DoctorOptions {
            data: data.into(),
            against: None,
            columns: TextColumns::default(),
            backbone: headstart_models::DEFAULT_BACKBONE.to_owned(),
            precision: Precision::F32,
            files_only: false,
        }
    }
}

/// Looks at the data.
///
/// # Errors
/// Where the data or the network cannot be opened, or the run was interrupted: what is wrong with the data is in the report.
pub fn doctor(session: &Session, options: &DoctorOptions) -> Result<DoctorReport, Error> {
    let started = Instant::now();
    let survey = surveyed(session, &options.data, &options.columns)?;
    let against = options.against.as_deref();
    let second = against.map(|path| without_labels(path, &options.columns)).transpose()?;
    let mut backbone = match options.files_only {
        true => None,
        false => Some(Backbone::open(session, &options.backbone, None, None)?),
    };
    if let Some(Backbone { input, name, .. }) = &backbone {
        let mut paths = std::iter::once(options.data.as_path()).chain(against);
        paths.try_for_each(|path| input.expect(name, path, &options.columns))?;
    }
    let tokens = backbone.as_ref().and_then(tokens).cloned();
    let (what, there) = match survey.kind {
        Kind::Images => ("files", "files of the second set"),
        Kind::Texts => ("rows", "rows of the second set"),
    };
    let files = Files::examine(session, survey, tokens.as_ref(), what)?;
    let second = second.map(|survey| Files::examine(session, survey, tokens.as_ref(), there)).transpose()?;
    let mut report = DoctorReport {
        kind: files.survey.kind,
        data: options.data.display().to_string(),
        files: files.examined.len(),
        problems: files.problems(),
        aspect: files.aspects(),
        left_out: left_out(&files.survey.skipped),
        backbone: backbone.as_ref().map(|backbone| backbone.name.clone()),
        ..DoctorReport::default()
    };
    balance(&files, &mut report);
    let all = files.images();
    let equal = Equal::of(&all, files.hashes());
    report.duplicates = equal.0.iter().map(|group| all.paths(group)).collect();
    let contradictions = equal.0.iter().filter(|group| all.contradict(group));
    report.contradictions = contradictions.map(|group| all.paths(group)).collect();
    report.differing =
        equal.0.iter().filter(|group| files.differ(group)).map(|group| all.paths(group)).collect();

    let mut near = Vec::new();
    if let Some(backbone) = &mut backbone {
        let usable = files.usable();
        backbone.lower(session, options.precision, &pictures(&files, &usable))?;
        let features = features(session, backbone, &files, &usable, "features")?;
        report.features = [features.computed, features.cached];
        let images = features.kept.iter().map(|&i| usable[i]).collect();
        let rows = Rows { values: &features.values, images, of: &all };
        near = equal.others(rows.near(session)?);
        report.near_duplicates = near_groups(&all, &near);
        let found = suspects::suspects(session, &rows)?;
        (report.suspects, report.wrong_labels) = (found.suspects, found.wrong);
        report.agreed_labels = found.agreed;
        report.outliers = outliers::outliers(session, &rows)?;
        report.leakage = leakage::leakage(session, &rows, &leaks(&all, &equal, &near))?;
        if let Some(second) = &second {
            report.shift = compare(session, backbone, (&files, &rows), second, options)?;
            report.shift_auc = report.shift.as_ref().map(|shift| shift.auc);
        }
    }
    let leaks = leaks(&all, &equal, &near);
    report.leaks =
        leaks.iter().map(|l| [all.path(l.first).to_owned(), all.path(l.held_out).to_owned()]).collect();
    report.equal_leaks = leaks.iter().filter(|leak| leak.equal).count();
    let untrained = report.missing.iter().filter(|missing| missing.split == "train");
    report.faults = report.problems.iter().filter(|problem| problem.fault).count()
        + report.contradictions.len()
        + report.equal_leaks
        + untrained.filter(|m| !report.balance[&m.class].values().all(|&n| n == 0)).count();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// The data, with a word where no column of labels was found and none was asked for.
fn surveyed(session: &Session, path: &Path, columns: &TextColumns) -> Result<Survey, Error> {
    let survey = Survey::of(path, columns)?;
    if survey.kind == Kind::Texts && survey.classes.is_empty() {
        let path = path.display();
        session.progress.note(&format!(
            "{path} has no column `label`, so its texts are looked at without labels; --label-column names one"
        ));
    }
    Ok(survey)
}

/// A set whose labels do not matter, so that they may be missing.
fn without_labels(path: &Path, columns: &TextColumns) -> Result<Survey, Error> {
    Ok(match Survey::of(path, columns) {
        Err(DataError::TextColumns { .. }) => {
            Survey::of(path, &TextColumns { label: None, ..columns.clone() })
        }
        survey => survey,
    }?)
}

/// How texts become what the network reads; none of a network of images.
fn tokens(backbone: &Backbone) -> Option<&Tokens> {
    match &backbone.input {
        Input::Image(_) => None,
        Input::Text(tokens) => Some(tokens),
    }
}

fn pictures<'a>(files: &'a Files, images: &[usize]) -> Vec<&'a Picture> {
    images.iter().map(|&image| &files.survey.images[image].picture).collect()
}

fn features(
    session: &Session,
    backbone: &Backbone,
    files: &Files,
    images: &[usize],
    what: &str,
) -> Result<Features, Error> {
    extract(session, backbone, &pictures(files, images), 1, 0, what)
}

/// What was skipped and is no defect.
fn left_out(skipped: &[Skipped]) -> Vec<SkippedFile> {
    let others = skipped.iter().filter(|s| Defect::of_skipped(&s.reason).is_none());
    others.map(SkippedFile::from).collect()
}

fn balance(files: &Files, report: &mut DoctorReport) {
    let splits = &files.survey.splits;
    let zero: BTreeMap<&'static str, usize> = splits.iter().map(|&split| (split, 0)).collect();
    let classes = &files.survey.classes;
    report.balance = classes.iter().map(|class| (class.clone(), zero.clone())).collect();
    for image in files.usable() {
        let image = &files.survey.images[image];
        let counts = image.label.and_then(|label| report.balance.get_mut(&classes[label]));
        if let Some(count) = counts.and_then(|counts| counts.get_mut(image.split)) {
            *count += 1;
        }
    }
    for (class, counts) in &report.balance {
        let empty = splits.iter().filter(|split| counts.get(*split) == Some(&0));
        report.missing.extend(empty.map(|&split| Missing { class: class.clone(), split }));
    }
}

/// The comparison with the second set; none where either has too few usable images.
fn compare(
    session: &Session,
    backbone: &Backbone,
    (files, rows): (&Files, &Rows),
    second: &Files,
    options: &DoctorOptions,
) -> Result<Option<Shift>, Error> {
    let usable = second.usable();
    let sampled: Vec<usize> = shift::sample(usable.len()).into_iter().map(|i| usable[i]).collect();
    let there = features(session, backbone, second, &sampled, "features of the second set")?;
    let d = rows.values.row_len();
    let own = shift::sample(rows.images.len());
    let here: Vec<f32> = own.iter().flat_map(|&row| rows.values.row(row).iter().copied()).collect();
    let here = Tensor::new([own.len(), d], here)?;
    let Some(auc) = shift::auc(session, files.survey.kind, &here, &there.values)? else { return Ok(None) };
    let hash = |files: &Files, image: usize| files.examined[image].shown;
    let known: BTreeMap<_, &str> =
        rows.images.iter().map(|&image| (hash(files, image), files.path(image))).collect();
    let shared = usable.iter().filter_map(|&image| {
        known.get(&hash(second, image)).map(|path| [second.path(image).to_owned(), (*path).to_owned()])
    });
    Ok(Some(Shift {
        against: options.against.as_ref().map(|p| p.display().to_string()).unwrap_or_default(),
        files: usable.len(),
        auc,
        meaning: shift::meaning(auc, files.survey.kind),
        shared: shared.collect(),
    }))
}
