//! Texts explained: their words with weights, and what was found in words and numbers.

use super::words::{TextExplainer, TokenWeight, WordWeight};
use super::{position, probability};
use crate::metrics::argmax;
use crate::{Classifier, Error, Session};
use headstart_data::{Picture, SkipReason, Skipped};
use serde::Serialize;

/// What `explain` reports of a text.
#[derive(Debug, Clone, Serialize)]
pub struct TextReport {
    /// The text's name.
    pub path: String,
    /// The class that is explained.
    pub class: String,
    /// Its probability.
    pub probability: f64,
    /// The most probable class.
    pub predicted: String,
    /// The class that it is compared with: the most probable one besides it. `null` where there is no other.
    pub against: Option<String>,
    /// The words of the text in their order. Weights are in units of the logits; above 0 a word speaks for the class.
    pub words: Vec<WordWeight>,
    /// All tokens in their order, those that the tokenizer adds included.
    pub tokens: Vec<TokenWeight>,
    /// Tokens that were cut off the text: the network did not read them.
    pub lost: usize,
}

/// Explains why `classifier` would call each of `texts` by `class` (by the most probable one where none is named), in order.
/// `each` gets every report, or why a text has none, and says whether to go on.
///
/// # Errors
/// Where the network has no word embeddings, the class is unknown, or the run was interrupted.
pub fn explain_texts(
    session: &Session,
    classifier: &Classifier,
    texts: &[Picture],
    class: Option<&str>,
    each: &mut dyn FnMut(Result<TextReport, Skipped>) -> bool,
) -> Result<(), Error> {
    let labels = classifier.labels();
    let class = class.map(|name| position(labels, name)).transpose()?;
    let mut explainer = TextExplainer::new(&classifier.backbone, &classifier.head)?;
    for item in texts {
        session.check()?;
        let skip = |reason| Err(Skipped { path: item.path().to_owned(), reason });
        let answer = match item.bytes() {
            Err(error) => skip(error.into()),
            Ok(bytes) => match std::str::from_utf8(&bytes) {
                Err(_) => skip(SkipReason::NotUtf8),
                Ok(text) => match explainer.explain(session, text, class, None) {
                    Err(Error::NoTokens { detail }) => skip(SkipReason::NoTokens { detail }),
                    found => {
                        let found = found?;
                        Ok(TextReport {
                            path: item.path().to_owned(),
                            class: labels[found.class].clone(),
                            probability: probability(classifier, &found.logits, found.class),
                            predicted: labels[argmax(&found.logits)].clone(),
                            against: found.against.map(|class| labels[class].clone()),
                            words: found.words,
                            tokens: found.tokens,
                            lost: found.lost,
                        })
                    }
                },
            },
        };
        if !each(answer) {
            break;
        }
    }
    Ok(())
}
