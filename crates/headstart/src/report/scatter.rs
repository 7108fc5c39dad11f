//! Images of two domains in the plane: the source as rings, the target as dots, a colour a class, named where its answers lie.

use super::html::Html;
use std::collections::BTreeMap;

/// Size of the coordinates; text of 12 stays readable on a telephone.
const SIDE: f64 = 360.0;
const EDGE: f64 = 10.0;
/// Classes that have a colour of their own.
pub(super) const COLOURS: usize = 8;
/// Lines of two names are at least so far apart.
const LINE: f64 = 14.0;

/// Images of two domains in the plane.
pub(super) struct Scatter<'a> {
    pub(super) caption: &'a str,
    /// Within -1 and 1: of the source first.
    pub(super) places: &'a [[f64; 2]],
    /// How many are the source's.
    pub(super) source: usize,
    /// The class of each.
    pub(super) classes: &'a [usize],
    /// The names of all classes.
    pub(super) labels: &'a [String],
    /// The colour of a class; the rest is grey.
    pub(super) colours: &'a BTreeMap<usize, usize>,
}

impl Scatter<'_> {
    pub(super) fn draw(&self, h: &mut Html) {
        h.tag("figure", &[("class", &"plot scatter")], |h| {
            h.leaf("figcaption", &[], self.caption);
            let view = format!("0 0 {SIDE} {SIDE}");
            let label = format!("{}: {}", self.caption, self.said());
            h.tag("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &label)], |h| {
                // What is labelled lies below what is asked about.
                (0..self.places.len()).for_each(|i| self.dot(h, i));
                self.names(h);
            });
        });
    }

    /// What it shows, for those who cannot see it.
    fn said(&self) -> String {
        let mut answers: BTreeMap<usize, usize> = BTreeMap::new();
        self.classes[self.source..].iter().for_each(|&class| *answers.entry(class).or_default() += 1);
        let counts: Vec<String> =
            answers.into_iter().map(|(class, n)| format!("{n} {}", self.labels[class])).collect();
        format!("images of the target by their answers: {}", counts.join(", "))
    }

    fn at(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let pixel = |v: f64| ((EDGE + (SIDE - 2.0 * EDGE) * 0.5 * (1.0 + v)) * 10.0).round() / 10.0;
        [pixel(x), pixel(-y)]
    }

    fn colour(&self, class: usize) -> String {
        self.colours.get(&class).map_or_else(|| "other".to_owned(), |colour| format!("class-{colour}"))
    }

    fn dot(&self, h: &mut Html, i: usize) {
        let [x, y] = self.at(self.places[i]);
        let (domain, r) = if i < self.source { ("ring", 3.4) } else { ("spot", 2.8) };
        let class = format!("{domain} {}", self.colour(self.classes[i]));
        h.tag("circle", &[("class", &class), ("cx", &x), ("cy", &y), ("r", &r)], |_| {});
    }

    /// The name of each coloured class in the middle of the target's images that are taken for it; of two that would meet, the
    /// lower one moves down.
    fn names(&self, h: &mut Html) {
        let mut named: Vec<([f64; 2], usize)> = Vec::new();
        for &class in self.colours.keys() {
            let own = (self.source..self.places.len()).filter(|&i| self.classes[i] == class);
            let own: Vec<[f64; 2]> = own.map(|i| self.at(self.places[i])).collect();
            if !own.is_empty() {
                let middle = |axis: usize| {
                    let mut all: Vec<f64> = own.iter().map(|p| p[axis]).collect();
                    all.sort_by(f64::total_cmp);
                    all[all.len() / 2]
                };
                named.push(([middle(0), middle(1)], class));
            }
        }
        named.sort_by(|a, b| a.0[1].total_cmp(&b.0[1]).then(a.1.cmp(&b.1)));
        let width = |class: usize| 7.0 * self.labels[class].chars().count().min(20) as f64;
        let mut taken: Vec<([f64; 2], f64)> = Vec::new();
        for ([x, mut y], class) in named {
            let half = 0.5 * width(class);
            let x = x.clamp(half.min(SIDE / 2.0), (SIDE - half).max(SIDE / 2.0));
            for &([other, line], wide) in &taken {
                if (other - x).abs() < half + wide && (y - line).abs() < LINE {
                    y = line + LINE;
                }
            }
            taken.push(([x, y], half));
            let class_name = format!("named {}", self.colour(class));
            let name: String = self.labels[class].chars().take(20).collect();
            h.leaf(
                "text",
                &[("class", &class_name), ("x", &x), ("y", &(y + 4.0)), ("text-anchor", &"middle")],
                name,
            );
        }
    }
}
