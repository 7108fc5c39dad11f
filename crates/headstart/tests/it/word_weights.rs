//! Gradient x input against PyTorch's autograd, and what must hold of it. The fixture is written by
//! `scripts/fixtures/word_weights.py`.

use headstart::head::LinearHead;
use headstart::models::{Home, TextEncoder};
use headstart::{Backbone, Error, Pool, Quiet, Session, TextExplainer, TextExplanation};
use headstart_testing::{relative_l2, seeded};
use std::path::Path;
use std::sync::atomic::AtomicBool;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../headstart-models/tests/fixtures");

fn network(encoder: &str) -> (Backbone, LinearHead) {
    let encoder = TextEncoder::open(&Path::new(FIXTURES).join(encoder)).unwrap();
    let backbone = Backbone::text(encoder).unwrap();
    let of = |part: &str, shape: &[usize]| seeded(&format!("head.{part}"), shape, 0, 1.0);
    (backbone, LinearHead::new(of("weight", &[3, 24]), of("bias", &[3])).unwrap())
}

fn explained(
    explainer: &mut TextExplainer,
    text: &str,
    (class, against): (Option<usize>, Option<usize>),
    threads: usize,
) -> Result<TextExplanation, Error> {
    let (home, pool, interrupt) = (Home::at("unused"), Pool::new(threads), AtomicBool::new(false));
    let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &interrupt };
    explainer.explain(&session, text, class, against)
}

#[test]
fn weights_equal_pytorchs_gradient_times_input() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/word_weights.json");
    let fixture: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for (encoder, sentences) in fixture.as_object().unwrap() {
        let (backbone, head) = network(encoder);
        let mut explainer = TextExplainer::new(&backbone, &head).unwrap();
        for one in sentences.as_array().unwrap() {
            let text = one["text"].as_str().unwrap();
            let class = one["class"].as_u64().unwrap() as usize;
            let found = explained(&mut explainer, text, (Some(class), None), 1).unwrap();
            assert_eq!(
                found,
                explained(&mut explainer, text, (Some(class), None), 2).unwrap(),
                "two threads"
            );
            assert_eq!(found.against, one["against"].as_u64().map(|c| c as usize), "{text}");
            let expected: Vec<f32> =
                one["weights"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
            let weights: Vec<f32> = found.tokens.iter().map(|t| t.weight).collect();
            let apart = relative_l2(&weights, &expected);
            assert!(apart < 1e-3, "{encoder}: {text}: {apart:.1e}");
            println!("{encoder}: {text:?}: {apart:.1e}");
            // What words have is what their tokens have; a text of spaces alone has no words.
            let placed = found.tokens.iter().filter(|t| t.place.is_some());
            let (words, tokens): (f32, f32) =
                (found.words.iter().map(|w| w.weight).sum(), placed.map(|t| t.weight).sum());
            assert!(
                found.words.is_empty() || (words - tokens).abs() < 1e-4 * (1.0 + tokens.abs()),
                "{encoder}: {text}: {words} {tokens}"
            );
        }
    }
}

#[test]
fn words_are_those_of_the_text_and_what_was_not_read_is_counted() {
    let (backbone, head) = network("tiny_encoder");
    let mut explainer = TextExplainer::new(&backbone, &head).unwrap();
    let text = "Caf\u{e9} music isn't Goodly!";
    let found = explained(&mut explainer, text, (None, None), 1).unwrap();
    let words: Vec<&str> = found.words.iter().map(|w| w.word.as_str()).collect();
    assert_eq!(words, ["Caf\u{e9}", "music", "isn't", "Goodly", "!"]);
    assert!(found.words.iter().all(|w| text[w.place.clone()] == w.word && w.weight != 0.0));
    let best = (0..3).max_by(|&a, &b| found.logits[a].total_cmp(&found.logits[b])).unwrap();
    assert_eq!((found.class, found.lost), (best, 0));
    // Changing sides changes the signs.
    let sides = (found.against, Some(found.class));
    let turned = explained(&mut explainer, text, sides, 1).unwrap();
    assert!(found.words.iter().zip(&turned.words).all(|(a, b)| (a.weight + b.weight).abs() < 1e-6));
    let long = explained(&mut explainer, &"good ".repeat(40), (None, None), 1).unwrap();
    assert_eq!((long.tokens.len(), long.words.len(), long.lost), (24, 22, 18));
    // Nothing but what the tokenizer adds.
    let empty = explained(&mut explainer, "", (None, None), 1).unwrap();
    assert_eq!((empty.words.len(), empty.tokens.len()), (0, 2));
    assert!(matches!(
        explained(&mut explainer, text, (Some(3), None), 1),
        Err(Error::Setting { name: "the class", .. })
    ));
}
