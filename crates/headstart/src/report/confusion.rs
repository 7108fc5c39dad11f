//! The confusion matrix, whose cells open the pictures behind them: as a table where its numbers can be read, as a
//! picture and a list of pairs where there are many classes.

use super::album::Album;
use super::base64::data_uri;
use super::html::Html;
use super::{Page, percent, plural_classes};
use headstart_data::{Kind, RgbImage};

/// Classes up to which the numbers of a matrix can be read.
const READABLE: usize = 25;
/// Pairs of classes in the list of mistakes: beside a matrix whose numbers can be read, and beside a picture.
const PAIRS: [usize; 2] = [10, 40];
/// The smallest side of the picture of a large matrix, in pixels.
const SIDE: usize = 480;

pub(super) fn section(h: &mut Html, page: &Page, album: &Album) {
    h.section("confusion", "What was taken for what", |h| {
        let wrong = page.evaluation.n - page.evaluation.confusion.correct();
        let behind = if page.kind == Kind::Images { "pictures" } else { "texts" };
        h.note(match wrong {
            0 => format!("Every answer was right. A number opens the {behind} behind it."),
            n => format!(
                "{} of {} answers wrong. A number opens the {behind} behind it.",
                n, page.evaluation.n
            ),
        });
        h.tag("noscript", &[], |h| {
            h.note("Opening them needs scripts, which are turned off here.");
        });
        let classes = page.occurring();
        if classes.len() < page.labels.len() {
            let absent = plural_classes(page.labels.len() - classes.len());
            h.note(format_args!("{absent} without {} and without an answer left out.", page.kind.many()));
        }
        if classes.len() <= READABLE {
            h.note("Rows: the label. Columns: the answer. Bold, on the diagonal: right answers.");
            table(h, page, album, &classes);
        } else {
            picture(h, page, &classes);
        }
        if page.labels.len() > 2 {
            pairs(h, page, album, PAIRS[usize::from(classes.len() > READABLE)]);
        }
        let live: &[super::html::Attribute] =
            &[("id", &"behind"), ("aria-live", &"polite"), ("hidden", &"hidden")];
        h.tag("div", live, |_| {});
    });
}

fn table(h: &mut Html, page: &Page, album: &Album, classes: &[usize]) {
    h.tag(
        "div",
        &[("class", &"wide"), ("tabindex", &"0"), ("role", &"region"), ("aria-label", &"Confusion matrix")],
        |h| {
            h.tag("table", &[("class", &"matrix")], |h| {
                h.leaf(
                    "caption",
                    &[],
                    if page.kind == Kind::Images {
                        "Images by label and answer"
                    } else {
                        "Texts by label and answer"
                    },
                );
                h.tag("thead", &[], |h| {
                    h.tag("tr", &[], |h| {
                        h.leaf("th", &[("scope", &"col"), ("class", &"corner")], "label ↓ answer →");
                        for label in classes.iter().map(|&c| &page.labels[c]) {
                            h.tag("th", &[("scope", &"col"), ("title", label)], |h| {
                                h.leaf("span", &[], label);
                            });
                        }
                    });
                });
                h.tag("tbody", &[], |h| {
                    for &target in classes {
                        let row = &page.evaluation.confusion.rows()[target];
                        h.tag("tr", &[], |h| {
                            h.tag("th", &[("scope", &"row"), ("title", &page.labels[target])], |h| {
                                h.leaf("span", &[], &page.labels[target]);
                            });
                            let all: usize = row.iter().sum();
                            for &answer in classes {
                                cell(h, page, album, (target, answer), row[answer], all);
                            }
                        });
                    }
                });
            });
        },
    );
}

fn cell(h: &mut Html, page: &Page, album: &Album, (target, answer): (usize, usize), n: usize, all: usize) {
    let kind = if target == answer { "right" } else { "wrong" };
    if n == 0 {
        h.leaf("td", &[("class", &kind)], if target == answer { "0" } else { "·" });
        return;
    }
    let share = n as f64 / all as f64;
    let level = [0.02, 0.1, 0.3, 0.6].into_iter().filter(|&edge| share >= edge).count() + 1;
    h.tag("td", &[("class", &format_args!("{kind} level-{level}"))], |h| {
        opener(h, page, album, (target, answer), n, n);
    });
}

/// A button that opens the pictures behind a cell.
fn opener(
    h: &mut Html,
    page: &Page,
    album: &Album,
    (target, answer): (usize, usize),
    n: usize,
    text: impl std::fmt::Display,
) {
    let (truth, taken) = (&page.labels[target], &page.labels[answer]);
    let shown: Vec<String> = album.behind(target, answer).iter().map(usize::to_string).collect();
    let title = match target == answer {
        true => format!("{} labelled {truth}, answered so", page.items(n)),
        false => format!("{} labelled {truth}, answered {taken}", page.items(n)),
    };
    let pictures = shown.join(" ");
    h.leaf(
        "button",
        &[
            ("type", &"button"),
            ("data-pictures", &pictures),
            ("data-count", &n),
            ("aria-label", &title),
            ("aria-controls", &"behind"),
            ("aria-expanded", &"false"),
        ],
        text,
    );
}

fn pairs(h: &mut Html, page: &Page, album: &Album, most: usize) {
    let confused = page.evaluation.confusion.most_confused(most);
    if confused.is_empty() {
        return;
    }
    h.leaf("h3", &[], "Most often mistaken");
    h.tag("div", &[("class", &"wide")], |h| {
        h.tag("table", &[("class", &"pairs")], |h| {
            h.tag("thead", &[], |h| {
                h.tag("tr", &[], |h| {
                    for (name, class) in
                        [("label", ""), ("answer", ""), ("images", "number"), ("of the label", "number")]
                    {
                        h.leaf("th", &[("scope", &"col"), ("class", &class)], name);
                    }
                });
            });
            h.tag("tbody", &[], |h| {
                for pair in &confused {
                    h.tag("tr", &[], |h| {
                        h.leaf("th", &[("scope", &"row")], &page.labels[pair.truth]);
                        h.leaf("td", &[], &page.labels[pair.answer]);
                        h.tag("td", &[("class", &"number")], |h| {
                            opener(h, page, album, (pair.truth, pair.answer), pair.n, pair.n);
                        });
                        let all = page.evaluation.confusion.images(pair.truth).max(1);
                        h.leaf("td", &[("class", &"number")], percent(pair.n as f64 / all as f64));
                    });
                }
            });
        });
    });
}

/// The matrix as a picture: a square for each cell, darker for a larger share of its row.
fn picture(h: &mut Html, page: &Page, occurring: &[usize]) {
    let classes = occurring.len();
    let scale = SIDE.div_ceil(classes.max(1)).max(1);
    let side = classes * scale;
    let mut pixels = vec![0; side * side * 3];
    for (target, &class) in occurring.iter().enumerate() {
        let row = &page.evaluation.confusion.rows()[class];
        let all = row.iter().sum::<usize>().max(1) as f64;
        for (answer, &other) in occurring.iter().enumerate() {
            let colour = shade(row[other] as f64 / all, target == answer);
            for y in target * scale..(target + 1) * scale {
                for x in answer * scale..(answer + 1) * scale {
                    pixels[(y * side + x) * 3..][..3].copy_from_slice(&colour);
                }
            }
        }
    }
    let Ok(png) = (RgbImage { width: side, height: side, pixels }).to_png() else { return };
    let alt = format!(
        "Confusion matrix of {classes} classes: the label from top to bottom, the answer from left to right; the \
         diagonal are right answers. The most frequent mistakes are in the table below."
    );
    h.tag("figure", &[("class", &"large-matrix")], |h| {
        let uri = data_uri("image/png", &png);
        h.void("img", &[("src", &uri), ("alt", &alt), ("width", &side), ("height", &side)]);
        h.leaf(
            "figcaption",
            &[],
            "Label from top to bottom, answer from left to right, darker for more of the label's images. Off the diagonal \
             are mistakes.",
        );
    });
}

/// White where there is nothing; blue for right and orange for wrong answers.
fn shade(share: f64, right: bool) -> [u8; 3] {
    if share == 0.0 {
        return [255; 3];
    }
    let full: [f64; 3] = if right { [23.0, 78.0, 138.0] } else { [160.0, 64.0, 8.0] };
    // A single image is to be seen too.
    let part = 0.25 + 0.75 * share.sqrt();
    full.map(|c| (255.0 + (c - 255.0) * part).round() as u8)
}
