//! Ten steps of the lesson's recipe and single gradients, against PyTorch. The fixtures are written by
//! `scripts/fixtures/lesson.py`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use headstart::Pool;
use headstart::graph::{Freeze, Graph, Params, Trunk, backward, forward};
use headstart::loss::cross_entropy;
use headstart::models::registry;
use headstart::optim::{Optimizer, Rule};
use headstart::tensor::Tensor;
use headstart_testing::{input, relative_l2, seeded};
use headstart_weights::StateDict;
use std::path::Path;

fn fixture(name: &str) -> StateDict {
    StateDict::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn network(arch: &str, size: usize, classes: usize, gain: f64, head_seed: u64) -> (Graph, Params) {
    let arch = registry::architecture(arch).unwrap();
    let graph = arch.build(size, classes).unwrap();
    let params = graph.params().into_iter().map(|p| {
        let seed = if p.name.starts_with(arch.classifier) { head_seed } else { 0 };
        (p.name.clone(), seeded(&p.name, p.shape.dims(), seed, gain))
    });
    let params = params.collect();
    (graph, params)
}

/// Ten steps; returns the losses and what the parameters became.
fn ten_steps(unfrozen: &[&str], mut optimizer: Optimizer, lr: f64, gain: f64) -> (Vec<f32>, Params) {
    let (graph, mut params) = network("resnet18", 64, 10, gain, 5);
    let freeze = unfrozen.iter().try_fold(Freeze::everything(), |f, name| f.unfreeze(&graph, name)).unwrap();
    let split = graph.split(&freeze).unwrap();
    let pool = Pool::new(0);
    let images = input(80, 64, 64, 3, 2);
    let cached = Trunk::compile(&split.trunk, &params).unwrap().run(&pool, &images).unwrap();
    let mut losses = Vec::new();
    for step in 0..10 {
        let mut dims = cached.dims().to_vec();
        dims[0] = 8;
        let at = step * 8 * cached.row_len();
        let x = Tensor::from_fn(dims, |i| cached.data()[at + i]);
        let targets: Vec<usize> = (step * 8..step * 8 + 8).map(|i| (i * 7 + 3) % 10).collect();
        let activations = forward(&split.tail, &params, x, &pool).unwrap();
        let (loss, gradient) = cross_entropy(activations.output(), &targets, None).unwrap();
        losses.push(loss);
        let gradients = backward(&split.tail, &params, &activations, gradient, &freeze, &pool).unwrap();
        optimizer.step_all(&mut params, &gradients, lr).unwrap();
    }
    (losses, params)
}

#[test]
fn ten_steps_of_the_lesson_give_pytorchs_losses() {
    let fixture = fixture("lesson.safetensors");
    let gain: f64 = fixture.metadata().iter().find(|(k, _)| k.ends_with("gain")).unwrap().1.parse().unwrap();
    let sgd = || Optimizer::new(Rule::sgd(0.9)).unwrap();
    let adamw = Optimizer::new(Rule::adamw()).unwrap();
    let scenarios = [
        ("sgd", &["fc"][..], sgd(), 1e-3),
        ("layer4", &["layer4", "fc"][..], sgd(), 1e-4),
        ("adamw", &["fc"][..], adamw, 1e-3),
    ];
    for (scenario, unfrozen, optimizer, lr) in scenarios {
        let (losses, params) = ten_steps(unfrozen, optimizer, lr, gain);
        let expected = fixture.tensor(&format!("{scenario}/losses")).unwrap();
        for (step, (found, expected)) in losses.iter().zip(expected.data()).enumerate() {
            assert!((found - expected).abs() <= 1e-5, "{scenario} step {step}: {found} {expected}");
        }
        assert_eq!(expected.len(), 10);
        // What the steps added is small beside the parameter, so it is compared too: f32 itself is up to 8e-4 off.
        let (_, before) = network("resnet18", 64, 10, gain, 5);
        let mut compared = 0;
        for (key, change) in fixture.iter().filter(|(key, _)| key.starts_with(&format!("{scenario}/"))) {
            let Some(name) = key.strip_prefix(scenario).and_then(|k| k[1..].strip_suffix(".change")) else {
                continue;
            };
            let (after, before) = (params.get(name).unwrap().data(), before.get(name).unwrap().data());
            let whole = name.starts_with("fc.");
            let at =
                |k: usize| if whole { k } else { ((k as u64 * 2_654_435_761) % after.len() as u64) as usize };
            let sample =
                |f: &dyn Fn(usize) -> f32| (0..change.shape().len()).map(|k| f(at(k))).collect::<Vec<_>>();
            let value = fixture.tensor(&format!("{scenario}/{name}")).unwrap();
            let apart = relative_l2(&sample(&|i| after[i]), value.data());
            assert!(apart < 1e-6, "{scenario} {name}: {apart:e}");
            let added = relative_l2(&sample(&|i| after[i] - before[i]), change.to_tensor().unwrap().data());
            assert!(added < 2e-3, "{scenario} {name}: what was added is {added:e} off");
            compared += 1;
        }
        assert_eq!(compared, if scenario == "layer4" { 8 } else { 2 });
    }
}

#[test]
fn gradients_of_the_last_stages_equal_pytorchs() {
    let fixture = fixture("gradients.safetensors");
    for (arch, unfrozen) in [
        ("resnet18", &["layer4", "fc"][..]),
        ("mobilenet_v2", &["features.17", "features.18", "classifier"][..]),
        ("tf_efficientnet_lite0", &["blocks.6", "conv_head", "bn2", "classifier"][..]),
    ] {
        let of = |key: &str| fixture.metadata()[&format!("{arch}.{key}")].clone();
        let numbers = |text: String| -> Vec<usize> {
            text.split(|c: char| !c.is_ascii_digit()).filter_map(|d| d.parse().ok()).collect()
        };
        let size = numbers(of("input"));
        let (graph, params) = network(arch, size[2], 1000, of("gain").parse().unwrap(), 0);
        let freeze = unfrozen.iter().try_fold(Freeze::everything(), |f, n| f.unfreeze(&graph, n)).unwrap();
        let split = graph.split(&freeze).unwrap();
        let pool = Pool::new(0);
        let images = input(size[0], size[2], size[3], 3, of("seed").parse().unwrap());
        let x = Trunk::compile(&split.trunk, &params).unwrap().run(&pool, &images).unwrap();
        let activations = forward(&split.tail, &params, x, &pool).unwrap();
        let targets = [3, 0, 7, 4];
        let (loss, gradient) = cross_entropy(activations.output(), &targets, None).unwrap();
        let expected = fixture.tensor(&format!("{arch}/running/loss")).unwrap().data()[0];
        assert!((loss - expected).abs() < 1e-5 * expected.abs().max(1.0), "{arch}: {loss} {expected}");
        let gradients = backward(&split.tail, &params, &activations, gradient, &freeze, &pool).unwrap();
        for (name, gradient) in &gradients {
            let Some(expected) = fixture.get(&format!("{arch}/running/{name}")) else {
                panic!("{arch} {name}")
            };
            let numel = gradient.len() as u64;
            let sample: Vec<f32> =
                (0..256u64).map(|k| gradient.data()[((k * 2_654_435_761) % numel) as usize]).collect();
            let apart = relative_l2(&sample, expected.to_tensor().unwrap().data());
            assert!(apart < 1e-4, "{arch} {name}: {apart:e}");
        }
        assert!(gradients.len() >= 8);
    }
}
