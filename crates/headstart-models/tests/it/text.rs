//! Folders with text encoders: ids and sentences against transformers (`scripts/fixtures/text.py` writes both), and every
//! way in which a folder can be wrong.

use headstart_graph::{Freeze, Params, Trunk};
use headstart_models::{CLASSIFIER, Family, KeyMap, Sentence, TextEncoder};
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

fn folder(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}

fn tiny() -> PathBuf {
    folder("tiny_encoder")
}

fn expected(name: &str) -> Vec<Expected> {
    serde_json::from_slice(&fs::read(folder(&format!("{name}.json"))).unwrap()).unwrap()
}

/// The network before its classifier.
fn trunk(encoder: &TextEncoder, params: &Params) -> Trunk {
    let graph = encoder.graph(2).unwrap();
    let freeze = Freeze::everything().unfreeze(&graph, CLASSIFIER).unwrap();
    Trunk::compile(&graph.split(&freeze).unwrap().trunk, params).unwrap()
}

#[test]
fn ids_and_sentences_equal_transformers() {
    for (name, family, sentence, normalize, says_pooling, key_map) in [
        ("tiny_encoder", Family::Bert, Sentence::Mean, true, true, KeyMap::Native),
        ("tiny_distilbert", Family::DistilBert, Sentence::Mean, false, false, KeyMap::TextEncoder),
        ("tiny_roberta", Family::Roberta, Sentence::First, false, true, KeyMap::TextEncoder),
        ("tiny_xlm_roberta", Family::Roberta, Sentence::Mean, true, true, KeyMap::Native),
    ] {
        let encoder = TextEncoder::open(&folder(name)).unwrap();
        assert_eq!((encoder.name.as_str(), encoder.bert.family), (name, family));
        assert_eq!((encoder.sentence, encoder.normalize), (sentence, normalize), "{name}");
        assert_eq!((encoder.says_pooling, encoder.tokens.most()), (says_pooling, 24), "{name}");
        assert_eq!((encoder.report.key_map, encoder.report.is_plain()), (key_map, true), "{name}");
        let trunk = trunk(&encoder, &encoder.params);
        let texts = expected(name);
        assert_eq!(texts.len(), 20);
        let mut worst = 0.0f64;
        for Expected { text, ids, embedding } in texts {
            let found = encoder.tokens.ids(&text).unwrap();
            assert_eq!(found, ids, "{name}: {text}");
            assert_eq!(
                found.last(),
                encoder.tokens.ids("").unwrap().last(),
                "{name}: the closing token stays"
            );
            let input: Vec<f32> = found.iter().map(|&id| id as f32).collect();
            let mut out = vec![f32::NAN; embedding.len()];
            trunk.run_sequences(input.len(), &input, &mut out);
            let apart = relative_l2(&out, &embedding);
            assert!(apart < 1e-5, "{name}: {text}: {apart:e}");
            worst = worst.max(apart);
        }
        eprintln!("{name}: {worst:e}");
    }
}

/// A copy of the encoder `name`, to be spoiled.
fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("1_Pooling")).unwrap();
    for file in [
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
    ] {
        if let Ok(bytes) = fs::read(folder(name).join(file)) {
            fs::write(copy.path().join(file), bytes).unwrap();
        }
    }
    copy
}

fn refusal_of(name: &str, spoil: impl FnOnce(&Path)) -> String {
    let folder = copy(name);
    spoil(folder.path());
    TextEncoder::open(folder.path()).unwrap_err().to_string()
}

fn refusal(spoil: impl FnOnce(&Path)) -> String {
    refusal_of("tiny_encoder", spoil)
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
        (
            "config.json",
            "\"bert\"",
            "\"mpnet\"",
            "its model_type is mpnet: bert, distilbert, roberta and xlm-roberta are known",
        ),
        ("config.json", "\"model_type\"", "\"type\"", "its model_type is none: bert, "),
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
        ("config.json", "\"vocab_size\"", "\"size\"", "it has no vocab_size"),
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
fn sizes_that_cannot_be_are_refused_by_their_keys() {
    let (bert, distilbert, roberta) = ("tiny_encoder", "tiny_distilbert", "tiny_roberta");
    for (name, from, to, message) in [
        (
            bert,
            "\"type_vocab_size\": 2",
            "\"type_vocab_size\": -2",
            "its type_vocab_size is -2: expected 1 to 1024",
        ),
        (bert, "1e-12", "0", "its layer_norm_eps is 0: expected a number above 0"),
        (bert, "1e-12", "1e300", "its layer_norm_eps is 1e+300: "),
        (bert, "1e-12", "\"1e-12\"", "its layer_norm_eps is \"1e-12\": "),
        (bert, "\"gelu\"", "7", "its hidden_act is 7: gelu and gelu_new are known"),
        (bert, "\"pad_token_id\": 0", "\"pad_token_id\": 70", "its pad_token_id is 70: expected an id below"),
        (bert, "\"pad_token_id\": 0", "\"pad_token_id\": -1", "its pad_token_id is -1: expected a word's id"),
        (
            bert,
            "\"vocab_size\": 70",
            "\"vocab_size\": 18446744073709551616",
            "its vocab_size is 1.8446744073709552e+19: expected 1 to",
        ),
        (bert, "\"hidden_size\": 24", "\"hidden_size\": 2.5", "its hidden_size is 2.5: expected 1 to 16384"),
        (bert, "\"pad_token_id\": 0", "\"is_decoder\": true", "its is_decoder is true: false is known"),
        (
            bert,
            "\"pad_token_id\": 0",
            "\"position_embedding_type\": \"relative_key\"",
            "its position_embedding_type is \"relative_key\": \"absolute\" is known",
        ),
        (distilbert, "\"dim\": 24", "\"hidden_size\": 24", "it has no dim"),
        (distilbert, "\"dim\": 24", "\"dim\": null", "it has no dim"),
        (distilbert, "\"n_layers\": 2", "\"n_layers\": \"2\"", "its n_layers is \"2\": expected 1 to 1024"),
        (
            distilbert,
            "\"n_heads\": 2",
            "\"n_heads\": 7",
            "its dim 24 cannot be shared among 7 heads (n_heads)",
        ),
        (distilbert, "\"hidden_dim\": 48", "\"hidden_dim\": 4800000", "its hidden_dim is 4800000"),
        (distilbert, "\"gelu\"", "\"relu\"", "its activation is relu: gelu and gelu_new are known"),
        (distilbert, "\"n_layers\": 2", "\"n_layers\": 1", "unexpected (distilbert.transformer.layer.1."),
        (
            roberta,
            "\"pad_token_id\": 1",
            "\"pad_token_id\": 25",
            "positions begin behind its pad_token_id 25",
        ),
        (roberta, "\"pad_token_id\": 1", "\"pad_token_id\": 4294967295", "its pad_token_id is 4294967295"),
        (roberta, "\"roberta\"", "\"bert\"", "unexpected (lm_head."),
    ] {
        let message_of = refusal_of(name, replace("config.json", from, to));
        assert!(
            message_of.contains(message) && message_of.contains("config.json"),
            "{name} {to}: {message_of}"
        );
    }
    let short = replace("config.json", "\"max_position_embeddings\": 26", "\"max_position_embeddings\": 4");
    let message = refusal_of(roberta, short);
    assert!(message.contains("texts of 2 tokens have no room for words"), "{message}");
    let special = replace("tokenizer.json", "[\"</s>\",2]", "[\"</s>\",999]");
    let message = refusal_of(roberta, special);
    assert!(message.contains("it has the id 999, and the network knows those below 381"), "{message}");
}

#[test]
fn padding_is_what_the_config_says_and_else_that_of_its_kind() {
    for (name, pad) in [("tiny_encoder", 0), ("tiny_distilbert", 0), ("tiny_roberta", 1)] {
        for (from, to, expected) in [
            ("\"pad_token_id\"", "\"unknown\"", pad),
            ("\"pad_token_id\"", "\"pad_token_id\": null, \"unknown\"", pad),
            ("\"pad_token_id\": ", "\"pad_token_id\": 1", pad + 10),
        ] {
            let copy = copy(name);
            replace("config.json", from, to)(copy.path());
            assert_eq!(TextEncoder::open(copy.path()).unwrap().bert.pad, expected, "{name} {to}");
        }
    }
}

#[test]
fn a_plain_encoder_inside_another_network_is_found() {
    let folder = copy("tiny_encoder");
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
