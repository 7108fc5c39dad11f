//! Pictures to look at: the worst mistakes, the closest decisions, and where the network looked.

use super::album::Album;
use super::html::Html;
use super::look::Look;
use super::shown::gallery;
use super::{Page, plural, words};

pub(super) fn mistakes(h: &mut Html, page: &Page, album: &Album) {
    h.section("mistakes", "The surest mistakes", |h| {
        let wrong = page.evaluation.n - page.evaluation.confusion.correct();
        if wrong == 0 {
            h.note("There are none.");
            return;
        }
        h.note(format_args!(
            "{} of {}, the most certain first. Look at the label too: it may be the one that is wrong.",
            album.worst.len(),
            plural(wrong, "wrong answer")
        ));
        words::legend(h, &page.words, "the label");
        list(h, page, album, &album.worst);
    });
}

pub(super) fn doubts(h: &mut Html, page: &Page, album: &Album) {
    h.section("doubts", "The closest decisions", |h| {
        h.note("Answers whose second class was nearly as probable, besides the mistakes above.");
        words::legend(h, &page.words, "the class after it");
        list(h, page, album, &album.uncertain);
    });
}

fn list(h: &mut Html, page: &Page, album: &Album, answers: &[usize]) {
    h.tag("div", &[("class", &gallery(page.kind))], |h| {
        for &i in answers {
            album.figure(h, i, &page.answers[i], &page.labels);
        }
    });
}

pub(super) fn looks(h: &mut Html, page: &Page) {
    let looks = match &page.looks {
        Ok(looks) if looks.is_empty() => return,
        looks => looks,
    };
    h.section("looks", "Where the network looked", |h| match looks {
        Err(why) => {
            h.note(why);
        }
        Ok(looks) => {
            h.note(
                "Bright is where the evidence for a class lies (Grad-CAM), each picture by its own maximum; grey borders \
                 were cut off before the network saw the picture. The map is coarse: it says where, not why.",
            );
            looks.iter().for_each(|look| one(h, page, look));
        }
    });
}

fn one(h: &mut Html, page: &Page, look: &Look) {
    let answer = &page.answers[look.answer];
    h.tag("figure", &[("class", &"look")], |h| {
        h.tag("figcaption", &[], |h| {
            let (truth, taken) = (&page.labels[answer.target], &page.labels[answer.predicted]);
            let probability = super::percent(f64::from(answer.probability));
            match answer.is_right() {
                true => {
                    h.leaf("span", &[("class", &"verdict right")], format_args!("✓ {taken} {probability}"))
                }
                false => h.leaf(
                    "span",
                    &[("class", &"verdict wrong")],
                    format_args!("✗ {taken} {probability}, labelled {truth}"),
                ),
            };
            h.leaf("span", &[("class", &"path"), ("title", &answer.path)], &answer.path);
        });
        h.tag("div", &[("class", &"views")], |h| {
            for view in &look.views {
                h.tag("figure", &[], |h| {
                    let alt =
                        format!("{}: {}", answer.path.rsplit('/').next().unwrap_or_default(), view.caption);
                    h.void(
                        "img",
                        &[
                            ("src", &view.uri),
                            ("alt", &alt),
                            ("width", &view.size[0]),
                            ("height", &view.size[1]),
                        ],
                    );
                    h.leaf("figcaption", &[], &view.caption);
                });
            }
        });
    });
}
