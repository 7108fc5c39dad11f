//! The command line of `doctor`.

use super::{Columns, Precision, Threads};
use clap::Args as ClapArgs;
use headstart::DoctorOptions;
use headstart::models::DEFAULT_BACKBONE;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// Images or texts with labels, as for train; or a folder of images, or a table of texts, without.
    data: PathBuf,
    #[command(flatten)]
    columns: Columns,
    /// A second set: say how far the two differ, and what they share.
    #[arg(long, value_name = "DATA")]
    against: Option<PathBuf>,
    /// Write what was found to a list that `train --exclude` takes.
    #[arg(long, value_name = "FILE")]
    pub(crate) fix_list: Option<PathBuf>,
    /// Look at files and rows alone: no near duplicates, suspects, outliers or shift.
    #[arg(long, conflicts_with_all = ["against", "backbone", "precision"])]
    files_only: bool,
    /// The network whose features are looked at (`headstart models` lists them), or a text encoder: its folder, or
    /// OWNER/NAME where it was pulled.
    #[arg(long, value_name = "NAME|DIR", default_value = DEFAULT_BACKBONE)]
    backbone: String,
    /// What it multiplies.
    #[arg(long, value_name = "f32|bf16|int8", default_value = "f32", hide_possible_values = true)]
    precision: Precision,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

impl Doctor {
    /// What the library is told.
    pub(crate) fn options(&self) -> DoctorOptions {
        DoctorOptions {
            against: self.against.clone(),
            columns: self.columns.to_columns(),
            backbone: self.backbone.clone(),
            precision: self.precision.into(),
            files_only: self.files_only,
            ..DoctorOptions::new(&self.data)
        }
    }
}
