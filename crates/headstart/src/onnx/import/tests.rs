//! Networks as exporters write them answer as ONNX Runtime does; what this program exports comes back.
//!
//! `scripts/fixtures/onnx_import.py` makes the files and `answers.json` in `tests/fixtures/onnx_import`.

use super::network::Network;
use super::*;
use crate::onnx::Parts;
use headstart_graph::{Freeze, Graph, Op, Params, Trunk};
use headstart_kernels::Pool;
use headstart_models::registry;
use headstart_tensor::Tensor;
use headstart_testing::{input, relative_l2, seeded};
use std::collections::BTreeMap;

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

fn answers() -> BTreeMap<String, Vec<f32>> {
    serde_json::from_slice(&std::fs::read(fixtures("onnx_import").join("answers.json")).unwrap()).unwrap()
}

pub(super) fn imported(bytes: &[u8]) -> Result<Network, OnnxError> {
    network(&model(bytes)?, None)
}

fn fixture(name: &str) -> Network {
    let bytes = std::fs::read(fixtures("onnx_import").join(format!("{name}.onnx"))).unwrap();
    imported(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn logits(graph: &Graph, params: &Params, images: &Tensor) -> Tensor {
    Trunk::compile(graph, params).unwrap().run(&Pool::new(1), images).unwrap()
}

#[test]
fn every_file_answers_as_onnx_runtime_does() {
    let answers = answers();
    assert_eq!(answers.len(), 13);
    for (name, expected) in answers {
        let Network { graph, params, classifier, .. } = fixture(&name);
        let found = logits(&graph, &params, &input(3, 16, 16, 3, 7));
        let apart = relative_l2(found.data(), &expected);
        assert!(apart < 1e-5, "{name}: {apart:.1e}");
        assert_eq!(graph.nodes().last().unwrap().name, classifier, "{name}");
        // It is trained like any other.
        let freeze = Freeze::everything().unfreeze(&graph, &classifier).unwrap();
        assert_eq!(graph.split(&freeze).unwrap().tail.nodes().len(), 2, "{name}");
    }
}

#[test]
fn layers_and_stages_have_the_names_of_the_file() {
    let Network { graph, .. } = fixture("resnet.torchscript");
    let names: Vec<String> =
        graph.params().into_iter().map(|p| p.name).filter(|n| n.ends_with(".weight")).collect();
    let expected = [
        "conv1.weight",
        "layer1.0.conv1.weight",
        "layer1.0.conv2.weight",
        "layer1.0.downsample.0.weight",
        "fc.weight",
    ];
    let by_name: std::collections::BTreeSet<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(by_name, expected.into_iter().collect());
    assert_eq!(graph.stages(), ["conv1", "layer1", "fc"]);
    for name in ["resnet.dynamo", "mobile.torchscript", "mobile.dynamo", "vit.dynamo", "vit.torchscript"] {
        let Network { graph, notes, .. } = fixture(name);
        assert!(notes.iter().any(|note| note.starts_with("stages by the names")), "{name}: {notes:?}");
        assert!(graph.stages().len() >= 3, "{name}: {:?}", graph.stages());
    }
    let Network { graph, .. } = fixture("channels_last");
    assert_eq!(graph.stages(), ["model.conv", "model.bn", "model.dw", "model.logits"]);
}

#[test]
fn chains_become_the_one_node_that_they_compute() {
    let ops = |name: &str| -> Vec<String> {
        let graph = fixture(name).graph;
        graph
            .nodes()
            .iter()
            .filter(|n| matches!(n.op, Op::Smooth { .. } | Op::Attention(_)))
            .map(|n| n.op.to_string())
            .collect()
    };
    for exporter in ["torchscript", "dynamo"] {
        let attention =
            ops(&format!("vit.{exporter}")).iter().filter(|op| op.starts_with("Attention")).count();
        let gelus = ops(&format!("vit.{exporter}")).iter().filter(|op| *op == "GELU").count();
        assert_eq!((attention, gelus), (2, 2), "{exporter}");
        assert_eq!(ops(&format!("convnext.{exporter}")), ["GELU(tanh)"], "{exporter}");
        let mobile = ops(&format!("mobile.{exporter}"));
        assert_eq!(
            mobile,
            ["Hardswish", "SiLU", "Hardsigmoid", "GELU", "SiLU", "Sigmoid", "Hardswish"],
            "{exporter}"
        );
    }
}

#[test]
fn what_is_left_out_is_said() {
    let notes = fixture("vgg.torchscript").notes.join("\n");
    assert!(notes.contains("Softmax") && notes.contains("the logits before it are taken"), "{notes}");
    let notes = fixture("mobile.torchscript").notes.join("\n");
    assert!(notes.contains("without a bias"), "{notes}");
}

#[test]
fn what_is_exported_comes_back() {
    for name in [
        "resnet18",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "efficientnet_b0",
        "tf_efficientnet_lite0",
        "convnext_tiny",
        "densenet121",
        "vit_tiny_patch16_224",
        "vit_small_patch14_reg4_dinov2",
    ] {
        let arch = registry::architecture(name).unwrap();
        let side = if name.contains("patch14") { 28 } else { 64 };
        let whole = arch.build(side, 7).unwrap();
        let params = whole.params().into_iter();
        let params = params.map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 5, 0.8))).collect();
        let preprocess =
            Preprocess { resize: side, crop: side, ..registry::find(name).unwrap().1.input.clone() };
        let parts =
            Parts { graph: &whole, params: &params, preprocess: &preprocess, with_preprocessing: false };
        let bytes = parts.model(1.5, BTreeMap::new()).unwrap().encode_to_vec();
        let Network { graph, params: back, classifier, .. } =
            imported(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(classifier, arch.classifier, "{name}");
        for spec in whole.params().iter().filter(|p| p.shape.rank() > 1 && !p.name.contains("token")) {
            let found = back.get(&spec.name).unwrap_or_else(|| panic!("{name}: {}", spec.name));
            assert_eq!(found.data(), params.get(&spec.name).unwrap().data(), "{name}: {}", spec.name);
        }
        let images = input(2, side, side, 3, 7);
        let (expected, found) = (logits(&whole, &params, &images), logits(&graph, &back, &images));
        let apart = relative_l2(found.data(), expected.data());
        assert!(apart < 1e-5, "{name}: {apart:.1e}");
    }
}

#[test]
fn a_pooling_to_a_size_comes_back() {
    let bytes = std::fs::read(fixtures("onnx").join("convolutions.onnx")).unwrap();
    let Network { graph, notes, .. } = imported(&bytes).unwrap();
    assert!(graph.nodes().iter().any(|node| node.op.to_string().starts_with("AdaptiveAvgPool")));
    assert!(notes.iter().any(|note| note.contains("left out: probabilities")), "{notes:?}");
}

#[test]
fn preprocessing_is_the_files_the_flags_or_said_to_be_assumed() {
    let options = OnnxImportOptions::default();
    let mut notes = Vec::new();
    let usual = preprocess::preprocess(&BTreeMap::new(), 224, &options, &mut notes).unwrap();
    assert_eq!((usual.resize, usual.mean[0], usual.std[2]), (256, 0.485, 0.225));
    assert!(notes[0].contains("--resize, --interpolation, --mean, --std"), "{notes:?}");
    let about =
        [("resize", "40"), ("interpolation", "bicubic"), ("mean", "[0.1,0.2,0.3]"), ("std", "[1,2,3]")];
    let about = about.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    notes.clear();
    let own = preprocess::preprocess(&about, 32, &options, &mut notes).unwrap();
    assert_eq!((own.resize, own.interpolation, own.std), (40, Interpolation::Bicubic, [1.0, 2.0, 3.0]));
    assert!(notes.is_empty());
    let options = OnnxImportOptions { mean: Some([0.5; 3]), std: Some([0.0; 3]), ..options };
    let error = preprocess::preprocess(&about, 32, &options, &mut notes).unwrap_err().to_string();
    assert!(error.contains("std"), "{error}");
}
