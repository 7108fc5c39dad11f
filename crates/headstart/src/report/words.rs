//! Texts whose words are marked by their weight for the answer: colour says for or against, and so does the line below, for
//! those who see no colours.

use super::album::Album;
use super::html::Html;
use crate::explain::{TextExplainer, WordWeight};
use crate::metrics::Answer;
use crate::{Classifier, Error, Session};
use headstart_data::{Kind, Picture};
use std::collections::BTreeMap;

/// Strengths of a mark.
const LEVELS: f32 = 4.0;

/// The words of some texts, by the position of their answer; a sentence where the network does not let them be weighed.
pub type Weighed = Result<BTreeMap<usize, Vec<WordWeight>>, String>;

/// Weighs the words of the texts that a page lists, for their answers: of the surest mistakes not for the label, of the
/// closest decisions not for the class after it. `pictures` are in the order of `answers`. Nothing for images.
///
/// # Errors
/// Where the network cannot be run. A text that cannot be read is left out.
pub(super) fn weighed(
    session: &Session,
    classifier: &Classifier,
    answers: &[Answer],
    pictures: &[Picture],
) -> Result<Weighed, Error> {
    if classifier.backbone.input.kind() == Kind::Images {
        return Ok(Ok(BTreeMap::new()));
    }
    let mut explainer = match TextExplainer::new(&classifier.backbone, &classifier.head) {
        Err(error @ Error::NoWordEmbeddings { .. }) => return Ok(Err(format!("{error}."))),
        explainer => explainer?,
    };
    let mut found = BTreeMap::new();
    let [worst, close] = Album::listed(answers);
    let next = |answer: &Answer| answer.top.iter().map(|top| top.0).find(|class| *class != answer.predicted);
    let worst = worst.into_iter().map(|position| (position, Some(answers[position].target)));
    for (position, against) in
        worst.chain(close.into_iter().map(|position| (position, next(&answers[position]))))
    {
        session.check()?;
        let Some(Ok(bytes)) = pictures.get(position).map(Picture::bytes) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        match explainer.explain(session, &text, Some(answers[position].predicted), against) {
            Err(Error::NoTokens { .. }) => {}
            explained => {
                found.insert(position, explained?.words);
            }
        }
    }
    Ok(Ok(found))
}

/// A part of a text: its mark, and how much it weighs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    text: String,
    /// 1 to [`LEVELS`], and the weight; none where it is not marked.
    mark: Option<(u8, f32)>,
}

/// The parts of `text`, words and what is between them, up to `end`.
pub(super) fn parts(text: &str, end: usize, words: &[WordWeight]) -> Vec<Part> {
    let most = words.iter().fold(0.0f32, |most, word| most.max(word.weight.abs()));
    let (mut parts, mut at): (Vec<Part>, usize) = (Vec::new(), 0);
    let plain = |parts: &mut Vec<Part>, text: &str| match parts.last_mut() {
        Some(Part { text: before, mark: None }) => before.push_str(text),
        _ => parts.push(Part { text: text.to_owned(), mark: None }),
    };
    for word in words {
        let place = word.place.start..word.place.end.min(end);
        let level = (LEVELS * word.weight.abs() / most).round();
        if place.start < at || place.is_empty() || level.is_nan() || level < 1.0 {
            continue;
        }
        plain(&mut parts, &text[at..place.start]);
        at = place.end;
        parts.push(Part { text: text[place].to_owned(), mark: Some((level as u8, word.weight)) });
    }
    plain(&mut parts, &text[at..end]);
    parts
}

/// Characters that the parts take in a page.
pub(super) fn len(parts: &[Part]) -> usize {
    const MARKUP: usize = 60;
    parts.iter().map(|part| part.text.len() + if part.mark.is_some() { MARKUP } else { 0 }).sum()
}

pub(super) fn write(h: &mut Html, parts: &[Part]) {
    h.tag("p", &[("class", &"said weighed")], |h| {
        for Part { text, mark } in parts {
            match mark {
                Some((level, weight)) => mark_of(h, text, *level, *weight),
                None => {
                    h.text(text);
                }
            }
        }
    });
}

fn mark_of(h: &mut Html, text: &str, level: u8, weight: f32) {
    let side = if weight > 0.0 { "right" } else { "wrong" };
    let (class, title) = (format!("{side} level-{level}"), format!("{weight:+.3}"));
    h.tag("mark", &[("class", &class), ("title", &title)], |h| {
        h.text(text);
    });
}

/// What the marks mean; `rest` is what words do not speak for.
pub(super) fn legend(h: &mut Html, words: &Weighed, rest: &str) {
    match words {
        Err(why) => {
            h.note(why);
        }
        Ok(words) if words.is_empty() => {}
        Ok(_) => {
            h.tag("p", &[("class", &"note legend")], |h| {
                h.text("Words by their weight (gradient \u{d7} input): ");
                mark_of(h, "solid line", LEVELS as u8, 1.0);
                h.text(format_args!(" speaks for the answer and not for {rest}, "));
                mark_of(h, "dashed line", LEVELS as u8, -1.0);
                h.text(
                    " the other way round. The thicker the line, the more; each text by its weightiest word. A word without a \
                     line weighs less than an eighth of that. The weights are of words in their places: they say what the \
                     answer leans on, not why.",
                );
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_marked_by_the_weightiest_and_the_text_stays_whole() {
        let text = "not  good, <so> bad";
        let word = |word: &str, weight| {
            let start = text.find(word).unwrap();
            WordWeight { word: word.to_owned(), place: start..start + word.len(), weight }
        };
        let words = [word("not", -1.0), word("good", 0.49), word("so", 0.12), word("bad", 0.2)];
        let found = parts(text, text.len(), &words);
        assert_eq!(found.iter().map(|p| p.text.as_str()).collect::<String>(), text);
        let marks: Vec<_> =
            found.iter().filter_map(|p| Some((p.text.as_str(), p.mark?.0, p.mark?.1 > 0.0))).collect();
        assert_eq!(marks, [("not", 4, false), ("good", 2, true), ("bad", 1, true)]);
        let mut h = Html::default();
        write(&mut h, &found);
        let html = h.finish();
        assert!(
            html.contains("<mark class=\"wrong level-4\" title=\"-1.000\">not</mark>  <mark class=\"right")
        );
        assert!(html.contains(", &lt;so&gt; ") && html.len() <= len(&found) + 60);
        // Cut inside a word, without any weight, and without words.
        let shown = |end, words: &[WordWeight]| {
            parts(text, end, words).iter().map(|p| p.text.clone()).collect::<String>()
        };
        assert_eq!(shown(7, &words), "not  go");
        assert_eq!(shown(text.len(), &[word("bad", 0.0), word("not", f32::NAN)]), text);
        assert_eq!(shown(text.len(), &[]), text);
    }
}
