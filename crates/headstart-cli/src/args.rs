//! The command line.

mod adapt;
mod doctor;
mod explain;
mod export;
mod finetune;
mod import;
mod pull;
mod rank;
mod train;

pub(crate) use adapt::Adapt;
pub(crate) use doctor::Doctor;
pub(crate) use explain::Explain;
pub(crate) use export::Export;
pub(crate) use finetune::Finetune;
pub(crate) use import::{Import, weight_precision};
pub(crate) use pull::Pull;
pub(crate) use rank::Rank;
pub(crate) use train::Train;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use headstart::ClassWeighting;
use headstart::data::{Column, TextColumns};
use headstart::models::DEFAULT_BACKBONE;
use std::convert::Infallible;
use std::path::PathBuf;

/// Transfer learning in one binary: labelled images or texts in, a classifier out.
#[derive(Debug, Parser)]
#[command(name = "headstart", version)]
pub(crate) struct Args {
    /// Print one JSON object on standard output (predict, explain of texts: a line an item).
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look for what is wrong with a data set: damaged files, duplicates, leaks, wrong labels.
    Doctor(Doctor),
    /// Train a classifier on labelled images or texts and write it to one file.
    Train(Box<Train>),
    /// Train on more of the network than its classifier, from a model of `train` or a backbone.
    Finetune(Box<Finetune>),
    /// Say whether fine-tuning a model is likely to pay, and what it would cost on this machine.
    Advise(Advise),
    /// Bring a model to images of another domain (sketches, another camera) without labels for them.
    Adapt(Adapt),
    /// Measure a classifier on labelled images or texts.
    Eval(Eval),
    /// Say whether classifiers that answered the same images really differ.
    Compare(Compare),
    /// Say what is in images, or what texts are.
    Predict(Predict),
    /// Show why a classifier answers as it does: heat over the picture by Grad-CAM, or words with weights.
    Explain(Explain),
    /// Write the features of images or texts as a NumPy file.
    Embed(Embed),
    /// Say which pre-trained network suits labelled images best, of those whose weights are here.
    Rank(Rank),
    /// Write a classifier of images as an ONNX file, for other programs.
    Export(Export),
    /// Print a network layer by layer, and what of it is frozen.
    Inspect(Inspect),
    /// List, show, pull and import pre-trained networks.
    Models {
        #[command(subcommand)]
        action: Option<Models>,
    },
    /// Measure how fast a network runs on this machine.
    Bench(Bench),
    /// Look at cached features, or remove them.
    Cache {
        #[command(subcommand)]
        action: Option<Cache>,
    },
}

/// More threads than any machine has cores would only wait for one another.
fn threads(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n <= 1024).ok_or_else(|| "expected 0 to 1024".to_owned())
}

fn class_weighting(text: &str) -> Result<ClassWeighting, Infallible> {
    Ok(match text {
        "none" => ClassWeighting::None,
        "balanced" => ClassWeighting::Balanced,
        file => ClassWeighting::Table(file.into()),
    })
}

/// What a frozen network multiplies.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Precision {
    /// 32 bits.
    F32,
    /// The upper 16 bits of them: about twice as fast where the machine has instructions for it.
    Bf16,
    /// Bytes, with scales measured on the data, or on each row of texts: faster again.
    Int8,
}

impl From<Precision> for headstart::graph::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => headstart::graph::Precision::F32,
            Precision::Bf16 => headstart::graph::Precision::Bf16,
            Precision::Int8 => headstart::graph::Precision::Int8,
        }
    }
}

/// How JPEG files become pixels.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Decode {
    /// Every pixel of the file.
    Exact,
    /// Large photos at 1/2, 1/4 or 1/8 of their size: faster, and the pixels differ a little.
    Scaled,
}

impl From<Decode> for headstart::data::Decode {
    fn from(decode: Decode) -> Self {
        match decode {
            Decode::Exact => headstart::data::Decode::Exact,
            Decode::Scaled => headstart::data::Decode::Scaled,
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Threads {
    /// Threads that work at once; 0 for all cores. Results do not depend on it.
    #[arg(long = "threads", value_name = "N", default_value_t = 0, value_parser = threads)]
    pub(crate) count: usize,
}

/// Where tables hold texts and their labels.
#[derive(Debug, ClapArgs)]
pub(crate) struct Columns {
    /// The column of the texts: its name, or its number, from 1, where no line names columns; `text` where not given.
    #[arg(long, value_name = "NAME|N", value_parser = column)]
    text_column: Option<Column>,
    /// The column of the labels, likewise; `label` where not given.
    #[arg(long, value_name = "NAME|N", value_parser = column)]
    label_column: Option<Column>,
}

impl Columns {
    pub(crate) fn to_columns(&self) -> TextColumns {
        TextColumns { text: self.text_column.clone(), label: self.label_column.clone() }
    }
}

fn column(text: &str) -> Result<Column, String> {
    match text.parse() {
        Ok(Column::Number(0)) => Err("columns are counted from 1".to_owned()),
        Ok(column) => Ok(column),
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Advise {
    /// A model file.
    pub(crate) model: PathBuf,
    /// The labelled images or texts it was trained on.
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) columns: Columns,
    /// Its validation data, where that is elsewhere.
    #[arg(long, value_name = "DIR")]
    pub(crate) val: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Eval {
    /// A model file.
    pub(crate) model: String,
    /// Labelled images or texts, as for train: test or val is measured where there is one.
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) columns: Columns,
    /// Images of other classes, in folders of any name: measure how well they are told from the known ones.
    #[arg(long, value_name = "DIR")]
    pub(crate) ood: Option<PathBuf>,
    /// Write the answer for every image there, a JSON object a line, as `compare` takes it.
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) answers: Option<PathBuf>,
    /// Average over this many views of each image: its centre, and random crops.
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) tta: usize,
    /// A page to write, with mistakes and pictures.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Compare {
    /// Model files, or answers that `eval --answers FILE.jsonl` wrote: two or more, on the same images.
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    pub(crate) runs: Vec<String>,
    /// Labelled images that models are asked about: test/ or val/ where there is one.
    #[arg(long, value_name = "DATA")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Predict {
    /// A model file, or the name of a pre-trained network (its own classes answer).
    pub(crate) model: String,
    /// Images and folders of images; for a model of texts files of lines, CSV, TSV or JSON lines. `-` is one image, or
    /// lines, on standard input.
    #[arg(required_unless_present = "text", value_name = "FILE|DIR|-")]
    pub(crate) items: Vec<PathBuf>,
    /// A text; may be given again for others.
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Vec<String>,
    /// The column of the texts in tables: its name, or its number, from 1, where no line names columns; `text` where not
    /// given.
    #[arg(long, value_name = "NAME|N", value_parser = column)]
    pub(crate) text_column: Option<Column>,
    /// How many classes to name, most probable first.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = at_least_one)]
    pub(crate) top: usize,
    /// Answer `unknown` for an image that is less like the known classes than 95 % of the validation images were.
    #[arg(long)]
    pub(crate) reject: bool,
    /// Average over this many views of each image: its centre, and random crops.
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) tta: usize,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number, 1 or more".to_owned()),
        Ok(n) => Ok(n),
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Embed {
    /// Labelled images or texts, as for train.
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) columns: Columns,
    /// The NumPy file to write; labels and paths go beside it.
    #[arg(short, long, value_name = "FILE", default_value = "features.npy")]
    pub(crate) output: PathBuf,
    /// The pre-trained network (`headstart models` lists them), or a text encoder: its folder, or OWNER/NAME where it was
    /// pulled.
    #[arg(long, value_name = "NAME|DIR", default_value = DEFAULT_BACKBONE)]
    pub(crate) backbone: String,
    #[command(flatten)]
    pub(crate) pull: Pull,
    /// What the frozen network multiplies.
    #[arg(long, value_name = "f32|bf16|int8", default_value = "f32", hide_possible_values = true)]
    pub(crate) precision: Precision,
    /// How JPEG files become pixels: `scaled` decodes large photos at a fraction of their size.
    #[arg(long, value_name = "exact|scaled", default_value = "exact", hide_possible_values = true)]
    pub(crate) decode: Decode,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Inspect {
    /// The name of a network, an imported one too, or a model file.
    pub(crate) name: String,
    /// What to train besides the classifier: `last`, `all`, or stages, layers, parameters and patterns, with commas between
    /// them.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub(crate) unfreeze: Vec<String>,
    /// Print the kernel calls that the network compiles to on this machine.
    #[arg(long)]
    pub(crate) compiled: bool,
    /// In which precision that is; that of a model, else f32, where not given.
    #[arg(long, value_name = "f32|bf16|int8", hide_possible_values = true, requires = "compiled")]
    pub(crate) precision: Option<Precision>,
    /// Height and width of the input in pixels.
    #[arg(long, value_name = "N")]
    pub(crate) size: Option<usize>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Bench {
    /// The network, up to its classifier; its weights need not be here.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_BACKBONE)]
    pub(crate) backbone: String,
    /// What the frozen network multiplies.
    #[arg(long, value_name = "f32|bf16|int8", default_value = "f32", hide_possible_values = true)]
    pub(crate) precision: Precision,
    /// Images a batch.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) batch: usize,
    /// Height and width of the input in pixels; the network's own where not given.
    #[arg(long, value_name = "N")]
    pub(crate) size: Option<usize>,
    /// How long to measure.
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Print the time of each kernel call, on one thread.
    #[arg(long, conflicts_with = "train")]
    pub(crate) per_layer: bool,
    /// Measure a training step instead: forward, backward and SGD.
    #[arg(long)]
    pub(crate) train: bool,
    /// Stages, layers or parameters to train besides the classifier, with commas between them, or all.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', requires = "train")]
    pub(crate) unfreeze: Vec<String>,
    /// Begin the step at the cached activations of what is frozen.
    #[arg(long, requires = "train")]
    pub(crate) cached: bool,
    /// Normalise by the statistics of the batch where a batch norm is trained.
    #[arg(long, requires = "train")]
    pub(crate) batch_statistics: bool,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// Every network, and whether its weights are here.
    List,
    /// All about one network.
    Show {
        /// `arch` or `arch.tag`, or the name of an imported network.
        name: String,
    },
    /// Get a network's weights over the network, check them and keep them.
    #[cfg(feature = "download")]
    Pull {
        /// `arch` or `arch.tag`; or a text encoder of the Hugging Face hub, `owner/name`.
        name: String,
        /// Keep half of the bits of convolution and linear weights.
        #[arg(long)]
        f16: bool,
    },
    /// Keep a published weight file, or a whole classification network from an ONNX file.
    Import(Box<Import>),
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Cache {
    /// Where cached features are and how much they take.
    Info,
    /// Remove all cached features.
    Clear,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use headstart::{OptimizerKind, Solver};

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn epoch_settings_need_an_optimizer() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        assert!(parse("headstart train d --lr 0.1").is_err());
        let args = parse("headstart train d --optimizer adamw --lr 0.1").unwrap();
        let Command::Train(train) = args.command else { panic!("not train") };
        let Solver::Epochs(epochs) = train.epochs.solver() else { panic!("not by epochs") };
        assert_eq!((epochs.optimizer, epochs.lr), (OptimizerKind::Adamw, 0.1));
    }
}
