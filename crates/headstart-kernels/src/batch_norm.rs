//! What batch norm and its neighbours do to every value of `[.., channels]`: moments, scale and shift with the epilogue,
//! and their gradients.
//!
//! All are bound by memory, so each reads and writes what it must once. Sums are cut into blocks by the data alone, in
//! f32 over a few values and in f64 beyond, and added in order: the bytes do not depend on the threads.

use crate::activation::range;
use crate::simd::{self, Kernel, Simd};
use crate::{Activation, Isa, Pool};

/// Values of a row at the least: narrow pixels are taken several at once.
const ROW: usize = 256;
/// Rows that are summed in f32.
const RUN: usize = 16;
/// Rows of a block.
const BLOCK: usize = 128;

/// Values of a row: whole pixels.
fn row(channels: usize) -> usize {
    channels * ROW.div_ceil(channels.max(1)).max(1)
}

/// A value a channel, for each value of a row.
fn widened(values: &[f32]) -> Vec<f32> {
    values.iter().copied().cycle().take(row(values.len())).collect()
}

/// `out = activation(x scale + shift + residual)`; a scale of 1 and a shift of 0 where not given.
///
/// # Panics
/// Where slices have other sizes than `x`, or it is not a whole number of channels.
pub fn scale_and_shift(
    isa: Isa,
    pool: &Pool,
    x: &[f32],
    by: Option<(&[f32], &[f32])>,
    residual: Option<&[f32]>,
    activation: Option<Activation>,
    out: &mut [f32],
) {
    assert!(x.len() == out.len() && residual.is_none_or(|r| r.len() == x.len()), "values of one shape");
    let by = by.map(|(scale, shift)| (widened(scale), widened(shift)));
    let row = by.as_ref().map_or(ROW, |(scale, _)| scale.len());
    pool.chunks_mut(out, row * BLOCK, |i, out| {
        let from = i * row * BLOCK;
        let x = &x[from..from + out.len()];
        let residual = residual.map(|r| &r[from..from + out.len()]);
        let by = by.as_ref().map(|(scale, shift)| (&scale[..], &shift[..]));
        simd::run(isa, Affine { x, by, residual, activation, row, out });
    });
}

struct Affine<'a> {
    x: &'a [f32],
    by: Option<(&'a [f32], &'a [f32])>,
    residual: Option<&'a [f32]>,
    activation: Option<Activation>,
    row: usize,
    out: &'a mut [f32],
}

impl Kernel for Affine<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (low, high) = range(self.activation);
        // Comparisons, not `max` and `min`: a NaN must come through.
        let clamp = |v: f32| {
            if v < low {
                low
            } else if v > high {
                high
            } else {
                v
            }
        };
        let rows = self.out.chunks_mut(self.row).zip(self.x.chunks(self.row));
        match (self.by, self.residual) {
            (Some((scale, shift)), None) => {
                for (out, x) in rows {
                    for (((o, &v), &a), &b) in out.iter_mut().zip(x).zip(scale).zip(shift) {
                        *o = clamp(v * a + b);
                    }
                }
            }
            (Some((scale, shift)), Some(residual)) => {
                for ((out, x), r) in rows.zip(residual.chunks(self.row)) {
                    for ((((o, &v), &a), &b), &r) in out.iter_mut().zip(x).zip(scale).zip(shift).zip(r) {
                        *o = clamp(v * a + b + r);
                    }
                }
            }
            (None, None) => self.out.iter_mut().zip(self.x).for_each(|(o, &v)| *o = clamp(v)),
            (None, Some(residual)) => {
                for ((o, &v), &r) in self.out.iter_mut().zip(self.x).zip(residual) {
                    *o = clamp(v + r);
                }
            }
        }
    }
}

/// `sum += term`.
///
/// # Panics
/// Where they have other sizes.
pub fn accumulate(isa: Isa, pool: &Pool, sum: &mut [f32], term: &[f32]) {
    assert_eq!(sum.len(), term.len(), "terms of one shape");
    struct Add<'a>(&'a mut [f32], &'a [f32]);
    impl Kernel for Add<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            self.0.iter_mut().zip(self.1).for_each(|(s, &t)| *s += t);
        }
    }
    pool.chunks_mut(sum, ROW * BLOCK, |i, sum| {
        let from = i * ROW * BLOCK;
        simd::run(isa, Add(sum, &term[from..]));
    });
}

/// Mean and variance (divided by the number of values, biased) of each channel of `x` `[.., channels]`.
///
/// # Panics
/// Where `x` is not a whole number of channels, or empty.
pub fn moments(isa: Isa, pool: &Pool, x: &[f32], channels: usize) -> (Vec<f64>, Vec<f64>) {
    assert!(channels > 0 && !x.is_empty() && x.len().is_multiple_of(channels), "whole pixels");
    // Deviations from the first pixel: squares of values far from zero would lose the variance.
    let origin = x[..channels].to_vec();
    let wide = widened(&origin);
    let block = row(channels) * BLOCK;
    let parts = pool.map(x.len().div_ceil(block), |i| {
        let mut sums = vec![0.0; 2 * channels];
        let x = &x[i * block..x.len().min((i + 1) * block)];
        simd::run(isa, Deviations { x, origin: &wide, sums: &mut sums });
        sums
    });
    let sums = total(parts, 2 * channels);
    let n = (x.len() / channels) as f64;
    let mean = |c: usize| sums[c] / n;
    let var = |c: usize| (sums[channels + c] / n - mean(c) * mean(c)).max(0.0);
    ((0..channels).map(|c| f64::from(origin[c]) + mean(c)).collect(), (0..channels).map(var).collect())
}

fn total(parts: Vec<Vec<f64>>, len: usize) -> Vec<f64> {
    let mut sums = vec![0.0; len];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(s, p)| *s += p);
    }
    sums
}

/// Adds the sums of a run, for the pixels of a row, to those of the channels, and clears them.
#[inline(always)]
fn fold(run: &mut [f32], sums: &mut [f64]) {
    for pixel in run.chunks_exact_mut(sums.len()) {
        for (s, r) in sums.iter_mut().zip(pixel) {
            *s += f64::from(*r);
            *r = 0.0;
        }
    }
}

/// The sums of `x - origin` and of its squares.
struct Deviations<'a> {
    x: &'a [f32],
    origin: &'a [f32],
    sums: &'a mut [f64],
}

impl Kernel for Deviations<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (row, channels) = (self.origin.len(), self.sums.len() / 2);
        let (first, second) = self.sums.split_at_mut(channels);
        let (mut ones, mut squares) = (vec![0.0f32; row], vec![0.0f32; row]);
        for run in self.x.chunks(row * RUN) {
            for x in run.chunks(row) {
                for (((&v, &o), s), q) in x.iter().zip(self.origin).zip(&mut ones).zip(&mut squares) {
                    let d = v - o;
                    *s += d;
                    *q += d * d;
                }
            }
            fold(&mut ones, first);
            fold(&mut squares, second);
        }
    }
}

/// What [`masked`] goes by.
#[derive(Debug, Clone, Copy)]
pub struct Masked<'a> {
    /// Values of a pixel.
    pub channels: usize,
    /// An activation and its output: the gradient stays where it rises.
    pub activation: Option<(Activation, &'a [f32])>,
    /// Values and their channels' means: products with them are summed too.
    pub against: Option<(&'a [f32], &'a [f32])>,
}

/// `gradient *= slope`, in place; returns for each channel the sum of it, and of it times `(x - mean)` (else nothing).
///
/// # Panics
/// Where slices have other sizes than the gradient, or it is not a whole number of channels.
pub fn masked(isa: Isa, pool: &Pool, by: Masked, gradient: &mut [f32]) -> (Vec<f64>, Vec<f64>) {
    let (channels, len) = (by.channels, gradient.len());
    assert!(channels > 0 && len.is_multiple_of(channels), "whole pixels");
    assert!(by.activation.is_none_or(|(_, out)| out.len() == len), "an output for each value");
    assert!(by.against.is_none_or(|(x, mean)| x.len() == len && mean.len() == channels), "an input for each");
    let mean = by.against.map(|(_, mean)| widened(mean));
    let (row, all) = (row(channels), if by.against.is_some() { 2 * channels } else { channels });
    let mut parts: Vec<(&mut [f32], Vec<f64>)> =
        gradient.chunks_mut(row * BLOCK).map(|part| (part, vec![0.0; all])).collect();
    pool.chunks_mut(&mut parts, 1, |i, parts| {
        for (gradient, sums) in parts {
            let of = i * row * BLOCK..i * row * BLOCK + gradient.len();
            let activation = by.activation.map(|(a, out)| (a, &out[of.clone()]));
            let against = by.against.zip(mean.as_deref()).map(|((x, _), mean)| (&x[of.clone()], mean));
            simd::run(isa, Mask { channels, row, activation, against, gradient, sums });
        }
    });
    let mut sums = total(parts.into_iter().map(|(_, sums)| sums).collect(), all);
    let second = sums.split_off(channels);
    (sums, second)
}

struct Mask<'a> {
    channels: usize,
    row: usize,
    activation: Option<(Activation, &'a [f32])>,
    against: Option<(&'a [f32], &'a [f32])>,
    gradient: &'a mut [f32],
    sums: &'a mut [f64],
}

impl Kernel for Mask<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let row = self.row;
        let (first, second) = self.sums.split_at_mut(self.channels);
        let (mut ones, mut products) = (vec![0.0f32; row], vec![0.0f32; row]);
        let high = self.activation.map_or(f32::INFINITY, |(a, _)| range(Some(a)).1);
        for (i, run) in self.gradient.chunks_mut(row * RUN).enumerate() {
            for (j, g) in run.chunks_mut(row).enumerate() {
                let from = (i * RUN + j) * row;
                if let Some((_, out)) = self.activation {
                    for (g, &o) in g.iter_mut().zip(&out[from..]) {
                        *g = if o > 0.0 && o < high { *g } else { 0.0 };
                    }
                }
                ones.iter_mut().zip(&*g).for_each(|(s, &g)| *s += g);
                if let Some((x, mean)) = self.against {
                    for (((s, &g), &v), &m) in products.iter_mut().zip(&*g).zip(&x[from..]).zip(mean) {
                        *s += g * (v - m);
                    }
                }
            }
            fold(&mut ones, first);
            if self.against.is_some() {
                fold(&mut products, second);
            }
        }
    }
}

/// `out = gradient a + (x - mean) b + c`, a value of each of `a`, `b`, `c` and `mean` a channel: the input's gradient of
/// a batch norm by the statistics of the batch.
///
/// # Panics
/// Where slices have other sizes.
pub fn norm_input_gradient(
    isa: Isa,
    pool: &Pool,
    gradient: &[f32],
    x: &[f32],
    mean: &[f32],
    [a, b, c]: [&[f32]; 3],
    out: &mut [f32],
) {
    assert!(gradient.len() == out.len() && x.len() == out.len(), "values of one shape");
    assert!([a, b, c].iter().all(|v| v.len() == mean.len()), "values of each channel");
    let (mean, [a, b, c]) = (widened(mean), [a, b, c].map(widened));
    let row = mean.len();
    pool.chunks_mut(out, row * BLOCK, |i, out| {
        let of = i * row * BLOCK..i * row * BLOCK + out.len();
        let (g, x) = (&gradient[of.clone()], &x[of]);
        simd::run(isa, InputGradient { g, x, mean: &mean, a: &a, b: &b, c: &c, out });
    });
}

struct InputGradient<'a> {
    g: &'a [f32],
    x: &'a [f32],
    mean: &'a [f32],
    a: &'a [f32],
    b: &'a [f32],
    c: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for InputGradient<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let row = self.mean.len();
        for ((out, g), x) in self.out.chunks_mut(row).zip(self.g.chunks(row)).zip(self.x.chunks(row)) {
            let values = out.iter_mut().zip(g).zip(x);
            let channels = self.mean.iter().zip(self.a).zip(self.b).zip(self.c);
            for (((o, &g), &v), (((&m, &a), &b), &c)) in values.zip(channels) {
                *o = g * a + (v - m) * b + c;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw};
    use headstart_tensor::Rng;

    #[test]
    fn every_isa_agrees_with_the_plain_loops_for_any_number_of_threads() {
        let mut rng = Rng::new(17);
        for isa in Isa::available() {
            for (channels, pixels) in [(1, 5), (3, 400), (16, 5000), (40, 3), (300, 333)] {
                let n = channels * pixels;
                let (x, r, g) = (draw(&mut rng, n), draw(&mut rng, n), draw(&mut rng, n));
                let [scale, shift, mean] = [0; 3].map(|_| draw(&mut rng, channels));
                let mut before: Option<(Vec<f32>, Vec<f64>)> = None;
                for threads in [1, 3] {
                    let pool = Pool::new(threads);
                    let what = format!("{isa} {channels} {pixels} {threads}");
                    let mut out = vec![f32::NAN; n];
                    let relu6 = Some(Activation::Relu6);
                    let expected = |i: usize| x[i] * scale[i % channels] + shift[i % channels] + r[i];
                    scale_and_shift(isa, &pool, &x, Some((&scale, &shift)), Some(&r), relu6, &mut out);
                    close(&out, &(0..n).map(|i| expected(i).clamp(0.0, 6.0)).collect::<Vec<_>>(), &what);
                    let mut sum = vec![f32::NAN; n];
                    scale_and_shift(isa, &pool, &x, None, Some(&r), None, &mut sum);
                    close(&sum, &(0..n).map(|i| x[i] + r[i]).collect::<Vec<_>>(), &what);
                    accumulate(isa, &pool, &mut sum, &g);
                    close(&sum, &(0..n).map(|i| x[i] + r[i] + g[i]).collect::<Vec<_>>(), &what);

                    let mut kept = g.clone();
                    let by = Masked {
                        channels,
                        activation: relu6.map(|a| (a, &out[..])),
                        against: Some((&x, &mean)),
                    };
                    let (first, second) = masked(isa, &pool, by, &mut kept);
                    let expected: Vec<f32> = (0..n).map(|i| g[i] * Activation::Relu6.slope(out[i])).collect();
                    assert_eq!(kept, expected, "{what}");
                    let at = |c: usize| (0..pixels).map(move |p| p * channels + c);
                    for c in 0..channels {
                        let one: f64 = at(c).map(|i| f64::from(kept[i])).sum();
                        let product: f64 =
                            at(c).map(|i| f64::from(kept[i]) * f64::from(x[i] - mean[c])).sum();
                        assert!(
                            (first[c] - one).abs() < 1e-4 && (second[c] - product).abs() < 1e-4,
                            "{what}"
                        );
                    }

                    let (found, var) = moments(isa, &pool, &x, channels);
                    for c in 0..channels {
                        let m: f64 = at(c).map(|i| f64::from(x[i])).sum::<f64>() / pixels as f64;
                        let v = at(c).map(|i| (f64::from(x[i]) - m).powi(2)).sum::<f64>() / pixels as f64;
                        assert!(
                            (found[c] - m).abs() < 1e-6 && (var[c] - v).abs() < 1e-6,
                            "{what}: {v} {}",
                            var[c]
                        );
                    }

                    let mut dx = vec![f32::NAN; n];
                    norm_input_gradient(isa, &pool, &g, &x, &mean, [&scale, &shift, &mean], &mut dx);
                    let one = |i: usize, c: usize| g[i] * scale[c] + (x[i] - mean[c]) * shift[c] + mean[c];
                    close(&dx, &(0..n).map(|i| one(i, i % channels)).collect::<Vec<_>>(), &what);
                    let all = (dx, [first, second, found, var].concat());
                    assert!(before.is_none_or(|b| b == all), "the same bytes with three threads");
                    before = Some(all);
                }
            }
        }
    }

    #[test]
    fn the_variance_of_values_far_from_zero_is_kept() {
        let x: Vec<f32> = (0..4000).map(|i| 1000.0 + (i % 2) as f32 * 0.25).collect();
        let (mean, var) = moments(Isa::current(), &Pool::single(), &x, 1);
        assert!((mean[0] - 1000.125).abs() < 1e-9 && (var[0] - 0.015625).abs() < 1e-9, "{mean:?} {var:?}");
    }
}
