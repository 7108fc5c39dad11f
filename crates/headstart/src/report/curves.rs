//! Loss and accuracy by epoch, as lines.

use super::axis::Axis;
use super::html::Html;
use super::percent;

/// Size of a plot's coordinates; text of 12 stays readable on a telephone.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 84.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;

/// A measure by epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// What is measured.
    pub title: &'static str,
    /// Whether it is a share, shown in percent.
    pub share: bool,
    /// On what it was measured; two at most.
    pub curves: Vec<Curve>,
    /// An epoch that is pointed out, and why.
    pub marked: Option<(usize, &'static str)>,
}

/// One line of a [`Plot`].
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// On what it was measured.
    pub name: &'static str,
    /// The epoch of the first value.
    pub first: usize,
    /// A value an epoch.
    pub values: Vec<f64>,
}

pub(super) fn section(h: &mut Html, plots: &[Plot]) {
    if plots.is_empty() {
        return;
    }
    h.section("curves", "Epoch by epoch", |h| {
        h.tag("div", &[("class", &"plots")], |h| plots.iter().for_each(|plot| plot.draw(h)));
        h.tag("details", &[], |h| {
            h.leaf("summary", &[], "As numbers");
            h.tag("div", &[("class", &"wide")], |h| numbers(h, plots));
        });
    });
}

impl Plot {
    fn value(&self, value: f64) -> String {
        if self.share { percent(value) } else { format!("{value:.4}") }
    }

    fn draw(&self, h: &mut Html) {
        let first = self.curves.iter().map(|c| c.first).min().unwrap_or(0);
        let end = self.curves.iter().map(|c| c.first + c.values.len()).max().unwrap_or(first + 1);
        let x = Axis::steps(first, end - first, [LEFT, WIDTH - RIGHT]);
        let values = self.curves.iter().flat_map(|c| c.values.iter().copied());
        let y = Axis::holding(values, [HEIGHT - BOTTOM, TOP], 4);
        let last = |c: &Curve| c.values.last().map(|v| self.value(*v)).unwrap_or_default();
        let said: Vec<String> =
            self.curves.iter().map(|c| format!("{} ends at {}", c.name, last(c))).collect();
        let label = format!("{} by epoch: {}", self.title, said.join(", "));
        h.tag("figure", &[("class", &"plot")], |h| {
            h.leaf("figcaption", &[], self.title);
            let view = format!("0 0 {WIDTH} {HEIGHT}");
            h.tag("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &label)], |h| {
                self.grid(h, &x, &y);
                self.lines(h, &x, &y);
            });
        });
    }

    fn grid(&self, h: &mut Html, x: &Axis, y: &Axis) {
        for &tick in &y.ticks {
            let at = y.at(tick);
            line(h, "grid", [LEFT, at], [WIDTH - RIGHT, at]);
            let text = match self.share {
                true => format!("{:.*} %", y.digits.saturating_sub(2), 100.0 * tick),
                false => format!("{:.*}", y.digits, tick),
            };
            label(h, "end", [LEFT - 6.0, at + 4.0], text);
        }
        for &tick in &x.ticks {
            label(h, "middle", [x.at(tick), HEIGHT - BOTTOM + 16.0], tick);
        }
        label(h, "middle", [(LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 4.0], "epoch");
        if let Some((epoch, why)) = self.marked {
            let at = x.at(epoch as f64);
            line(h, "marked", [at, TOP], [at, HEIGHT - BOTTOM]);
            let (anchor, to) = if at > (LEFT + WIDTH - RIGHT) / 2.0 { ("end", -4.0) } else { ("start", 4.0) };
            label(h, anchor, [at + to, TOP + 8.0], why);
        }
    }

    fn lines(&self, h: &mut Html, x: &Axis, y: &Axis) {
        let mut taken: Vec<f64> = Vec::new();
        for (i, curve) in self.curves.iter().enumerate() {
            let place = |(j, &v): (usize, &f64)| [x.at((curve.first + j) as f64), y.at(v)];
            let points: Vec<[f64; 2]> =
                curve.values.iter().enumerate().filter(|(_, v)| v.is_finite()).map(place).collect();
            let text: Vec<String> = points.iter().map(|[a, b]| format!("{a},{b}")).collect();
            let class = format!("line line-{i}");
            h.tag("polyline", &[("class", &class), ("points", &text.join(" "))], |_| {});
            let dot = format!("dot line-{i}");
            for [a, b] in points.iter().filter(|_| points.len() <= 40) {
                h.tag("circle", &[("class", &dot), ("cx", a), ("cy", b), ("r", &2.5)], |_| {});
            }
            if let Some(&[a, b]) = points.last() {
                // The names of lines that end together stand one below the other.
                let mut at = b + 4.0;
                while taken.iter().any(|t| (t - at).abs() < 14.0) {
                    at += if b > HEIGHT / 2.0 { -14.0 } else { 14.0 };
                }
                taken.push(at);
                let class = format!("name line-{i}");
                h.leaf("text", &[("class", &class), ("x", &(a + 8.0)), ("y", &at)], curve.name);
            }
        }
    }
}

pub(super) fn line(h: &mut Html, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
    h.tag("line", &[("class", &class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)], |_| {});
}

pub(super) fn label(h: &mut Html, anchor: &str, [x, y]: [f64; 2], text: impl std::fmt::Display) {
    h.leaf("text", &[("x", &x), ("y", &y), ("text-anchor", &anchor)], text);
}

fn numbers(h: &mut Html, plots: &[Plot]) {
    let curves: Vec<(&Plot, &Curve)> =
        plots.iter().flat_map(|p| p.curves.iter().map(move |c| (p, c))).collect();
    let first = curves.iter().map(|(_, c)| c.first).min().unwrap_or(0);
    let end = curves.iter().map(|(_, c)| c.first + c.values.len()).max().unwrap_or(0);
    h.tag("table", &[], |h| {
        h.tag("thead", &[], |h| {
            h.tag("tr", &[], |h| {
                h.leaf("th", &[("scope", &"col")], "epoch");
                for (plot, curve) in &curves {
                    let name = format!("{}, {}", plot.title, curve.name);
                    h.leaf("th", &[("scope", &"col"), ("class", &"number")], name);
                }
            });
        });
        h.tag("tbody", &[], |h| {
            for epoch in first..end {
                h.tag("tr", &[], |h| {
                    h.leaf("th", &[("scope", &"row")], epoch);
                    for (plot, curve) in &curves {
                        let value = epoch.checked_sub(curve.first).and_then(|i| curve.values.get(i));
                        let text = value.map_or("–".to_owned(), |v| plot.value(*v));
                        h.leaf("td", &[("class", &"number")], text);
                    }
                });
            }
        });
    });
}
