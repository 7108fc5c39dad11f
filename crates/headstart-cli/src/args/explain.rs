//! The command line of `explain`.

use super::{Threads, column};
use clap::Args as ClapArgs;
use headstart::data::Column;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct Explain {
    /// A model file, or the name of a pre-trained network.
    pub(crate) model: String,
    /// The image; for a model of texts files of lines, CSV, TSV or JSON lines. `FILE:17` is the text of one line.
    #[arg(required_unless_present = "text", value_name = "FILE")]
    pub(crate) item: Option<PathBuf>,
    /// A text; may be given again for others.
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Vec<String>,
    /// The column of the texts in tables: its name, or its number, from 1, where no line names columns; `text` where not
    /// given.
    #[arg(long, value_name = "NAME|N", value_parser = column)]
    pub(crate) text_column: Option<Column>,
    /// What speaks for this class, not for the most probable one.
    #[arg(long, value_name = "NAME")]
    pub(crate) class: Option<String>,
    /// The picture to write, PNG or JPEG by its name; `overlay.png` where not given. Texts have none.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}
