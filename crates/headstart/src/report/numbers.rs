//! The numbers: accuracy with its interval beside what needs no learning, the other measures, class by class.

use super::html::Html;
use super::{Page, percent};
use crate::metrics::Evaluation;
use headstart_data::Kind;

/// Classes up to which the table of classes is open.
const OPEN: usize = 30;

pub(super) fn section(h: &mut Html, page: &Page) {
    h.section("numbers", "The numbers", |h| {
        strip(h, page);
        h.tag("div", &[("class", &"wide")], |h| measures(h, &page.evaluation, page.kind));
        let classes = page.occurring();
        let open: &[super::html::Attribute] = if classes.len() <= OPEN { &[("open", &"open")] } else { &[] };
        h.tag("details", open, |h| {
            h.leaf("summary", &[], "Class by class");
            h.tag("div", &[("class", &"wide")], |h| by_class(h, page, &classes));
        });
    });
}

/// Accuracies on one scale from 0 to 100 %.
fn strip(h: &mut Html, page: &Page) {
    let e = &page.evaluation;
    h.tag("ul", &[("class", &"strip")], |h| {
        let [low, high] = e.accuracy_ci95;
        let value = format!("{} (95 % interval {} to {})", percent(e.accuracy), percent(low), percent(high));
        bar(h, "This model", e.accuracy, Some(e.accuracy_ci95), &value);
        for (name, accuracy) in &page.baselines {
            bar(h, name, *accuracy, None, &percent(*accuracy));
        }
    });
}

pub(super) fn bar(h: &mut Html, name: &str, accuracy: f64, interval: Option<[f64; 2]>, value: &str) {
    let share = |v: f64| format!("{:.2}%", 100.0 * v);
    let class = if interval.is_some() { "model" } else { "baseline" };
    h.tag("li", &[("class", &class)], |h| {
        h.leaf("span", &[("class", &"what")], name);
        h.leaf("span", &[("class", &"value")], value);
        h.tag("span", &[("class", &"track"), ("aria-hidden", &"true")], |h| {
            h.tag(
                "span",
                &[("class", &"fill"), ("style", &format_args!("width:{}", share(accuracy)))],
                |_| {},
            );
            if let Some([low, high]) = interval {
                let style = format!("left:{};width:{}", share(low), share(high - low));
                h.tag("span", &[("class", &"interval"), ("style", &style)], |_| {});
            }
        });
    });
}

fn measures(h: &mut Html, e: &Evaluation, kind: Kind) {
    let (many, name) = match kind {
        Kind::Images => ("images", "Images"),
        Kind::Texts => ("texts", "Texts"),
    };
    let (top, recall) = (
        format!("{many} whose label is among the most probable classes"),
        format!("of the {many} of a class those that are found, mean over classes"),
    );
    let mut rows: Vec<(String, String, &str)> = vec![
        (name.into(), e.n.to_string(), "that were asked about"),
        ("Accuracy".into(), percent(e.accuracy), "answers that are right"),
        (
            "Balanced accuracy".into(),
            percent(e.balanced_accuracy),
            "the same, every class counting as much as any other",
        ),
    ];
    for k in &e.top_k {
        rows.push((format!("Top-{} accuracy", k.k), percent(k.accuracy), &top));
    }
    let m = &e.macro_average;
    rows.extend([
        (
            "Macro precision".into(),
            percent(m.precision),
            "of the answers of a class those that are right, mean over classes",
        ),
        ("Macro recall".into(), percent(m.recall), &recall),
        ("Macro F1".into(), percent(m.f1), "the harmonic mean of both, mean over classes"),
        ("Log loss".into(), format!("{:.4}", e.loss), "how far probabilities are from the truth: 0 is best"),
        ("Brier score".into(), format!("{:.4}", e.brier), "the same by squares: 0 is best, 2 is worst"),
        (
            "Calibration error".into(),
            format!("{:.1} points", 100.0 * e.ece),
            "how far probabilities are from the share that is right",
        ),
    ]);
    h.tag("table", &[("class", &"measures")], |h| {
        h.leaf("caption", &[], "All measures");
        h.tag("tbody", &[], |h| {
            for (name, value, what) in &rows {
                h.tag("tr", &[], |h| {
                    h.leaf("th", &[("scope", &"row")], name);
                    h.leaf("td", &[("class", &"number")], value);
                    h.leaf("td", &[("class", &"what")], what);
                });
            }
        });
    });
}

fn by_class(h: &mut Html, page: &Page, classes: &[usize]) {
    let (e, many) = (&page.evaluation, page.kind.many());
    h.tag("table", &[("class", &"classes")], |h| {
        h.leaf(
            "caption",
            &[],
            format_args!(
                "Precision: of the answers, how many are right. Recall: of the {many}, how many are found."
            ),
        );
        h.tag("thead", &[], |h| {
            h.tag("tr", &[], |h| {
                h.leaf("th", &[("scope", &"col")], "class");
                for name in [many, "precision", "recall", "F1"] {
                    h.leaf("th", &[("scope", &"col"), ("class", &"number")], name);
                }
            });
        });
        h.tag("tbody", &[], |h| {
            for class in classes.iter().map(|&class| &e.per_class[class]) {
                h.tag("tr", &[], |h| {
                    h.leaf("th", &[("scope", &"row")], &class.label);
                    h.leaf("td", &[("class", &"number")], class.n);
                    for share in [class.precision, class.recall, class.f1] {
                        share_cell(h, share);
                    }
                });
            }
        });
    });
}

/// A share as a number and a line of that length.
pub(super) fn share_cell(h: &mut Html, share: Option<f64>) {
    let text = share.map_or("–".to_owned(), percent);
    let style = format!("--share:{:.1}%", 100.0 * share.unwrap_or(0.0));
    h.tag("td", &[("class", &"number share"), ("style", &style)], |h| {
        h.leaf("span", &[], text);
    });
}
