//! The command line of `rank`.

use super::{Pull, Threads};
use clap::Args as ClapArgs;
use headstart::RankOptions;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct Rank {
    /// Labelled images, as for train; those for training are looked at.
    data: PathBuf,
    /// The networks, with commas between them: `headstart models` lists them; all whose weights are here where not given.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    backbones: Vec<String>,
    #[command(flatten)]
    pub(crate) pull: Pull,
    /// Look at this many images, drawn from each class in proportion; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    images: usize,
    /// What the draw and the folds depend on.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

impl Rank {
    /// What the library is told.
    pub(crate) fn options(&self) -> RankOptions {
        let backbones = self.backbones.iter().filter(|name| !name.is_empty()).cloned().collect();
        RankOptions { data: self.data.clone(), backbones, images: self.images, seed: self.seed }
    }
}
