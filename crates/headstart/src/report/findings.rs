//! What is doubtful in the data: duplicates, images on both sides of the split, labels that are likely wrong.

use super::html::Html;
use super::shown::{Shown, gallery};
use super::{Page, percent};
use crate::Session;
use crate::doctor::Findings;
use headstart_data::Kind;

/// Rows of each table.
const ROWS: usize = 100;

pub(super) fn section(h: &mut Html, page: &Page, session: &Session) {
    h.section("findings", "Duplicates and likely label errors", |h| {
        let Some(found) = &page.findings else {
            h.note("This run did not look for them: `headstart doctor DATA` does.");
            return;
        };
        leaks(h, page, found);
        suspects(h, page, found, session);
        duplicates(h, page, found);
    });
}

fn leaks(h: &mut Html, page: &Page, found: &Findings) {
    if found.leaks.is_empty() {
        h.note(format_args!("No validation {} stands among those for training.", page.kind.one()));
        return;
    }
    let without = found.accuracy_without_leaks;
    let without = without.map(|a| format!(" Without them {} are right.", percent(a))).unwrap_or_default();
    let n = match found.leaks.len() {
        1 => format!("1 validation {}", page.kind.one()),
        n => format!("{n} validation {}", page.kind.many()),
    };
    h.leaf(
        "p",
        &[],
        format_args!("⚠ {n} among those for training: the accuracy looks better than it is.{without}"),
    );
    let rows = found.leaks.iter().map(|pair| pair.to_vec());
    let title = if page.kind == Kind::Images { "Images on both sides" } else { "Texts on both sides" };
    table(h, title, &["training", "validation"], rows);
}

fn suspects(h: &mut Html, page: &Page, found: &Findings, session: &Session) {
    if found.suspects.is_empty() {
        return;
    }
    h.leaf("h3", &[], "Likely label errors");
    let shown = session.pool.map(page.suspected.len(), |i| Shown::of(page.kind, &page.suspected[i]));
    h.tag("div", &[("class", &gallery(page.kind))], |h| {
        for (suspect, image) in found.suspects.iter().zip(shown) {
            let Ok(shown) = image else { continue };
            h.tag("figure", &[("class", &"picture")], |h| {
                let alt = format!("labelled {}, looks like {}", suspect.label, suspect.suggested);
                shown.write(h, &alt);
                h.tag("figcaption", &[], |h| {
                    h.leaf("span", &[("class", &"verdict wrong")], format_args!("? {}", suspect.suggested));
                    let score = percent(1.0 - suspect.score);
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
        .map(|s| vec![s.path.clone(), s.label.clone(), s.suggested.clone(), percent(1.0 - s.score)]);
    table(h, "As a table", &[page.kind.one(), "label", "looks like", "probability of its label"], rows);
}

fn duplicates(h: &mut Html, page: &Page, found: &Findings) {
    if found.duplicates.is_empty() {
        return;
    }
    let rows = found.duplicates.iter().map(|group| vec![group.len().to_string(), group.join(", ")]);
    table(h, "Duplicates", &[page.kind.many(), "which are the same, or nearly so"], rows);
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
