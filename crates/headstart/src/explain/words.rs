//! Which words of a text spoke for a class: gradient x input (A. Shrikumar et al. 2016, "Not just a black box: learning
//! important features through propagating activation differences"; compared with other ways by M. Ancona et al. 2018,
//! "Towards better understanding of gradient-based attribution methods for deep neural networks", ICLR).
//!
//! With `e_t [width]` the word embedding of token `t` and `y` the logits:
//!
//! ```text
//! weight_t = e_t . d(y_class - y_against) / d e_t
//! ```
//!
//! The difference of two logits, not one: what is added to all of them changes no answer. Above 0 a token speaks for the
//! class. A word has the sum over its tokens. As in Grad-CAM no gradient of an input is needed: behind the word embeddings
//! rows of zeros are added, and the gradient of row `t` is that of `e_t`.

use super::behind_a_shift;
use crate::head::LinearHead;
use crate::input::Input;
use crate::metrics::argmax;
use crate::{Backbone, Error, Session};
use headstart_graph::{AddRows, BnStats, Freeze, Op, Params, Trainer};
use headstart_models::{Piece, Tokens};
use headstart_tensor::{Shape, Tensor};
use serde::Serialize;
use std::ops::Range;

/// Finds which words of a text spoke for a class. Always in f32, whatever the precision of the model.
#[derive(Debug)]
pub struct TextExplainer<'a> {
    tokens: &'a Tokens,
    /// The word embeddings `[words, width]`.
    table: &'a Tensor,
    /// What lies behind them, rows of zeros first.
    tail: Trainer,
    /// The parameters of the tail.
    params: Params,
    /// The name of the rows of zeros.
    shift: String,
}

/// What spoke for a class in a text, and what against it.
#[derive(Debug, Clone, PartialEq)]
pub struct TextExplanation {
    /// The class that is explained, as a position among the labels.
    pub class: usize,
    /// The class that it is compared with; none where there is no other.
    pub against: Option<usize>,
    /// Logits of the text, `[classes]`.
    pub logits: Vec<f32>,
    /// All tokens in their order, those that the tokenizer adds included.
    pub tokens: Vec<TokenWeight>,
    /// The words of the text in their order.
    pub words: Vec<WordWeight>,
    /// Tokens that were cut off the text: the network did not read them.
    pub lost: usize,
}

/// A token and its weight, in units of the logits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenWeight {
    /// What the tokenizer calls it (`##ing`).
    pub token: String,
    /// The bytes of the text that it stands for; none of what the tokenizer adds (`[CLS]`).
    pub place: Option<Range<usize>>,
    /// Above 0 it speaks for the class.
    pub weight: f32,
}

/// A word of the text and its weight, in units of the logits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WordWeight {
    /// As the text has it.
    pub word: String,
    /// Its bytes in the text.
    pub place: Range<usize>,
    /// The sum over its tokens.
    pub weight: f32,
}

impl<'a> TextExplainer<'a> {
    /// For a text encoder and the head on it.
    ///
    /// # Errors
    /// [`Error::NoWordEmbeddings`] where the network has none that all else follows from.
    pub fn new(backbone: &'a Backbone, head: &LinearHead) -> Result<TextExplainer<'a>, Error> {
        let none = || Error::NoWordEmbeddings { name: backbone.name.clone() };
        let Input::Text(tokens) = &backbone.input else { return Err(none()) };
        let graph = backbone.graph.with_classes(&backbone.classifier, head.classes())?.without_masks()?;
        let node = graph.nodes().iter().find(|node| matches!(node.op, Op::Embedding(_))).ok_or_else(none)?;
        let table = backbone.params.get(&format!("{}.weight", node.name)).ok_or_else(none)?;
        let (words, _) = graph.node(&node.name).ok_or_else(none)?;
        let (entries, features) = (tokens.most(), table.row_len());
        let rows = Op::AddRows(AddRows { entries, features, first: 0, step: 1, whole: false });
        let tail = behind_a_shift(&graph, words, rows)?;
        let shift = tail.nodes()[1].params().into_iter().next().ok_or_else(none)?.name;
        let mut params = Params::default();
        for (part, value) in [("weight", &head.weight), ("bias", &head.bias)] {
            params.insert(format!("{}.{part}", backbone.classifier), value.clone());
        }
        params.insert(shift.clone(), Tensor::zeros([entries, features]));
        for spec in tail.params() {
            if let (None, Some(value)) = (params.get(&spec.name), backbone.params.get(&spec.name)) {
                params.insert(spec.name, value.clone());
            }
        }
        let freeze = Freeze::everything().unfreeze(&tail, &shift)?;
        let tail = Trainer::new(tail, freeze, BnStats::Running);
        Ok(TextExplainer { tokens, table, tail, params, shift })
    }

    /// What speaks for `class` and not for `against` in `text`: where they are not named, for the most probable class and
    /// not for the next one.
    ///
    /// # Errors
    /// [`Error::NoTokens`] where the tokenizer makes nothing of the text; where `class` or `against` is none of the classes.
    pub fn explain(
        &mut self,
        session: &Session,
        text: &str,
        class: Option<usize>,
        against: Option<usize>,
    ) -> Result<TextExplanation, Error> {
        let (pieces, lost) = self.tokens.pieces(text).map_err(|detail| Error::NoTokens { detail })?;
        let (n, width) = (pieces.len(), self.table.row_len());
        let mut embedded = Tensor::full([1, n, width], f32::NAN);
        for (piece, row) in pieces.iter().zip(embedded.data_mut().chunks_exact_mut(width)) {
            if (piece.id as usize) < self.table.len() / width {
                row.copy_from_slice(self.table.row(piece.id as usize));
            }
        }
        self.tail.set_input(&Shape::from([n, width]))?;
        let logits = self.tail.forward(&self.params, &embedded, session.pool)?.data().to_vec();
        let class = class.unwrap_or_else(|| argmax(&logits));
        let others = || (0..logits.len()).filter(|&other| other != class);
        let strongest = || others().reduce(|best, c| if logits[c] > logits[best] { c } else { best });
        let against = against.or_else(strongest);
        if let Some(found) = [Some(class), against].into_iter().flatten().find(|&c| c >= logits.len()) {
            let (found, expected) = (found.to_string(), "the position of a label");
            return Err(Error::Setting { name: "the class", found, expected });
        }
        let gradient = Tensor::from_fn([1, logits.len()], |i| {
            f32::from(i8::from(i == class) - i8::from(Some(i) == against))
        });
        let gradients = self.tail.backward(&self.params, &gradient, session.pool)?;
        let rows = gradients.get(&self.shift).map_or(&[][..], Tensor::data).chunks_exact(width);
        let product = |(e, g): (&[f32], &[f32])| {
            e.iter().zip(g).map(|(&e, &g)| f64::from(e) * f64::from(g)).sum::<f64>()
        };
        let weights: Vec<f64> = embedded.data().chunks_exact(width).zip(rows).map(product).collect();
        let words = words(text, &pieces, &weights);
        let tokens = pieces.into_iter().zip(&weights).map(|(piece, &weight)| TokenWeight {
            token: piece.token,
            place: piece.place,
            weight: weight as f32,
        });
        Ok(TextExplanation { class, against, tokens: tokens.collect(), words, logits, lost })
    }
}

/// The tokens of a text joined to its words. What a token of spaces weighs, the word behind it has, or the last one where there is
/// none: to tokenizers of bytes a space is the beginning of a word.
fn words(text: &str, pieces: &[Piece], weights: &[f64]) -> Vec<WordWeight> {
    let mut found: Vec<(Range<usize>, Option<u32>, f64)> = Vec::new();
    let mut before = 0.0;
    for (piece, &weight) in pieces.iter().zip(weights) {
        let Some(place) = piece.place.clone().map(|place| trimmed(text, place)) else { continue };
        if place.is_empty() {
            before += weight;
            continue;
        }
        let weight = weight + std::mem::take(&mut before);
        match found.last_mut() {
            Some((word, number, sum))
                if place.start < word.end
                    || (piece.word.is_some() && piece.word == *number)
                    || (place.start == word.end && is_inside(text, word.end)) =>
            {
                word.end = word.end.max(place.end);
                *number = piece.word;
                *sum += weight;
            }
            _ => found.push((place, piece.word, weight)),
        }
    }
    if let Some((.., sum)) = found.last_mut() {
        *sum += before;
    }
    let word = |(place, _, weight): (Range<usize>, _, f64)| WordWeight {
        word: text[place.clone()].to_owned(),
        place,
        weight: weight as f32,
    };
    found.into_iter().map(word).collect()
}

/// `place` in `text` without spaces at either end.
fn trimmed(text: &str, place: Range<usize>) -> Range<usize> {
    let part = &text[place.clone()];
    let behind = part.trim_end().len();
    place.start + behind - part[..behind].trim_start().len()..place.start + behind
}

/// Whether the byte `at` lies beside an apostrophe between letters, where tokenizers part what people do not: `don't`.
fn is_inside(text: &str, at: usize) -> bool {
    let is_apostrophe = |c: Option<char>| matches!(c, Some('\'' | '\u{2019}'));
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (mut before, mut after) = (text[..at].chars().rev(), text[at..].chars());
    match (before.next(), after.next()) {
        (left, right) if is_apostrophe(right) => is_letter(left) && is_letter(after.next()),
        (left, right) if is_apostrophe(left) => is_letter(before.next()) && is_letter(right),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_words_that_people_see() {
        let text = "[I] don't like ''bor\u{e9}dly'' dogs' \u{bd}";
        // Place and word of each piece, as BERT's tokenizer has them; a piece without a place, and two from one character.
        let at = |part: &str| {
            let start = text.find(part).unwrap();
            Some(start..start + part.len())
        };
        let apostrophe = text.find("n't").unwrap() + 1;
        let rows = [
            (None, None),
            (at("["), Some(0)),
            (at("I"), Some(1)),
            (at("]"), Some(2)),
            (at("don"), Some(3)),
            (Some(apostrophe..apostrophe + 1), Some(4)),
            (Some(apostrophe + 1..apostrophe + 2), Some(5)),
            (at("like"), Some(6)),
            (at("''"), Some(7)),
            (at("bor\u{e9}d"), Some(9)),
            (at("ly"), Some(9)),
            (Some(text.find(" dogs").unwrap()..text.find(" dogs").unwrap() + 1), Some(12)),
            (at("dogs"), Some(12)),
            (Some(text.len() - 4..text.len() - 3), Some(13)),
            (at("\u{bd}"), Some(14)),
            (at("\u{bd}"), Some(15)),
            (None, None),
        ];
        let piece = |(place, word)| Piece { id: 1, token: String::new(), place, word };
        let pieces: Vec<Piece> = rows.into_iter().map(piece).collect();
        let found = words(text, &pieces, &vec![1.0; pieces.len()]);
        let shown: Vec<(&str, f32)> = found.iter().map(|w| (w.word.as_str(), w.weight)).collect();
        let expected = [
            ("[", 1.0),
            ("I", 1.0),
            ("]", 1.0),
            ("don't", 3.0),
            ("like", 1.0),
            ("''", 1.0),
            ("bor\u{e9}dly", 2.0),
            ("dogs", 2.0),
            ("'", 1.0),
            ("\u{bd}", 2.0),
        ];
        assert_eq!(shown, expected);
    }
}
