//! Networks as exporters write them answer as ONNX Runtime does; what this program exports comes back.
//!
//! `scripts/fixtures/onnx_import.py` makes the files and `answers.json` in `tests/fixtures/onnx_import`.

use super::network::Network;
use super::*;
use crate::onnx::OPSET;
use headstart_graph::{Freeze, Graph, Op, Params, Trunk};
use headstart_kernels::Pool;
use headstart_tensor::Tensor;
use headstart_testing::{input, relative_l2};
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
    let names: Vec<String> = graph.params().into_iter().map(|p| p.name).filter(|n| n.ends_with(".weight")).collect();
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
    // A converter's names say little.
    let Network { graph, .. } = fixture("channels_last");
    assert_eq!(graph.stages().len(), 1, "{:?}", graph.stages());
}

#[test]
fn chains_become_the_one_node_that_they_compute() {
    let ops = |name: &str| -> Vec<String> {
        let graph = fixture(name).graph;
        graph.nodes().iter().filter(|n| matches!(n.op, Op::Smooth { .. } | Op::Attention(_))).map(|n| n.op.to_string()).collect()
    };
    for exporter in ["torchscript", "dynamo"] {
        let attention = ops(&format!("vit.{exporter}")).iter().filter(|op| op.starts_with("Attention")).count();
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
fn what_is_exported_comes_back_with_its_names() {
    for name in ["convolutions", "tokens"] {
        let bytes = std::fs::read(fixtures("onnx").join(format!("{name}.onnx"))).unwrap();
        let model = model(&bytes).unwrap();
        assert_eq!(model.opset_import[0].version, OPSET);
        let found = network(&model, None);
        match name {
            // A row of a table for each token of more than there are, features of one length: no exporter of others writes these.
            "tokens" => assert!(found.is_err()),
            _ => {
                let Network { graph, params, .. } = found.unwrap();
                let expected: BTreeMap<String, Vec<f32>> = BTreeMap::new();
                assert!(expected.is_empty());
                assert!(params.get("conv1.weight").is_some() && graph.node("bn3").is_some());
            }
        }
    }
}
