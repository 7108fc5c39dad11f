//! What holds of the model file of every registered architecture: it comes back from its file and from ONNX as it was.

use crate::place;
use headstart::graph::{Graph, Linear, Op};
use headstart::head::LinearHead;
use headstart::models::registry::{ARCHITECTURES, Architecture};
use headstart::models::{Home, Pretrained};
use headstart::{Backbone, Classifier, Isa, OnnxImportOptions, Pool, export_onnx, import_onnx};
use headstart_testing::{input, relative_l2};
use std::ops::RangeInclusive;

/// Parameters of networks that are written: one of each family and more, but VGG.
const MOST: usize = 30_000_000;
/// The same in plain Rust, which takes ten times as long.
const MOST_PLAIN: usize = 6_000_000;

/// The architecture for small images and two classes behind a linear layer, with the side of these images.
fn small(arch: &Architecture) -> (Graph, usize) {
    let side = if arch.name.contains("patch14") { 28 } else { 64 };
    let graph = arch.build(side, 2).unwrap();
    let Some(Op::Conv2d(conv)) = graph.node(arch.classifier).map(|(_, node)| node.op.clone()) else {
        return (graph, side);
    };
    // SqueezeNet's classifier is a convolution; a model's is a linear layer behind the pooling.
    let (_, node) = graph.node(arch.classifier).unwrap();
    let linear = Linear { in_features: conv.in_channels, out_features: 2 };
    let features = graph.prefix(node.inputs[0]).unwrap();
    let behind = [("pool", Op::GlobalAvgPool), (arch.classifier, Op::Linear(linear))];
    (features.and_then("classifier", &behind).unwrap(), side)
}

#[test]
fn every_architecture_comes_back_from_its_model_file_and_from_onnx() {
    come_back(0..=if Isa::current() == Isa::Generic { MOST_PLAIN } else { MOST });
}

#[test]
#[ignore = "writes gigabytes: minutes"]
fn the_largest_architectures_do_too() {
    come_back(MOST + 1..=usize::MAX);
}

/// Writes and reads every architecture of so many parameters.
fn come_back(parameters: RangeInclusive<usize>) {
    let folder = tempfile::tempdir().unwrap();
    let (home, pool) = (Home::at(folder.path()), Pool::new(0));
    for arch in ARCHITECTURES {
        let (graph, side) = small(arch);
        if !parameters.contains(&graph.parameter_count()) {
            continue;
        }
        let name = arch.name;
        let path = folder.path().join("model.safetensors");
        let written = place::artifact(graph.clone(), arch.classifier, side);
        written.save(&path).unwrap();
        let read = Classifier::open(path.to_str().unwrap(), &home).unwrap();
        assert_eq!((&read.backbone.graph, &read.head), (&graph, &written.head), "{name}");
        let x = input(2, side, side, 3, 1);
        let logits = |backbone: &Backbone, head: &LinearHead| {
            head.logits(&pool, &backbone.trunk().run(&pool, &x).unwrap()).unwrap()
        };
        let expected = logits(&written.backbone, &written.head);
        assert_eq!(logits(&read.backbone, &read.head), expected, "{name}: the same bytes");

        let onnx = folder.path().join("net.onnx");
        let report = export_onnx(&read, &onnx, false).unwrap();
        assert_eq!(report.parameters, graph.parameter_count(), "{name}");
        let options = OnnxImportOptions { name: Some("net".into()), ..OnnxImportOptions::default() };
        import_onnx(&home, &onnx, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (backbone, weight, bias) = Backbone::of(Pretrained::open("net", &home).unwrap()).unwrap();
        let head = LinearHead::new(weight, bias).unwrap();
        let apart = relative_l2(logits(&backbone, &head).data(), expected.data());
        assert!(apart < 1e-5, "{name}: {apart:e}");
        eprintln!("{name}: {} nodes of ONNX, {apart:.1e}", report.nodes);
    }
}
