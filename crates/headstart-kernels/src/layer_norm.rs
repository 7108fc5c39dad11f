//! Layer normalisation of rows (Ba et al. 2016): `y = (x - mean) / sqrt(variance + eps) * weight + bias`.
#![allow(unsafe_code)]

use crate::element::Element;
use crate::simd::{self, Dot, Kernel, Simd};
use crate::softmax::fold;
use crate::{Isa, Pool};

/// Rows that a thread takes at once.
const ROWS: usize = 32;

/// Every row of `weight.len()` values of `x`, normalised, in `out`: f32, or rounded to bf16.
///
/// # Panics
/// Where the slices do not hold the same whole rows, or `bias` has another length than `weight`.
pub fn layer_norm<O: Element>(
    isa: Isa,
    pool: &Pool,
    x: &[f32],
    (weight, bias, eps): (&[f32], &[f32], f64),
    out: &mut [O],
) {
    let width = weight.len();
    assert!(bias.len() == width && x.len() == out.len(), "weight and bias, input and output of a layer norm");
    if out.is_empty() {
        return;
    }
    assert!(x.len().is_multiple_of(width), "whole rows");
    pool.chunks_mut(out, ROWS * width, |i, out| {
        let x = &x[i * ROWS * width..i * ROWS * width + out.len()];
        simd::run(isa, Rows { x, weight, bias, eps: eps as f32, out });
    });
}

struct Rows<'a, O> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    out: &'a mut [O],
}

impl<O: Element> Kernel for Rows<'_, O> {
    const DOT: Dot = O::DOT;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.weight.len();
        let whole = width / S::LANES * S::LANES;
        for (x, out) in self.x.chunks_exact(width).zip(self.out.chunks_exact_mut(width)) {
            let (row, rest) = x.split_at(whole);
            // SAFETY: `row`, weight, bias and output hold a vector at each `i`.
            unsafe {
                let mut sum = simd.splat(0.0);
                for i in (0..whole).step_by(S::LANES) {
                    sum = simd.add(sum, simd.load(row.as_ptr().add(i)));
                }
                let sum = fold(simd, sum, |a, b| a + b) + rest.iter().sum::<f32>();
                let mean = sum / width as f32;
                let means = simd.splat(mean);
                let mut squares = simd.splat(0.0);
                for i in (0..whole).step_by(S::LANES) {
                    let centred = simd.sub(simd.load(row.as_ptr().add(i)), means);
                    squares = simd.fma(centred, centred, squares);
                }
                let squares = fold(simd, squares, |a, b| a + b);
                let squares = rest.iter().fold(squares, |sum, &v| sum + (v - mean) * (v - mean));
                let factor = 1.0 / (squares / width as f32 + self.eps).sqrt();
                let factors = simd.splat(factor);
                for i in (0..whole).step_by(S::LANES) {
                    let centred = simd.sub(simd.load(row.as_ptr().add(i)), means);
                    let (w, b) =
                        (simd.load(self.weight.as_ptr().add(i)), simd.load(self.bias.as_ptr().add(i)));
                    O::store(simd, out.as_mut_ptr().add(i), simd.fma(simd.mul(centred, factors), w, b));
                }
                for i in whole..width {
                    out[i] = O::from_f32((x[i] - mean) * factor * self.weight[i] + self.bias[i]);
                }
            }
        }
    }
}

/// From the gradient of the output, `gradient`, row by row: that of the input in `input`, and those of weight and bias
/// added to `weight_sum` and `bias_sum`. One thread; sums of a row are in f64.
///
/// # Panics
/// As [`layer_norm`].
pub fn layer_norm_gradient(
    x: &[f32],
    (weight, eps): (&[f32], f64),
    gradient: &[f32],
    input: &mut [f32],
    weight_sum: &mut [f32],
    bias_sum: &mut [f32],
) {
    let width = weight.len();
    assert!(x.len() == gradient.len() && x.len() == input.len(), "input and output of a layer norm");
    assert!(weight_sum.len() == width && bias_sum.len() == width, "a sum for each weight and bias");
    let n = width as f64;
    let rows = x.chunks_exact(width.max(1)).zip(gradient.chunks_exact(width.max(1)));
    for ((x, g), dx) in rows.zip(input.chunks_exact_mut(width.max(1))) {
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        let factor = 1.0 / (variance + eps).sqrt();
        let normed = |c: usize| (f64::from(x[c]) - mean) * factor;
        let weighted = |c: usize| f64::from(g[c]) * f64::from(weight[c]);
        let (mut plain, mut along) = (0.0, 0.0);
        for c in 0..width {
            plain += weighted(c);
            along += weighted(c) * normed(c);
            weight_sum[c] += (f64::from(g[c]) * normed(c)) as f32;
            bias_sum[c] += g[c];
        }
        for (c, dx) in dx.iter_mut().enumerate() {
            *dx = (factor * (weighted(c) - plain / n - normed(c) * along / n)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw};
    use crate::reference;
    use headstart_tensor::Rng;

    #[test]
    fn bf16_is_the_f32_result_rounded() {
        let mut rng = Rng::new(24);
        for isa in Isa::available() {
            for width in [1, 15, 16, 37] {
                let [x, weight, bias] = [5, 1, 1].map(|rows| draw(&mut rng, rows * width));
                let (mut out, mut exact) = (vec![half::bf16::NAN; x.len()], vec![f32::NAN; x.len()]);
                layer_norm(isa, &Pool::single(), &x, (&weight, &bias, 1e-5), &mut out);
                layer_norm(isa, &Pool::single(), &x, (&weight, &bias, 1e-5), &mut exact);
                let rounded: Vec<half::bf16> = exact.into_iter().map(half::bf16::from_f32).collect();
                assert_eq!(out, rounded, "{isa} {width}");
            }
        }
    }

    #[test]
    fn every_isa_agrees_with_the_plain_loops_over_odd_rows() {
        let mut rng = Rng::new(24);
        for isa in Isa::available() {
            let lanes = simd::lanes(isa);
            for width in [1, lanes - 1, lanes, lanes + 1, 3 * lanes + 2, 384] {
                for rows in [0, 1, 5, 2 * ROWS + 1] {
                    // Away from zero, so that a careless variance would show.
                    let x: Vec<f32> = draw(&mut rng, rows * width).iter().map(|v| v + 20.0).collect();
                    let (weight, bias) = (draw(&mut rng, width), draw(&mut rng, width));
                    let (mut out, mut split) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                    layer_norm(isa, &Pool::single(), &x, (&weight, &bias, 1e-6), &mut out);
                    layer_norm(isa, &Pool::new(3), &x, (&weight, &bias, 1e-6), &mut split);
                    assert_eq!(out, split, "the same bytes with three threads");
                    close(&out, &reference::layer_norm(&x, &weight, &bias, 1e-6), &format!("{isa} {width}"));
                }
            }
        }
    }

    #[test]
    fn gradients_are_the_differences_of_the_plain_loops() {
        let mut rng = Rng::new(25);
        let (width, rows) = (5, 3);
        let (x, g) = (draw(&mut rng, rows * width), draw(&mut rng, rows * width));
        let (weight, bias) = (draw(&mut rng, width), draw(&mut rng, width));
        let loss = |x: &[f32], weight: &[f32], bias: &[f32]| -> f64 {
            let out = reference::layer_norm(x, weight, bias, 1e-2);
            out.iter().zip(&g).map(|(&o, &g)| f64::from(o) * f64::from(g)).sum()
        };
        let (mut dx, mut dw, mut db) = (vec![f32::NAN; x.len()], vec![0.0; width], vec![0.0; width]);
        layer_norm_gradient(&x, (&weight, 1e-2), &g, &mut dx, &mut dw, &mut db);
        let difference = |values: &[f32], of: &dyn Fn(&[f32]) -> f64| -> Vec<f32> {
            let at = |i: usize, by: f32| {
                let mut moved = values.to_vec();
                moved[i] += by;
                of(&moved)
            };
            (0..values.len()).map(|i| ((at(i, 1e-3) - at(i, -1e-3)) / 2e-3) as f32).collect()
        };
        let apart = |found: &[f32], expected: &[f32], what| {
            for (f, e) in found.iter().zip(expected) {
                assert!((f - e).abs() < 2e-3, "{what}: {f} {e}");
            }
        };
        apart(&dx, &difference(&x, &|x| loss(x, &weight, &bias)), "input");
        apart(&dw, &difference(&weight, &|w| loss(&x, w, &bias)), "weight");
        apart(&db, &difference(&bias, &|b| loss(&x, &weight, b)), "bias");
    }
}
