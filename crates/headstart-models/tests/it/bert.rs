//! Text encoders against transformers' `BertModel`, `DistilBertModel` and `RobertaModel`: names, shapes and hidden states,
//! with seeded weights. The fixture is written by `scripts/fixtures/bert.py`.

use headstart_graph::{Graph, Params, Trunk};
use headstart_kernels::Pool;
use headstart_models::{Bert, ENCODERS, Family, Sentence};
use headstart_testing::{relative_l2, seeded};
use headstart_weights::StateDict;
use std::collections::BTreeMap;
use std::path::Path;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// All that the fixture has names of: the well-known ones, and a tiny one of each other family.
fn encoders() -> Vec<(&'static str, Bert)> {
    let (_, bert) = ENCODERS[0];
    let tiny = Bert { words: 300, width: 48, blocks: 3, heads: 4, inner: 192, ..bert };
    let roberta = Bert { family: Family::Roberta, positions: 514, segments: 1, eps: 1e-5, pad: 1, ..tiny };
    let distilbert = Bert { family: Family::DistilBert, segments: 0, ..tiny };
    [&ENCODERS[..], &[("roberta_tiny", roberta), ("distilbert_tiny", distilbert)]].concat()
}

/// The sentence with the most parameters that checkpoints have.
fn whole(bert: &Bert) -> Sentence {
    if bert.family == Family::DistilBert { Sentence::First } else { Sentence::Pooler }
}

/// The elements that the fixture samples, with the rows of padding set to 0.
fn sample(values: &[f32], ids: &[f32], pad: u32) -> Vec<f32> {
    let (numel, width) = (values.len() as u64, values.len() / ids.len());
    let at = |k: u64| {
        let i = ((k * 2_654_435_761) % numel) as usize;
        if ids[i / width] == pad as f32 { 0.0 } else { values[i] }
    };
    (0..512).map(at).collect()
}

#[test]
fn hidden_states_and_sentences_equal_transformers() {
    let fixture = StateDict::open(&Path::new(FIXTURES).join("bert.safetensors")).unwrap();
    let pool = Pool::new(0);
    let mut compared = Vec::new();
    for (name, bert) in encoders() {
        let Some(gain) = fixture.metadata().get(&format!("{name}.gain")) else { continue };
        let gain: f64 = gain.parse().unwrap();
        let ids = fixture.tensor(&format!("{name}/ids")).unwrap();
        let graph = bert.build(ids.dims()[1], whole(&bert)).unwrap();
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
            let found = sample(&outputs[&end.name], ids.data(), bert.pad);
            let apart = relative_l2(&found, expected.to_tensor().unwrap().data());
            assert!(apart < 1e-5, "{name} {stage}: {apart:e}");
            stages += 1;
        }
        assert_eq!(stages, bert.blocks + 1, "{name}");
        for (sentence, key) in [(Sentence::Mean, "mean"), (Sentence::Pooler, "pooler")] {
            if key == "pooler" && whole(&bert) != sentence {
                continue;
            }
            let found = run(&bert.build(ids.dims()[1], sentence).unwrap());
            let apart = relative_l2(found.data(), fixture.tensor(&format!("{name}/{key}")).unwrap().data());
            eprintln!("{name}: {stages} stages, {key} {apart:e}");
            assert!(apart < 1e-5, "{name} {key}: {apart:e}");
        }
        compared.push(name);
    }
    assert_eq!(compared.len(), 7, "{compared:?}");
}

#[test]
fn names_and_shapes_are_the_checkpoints() {
    let listing = std::fs::read_to_string(Path::new(FIXTURES).join("bert.names.tsv")).unwrap();
    for (name, bert) in encoders() {
        let shape = |dims: &[usize]| dims.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        let graph = bert.build(16, whole(&bert)).unwrap();
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
    for (name, bert) in encoders() {
        // RoBERTa's table has 514 rows, two of which no token has.
        assert_eq!(bert.longest(), 512, "{name}");
        assert!(bert.build(512, Sentence::Mean).is_ok(), "{name}");
        let error = bert.build(513, Sentence::Mean).unwrap_err().to_string();
        assert!(error.contains("at most 512 tokens"), "{name}: {error}");
        assert!(bert.build(0, Sentence::Mean).is_err(), "{name}");
    }
    let none = Bert { family: Family::Roberta, pad: u32::MAX, ..ENCODERS[0].1 };
    assert_eq!(none.longest(), 0);
    assert!(none.build(1, Sentence::Mean).is_err());
}
