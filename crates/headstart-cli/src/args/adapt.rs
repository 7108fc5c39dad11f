//! The command line of `adapt`.

use super::Threads;
use clap::Args as ClapArgs;
use headstart::adapt::Method;
use headstart::{AdaptOptions, Error};
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct Adapt {
    /// A model file of `train` or `finetune`.
    model: PathBuf,
    /// The labelled images that it was trained on; without them only methods that need no source are tried.
    #[arg(long, value_name = "DATA")]
    source: Option<PathBuf>,
    /// Images of the other domain. Labels that their folders may tell are not looked at.
    #[arg(long, value_name = "DIR")]
    target: PathBuf,
    /// How: `auto` tries what is there and lets a score without labels choose; or `none`; or parts with + between them: a
    /// style that the source is redrawn in (gray, fine-edges, edges, wide-edges, lines, dark, blurred), batch norm
    /// statistics (adabn, dsbn), a method for the head (label-shift, standardise, prototypes, coral, subspace, self-training, consensus, few), one for the tail
    /// (tent, shot); or one for tail and head on both domains (mcc, mmd, dann, cdan).
    #[arg(long, value_name = "NAME", default_value = "auto")]
    method: String,
    /// Minutes in which `auto` begins methods that train on both domains too; 0 for none of them. With it the choice depends on
    /// the machine's speed.
    #[arg(long, value_name = "MINUTES", default_value_t = 0.0)]
    budget: f64,
    /// A few labelled images of the other domain to learn from, 1 to 10 a class. They decide between methods too.
    #[arg(long, value_name = "DATA")]
    few: Option<PathBuf>,
    /// Labelled images of the other domain to measure on. No choice looks at them.
    #[arg(long, value_name = "DATA")]
    eval: Option<PathBuf>,
    /// What of the network a method for the tail trains, as for finetune.
    #[arg(long, value_name = "last|all|NAME,..", value_delimiter = ',', default_value = "last")]
    unfreeze: Vec<String>,
    /// Passes of such a method over the images, at most: it stops where they answer no better, by the label-free score.
    #[arg(long, value_name = "N", default_value_t = 10)]
    epochs: usize,
    /// Decides every random choice.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The model file to write.
    #[arg(short, long, value_name = "FILE", default_value = "adapted.safetensors")]
    output: PathBuf,
    /// The page to write, with a map of both domains, what changed and what was tried; `none` for none. NAME.report.html beside
    /// the model where not given.
    #[arg(long, value_name = "FILE|none")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

impl Adapt {
    /// What the library is told.
    ///
    /// # Errors
    /// Where there is no such method.
    pub(crate) fn options(self) -> Result<AdaptOptions, Error> {
        let method = match self.method.as_str() {
            "auto" => None,
            name => Some(Method::parse(name)?),
        };
        Ok(AdaptOptions {
            model: self.model,
            source: self.source,
            target: self.target,
            few: self.few,
            eval: self.eval,
            method,
            budget: 60.0 * self.budget,
            unfreeze: self.unfreeze,
            epochs: self.epochs,
            seed: self.seed,
            output: self.output,
        })
    }
}
