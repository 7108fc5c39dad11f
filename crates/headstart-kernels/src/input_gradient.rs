//! The input gradient of any dense convolution, by phases: the pixels of the input that lie alike between two steps of
//! the stride see the same taps, so each phase is a convolution of stride 1 of the output's gradient.
//!
//! A stride of 1 has one phase, the turned kernel. No product with a zero is made.
#![allow(unsafe_code)]

use crate::aligned::Aligned;
use crate::padded::{self, Rows};
use crate::simd::{self, Kernel, Simd};
use crate::tile::{self, Ahead, Lefts, Target};
use crate::{Conv, Isa};

/// The input gradient of a convolution with its weights packed for one instruction set.
#[derive(Debug, Clone)]
pub struct PackedInputGradient {
    conv: Conv,
    isa: Isa,
    phases: Vec<Phase>,
    /// How the output's gradient is padded, written as the convolution that would pad it so.
    border: Conv,
}

/// Pixels `first + k stride` of the input.
#[derive(Debug, Clone)]
struct Phase {
    first: [usize; 2],
    count: [usize; 2],
    /// Taps that reach them.
    taps: [usize; 2],
    /// Where the patch of the first pixel begins in the padded gradient.
    from: [usize; 2],
    panels: Aligned,
}

/// The phase of input pixels `first + k stride` along one axis: (the first tap, the number of taps, the output
/// pixel that the last of them comes from, for `k` 0).
fn axis(conv: &Conv, axis: usize, first: usize) -> (usize, usize, isize) {
    let (stride, kernel, pad) = (conv.stride[axis], conv.kernel[axis], conv.pad[axis]);
    let tap = (first + pad) % stride;
    let taps = kernel.saturating_sub(tap).div_ceil(stride);
    (tap, taps, ((first + pad - tap) / stride) as isize - taps as isize + 1)
}

impl PackedInputGradient {
    /// Packs `weights` `[out, in, kh, kw]`, each output channel times its `scale`, of the convolution `conv`.
    ///
    /// # Panics
    /// Where they have other sizes.
    pub fn new(isa: Isa, conv: Conv, weights: &[f32], scale: Option<&[f32]>) -> Self {
        let (inner, outer) = (conv.input[2], conv.output[2]);
        let (kernel, stride) = (conv.kernel, conv.stride);
        assert!(
            weights.len() == conv.patch() * outer && scale.is_none_or(|s| s.len() == outer),
            "weights of a convolution"
        );
        let count = |a: usize, first: usize| (conv.input[a] - first).div_ceil(stride[a]);
        let all = (0..stride[0].min(conv.input[0]))
            .flat_map(|y| (0..stride[1].min(conv.input[1])).map(move |x| [y, x]));
        // The border above and left, and the extent, that the patches of all phases want.
        let (mut pad, mut extent) = ([0, 0], [1, 1]);
        for first in all.clone() {
            for a in [0, 1] {
                let (_, taps, from) = axis(&conv, a, first[a]);
                if taps > 0 {
                    pad[a] = pad[a].max(-from.min(0));
                    extent[a] = extent[a].max(from + (count(a, first[a]) + taps) as isize - 1);
                }
            }
        }
        let phase = |first: [usize; 2]| {
            let [(ky, down, y), (kx, across, x)] = [0, 1].map(|a| axis(&conv, a, first[a]));
            let depth = if down * across == 0 { 0 } else { down * across * outer };
            let panels = tile::pack(isa, depth, inner, |k, i| {
                let (tap, o) = (k / outer, k % outer);
                let (ty, tx) = (down - 1 - tap / across, across - 1 - tap % across);
                let tap = (ky + stride[0] * ty) * kernel[1] + kx + stride[1] * tx;
                weights[(o * inner + i) * kernel[0] * kernel[1] + tap] * scale.map_or(1.0, |s| s[o])
            });
            let from = [y + pad[0], x + pad[1]].map(|v| v.max(0) as usize);
            Phase {
                first,
                count: [count(0, first[0]), count(1, first[1])],
                taps: [down, across],
                from,
                panels,
            }
        };
        let [height, width] = [0, 1].map(|a| (extent[a] + pad[a]) as usize);
        let (output, pad) = ([height, width, outer], pad.map(|p| p as usize));
        let border = Conv { input: conv.output, output, kernel: [1, 1], stride: [1, 1], pad };
        PackedInputGradient { conv, isa, phases: all.map(phase).collect(), border }
    }

    /// Values of scratch that [`PackedInputGradient::run`] wants.
    pub fn scratch(&self) -> usize {
        padded::scratch::<f32>(&self.border)
    }

    /// `out = ` the gradient of one image, from that of its output, `+ residual`.
    ///
    /// # Panics
    /// Where a slice has another size than the convolution says.
    pub fn run(&self, out_gradient: &[f32], residual: Option<&[f32]>, scratch: &mut [f32], out: &mut [f32]) {
        self.conv.expect_sizes(1, out, None, out_gradient);
        assert!(residual.is_none_or(|r| r.len() == out.len()), "a residual for each value");
        let rows = padded::padded(&self.border, out_gradient, 0.0, scratch);
        if self.phases.iter().any(|phase| phase.taps.contains(&0)) {
            match residual {
                None => out.fill(0.0),
                Some(residual) => out.copy_from_slice(residual),
            }
        }
        simd::run(self.isa, Pass { packed: self, rows, residual, out });
    }
}

struct Pass<'a> {
    packed: &'a PackedInputGradient,
    rows: Rows<'a>,
    residual: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Kernel for Pass<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let conv = &self.packed.conv;
        let ([in_h, in_w, inner], outer) = (conv.input, conv.output[2]);
        // All pixels of a pointwise convolution are one long row.
        let one_row = conv.kernel == [1, 1]
            && conv.stride == [1, 1]
            && conv.pad == [0, 0]
            && conv.output[..2] == [in_h, in_w];
        for phase in self.packed.phases.iter().filter(|phase| !phase.taps.contains(&0)) {
            let [height, width] = if one_row { [1, in_h * in_w] } else { phase.count };
            let [runs, across] = phase.taps;
            let run = across * outer;
            let from = phase.from[0] * self.rows.stride + phase.from[1] * outer;
            let last = from + (height - 1 + runs - 1) * self.rows.stride + (width - 1) * outer + run;
            assert!(last <= self.rows.data.len(), "the patches lie inside the gradient");
            for first in (0..inner.div_ceil(S::LANES)).step_by(2) {
                for y in 0..height {
                    let at = ((phase.first[0] + y * conv.stride[0]) * in_w + phase.first[1]) * inner;
                    let lefts = Lefts {
                        first: self.rows.data[from + y * self.rows.stride..].as_ptr(),
                        count: width,
                        step: outer,
                        runs,
                        run,
                        next_run: self.rows.stride,
                    };
                    let to = Target {
                        of_rows: None,
                        multiplier: None,
                        bias: None,
                        residual: self.residual.map(|r| r[at..].as_ptr()),
                        factor: 1.0,
                        low: f32::NEG_INFINITY,
                        high: f32::INFINITY,
                        out: self.out[at..].as_mut_ptr(),
                        stride: conv.stride[1] * inner,
                        columns: inner,
                    };
                    // SAFETY: the patches were asserted to lie inside; the panels hold all channels; a row of the
                    // phase has `width` pixels of the input, of which the last begins inside its row.
                    unsafe { tile::multiply(simd, lefts, phase.panels.as_ptr(), first, to, Ahead::NONE) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw, odd_sizes};
    use crate::reference;
    use headstart_tensor::Rng;

    #[test]
    fn every_isa_agrees_with_the_plain_loops() {
        let mut rng = Rng::new(15);
        for isa in Isa::available() {
            for conv in odd_sizes(&[(1, 1), (3, 5), (17, 16), (40, 6)]) {
                let what = format!("{isa} {conv:?}");
                let (inner, outer) = (conv.input[2], conv.output[2]);
                let taps = conv.kernel[0] * conv.kernel[1];
                let weights = draw(&mut rng, conv.patch() * outer);
                let scale = draw(&mut rng, outer);
                let mut plain = vec![0.0; weights.len()];
                for (at, w) in weights.iter().enumerate() {
                    let (o, i, t) = (at / taps / inner, at / taps % inner, at % taps);
                    plain[(t * inner + i) * outer + o] = w * scale[o];
                }
                let gradient = draw(&mut rng, conv.pixels() * outer);
                let rest = draw(&mut rng, conv.input.iter().product());
                let packed = PackedInputGradient::new(isa, conv, &weights, Some(&scale));
                let mut scratch = vec![f32::NAN; packed.scratch()];
                let mut expected = reference::conv2d_input_gradient(&conv, &plain, &gradient);
                let mut out = vec![f32::NAN; expected.len()];
                packed.run(&gradient, None, &mut scratch, &mut out);
                close(&out, &expected, &what);
                expected.iter_mut().zip(&rest).for_each(|(e, r)| *e += r);
                packed.run(&gradient, Some(&rest), &mut scratch, &mut out);
                close(&out, &expected, &what);
            }
        }
    }
}
