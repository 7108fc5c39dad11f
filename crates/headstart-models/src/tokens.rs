//! Text to word ids, as an encoder's `tokenizer.json` says: the input of its network, `[ids]`.

use crate::sha256_hex;
use serde_json::Value;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

/// Bytes of a `tokenizer.json` at most; that of 250,000 words in 100 languages has 17 million.
pub(crate) const MAX_TOKENIZER: u64 = 64 << 20;

/// A token of a text, as the network reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its word id.
    pub id: u32,
    /// What the tokenizer calls it (`##ing`).
    pub token: String,
    /// The bytes of the text that it stands for; none of what the tokenizer adds (`[CLS]`).
    pub place: Option<Range<usize>>,
    /// The word that it is a piece of, as the tokenizer parts the text.
    pub word: Option<u32>,
}

/// A tokenizer. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    tokenizer: Arc<Tokenizer>,
    /// The same without an end, made when a text is counted that is cut: `tokenizer` stops where it has enough.
    endless: Arc<OnceLock<Tokenizer>>,
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
        Ok(Tokens { tokenizer: Arc::new(tokenizer), endless: Arc::default(), file, sha256, most, lowercase })
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

    /// The tokens of `text`, at most [`Tokens::most`], with their places in it; and how many more it has, which are cut off.
    ///
    /// # Errors
    /// In words, where the tokenizer makes nothing of it.
    pub fn pieces(&self, text: &str) -> Result<(Vec<Piece>, usize), String> {
        let lower = self.lowercase.then(|| Lowered::of(text));
        let read = lower.as_ref().map_or(text, |lower| &lower.text);
        let encoding = self.tokenizer.encode(read, true).map_err(|e| e.to_string())?;
        let place = |(start, end): (usize, usize)| {
            let at = |byte: usize| lower.as_ref().map_or(byte, |lower| lower.place(byte));
            // Pieces of bytes may end inside a character.
            let floor = |byte: usize| (0..=byte.min(text.len())).rev().find(|&b| text.is_char_boundary(b));
            let ceil = |byte: usize| (byte..text.len()).find(|&b| text.is_char_boundary(b));
            floor(at(start)).unwrap_or(0)..ceil(at(end)).unwrap_or(text.len())
        };
        let special = encoding.get_special_tokens_mask();
        let pieces: Vec<Piece> = (0..encoding.len())
            .map(|i| Piece {
                id: encoding.get_ids()[i],
                token: encoding.get_tokens()[i].clone(),
                place: (special[i] == 0).then(|| place(encoding.get_offsets()[i])),
                word: encoding.get_word_ids()[i],
            })
            .collect();
        if pieces.is_empty() {
            return Err("it has no words".to_owned());
        }
        let lost = self.behind(read, pieces.len())?;
        Ok((pieces, lost))
    }

    /// How many tokens of `text` are cut off: those behind [`Tokens::most`].
    ///
    /// # Errors
    /// In words, where the tokenizer makes nothing of it.
    pub fn lost(&self, text: &str) -> Result<usize, String> {
        let lower = self.lowercase.then(|| text.to_lowercase());
        self.behind(lower.as_deref().unwrap_or(text), self.ids(text)?.len())
    }

    /// How many tokens `read` has behind the first `found`, special ones included.
    fn behind(&self, read: &str, found: usize) -> Result<usize, String> {
        if found < self.most {
            return Ok(0);
        }
        let endless = self.endless.get_or_init(|| {
            let mut endless = Tokenizer::clone(&self.tokenizer);
            // Taking the truncation away cannot fail.
            let _ = endless.with_truncation(None);
            endless
        });
        let all = endless.encode_fast(read, true).map_err(|e| e.to_string())?.len();
        Ok(all.saturating_sub(found))
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

/// A text in small letters, whose bytes know where they come from: a small letter may be longer than its capital.
struct Lowered {
    text: String,
    /// Where each character begins in it, and in the text itself; the ends last.
    starts: Vec<(usize, usize)>,
}

impl Lowered {
    fn of(text: &str) -> Lowered {
        let (mut starts, mut at) = (Vec::new(), 0);
        for (start, c) in text.char_indices() {
            starts.push((at, start));
            // The whole text is made small at once below: a sigma at a word's end has another form, of the same length.
            at += c.to_lowercase().map(char::len_utf8).sum::<usize>();
        }
        starts.push((at, text.len()));
        Lowered { text: text.to_lowercase(), starts }
    }

    /// The byte of the text that `byte` of the small letters comes from.
    fn place(&self, byte: usize) -> usize {
        let behind = self.starts.partition_point(|(small, _)| *small < byte);
        self.starts.get(behind).or(self.starts.last()).map_or(0, |(_, own)| *own)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny(most: usize, lowercase: bool) -> Tokens {
        let file = include_bytes!("../tests/fixtures/tiny_encoder/tokenizer.json");
        Tokens::new(&file[..], 100, most, lowercase).unwrap()
    }

    #[test]
    fn pieces_know_their_places_and_what_is_cut_off_is_counted() {
        // A capital that takes fewer bytes than the small letters made of it.
        let text = "\u{130}a \u{130}a film was bor\u{e9}d!";
        for lowercase in [false, true] {
            let (pieces, lost) = tiny(24, lowercase).pieces(text).unwrap();
            let found: Vec<&str> =
                pieces.iter().filter_map(|p| p.place.clone()).map(|place| &text[place]).collect();
            assert!(found.ends_with(&["film", "was", "bor\u{e9}d", "!"]), "{found:?}");
            assert_eq!((pieces[0].token.as_str(), &pieces[0].place, lost), ("[CLS]", &None, 0));
            let ids: Vec<u32> = pieces.iter().map(|p| p.id).collect();
            assert_eq!(ids, tiny(24, lowercase).ids(text).unwrap());
        }
        let long = tiny(6, false);
        let (pieces, lost) = long.pieces("a good film , a sad plot").unwrap();
        assert_eq!((pieces.len(), lost, long.lost("a good film , a sad plot")), (6, 3, Ok(3)));
        let (pieces, _) = tiny(24, false).pieces("goodly").unwrap();
        assert_eq!((&pieces[1].place, &pieces[2].place), (&Some(0..4), &Some(4..6)));
        assert_eq!(pieces[1].word, pieces[2].word);
        assert_eq!(long.lost("a b c d"), Ok(0));
    }
}
