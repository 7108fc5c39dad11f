//! Pillow's antialiased resize of 8-bit pixels, bit for bit.
//!
//! Filter weights are computed in f64 and rounded to 22 fractional bits; all sums are integers, so every machine
//! gives the same bytes. Columns first, then rows, with 8-bit values in between, as in Pillow's `Resample.c`.
//! Only the wanted rectangle of the result is computed.

use crate::{Interpolation, RgbImage};

/// Fractional bits of a weight: 32, less 8 for the sample and 2 for the overshoot of a cubic.
const BITS: u32 = 22;

/// A rectangle of a resized image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// The rectangle `window` of `image` resized to `width` x `height`. The window lies inside that size.
pub(super) fn resize(
    image: &RgbImage,
    (width, height): (usize, usize),
    filter: Interpolation,
    window: Window,
) -> RgbImage {
    let rows = Taps::new(image.height, height, filter, window.top, window.height);
    let (first, end) = rows.reach();
    let columns = Taps::new(image.width, width, filter, window.left, window.width);
    let stretched = columns.over_columns(image, first, end);
    RgbImage {
        width: window.width,
        height: window.height,
        pixels: rows.over_rows(&stretched, window.width, first),
    }
}

/// For each output position the first input position and the weights from there on.
struct Taps {
    starts: Vec<usize>,
    /// `[positions, stride]`, zero beyond a position's support.
    weights: Vec<i32>,
    stride: usize,
    counts: Vec<usize>,
}

impl Taps {
    fn new(from: usize, to: usize, filter: Interpolation, first: usize, count: usize) -> Self {
        if from == to {
            // Pillow skips a pass that changes nothing; one tap of weight 1 does the same.
            return Taps {
                starts: (first..first + count).collect(),
                weights: vec![1 << BITS; count],
                stride: 1,
                counts: vec![1; count],
            };
        }
        let scale = from as f64 / to as f64;
        let filter_scale = scale.max(1.0);
        let support = filter.support() * filter_scale;
        let stride = support.ceil() as usize * 2 + 1;
        let (mut starts, mut counts) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut weights = vec![0; count * stride];
        let mut exact = Vec::with_capacity(stride);
        for (position, row) in (first..first + count).zip(weights.chunks_exact_mut(stride)) {
            let center = (position as f64 + 0.5) * scale;
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let inverse = 1.0 / filter_scale;
            exact.clear();
            exact.extend((start..end).map(|x| filter.weight((x as f64 - center + 0.5) * inverse)));
            let sum: f64 = exact.iter().sum();
            for (weight, exact) in row.iter_mut().zip(&exact) {
                let value = if sum == 0.0 { *exact } else { exact / sum } * f64::from(1u32 << BITS);
                *weight = (value + 0.5f64.copysign(value)) as i32;
            }
            starts.push(start);
            counts.push(end - start);
        }
        Taps { starts, weights, stride, counts }
    }

    /// The input positions that any output position needs.
    fn reach(&self) -> (usize, usize) {
        let first = self.starts.iter().copied().min().unwrap_or(0);
        let end = self.starts.iter().zip(&self.counts).map(|(start, count)| start + count).max();
        (first, end.unwrap_or(0))
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.weights
            .chunks_exact(self.stride)
            .zip(self.starts.iter().zip(&self.counts))
            .map(|(weights, (&start, &count))| (start, &weights[..count]))
    }

    /// Rows `first..end` of the image, each resized.
    fn over_columns(&self, image: &RgbImage, first: usize, end: usize) -> Vec<u8> {
        let row_len = image.width * 3;
        let mut out = Vec::with_capacity((end - first) * self.starts.len() * 3);
        for row in image.pixels[first * row_len..end * row_len].chunks_exact(row_len) {
            let (row, _) = row.as_chunks::<3>();
            for (start, weights) in self.iter() {
                let mut sums = [1i32 << (BITS - 1); 3];
                for (pixel, &weight) in row[start..].iter().zip(weights) {
                    for c in 0..3 {
                        sums[c] += i32::from(pixel[c]) * weight;
                    }
                }
                out.extend(sums.map(clip));
            }
        }
        out
    }

    /// Columns of `rows` (rows of `width` pixels, the first of them being input row `first`), each resized.
    fn over_rows(&self, rows: &[u8], width: usize, first: usize) -> Vec<u8> {
        let row_len = width * 3;
        let mut out = Vec::with_capacity(self.starts.len() * row_len);
        let mut sums = vec![0i32; row_len];
        for (start, weights) in self.iter() {
            sums.fill(1 << (BITS - 1));
            let rows = rows[(start - first) * row_len..].chunks_exact(row_len);
            for (row, &weight) in rows.zip(weights) {
                for (sum, &sample) in sums.iter_mut().zip(row) {
                    *sum += i32::from(sample) * weight;
                }
            }
            out.extend(sums.iter().map(|&sum| clip(sum)));
        }
        out
    }
}

fn clip(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

impl Interpolation {
    fn support(self) -> f64 {
        match self {
            Interpolation::Bilinear => 1.0,
            Interpolation::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Interpolation::Bilinear if x < 1.0 => 1.0 - x,
            Interpolation::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Interpolation::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Interpolation::Bilinear | Interpolation::Bicubic => 0.0,
        }
    }
}
