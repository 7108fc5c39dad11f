//! A text encoder as Hugging Face publishes it: a folder with `config.json`, `tokenizer.json` and the weights, and for
//! sentence encoders (Reimers and Gurevych 2019) `modules.json`, which says how tokens become a sentence.

use crate::encoder_config;
use crate::tokens::MAX_TOKENIZER;
use crate::{Bert, KeyMap, LoadReport, ModelsError, Sentence, Tokens, load};
use headstart_graph::{Graph, Params};
use headstart_weights::StateDict;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a configuration at most.
const MAX_CONFIG: u64 = 1 << 20;
/// The weights, the first that is there.
const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// A text encoder with its parameters.
#[derive(Debug, Clone)]
pub struct TextEncoder {
    /// The folder's name.
    pub name: String,
    /// Its sizes.
    pub bert: Bert,
    /// What tokens become.
    pub sentence: Sentence,
    /// Whether sentences are made of length 1.
    pub normalize: bool,
    /// Whether the folder says how tokens become a sentence; else it is their mean.
    pub says_pooling: bool,
    /// Text to word ids.
    pub tokens: Tokens,
    /// The encoder's parameters, in f32.
    pub params: Params,
    /// What was loaded.
    pub report: LoadReport,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Default)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

#[derive(Deserialize)]
struct TokenizerConfig {
    model_max_length: Option<f64>,
}

impl TextEncoder {
    /// Opens the folder `path`.
    ///
    /// # Errors
    /// Where a file of it is missing, damaged or too large, the architecture or the pooling is not one that is known, or
    /// the weights do not fit.
    pub fn open(path: &Path) -> Result<TextEncoder, ModelsError> {
        let bad = |file: &Path, detail: String| ModelsError::Encoder { path: file.to_owned(), detail };
        let (folder, sentence, normalize, says_pooling) = modules(path)?;
        let config_file = folder.join("config.json");
        if !config_file.is_file() {
            let detail = "there is no config.json; a folder as Hugging Face publishes it has config.json, \
                          tokenizer.json and model.safetensors";
            return Err(bad(path, detail.to_owned()));
        }
        let (bert, heads) =
            encoder_config::read(&json(&config_file)?).map_err(|detail| bad(&config_file, detail))?;
        let limits: SentenceConfig = optional(&path.join("sentence_bert_config.json"))?.unwrap_or_default();
        let own: Option<TokenizerConfig> = optional(&folder.join("tokenizer_config.json"))?;
        let most = limits.max_seq_length.unwrap_or(usize::MAX).min(bert.longest());
        // Where nothing was decided the tokenizer's limit is 1e30.
        let most = match own.and_then(|c| c.model_max_length) {
            Some(own) if own >= 1.0 && own < most as f64 => own as usize,
            _ => most,
        };
        let tokenizer_file = folder.join("tokenizer.json");
        let bytes = read(&tokenizer_file, MAX_TOKENIZER)?;
        let tokens = Tokens::new(bytes, bert.words, most, limits.do_lower_case);
        let tokens = tokens.map_err(|detail| bad(&tokenizer_file, detail))?;
        let (params, report) = weights(&folder, &bert.build(most, sentence)?, heads)?;
        let end = std::fs::canonicalize(path).ok();
        let end = end.as_deref().unwrap_or(path).file_name();
        let name = end.map_or_else(|| "encoder".to_owned(), |n| n.to_string_lossy().into_owned());
        Ok(TextEncoder { name, bert, sentence, normalize, says_pooling, tokens, params, report })
    }

    /// The network for as many tokens as a text may have, with `classes` outputs behind the sentence. Its classifier has no
    /// parameters yet.
    ///
    /// # Errors
    /// Never for an encoder that was opened.
    pub fn graph(&self, classes: usize) -> Result<Graph, ModelsError> {
        Ok(self.bert.classifier(self.tokens.most(), self.sentence, self.normalize, classes)?)
    }
}

/// The folder of the network, what tokens become, whether that is made of length 1, and whether anything says so.
fn modules(path: &Path) -> Result<(PathBuf, Sentence, bool, bool), ModelsError> {
    let file = path.join("modules.json");
    let Some(modules) = optional::<Vec<Module>>(&file)? else {
        return Ok((path.to_owned(), Sentence::Mean, false, false));
    };
    let bad = |detail: String| ModelsError::Encoder { path: file.clone(), detail };
    let (mut folder, mut sentence, mut normalize) = (path.to_owned(), None, false);
    for module in &modules {
        // A folder of the encoder's own.
        let inside =
            !Path::new(&module.path).is_absolute() && !module.path.split(['/', '\\']).any(|p| p == "..");
        if !inside {
            return Err(bad(format!("the path {} leads out of the folder", module.path)));
        }
        match module.kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" => folder = path.join(&module.path),
            "Pooling" => sentence = Some(pooling(&path.join(&module.path).join("config.json"))?),
            "Normalize" => normalize = true,
            other => {
                return Err(bad(format!(
                    "it has a module {other}: Transformer, Pooling and Normalize are known"
                )));
            }
        }
    }
    let says = sentence.is_some();
    Ok((folder, sentence.unwrap_or(Sentence::Mean), normalize, says))
}

/// What a pooling module makes of tokens.
fn pooling(file: &Path) -> Result<Sentence, ModelsError> {
    let config: serde_json::Map<String, serde_json::Value> = json(file)?;
    let mut modes: Vec<&str> = config
        .iter()
        .filter(|(_, on)| on.as_bool() == Some(true))
        .filter_map(|(key, _)| key.strip_prefix("pooling_mode_"))
        .collect();
    modes.extend(config.get("pooling_mode").and_then(serde_json::Value::as_str));
    match modes.as_slice() {
        ["mean_tokens" | "mean"] => Ok(Sentence::Mean),
        ["cls_token" | "cls"] => Ok(Sentence::First),
        other => {
            let detail = format!("it pools by {}: mean_tokens or cls_token is known", other.join(" and "));
            Err(ModelsError::Encoder { path: file.to_owned(), detail })
        }
    }
}

/// The parameters of `graph` in the folder's weight file. What begins as one of `heads` is not needed, nor are buffers.
fn weights(folder: &Path, graph: &Graph, heads: &[&str]) -> Result<(Params, LoadReport), ModelsError> {
    let Some(path) = WEIGHTS.iter().map(|name| folder.join(name)).find(|path| path.is_file()) else {
        let detail = format!("there is no {}", WEIGHTS.join(" and no "));
        return Err(ModelsError::Encoder { path: folder.to_owned(), detail });
    };
    let dict = StateDict::open(&path)?;
    let keys: Vec<&str> = dict.iter().map(|(name, _)| name).collect();
    let map = KeyMap::detect(graph, &keys);
    let (params, mut report) = load(graph, &dict, map)?;
    let needed = |key: &String| {
        let name = map.name(graph, key).unwrap_or_default();
        !name.ends_with(".position_ids") && !heads.iter().any(|head| name.starts_with(head))
    };
    report.unexpected.retain(needed);
    if !report.is_complete() {
        return Err(ModelsError::Misfit {
            path,
            name: "its config.json".to_owned(),
            report: Box::new(report),
        });
    }
    Ok((params, report))
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelsError> {
    serde_json::from_slice(&read(path, MAX_CONFIG)?)
        .map_err(|e| ModelsError::Encoder { path: path.to_owned(), detail: e.to_string() })
}

/// As [`json`], of a file that need not be there.
fn optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ModelsError> {
    if path.is_file() { json(path).map(Some) } else { Ok(None) }
}

/// A file of at most `most` bytes.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, ModelsError> {
    let bad = |detail: String| ModelsError::Encoder { path: path.to_owned(), detail };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| bad(e.to_string()))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|e| bad(e.to_string()))?;
    if bytes.len() as u64 > most {
        return Err(bad(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}
