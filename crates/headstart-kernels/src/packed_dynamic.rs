//! A matrix product in bytes whose left rows are quantised on the way, each with a scale of its own (dynamic quantisation): it
//! wants no sample of inputs, and a row's result does not depend on the others.
//!
//! A row `x` becomes bytes `q = round(x / scale) + zero` from 0 to 255, with `scale = (max(x, 0) - min(x, 0)) / 255`, a column of weights whole
//! numbers `v` from -127 to 127 with a `unit` of its own; the product is `scale * unit * (sum(q v) - zero * sum(v))`, and the sums are exact.
#![allow(unsafe_code)]

use crate::aligned::Aligned;
use crate::element::{Element, Scale};
use crate::simd::{self, Kernel, Simd};
use crate::softmax::fold;
use crate::{Activation, Conv, Isa, PackedConv, Pool, Scales, tile};
use std::marker::PhantomData;

/// From the least to the largest value of a row.
const STEPS: f32 = 255.0;

/// A matrix product of rows stored as `I` to rows stored as `O`, f32 or bf16, by bytes.
#[derive(Debug, Clone)]
pub struct PackedDynamic<I, O> {
    product: PackedConv<u8, O>,
    bias: Aligned,
    of: PhantomData<I>,
}

impl<I: Element, O: Element> PackedDynamic<I, O> {
    /// Packs `weights` `[inner, outer]` and `bias` `[outer]` of a product ([`Conv::linear`]).
    ///
    /// # Panics
    /// Where they have other sizes, or the convolution is no product.
    pub fn new(isa: Isa, conv: Conv, weights: &[f32], bias: &[f32]) -> Self {
        assert_eq!(conv, Conv::linear(conv.pixels(), conv.input[2], conv.output[2]), "a matrix product");
        let scales = Scales { input: Scale { scale: 1.0, zero: 1 }, ..Scales::ONE };
        let product = PackedConv::stored(isa, conv, weights, &vec![0.0; bias.len()], &scales);
        PackedDynamic { product, bias: tile::pack(isa, 1, bias.len(), |_, c| bias[c]), of: PhantomData }
    }

    /// The product's sizes.
    pub fn conv(&self) -> &Conv {
        self.product.conv()
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        self.product.bytes()
    }

    /// f32 values of scratch that [`PackedDynamic::run`] wants for so many rows.
    pub fn scratch(&self, rows: usize) -> usize {
        self.words(rows) + 2 * rows
    }

    /// Words that the bytes of so many rows take, and three more: the last word of a row may reach over its end.
    fn words(&self, rows: usize) -> usize {
        (rows * self.conv().input[2] + 3).div_ceil(4)
    }

    /// `out = activation(rows * weights + bias + residual)` of any number of rows, spread over `pool`; the bytes do not depend on it.
    /// A row with a value that is no finite number gives none. The scratch should begin at a cache line.
    ///
    /// # Panics
    /// Where the slices do not hold the same number of whole rows, or the scratch is too small.
    #[cfg_attr(debug_assertions, inline(never))]
    pub fn run(
        &self,
        pool: &Pool,
        rows: &[I],
        residual: Option<&[O]>,
        activation: Option<Activation>,
        scratch: &mut [f32],
        out: &mut [O],
    ) {
        let (inner, outer) = (self.conv().input[2], self.conv().output[2]);
        let n = out.len() / outer.max(1);
        assert!(
            rows.len() == n * inner
                && out.len() == n * outer
                && residual.is_none_or(|r| r.len() == out.len()),
            "as many whole rows on the left as in the output and the residual"
        );
        // Bytes first: the scratch begins at a cache line.
        let (bytes, scales) = scratch.split_at_mut(self.words(n));
        let scales: &mut [[f32; 2]] = bytemuck::cast_slice_mut(&mut scales[..2 * n]);
        let bytes: &mut [u8] = &mut bytemuck::cast_slice_mut(bytes)[..n * inner + 3];
        bytes[n * inner..].fill(0);
        let share = n.div_ceil(pool.threads()).next_multiple_of(tile::MOST_ROWS);
        let of_share = (&mut bytes[..n * inner], share * inner);
        pool.zip_chunks_mut((&mut *scales, share), of_share, |i, scales, bytes| {
            let rows = &rows[i * share * inner..][..bytes.len()];
            simd::run(self.product.isa(), Quantise { rows, scales, bytes });
        });
        pool.chunks_mut(out, share * outer, |i, out| {
            let (first, count) = (i * share, out.len() / outer);
            let bytes = &bytes[first * inner..(first + count) * inner + 3];
            let residual = residual.map(|r| &r[first * outer..][..out.len()]);
            let of_rows = (&scales[first..first + count], &self.bias[..]);
            self.product.multiply_scaled(bytes, of_rows, residual, activation, out);
        });
    }
}

/// Rows as bytes, and scale, and zero less 1, of each.
struct Quantise<'a, I> {
    rows: &'a [I],
    scales: &'a mut [[f32; 2]],
    bytes: &'a mut [u8],
}

impl<I: Element> Kernel for Quantise<'_, I> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let inner = self.rows.len() / self.scales.len().max(1);
        let whole = inner / S::LANES * S::LANES;
        let larger = |a: f32, b: f32| if a.is_nan() || a > b { a } else { b };
        for (i, scale) in self.scales.iter_mut().enumerate() {
            let row = &self.rows[i * inner..(i + 1) * inner];
            let bytes = &mut self.bytes[i * inner..(i + 1) * inner];
            let (row, rest) = row.split_at(whole);
            // SAFETY: a whole vector lies behind each `j` in both slices.
            unsafe {
                let none = simd.splat(0.0);
                let (mut high, mut low) = (none, none);
                for j in (0..whole).step_by(S::LANES) {
                    let v = I::load(simd, row.as_ptr().add(j));
                    high = simd.max_or_nan(high, v);
                    low = simd.max_or_nan(low, simd.sub(none, v));
                }
                // The least value turned round.
                let [high, low] = [high, low].map(|v| fold(simd, v, larger));
                let high = rest.iter().fold(high, |high, v| larger(high, v.to_f32()));
                let low = rest.iter().fold(low, |low, v| larger(low, -v.to_f32()));
                let step = high / STEPS + low / STEPS;
                if !step.is_normal() {
                    bytes.fill(0);
                    *scale = [if step.is_finite() { 0.0 } else { f32::NAN }, 0.0];
                    continue;
                }
                let (factor, zero) = (1.0 / step, (low / step).round_ties_even());
                *scale = [step, zero - 1.0];
                for j in (0..whole).step_by(S::LANES) {
                    let v = I::load(simd, row.as_ptr().add(j));
                    let v = simd.fma(v, simd.splat(factor), simd.splat(zero));
                    let v = simd.min(simd.splat(STEPS), simd.max(none, v));
                    u8::store(simd, bytes.as_mut_ptr().add(j), v);
                }
                for (byte, v) in bytes[whole..].iter_mut().zip(rest) {
                    *byte = u8::from_f32((v.to_f32() * factor + zero).clamp(0.0, STEPS));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::draw;
    use crate::{bf16, epilogue, reference};
    use headstart_tensor::Rng;

    /// The step of a row's bytes, and its zero.
    fn step(row: &[f32]) -> (f32, f32) {
        let (low, high) = row.iter().fold((0.0f32, 0.0f32), |(low, high), &v| (low.min(v), high.max(v)));
        let step = (high - low) / 255.0;
        if step == 0.0 { (1.0, 0.0) } else { (step, (-low / step).round_ties_even()) }
    }

    /// What rows and weights are rounded to, multiplied by plain loops.
    fn plain(conv: &Conv, rows: &[f32], weights: &[f32]) -> Vec<f32> {
        let (inner, outer) = (conv.input[2], conv.output[2]);
        let rounded = |row: &[f32]| {
            let (step, zero) = step(row);
            let steps = |v: &f32| v.mul_add(1.0 / step, zero).round_ties_even().clamp(0.0, 255.0) - zero;
            row.iter().map(|v| steps(v) * step).collect::<Vec<f32>>()
        };
        let rows: Vec<f32> = rows.chunks_exact(inner).flat_map(rounded).collect();
        let most = |c: usize| weights.iter().skip(c).step_by(outer).fold(0.0f32, |m, w| m.max(w.abs()));
        let units: Vec<f32> = (0..outer).map(|c| most(c) / 127.0).collect();
        let weights = weights.iter().enumerate().map(|(i, w)| {
            let unit = units[i % outer];
            (w / unit).round_ties_even() * unit
        });
        reference::conv2d(conv, &rows, &weights.collect::<Vec<f32>>())
    }

    #[test]
    fn every_isa_agrees_with_the_plain_loops_whatever_the_scale_of_a_row() {
        fn agree<I: Element, O: Element>(rng: &mut Rng, isa: Isa, conv: Conv, inexact: f32) {
            let what = format!("{isa} {conv:?} {} to {}", I::NAME, O::NAME);
            let (inner, outer, n) = (conv.input[2], conv.output[2], conv.pixels());
            let mut rows: Vec<I> = draw(rng, n * inner).into_iter().map(I::from_f32).collect();
            for (r, row) in rows.chunks_exact_mut(inner).enumerate() {
                // Around 0, on one side of it, on both unevenly, and nothing.
                let (scale, shift) = [(1.0, 0.0), (1e-3, 2e-3), (300.0, -200.0), (0.0, 0.0)][r % 4];
                row.iter_mut().for_each(|v| *v = I::from_f32(v.to_f32() * scale + shift));
            }
            let (weights, bias) = (draw(rng, inner * outer), draw(rng, outer));
            let rest: Vec<O> = draw(rng, n * outer).into_iter().map(O::from_f32).collect();
            let packed = PackedDynamic::<I, O>::new(isa, conv, &weights, &bias);
            let mut scratch = vec![f32::NAN; packed.scratch(n)];
            let mut out = vec![O::from_f32(f32::NAN); n * outer];
            let relu = Some(Activation::Relu);
            packed.run(&Pool::single(), &rows, Some(&rest), relu, &mut scratch, &mut out);
            let mut split = out.clone();
            packed.run(&Pool::new(3), &rows, Some(&rest), relu, &mut scratch, &mut split);
            assert_eq!(bytemuck::cast_slice::<O, u8>(&out), bytemuck::cast_slice::<O, u8>(&split), "{what}");
            let mut alone = vec![O::from_f32(f32::NAN); outer];
            let last = n - 1;
            packed.run(
                &Pool::single(),
                &rows[last * inner..],
                Some(&rest[last * outer..]),
                relu,
                &mut scratch,
                &mut alone,
            );
            let both = [&alone[..], &out[last * outer..]].map(bytemuck::cast_slice::<O, u8>);
            assert_eq!(both[0], both[1], "{what}: a row alone");
            let values: Vec<f32> = rows.iter().map(|v| v.to_f32()).collect();
            let rest: Vec<f32> = rest.iter().map(|v| v.to_f32()).collect();
            let mut expected = plain(&conv, &values, &weights);
            epilogue(&mut expected, &bias, Some(&rest), relu);
            for (i, (found, expected)) in out.iter().zip(&expected).enumerate() {
                // A value or two of a row may fall to the other side of a tie: steps of its scale.
                let (step, _) = step(&values[i / outer * inner..][..inner]);
                let near = inexact * expected.abs() + 2.0 * step + 1e-5;
                assert!(
                    (found.to_f32() - expected).abs() <= near,
                    "{what}: {i} is {found:?}, not {expected}"
                );
            }
        }
        let mut rng = Rng::new(8);
        for isa in Isa::available() {
            for conv in [(1, 1, 1), (5, 3, 2), (4, 64, 33), (37, 88, 80), (33, 130, 16), (70, 384, 35)] {
                let conv = Conv::linear(conv.0, conv.1, conv.2);
                agree::<f32, f32>(&mut rng, isa, conv, 1e-5);
                agree::<f32, bf16>(&mut rng, isa, conv, 4e-3);
                agree::<bf16, f32>(&mut rng, isa, conv, 1e-5);
                agree::<bf16, bf16>(&mut rng, isa, conv, 4e-3);
            }
        }
    }

    #[test]
    fn a_row_with_a_value_that_is_no_number_gives_none_and_the_others_theirs() {
        for isa in Isa::available() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in [0, 16, 17] {
                    let mut rows = vec![1.0f32; 3 * 18];
                    rows[18 + at] = bad;
                    let packed =
                        PackedDynamic::<f32, f32>::new(isa, Conv::linear(3, 18, 2), &[1.0; 36], &[0.5, 1.0]);
                    let (mut scratch, mut out) = (vec![f32::NAN; packed.scratch(3)], vec![0.0; 6]);
                    packed.run(&Pool::single(), &rows, None, None, &mut scratch, &mut out);
                    assert!(out[2].is_nan() && out[3].is_nan(), "{isa} {bad} {out:?}");
                    for (found, expected) in out[..2].iter().chain(&out[4..]).zip([18.5, 19.0, 18.5, 19.0]) {
                        assert!((found - expected).abs() < 1e-4, "{isa} {out:?}");
                    }
                }
            }
        }
    }
}
