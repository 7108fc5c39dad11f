//! `export` and `rank` through the binary, with the network inside it.

use crate::place::{Place, bytes, err, out};

#[test]
fn a_trained_model_is_exported_whole_or_refused_in_words() {
    let place = Place::new();
    place.colours();
    place.json("train data --json -o model.safetensors --report none");
    let report = place.json("export model.safetensors --onnx net.onnx --json");
    assert_eq!(report["input"], "pixel_values");
    assert_eq!(report["shape"], serde_json::json!(["batch", "3", "224", "224"]));
    assert_eq!((&report["classes"], &report["opset"]), (&2.into(), &18.into()));
    let first = bytes(&place.path("net.onnx"));
    assert_eq!(report["bytes"], first.len());
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(holds(&first, r#"["blue","red"]"#) && holds(&first, "tf_efficientnet_lite0.in1k"));
    assert!(holds(&first, "Apache-2.0") && !holds(&first, "Resize"));

    let output = place.run("export model.safetensors --onnx net.onnx");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("pixel_values: float32 [batch, 3, 224, 224]"), "{}", out(&output));
    assert!(err(&output).contains("onnxruntime.InferenceSession(\"net.onnx\")"), "{}", err(&output));
    assert!(first == bytes(&place.path("net.onnx")), "the same model gives the same bytes");

    let report = place.json("export tf_efficientnet_lite0 --onnx whole.onnx --with-preprocessing --json");
    assert_eq!((&report["input"], &report["classes"]), (&"image".into(), &1000.into()));
    assert!(holds(&bytes(&place.path("whole.onnx")), "Resize"));

    for (line, words) in [
        ("export model.safetensors --onnx net.pb", "ends in .onnx"),
        ("export model.safetensors --onnx nowhere/net.onnx", "a folder that exists"),
        ("export model.safetensors", "--onnx"),
        ("export resent18 --onnx net.onnx", "`resnet18`"),
        ("export absent.safetensors --onnx net.onnx", "absent.safetensors"),
    ] {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(err(&output).contains(words), "{line}: {}", err(&output));
    }
}

#[test]
fn networks_are_ranked_on_training_images() {
    let place = Place::new();
    place.colours();
    let report = place.json("rank data --json");
    assert_eq!((&report["n"], &report["classes"], &report["folds"]), (&16.into(), &2.into(), &5.into()));
    let networks = report["networks"].as_array().unwrap();
    assert_eq!(networks.len(), 1);
    let lite = &networks[0];
    assert_eq!((&lite["backbone"], &lite["accuracy"]), (&"tf_efficientnet_lite0.in1k".into(), &1.0.into()));
    assert_eq!((&lite["width"], &lite["pixels"], &lite["computed"]), (&1280.into(), &224.into(), &16.into()));
    assert!(lite["images_per_second"].as_f64() > Some(0.0) && lite["logme"].is_number());
    assert_eq!(report["choice"]["backbone"], lite["backbone"]);

    let again = place
        .json("rank data --json --images 8 --backbones tf_efficientnet_lite0,tf_efficientnet_lite0.in1k");
    assert_eq!((&again["n"], &again["of"]), (&8.into(), &16.into()));
    let networks = again["networks"].as_array().unwrap();
    assert_eq!((networks.len(), &networks[0]["computed"]), (1, &0.into()), "named twice, and in the cache");

    std::fs::write(place.path("reviews.tsv"), "text\tlabel\ngood\tyes\nbad\tno\n").unwrap();
    let output = place.run("rank data");
    assert!(out(&output).contains("LogME") && out(&output).contains("is the only one"), "{}", out(&output));
    for (line, words) in [
        ("rank data --backbones tf_efficientnet_lite9", "`tf_efficientnet_lite0`"),
        ("rank data --backbones resnet18", "models import"),
        ("rank nowhere", "nowhere"),
        ("rank data --images 1", "it takes two of each class"),
        ("rank reviews.tsv", "holds texts"),
    ] {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(err(&output).contains(words), "{line}: {}", err(&output));
    }
}
