//! What networks there are, and what published weights for them.

use crate::mobilenet_v3::Size;
use crate::squeezenet::Release;
use crate::vit::Vit;
use crate::{
    ModelsError, convnext, densenet, efficientnet, efficientnet_b, mobilenet, mobilenet_v3, resnet,
    squeezenet, vgg, vit,
};
use headstart_data::Preprocess;
use headstart_graph::{Graph, GraphError, nearest};

pub use crate::published::PRETRAINED;

/// The network that is compiled into the binary and used where none is named.
pub const DEFAULT_BACKBONE: &str = "tf_efficientnet_lite0";

/// How to build an architecture.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Family {
    ResNet(resnet::Block, [usize; 4]),
    MobileNetV2,
    MobileNetV3(mobilenet_v3::Size),
    /// Width and depth factors.
    EfficientNet(f64, f64),
    /// Width and depth factors.
    EfficientNetLite(f64, f64),
    /// Convolutions of each block, and whether batch norms stand behind them.
    Vgg([usize; 5], bool),
    Vit(vit::Vit),
    /// Blocks of each of four groups.
    ConvNext([usize; 4]),
    /// Layers of each block.
    DenseNet([usize; 4]),
    SqueezeNet(Release),
}

/// An architecture: a row of its family's table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Architecture {
    /// Its name where it comes from (torchvision, or timm).
    pub name: &'static str,
    /// The layer that classifies: linear, or (SqueezeNet's) a pointwise convolution whose map is averaged.
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
            Family::Vit(row) => vit::build(input, row, classes),
            Family::MobileNetV3(size) => mobilenet_v3::build(input, size, classes),
            Family::EfficientNet(width, depth) => efficientnet_b::build(input, width, depth, classes),
            Family::ConvNext(depths) => convnext::build(input, depths, classes),
            Family::DenseNet(layers) => densenet::build(input, layers, classes),
            Family::SqueezeNet(release) => squeezenet::build(input, release, classes),
        }
    }
}

/// Where published weights can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The record's file under this address, which ends in a slash.
    Url(&'static str),
    /// Another file of the same weights.
    OtherFile {
        /// The address of its folder, which ends in a slash.
        base: &'static str,
        /// Its name.
        file: &'static str,
        /// The first hexadecimal digits of its SHA-256.
        sha256: &'static str,
    },
    /// The record's file in this repository (`owner/name`) of the Hugging Face hub.
    Hub(&'static str),
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
    /// Where it can be had.
    pub origin: Origin,
    /// The weights' licence (SPDX).
    pub licence: &'static str,
    /// ImageNet-1k validation top-1 in percent, as published.
    pub top1: f64,
    /// The preprocessing the weights were evaluated with.
    pub input: Preprocess,
    /// Classes of the published classifier: ImageNet-1k's. 0: there is none, and `top1` is that of a linear one trained on the
    /// network's features.
    pub classes: usize,
}

impl PretrainedCfg {
    /// `arch.tag`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.arch, self.tag)
    }

    /// Outputs of the network at load: those of the published classifier, or one of a classifier that nobody trained.
    pub fn outputs(&self) -> usize {
        self.classes.max(1)
    }
}

const fn arch(name: &'static str, classifier: &'static str, family: Family) -> Architecture {
    Architecture { name, classifier, family }
}

/// The bottleneck of twice the usual channels.
const fn widened(groups: usize) -> resnet::Block {
    resnet::Block::Bottleneck { widened: 2, groups }
}

/// Every architecture.
pub const ARCHITECTURES: &[Architecture] = &[
    arch("tf_efficientnet_lite0", "classifier", Family::EfficientNetLite(1.0, 1.0)),
    arch("tf_efficientnet_lite1", "classifier", Family::EfficientNetLite(1.0, 1.1)),
    arch("tf_efficientnet_lite2", "classifier", Family::EfficientNetLite(1.1, 1.2)),
    arch("tf_efficientnet_lite3", "classifier", Family::EfficientNetLite(1.2, 1.4)),
    arch("tf_efficientnet_lite4", "classifier", Family::EfficientNetLite(1.4, 1.8)),
    arch("mobilenet_v2", "classifier.1", Family::MobileNetV2),
    arch("mobilenet_v3_small", "classifier.3", Family::MobileNetV3(Size::Small)),
    arch("mobilenet_v3_large", "classifier.3", Family::MobileNetV3(Size::Large)),
    arch("efficientnet_b0", "classifier.1", Family::EfficientNet(1.0, 1.0)),
    arch("efficientnet_b1", "classifier.1", Family::EfficientNet(1.0, 1.1)),
    arch("efficientnet_b2", "classifier.1", Family::EfficientNet(1.1, 1.2)),
    arch("efficientnet_b3", "classifier.1", Family::EfficientNet(1.2, 1.4)),
    arch("efficientnet_b4", "classifier.1", Family::EfficientNet(1.4, 1.8)),
    arch("convnext_tiny", "classifier.2", Family::ConvNext([3, 3, 9, 3])),
    arch("convnext_small", "classifier.2", Family::ConvNext([3, 3, 27, 3])),
    arch("squeezenet1_0", "classifier.1", Family::SqueezeNet(Release::V1_0)),
    arch("squeezenet1_1", "classifier.1", Family::SqueezeNet(Release::V1_1)),
    arch("densenet121", "classifier", Family::DenseNet([6, 12, 24, 16])),
    arch("resnet18", "fc", Family::ResNet(resnet::Block::Basic, [2, 2, 2, 2])),
    arch("resnet34", "fc", Family::ResNet(resnet::Block::Basic, [3, 4, 6, 3])),
    arch("resnet50", "fc", Family::ResNet(resnet::BOTTLENECK, [3, 4, 6, 3])),
    arch("resnet101", "fc", Family::ResNet(resnet::BOTTLENECK, [3, 4, 23, 3])),
    arch("resnet152", "fc", Family::ResNet(resnet::BOTTLENECK, [3, 8, 36, 3])),
    arch("resnext50_32x4d", "fc", Family::ResNet(widened(32), [3, 4, 6, 3])),
    arch("wide_resnet50_2", "fc", Family::ResNet(widened(1), [3, 4, 6, 3])),
    arch("vgg11", "classifier.6", Family::Vgg([1, 1, 2, 2, 2], false)),
    arch("vgg13", "classifier.6", Family::Vgg([2, 2, 2, 2, 2], false)),
    arch("vgg16", "classifier.6", Family::Vgg([2, 2, 3, 3, 3], false)),
    arch("vgg19", "classifier.6", Family::Vgg([2, 2, 4, 4, 4], false)),
    arch("vgg11_bn", "classifier.6", Family::Vgg([1, 1, 2, 2, 2], true)),
    arch("vgg13_bn", "classifier.6", Family::Vgg([2, 2, 2, 2, 2], true)),
    arch("vgg16_bn", "classifier.6", Family::Vgg([2, 2, 3, 3, 3], true)),
    arch("vgg19_bn", "classifier.6", Family::Vgg([2, 2, 4, 4, 4], true)),
    arch("vit_tiny_patch16_224", "head", Family::Vit(Vit::plain(192))),
    arch("vit_small_patch16_224", "head", Family::Vit(Vit::plain(384))),
    arch("vit_base_patch16_224", "head", Family::Vit(Vit::plain(768))),
    arch("deit_tiny_patch16_224", "head", Family::Vit(Vit::plain(192))),
    arch("deit_small_patch16_224", "head", Family::Vit(Vit::plain(384))),
    arch("vit_small_patch14_dinov2", "head", Family::Vit(Vit::dinov2(384, 0))),
    arch("vit_base_patch14_dinov2", "head", Family::Vit(Vit::dinov2(768, 0))),
    arch("vit_small_patch14_reg4_dinov2", "head", Family::Vit(Vit::dinov2(384, 4))),
    arch("vit_base_patch14_reg4_dinov2", "head", Family::Vit(Vit::dinov2(768, 4))),
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
            let graph = arch.build(cfg.input.crop, cfg.outputs()).unwrap();
            assert_eq!(graph.output().dims(), [if cfg.arch.ends_with("dinov2") { 1 } else { 1000 }]);
            assert!(graph.node(arch.classifier).is_some());
            assert!(cfg.file.contains(cfg.sha256));
            match cfg.origin {
                Origin::Url(base) => assert!(base.ends_with('/') && cfg.sha256.len() == 8, "{}", cfg.name()),
                Origin::OtherFile { base, file, sha256 } => {
                    assert!(base.ends_with('/') && file.contains(sha256) && sha256.len() == 8);
                }
                Origin::Hub(repository) => assert_eq!(repository, format!("timm/{}", cfg.name())),
            }
        }
        assert!(ARCHITECTURES.iter().all(|a| PRETRAINED.iter().any(|cfg| cfg.arch == a.name)));
        assert!(find(DEFAULT_BACKBONE).is_ok());
    }
}
