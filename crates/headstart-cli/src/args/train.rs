//! The arguments of `train`.

use super::{Columns, Decode, Precision, Pull, Threads, class_weighting};
use clap::{Args as ClapArgs, ValueEnum};
use headstart::models::DEFAULT_BACKBONE;
use headstart::{ClassWeighting, EpochOptions, OptimizerKind, PrecisionChoice, Solver};
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct Train {
    /// Images: a folder with a folder for each class, or with train/ and val/, a CSV or TSV table (path,label), or CIFAR-10.
    /// Texts: a CSV, TSV or JSON lines file (text,label), or a folder with train, val (dev) and test of them.
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) columns: Columns,
    /// Validation data of its own.
    #[arg(long, value_name = "DIR", conflicts_with = "val_fraction")]
    pub(crate) val: Option<PathBuf>,
    /// Leave out the images of this list, as `headstart doctor --fix-list` writes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) exclude: Option<PathBuf>,
    /// Share of each class held out for validation where the data sets none apart.
    #[arg(long, allow_negative_numbers = true, value_name = "F", default_value_t = 0.2)]
    pub(crate) val_fraction: f64,
    /// Keep images together whose file names give the same text (capture group 1, else the match): frames of one animal.
    #[arg(long, value_name = "REGEX")]
    pub(crate) group_by: Option<String>,
    /// Hold every image out once besides, in K folds.
    #[arg(long, allow_negative_numbers = true, value_name = "K")]
    pub(crate) folds: Option<usize>,
    /// Draw the split N times, from the seed and those after it, and report the spread.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 1)]
    pub(crate) repeats: usize,
    /// The pre-trained network (`headstart models` lists them), or for texts the folder of a text encoder.
    #[arg(long, value_name = "NAME|DIR", default_value = DEFAULT_BACKBONE)]
    pub(crate) backbone: String,
    #[command(flatten)]
    pub(crate) pull: Pull,
    /// A weight file for the backbone (safetensors, .pt or .pth).
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// Height and width of the images that the network gets, in pixels; its own where not given. Smaller is faster.
    #[arg(long, value_name = "N")]
    pub(crate) size: Option<usize>,
    /// What the frozen network multiplies.
    #[arg(long, value_name = "f32|bf16|int8|auto", default_value = "f32", hide_possible_values = true)]
    pub(crate) precision: TrainPrecision,
    /// How JPEG files become pixels: `scaled` decodes large photos at a fraction of their size.
    #[arg(long, value_name = "exact|scaled", default_value = "exact", hide_possible_values = true)]
    pub(crate) decode: Decode,
    /// Decides the split, the views and the order of batches.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Views of each training image: its centre, and random ones.
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) views: usize,
    /// How much an image of each class counts: `balanced`, `none`, or a table `label,weight`.
    #[arg(long, value_name = "balanced|none|FILE", default_value = "none", value_parser = class_weighting)]
    pub(crate) class_weights: ClassWeighting,
    #[command(flatten)]
    pub(crate) epochs: Epochs,
    /// Make files that cannot be used an error, not a note.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Leave the backbone's weights out of the model file and name them by their hash.
    #[arg(long)]
    pub(crate) slim: bool,
    /// The model file to write.
    #[arg(short, long, value_name = "FILE", default_value = "model.safetensors")]
    pub(crate) output: PathBuf,
    /// The page to write, with curves, mistakes and pictures; `none` for none. NAME.report.html beside the model where not
    /// given.
    #[arg(long, value_name = "FILE|none")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

/// The lesson's way of fitting the head.
#[derive(Debug, ClapArgs)]
pub(crate) struct Epochs {
    /// Fit by epochs of mini-batches, not to convergence.
    #[arg(long)]
    optimizer: Option<Optimizer>,
    /// Learning rate.
    #[arg(long, allow_negative_numbers = true, default_value_t = 0.001, requires = "optimizer")]
    lr: f64,
    /// Passes over the training images.
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "N",
        default_value_t = 10,
        requires = "optimizer"
    )]
    epochs: usize,
    /// Images a step.
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "N",
        default_value_t = 32,
        requires = "optimizer"
    )]
    batch_size: usize,
    /// Momentum of sgd.
    #[arg(long, allow_negative_numbers = true, default_value_t = 0.9, requires = "optimizer")]
    momentum: f64,
    /// Weight decay.
    #[arg(long, allow_negative_numbers = true, default_value_t = 0.0, requires = "optimizer")]
    weight_decay: f64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Optimizer {
    Sgd,
    Adamw,
}

impl Epochs {
    pub(crate) fn solver(&self) -> Solver {
        let optimizer = match self.optimizer {
            None => return Solver::Convergence,
            Some(Optimizer::Sgd) => OptimizerKind::Sgd,
            Some(Optimizer::Adamw) => OptimizerKind::Adamw,
        };
        Solver::Epochs(EpochOptions {
            optimizer,
            lr: self.lr,
            epochs: self.epochs,
            batch_size: self.batch_size,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
        })
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TrainPrecision {
    /// 32 bits.
    F32,
    /// The upper 16 bits of them: about twice as fast where the machine has instructions for it.
    Bf16,
    /// Bytes, with scales measured on the data, or on each row of texts: faster again.
    Int8,
    /// The fastest that costs no accuracy, measured on a sample of the training images.
    Auto,
}

impl From<TrainPrecision> for PrecisionChoice {
    fn from(precision: TrainPrecision) -> Self {
        PrecisionChoice::Fixed(match precision {
            TrainPrecision::Auto => return PrecisionChoice::Auto,
            TrainPrecision::F32 => Precision::F32.into(),
            TrainPrecision::Bf16 => Precision::Bf16.into(),
            TrainPrecision::Int8 => Precision::Int8.into(),
        })
    }
}
