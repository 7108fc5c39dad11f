//! Which network suits the data: those whose weights are here, ranked by what a linear classifier makes of their features.
//!
//! Every network computes the features of the same images once, through the cache. Of them come the accuracy of a linear
//! classifier on images that it has not seen (every one is held out once) and [`logme`], a score without a fit; and on the
//! side how fast the network is here. No network is fine-tuned, and validation and test images are not looked at.

mod choice;
mod logme;
mod spectrum;

pub use choice::Recommendation;
pub use logme::logme;

use crate::cross_validation::Material;
use crate::evaluate::labels;
use crate::features::{CENTER, through};
use crate::head::{L2, LogisticRegression};
use crate::{Backbone, Error, Session, SkippedFile, extract};
use headstart_data::{Dataset, Item, Kind, OpenOptions, Picture, TextColumns, split};
use headstart_models::registry::{self, PRETRAINED};
use headstart_models::{Outline, Pretrained, PretrainedCfg, Whereabouts};
use headstart_tensor::Tensor;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Folds of the cross-validation; fewer where a class has fewer images.
const FOLDS: usize = 5;
/// Images that a network is timed with.
const TIMED: usize = 64;

/// What to rank.
#[derive(Debug, Clone, PartialEq)]
pub struct RankOptions {
    /// Labelled images, as for training.
    pub data: PathBuf,
    /// `arch` or `arch.tag` of each network, or the name of an imported one; empty: all whose weights are here.
    pub backbones: Vec<String>,
    /// Training images that are looked at, drawn from each class in proportion; 0 for all.
    pub images: usize,
    /// What the draw and the folds depend on.
    pub seed: u64,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct RankReport {
    /// Images that were looked at.
    pub n: usize,
    /// Training images of the data.
    pub of: usize,
    /// Classes.
    pub classes: usize,
    /// Folds in which they were held out.
    pub folds: usize,
    /// The networks, the most accurate first; where that is equal, by LogME.
    pub networks: Vec<RankedNetwork>,
    /// The one to take.
    pub choice: Recommendation,
    /// What was left out, and why.
    pub skipped: Vec<SkippedFile>,
}

/// A network and what was found of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankedNetwork {
    /// `arch.tag`, or the name of an imported network.
    pub backbone: String,
    /// Share of the images that a linear classifier, fitted to the other folds, got right.
    pub accuracy: f64,
    /// Its 95 % Wilson interval.
    pub accuracy_ci95: [f64; 2],
    /// [`logme()`] of the features.
    pub logme: f64,
    /// Images a second here, from the file to the features.
    pub images_per_second: f64,
    /// Trained values, without the classifier.
    pub parameters: usize,
    /// Features of an image.
    pub width: usize,
    /// Side of the images that it sees.
    pub pixels: usize,
    /// Images whose features were computed for this; the others' were in the cache.
    pub computed: usize,
}

/// Ranks the networks.
///
/// # Errors
/// Where a name is unknown or its weights are not here, the data cannot be opened or holds texts, a class has fewer than two
/// readable images, or the run was interrupted.
pub fn rank(session: &Session, options: &RankOptions) -> Result<RankReport, Error> {
    let names = networks(session, &options.backbones)?;
    let columns = TextColumns::default();
    if Kind::of(&options.data, &columns) == Some(Kind::Texts) {
        return Err(Error::TextsNotRanked { path: options.data.clone() });
    }
    let data = Dataset::open(&options.data, &OpenOptions { classes: None, columns })?;
    let mut skipped: Vec<SkippedFile> = data.skipped.iter().map(SkippedFile::from).collect();
    let items = some(&data.train, options)?;
    let mut networks = Vec::with_capacity(names.len());
    let (mut n, mut folds) = (0, FOLDS);
    for (at, name) in names.iter().enumerate() {
        let pretrained = Pretrained::open(name, session.home)?;
        let pixels = pretrained.input.crop;
        let backbone = Backbone::of(pretrained)?.0;
        let pictures: Vec<&Picture> = items.iter().map(|item| &item.picture).collect();
        let features = extract(session, &backbone, &pictures, 1, 0, name)?;
        // What cannot be read is the same for all.
        if at == 0 {
            skipped.extend(features.skipped.iter().map(SkippedFile::from));
        }
        let targets = labels(&items, &features.kept);
        folds = FOLDS.min(fewest(&targets, &data.classes)?);
        n = targets.len();
        let score = logme(session.pool, &features.values, &targets, data.classes.len());
        let images_per_second = speed(session, &backbone, &pictures);
        let (right, accuracy_ci95) =
            accuracy(session, features.values, targets, &data.classes, folds, options.seed)?;
        networks.push(RankedNetwork {
            backbone: name.clone(),
            accuracy: right,
            accuracy_ci95,
            logme: score.unwrap_or(f64::NEG_INFINITY),
            images_per_second,
            parameters: backbone.trunk_graph().parameter_count(),
            width: backbone.dim(),
            pixels,
            computed: features.computed,
        });
    }
    networks.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy).then(b.logme.total_cmp(&a.logme)));
    let choice = Recommendation::of(&networks);
    Ok(RankReport { n, of: data.train.len(), classes: data.classes.len(), folds, networks, choice, skipped })
}

/// The names of the networks that were asked for, each once, or of all whose weights are here.
fn networks(session: &Session, asked: &[String]) -> Result<Vec<String>, Error> {
    let here = |cfg: &&PretrainedCfg| cfg.whereabouts(session.home) != Whereabouts::Absent;
    let mut names: Vec<String> = Vec::new();
    for name in asked {
        let name = Outline::open(name, session.home, None)?.name;
        if registry::find(&name).is_ok_and(|(_, cfg)| !here(&cfg)) {
            // Opening it says which file to bring.
            Pretrained::open(&name, session.home)?;
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if asked.is_empty() {
        names.extend(PRETRAINED.iter().filter(here).map(PretrainedCfg::name));
        names.extend(session.home.networks());
    }
    match names.is_empty() {
        true => Err(Error::NoNetworks),
        false => Ok(names),
    }
}

/// The training images that are looked at.
fn some(train: &[Item], options: &RankOptions) -> Result<Vec<Item>, Error> {
    if options.images == 0 || train.len() <= options.images {
        return Ok(train.to_vec());
    }
    let labels: Vec<usize> = train.iter().map(|item| item.label).collect();
    let fraction = options.images as f64 / train.len() as f64;
    let (_, drawn) = split::stratified(&labels, fraction, options.seed)?;
    Ok(drawn.into_iter().map(|i| train[i].clone()).collect())
}

/// Images of the smallest class.
///
/// # Errors
/// Where they are fewer than two.
fn fewest(targets: &[usize], classes: &[String]) -> Result<usize, Error> {
    let mut counts = vec![0usize; classes.len()];
    targets.iter().for_each(|&target| counts[target] += 1);
    match counts.iter().position(|&count| count < 2) {
        None => Ok(counts.into_iter().min().unwrap_or(0)),
        Some(class) => Err(Error::TooFewToRank { class: classes[class].clone(), found: counts[class] }),
    }
}

/// Images a second from the file to the features, without the cache.
fn speed(session: &Session, backbone: &Backbone, pictures: &[&Picture]) -> f64 {
    let step = pictures.len().div_ceil(TIMED).max(1);
    let timed: Vec<&Picture> = pictures.iter().step_by(step).copied().collect();
    let run =
        |some: &[&Picture]| through(backbone.trunk(), &backbone.input, some, CENTER, session.pool).len();
    run(&timed[..timed.len().min(backbone.trunk().group())]);
    let started = Instant::now();
    run(&timed) as f64 / started.elapsed().as_secs_f64().max(1e-9)
}

/// The cross-validated accuracy of a linear classifier, and its interval. Its L2 strength is chosen once, on all folds: that
/// flatters every network alike, and by little.
fn accuracy(
    session: &Session,
    values: Tensor,
    targets: Vec<usize>,
    classes: &[String],
    folds: usize,
    seed: u64,
) -> Result<(f64, [f64; 2]), Error> {
    let head = |l2, values: &Tensor, targets: &[usize]| {
        LogisticRegression { l2, seed, ..LogisticRegression::default() }.fit(
            values,
            targets,
            classes.len(),
            session.pool,
            session.interrupt,
        )
    };
    let l2 = L2::Fixed(head(L2::Auto { folds }, &values, &targets)?.l2);
    let fit = |values: &Tensor, targets: &[usize], _| Ok(head(l2, values, targets)?.head);
    let material = Material { values, labels: targets, classes, groups: None, fit: &fit };
    let found = material.cross_validate(session, folds, seed)?;
    Ok((found.accuracy, found.accuracy_ci95))
}
