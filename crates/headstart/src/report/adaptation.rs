//! The page of an adaptation: what was tried, both domains on one map before and after, and class by class.

use super::account::{facts, name, written};
use super::html::Html;
use super::numbers::{bar, share_cell};
use super::scatter::{COLOURS, Scatter};
use super::{document, header, percent, plural, plural_classes, provenance, save};
use crate::adapt::{EvalAccuracy, Tried};
use crate::{AdaptOptions, AdaptReport, Error, Session};
use std::collections::BTreeMap;
use std::path::Path;

/// Norms whose statistics moved, named.
const NORMS: usize = 10;

/// Everything that stands in the report of an adaptation.
#[derive(Debug, Clone)]
pub struct AdaptPage<'a> {
    title: String,
    lead: Vec<String>,
    pub(super) report: &'a AdaptReport,
    /// Where the images of both maps lie.
    places: [Vec<[f64; 2]>; 2],
    facts: Vec<(String, String)>,
    /// What names of images begin with, which goes without saying.
    pub(super) folder: String,
    command: String,
}

impl<'a> AdaptPage<'a> {
    /// Of an adaptation, whose model is written. `command` repeats it.
    ///
    /// # Errors
    /// Where the model cannot be read again or the run was interrupted.
    pub fn new(
        session: &Session,
        options: &AdaptOptions,
        report: &'a AdaptReport,
        command: &str,
    ) -> Result<AdaptPage<'a>, Error> {
        let (classifier, manifest) = written(session, &options.output)?;
        let [before, after] = &report.seen;
        let first = before.places(session, options.seed)?;
        let second =
            if after.sees_as(before) { first.clone() } else { after.places(session, options.seed)? };
        Ok(AdaptPage {
            title: format!("{} on {}", name(&options.model), name(&options.target)),
            lead: lead(options, report),
            report,
            places: [first, second],
            facts: facts(&report.model, Some(&manifest), &classifier),
            folder: format!("{}/", options.target.display()).replace("//", "/"),
            command: command.to_owned(),
        })
    }

    /// The page, complete. Pictures are read and made small; one that cannot be read is left out.
    pub fn html(&self, session: &Session) -> String {
        let mut h = Html::default();
        header(&mut h, &self.title, &self.lead);
        h.tag("main", &[], |h| {
            self.accuracy(h);
            self.map(h);
            self.classes(h);
            self.changed(h, session);
            self.methods(h);
            self.norms(h);
            self.first(h, session);
            provenance::skipped(h, &self.report.skipped);
            provenance::section(h, &self.command, &self.facts, None);
        });
        document(&self.title, h)
    }

    /// Writes the page to `path`, whole or not at all.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, session: &Session, path: &Path) -> Result<(), Error> {
        save(&self.html(session), path)
    }

    fn chosen(&self) -> &Tried {
        let report = self.report;
        report.tried.iter().find(|t| t.method == report.chosen).unwrap_or(&report.tried[0])
    }

    fn kept(&self) -> bool {
        self.report.chosen == "none"
    }

    fn accuracy(&self, h: &mut Html) {
        let (Some(n), Some(before)) = (self.report.eval, &self.report.tried[0].eval) else { return };
        h.section("numbers", "The numbers", |h| {
            h.note(format_args!("Measured on {}; no choice looked at them.", plural(n, "labelled image")));
            h.tag("ul", &[("class", &"strip")], |h| {
                if let (Some(after), false) = (&self.chosen().eval, self.kept()) {
                    bar(h, "This model", after.accuracy, Some(after.accuracy_ci95), &value(after));
                }
                bar(h, "The unadapted model", before.accuracy, None, &value(before));
            });
        });
    }

    /// The classes of the target by their answers, most first: those that have a colour.
    fn colours(&self) -> BTreeMap<usize, usize> {
        let answers = |class: usize| self.report.tried[0].answers[class] + self.chosen().answers[class];
        let mut order: Vec<usize> = (0..self.report.classes.len()).collect();
        order.sort_by_key(|&class| (std::cmp::Reverse(answers(class)), class));
        order.truncate(COLOURS);
        order.sort_unstable();
        order.into_iter().enumerate().map(|(colour, class)| (class, colour)).collect()
    }

    fn map(&self, h: &mut Html) {
        let [before, after] = &self.report.seen;
        let both = before.source > 0;
        let heading = if both { "Both domains on one map" } else { "The target on a map" };
        h.section("map", heading, |h| {
            h.note(
                "Images that the network sees alike lie near one another (t-SNE; distances between groups say little). Dots are \
                 images of the target in the colour of the answer.",
            );
            if both {
                h.note("Rings are images of the source in the colour of their label, seen as the classifier was fitted to them.");
            }
            h.note(match (self.kept(), after.sees_as(before)) {
                (true, _) => "The unadapted model was kept, so there is one map.",
                (_, true) => "The network is the same in both maps: what changed is what the classifier calls the dots.",
                (_, false) => "The network changed too, so the images lie elsewhere.",
            });
            let [sources, targets] = [before.source, before.classes.len() - before.source];
            if self.report.source.is_some_and(|n| sources < n) || targets < self.report.target {
                let of = |n: usize, what: &str| format!("{} of the {what}", plural(n, "image"));
                let source = if both { format!("{} and ", of(sources, "source")) } else { String::new() };
                h.note(format_args!("{source}{}, drawn at random.", of(targets, "target")));
            }
            let colours = self.colours();
            h.tag("div", &[("class", &"plots")], |h| {
                let all = ["Before", "After"].into_iter().zip(&self.report.seen).zip(&self.places);
                for ((caption, seen), places) in all.take(if self.kept() { 1 } else { 2 }) {
                    let (source, classes) = (seen.source, &seen.classes);
                    let labels = &self.report.classes;
                    Scatter { caption, places, source, classes, labels, colours: &colours }.draw(h);
                }
            });
            if self.report.classes.len() > colours.len() {
                let rest = self.report.classes.len() - colours.len();
                h.note(format_args!("Grey: {} with fewer answers.", plural_classes(rest)));
            }
        });
    }

    fn classes(&self, h: &mut Html) {
        let (before, after) = (&self.report.tried[0], self.chosen());
        let measured = before.eval.as_ref().zip(after.eval.as_ref());
        h.section("classes", "Class by class", |h| {
            let mut columns = vec!["answers before", "after"];
            if measured.is_some() {
                columns.extend(["right before", "after", "change"]);
            }
            h.tag("div", &[("class", &"wide")], |h| {
                table(h, "classes", "class", &columns, |h| {
                    for (class, label) in self.report.classes.iter().enumerate() {
                        h.tag("tr", &[], |h| {
                            h.leaf("th", &[("scope", &"row")], label);
                            h.leaf("td", &[("class", &"number")], before.answers[class]);
                            h.leaf("td", &[("class", &"number")], after.answers[class]);
                            if let Some((before, after)) = measured {
                                recall(h, before.recall[class], after.recall[class]);
                            }
                        });
                    }
                });
            });
            if measured.is_some() {
                h.note("Right: of the labelled images of a class, the share that is found.");
            }
        });
    }

    fn methods(&self, h: &mut Html) {
        h.section("methods", "What was tried", |h| {
            h.note(
                "Without labels: agreement says how often images that look alike are answered alike, naming how often class means \
                 made in other ways give the same answer; both beyond chance, 1 at best. Diversity is 1 where every class is \
                 answered as often.",
            );
            let mut columns = vec!["agreement", "naming", "diversity"];
            columns.extend(self.report.few.map(|_| "few"));
            columns.extend(self.report.eval.map(|_| "right (95\u{a0}% interval)"));
            h.tag("div", &[("class", &"wide")], |h| {
                table(h, "methods", "method", &columns, |h| {
                    self.report.tried.iter().for_each(|tried| self.method(h, tried));
                });
            });
        });
    }

    fn method(&self, h: &mut Html, tried: &Tried) {
        let chosen = tried.method == self.report.chosen;
        let row: &[super::html::Attribute] = if chosen { &[("class", &"chosen")] } else { &[] };
        h.tag("tr", row, |h| {
            let mark = if chosen { "✓ " } else { "" };
            let kept = match tried.epoch {
                None => String::new(),
                Some(0) => " (no epoch better than the start)".to_owned(),
                Some(epoch) => format!(" (epoch {epoch})"),
            };
            h.leaf("th", &[("scope", &"row")], format_args!("{mark}{}{kept}", tried.method));
            let mut number = |text: String| {
                h.leaf("td", &[("class", &"number")], text);
            };
            number(format!("{:.3}", tried.score.agreement));
            number(tried.score.naming.map_or("–".to_owned(), |naming| format!("{naming:.3}")));
            number(format!("{:.3}", tried.score.diversity));
            if self.report.few.is_some() {
                number(tried.few.map_or("–".to_owned(), percent));
            }
            if self.report.eval.is_some() {
                number(tried.eval.as_ref().map_or("–".to_owned(), value));
            }
        });
    }

    fn norms(&self, h: &mut Html) {
        if self.report.moved.is_empty() {
            return;
        }
        h.section("norms", "Statistics that moved", |h| {
            let n = plural(self.report.moved.len(), "norm");
            h.note(format_args!("{n}, those that moved most first."));
            let mut moved: Vec<_> = self.report.moved.iter().collect();
            moved.sort_by(|a, b| b.mean_shift.total_cmp(&a.mean_shift));
            h.tag("div", &[("class", &"wide")], |h| {
                table(h, "norms", "norm", &["means moved by (deviations)", "variance became (times)"], |h| {
                    for norm in moved.iter().take(NORMS) {
                        h.tag("tr", &[], |h| {
                            h.leaf("th", &[("scope", &"row")], &norm.name);
                            h.leaf("td", &[("class", &"number")], format_args!("{:.2}", norm.mean_shift));
                            h.leaf("td", &[("class", &"number")], format_args!("{:.2}", norm.variance_ratio));
                        });
                    }
                });
            });
        });
    }

    fn first(&self, h: &mut Html, session: &Session) {
        if self.report.first.is_empty() {
            return;
        }
        h.section("first", "Label these first", |h| {
            h.note(
                "A few labels help more than any method without. These images are unlike one another and like many others: put \
                 them into folders named as the classes, for --few. A stronger backbone may help as much: `headstart rank` says \
                 which.",
            );
            self.pictures(h, session, &self.report.first, |_| (String::new(), String::new()));
        });
    }
}

/// A table whose first column names the rows.
pub(super) fn table(h: &mut Html, class: &str, first: &str, columns: &[&str], rows: impl FnOnce(&mut Html)) {
    h.tag("table", &[("class", &class)], |h| {
        h.tag("thead", &[], |h| {
            h.tag("tr", &[], |h| {
                h.leaf("th", &[("scope", &"col")], first);
                for name in columns {
                    h.leaf("th", &[("scope", &"col"), ("class", &"number")], name);
                }
            });
        });
        h.tag("tbody", &[], rows);
    });
}

fn recall(h: &mut Html, before: Option<f64>, after: Option<f64>) {
    share_cell(h, before);
    share_cell(h, after);
    let change = before.zip(after).map_or("–".to_owned(), |(before, after)| {
        let points = 100.0 * (after - before);
        format!("{}{:.1}", if points < 0.0 { "−" } else { "+" }, points.abs())
    });
    h.leaf("td", &[("class", &"number")], change);
}

fn value(of: &EvalAccuracy) -> String {
    let [low, high] = of.accuracy_ci95.map(percent);
    format!("{} ({low} to {high})", percent(of.accuracy))
}

/// What was done and found, a paragraph each.
fn lead(options: &AdaptOptions, report: &AdaptReport) -> Vec<String> {
    let beside = match (report.source, &options.source) {
        (Some(n), Some(path)) => format!(", beside {} in {}", plural(n, "labelled image"), path.display()),
        _ => String::new(),
    };
    let looked = match report.few {
        None => "No choice looked at a label of the target.".to_owned(),
        Some(n) => {
            format!("No choice looked at a label of the target but those of {} given.", plural(n, "image"))
        }
    };
    let how = format!(
        "{} was to answer for {} in {}{beside}. {looked}",
        options.model.display(),
        plural(report.target, "image"),
        options.target.display()
    );
    let chosen = match (report.chosen.as_str(), options.method) {
        ("none", _) => format!("The unadapted model was kept: {}.", report.why),
        (name, Some(_)) => format!("The method {name} was asked for."),
        (name, None) => {
            format!("Of {}, {name} was chosen: {}.", plural(report.tried.len(), "way"), report.why)
        }
    };
    let trust = (report.eval.is_none() && report.chosen != "none").then(|| {
        "No labelled image of the target was given to measure on: look at what changed before you trust it.".to_owned()
    });
    [how, chosen].into_iter().chain(trust).collect()
}
