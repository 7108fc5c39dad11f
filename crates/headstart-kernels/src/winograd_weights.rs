//! Weights of a training step in Winograd's domain, from the checkpoint's layout `[out, in, 3, 3]`: those of the forward
//! pass, and, turned and transposed, those that make the input's gradient a convolution of the output's.
//!
//! They change with every step, so they are transformed in f32 vectors, into memory that is used again.
#![allow(unsafe_code)]

use crate::aligned::Aligned;
use crate::packed_winograd::transposed;
use crate::simd::{self, Kernel, Simd};
use crate::spare::{Buffer, Spare};
use crate::{Conv, Isa, Pool, Winograd4};

/// Pixels of an input tile's side, and products of a tile.
const IN: usize = 6;
const POINTS: usize = IN * IN;
/// Weights of a kernel.
const TAPS: usize = 9;

impl Winograd4 {
    /// The convolution `conv` by `weights` `[out, in, 3, 3]`, each output channel times its `scale` and plus its `bias`.
    ///
    /// # Panics
    /// As [`Winograd4::new`].
    pub fn of_step(
        isa: Isa,
        pool: &Pool,
        spare: &Spare,
        conv: Conv,
        weights: &[f32],
        scale: Option<&[f32]>,
        bias: Option<&[f32]>,
    ) -> Self {
        let mut padded = spare.take(conv.output[2]).0;
        padded.fill(0.0);
        bias.into_iter().for_each(|bias| padded.copy_from_slice(bias));
        let panels = panels(isa, pool, spare, &conv, weights, scale, false);
        Winograd4::with_panels(isa, conv, panels, padded)
    }

    /// The gradient of the input of `conv`, as a convolution of the gradient of its output.
    ///
    /// # Panics
    /// As [`Winograd4::new`], and where the padding is more than 2.
    pub fn of_input_gradient(
        isa: Isa,
        pool: &Pool,
        spare: &Spare,
        conv: Conv,
        weights: &[f32],
        scale: Option<&[f32]>,
    ) -> Self {
        let mut bias = spare.take(conv.input[2]).0;
        bias.fill(0.0);
        let panels = panels(isa, pool, spare, &conv, weights, scale, true);
        Winograd4::with_panels(isa, Self::turned(&conv), panels, bias)
    }

    /// The convolution by which the input of `conv` gets its gradient.
    ///
    /// # Panics
    /// Where the padding is more than 2.
    pub fn turned(conv: &Conv) -> Conv {
        Conv { input: conv.output, output: conv.input, pad: conv.pad.map(|p| 2 - p), ..*conv }
    }

    /// Gives the memory of the weights back.
    pub fn recycle(self, spare: &Spare) {
        self.into_panels().into_iter().for_each(|panel| spare.give(Buffer(panel)));
    }
}

/// A panel for each point; `turned`: of the input's gradient.
fn panels(
    isa: Isa,
    pool: &Pool,
    spare: &Spare,
    conv: &Conv,
    weights: &[f32],
    scale: Option<&[f32]>,
    turned: bool,
) -> Vec<Aligned> {
    let (inner, outer, lanes) = (conv.input[2], conv.output[2], simd::lanes(isa));
    assert!(conv.kernel == [3, 3] && conv.stride == [1, 1], "a 3x3 convolution of stride 1");
    assert!(inner.is_multiple_of(lanes) && outer.is_multiple_of(lanes), "whole vectors of channels");
    assert!(
        weights.len() == TAPS * inner * outer && scale.is_none_or(|s| s.len() == outer),
        "weights of a convolution"
    );
    let depth = if turned { outer } else { inner };
    let mut panels: Vec<Aligned> = (0..POINTS).map(|_| spare.take(inner * outer).0).collect();
    // A part of each point's panel: two vectors of columns.
    let mut parts = panels.iter_mut().map(|p| p.chunks_mut(2 * lanes * depth)).collect::<Vec<_>>();
    let mut columns: Vec<Vec<&mut [f32]>> = Vec::new();
    loop {
        let points: Vec<&mut [f32]> = parts.iter_mut().filter_map(Iterator::next).collect();
        if points.is_empty() {
            break;
        }
        columns.push(points);
    }
    pool.chunks_mut(&mut columns, 1, |i, columns| {
        for points in columns {
            let first = 2 * lanes * i;
            simd::run(isa, Pass { weights, scale, inner, depth, first, turned, points });
        }
    });
    panels
}

struct Pass<'a, 'b> {
    weights: &'a [f32],
    scale: Option<&'a [f32]>,
    /// Channels in of the checkpoint's layout.
    inner: usize,
    depth: usize,
    /// The first column.
    first: usize,
    turned: bool,
    points: &'a mut [&'b mut [f32]],
}

impl Kernel for Pass<'_, '_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.points[0].len() / self.depth;
        let mut taps = [0.0f32; TAPS * 16];
        for k in 0..self.depth {
            for v in (0..width).step_by(S::LANES) {
                for lane in 0..S::LANES {
                    let column = self.first + v + lane;
                    let (o, i) = if self.turned { (k, column) } else { (column, k) };
                    let from = &self.weights[(o * self.inner + i) * TAPS..][..TAPS];
                    let scale = self.scale.map_or(1.0, |s| s[o]);
                    for (t, &w) in from.iter().enumerate() {
                        let t = if self.turned { TAPS - 1 - t } else { t };
                        taps[t * S::LANES + lane] = w * scale;
                    }
                }
                // SAFETY: `taps` holds nine vectors of at most sixteen lanes; every point has `depth` rows of `width`.
                unsafe {
                    let mut columns = [[simd.splat(0.0); IN]; 3];
                    for (j, column) in columns.iter_mut().enumerate() {
                        let g = std::array::from_fn(|i| simd.load(taps.as_ptr().add((3 * i + j) * S::LANES)));
                        *column = kernel_side(simd, g);
                    }
                    for (i, row) in transposed::<S, 3, IN>(columns).into_iter().enumerate() {
                        for (j, &u) in kernel_side(simd, row).iter().enumerate() {
                            simd.store(self.points[i * IN + j].as_mut_ptr().add(k * width + v), u);
                        }
                    }
                }
            }
        }
    }
}

/// `G g`.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn kernel_side<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; IN] {
    // SAFETY: the caller's contract.
    unsafe {
        let zero = s.splat(0.0);
        let times = |f: f32, v: S::V| s.fma(s.splat(f), v, zero);
        let (outer, inner) = (s.add(g[0], g[2]), g[1]);
        // `g0 / 24 + g2 / 6`.
        let wide = s.fma(s.splat(1.0 / 24.0), g[0], times(1.0 / 6.0, g[2]));
        [
            times(0.25, g[0]),
            times(-1.0 / 6.0, s.add(outer, inner)),
            s.fma(s.splat(1.0 / 6.0), inner, times(-1.0 / 6.0, outer)),
            s.fma(s.splat(1.0 / 12.0), inner, wide),
            s.fma(s.splat(-1.0 / 12.0), inner, wide),
            g[2],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::draw;
    use crate::reference;
    use headstart_tensor::Rng;

    #[test]
    fn every_isa_agrees_with_the_plain_loops_forward_and_turned() {
        let (mut rng, pool) = (Rng::new(12), Pool::new(3));
        let spare = Spare::new();
        for isa in Isa::available() {
            for (size, channels, pad) in [([8, 9], (48, 32), [1, 1]), ([7, 7], (32, 80), [0, 2])] {
                let (inner, outer) = channels;
                let output = [size[0] + 2 * pad[0] - 2, size[1] + 2 * pad[1] - 2, outer];
                let (kernel, stride) = ([3, 3], [1, 1]);
                let conv = Conv { input: [size[0], size[1], inner], output, kernel, stride, pad };
                let weights = draw(&mut rng, 9 * inner * outer);
                let (scale, bias) = (draw(&mut rng, outer), draw(&mut rng, outer));
                let mut plain = vec![0.0; weights.len()];
                for (at, w) in weights.iter().enumerate() {
                    let (o, i, t) = (at / 9 / inner, at / 9 % inner, at % 9);
                    plain[(t * inner + i) * outer + o] = w * scale[o];
                }
                let image = draw(&mut rng, conv.input.iter().product());
                let gradient = draw(&mut rng, conv.output.iter().product());
                let check = |packed: Winograd4, from: &[f32], expected: Vec<f32>| {
                    let (mut scratch, mut out) =
                        (vec![f32::NAN; packed.scratch(1)], vec![f32::NAN; expected.len()]);
                    packed.run(&pool, from, None, None, &mut scratch, &mut out);
                    let square = |v: f32| f64::from(v) * f64::from(v);
                    let norm: f64 = expected.iter().map(|&e| square(e)).sum();
                    let apart: f64 = out.iter().zip(&expected).map(|(&f, &e)| square(f - e)).sum();
                    assert!((apart / norm).sqrt() < 2e-6, "{isa} {conv:?}: {:e}", (apart / norm).sqrt());
                    packed.recycle(&spare);
                };
                let packed =
                    Winograd4::of_step(isa, &pool, &spare, conv, &weights, Some(&scale), Some(&bias));
                let mut expected = reference::conv2d(&conv, &image, &plain);
                crate::epilogue(&mut expected, &bias, None, None);
                check(packed, &image, expected);
                let packed = Winograd4::of_input_gradient(isa, &pool, &spare, conv, &weights, Some(&scale));
                check(packed, &gradient, reference::conv2d_input_gradient(&conv, &plain, &gradient));
            }
        }
    }
}
