//! Weight files that are not quite their network's: without a classifier, for another image size, with one that is a convolution.

use headstart_graph::Trunk;
use headstart_kernels::Pool;
use headstart_models::{ModelsError, Pretrained, registry};
use headstart_testing::{input, relative_l2, seeded};
use headstart_weights::{StoredTensor, write_safetensors};
use std::collections::BTreeMap;

/// The network `name` from a file with seeded values for all its parameters but those of `without`.
fn from_file(name: &str, without: &str) -> Pretrained {
    let (arch, cfg) = registry::find(name).unwrap();
    let graph = arch.build(cfg.input.crop, cfg.outputs()).unwrap();
    let stored: Vec<(String, StoredTensor)> = graph
        .params()
        .into_iter()
        .filter(|p| !p.name.starts_with(without))
        .map(|p| (p.name.clone(), StoredTensor::from_tensor(&seeded(&p.name, p.shape.dims(), 0, 1.0))))
        .collect();
    let tensors: Vec<(&str, &StoredTensor)> = stored.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap();
    Pretrained::from_file(name, &path).unwrap()
}

#[test]
fn features_without_a_classifier_load_and_take_images_of_another_size() {
    let whole = from_file("vit_small_patch14_dinov2", "head.");
    assert!(whole.report.is_complete(), "{}", whole.report);
    assert_eq!(whole.params.get("pos_embed").unwrap().dims(), [1, 37 * 37 + 1, 384]);
    let error = whole.clone().with_own_classifier().unwrap_err();
    assert!(
        matches!(&error, ModelsError::NoClassifier { name } if name == "vit_small_patch14_dinov2.lvd142m")
    );
    assert!(error.to_string().contains("--backbone vit_small_patch14_dinov2.lvd142m"), "{error}");
    let before = whole.params.get("pos_embed").unwrap().clone();
    let small = whole.at_size(70).unwrap();
    let table = small.params.get("pos_embed").unwrap();
    assert_eq!(table.dims(), [1, 5 * 5 + 1, 384]);
    assert_eq!(table.data()[..384], before.data()[..384], "the class token keeps its own");
    assert_eq!((small.input.resize, small.input.crop), (70, 70));
    let features = Trunk::compile(&small.graph, &small.params).unwrap();
    assert!(features.run(&Pool::new(0), &input(1, 70, 70, 3, 1)).is_ok());
    assert!(small.at_size(71).unwrap_err().to_string().contains("multiples of 14"));
}

#[test]
fn a_convolution_that_classifies_becomes_a_linear_layer_of_averaged_features() {
    let net = from_file("squeezenet1_1", "nothing").at_size(64).unwrap();
    assert!(matches!(net.clone().with_own_classifier(), Err(ModelsError::NoClassifier { .. })));
    let (pool, x) = (Pool::new(0), input(2, 64, 64, 3, 1));
    // The map that the classifier makes, before its activation, averaged.
    let (id, _) = net.graph.node("classifier.1").unwrap();
    let map = Trunk::compile(&net.graph.prefix(id).unwrap(), &net.params).unwrap().run(&pool, &x).unwrap();
    let classes = map.dims()[3];
    let pixels = map.row_len() / classes;
    let mean = |image: usize, c: usize| {
        (0..pixels).map(|p| map.row(image)[p * classes + c]).sum::<f32>() / pixels as f32
    };
    let expected: Vec<f32> =
        (0..2).flat_map(|i| (0..classes).map(move |c| (i, c))).map(|(i, c)| mean(i, c)).collect();
    let net = net.with_linear_classifier().unwrap();
    assert_eq!(net.params.get("classifier.1.weight").unwrap().dims(), [1000, 512]);
    let found = Trunk::compile(&net.graph, &net.params).unwrap().run(&pool, &x).unwrap();
    assert!(relative_l2(found.data(), &expected) < 1e-5);
}
