//! Where the numbers come from: what was left out, recipe, versions, hashes, and the command that repeats it.

use super::html::Html;
use super::plural;
use crate::SkippedFile;

/// Files left out that are named.
const NAMED: usize = 200;

pub(super) fn section(h: &mut Html, command: &str, facts: &[(String, String)], recipe: Option<&str>) {
    h.section("repeat", "How to repeat it", |h| {
        h.tag("pre", &[("tabindex", &"0"), ("aria-label", &"Command")], |h| {
            h.leaf("code", &[], command);
        });
        h.tag("dl", &[("class", &"facts")], |h| {
            for (name, value) in facts {
                h.leaf("dt", &[], name);
                h.leaf("dd", &[], value);
            }
        });
        if let Some(recipe) = recipe {
            h.leaf("h3", &[], "Recipe");
            h.tag("pre", &[("tabindex", &"0"), ("aria-label", &"Recipe")], |h| {
                h.leaf("code", &[], recipe);
            });
        }
    });
}

pub(super) fn skipped(h: &mut Html, files: &[SkippedFile]) {
    if files.is_empty() {
        return;
    }
    h.section("skipped", "Files that were left out", |h| {
        let faults = files.iter().filter(|s| s.fault).count();
        h.note(format_args!("{}, {} of them faults of the data.", plural(files.len(), "file"), faults));
        h.tag("div", &[("class", &"wide")], |h| {
            h.tag("table", &[], |h| {
                h.tag("thead", &[], |h| {
                    h.tag("tr", &[], |h| {
                        h.leaf("th", &[("scope", &"col")], "file");
                        h.leaf("th", &[("scope", &"col")], "why");
                    });
                });
                h.tag("tbody", &[], |h| {
                    for file in files.iter().take(NAMED) {
                        h.tag("tr", &[], |h| {
                            h.leaf("th", &[("scope", &"row"), ("class", &"path")], &file.path);
                            let mark = if file.fault { "⚠ " } else { "" };
                            h.leaf("td", &[], format_args!("{mark}{}", file.detail));
                        });
                    }
                });
            });
        });
        if files.len() > NAMED {
            h.note(format_args!("and {} more", files.len() - NAMED));
        }
    });
}
