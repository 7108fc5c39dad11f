//! The command line of `export`.

use clap::Args as ClapArgs;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct Export {
    /// A model file, or the name of a pre-trained network with its own classes.
    pub(crate) model: String,
    /// The ONNX file to write.
    #[arg(long, value_name = "FILE.onnx")]
    pub(crate) onnx: PathBuf,
    /// Put resize, crop and normalisation inside: the input is then an image's bytes.
    #[arg(long)]
    pub(crate) with_preprocessing: bool,
}
