//! Random changes of a view after its crop: colour jitter, and RandAugment's operations (Cubuk et al. 2020) with
//! torchvision's ranges.
//!
//! Works on the 8-bit pixels of a finished crop, `[side, side, 3]`, in place; where the crop comes from is the business of
//! [`View`](super::View). Everything is drawn from the stream it is given.

use headstart_tensor::Rng;
use serde::{Deserialize, Serialize};

use crate::RgbImage;

/// How far an augmented view may go from its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// Random resized crop, flip, and brightness, contrast and saturation within 0.8 to 1.2.
    Light,
    /// Random resized crop, flip, and two of RandAugment's fourteen operations at magnitude 9 of 30.
    Strong,
}

/// Operations a strong view goes through.
const OPERATIONS: usize = 2;
/// Magnitude of a strong view's operations, as a share of the largest: torchvision's default, 9 of 30.
const MAGNITUDE: f64 = 0.3;
/// How far [`Strength::Light`] moves a colour, up and down.
const JITTER: f64 = 0.2;

/// Red, green and blue to luminance, as Pillow: thousandths.
const LUMINANCE: [u32; 3] = [299, 587, 114];

impl Strength {
    /// Changes `view` by what is drawn from `rng`.
    pub(super) fn apply(self, rng: &mut Rng, view: &mut RgbImage) {
        match self {
            Strength::Light => {
                let mut order = [brightness, contrast, saturation];
                rng.shuffle(&mut order);
                for change in order {
                    change(view, 1.0 + rng.range(-JITTER, JITTER));
                }
            }
            Strength::Strong => {
                for _ in 0..OPERATIONS {
                    operation(rng, view);
                }
            }
        }
    }
}

/// One of RandAugment's operations; those that have a direction go either way.
fn operation(rng: &mut Rng, view: &mut RgbImage) {
    let which = rng.below(14);
    let sign = if rng.uniform() < 0.5 { -1.0 } else { 1.0 };
    let part = sign * MAGNITUDE;
    let (w, h) = (view.width as f64, view.height as f64);
    match which {
        0 => {}
        1 => affine(view, [1.0, 0.3 * part, 0.0, 0.0, 1.0, 0.0]),
        2 => affine(view, [1.0, 0.0, 0.0, 0.3 * part, 1.0, 0.0]),
        3 => affine(view, [1.0, 0.0, 150.0 / 331.0 * w * part, 0.0, 1.0, 0.0]),
        4 => affine(view, [1.0, 0.0, 0.0, 0.0, 1.0, 150.0 / 331.0 * h * part]),
        5 => {
            let (sin, cos) = (30.0 * part).to_radians().sin_cos();
            affine(view, [cos, sin, 0.0, -sin, cos, 0.0]);
        }
        6 => brightness(view, 1.0 + 0.9 * part),
        7 => saturation(view, 1.0 + 0.9 * part),
        8 => contrast(view, 1.0 + 0.9 * part),
        9 => sharpness(view, 1.0 + 0.9 * part),
        10 => posterize(view, 8 - (4.0 * MAGNITUDE).round_ties_even() as u32),
        11 => solarize(view, (255.0 * (1.0 - MAGNITUDE)) as u8),
        12 => auto_contrast(view),
        _ => equalize(view),
    }
}

/// Mixes every pixel with `other`'s: `factor` of its own.
fn blend(own: u8, other: f64, factor: f64) -> u8 {
    (factor * f64::from(own) + (1.0 - factor) * other).clamp(0.0, 255.0) as u8
}

/// The luminance of a pixel, 0 to 255.
pub(super) fn luminance(pixel: &[u8]) -> u32 {
    let sum: u32 = pixel.iter().zip(LUMINANCE).map(|(&v, share)| u32::from(v) * share).sum();
    (sum + 500) / 1000
}

fn brightness(view: &mut RgbImage, factor: f64) {
    view.pixels.iter_mut().for_each(|v| *v = blend(*v, 0.0, factor));
}

/// Mixes with the mean luminance of the view.
fn contrast(view: &mut RgbImage, factor: f64) {
    let pixels = view.pixels.chunks_exact(3);
    let count = pixels.len().max(1) as f64;
    let mean = pixels.map(|p| f64::from(luminance(p))).sum::<f64>() / count;
    view.pixels.iter_mut().for_each(|v| *v = blend(*v, mean, factor));
}

/// Mixes every pixel with its luminance.
fn saturation(view: &mut RgbImage, factor: f64) {
    for pixel in view.pixels.chunks_exact_mut(3) {
        let grey = f64::from(luminance(pixel));
        pixel.iter_mut().for_each(|v| *v = blend(*v, grey, factor));
    }
}

/// Mixes with a view smoothed by `[1 1 1; 1 5 1; 1 1 1] / 13`; the rim stays.
fn sharpness(view: &mut RgbImage, factor: f64) {
    let (w, h, old) = (view.width, view.height, view.pixels.clone());
    for y in 1..h.saturating_sub(1) {
        for i in (y * w + 1) * 3..(y * w + w.saturating_sub(1)) * 3 {
            let row = |at: usize| f64::from(old[at - 3]) + f64::from(old[at]) + f64::from(old[at + 3]);
            let sum = row(i - w * 3) + row(i) + row(i + w * 3) + 4.0 * f64::from(old[i]);
            view.pixels[i] = blend(old[i], sum / 13.0, factor);
        }
    }
}

/// Keeps the highest `bits` of each value.
fn posterize(view: &mut RgbImage, bits: u32) {
    let mask = !(255u8.checked_shr(bits).unwrap_or(0));
    view.pixels.iter_mut().for_each(|v| *v &= mask);
}

/// Inverts values from `threshold`.
fn solarize(view: &mut RgbImage, threshold: u8) {
    view.pixels.iter_mut().filter(|v| **v >= threshold).for_each(|v| *v = 255 - *v);
}

/// Stretches each channel to 0 to 255.
fn auto_contrast(view: &mut RgbImage) {
    each_channel(view, |values| {
        let (low, high) = values.iter().fold((255u8, 0u8), |(l, h), &v| (l.min(v), h.max(v)));
        std::array::from_fn(|v| match high > low {
            true => ((v as f64 - f64::from(low)) * 255.0 / f64::from(high - low)).clamp(0.0, 255.0) as u8,
            false => v as u8,
        })
    });
}

/// Makes the histogram of each channel even.
fn equalize(view: &mut RgbImage) {
    each_channel(view, |values| {
        let mut counts = [0usize; 256];
        values.iter().for_each(|&v| counts[usize::from(v)] += 1);
        let last = counts.iter().rev().copied().find(|&n| n > 0).unwrap_or(0);
        let step = (values.len() - last) / 255;
        let mut before = 0;
        std::array::from_fn(|v| match step {
            0 => v as u8,
            _ => {
                let level = ((before + step / 2) / step).min(255);
                before += counts[v];
                level as u8
            }
        })
    });
}

/// Replaces the values of each channel by a table made from them.
fn each_channel(view: &mut RgbImage, table: impl Fn(&[u8]) -> [u8; 256]) {
    for c in 0..3 {
        let values: Vec<u8> = view.pixels.iter().skip(c).step_by(3).copied().collect();
        let table = table(&values);
        view.pixels.iter_mut().skip(c).step_by(3).for_each(|v| *v = table[usize::from(*v)]);
    }
}

/// Takes each pixel from where the matrix, about the centre, says; the nearest one, black outside.
fn affine(view: &mut RgbImage, m: [f64; 6]) {
    let (w, h, old) = (view.width, view.height, view.pixels.clone());
    let (cx, cy) = (w as f64 / 2.0, h as f64 / 2.0);
    for y in 0..h {
        for x in 0..w {
            let (dx, dy) = (x as f64 + 0.5 - cx, y as f64 + 0.5 - cy);
            let sx = (m[0] * dx + m[1] * dy + m[2] + cx).floor();
            let sy = (m[3] * dx + m[4] * dy + m[5] + cy).floor();
            let at = (y * w + x) * 3;
            let inside = sx >= 0.0 && sy >= 0.0 && sx < w as f64 && sy < h as f64;
            let from = inside.then(|| (sy as usize * w + sx as usize) * 3);
            let pixel = from.map_or([0; 3], |i| [old[i], old[i + 1], old[i + 2]]);
            view.pixels[at..at + 3].copy_from_slice(&pixel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(side: usize) -> RgbImage {
        let mut rng = Rng::new(5);
        RgbImage {
            width: side,
            height: side,
            pixels: (0..side * side * 3).map(|_| rng.next_u64() as u8).collect(),
        }
    }

    #[test]
    fn what_is_drawn_decides_and_every_operation_changes_something() {
        for strength in [Strength::Light, Strength::Strong] {
            let view = |seed| {
                let mut view = noise(12);
                strength.apply(&mut Rng::new(seed), &mut view);
                view
            };
            assert_eq!(view(1), view(1));
            let changed = (0..50).filter(|&seed| view(seed) != noise(12)).count();
            assert!(changed >= 40, "{strength:?}: {changed}");
        }
        let operations: [fn(&mut RgbImage); 11] = [
            |v| affine(v, [1.0, 0.3, 0.0, 0.0, 1.0, 0.0]),
            |v| affine(v, [1.0, 0.0, 2.0, 0.0, 1.0, 0.0]),
            |v| affine(v, [0.8, 0.6, 0.0, -0.6, 0.8, 0.0]),
            |v| brightness(v, 1.3),
            |v| saturation(v, 0.7),
            |v| contrast(v, 1.3),
            |v| sharpness(v, 0.5),
            |v| posterize(v, 4),
            |v| solarize(v, 180),
            |v| {
                v.pixels.iter_mut().for_each(|v| *v = 50 + *v / 4);
                let before = v.clone();
                auto_contrast(v);
                assert_ne!(*v, before);
            },
            equalize_dark,
        ];
        for (i, operation) in operations.into_iter().enumerate() {
            let mut view = noise(40);
            operation(&mut view);
            assert_ne!(view, noise(40), "operation {i}");
        }
    }

    fn equalize_dark(view: &mut RgbImage) {
        view.pixels.iter_mut().for_each(|v| *v /= 4);
        equalize(view);
        assert!(view.pixels.iter().any(|&v| v > 200), "a dark picture becomes bright");
    }

    #[test]
    fn operations_are_pillows_on_small_examples() {
        let mut view = RgbImage { width: 2, height: 1, pixels: vec![10, 20, 30, 200, 100, 0] };
        brightness(&mut view, 1.5);
        assert_eq!(view.pixels, [15, 30, 45, 255, 150, 0]);
        // ImageOps.posterize(4), ImageOps.solarize(128), ImageEnhance.Color(0).
        let mut view = RgbImage { width: 1, height: 1, pixels: vec![0b1010_1010, 127, 128] };
        posterize(&mut view, 4);
        assert_eq!(view.pixels, [0b1010_0000, 112, 128]);
        solarize(&mut view, 128);
        assert_eq!(view.pixels, [95, 112, 127]);
        let mut view = RgbImage { width: 1, height: 1, pixels: vec![255, 0, 0] };
        saturation(&mut view, 0.0);
        assert_eq!(view.pixels, [76, 76, 76]);
        // A move by a pixel to the left leaves black on the right.
        let mut view = RgbImage { width: 2, height: 1, pixels: vec![1, 2, 3, 4, 5, 6] };
        affine(&mut view, [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        assert_eq!(view.pixels, [4, 5, 6, 0, 0, 0]);
    }
}
