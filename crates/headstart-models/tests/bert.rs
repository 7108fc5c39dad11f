//! Text encoders against transformers' `BertModel`: names, shapes and hidden states, with seeded weights. The fixture is
//! written by `scripts/fixtures/bert.py`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use headstart_graph::{Graph, Params, Trunk};
use headstart_kernels::Pool;
use headstart_models::{ENCODERS, Sentence};
use headstart_testing::{relative_l2, seeded};
use headstart_weights::StateDict;
use std::collections::BTreeMap;
use std::path::Path;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// The elements that the fixture samples, with the rows of padding set to 0.
fn sample(values: &[f32], ids: &[f32]) -> Vec<f32> {
    let (numel, width) = (values.len() as u64, values.len() / ids.len());
    let at = |k: u64| {
        let i = ((k * 2_654_435_761) % numel) as usize;
        if ids[i / width] == 0.0 { 0.0 } else { values[i] }
    };
    (0..512).map(at).collect()
}

#[test]
fn hidden_states_and_sentences_equal_transformers() {
    let fixture = StateDict::open(&Path::new(FIXTURES).join("bert.safetensors")).unwrap();
    let pool = Pool::new(0);
    for (name, bert) in ENCODERS {
        let gain: f64 = fixture.metadata()[&format!("{name}.gain")].parse().unwrap();
        let ids = fixture.tensor(&format!("{name}/ids")).unwrap();
        let graph = bert.build(ids.dims()[1], Sentence::Pooler).unwrap();
        let params: Params = graph
            .params()
            .into_iter()
            .map(|p| (p.name.clone(), seeded(&p.name, p.shape.dims(), 0, gain)))
            .collect();
        let run = |graph: &Graph| Trunk::compile(graph, &params).unwrap().run(&pool, &ids).unwrap();
        let mut outputs: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        let tokens = Trunk::compile(&bert.build(ids.dims()[1], Sentence::Tokens).unwrap(), &params).unwrap();
        for i in 0..ids.dims()[0] {
            tokens.trace(&pool, ids.row(i), |node, values| {
                outputs.entry(node.to_owned()).or_default().extend_from_slice(values);
            });
        }
        let mut stages = 0;
        for stage in graph.stages() {
            let Some(expected) = fixture.get(&format!("{name}/{stage}")) else { continue };
            let end = &graph.nodes()[graph.end_of_stage(stage).unwrap().index()];
            let found = sample(&outputs[&end.name], ids.data());
            let apart = relative_l2(&found, expected.to_tensor().unwrap().data());
            assert!(apart < 1e-5, "{name} {stage}: {apart:e}");
            stages += 1;
        }
        assert_eq!(stages, bert.blocks + 1, "{name}");
        for (sentence, key) in [(Sentence::Mean, "mean"), (Sentence::Pooler, "pooler")] {
            let found = run(&bert.build(ids.dims()[1], sentence).unwrap());
            let apart = relative_l2(found.data(), fixture.tensor(&format!("{name}/{key}")).unwrap().data());
            eprintln!("{name}: {stages} stages, {key} {apart:e}");
            assert!(apart < 1e-5, "{name} {key}: {apart:e}");
        }
    }
}

#[test]
fn names_and_shapes_are_the_checkpoints() {
    let listing = std::fs::read_to_string(Path::new(FIXTURES).join("bert.names.tsv")).unwrap();
    for (name, bert) in ENCODERS {
        let shape = |dims: &[usize]| dims.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        let graph = bert.build(16, Sentence::Pooler).unwrap();
        let mut found: Vec<String> = graph
            .params()
            .into_iter()
            .map(|p| format!("{name}\t{}\t{}", p.name, shape(p.shape.dims())))
            .collect();
        let mut expected: Vec<&str> =
            listing.lines().filter(|l| l.split('\t').next() == Some(name)).collect();
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[test]
fn too_many_tokens_are_refused() {
    let error = ENCODERS[0].1.build(513, Sentence::Mean).unwrap_err().to_string();
    assert!(error.contains("at most 512 tokens"), "{error}");
    assert!(ENCODERS[0].1.build(0, Sentence::Mean).is_err());
}
