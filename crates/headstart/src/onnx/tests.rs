//! Four tiny networks: what is written of them, and that ONNX Runtime answers as the engine does.
//!
//! `tests/fixtures/onnx` holds the files, which an ignored test writes anew, and `answers.json`, which
//! `scripts/fixtures/onnx_answers.py` makes of them with ONNX Runtime.

use super::*;
use headstart_data::{Decode, Interpolation, RgbImage, View};
use headstart_graph::{
    Activation, AdaptiveAvgPool, AddRows, Attention, AvgPool2d, ClassToken, Conv2d, GraphBuilder, LayerNorm,
    LayerScale, Linear, MaxPool2d, Op, Padding, Pooled, Smooth, TokenPool, Trunk,
};
use headstart_kernels::Pool;
use headstart_tensor::Tensor;
use headstart_testing::{input, relative_l2, seeded};
use serde::Deserialize;

const TEMPERATURE: f64 = 1.7;
const NAMES: [&str; 4] = ["convolutions", "channels", "tokens", "preprocessing"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx")
}

fn preprocess() -> Preprocess {
    Preprocess {
        resize: 24,
        crop: 19,
        interpolation: Interpolation::Bicubic,
        mean: [0.4, 0.5, 0.6],
        std: [0.2, 0.25, 0.3],
        decode: Decode::Exact,
        style: None,
    }
}

/// Paddings of both kinds, an odd one too, a residual, both poolings to a size, a row of all channels.
fn convolutions() -> Graph {
    let mut b = GraphBuilder::new([19, 19, 3]);
    let x = b.conv("conv1", b.input(), 8, (3, 2), Padding::Same).unwrap();
    let x = b.batch_norm("bn1", x, 1e-5).unwrap();
    let x = b.activation("act1", x, Activation::Relu6).unwrap();
    let y = b.depthwise("conv2", x, (4, 1), Padding::Same).unwrap();
    let y = b.activation("act2", y, Activation::Relu).unwrap();
    let y = b.conv("conv3", y, 8, (3, 1), Padding::Symmetric([1, 1])).unwrap();
    let y = b.batch_norm("bn3", y, 1e-3).unwrap();
    let x = b.add("add", Op::Add, &[y, x]).unwrap();
    let x = b.max_pool("pool", x, 3, 2, 1).unwrap();
    let x = b.add("tiles", Op::AdaptiveAvgPool(AdaptiveAvgPool { output: [2, 3] }), &[x]).unwrap();
    let x = b.add("flat", Op::Flatten, &[x]).unwrap();
    b.linear("fc", x, 4).unwrap();
    b.finish()
}

/// What works along the channels of an image: squeeze-and-excitation, layer norm, linear layers, scales of both names and tables
/// of rows there; channels side by side, groups, both poolings with a window, one of which reaches over the edge; four tokens.
fn channels() -> Graph {
    let mut b = GraphBuilder::new([12, 10, 3]);
    let x = b.conv("conv1", b.input(), 8, (3, 1), Padding::Same).unwrap();
    let x = b.smooth("hard_swish", x, Smooth::HardSwish).unwrap();
    let s = b.add("squeeze", Op::GlobalAvgPool, &[x]).unwrap();
    let s = b.linear("excite", s, 8).unwrap();
    let s = b.smooth("hard_sigmoid", s, Smooth::HardSigmoid).unwrap();
    let x = b.add("scaled", Op::ScaleChannels, &[x, s]).unwrap();
    let y = b.layer_norm("norm", x, 1e-6).unwrap();
    let y = b.linear("mix", y, 8).unwrap();
    let y = b.smooth("silu", y, Smooth::Silu).unwrap();
    let y = b.add("gain", Op::LayerScale(LayerScale { features: 8, own_name: true }), &[y]).unwrap();
    let x = b.add("both", Op::Concat, &[x, y]).unwrap();
    let x = b.grouped_conv("groups", x, 8, (3, 1), Padding::Symmetric([1, 1]), 4).unwrap();
    let x = b.add("mean", Op::AvgPool2d(AvgPool2d { kernel: [2, 2], stride: [2, 2] }), &[x]).unwrap();
    let pool = MaxPool2d { kernel: [3, 3], stride: [2, 2], padding: [0, 0], ceil: true };
    let x = b.add("most", Op::MaxPool2d(pool), &[x]).unwrap();
    let rows = AddRows { entries: 7, features: 8, first: 1, step: 1, whole: false };
    let x = b.add("rows", Op::AddRows(rows), &[x]).unwrap();
    let x = b.add("first", Op::ClassToken(ClassToken { features: 8, count: 4 }), &[x]).unwrap();
    let x = b.add("ls", Op::LayerScale(LayerScale { features: 8, own_name: false }), &[x]).unwrap();
    let x = b.smooth("sigmoid", x, Smooth::Sigmoid).unwrap();
    let s = b.add("pool", Op::TokenPool(TokenPool { pooled: Pooled::Mean, mask: false }), &[x]).unwrap();
    let x = b.add("tokens", Op::ScaleChannels, &[x, s]).unwrap();
    let x = b.add("cls", Op::TokenPool(TokenPool { pooled: Pooled::First, mask: false }), &[x]).unwrap();
    b.linear("fc", x, 3).unwrap();
    b.finish()
}

/// A transformer: attention, every smooth activation, tables of rows of both kinds, the mean of the tokens.
fn tokens() -> Graph {
    let mut b = GraphBuilder::new([12, 8, 3]);
    let (kernel, stride, padding) = ([4, 4], [4, 4], Padding::Symmetric([0, 0]));
    let patches = Conv2d { in_channels: 3, out_channels: 8, kernel, stride, padding, groups: 1, bias: true };
    let x = b.add("patches", Op::Conv2d(patches), &[b.input()]).unwrap();
    let x = b.add("first", Op::ClassToken(ClassToken { features: 8, count: 1 }), &[x]).unwrap();
    let whole = AddRows { entries: 7, features: 8, first: 0, step: 1, whole: true };
    let x = b.add("places", Op::AddRows(whole), &[x]).unwrap();
    let table = AddRows { entries: 9, features: 8, first: 2, step: 1, whole: false };
    let x = b.add("more", Op::AddRows(table), &[x]).unwrap();
    let y = b.add("norm1", Op::LayerNorm(LayerNorm { features: 8, eps: 1e-6 }), &[x]).unwrap();
    let y = b.linear("qkv", y, 24).unwrap();
    let y = b.add("attn", Op::Attention(Attention { heads: 2, mask: false }), &[y]).unwrap();
    let y = b.smooth("gelu", y, Smooth::Gelu).unwrap();
    let x = b.add("add", Op::Add, &[y, x]).unwrap();
    let x = b.smooth("approximate", x, Smooth::GeluTanh).unwrap();
    let y = b.add("pool", Op::TokenPool(TokenPool { pooled: Pooled::Mean, mask: false }), &[x]).unwrap();
    let x = b.add("cls", Op::TokenPool(TokenPool { pooled: Pooled::First, mask: false }), &[x]).unwrap();
    let x = b.add("both", Op::Add, &[x, y]).unwrap();
    let x = b.smooth("tanh", x, Smooth::Tanh).unwrap();
    let x = b.add("length", Op::Normalize, &[x]).unwrap();
    b.add("head", Op::Linear(Linear { in_features: 8, out_features: 3 }), &[x]).unwrap();
    b.finish()
}

fn small() -> Graph {
    let mut b = GraphBuilder::new([19, 19, 3]);
    let x = b.conv("conv", b.input(), 6, (5, 3), Padding::Symmetric([2, 2])).unwrap();
    let x = b.activation("act", x, Activation::Relu).unwrap();
    let x = b.add("mean", Op::GlobalAvgPool, &[x]).unwrap();
    b.linear("fc", x, 2).unwrap();
    b.finish()
}

fn network(name: &str) -> (Graph, Params) {
    let graph = match name {
        "convolutions" => convolutions(),
        "channels" => channels(),
        "tokens" => tokens(),
        _ => small(),
    };
    let params = graph.params().into_iter();
    let params = params.map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 5, 1.0))).collect();
    (graph, params)
}

fn model(name: &str) -> ModelProto {
    let (graph, params) = network(name);
    let with_preprocessing = name == "preprocessing";
    let parts = Parts { graph: &graph, params: &params, preprocess: &preprocess(), with_preprocessing };
    parts.model(TEMPERATURE, BTreeMap::from([("labels".to_owned(), "[]".to_owned())])).unwrap()
}

#[test]
#[ignore = "writes the fixture: run it where the export is meant to change, and then scripts/fixtures/onnx_answers.py"]
fn the_files_of_the_fixture_are_written_anew() {
    for name in NAMES {
        std::fs::write(folder().join(format!("{name}.onnx")), model(name).encode_to_vec()).unwrap();
    }
}

#[test]
fn an_export_gives_the_bytes_that_onnx_runtime_has_answered_with() {
    for name in NAMES {
        let bytes = std::fs::read(folder().join(format!("{name}.onnx"))).unwrap();
        assert!(model(name).encode_to_vec() == bytes, "{name}.onnx is not what is exported now");
        assert_eq!(ModelProto::decode(&bytes[..]).unwrap(), model(name), "{name} survives reading");
    }
}

#[test]
fn onnx_runtime_answers_as_the_engine_does() {
    #[derive(Deserialize)]
    struct Answers {
        logits: Vec<f32>,
        probabilities: Vec<f32>,
    }
    let text = std::fs::read(folder().join("answers.json")).unwrap();
    let answers: BTreeMap<String, Answers> = serde_json::from_slice(&text).unwrap();
    for name in NAMES {
        let (graph, params) = network(name);
        let dims = graph.input().dims();
        let images = match name {
            "preprocessing" => {
                let (height, width) = (37, 50);
                let pixel = |i: usize| (3 * (i / 3 / width) + 2 * (i / 3 % width) + 40 * (i % 3)) as u8;
                let pixels = (0..height * width * 3).map(pixel).collect();
                let mut out = vec![0.0; preprocess().values()];
                preprocess().apply(&RgbImage { width, height, pixels }, View::Center, &mut out);
                Tensor::new([1, 19, 19, 3], out).unwrap()
            }
            _ => input(3, dims[0], dims[1], 3, 7),
        };
        let logits = Trunk::compile(&graph, &params).unwrap().run(&Pool::new(1), &images).unwrap();
        let expected = &answers[name];
        // Of the image one pixel in ten is a level apart after ONNX's Resize.
        let tolerance = if name == "preprocessing" { 1e-3 } else { 1e-5 };
        let apart = relative_l2(logits.data(), &expected.logits);
        assert!(apart < tolerance, "{name}: {apart:.1e}");
        let classes = logits.row_len();
        for (row, expected) in expected.probabilities.chunks_exact(classes).enumerate() {
            let exps: Vec<f64> =
                logits.row(row).iter().map(|&l| (f64::from(l) / TEMPERATURE).exp()).collect();
            let sum: f64 = exps.iter().sum();
            let found: Vec<f32> = exps.iter().map(|e| (e / sum) as f32).collect();
            assert!(relative_l2(&found, expected) < tolerance, "{name}: {found:?} {expected:?}");
        }
    }
}

#[test]
fn a_file_holds_the_checkpoints_parameters_and_open_batches() {
    let read = model("convolutions").graph.unwrap();
    let kinds: Vec<&str> = read.node.iter().map(|n| n.op_type.as_str()).collect();
    let expected = "Conv BatchNormalization Clip Conv Relu Conv BatchNormalization Add MaxPool Transpose MatMul MatMul Flatten \
                    Gemm Identity Div Softmax";
    assert_eq!(kinds.join(" "), expected);
    let attribute = |node: usize, name: &str| {
        read.node[node].attribute.iter().find(|a| a.name == name).map(|a| a.ints.clone()).unwrap()
    };
    // 19 pixels by 2 are 10, which take 21: one zero on each side. Of a window of 4 the odd one comes last.
    assert_eq!((attribute(0, "pads"), attribute(3, "pads")), (vec![1, 1, 1, 1], vec![1, 1, 2, 2]));
    let (graph, params) = network("convolutions");
    for spec in graph.params() {
        let stored = read.initializer.iter().find(|t| t.name == spec.name).unwrap();
        let dims: Vec<i64> = spec.shape.dims().iter().map(|&d| d as i64).collect();
        assert_eq!(stored.dims, dims, "{}", spec.name);
        let bytes: Vec<u8> =
            params.get(&spec.name).unwrap().data().iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(stored.raw_data == bytes);
    }
    let batch = |value: &ValueInfo| {
        let tensor = value.value_type.clone().unwrap().tensor_type.unwrap();
        tensor.shape.unwrap().dim[0].value.clone()
    };
    assert_eq!(batch(&read.input[0]), Some(Extent::Open("batch".into())));
    assert_eq!(batch(&read.output[1]), Some(Extent::Open("batch".into())));
}

#[test]
fn no_value_has_two_names_and_none_is_read_before_it_is_made() {
    for name in NAMES {
        let graph = model(name).graph.unwrap();
        let mut known: std::collections::BTreeSet<&str> =
            graph.input.iter().map(|v| v.name.as_str()).chain([""]).collect();
        assert!(graph.initializer.iter().all(|t| known.insert(&t.name)), "{name}");
        for node in &graph.node {
            assert!(node.input.iter().all(|i| known.contains(i.as_str())), "{name}: {}", node.name);
            assert!(node.output.iter().all(|o| known.insert(o)), "{name}: {}", node.name);
        }
    }
}

#[test]
fn what_cannot_be_written_is_refused_by_name() {
    let mut b = GraphBuilder::new([4]);
    b.add("mask", Op::PadMask { pad: 0 }, &[b.input()]).unwrap();
    let (graph, params) = (b.finish(), Params::new());
    let error = operations::emit(&mut Emitter::default(), &graph, &params, "ids").unwrap_err().to_string();
    assert!(error.starts_with("`mask` (PadMask(0))"), "{error}");
    let message = |path: &str, p: &Preprocess, with| check(Path::new(path), p, with).unwrap_err().to_string();
    assert!(message("a.safetensors", &preprocess(), false).contains("ends in .onnx"));
    assert!(message("no/such/folder/a.onnx", &preprocess(), false).contains("a folder that exists"));
    let padded = Preprocess { crop: 30, ..preprocess() };
    assert!(message("a.onnx", &padded, true).starts_with("--with-preprocessing is for a model that pads"));
    assert!(check(Path::new("a.onnx"), &padded, false).is_ok());
    let edges = Preprocess { style: Some(headstart_data::Style::Edges), ..preprocess() };
    for with in [false, true] {
        let text = message("a.onnx", &edges, with);
        assert!(text.contains("sees edges") && text.contains("cannot redraw"), "{text}");
    }
}
