//! What holds of every registered architecture: it is written and read back, finds its own parameters in a file, is described and
//! compiled in every precision, is cut before each stage, and a tail of it trains.

use headstart_graph::{BnStats, Freeze, Graph, Params, Precision, Trainer, Trunk};
use headstart_kernels::{Isa, Pool};
use headstart_models::registry::{ARCHITECTURES, Architecture};
use headstart_models::{KeyMap, load};
use headstart_tensor::Tensor;
use headstart_testing::{input, seeded};
use headstart_weights::{StateDict, StoredTensor, write_safetensors_to};
use std::collections::BTreeMap;
use std::path::Path;

const CLASSES: usize = 5;
/// Parameters of networks of which a tail is trained: one of each family and more, but VGG.
const MOST_TRAINED: usize = 30_000_000;
/// The same in plain Rust, which takes ten times as long: the kernels' own tests compare it with the others.
const MOST_TRAINED_PLAIN: usize = 12_000_000;

/// The architecture for small images, with the side of these.
fn small(arch: &Architecture) -> (Graph, usize) {
    let side = if arch.name.contains("patch14") { 28 } else { 64 };
    (arch.build(side, CLASSES).unwrap(), side)
}

fn seeded_params(graph: &Graph) -> Params {
    let specs = graph.params();
    let value = |i: usize| (specs[i].name.clone(), seeded(&specs[i].name, specs[i].shape.dims(), 0, 0.8));
    Pool::new(0).map(specs.len(), value).into_iter().collect()
}

#[test]
fn every_architecture_is_written_described_and_cut_before_each_stage() {
    for arch in ARCHITECTURES {
        let (graph, _) = small(arch);
        let name = arch.name;
        let text = serde_json::to_string(&graph).unwrap();
        assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph, "{name}");
        let params = graph.params();
        let names: Vec<&str> = params.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(KeyMap::detect(&graph, &names), KeyMap::Native, "{name}");
        let summary = graph.summary(&Freeze::everything());
        assert_eq!(summary.parameters, graph.parameter_count(), "{name}");
        assert_eq!(graph.with_classes(arch.classifier, 7).unwrap().output().dims(), [7], "{name}");
        let stages = graph.stages();
        for stage in &stages {
            let Ok(freeze) = Freeze::everything().unfreeze(&graph, stage) else { continue };
            if freeze.trainable().count() == 0 {
                continue;
            }
            let split = graph.split(&freeze).unwrap();
            assert_eq!(split.trunk.output(), split.tail.input(), "{name} {stage}");
            let nodes = |graph: &Graph| graph.nodes().len() - 1;
            assert_eq!(nodes(&split.trunk) + nodes(&split.tail), nodes(&graph), "{name} {stage}");
            let tail = split.tail.params();
            assert!(freeze.trainable().all(|p| tail.iter().any(|t| t.name == p)), "{name} {stage}");
            // Every stage begins at a node behind which nothing before it is read.
            let first = graph.nodes().iter().position(|n| n.stage == *stage).unwrap();
            assert!(
                nodes(&split.trunk) + 1 >= first,
                "{name} is not cut before {stage} but at {}",
                split.cut
            );
        }
    }
}

#[test]
fn every_architecture_finds_its_own_parameters_and_trains_a_tail() {
    let pool = Pool::new(0);
    let most = if Isa::current() == Isa::Generic { MOST_TRAINED_PLAIN } else { MOST_TRAINED };
    for arch in ARCHITECTURES {
        let (graph, side) = small(arch);
        // The larger ones of a family have more of the same layers.
        if graph.parameter_count() > most {
            continue;
        }
        let (name, given) = (arch.name, seeded_params(&graph));
        let params = through_a_file(&graph, &given);

        let stages = graph.stages();
        let with_weights = stages.iter().rev().filter(|stage| {
            let under = |node: &headstart_graph::Node| node.stage == **stage && !node.params().is_empty();
            graph.nodes().iter().any(under)
        });
        // The classifier, and the stage before it that has weights.
        let mut freeze = Freeze::everything();
        for stage in with_weights.take(2) {
            freeze = freeze.unfreeze(&graph, stage).unwrap();
        }
        let split = graph.split(&freeze).unwrap();
        let x = input(3, side, side, 3, 1);
        let trunk = Trunk::compile(&split.trunk, &params).unwrap();
        let features = trunk.run(&pool, &x).unwrap();
        let whole = Trunk::compile(&graph, &params).unwrap().run(&pool, &x).unwrap();
        let mut own: Params = split
            .tail
            .params()
            .into_iter()
            .map(|p| p.name)
            .map(|n| {
                let value = params.get(&n).unwrap().clone();
                (n, value)
            })
            .collect();
        let mut trainer = Trainer::new(split.tail, freeze.clone(), BnStats::Running);
        let out = trainer.forward(&own, &features, &pool).unwrap().clone();
        let apart = headstart_testing::relative_l2(out.data(), whole.data());
        assert!(apart < 1e-4, "{name}: the tail behind the trunk is the network: {apart:e}");

        // Half the squared distance from 1, whose gradient is the distance.
        let distance = |out: &Tensor| Tensor::from_fn(out.shape().clone(), |i| out.data()[i] - 1.0);
        let loss = |out: &Tensor| out.data().iter().map(|v| f64::from(v - 1.0).powi(2)).sum::<f64>() / 2.0;
        let gradients = trainer.backward(&own, &distance(&out), &pool).unwrap().clone();
        assert_eq!(gradients.len(), freeze.trainable().count(), "{name}");
        let square: f64 = gradients.values().flat_map(Tensor::data).map(|&g| f64::from(g).powi(2)).sum();
        assert!(square.is_finite() && square > 0.0, "{name}: {square}");
        // So far that the loss would fall by a hundredth if it were straight.
        let rate = (0.01 * loss(&out) / square) as f32;
        for (name, gradient) in &gradients {
            let value = own.get_mut(name).unwrap();
            value.data_mut().iter_mut().zip(gradient.data()).for_each(|(v, g)| *v -= rate * g);
        }
        let after = loss(trainer.forward(&own, &features, &pool).unwrap());
        assert!(
            after < loss(&out),
            "{name}: a step down the gradient lowers the loss: {} {after}",
            loss(&out)
        );
        eprintln!(
            "{name}: tail of {} nodes, loss {:.4} to {after:.4}",
            trainer.graph().nodes().len(),
            loss(&out)
        );
    }
}

/// The parameters written as f16 and read again, all of them found.
fn through_a_file(graph: &Graph, params: &Params) -> Params {
    let stored: Vec<(String, StoredTensor)> = graph
        .params()
        .into_iter()
        .map(|p| (p.name.clone(), StoredTensor::from_tensor_half(params.get(&p.name).unwrap()).unwrap()))
        .collect();
    let tensors: Vec<(&str, &StoredTensor)> = stored.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut bytes = Vec::new();
    write_safetensors_to(&mut bytes, &tensors, &BTreeMap::new()).unwrap();
    drop(stored);
    let dict = StateDict::from_bytes(bytes, Path::new("own")).unwrap();
    let (found, report) = load(graph, &dict, KeyMap::Native).unwrap();
    assert!(report.is_complete(), "{report}");
    found
}

#[test]
fn every_op_of_an_architecture_has_a_kernel_in_every_precision() {
    let pool = Pool::new(2);
    for arch in ARCHITECTURES {
        let (graph, side) = small(arch);
        // Larger networks are made of the same ops.
        if graph.parameter_count() > 40_000_000 {
            continue;
        }
        let params = seeded_params(&graph);
        let images = input(2, side, side, 3, 1);
        let calibration = Trunk::calibrate(&graph, &params, &pool, &images).unwrap();
        for precision in Precision::ALL {
            let trunk = Trunk::compile_in(precision, &graph, &params, &calibration).unwrap();
            let found = trunk.run(&pool, &images).unwrap();
            assert!(found.data().iter().all(|v| v.is_finite()), "{} in {precision}", arch.name);
            let one = Tensor::new([1, side, side, 3], images.row(1).to_vec()).unwrap();
            let alone = trunk.run(&Pool::new(3), &one).unwrap();
            assert_eq!(alone.data(), found.row(1), "{} in {precision}: the same bytes", arch.name);
            let layers = trunk.layers();
            let in_graph: usize = layers.iter().map(|l| l.nodes.split('+').count()).sum();
            assert!(in_graph + 1 >= graph.nodes().len(), "{}: every node is in a layer", arch.name);
        }
    }
}
