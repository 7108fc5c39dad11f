//! The products of a convolution with packed weights, by the matrix unit or by the register tile.
#![allow(unsafe_code)]

use super::{BLOCK, LARGE, PackedConv};
use crate::Activation;
use crate::amx::{self, Lines};
use crate::element::Element;
use crate::padded::Rows;
use crate::simd::{Dot, Kernel, Simd};
use crate::tile::{self, Ahead, Lefts, OfRows, Target};

/// A part of the output: `height` rows of `width` pixels whose patches begin with the first of `rows`.
pub(super) struct Pass<'a, I, O> {
    pub(super) packed: &'a PackedConv<I, O>,
    pub(super) rows: Rows<'a, I>,
    /// Images, and elements from the rows of one to those of the next: several where the matrix unit multiplies.
    pub(super) images: (usize, usize),
    pub(super) height: usize,
    pub(super) width: usize,
    /// Of bytes with scales by row: [`OfRows`] of the output's pixels.
    pub(super) of_rows: Option<(&'a [[f32; 2]], &'a [f32])>,
    pub(super) residual: Option<&'a [O]>,
    pub(super) activation: Option<Activation>,
    pub(super) out: &'a mut [O],
}

impl<I: Element, O: Element> Kernel for Pass<'_, I, O> {
    const DOT: Dot = I::DOT;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let conv = &self.packed.conv;
        let channels = conv.input[2];
        let (height, width) = (self.height, self.width);
        let step = conv.stride[1].saturating_mul(channels);
        let (runs, run) = (conv.kernel[0], (conv.kernel[1] * channels).div_ceil(I::IN_WORD));
        let down = conv.stride[0].saturating_mul(self.rows.stride);
        let reach = (runs - 1).saturating_mul(self.rows.stride).saturating_add(run * I::IN_WORD);
        let last = (height.max(1) - 1)
            .saturating_mul(down)
            .saturating_add((width.max(1) - 1).saturating_mul(step))
            .saturating_add((self.images.0.max(1) - 1).saturating_mul(self.images.1))
            .saturating_add(reach);
        assert!(
            self.images.0 * height * width == 0 || last <= self.rows.data.len(),
            "the patches lie inside the image"
        );
        let epilogue = &self.packed.epilogue;
        if let Some((scales, bias)) = self.of_rows {
            assert!(scales.len() == height * width && bias.len() == epilogue.bias.len(), "a scale a row");
        }
        let (low, high) = epilogue.range(self.activation);
        let panels = self.packed.panels.as_ptr();
        // Rows of the output from `y` on, and pixels of a row from `x` on.
        let lefts = |y: usize, x: usize, count: usize| Lefts {
            first: self.rows.data[y * down + x * step..].as_ptr(),
            count,
            step,
            runs,
            run,
            next_run: self.rows.stride,
        };
        let target = |place: usize, out: &mut [O]| {
            let at = place * conv.output[2];
            Target {
                multiplier: epilogue.multiplier.as_ref().map(|m| m.as_ptr()),
                bias: Some(epilogue.bias.as_ptr()),
                of_rows: self
                    .of_rows
                    .map(|(scales, bias)| OfRows { scales: scales[place..].as_ptr(), bias: bias.as_ptr() }),
                residual: self.residual.map(|r| r[at..].as_ptr()),
                factor: epilogue.factor,
                low,
                high,
                out: out[at..].as_mut_ptr(),
                stride: conv.output[2],
                columns: conv.output[2],
            }
        };
        if self.images.0 * height * width == 0 {
            return;
        }
        // SAFETY of both: the patches were asserted to lie inside the images; panels and bias were packed for all channels; a row of
        // the output, and of the residual, has `width` pixels, an image `height` rows.
        if let Some(unit) = self.packed.unit {
            // A block of one long row stays in the second-level cache while all panels pass.
            let block = match (self.images.0, height) {
                (1, 1) => (BLOCK / (4 * run)).max(1).next_multiple_of(32),
                _ => width,
            };
            let dense = conv.stride == [1, 1];
            for x in (0..width).step_by(block) {
                let line = lefts(0, x, block.min(width - x));
                let lines = Lines::new(line, height, down, dense, self.images);
                // SAFETY: see above.
                unsafe { amx::multiply(simd, unit, lines, panels, target(x, self.out)) };
            }
            return;
        }
        let vectors = epilogue.bias.len() / S::LANES;
        for first in (0..vectors).step_by(2) {
            // The next panel where it has to come from afar, a part of it for every row.
            let next = panels.wrapping_add((first + 2) * S::LANES * runs * run);
            let words = vectors.saturating_sub(first + 2).min(2) * S::LANES * runs * run;
            let lines = if self.packed.bytes() >= LARGE { words / 16 } else { 0 };
            for y in 0..height {
                let (from, until) = (lines * y / height, lines * (y + 1) / height);
                let ahead = Ahead { from: next.wrapping_add(16 * from), lines: until - from };
                let to = target(y * width, self.out);
                // SAFETY: see above.
                unsafe { tile::multiply(simd, lefts(y, 0, width), panels, first, to, ahead) };
            }
        }
    }
}
