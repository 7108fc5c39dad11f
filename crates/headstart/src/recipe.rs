//! How a classifier is to be trained: plain data, checked before use and kept in the model file.

use crate::{Artifact, ClassWeights, Error, PrecisionChoice};
use headstart_data::{Decode, TextColumns};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How much an image of each class counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeighting {
    /// Every image counts the same.
    #[default]
    None,
    /// Every class counts the same.
    Balanced,
    /// A table with the columns `label,weight`.
    Table(PathBuf),
}

/// How the head is fitted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// Multinomial logistic regression to convergence, its strength by cross-validation.
    #[default]
    Convergence,
    /// The lesson's way: epochs of mini-batches.
    Epochs(EpochOptions),
}

/// Which optimiser takes the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam with decoupled weight decay.
    Adamw,
}

/// The lesson's way of fitting a head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochOptions {
    /// Which optimiser.
    pub optimizer: OptimizerKind,
    /// Learning rate, above 0.
    pub lr: f64,
    /// Passes over the training features, 1 or more.
    pub epochs: usize,
    /// Images a step, 1 or more.
    pub batch_size: usize,
    /// Momentum of SGD, 0 to below 1.
    pub momentum: f64,
    /// Weight decay, 0 or more.
    pub weight_decay: f64,
}

/// Everything `train` is told.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// The data: a folder, table or archive.
    pub data: PathBuf,
    /// Validation data of its own.
    pub val: Option<PathBuf>,
    /// A list of images of `data` to leave out: see [`Exclusions`](headstart_data::doctor::Exclusions).
    pub exclude: Option<PathBuf>,
    /// Share of each class held out where the data sets none apart.
    pub val_fraction: f64,
    /// `arch` or `arch.tag`.
    pub backbone: String,
    /// Images whose file names give the same text by this regular expression (its first capture group, else all that
    /// matches) stay on one side of the split and in one fold.
    pub group_by: Option<String>,
    /// Folds in which every image is held out once, besides; 2 or more.
    pub folds: Option<usize>,
    /// Splits that are drawn from the seed and those after it, 1 or more: their spread is reported.
    pub repeats: usize,
    /// Where tables hold texts and their labels.
    pub columns: TextColumns,
    /// A weight file for the backbone, instead of the one of this machine.
    pub weights: Option<PathBuf>,
    /// Side of the network's input in pixels, instead of its own.
    pub size: Option<usize>,
    /// Precision of the trunk.
    pub precision: PrecisionChoice,
    /// How JPEG files become pixels.
    pub decode: Decode,
    /// Decides the split, the folds, the views and the order of batches.
    pub seed: u64,
    /// Views of each training image: its centre and `views - 1` random ones.
    pub views: usize,
    /// How much an image of each class counts.
    pub class_weights: ClassWeighting,
    /// How the head is fitted.
    pub solver: Solver,
    /// Whether a file that cannot be used stops the run.
    pub strict: bool,
    /// The model file to write.
    pub output: PathBuf,
    /// Whether the trunk's weights are left out and named by their hash.
    pub slim: bool,
}

impl Default for TrainOptions {
    fn default() -> Self {
        TrainOptions {
            data: PathBuf::new(),
            val: None,
            exclude: None,
            val_fraction: 0.2,
            backbone: headstart_models::DEFAULT_BACKBONE.to_owned(),
            group_by: None,
            folds: None,
            repeats: 1,
            columns: TextColumns::default(),
            weights: None,
            size: None,
            precision: PrecisionChoice::default(),
            decode: Decode::Exact,
            seed: 0,
            views: 1,
            class_weights: ClassWeighting::None,
            solver: Solver::Convergence,
            strict: false,
            output: PathBuf::from("model.safetensors"),
            slim: false,
        }
    }
}

impl TrainOptions {
    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// Naming the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        if !(1..=64).contains(&self.views) {
            let found = self.views.to_string();
            return Err(Error::Setting { name: "--views", found, expected: "1 to 64" });
        }
        if self.folds.is_some_and(|k| k < 2) {
            let found = self.folds.unwrap_or_default().to_string();
            return Err(Error::Setting { name: "--folds", found, expected: "2 or more" });
        }
        if !(1..=1000).contains(&self.repeats) {
            let found = self.repeats.to_string();
            return Err(Error::Setting { name: "--repeats", found, expected: "1 to 1000" });
        }
        for (name, asked) in [("--folds", self.folds.is_some()), ("--repeats", self.repeats > 1)] {
            if asked && self.views > 1 {
                let found = format!("given with --views {}", self.views);
                return Err(Error::Setting { name, found, expected: "one view of each image" });
            }
        }
        if let Some(pattern) = &self.group_by {
            let compiled = Regex::new(pattern);
            compiled.map_err(|e| Error::GroupBy { pattern: pattern.clone(), detail: e.to_string() })?;
        }
        if let Solver::Epochs(o) = &self.solver {
            let bad = |name, found: String, expected| Err(Error::Setting { name, found, expected });
            if !(o.lr > 0.0 && o.lr.is_finite()) {
                return bad("--lr", o.lr.to_string(), "a number above 0");
            }
            if o.epochs == 0 || o.epochs > 100_000 {
                return bad("--epochs", o.epochs.to_string(), "1 to 100000");
            }
            if o.batch_size == 0 {
                return bad("--batch-size", "0".into(), "1 or more");
            }
            if !(0.0..1.0).contains(&o.momentum) {
                return bad("--momentum", o.momentum.to_string(), "0 to below 1");
            }
            if !(o.weight_decay >= 0.0 && o.weight_decay.is_finite()) {
                return bad("--weight-decay", o.weight_decay.to_string(), "0 or more");
            }
        }
        if self.slim && self.weights.is_some() {
            let (found, expected) = ("given with --slim".to_owned(), "one of the two: import the file first");
            return Err(Error::Setting { name: "--weights", found, expected });
        }
        if let Some(size) = self.size.filter(|size| !(1..=4096).contains(size)) {
            let expected = "1 to 4096 pixels";
            return Err(Error::Setting { name: "--size", found: size.to_string(), expected });
        }
        if !(self.val_fraction > 0.0 && self.val_fraction < 1.0) {
            let found = self.val_fraction.to_string();
            return Err(Error::Setting {
                name: "--val-fraction",
                found,
                expected: "a share between 0 and 1",
            });
        }
        check_output(&self.output)
    }
}

/// Whether a model file can be written to `output`.
///
/// # Errors
/// Where it is no file's name, its folder is not there, or something else than a model stands in its place.
pub(crate) fn check_output(output: &Path) -> Result<(), Error> {
    let folder = match output.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let bad = |expected| Err(Error::Setting { name: "-o", found: output.display().to_string(), expected });
    if output.is_dir() || output.file_name().is_none() {
        return bad("the name of a file, not a folder");
    }
    if !folder.is_dir() {
        return bad("a file in a folder that exists");
    }
    if output.exists() && !Artifact::is_model(output) {
        return bad("a new file, or a model file to replace: this one exists and is something else");
    }
    Ok(())
}

impl ClassWeighting {
    /// The weights for `classes`, in their order.
    pub(crate) fn resolve(&self, classes: &[String]) -> Result<ClassWeights, Error> {
        let path = match self {
            ClassWeighting::None => return Ok(ClassWeights::None),
            ClassWeighting::Balanced => return Ok(ClassWeights::Balanced),
            ClassWeighting::Table(path) => path,
        };
        let bad = |detail: String| Error::ClassWeights { path: path.clone(), detail };
        let text = std::fs::read_to_string(path).map_err(|e| {
            bad(format!("{e}; --class-weights takes `balanced`, `none`, or a table `label,weight`"))
        })?;
        let mut weights = vec![None; classes.len()];
        for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let wrong = || bad(format!("line {}: expected `label,weight`, found `{line}`", i + 1));
            let (label, weight) = line.rsplit_once([',', '\t']).ok_or_else(wrong)?;
            if i == 0 && weight.trim() == "weight" {
                continue;
            }
            let weight: f64 = weight.trim().parse().map_err(|_| wrong())?;
            if !(weight > 0.0 && weight.is_finite()) {
                return Err(bad(format!(
                    "line {}: the weight of `{label}` is {weight}, expected a number above 0",
                    i + 1
                )));
            }
            let class = classes.iter().position(|c| c == label.trim().trim_matches('"'));
            let class = class.ok_or_else(|| {
                let near = headstart_graph::nearest(label, classes.iter().map(String::as_str));
                bad(format!(
                    "line {}: there is no class `{label}` in the data (nearest: {})",
                    i + 1,
                    near.join(", ")
                ))
            })?;
            if weights[class].replace(weight).is_some() {
                return Err(bad(format!("line {}: a second weight for the class `{label}`", i + 1)));
            }
        }
        let missing = weights.iter().position(Option::is_none);
        if let Some(class) = missing {
            return Err(bad(format!("no weight for the class `{}`: name every class once", classes[class])));
        }
        Ok(ClassWeights::PerClass(weights.into_iter().flatten().collect()))
    }
}
