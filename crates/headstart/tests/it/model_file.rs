//! Model files: what is saved comes back, and what is damaged, newer or incomplete is refused with a reason.

use headstart::artifact::{FIRST_VERSION, Recipe, VERSION, Validation};
use headstart::data::{Decode, Interpolation, Preprocess};
use headstart::graph::{Activation, Graph, GraphBuilder, Op, Padding, Params, Precision, Trunk};
use headstart::head::LinearHead;
use headstart::models::{Home, fingerprint, registry};
use headstart::tensor::Tensor;
use headstart::{Artifact, Backbone, Manifest, Solver};
use headstart_testing::seeded;
use std::path::Path;

/// A small network and its head, trained on nothing.
fn model() -> Artifact {
    let mut b = GraphBuilder::new([16, 16, 3]);
    b.stage("stem");
    let input = b.input();
    let x = b.conv("conv", input, 4, (3, 2), Padding::Same).unwrap();
    let x = b.batch_norm("bn", x, 1e-5).unwrap();
    let x = b.activation("relu", x, Activation::Relu).unwrap();
    b.stage("fc");
    let x = b.add("pool", Op::GlobalAvgPool, &[x]).unwrap();
    b.linear("fc", x, 2).unwrap();
    model_of(b.finish(), "fc")
}

/// A network of two classes with seeded weights as a model.
fn model_of(graph: Graph, classifier: &str) -> Artifact {
    let crop = graph.input().dims()[0];
    let all: Params = graph
        .params()
        .into_iter()
        .map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 3, 1.0)))
        .collect();
    let part = |part: &str| all.get(&format!("{classifier}.{part}")).unwrap().clone();
    let head = LinearHead::new(part("weight"), part("bias")).unwrap();
    let preprocess = Preprocess {
        resize: crop,
        crop,
        interpolation: Interpolation::Bilinear,
        mean: [0.5; 3],
        std: [0.25; 3],
        decode: Decode::Exact,
        style: None,
    };
    let weights_sha256 = fingerprint(&graph, &all);
    let backbone =
        Backbone::new(graph.clone(), classifier.into(), all, preprocess.clone(), "small.none".into())
            .unwrap();
    let manifest = Manifest {
        version: FIRST_VERSION,
        headstart: "0.1.0".into(),
        labels: vec!["ants".into(), "bees".into()],
        preprocess: Some(preprocess),
        text: None,
        backbone: "small.none".into(),
        graph,
        classifier: classifier.into(),
        precision: Default::default(),
        calibration: Default::default(),
        trunk_sha256: backbone.fingerprint.clone(),
        weights_sha256,
        slim: false,
        recipe: Recipe {
            seed: 7,
            views: 1,
            val_fraction: Some(0.2),
            group_by: None,
            solver: Solver::Convergence,
            class_weights: None,
            l2: Some(0.1),
        },
        data_sha256: String::new(),
        train_images: 0,
        validation: Validation { n: 0, accuracy: 0.0, accuracy_ci95: [0.0, 1.0] },
        fine_tuned: None,
        temperature: None,
        unknown: None,
        adapted: None,
    };
    Artifact { manifest, backbone, head, directions: None }
}

fn saved(model: &Artifact) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    model.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn read(bytes: Vec<u8>) -> Result<Artifact, headstart::Error> {
    Artifact::from_bytes(bytes, Path::new("m.safetensors"), &Home::at("no-home"))
}

fn refusal(model: &Artifact) -> String {
    read(saved(model)).unwrap_err().to_string()
}

#[test]
fn what_is_saved_comes_back_and_the_same_model_gives_the_same_bytes() {
    let model = model();
    let bytes = saved(&model);
    assert_eq!(bytes, saved(&model));
    let back = read(bytes.clone()).unwrap();
    assert_eq!(back.manifest, model.manifest);
    assert_eq!(back.head, model.head);
    assert_eq!(saved(&back), bytes);
}

#[test]
fn a_network_of_every_family_is_saved_and_read() {
    // Golden inputs are small, but for the networks that take one size only. (VGG, of half a gigabyte, takes any.)
    for name in ["resnet18", "mobilenet_v2", "tf_efficientnet_lite0", "vit_tiny_patch16_224"] {
        let architecture = registry::architecture(name).unwrap();
        let model = model_of(architecture.build(224, 2).unwrap(), architecture.classifier);
        let back = read(saved(&model)).unwrap();
        assert_eq!(back.manifest, model.manifest, "{name}");
    }
}

#[test]
fn a_lower_precision_comes_back_with_its_ranges() {
    let pool = headstart::Pool::new(1);
    let deeper = || {
        let mut b = GraphBuilder::new([16, 16, 3]);
        let mut x = b.input();
        for name in ["conv1", "conv2", "conv3"] {
            x = b.conv(name, x, 8, (3, 1), Padding::Same).unwrap();
            x = b.activation(&format!("{name}.relu"), x, Activation::Relu).unwrap();
        }
        let x = b.add("pool", Op::GlobalAvgPool, &[x]).unwrap();
        b.linear("fc", x, 2).unwrap();
        model_of(b.finish(), "fc")
    };
    for precision in [Precision::Bf16, Precision::Int8] {
        let mut model = deeper();
        let (graph, params) = (model.backbone.trunk_graph(), &model.backbone.params);
        let images = headstart_testing::input(2, 16, 16, 3, 1);
        let ranges = Trunk::calibrate(graph, params, &pool, &images).unwrap();
        model.backbone.compile_in(precision, ranges).unwrap();
        model.manifest.version = VERSION;
        model.manifest.precision = precision;
        model.manifest.calibration = model.backbone.calibration.clone();
        let back = read(saved(&model)).unwrap();
        assert_eq!(back.manifest, model.manifest);
        assert_eq!(back.backbone.trunk().precision(), precision);
        assert_eq!(back.backbone.calibration, model.backbone.calibration);
        assert_eq!(back.backbone.calibration == Default::default(), precision == Precision::Bf16);
        let run = |model: &Artifact| model.backbone.trunk().run(&pool, &images).unwrap();
        assert_eq!(run(&back), run(&model), "the same features");
    }
    let mut model = deeper();
    model.manifest.precision = Precision::Int8;
    let message = refusal(&model);
    assert!(message.contains("its int8 trunk cannot be compiled: the calibration has no range"), "{message}");
}

#[test]
fn features_of_another_structure_with_the_same_weights_are_not_taken_from_the_cache() {
    let mut b = GraphBuilder::new([16, 16, 3]);
    let input = b.input();
    let build = |mut b: GraphBuilder, eps: f64| {
        let x = b.batch_norm("bn", input, eps).unwrap();
        let x = b.add("pool", Op::GlobalAvgPool, &[x]).unwrap();
        b.linear("fc", x, 2).unwrap();
        let graph = b.finish();
        let params: Params = graph
            .params()
            .into_iter()
            .map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 3, 1.0)))
            .collect();
        let preprocess = model().manifest.preprocess.unwrap();
        Backbone::new(graph, "fc".into(), params, preprocess, "small.none".into()).unwrap()
    };
    b.stage("all");
    let (one, other) = (build(b.clone(), 1e-5), build(b, 1e-1));
    assert_eq!(one.fingerprint, other.fingerprint);
    let home = tempfile::tempdir().unwrap();
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/fashion/val/bag/");
    let picture = std::fs::read_dir(picture).unwrap().next().unwrap().unwrap().path();
    let picture = headstart::data::Picture::from_file("bag", picture);
    let (home, pool, stop) = (Home::at(home.path()), headstart::Pool::new(1), false.into());
    let session =
        headstart::Session { home: &home, pool: &pool, progress: &headstart::Quiet, interrupt: &stop };
    let features = |backbone| headstart::extract(&session, backbone, &[&picture], 1, 0, "").unwrap();
    assert_eq!((features(&one).computed, features(&one).cached), (1, 1));
    assert_eq!(features(&other).computed, 1);
    assert_ne!(features(&one).values, features(&other).values);
}

#[test]
fn the_fuzzers_corpus_is_refused() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/model_file");
    let files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(files.len() >= 3);
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(read(bytes).is_err(), "{}", file.display());
        // As the fuzzer does: the manifest of a file whose checksum is right.
        let sum = headstart::models::sha256_hex(text.as_bytes());
        let metadata = [("headstart".to_owned(), text), ("headstart.sha256".to_owned(), sum)].into();
        let mut wrapped = Vec::new();
        headstart_weights::write_safetensors_to(&mut wrapped, &[], &metadata).unwrap();
        let error = read(wrapped).unwrap_err().to_string();
        assert!(!error.contains("is not what was saved"), "past the checksum: {error}");
    }
}

#[test]
fn a_changed_byte_anywhere_and_a_cut_anywhere_are_refused() {
    let bytes = saved(&model());
    for i in (0..bytes.len()).step_by(3) {
        let mut changed = bytes.clone();
        changed[i] ^= 0x40;
        assert!(read(changed).is_err(), "byte {i} of {}", bytes.len());
        assert!(read(bytes[..i].to_vec()).is_err(), "cut at {i}");
    }
}

#[test]
fn a_newer_version_wrong_labels_and_wrong_weights_are_named() {
    let mut newer = model();
    newer.manifest.version = VERSION + 1;
    assert!(refusal(&newer).contains("written by a newer headstart"), "{}", refusal(&newer));
    let mut labels = model();
    labels.manifest.labels.push("wasps".into());
    assert!(refusal(&labels).contains("3 labels for an output of shape [2]"), "{}", refusal(&labels));
    let mut weights = model();
    weights.head.bias = Tensor::zeros([2]);
    assert!(refusal(&weights).contains("not those it was saved with"), "{}", refusal(&weights));
    let mut shape = model();
    shape.head.weight = Tensor::zeros([2, 3]);
    assert!(shape.save(Path::new("never-written.safetensors")).is_err());
    let mut early = model();
    early.manifest.classifier = "relu".into();
    assert!(refusal(&early).contains("`relu` is not its last layer"), "{}", refusal(&early));
    let mut trunk = model();
    trunk.manifest.trunk_sha256 = "0".repeat(64);
    assert!(refusal(&trunk).contains("not the one its manifest names"), "{}", refusal(&trunk));
    let mut slim = model();
    slim.manifest.slim = true;
    assert!(refusal(&slim).contains("no network named `small.none`"), "{}", refusal(&slim));
}
