//! A folder with a text encoder: ids and sentences against transformers (`scripts/fixtures/text.py` writes both), and every
//! way in which a folder can be wrong.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use headstart_graph::{Freeze, Params, Trunk};
use headstart_models::{CLASSIFIER, KeyMap, Sentence, TextEncoder};
use headstart_testing::relative_l2;
use headstart_weights::{StateDict, StoredTensor, write_safetensors};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

#[derive(Deserialize)]
struct Expected {
    text: String,
    ids: Vec<u32>,
    embedding: Vec<f32>,
}

fn tiny() -> PathBuf {
    Path::new(FIXTURES).join("tiny_encoder")
}

fn expected() -> Vec<Expected> {
    serde_json::from_slice(&fs::read(Path::new(FIXTURES).join("tiny_encoder.json")).unwrap()).unwrap()
}

/// The network before its classifier.
fn trunk(encoder: &TextEncoder, params: &Params) -> Trunk {
    let graph = encoder.graph(2).unwrap();
    let freeze = Freeze::everything().unfreeze(&graph, CLASSIFIER).unwrap();
    Trunk::compile(&graph.split(&freeze).unwrap().trunk, params).unwrap()
}

#[test]
fn ids_and_sentences_equal_transformers() {
    let encoder = TextEncoder::open(&tiny()).unwrap();
    assert_eq!((encoder.name.as_str(), encoder.sentence), ("tiny_encoder", Sentence::Mean));
    assert_eq!((encoder.tokens.most(), encoder.normalize, encoder.says_pooling), (24, true, true));
    let trunk = trunk(&encoder, &encoder.params);
    for Expected { text, ids, embedding } in expected() {
        let found = encoder.tokens.ids(&text).unwrap();
        assert_eq!(found, ids, "{text}");
        let input: Vec<f32> = found.iter().map(|&id| id as f32).collect();
        let mut out = vec![f32::NAN; embedding.len()];
        trunk.run_sequences(input.len(), &input, &mut out);
        let apart = relative_l2(&out, &embedding);
        eprintln!("{} tokens: {apart:e}", ids.len());
        assert!(apart < 1e-5, "{text}: {apart:e}");
    }
}

/// A copy of the tiny encoder, to be spoiled.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    for file in [
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
    ] {
        fs::write(folder.path().join(file), fs::read(tiny().join(file)).unwrap()).unwrap();
    }
    folder
}

fn refusal(spoil: impl FnOnce(&Path)) -> String {
    let folder = copy();
    spoil(folder.path());
    TextEncoder::open(folder.path()).unwrap_err().to_string()
}

fn replace(file: &'static str, from: &'static str, to: &'static str) -> impl FnOnce(&Path) {
    move |folder| {
        let path = folder.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(path, text.replace(from, to)).unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_in_words() {
    let without = |file: &'static str| move |folder: &Path| fs::remove_file(folder.join(file)).unwrap();
    assert!(refusal(without("config.json")).contains("there is no config.json"));
    assert!(refusal(without("tokenizer.json")).contains("tokenizer.json is no text encoder"));
    assert!(refusal(without("model.safetensors")).contains("no model.safetensors and no pytorch_model.bin"));
    for (file, from, to, message) in [
        ("config.json", "\"bert\"", "\"roberta\"", "its model_type is roberta: bert is known"),
        ("config.json", "\"gelu\"", "\"relu\"", "its hidden_act is relu: gelu and gelu_new are known"),
        ("config.json", "\"hidden_size\": 24", "\"hidden_size\": 0", "its hidden_size is 0"),
        ("config.json", "\"hidden_size\": 24", "\"hidden_size\": 25", "cannot be shared among 2 heads"),
        ("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 99999", "expected 1 to 1024"),
        ("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "missing (encoder.layer.2."),
        (
            "config.json",
            "\"num_hidden_layers\": 2",
            "\"num_hidden_layers\": 1",
            "unexpected (encoder.layer.1.",
        ),
        ("config.json", "\"vocab_size\"", "\"size\"", "missing field `vocab_size`"),
        ("config.json", "\"intermediate_size\": 48", "\"intermediate_size\": 40", "of another shape"),
        (
            "tokenizer.json",
            "\"[PAD]\":0",
            "\"[PAD]\":900",
            "it has the id 900, and the network knows those below",
        ),
        (
            "tokenizer.json",
            "\"SpecialToken\":{\"id\":\"[SEP]\"",
            "\"SpecialToken\":{\"id\":\"[END]\"",
            "the token [END]",
        ),
        ("tokenizer.json", "{\"version\"", "{\"no\"", "tokenizer.json"),
        ("modules.json", "models.Normalize", "models.Dense", "it has a module Dense"),
        ("modules.json", "\"1_Pooling\"", "\"../1_Pooling\"", "leads out of the folder"),
        ("1_Pooling/config.json", "mean_tokens", "max_tokens", "it pools by max_tokens"),
        (
            "1_Pooling/config.json",
            "\"pooling_mode_cls_token\": false",
            "\"pooling_mode_cls_token\": true",
            "and",
        ),
        ("sentence_bert_config.json", "24", "1", "texts of 1 tokens"),
    ] {
        let message_of = refusal(replace(file, from, to));
        assert!(message_of.contains(message), "{file} {to}: {message_of}");
    }
    let large = |folder: &Path| fs::write(folder.join("config.json"), vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(refusal(large).contains("more than 1048576 bytes"));
    let damaged = |folder: &Path| fs::write(folder.join("model.safetensors"), b"PK\x03\x04").unwrap();
    assert!(refusal(damaged).contains("model.safetensors"));
}

#[test]
fn a_plain_encoder_inside_another_network_is_found() {
    let folder = copy();
    for file in ["modules.json", "sentence_bert_config.json"] {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    let path = folder.path().join("model.safetensors");
    let dict = StateDict::open(&path).unwrap();
    let renamed = |name: &str| {
        let name =
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        format!("bert.{name}")
    };
    let mut tensors: Vec<(String, StoredTensor)> = dict
        .iter()
        .map(|(name, t)| (renamed(name), StoredTensor::from_tensor(&t.to_tensor().unwrap())))
        .collect();
    let rest = StoredTensor::from_tensor(&headstart_tensor::Tensor::zeros([2]));
    for name in ["bert.embeddings.position_ids", "bert.pooler.dense.bias", "cls.predictions.bias"] {
        tensors.push((name.into(), rest.clone()));
    }
    let tensors: Vec<(&str, &StoredTensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    drop(dict);
    write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap();
    let encoder = TextEncoder::open(folder.path()).unwrap();
    assert_eq!(encoder.report.key_map, KeyMap::TextEncoder);
    assert_eq!((encoder.normalize, encoder.says_pooling, encoder.tokens.most()), (false, false, 32));
    assert_eq!(encoder.params, TextEncoder::open(&tiny()).unwrap().params);
}
