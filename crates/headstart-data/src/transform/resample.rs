//! Pillow's antialiased resize of 8-bit pixels, bit for bit.
//!
//! Filter weights are computed in f64 and rounded to 22 fractional bits; all sums are integers, so every machine
//! gives the same bytes. Columns first, then rows, with 8-bit values in between, as in Pillow's `Resample.c`.
//! Only the wanted rectangle of the result is computed.

use crate::{Interpolation, RgbImage};

/// Fractional bits of a weight: 32, less 8 for the sample and 2 for the overshoot of a cubic.
const BITS: u32 = 22;

/// Rows that [`Taps::over_columns`] takes side by side, three samples of each.
const ABREAST: usize = 5;
/// Their samples in one column, and one that is unused: a power of two fills registers.
const LANES: usize = 16;
/// Samples of a row that [`Taps::over_rows`] sums at once.
const SAMPLES: usize = 32;

/// A rectangle of an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// The rectangle `window` of the part `part` of `image`, where that part is resized to `width` x `height`, row by row
/// from the top: `each` gets the pixels of a row and may use them up. The window lies inside that size, the part inside
/// the image.
pub(super) fn resize(
    image: &RgbImage,
    part: Window,
    (width, height): (usize, usize),
    filter: Interpolation,
    window: Window,
    each: impl FnMut(&mut [u8]),
) {
    let rows = Taps::new(part.height, height, filter, window.top, window.height);
    let columns = Taps::new(part.width, width, filter, window.left, window.width);
    pulp::Arch::new().dispatch(Passes { image, part, columns, rows, each });
}

/// Both passes. Their loops are plain integer arithmetic, compiled for each level of the processor: the bytes are the
/// same on all.
struct Passes<'a, F> {
    image: &'a RgbImage,
    part: Window,
    columns: Taps,
    rows: Taps,
    each: F,
}

impl<F: FnMut(&mut [u8])> pulp::NullaryFnOnce for Passes<'_, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Passes { image, part, columns, rows, each } = self;
        let (first, end) = rows.reach();
        let source = (first..end).map(|row| {
            let start = ((part.top + row) * image.width + part.left) * 3;
            &image.pixels[start..start + part.width * 3]
        });
        let stretched = columns.over_columns(source);
        rows.over_rows(&stretched, first, columns.starts.len() * 3, each);
    }
}

/// Rows of 8-bit samples, red, green and blue in turn, each padded to a multiple of [`SAMPLES`].
struct Stretched {
    /// `[rows, stride]`.
    samples: Vec<u8>,
    stride: usize,
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

    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.weights
            .chunks_exact(self.stride)
            .zip(self.starts.iter().zip(&self.counts))
            .map(|(weights, (&start, &count))| (start, &weights[..count]))
    }

    /// Each of `rows` resized, in [`Stretched`]'s layout.
    ///
    /// A few rows go side by side: their samples at one column fill a register, and share its weight.
    #[inline(always)]
    fn over_columns<'a>(&self, rows: impl ExactSizeIterator<Item = &'a [u8]>) -> Stretched {
        let (first, end) = self.reach();
        let width = self.starts.len() * 3;
        let stride = width.next_multiple_of(SAMPLES);
        let rows: Vec<&[u8]> = rows.map(|row| &row[first * 3..end * 3]).collect();
        let mut samples = vec![0; rows.len() * stride];
        let mut side_by_side = vec![[0u8; LANES]; end - first];
        for (rows, out) in rows.chunks(ABREAST).zip(samples.chunks_mut(ABREAST * stride)) {
            for (lane, row) in rows.iter().enumerate() {
                for (lanes, pixel) in side_by_side.iter_mut().zip(row.as_chunks::<3>().0) {
                    lanes[lane * 3..lane * 3 + 3].copy_from_slice(pixel);
                }
            }
            for (x, (start, weights)) in self.iter().enumerate() {
                let mut sums = [1i32 << (BITS - 1); LANES];
                for (lanes, &weight) in side_by_side[start - first..].iter().zip(weights) {
                    for (sum, &sample) in sums.iter_mut().zip(lanes) {
                        *sum += i32::from(sample) * weight;
                    }
                }
                let resized = sums.map(clip);
                for (out, pixel) in out.chunks_exact_mut(stride).zip(resized.as_chunks::<3>().0) {
                    out[x * 3..x * 3 + 3].copy_from_slice(pixel);
                }
            }
        }
        Stretched { samples, stride }
    }

    /// Columns of `rows`, the first of them being input row `first`, each resized: rows of `len` samples to `each`.
    #[inline(always)]
    fn over_rows(&self, rows: &Stretched, first: usize, len: usize, mut each: impl FnMut(&mut [u8])) {
        let mut line = vec![0; rows.stride];
        for (start, weights) in self.iter() {
            let rows_from = &rows.samples[(start - first) * rows.stride..];
            for (block, out) in line.as_chunks_mut::<SAMPLES>().0.iter_mut().enumerate() {
                let mut sums = [1i32 << (BITS - 1); SAMPLES];
                for (row, &weight) in rows_from.chunks_exact(rows.stride).zip(weights) {
                    for (sum, &sample) in sums.iter_mut().zip(&row.as_chunks::<SAMPLES>().0[block]) {
                        *sum += i32::from(sample) * weight;
                    }
                }
                *out = sums.map(clip);
            }
            each(&mut line[..len]);
        }
    }
}

#[inline(always)]
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
