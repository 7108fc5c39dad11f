//! The sizes of a text encoder out of its `config.json`: a table of what each `model_type` calls them.

use crate::{Bert, Family};
use headstart_graph::Smooth;
use serde_json::{Map, Value};

/// What a `model_type` is, and what its files call the sizes.
struct Row {
    model_type: &'static str,
    family: Family,
    keys: &'static Keys,
    /// `pad_token_id` where the file does not say.
    pad: u32,
    /// How the names of tensors begin that checkpoints hold besides the encoder: heads for other tasks.
    heads: &'static [&'static str],
}

/// Keys of `config.json`. What has no key is what transformers makes of it: no segments, and norms with 1e-12.
struct Keys {
    width: &'static str,
    blocks: &'static str,
    heads: &'static str,
    inner: &'static str,
    activation: &'static str,
    segments: Option<&'static str>,
    eps: Option<&'static str>,
}

const BERT: Keys = Keys {
    width: "hidden_size",
    blocks: "num_hidden_layers",
    heads: "num_attention_heads",
    inner: "intermediate_size",
    activation: "hidden_act",
    segments: Some("type_vocab_size"),
    eps: Some("layer_norm_eps"),
};

const DISTILBERT: Keys = Keys {
    width: "dim",
    blocks: "n_layers",
    heads: "n_heads",
    inner: "hidden_dim",
    activation: "activation",
    segments: None,
    eps: None,
};

const ROBERTA: Row = Row {
    model_type: "roberta",
    family: Family::Roberta,
    keys: &BERT,
    pad: 1,
    heads: &["lm_head.", "classifier.", "qa_outputs.", "pooler."],
};

const ROWS: [Row; 4] = [
    Row {
        model_type: "bert",
        family: Family::Bert,
        keys: &BERT,
        pad: 0,
        heads: &["cls.", "classifier.", "qa_outputs.", "pooler."],
    },
    Row {
        model_type: "distilbert",
        family: Family::DistilBert,
        keys: &DISTILBERT,
        pad: 0,
        heads: &[
            "vocab_transform.",
            "vocab_layer_norm.",
            "vocab_projector.",
            "pre_classifier.",
            "classifier.",
            "qa_outputs.",
        ],
    },
    ROBERTA,
    Row { model_type: "xlm-roberta", ..ROBERTA },
];

/// The encoder that `config` describes, and how the names of tensors begin that its checkpoints hold besides it.
///
/// # Errors
/// In words, with the key, where the kind is not known or a size is missing, absurd or does not fit the others.
pub(crate) fn read(config: &Map<String, Value>) -> Result<(Bert, &'static [&'static str]), String> {
    let row = row(config)?;
    for (key, known) in [("position_embedding_type", "absolute".into()), ("is_decoder", Value::Bool(false))] {
        if let Some(other) = given(config, key).filter(|found| **found != known) {
            return Err(format!("its {key} is {other}: {known} is known"));
        }
    }
    let keys = row.keys;
    let bert = Bert {
        family: row.family,
        words: size(config, "vocab_size", 1 << 24)?,
        positions: size(config, "max_position_embeddings", 1 << 14)?,
        segments: keys.segments.map_or(Ok(0), |key| segments(config, key))?,
        width: size(config, keys.width, 1 << 14)?,
        blocks: size(config, keys.blocks, 1 << 10)?,
        heads: size(config, keys.heads, 1 << 10)?,
        inner: size(config, keys.inner, 1 << 16)?,
        activation: activation(config, keys.activation)?,
        eps: keys.eps.map_or(Ok(1e-12), |key| eps(config, key))?,
        pad: pad(config, row.pad)?,
    };
    let Bert { words, width, heads, pad, positions, .. } = bert;
    if !width.is_multiple_of(heads) {
        return Err(format!(
            "its {} {width} cannot be shared among {heads} heads ({})",
            keys.width, keys.heads
        ));
    }
    if pad as usize >= words {
        return Err(format!("its pad_token_id is {pad}: expected an id below its vocab_size {words}"));
    }
    if bert.longest() == 0 {
        return Err(format!(
            "its max_position_embeddings is {positions}: positions begin behind its pad_token_id {pad}"
        ));
    }
    Ok((bert, row.heads))
}

fn row(config: &Map<String, Value>) -> Result<&'static Row, String> {
    let found = given(config, "model_type").and_then(Value::as_str).unwrap_or("none");
    ROWS.iter().find(|row| row.model_type == found).ok_or_else(|| {
        let [first @ .., last] = ROWS.map(|row| row.model_type);
        format!(
            "its model_type is {found}: {} and {last} are known (BERT, MiniLM, BGE, E5, GTE, DistilBERT, RoBERTa and other \
             encoders of these kinds)",
            first.join(", ")
        )
    })
}

/// What stands under `key`; null says nothing.
fn given<'a>(config: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    config.get(key).filter(|value| !value.is_null())
}

fn size(config: &Map<String, Value>, key: &str, most: usize) -> Result<usize, String> {
    let found = given(config, key).ok_or_else(|| format!("it has no {key}"))?;
    let size = found.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n));
    size.ok_or_else(|| format!("its {key} is {found}: expected 1 to {most}"))
}

fn segments(config: &Map<String, Value>, key: &str) -> Result<usize, String> {
    given(config, key).map_or(Ok(2), |_| size(config, key, 1 << 10))
}

fn activation(config: &Map<String, Value>, key: &str) -> Result<Smooth, String> {
    let Some(found) = given(config, key) else { return Ok(Smooth::Gelu) };
    match found.as_str() {
        Some("gelu" | "gelu_python") => Ok(Smooth::Gelu),
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Ok(Smooth::GeluTanh),
        other => {
            let found = other.map_or_else(|| found.to_string(), str::to_owned);
            Err(format!("its {key} is {found}: gelu and gelu_new are known"))
        }
    }
}

fn eps(config: &Map<String, Value>, key: &str) -> Result<f64, String> {
    let Some(found) = given(config, key) else { return Ok(1e-12) };
    let eps = found.as_f64().filter(|eps| *eps > 0.0 && *eps <= 1.0);
    eps.ok_or_else(|| format!("its {key} is {found}: expected a number above 0, at most 1"))
}

fn pad(config: &Map<String, Value>, default: u32) -> Result<u32, String> {
    let Some(found) = given(config, "pad_token_id") else { return Ok(default) };
    let pad = found.as_u64().and_then(|id| u32::try_from(id).ok());
    pad.ok_or_else(|| format!("its pad_token_id is {found}: expected a word's id"))
}
