//! Pictures redrawn: in grey, as edges, darker, blurred. What a network is shown of one domain comes nearer to another.
//!
//! Works on the 8-bit pixels of a finished crop. Every operation of floating point numbers is one that IEEE 754 rounds exactly,
//! so that a style is the same to the byte everywhere.

use super::augment::luminance;
use crate::RgbImage;
use serde::{Deserialize, Serialize};

/// How a picture is redrawn before it is normalised. Lengths are for a crop of 224 pixels and grow with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// Luminance alone.
    Gray,
    /// Dark on white where the luminance changes, fine: [`Style::Edges`] after a blur of 1 pixel.
    FineEdges,
    /// Dark on white where the luminance changes: the gradient after a Gaussian blur of 2 pixels, its 99th percentile black.
    Edges,
    /// Dark on white where the luminance changes, coarse: [`Style::Edges`] after a blur of 3 pixels.
    WideEdges,
    /// Black lines on white: the tenth of the picture, about, where [`Style::Edges`] are darkest.
    Lines,
    /// Half as bright.
    Dark,
    /// A Gaussian blur of 2 pixels.
    Blurred,
}

/// The side of the crop that lengths are for.
const SIDE: f64 = 224.0;

impl Style {
    /// Every style.
    pub const ALL: [Style; 7] = [
        Style::Gray,
        Style::FineEdges,
        Style::Edges,
        Style::WideEdges,
        Style::Lines,
        Style::Dark,
        Style::Blurred,
    ];

    /// Its name, as files have it.
    pub fn name(self) -> &'static str {
        match self {
            Style::Gray => "gray",
            Style::FineEdges => "fine-edges",
            Style::Edges => "edges",
            Style::WideEdges => "wide-edges",
            Style::Lines => "lines",
            Style::Dark => "dark",
            Style::Blurred => "blurred",
        }
    }

    /// Redraws `view` in place.
    pub(super) fn apply(self, view: &mut RgbImage) {
        let scale = view.width.min(view.height) as f64 / SIDE;
        match self {
            Style::Gray => paint(view, &grey(view)),
            Style::FineEdges => edges(view, scale),
            Style::Edges => edges(view, 2.0 * scale),
            Style::WideEdges => edges(view, 3.0 * scale),
            Style::Lines => lines(view, scale),
            Style::Dark => view.pixels.iter_mut().for_each(|v| *v /= 2),
            Style::Blurred => {
                for channel in 0..3 {
                    let mut plane = Plane::of(view, |pixel| f64::from(pixel[channel]));
                    plane.blur(2.0 * scale);
                    let pixels = view.pixels.chunks_exact_mut(3);
                    pixels.zip(&plane.values).for_each(|(pixel, v)| pixel[channel] = byte(*v));
                }
            }
        }
    }
}

fn edges(view: &mut RgbImage, sigma: f64) {
    let mut plane = grey(view);
    plane.blur(sigma);
    plane.gradient();
    let darkest = plane.quantile(0.99).max(1e-3);
    plane.values.iter_mut().for_each(|v| *v = 255.0 * (1.0 - (*v / darkest).min(1.0)));
    paint(view, &plane);
}

fn lines(view: &mut RgbImage, scale: f64) {
    let mut plane = grey(view);
    plane.blur(2.0 * scale);
    plane.gradient();
    // What changes by less than that is noise, however much of the picture it is.
    let threshold = plane.quantile(0.88).max(5.0);
    plane.values.iter_mut().for_each(|v| *v = if *v > threshold { 255.0 } else { 0.0 });
    plane.blur(0.7 * scale);
    plane.values.iter_mut().for_each(|v| *v = 255.0 - *v);
    paint(view, &plane);
}

fn grey(view: &RgbImage) -> Plane {
    Plane::of(view, |pixel| f64::from(luminance(pixel)))
}

fn paint(view: &mut RgbImage, plane: &Plane) {
    view.pixels.chunks_exact_mut(3).zip(&plane.values).for_each(|(pixel, v)| pixel.fill(byte(*v)));
}

fn byte(value: f64) -> u8 {
    (value + 0.5).clamp(0.0, 255.0) as u8
}

/// One number a pixel.
struct Plane {
    width: usize,
    height: usize,
    values: Vec<f64>,
}

impl Plane {
    fn of(view: &RgbImage, value: impl Fn(&[u8]) -> f64) -> Plane {
        let values = view.pixels.chunks_exact(3).map(value).collect();
        Plane { width: view.width, height: view.height, values }
    }

    /// A Gaussian blur of standard deviation `sigma`, as three box blurs of fractional width (Gwosdek et al. 2011,
    /// "Theoretical Foundations of Gaussian Convolution by Extended Box Filtering"), as Pillow does. The rim is repeated outwards.
    fn blur(&mut self, sigma: f64) {
        const PASSES: usize = 3;
        let variance = sigma * sigma / PASSES as f64;
        let whole = ((12.0 * variance + 1.0).sqrt() / 2.0 - 0.5).floor();
        let part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
            / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
        for _ in 0..PASSES {
            for _ in 0..2 {
                self.box_blur(whole as usize, part);
                self.transpose();
            }
        }
    }

    /// Along rows: the mean of `2 whole + 1` values and, for `part`, of the two beyond.
    fn box_blur(&mut self, whole: usize, part: f64) {
        let weight = 1.0 / (2.0 * (whole as f64 + part) + 1.0);
        let last = self.width.saturating_sub(1);
        let mut padded = Vec::new();
        for row in self.values.chunks_exact_mut(self.width.max(1)) {
            padded.clear();
            padded.extend((0..row.len() + 2 * whole + 2).map(|i| row[i.saturating_sub(whole + 1).min(last)]));
            for (i, out) in row.iter_mut().enumerate() {
                let inner: f64 = padded[i + 1..i + 2 + 2 * whole].iter().sum();
                *out = weight * (inner + part * (padded[i] + padded[i + 2 + 2 * whole]));
            }
        }
    }

    fn transpose(&mut self) {
        let (w, h) = (self.width, self.height);
        self.values = (0..w * h).map(|i| self.values[(i % h.max(1)) * w + i / h.max(1)]).collect();
        (self.width, self.height) = (h, w);
    }

    /// The length of the gradient by central differences, 0 across the rim.
    fn gradient(&mut self) {
        let (w, h) = (self.width, self.height);
        let at = |x: usize, y: usize| self.values[y * w + x];
        let across =
            |x: usize, y: usize| if x == 0 || x + 1 == w { 0.0 } else { at(x + 1, y) - at(x - 1, y) };
        let down = |x: usize, y: usize| if y == 0 || y + 1 == h { 0.0 } else { at(x, y + 1) - at(x, y - 1) };
        let length = |x: usize, y: usize| {
            let (a, b) = (across(x, y), down(x, y));
            (a * a + b * b).sqrt()
        };
        self.values = (0..w * h).map(|i| length(i % w, i / w)).collect();
    }

    /// The value that a share of the pixels is not above.
    fn quantile(&self, share: f64) -> f64 {
        let mut values = self.values.clone();
        let at = (share * values.len().saturating_sub(1) as f64) as usize;
        match values.is_empty() {
            true => 0.0,
            false => *values.select_nth_unstable_by(at, f64::total_cmp).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_tensor::Rng;

    fn noise(side: usize) -> RgbImage {
        let mut rng = Rng::new(4);
        let pixels = (0..side * side * 3).map(|_| rng.next_u64() as u8).collect();
        RgbImage { width: side, height: side, pixels }
    }

    fn redrawn(style: Style, of: &RgbImage) -> RgbImage {
        let mut view = of.clone();
        style.apply(&mut view);
        view
    }

    #[test]
    fn a_blur_has_the_mass_and_the_variance_of_the_gaussian() {
        for sigma in [0.7, 1.0, 3.0] {
            let mut plane = Plane { width: 41, height: 41, values: vec![0.0; 41 * 41] };
            plane.values[20 * 41 + 20] = 1.0;
            plane.blur(sigma);
            let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
                let at = |i: usize| (((i % 41) as f64) - 20.0, ((i / 41) as f64) - 20.0);
                plane.values.iter().enumerate().map(|(i, v)| v * of(at(i).0, at(i).1)).sum()
            };
            assert!((sum(&|_, _| 1.0) - 1.0).abs() < 1e-9);
            assert!((sum(&|x, _| x * x) - sigma * sigma).abs() < 1e-9, "{sigma}");
            assert!((sum(&|_, y| y * y) - sigma * sigma).abs() < 1e-9, "{sigma}");
            assert!(sum(&|x, y| x * y).abs() < 1e-9 && sum(&|x, _| x).abs() < 1e-9);
        }
    }

    #[test]
    fn a_step_becomes_a_dark_line_on_white() {
        let side = 224;
        let step = |i: usize| if i / 3 % side < side / 2 { 40 } else { 200 };
        let image = RgbImage { width: side, height: side, pixels: (0..side * side * 3).map(step).collect() };
        for style in [Style::FineEdges, Style::Edges, Style::WideEdges, Style::Lines] {
            let view = redrawn(style, &image);
            let at = |x: usize| view.pixels[(112 * side + x) * 3];
            assert!(at(112) < 10 && at(20) == 255 && at(200) == 255, "{style:?} {} {}", at(112), at(20));
        }
        let flat = RgbImage { pixels: vec![90; side * side * 3], ..image };
        assert!(redrawn(Style::Lines, &flat).pixels.iter().all(|&v| v == 255));
        assert_eq!(redrawn(Style::Blurred, &flat), flat);
        assert_eq!(redrawn(Style::Dark, &flat).pixels[0], 45);
    }

    #[test]
    fn every_style_keeps_the_size_and_has_its_name() {
        for side in [1, 2, 5, 40] {
            for style in Style::ALL {
                let view = redrawn(style, &noise(side));
                assert_eq!(view.pixels.len(), side * side * 3);
                assert_ne!((side > 2).then_some(view), Some(noise(side)), "{style:?}");
            }
        }
        for style in Style::ALL {
            assert_eq!(serde_json::to_string(&style).unwrap(), format!("\"{}\"", style.name()));
        }
    }
}
