//! Grad-CAM against PyTorch's autograd. The fixture is written by `scripts/fixtures/grad_cam.py`.

use headstart::data::{Decode, Interpolation, Preprocess};
use headstart::graph::Params;
use headstart::head::LinearHead;
use headstart::models::{Home, registry};
use headstart::{Backbone, Error, Explainer, Pool, Quiet, Session};
use headstart_testing::{input, relative_l2, seeded};
use headstart_weights::StateDict;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// A network with seeded weights and its own head.
fn seeded_network(arch: &str, gain: f64) -> (Backbone, LinearHead) {
    let arch = registry::architecture(arch).unwrap();
    let graph = arch.build(224, 1000).unwrap();
    let params = graph.params().into_iter();
    let mut params: Params =
        params.map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 0, gain))).collect();
    let mut take = |part: &str| params.remove(&format!("{}.{part}", arch.classifier)).unwrap();
    let head = LinearHead::new(take("weight"), take("bias")).unwrap();
    let preprocess = Preprocess {
        resize: 224,
        crop: 224,
        interpolation: Interpolation::Bilinear,
        mean: [0.5; 3],
        std: [0.5; 3],
        decode: Decode::Exact,
        style: None,
    };
    let backbone =
        Backbone::new(graph, arch.classifier.to_owned(), params, preprocess, arch.name.to_owned()).unwrap();
    (backbone, head)
}

#[test]
fn where_a_network_looks_equals_pytorchs_grad_cam() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let fixture = StateDict::open(&folder.join("grad_cam.safetensors")).unwrap();
    let (home, interrupt) = (Home::at("unused"), AtomicBool::new(false));
    for (arch, layer) in [("resnet18", "layer4.1.relu2"), ("tf_efficientnet_lite0", "act2")] {
        let of = |key: &str| fixture.metadata()[&format!("{arch}.{key}")].clone();
        let (backbone, head) = seeded_network(arch, of("gain").parse().unwrap());
        let mut explainer = Explainer::new(&backbone, &head).unwrap();
        assert_eq!(explainer.layer(), layer);
        let image = input(1, 224, 224, 3, of("seed").parse().unwrap());
        let cams = fixture.tensor(&format!("{arch}/cam")).unwrap();
        let upsampled = fixture.tensor(&format!("{arch}/upsampled")).unwrap();
        for (i, class) in of("classes").split(',').enumerate() {
            let class: usize = class.parse().unwrap();
            let by = |explainer: &mut Explainer, threads: usize| {
                let pool = Pool::new(threads);
                let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &interrupt };
                explainer.of_input(&session, &image, Some(class)).unwrap()
            };
            let found = by(&mut explainer, 1);
            assert_eq!(found, by(&mut explainer, 2), "the same bytes with two threads");
            let apart = relative_l2(&found.heat.values, cams.row(i));
            assert!(apart < 1e-3, "{arch} class {class}: {apart:.1e}");
            let large = found.heat.upsampled(224, 224);
            let sampled: Vec<f32> =
                (0..256u64).map(|k| large[((k * 2_654_435_761) % large.len() as u64) as usize]).collect();
            let apart_large = relative_l2(&sampled, upsampled.row(i));
            assert!(apart_large < 1e-3, "{arch} class {class}, upsampled: {apart_large:.1e}");
            println!("{arch} class {class}: {apart:.1e}, upsampled {apart_large:.1e}");
        }
    }
}

#[test]
fn a_transformer_is_refused_in_words() {
    let arch = registry::architecture("vit_tiny_patch16_224").unwrap();
    let graph = arch.build(224, 10).unwrap();
    let params: Params = graph
        .params()
        .into_iter()
        .map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 0, 1.0)))
        .collect();
    let head =
        LinearHead::new(params.get("head.weight").unwrap().clone(), params.get("head.bias").unwrap().clone())
            .unwrap();
    let preprocess = registry::find("vit_tiny_patch16_224").unwrap().1.input.clone();
    let backbone = Backbone::new(graph, "head".into(), params, preprocess, "vit_tiny".into()).unwrap();
    let error = Explainer::new(&backbone, &head).unwrap_err();
    assert!(matches!(error, Error::NotConvolutional { .. }));
    assert!(error.to_string().starts_with("vit_tiny has no map of features"), "{error}");
}
