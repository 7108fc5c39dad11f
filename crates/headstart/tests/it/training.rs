//! Ten steps of the lesson's recipe, single gradients and a whole network, against PyTorch. The fixtures are written by
//! `lesson.py`, `gradients.py` and `whole_network.py` in `scripts/fixtures`.

use headstart::Pool;
use headstart::graph::{BnStats, Freeze, Gradients, Graph, Params, Trainer, Trunk};
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
    let mut trainer = Trainer::new(split.tail, freeze, BnStats::Running);
    for step in 0..10 {
        let x = images_like(&cached, step * 8..step * 8 + 8);
        let targets: Vec<usize> = (step * 8..step * 8 + 8).map(|i| (i * 7 + 3) % 10).collect();
        let logits = trainer.forward(&params, &x, &pool).unwrap();
        let (loss, gradient) = cross_entropy(logits, &targets, None).unwrap();
        losses.push(loss);
        let gradients = trainer.backward(&params, &gradient, &pool).unwrap();
        optimizer.step_all(&mut params, gradients, lr).unwrap();
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

/// The places that `sample` of the scripts looks at.
fn sampled(values: &[f32], count: usize) -> Vec<f32> {
    (0..count as u64).map(|k| values[((k * 2_654_435_761) % values.len() as u64) as usize]).collect()
}

fn images_like(x: &Tensor, rows: std::ops::Range<usize>) -> Tensor {
    let mut dims = x.dims().to_vec();
    dims[0] = rows.len();
    let at = rows.start * x.row_len();
    Tensor::from_fn(dims, |i| x.data()[at + i])
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
        for (mode, stats) in [("running", BnStats::Running), ("batch", BnStats::Batch { momentum: 0.1 })] {
            let (graph, mut params) = network(arch, size[2], 1000, of("gain").parse().unwrap(), 0);
            let freeze =
                unfrozen.iter().try_fold(Freeze::everything(), |f, n| f.unfreeze(&graph, n)).unwrap();
            let split = graph.split(&freeze).unwrap();
            let images = input(size[0], size[2], size[3], 3, of("seed").parse().unwrap());
            let x = Trunk::compile(&split.trunk, &params).unwrap().run(&Pool::new(0), &images).unwrap();
            let vanishing = fixture.metadata()[&format!("{arch}/{mode}.vanishing")].clone();
            let vanishing: Vec<&str> = vanishing.split(',').collect();
            let fixture = (&fixture, format!("{arch}/{mode}"), 256);
            let found = one_step(split.tail, freeze, stats, &mut params, &x, fixture, &vanishing);
            assert!(found >= 8);
        }
    }
}

/// Compares a step's loss, gradients and statistics with those of a fixture; how many gradients there were.
fn one_step(
    tail: Graph,
    freeze: Freeze,
    stats: BnStats,
    params: &mut Params,
    x: &Tensor,
    (fixture, prefix, samples): (&StateDict, String, usize),
    vanishing: &[&str],
) -> usize {
    let expected = |name: &str| fixture.tensor(&format!("{prefix}/{name}")).unwrap_or_else(|e| panic!("{e}"));
    let targets: Vec<usize> = (0..x.dims()[0]).map(|i| (i * 7 + 3) % 10).collect();
    let mut all: Vec<Gradients> = Vec::new();
    for threads in [1, 2] {
        let pool = Pool::new(threads);
        let mut trainer = Trainer::new(tail.clone(), freeze.clone(), stats);
        let logits = trainer.forward(params, x, &pool).unwrap();
        let (loss, gradient) = cross_entropy(logits, &targets, None).unwrap();
        let known = expected("loss").data()[0];
        assert!((loss - known).abs() < 1e-5 * known.abs().max(1.0), "{prefix}: {loss} {known}");
        all.push(trainer.backward(params, &gradient, &pool).unwrap().clone());
        if threads == 2 {
            trainer.update_statistics(params).unwrap();
        }
    }
    assert_eq!(all[0], all[1], "the same bytes with two threads");
    let mut worst = (0.0, String::new());
    let mut compare = |name: &str, found: &[f32]| {
        let apart = relative_l2(&sampled(found, samples), expected(name).data());
        if apart > worst.0 {
            worst = (apart, name.to_owned());
        }
    };
    for (name, gradient) in &all[0] {
        if vanishing.contains(&name.as_str()) {
            assert!(gradient.data().iter().all(|g| g.abs() < 1e-5), "{prefix} {name} vanishes");
        } else {
            compare(name, gradient.data());
        }
    }
    if matches!(stats, BnStats::Batch { .. }) {
        let moved = tail.nodes().iter().filter(|n| freeze.is_trainable(&format!("{}.weight", n.name)));
        for norm in moved.filter(|n| matches!(n.op, headstart::graph::Op::BatchNorm2d(_))) {
            for part in ["running_mean", "running_var"] {
                let name = format!("{}.{part}", norm.name);
                compare(&name, params.get(&name).unwrap().data());
            }
        }
    }
    assert!(worst.0 < 1e-4, "{prefix} {}: {:e}", worst.1, worst.0);
    all[0].len()
}

fn whole_network(fixture: &StateDict) -> (Graph, Params, Freeze) {
    let (graph, params) = network("resnet18", 64, 1000, fixture.metadata()["gain"].parse().unwrap(), 0);
    let stages = graph.stages().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let freeze = stages.iter().try_fold(Freeze::everything(), |f, stage| f.unfreeze(&graph, stage)).unwrap();
    (graph, params, freeze)
}

#[test]
fn gradients_of_a_whole_network_equal_pytorchs() {
    let fixture = fixture("whole_network.safetensors");
    for (mode, stats) in [("running", BnStats::Running), ("batch", BnStats::Batch { momentum: 0.1 })] {
        let (graph, mut params, freeze) = whole_network(&fixture);
        let x = input(4, 64, 64, 3, fixture.metadata()["seed"].parse().unwrap());
        let fixture = (&fixture, mode.to_owned(), 64);
        assert_eq!(one_step(graph, freeze, stats, &mut params, &x, fixture, &[]), 62);
    }
}

#[test]
fn ten_steps_of_a_whole_network_give_pytorchs_losses() {
    let fixture = fixture("whole_network.safetensors");
    let decay = Rule::AdamW { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 1e-2 };
    for (optimizer, rule, lr) in [("sgd", Rule::sgd(0.9), 1e-4), ("adamw", decay, 1e-6)] {
        let (graph, mut params, freeze) = whole_network(&fixture);
        let mut trainer = Trainer::new(graph, freeze, BnStats::Batch { momentum: 0.1 });
        let (mut steps, pool) = (Optimizer::new(rule).unwrap(), Pool::new(0));
        let images = input(80, 64, 64, 3, 2);
        let expected = fixture.tensor(&format!("{optimizer}/losses")).unwrap();
        for (step, expected) in expected.data().iter().enumerate() {
            let rows = step * 8..step * 8 + 8;
            let targets: Vec<usize> = rows.clone().map(|i| (i * 7 + 3) % 10).collect();
            let logits = trainer.forward(&params, &images_like(&images, rows), &pool).unwrap();
            let (loss, gradient) = cross_entropy(logits, &targets, None).unwrap();
            assert!((loss - expected).abs() <= 1e-4, "{optimizer} step {step}: {loss} {expected}");
            trainer.update_statistics(&mut params).unwrap();
            let gradients = trainer.backward(&params, &gradient, &pool).unwrap();
            steps.step_all(&mut params, gradients, lr).unwrap();
        }
        assert_eq!(expected.len(), 10);
    }
}
