//! Every architecture against PyTorch: names, shapes, and the output of every stage, with seeded weights and
//! batch norm statistics. The fixtures are written by `scripts/fixtures/architectures.py`.

use headstart_graph::{Graph, ParamKind, Params, Trunk};
use headstart_kernels::Pool;
use headstart_models::registry;
use headstart_testing::{input, relative_l2, seeded};
use headstart_weights::StateDict;
use std::collections::BTreeMap;
use std::path::Path;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

fn fixture() -> StateDict {
    StateDict::open(&Path::new(FIXTURES).join("architectures.safetensors")).unwrap()
}

/// The elements that the fixture samples from an NCHW output, taken from our NHWC one.
fn sample(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let numel = values.len();
    let (channels, pixels) = match shape {
        [_, h, w, c] => (*c, h * w),
        _ => (shape[1], 1),
    };
    let at = |k: u64| {
        let i = ((k * 2_654_435_761) % numel as u64) as usize;
        let (image, channel, pixel) = (i / (channels * pixels), i / pixels % channels, i % pixels);
        values[(image * pixels + pixel) * channels + channel]
    };
    (0..512).map(at).collect()
}

#[test]
fn every_stage_and_the_logits_equal_pytorch() {
    let fixture = fixture();
    let pool = Pool::new(0);
    let mut cases: Vec<&str> = fixture.iter().filter_map(|(name, _)| name.strip_suffix("/logits")).collect();
    cases.sort_unstable();
    assert!(registry::ARCHITECTURES.iter().all(|a| cases.contains(&a.name)), "{cases:?}");
    // One network's parameters at a time: those of all VGGs would take gigabytes.
    let mut held: Option<(String, Params)> = None;
    for case in cases {
        let arch = case.split('@').next().unwrap();
        let gain: f64 = fixture.metadata()[&format!("{arch}.gain")].parse().unwrap();
        let size = &fixture.metadata()[&format!("{case}.input")];
        let size: Vec<usize> =
            size.split(|c: char| !c.is_ascii_digit()).filter_map(|d| d.parse().ok()).collect();
        let &[n, _, height, width] = &size[..] else { panic!("{case}: {size:?}") };
        let graph = registry::architecture(arch).unwrap().build_for([height, width, 3], 1000).unwrap();
        let (_, params) = match held.take() {
            Some((name, params)) if name == arch => held.insert((name, params)),
            _ => held.insert((arch.to_owned(), seeded_params(&graph, gain))),
        };
        let x = input(n, height, width, 3, 1);
        let trunk = Trunk::compile(&graph, params).unwrap();
        // The output of every call; a stage that ends inside of one is compiled by itself.
        let mut outputs: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        for i in 0..n {
            trunk.trace(&pool, x.row(i), |node, values| {
                outputs.entry(node.to_owned()).or_default().extend_from_slice(values);
            });
        }
        let mut stages = 0;
        for stage in graph.stages() {
            let Some(expected) = fixture.get(&format!("{case}/{stage}")) else { continue };
            let end = graph.end_of_stage(stage).unwrap();
            let node = &graph.nodes()[end.index()];
            let alone = || {
                let prefix = Trunk::compile(&graph.prefix(end).unwrap(), params).unwrap();
                prefix.run(&pool, &x).unwrap().data().to_vec()
            };
            let found = outputs.remove(&node.name).unwrap_or_else(alone);
            let shape = [&[n], node.shape.dims()].concat();
            let apart = relative_l2(&sample(&found, &shape), expected.to_tensor().unwrap().data());
            assert!(apart < 1e-5, "{case} {stage}: {apart:e}");
            stages += 1;
        }
        let expected = fixture.tensor(&format!("{case}/logits")).unwrap();
        let apart = relative_l2(trunk.run(&pool, &x).unwrap().data(), expected.data());
        eprintln!("{case}: {stages} stages, logits {apart:e}");
        assert!(apart < 1e-5, "{case} logits: {apart:e}");
        let all = fixture.iter().filter(|(name, _)| name.starts_with(&format!("{case}/"))).count();
        assert_eq!(stages + 1, all, "{case}: every stage of the fixture is one of ours");
    }
}

fn seeded_params(graph: &Graph, gain: f64) -> Params {
    let specs = graph.params();
    let value = |i: usize| (specs[i].name.clone(), seeded(&specs[i].name, specs[i].shape.dims(), 0, gain));
    Pool::new(0).map(specs.len(), value).into_iter().collect()
}

#[test]
fn names_shapes_order_and_counts_are_the_checkpoints() {
    let listing = std::fs::read_to_string(Path::new(FIXTURES).join("architectures.names.tsv")).unwrap();
    for arch in registry::ARCHITECTURES {
        let graph = arch.build(224, 1000).unwrap();
        let rows = listing.lines().filter(|l| !l.starts_with('#')).map(|l| l.split('\t').collect::<Vec<_>>());
        let expected: Vec<(String, String)> =
            rows.filter(|r| r[0] == arch.name).map(|r| (r[1].to_owned(), r[2].to_owned())).collect();
        let shape = |dims: &[usize]| dims.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        let mut found: Vec<(String, String)> =
            graph.params().into_iter().map(|p| (p.name, shape(p.shape.dims()))).collect();
        let total = listing.lines().find_map(|l| l.strip_prefix(&format!("# {}\tparameters\t", arch.name)));
        assert_eq!(graph.parameter_count(), total.unwrap().parse::<usize>().unwrap(), "{}", arch.name);
        let (mut sorted, count) = (expected, found.len());
        sorted.sort();
        found.sort();
        assert_eq!(found, sorted, "{}", arch.name);
        let buffers = graph.params().iter().filter(|p| p.kind == ParamKind::Buffer).count();
        let running = sorted.iter().filter(|(name, _)| name.contains(".running_")).count();
        assert!(count > 0 && buffers == running, "{}: {buffers} {running}", arch.name);
    }
}
