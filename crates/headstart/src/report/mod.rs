//! `report.html`: what a training, a fine-tuning, an adaptation or an evaluation found, in one page that needs nothing else.
//!
//! ```text
//! TrainReport | TuneReport | EvalReport  + the classifier; an AdaptReport has a page of its own (adaptation)
//!   | Page::of_..      what was done in words, curves, where the network looked (account, look)
//!   | Page::html       which pictures are shown (album), sections, one escape for all text (html)
//!   v
//! page.html + page.css + page.js: no request leaves it, and its Content-Security-Policy allows none
//! ```
//!
//! The page holds no time of day, so the same run gives the same page.

mod account;
mod adaptation;
mod album;
mod axis;
mod base64;
mod changes;
mod confusion;
mod curves;
mod findings;
mod gallery;
mod html;
mod look;
mod numbers;
mod provenance;
mod reliability;
mod scatter;
mod shown;
mod words;

pub use adaptation::AdaptPage;
pub use curves::{Curve, Plot};
pub use look::{Look, Seen};
pub use words::Weighed;

use self::album::Album;
use self::html::Html;
use crate::doctor::Findings;
use crate::metrics::{Answer, Evaluation};
use crate::{Error, Session, SkippedFile};
use headstart_data::{Kind, Picture};
use headstart_weights::replace_file;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// What tells a report from other pages; it stands in the template.
const MARK: &str = "<meta name=\"generator\" content=\"headstart\">";

/// Everything that stands in a report.
#[derive(Debug, Clone)]
pub struct Page {
    /// What was answered.
    pub kind: Kind,
    /// The heading.
    pub title: String,
    /// What was done and found, a paragraph each.
    pub lead: Vec<String>,
    /// Class names in the order of the logits.
    pub labels: Vec<String>,
    /// The measures.
    pub evaluation: Evaluation,
    /// Accuracies of what needs less than this model, by name.
    pub baselines: Vec<(String, f64)>,
    /// The answer for every image.
    pub answers: Vec<Answer>,
    /// The images of `answers`, in their order.
    pub pictures: Vec<Picture>,
    /// Measures by epoch; none where there were no epochs.
    pub plots: Vec<Plot>,
    /// Where the network looked, or why that cannot be said.
    pub looks: Result<Vec<Look>, String>,
    /// Of texts, which words spoke for the answers that are listed.
    pub words: Weighed,
    /// What is doubtful in the data, where it was looked for.
    pub findings: Option<Findings>,
    /// The images of the first of its suspects, in their order.
    pub suspected: Vec<Picture>,
    /// What was left out.
    pub skipped: Vec<SkippedFile>,
    /// Settings, versions and hashes, by name.
    pub facts: Vec<(String, String)>,
    /// A recipe of several lines.
    pub recipe: Option<String>,
    /// The command that repeats it.
    pub command: String,
}

impl Page {
    /// The page, complete. Pictures are read and made small; one that cannot be read is said to be so.
    pub fn html(&self, session: &Session) -> String {
        let album = Album::new(session, self);
        let mut h = Html::default();
        header(&mut h, &self.title, &self.lead);
        h.tag("main", &[], |h| {
            numbers::section(h, self);
            curves::section(h, &self.plots);
            confusion::section(h, self, &album);
            gallery::mistakes(h, self, &album);
            gallery::looks(h, self);
            gallery::doubts(h, self, &album);
            reliability::section(h, &self.evaluation, self.kind);
            findings::section(h, self, session);
            provenance::skipped(h, &self.skipped);
            provenance::section(h, &self.command, &self.facts, self.recipe.as_deref());
        });
        // Hidden from the eye only: what is behind the cells is copied from here.
        h.tag("div", &[("id", &"album"), ("hidden", &"hidden")], |h| {
            album.waiting().for_each(|i| album.figure(h, i, &self.answers[i], &self.labels));
        });
        document(&self.title, h)
    }

    /// `1 image`, `2 texts`.
    fn items(&self, n: usize) -> String {
        self.kind.count(n)
    }

    /// The classes that have an image or an answer.
    fn occurring(&self) -> Vec<usize> {
        let all = self.answers.iter().flat_map(|a| [a.target, a.predicted]);
        all.collect::<BTreeSet<usize>>().into_iter().collect()
    }

    /// Writes the page to `path`, whole or not at all.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, session: &Session, path: &Path) -> Result<(), Error> {
        save(&self.html(session), path)
    }
}

fn header(h: &mut Html, title: &str, lead: &[String]) {
    h.tag("header", &[], |h| {
        h.leaf("h1", &[], title);
        for paragraph in lead {
            h.leaf("p", &[("class", &"lead")], paragraph);
        }
    });
}

/// A page with that title and body.
fn document(title: &str, body: Html) -> String {
    let mut escaped = Html::default();
    escaped.text(title);
    filled(&[("title", &escaped.finish()), ("style", STYLE), ("body", &body.finish()), ("script", SCRIPT)])
}

/// Writes a page to `path`, whole or not at all.
fn save(html: &str, path: &Path) -> Result<(), Error> {
    replace_file(path, |out| out.write_all(html.as_bytes())).map_err(Error::io("write", path))
}

/// Whether a report can be written to `path`: to be asked before the work that it reports.
///
/// # Errors
/// Where it is no file's name, its folder is not there, or something else than a report stands in its place.
pub fn check(path: &Path) -> Result<(), Error> {
    let bad =
        |expected| Err(Error::Setting { name: "--report", found: path.display().to_string(), expected });
    if path.is_dir() || path.file_name().is_none() {
        return bad("the name of a file, not a folder");
    }
    if path.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return bad("a file in a folder that exists");
    }
    if path.exists() && !is_report(path) {
        return bad("a new file, or a report to replace: this one exists and is something else");
    }
    Ok(())
}

/// Whether the file begins as a report does.
fn is_report(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut start));
    read.is_ok() && String::from_utf8_lossy(&start).contains(MARK)
}

/// The template with its parts: `{{name}}` in this order. What a part holds is not looked at again.
fn filled(parts: &[(&str, &str)]) -> String {
    let (mut out, mut rest) = (String::new(), TEMPLATE);
    for (name, part) in parts {
        if let Some((before, after)) = rest.split_once(&format!("{{{{{name}}}}}")) {
            out.push_str(before);
            out.push_str(part);
            rest = after;
        }
    }
    out + rest
}

/// `96.1 %`, which no line break parts.
fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}

/// `1 image`, `2 images`.
fn plural(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        _ => format!("{n} {what}s"),
    }
}

/// `1 class`, `2 classes`.
fn plural_classes(n: usize) -> String {
    if n == 1 { "1 class".to_owned() } else { format!("{n} classes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_looks_like_a_place_of_the_template_stays_as_it_is() {
        let page = filled(&[("title", "{{body}}"), ("style", "s"), ("body", "{{script}}"), ("script", "x")]);
        assert!(page.contains("<title>{{body}}</title>") && page.contains("{{script}}"), "{page}");
        assert!(!page.contains("{{style}}") && !page.contains("{{title}}"));
    }

    #[test]
    fn only_a_report_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        assert!(check(&path).is_ok());
        std::fs::write(&path, "path,label").unwrap();
        assert!(check(&path).unwrap_err().to_string().starts_with("--report is "));
        std::fs::write(&path, TEMPLATE).unwrap();
        assert!(check(&path).is_ok());
        assert!(check(folder.path()).is_err() && check(&folder.path().join("no/x.html")).is_err());
    }

    #[test]
    fn nothing_in_the_page_asks_for_anything_outside_of_it() {
        let fixed = [TEMPLATE, STYLE, SCRIPT].concat();
        for outside in ["http:", "https:", "//cdn", "url(", "@import", "fetch(", "innerHTML"] {
            assert!(!fixed.contains(outside), "{outside}");
        }
        assert!(TEMPLATE.contains("default-src 'none'; img-src data:;"));
    }
}
