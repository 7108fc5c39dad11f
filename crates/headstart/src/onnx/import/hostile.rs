//! Files that are damaged, made to mislead, or simply no classifier: each is refused by the right words, and none panics.

use super::tests::imported;
use super::*;
use crate::onnx::proto::{
    AttributeProto, ElementType, Extent, GraphProto, NodeProto, OperatorSetId, StringStringEntry,
    TensorProto, ValueInfo,
};

fn tensor(name: &str, dims: &[i64]) -> TensorProto {
    let values = dims.iter().product::<i64>() as usize;
    TensorProto {
        dims: dims.to_vec(),
        data_type: ElementType::Float.into(),
        name: name.to_owned(),
        raw_data: (0..values).flat_map(|i| (i as f32 * 0.1).to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&i| i.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: format!("the_{output}"),
        op_type: op.to_owned(),
        ..NodeProto::default()
    }
}

fn value(name: &str, dims: &[Result<i64, &str>]) -> ValueInfo {
    let dims = dims.iter().map(|dim| match dim {
        Ok(n) => Extent::Fixed(*n),
        Err(name) => Extent::Open((*name).to_owned()),
    });
    ValueInfo::tensor(name, ElementType::Float, dims.collect(), "")
}

/// A convolution, ReLU, mean, linear layer: what all others are changed from.
fn small() -> ModelProto {
    let conv = NodeProto {
        attribute: vec![
            AttributeProto::ints("kernel_shape", [3, 3]),
            AttributeProto::ints("strides", [2, 2]),
        ],
        ..node("Conv", &["x", "conv.weight", "conv.bias"], "conv")
    };
    let fc = NodeProto {
        attribute: vec![AttributeProto::int("transB", 1)],
        ..node("Gemm", &["row", "fc.weight", "fc.bias"], "logits")
    };
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetId { domain: String::new(), version: 17 }],
        graph: Some(GraphProto {
            node: vec![
                conv,
                node("Relu", &["conv"], "relu"),
                node("GlobalAveragePool", &["relu"], "mean"),
                node("Flatten", &["mean"], "row"),
                fc,
            ],
            initializer: vec![
                tensor("conv.weight", &[4, 3, 3, 3]),
                tensor("conv.bias", &[4]),
                tensor("fc.weight", &[2, 4]),
                tensor("fc.bias", &[2]),
            ],
            input: vec![value("x", &[Err("n"), Ok(3), Ok(9), Ok(9)])],
            output: vec![value("logits", &[Err("n"), Ok(2)])],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

/// Why the small model is refused after this change.
fn refused(change: impl FnOnce(&mut ModelProto, &mut GraphProto)) -> String {
    let mut model = small();
    let mut graph = model.graph.take().unwrap();
    change(&mut model, &mut graph);
    model.graph = Some(graph);
    imported(&model.encode_to_vec()).unwrap_err().to_string()
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    assert!(words.iter().all(|w| text.contains(w)), "{text}\nis without one of {words:?}");
}

#[test]
fn the_small_model_itself_is_imported() {
    let network = imported(&small().encode_to_vec()).unwrap();
    assert_eq!((network.graph.nodes().len(), network.classifier.as_str()), (5, "fc"));
}

#[test]
fn bytes_that_are_no_model_are_refused() {
    let whole = small().encode_to_vec();
    let refused = |bytes: &[u8]| imported(bytes).unwrap_err().to_string();
    says(&refused(&[]), &["no ONNX model", "empty"]);
    says(&refused(b"\x89PNG\r\n\x1a\n and more"), &["no ONNX model"]);
    says(&refused(b"{\"a\": 1}"), &["no ONNX model"]);
    says(&refused(&[0xff; 64]), &["no ONNX model", "no end"]);
    says(&refused(b"\x3a\xff\xff\xff\xff\x0f"), &["no ONNX model", "behind its end"]);
    for end in 1..whole.len() {
        // No end of a file makes anything but an error; none panics.
        assert!(imported(&whole[..end]).is_err(), "{end} bytes");
    }
    for at in 0..whole.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] ^= change;
            let _ = imported(&changed);
        }
    }
}

#[test]
fn more_fields_than_any_network_has_are_refused_before_they_are_read() {
    // Nodes of two bytes each, and a list of as many extents.
    let graph: Vec<u8> = [0x0a, 0x00].repeat(500_000);
    let mut bytes = vec![0x3a];
    let mut length = graph.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(graph);
    says(&imported(&bytes).unwrap_err().to_string(), &["fields", "no network"]);
    let text = refused(|_, graph| graph.initializer[1].dims = vec![1; 500_000]);
    says(&text, &["fields"]);
}

#[test]
fn tensors_that_lie_are_refused_by_name() {
    let text = refused(|_, graph| graph.initializer[0].raw_data.truncate(431));
    says(&text, &["`conv.weight`", "432 bytes", "431"]);
    let text = refused(|_, graph| graph.initializer[2].dims = vec![i64::MAX, i64::MAX]);
    says(&text, &["`fc.weight`", "at most"]);
    let text = refused(|_, graph| graph.initializer[2].dims = vec![-2, -4]);
    says(&text, &["`fc.weight`", "[-2, -4]"]);
    let text = refused(|_, graph| graph.initializer[2].dims = vec![1 << 20, 1 << 9]);
    says(&text, &["`fc.weight`", "bytes"]);
    let text = refused(|_, graph| graph.initializer[3].data_type = 3);
    says(&text, &["`fc.bias`", "type 3", "float32"]);
    let text = refused(|_, graph| graph.initializer[0] = tensor("conv.weight", &[4, 5, 3, 3]));
    says(&text, &["conv.weight"]);
    let text = refused(|_, graph| graph.initializer[3] = tensor("fc.bias", &[3]));
    says(&text, &["fc.bias", "[3]", "[2]"]);
    let text = refused(|_, graph| {
        let line = |key: &str, value: &str| StringStringEntry { key: key.into(), value: value.into() };
        graph.initializer[2].data_location = 1;
        graph.initializer[2].raw_data.clear();
        graph.initializer[2].external_data = vec![line("location", "net.onnx.data"), line("offset", "0")];
    });
    says(&text, &["`fc.weight`", "net.onnx.data", "external_data=False"]);
}

#[test]
fn graphs_that_do_not_hang_together_are_refused() {
    says(
        &refused(|_, graph| drop(graph.initializer.remove(0))),
        &["`the_conv`", "`conv.weight`", "no node, input"],
    );
    says(
        &refused(|_, graph| graph.node[1].input[0] = "row".into()),
        &["`the_relu`", "`row`", "`the_row`", "circle"],
    );
    says(&refused(|_, graph| graph.node.swap(0, 3)), &["not in order"]);
    says(&refused(|_, graph| graph.node[3].output[0] = "mean".into()), &["`mean`", "made twice"]);
    says(&refused(|_, graph| graph.node[1].output[0] = "fc.bias".into()), &["`fc.bias`", "made twice"]);
    says(&refused(|_, graph| graph.node[1].input.clear()), &["`the_relu`", "input 0 is left out"]);
    says(&refused(|_, graph| graph.node.clear()), &["no graph"]);
    says(&refused(|_, graph| graph.output[0].name = "absent".into()), &["`absent`", "no node"]);
    // Each end reads the other.
    let text = refused(|_, graph| {
        graph.node = vec![node("Softmax", &["b"], "a"), node("Softmax", &["a"], "b")];
        graph.output[0].name = "a".into();
    });
    says(&text, &["`b`"]);
}

#[test]
fn operators_and_uses_that_are_not_imported_are_named() {
    says(
        &refused(|_, graph| graph.node[1].op_type = "LeakyRelu".into()),
        &["`the_relu`", "LeakyRelu", "Conv", "Relu"],
    );
    says(&refused(|_, graph| graph.node[1].domain = "com.microsoft".into()), &["com.microsoft::Relu"]);
    let with = |attribute: AttributeProto| refused(|_, graph| graph.node[0].attribute.push(attribute));
    says(&with(AttributeProto::ints("dilations", [2, 2])), &["`the_conv`", "dilations is [2, 2]", "[1, 1]"]);
    says(&with(AttributeProto::ints("pads", [0, 1, 0, 0])), &["pads"]);
    says(&with(AttributeProto::ints("pads", [-1, 0, 0, 0])), &["pads is [-1, 0, 0, 0]"]);
    says(&with(AttributeProto::ints("pads", [9, 9, 9, 9])), &["padding"]);
    says(&with(AttributeProto::int("group", 0)), &["groups"]);
    says(&with(AttributeProto::int("group", i64::MAX)), &["groups"]);
    says(&with(AttributeProto::text("auto_pad", "SAME_LOWER")), &["SAME_LOWER"]);
    says(&with(AttributeProto::int("surprise", 1)), &["attribute `surprise`"]);
    let text =
        refused(|_, graph| graph.node[0].attribute[1] = AttributeProto::ints("strides", [0, i64::MIN]));
    says(&text, &["strides"]);
    let text = refused(|_, graph| {
        graph.initializer.push(tensor("most", &[]));
        graph.node[1] = node("Clip", &["conv", "", "most"], "relu");
    });
    says(&text, &["`the_mean`", "elementwise", "ReLU6"]);
    let text = refused(|_, graph| {
        graph.node[1].op_type = "Softmax".into();
    });
    says(&text, &["`the_relu`", "Softmax", "inside the network"]);
    let text = refused(|_, graph| {
        let attribute = AttributeProto::int("training_mode", 1);
        graph.node[1] = NodeProto {
            attribute: vec![attribute],
            ..node("BatchNormalization", &["conv", "conv.bias"], "relu")
        };
    });
    says(&text, &["training_mode"]);
}

#[test]
fn inputs_outputs_and_ends_that_are_no_classifiers_are_refused() {
    let input = |dims: &[Result<i64, &str>]| refused(|_, graph| graph.input[0] = value("x", dims));
    says(&input(&[Err("n"), Ok(3), Err("height"), Err("width")]), &["[n, 3, height, width]", "--crop N"]);
    says(&input(&[Err("n"), Ok(1), Ok(9), Ok(9)]), &["[n, 1, 9, 9]", "[batch, 3, height, width]"]);
    says(&input(&[Err("n"), Ok(3), Ok(9), Ok(8)]), &["square"]);
    says(&input(&[Err("n"), Ok(3), Ok(1 << 40), Ok(1 << 40)]), &["4096"]);
    says(&input(&[Err("n"), Ok(3), Ok(-9), Ok(-9)]), &["4096"]);
    says(&input(&[]), &["`x` is []"]);
    says(&refused(|_, graph| graph.input.push(value("mask", &[Ok(1)]))), &["2 (x, mask)", "one input"]);
    says(&refused(|_, graph| graph.input.clear()), &["0 ()"]);
    let text = refused(|_, graph| {
        graph.input[0] = ValueInfo::tensor("x", ElementType::Uint8, Vec::new(), "");
    });
    says(&text, &["type 2", "float32"]);
    let text = refused(|_, graph| {
        graph.node[4].output[0] = "scores".into();
        graph.output = vec![value("scores", &[]), value("conv", &[])];
    });
    says(&text, &["scores, conv", "one, the logits"]);
    says(
        &refused(|_, graph| graph.output[0].name = "row".into()),
        &["`row`", "Flatten", "only networks that classify"],
    );
    says(&refused(|_, graph| graph.output[0].name = "relu".into()), &["`relu`", "linear layer"]);
    says(&refused(|_, graph| graph.output[0].name = "x".into()), &["`x`"]);
    says(
        &refused(|model, _| model.opset_import[0].version = 7),
        &["operator set 7", "9 to 28", "opset_version=20"],
    );
    says(&refused(|model, _| model.opset_import[0].version = 99), &["operator set 99"]);
    says(&refused(|model, _| model.opset_import.clear()), &["no operator set"]);
}

#[test]
fn the_fuzzers_corpus_is_imported_or_refused_and_breaks_nothing() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/onnx");
    let files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(files.len() >= 3);
    for file in files {
        // The sound ones, under their exporters' names, are imported; what was found is refused.
        let sound = file.extension().is_some_and(|end| end == "onnx");
        let network = imported(&std::fs::read(&file).unwrap());
        assert_eq!(network.is_ok(), sound, "{}", file.display());
    }
}
