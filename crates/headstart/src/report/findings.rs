//! What is doubtful in the data: duplicates, images on both sides of the split, labels that are likely wrong.

use super::album::thumbnail;
use super::html::Html;
use super::{Page, percent, plural};
use crate::Session;
use headstart_data::Picture;

/// Rows of each table, and likely label errors with their picture.
const ROWS: usize = 100;
const SHOWN: usize = 24;

/// What was found in the data.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Images that are the same, or nearly so, in groups of two and more paths.
    pub duplicates: Vec<Vec<String>>,
    /// Validation images that stand among those for training: both paths.
    pub leaks: Vec<[String; 2]>,
    /// The accuracy without the validation images in `leaks`, where it was measured.
    pub accuracy_without_leaks: Option<f64>,
    /// Images whose label is likely wrong, the likeliest first.
    pub suspects: Vec<Suspect>,
}

/// An image whose label is likely wrong.
#[derive(Debug, Clone)]
pub struct Suspect {
    /// The image, relative to the data.
    pub path: String,
    /// Its label.
    pub label: String,
    /// What it looks like instead.
    pub suggested: String,
    /// The probability of its label by cross-validation, 0 to 1: the lower, the likelier the error.
    pub score: f64,
    /// The image itself, where it can be shown.
    pub picture: Option<Picture>,
}

pub(super) fn section(h: &mut Html, page: &Page, session: &Session) {
    h.section("findings", "Duplicates and likely label errors", |h| {
        let Some(found) = &page.findings else {
            h.note("This run did not look for them: `headstart doctor DATA` does.");
            return;
        };
        leaks(h, found);
        suspects(h, found, session);
        duplicates(h, found);
    });
}

fn leaks(h: &mut Html, found: &Findings) {
    if found.leaks.is_empty() {
        h.note("No validation image stands among those for training.");
        return;
    }
    let without = found.accuracy_without_leaks;
    let without = without.map(|a| format!(" Without them {} are right.", percent(a))).unwrap_or_default();
    let n = plural(found.leaks.len(), "validation image");
    h.leaf(
        "p",
        &[],
        format_args!("⚠ {n} among those for training: the accuracy looks better than it is.{without}"),
    );
    let rows = found.leaks.iter().map(|pair| pair.to_vec());
    table(h, "Images on both sides", &["validation", "training"], rows);
}

fn suspects(h: &mut Html, found: &Findings, session: &Session) {
    if found.suspects.is_empty() {
        return;
    }
    h.leaf("h3", &[], "Likely label errors");
    let shown: Vec<(&Suspect, &Picture)> =
        found.suspects.iter().filter_map(|s| Some((s, s.picture.as_ref()?))).take(SHOWN).collect();
    let images = session.pool.map(shown.len(), |i| thumbnail(shown[i].1));
    h.tag("div", &[("class", &"gallery")], |h| {
        for ((suspect, _), image) in shown.iter().zip(images) {
            let Ok((uri, width, height)) = image else { continue };
            h.tag("figure", &[("class", &"picture")], |h| {
                let alt = format!("labelled {}, looks like {}", suspect.label, suspect.suggested);
                h.void("img", &[("src", &uri), ("alt", &alt), ("width", &width), ("height", &height)]);
                h.tag("figcaption", &[], |h| {
                    h.leaf("span", &[("class", &"verdict wrong")], format_args!("? {}", suspect.suggested));
                    let score = percent(suspect.score);
                    h.leaf(
                        "span",
                        &[("class", &"truth")],
                        format_args!("labelled {} {score}", suspect.label),
                    );
                    h.leaf("span", &[("class", &"path"), ("title", &suspect.path)], &suspect.path);
                });
            });
        }
    });
    let rows = found
        .suspects
        .iter()
        .map(|s| vec![s.path.clone(), s.label.clone(), s.suggested.clone(), percent(s.score)]);
    table(h, "As a table", &["image", "label", "looks like", "probability of its label"], rows);
}

fn duplicates(h: &mut Html, found: &Findings) {
    if found.duplicates.is_empty() {
        return;
    }
    let rows = found.duplicates.iter().map(|group| vec![group.len().to_string(), group.join(", ")]);
    table(h, "Duplicates", &["images", "which are the same, or nearly so"], rows);
}

fn table(
    h: &mut Html,
    name: &'static str,
    columns: &[&'static str],
    rows: impl ExactSizeIterator<Item = Vec<String>>,
) {
    let more = rows.len().saturating_sub(ROWS);
    h.tag("details", &[], |h| {
        h.leaf("summary", &[], format_args!("{name} ({})", rows.len()));
        h.tag("div", &[("class", &"wide")], |h| {
            h.tag("table", &[], |h| {
                h.tag("thead", &[], |h| {
                    h.tag("tr", &[], |h| {
                        columns.iter().for_each(|c| {
                            h.leaf("th", &[("scope", &"col")], c);
                        });
                    });
                });
                h.tag("tbody", &[], |h| {
                    for row in rows.take(ROWS) {
                        h.tag("tr", &[], |h| {
                            row.iter().for_each(|cell| {
                                h.leaf("td", &[], cell);
                            });
                        });
                    }
                });
            });
        });
        if more > 0 {
            h.note(format_args!("and {more} more"));
        }
    });
}
