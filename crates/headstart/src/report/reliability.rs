//! The reliability diagram: whether answers of 80 % are right eight times of ten.

use super::axis::Axis;
use super::curves::{label, line};
use super::html::Html;
use super::percent;
use crate::metrics::{Evaluation, ReliabilityBin};
use headstart_data::Kind;

const WIDTH: f64 = 360.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
/// The lower end of the diagram, and of the counts below it.
const FOOT: f64 = 250.0;
const COUNTS: [f64; 2] = [312.0, 274.0];
const HEIGHT: f64 = 348.0;

pub(super) fn section(h: &mut Html, evaluation: &Evaluation, kind: Kind) {
    h.section("reliability", "Do the probabilities mean what they say?", |h| {
        h.note(format_args!(
            "Answers are put into bins by their probability. Bars that reach the dashed line are of honest probabilities; \
             below it the model is too sure of itself, above it too modest. On average they are {} off (expected \
             calibration error).",
            points(evaluation.ece)
        ));
        h.tag("div", &[("class", &"plots")], |h| draw(h, evaluation, kind));
        h.tag("details", &[], |h| {
            h.leaf("summary", &[], "As numbers");
            h.tag("div", &[("class", &"wide")], |h| numbers(h, &evaluation.reliability, kind));
        });
    });
}

fn points(share: f64) -> String {
    format!("{:.1} points", 100.0 * share)
}

fn draw(h: &mut Html, evaluation: &Evaluation, kind: Kind) {
    let (x, y) = (Axis::share([LEFT, WIDTH - RIGHT]), Axis::share([FOOT, TOP]));
    let title = format!(
        "Reliability diagram: the share of right answers by the probability they were given, {} on average off",
        points(evaluation.ece)
    );
    h.tag("figure", &[("class", &"plot")], |h| {
        let view = format!("0 0 {WIDTH} {HEIGHT}");
        h.tag("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &title)], |h| {
            for &tick in &y.ticks {
                line(h, "grid", [LEFT, y.at(tick)], [WIDTH - RIGHT, y.at(tick)]);
                label(h, "end", [LEFT - 6.0, y.at(tick) + 4.0], format_args!("{:.0} %", 100.0 * tick));
                label(h, "middle", [x.at(tick), HEIGHT - 20.0], format_args!("{:.0} %", 100.0 * tick));
            }
            let most = evaluation.reliability.iter().map(|b| b.n).max().unwrap_or(1).max(1);
            for bin in evaluation.reliability.iter().filter(|b| b.n > 0) {
                bar(h, bin, (&x, &y), most, kind);
            }
            line(h, "honest", [x.at(0.0), y.at(0.0)], [x.at(1.0), y.at(1.0)]);
            line(h, "grid", [LEFT, COUNTS[0]], [WIDTH - RIGHT, COUNTS[0]]);
            label(h, "end", [LEFT - 6.0, COUNTS[0]], kind.many());
            label(h, "middle", [(LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 4.0], "probability of the answer");
            label(h, "start", [LEFT + 6.0, TOP + 12.0], "right answers");
        });
    });
}

fn bar(h: &mut Html, bin: &ReliabilityBin, (x, y): (&Axis, &Axis), most: usize, kind: Kind) {
    let (from, to) = (x.at(bin.low) + 1.0, x.at(bin.high) - 1.0);
    let (Some(accuracy), Some(confidence)) = (bin.accuracy, bin.confidence) else { return };
    let mut block = |class: &str, top: f64, foot: f64| {
        let (width, height) = (round(to - from), round((foot - top).max(0.5)));
        let at: [super::html::Attribute; 5] =
            [("class", &class), ("x", &from), ("y", &top), ("width", &width), ("height", &height)];
        h.tag("rect", &at, |h| {
            h.leaf(
                "title",
                &[],
                format_args!(
                    "{}, {} right, {} on average",
                    kind.count(bin.n),
                    percent(accuracy),
                    percent(confidence)
                ),
            );
        });
    };
    block("share", y.at(accuracy), FOOT);
    let [low, high] = COUNTS;
    block("count", round(low - (low - high) * bin.n as f64 / most as f64), low);
    line(h, "said", [from, y.at(confidence)], [to, y.at(confidence)]);
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn numbers(h: &mut Html, bins: &[ReliabilityBin], kind: Kind) {
    h.tag("table", &[], |h| {
        h.tag("thead", &[], |h| {
            h.tag("tr", &[], |h| {
                for name in ["probability", kind.many(), "on average", "right"] {
                    h.leaf("th", &[("scope", &"col"), ("class", &"number")], name);
                }
            });
        });
        h.tag("tbody", &[], |h| {
            for bin in bins.iter().filter(|b| b.n > 0) {
                h.tag("tr", &[], |h| {
                    let range = format!("{:.0} to {:.0} %", 100.0 * bin.low, 100.0 * bin.high);
                    h.leaf("th", &[("scope", &"row"), ("class", &"number")], range);
                    h.leaf("td", &[("class", &"number")], bin.n);
                    for share in [bin.confidence, bin.accuracy] {
                        h.leaf("td", &[("class", &"number")], share.map_or("–".to_owned(), percent));
                    }
                });
            }
        });
    });
}
