//! The command line of `models import`.

use clap::{Args as ClapArgs, ValueEnum};
use headstart::OnnxImportOptions;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct Import {
    /// Weights (.pt, .pth or .safetensors), or a whole network (.onnx).
    pub(crate) file: PathBuf,
    /// Weights: which network they are for, `arch` or `arch.tag`.
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Option<String>,
    /// Keep half of the bits of convolution and linear weights.
    #[arg(long)]
    pub(crate) f16: bool,
    /// ONNX: the name to keep the network under; the file's where not given.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// ONNX: the shorter side that images are resized to, in pixels; 8/7 of the network's input where not given.
    #[arg(long, value_name = "N")]
    pub(crate) resize: Option<usize>,
    /// ONNX: the side of the network's input, where the file leaves it open.
    #[arg(long, value_name = "N")]
    pub(crate) crop: Option<usize>,
    /// ONNX: the filter of the resize; bilinear where not given.
    #[arg(long, value_name = "bilinear|bicubic", hide_possible_values = true)]
    pub(crate) interpolation: Option<Filter>,
    /// ONNX: what is subtracted from pixels in 0 to 1; ImageNet's 0.485,0.456,0.406 where not given.
    #[arg(long, value_name = "R,G,B", value_parser = three, allow_hyphen_values = true)]
    pub(crate) mean: Option<[f32; 3]>,
    /// ONNX: what the difference is divided by; ImageNet's 0.229,0.224,0.225 where not given.
    #[arg(long, value_name = "R,G,B", value_parser = three)]
    pub(crate) std: Option<[f32; 3]>,
}

/// The filter of a resize.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Filter {
    /// A triangle.
    Bilinear,
    /// Keys' cubic.
    Bicubic,
}

impl Import {
    /// Whether the file is named as a whole network.
    pub(crate) fn is_onnx(&self) -> bool {
        self.file.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
    }

    /// The first flag that is given and is for whole networks only.
    pub(crate) fn onnx_flag(&self) -> Option<&'static str> {
        let given = [
            ("--name", self.name.is_some()),
            ("--resize", self.resize.is_some()),
            ("--crop", self.crop.is_some()),
            ("--interpolation", self.interpolation.is_some()),
            ("--mean", self.mean.is_some()),
            ("--std", self.std.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    /// What is said of the network besides its file.
    pub(crate) fn options(self) -> OnnxImportOptions {
        let interpolation = self.interpolation.map(|filter| match filter {
            Filter::Bilinear => headstart::data::Interpolation::Bilinear,
            Filter::Bicubic => headstart::data::Interpolation::Bicubic,
        });
        let precision = weight_precision(self.f16);
        let Import { name, resize, crop, mean, std, .. } = self;
        OnnxImportOptions { name, resize, crop, interpolation, mean, std, precision }
    }
}

fn three(text: &str) -> Result<[f32; 3], String> {
    let numbers = text.split(',').map(|part| part.trim().parse().ok()).collect::<Option<Vec<f32>>>();
    let numbers = numbers.and_then(|numbers| <[f32; 3]>::try_from(numbers).ok());
    numbers.ok_or_else(|| "expected three numbers with commas between them: red,green,blue".to_owned())
}

/// In which precision imported weights are kept.
pub(crate) fn weight_precision(f16: bool) -> headstart::models::Precision {
    if f16 { headstart::models::Precision::F16 } else { headstart::models::Precision::F32 }
}
