//! Text to word ids, as an encoder's `tokenizer.json` says: the input of its network, `[ids]`.

use crate::sha256_hex;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

/// Bytes of a `tokenizer.json` at most; that of 250,000 words in 100 languages has 17 million.
pub(crate) const MAX_TOKENIZER: u64 = 64 << 20;

/// A tokenizer. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    tokenizer: Arc<Tokenizer>,
    file: Arc<[u8]>,
    sha256: String,
    most: usize,
    lowercase: bool,
}

impl Tokens {
    /// From the bytes of a `tokenizer.json`, for a network that knows `words` ids: texts are cut after `most` tokens, the
    /// special ones included, and never padded, whatever the file says of both. `lowercase` makes capitals small before.
    ///
    /// # Errors
    /// In words, where it cannot be read, or has ids that the network does not know.
    pub fn new(
        file: impl Into<Arc<[u8]>>,
        words: usize,
        most: usize,
        lowercase: bool,
    ) -> Result<Tokens, String> {
        let file: Arc<[u8]> = file.into();
        if file.len() as u64 > MAX_TOKENIZER {
            return Err(format!("it has {} bytes; up to {MAX_TOKENIZER} are read", file.len()));
        }
        let read: Value = serde_json::from_slice(&file).map_err(|e| e.to_string())?;
        templates(&read["post_processor"])?;
        let mut tokenizer = Tokenizer::from_bytes(&file).map_err(|e| e.to_string())?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| e.to_string())?;
        let special = tokenizer.encode_fast("", true).map_err(|e| e.to_string())?.get_ids().to_vec();
        if most <= special.len() {
            let special = special.len();
            return Err(format!(
                "texts of {most} tokens have no room for words beside {special} special tokens"
            ));
        }
        let truncation = TruncationParams {
            direction: TruncationDirection::Right,
            max_length: most,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        tokenizer.with_truncation(Some(truncation)).map_err(|e| e.to_string())?;
        // A post-processor has ids of its own, whatever the vocabulary says of its tokens.
        let largest = tokenizer.get_vocab(true).into_values().chain(special).max().unwrap_or(0);
        if largest as usize >= words {
            return Err(format!("it has the id {largest}, and the network knows those below {words}"));
        }
        let sha256 = sha256_hex(&file);
        Ok(Tokens { tokenizer: Arc::new(tokenizer), file, sha256, most, lowercase })
    }

    /// The ids of `text`, at most [`Tokens::most`].
    ///
    /// # Errors
    /// In words, where the tokenizer makes nothing of it.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, String> {
        let lower = self.lowercase.then(|| text.to_lowercase());
        let encoding = self.tokenizer.encode_fast(lower.as_deref().unwrap_or(text), true);
        let ids = encoding.map_err(|e| e.to_string())?.get_ids().to_vec();
        if ids.is_empty() { Err("it has no words".to_owned()) } else { Ok(ids) }
    }

    /// The bytes of the `tokenizer.json`.
    pub fn file(&self) -> &[u8] {
        &self.file
    }

    /// SHA-256 of [`Tokens::file`].
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The most tokens of a text.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Whether capitals are made small before.
    pub fn lowercase(&self) -> bool {
        self.lowercase
    }
}

/// Whether the templates of a post-processor name tokens that it has: the library takes that for granted.
fn templates(processor: &Value) -> Result<(), String> {
    for inner in processor["processors"].as_array().into_iter().flatten() {
        templates(inner)?;
    }
    let pieces = ["single", "pair"].into_iter().filter_map(|part| processor[part].as_array()).flatten();
    for id in pieces.filter_map(|piece| piece["SpecialToken"]["id"].as_str()) {
        if processor["special_tokens"].get(id).is_none() {
            return Err(format!("its template names the token {id}, which it does not have"));
        }
    }
    Ok(())
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({}, at most {})", self.sha256, self.most)
    }
}
