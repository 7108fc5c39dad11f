//! The inverted bottleneck's first half, a pointwise convolution and a depthwise one, band by band: the expanded
//! activation, the largest of the network, never leaves the second-level cache.

use crate::element::Element;
use crate::padded::{self, Rows};
use crate::{Activation, Conv, PackedConv, PackedDepthwise, Pool};

/// Bytes of expanded rows that are kept at once, about: a part of the second-level cache.
const BAND: usize = 256 * 1024;

/// A pointwise convolution whose output only a depthwise one reads.
#[derive(Debug, Clone)]
pub struct PackedExpand<E = f32> {
    /// The expansion of one row.
    expand: PackedConv<E>,
    expanded: Option<Activation>,
    depthwise: PackedDepthwise<E>,
    conv: Conv,
    in_channels: usize,
    /// Output rows of a band.
    rows: usize,
}

impl PackedExpand {
    /// Whether the expanded image is so large that bands are the faster way.
    pub fn suits(depthwise: &Conv) -> bool {
        depthwise.input.iter().product::<usize>() > 1 << 17
    }
}

impl<E: Element> PackedExpand<E> {
    /// From the expansion of one row of the image (`[1, width, in]` to `[1, width, expanded]`), its activation, and the
    /// depthwise convolution with its sizes.
    pub fn new(expand: PackedConv<E>, expanded: Option<Activation>, depthwise: PackedDepthwise<E>) -> Self {
        let conv = *depthwise.conv();
        let row = Self::row(&conv);
        let fitting =
            (BAND / size_of::<E>() / row.max(1)).saturating_sub(conv.kernel[0]) / conv.stride[0] + 1;
        let in_channels = expand.conv().input[2];
        PackedExpand {
            expand,
            expanded,
            depthwise,
            conv,
            in_channels,
            rows: fitting.clamp(1, conv.output[0]),
        }
    }

    /// Elements of an image, and of its output.
    pub fn sizes(&self) -> (usize, usize) {
        let [height, width, _] = self.conv.input;
        (height * width * self.in_channels, self.conv.output.iter().product())
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        self.expand.bytes() + self.depthwise.bytes()
    }

    /// Values of a padded expanded row.
    fn row(conv: &Conv) -> usize {
        padded::extent(conv)[1].max(conv.pad[1] + conv.input[1]) * conv.input[2]
    }

    /// Rows of the expanded image that a band of output rows looks at.
    fn band(&self) -> usize {
        (self.rows - 1) * self.conv.stride[0] + self.conv.kernel[0]
    }

    /// Elements of scratch that [`PackedExpand::run`] wants.
    pub fn scratch(&self) -> usize {
        self.band() * Self::row(&self.conv) + self.expand.scratch()
    }

    /// `out = activation(depthwise(expand(image)) + residual)`, the rows of the output spread over `pool`; the bytes do
    /// not depend on it.
    ///
    /// # Panics
    /// Where a slice has another size than the convolutions say.
    #[cfg_attr(debug_assertions, inline(never))]
    pub fn run(
        &self,
        pool: &Pool,
        image: &[E],
        residual: Option<&[E]>,
        activation: Option<Activation>,
        scratch: &mut [E],
        out: &mut [E],
    ) {
        let [height, width, channels] = self.conv.output;
        assert_eq!(image.len(), self.conv.input[0] * self.conv.input[1] * self.in_channels, "the image");
        assert!(
            out.len() == height * width * channels && residual.is_none_or(|r| r.len() == out.len()),
            "the output"
        );
        if pool.threads() == 1 {
            return self.rows(0, image, residual, activation, scratch, out);
        }
        let share = height.div_ceil(pool.threads());
        pool.chunks_mut(out, share * width * channels, |i, out| {
            let mut band = vec![E::default(); self.scratch()];
            let residual = residual.map(|r| &r[i * share * width * channels..]);
            self.rows(i * share, image, residual, activation, &mut band, out);
        });
    }

    /// The output rows from `first` on that `out` holds.
    fn rows(
        &self,
        first: usize,
        image: &[E],
        residual: Option<&[E]>,
        activation: Option<Activation>,
        scratch: &mut [E],
        out: &mut [E],
    ) {
        let ([in_h, in_w, expanded], [top, left]) = (self.conv.input, self.conv.pad);
        let (row, rows, down) = (Self::row(&self.conv), self.band(), self.conv.stride[0]);
        let (from, to) = (left * expanded, (left + in_w) * expanded);
        let zero = self.depthwise.zero();
        let (band, scratch) = scratch.split_at_mut(rows * row);
        band.fill(zero);
        let line = self.conv.output[1] * self.conv.output[2];
        // Rows of the band that hold what the next output rows want already.
        let mut kept = 0;
        for (i, part) in out.chunks_mut(self.rows * line).enumerate() {
            let y = first + i * self.rows;
            for r in kept..rows {
                let pixels = &mut band[r * row + from..r * row + to];
                match (y * down + r).checked_sub(top).filter(|&y| y < in_h) {
                    None => pixels.fill(zero),
                    Some(y) => {
                        let source = &image[y * in_w * self.in_channels..][..in_w * self.in_channels];
                        self.expand.run(&Pool::single(), source, None, self.expanded, scratch, pixels);
                    }
                }
            }
            let residual = residual.map(|r| &r[i * self.rows * line..]);
            self.depthwise.run_rows(Rows { data: band, stride: row }, residual, activation, part);
            let used = self.rows * down;
            kept = rows.saturating_sub(used);
            band.copy_within((rows - kept) * row.., 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::{close, draw};
    use crate::element::tests as stored;
    use crate::{Isa, Scales, epilogue, reference};
    use headstart_tensor::Rng;

    #[test]
    fn bands_of_any_size_agree_with_the_plain_loops() {
        let (mut rng, pool, relu) = (Rng::new(10), Pool::new(3), Some(Activation::Relu6));
        for isa in Isa::available() {
            for (size, kernel, stride, pad, output) in [
                ([12, 9], 3, 1, [1, 1], [12, 9]),
                ([12, 9], 3, 2, [0, 1], [6, 5]),
                ([7, 16], 5, 2, [1, 2], [4, 8]),
                ([5, 5], 5, 1, [2, 2], [5, 5]),
            ] {
                let (inner, expanded) = (5, 34);
                let (kernel, stride) = ([kernel; 2], [stride; 2]);
                let conv = Conv {
                    input: [size[0], size[1], expanded],
                    output: [output[0], output[1], expanded],
                    kernel,
                    stride,
                    pad,
                };
                let point = Conv {
                    input: [1, size[1], inner],
                    output: [1, size[1], expanded],
                    kernel: [1, 1],
                    stride: [1, 1],
                    pad: [0, 0],
                };
                let image = draw(&mut rng, size[0] * size[1] * inner);
                let (w1, b1) = (draw(&mut rng, inner * expanded), draw(&mut rng, expanded));
                let taps = kernel[0] * kernel[1];
                let (w2, b2) = (draw(&mut rng, taps * expanded), draw(&mut rng, expanded));
                let rest = draw(&mut rng, output[0] * output[1] * expanded);

                let whole = Conv { input: [size[0], size[1], inner], output: conv.input, ..point };
                let mut between = reference::conv2d(&whole, &image, &w1);
                epilogue(&mut between, &b1, None, relu);
                let mut expected = reference::depthwise(&conv, &between, &w2);
                epilogue(&mut expected, &b2, Some(&rest), relu);

                let depthwise = PackedDepthwise::new(isa, conv, &w2, &b2);
                let packed = PackedExpand::new(PackedConv::new(isa, point, &w1, &b1), relu, depthwise);
                for rows in 1..=output[0] {
                    let packed = PackedExpand { rows, ..packed.clone() };
                    let mut scratch = vec![f32::NAN; packed.scratch()];
                    let mut out = vec![f32::NAN; expected.len()];
                    packed.run(&Pool::single(), &image, Some(&rest), relu, &mut scratch, &mut out);
                    close(&out, &expected, &format!("{isa} {conv:?} bands of {rows}"));
                    let mut split = vec![f32::NAN; expected.len()];
                    packed.run(&pool, &image, Some(&rest), relu, &mut scratch, &mut split);
                    assert_eq!(out, split, "the same bytes with three threads");
                }
            }
        }
    }

    #[test]
    fn bands_of_other_elements_are_the_two_convolutions_to_the_byte() {
        fn agree<E: Element>(rng: &mut Rng, isa: Isa) {
            let (inner, expanded, [height, width]) = (6, 34, [9, 7]);
            let scales = stored::scales::<E, E>();
            let between = Scales { input: scales.input, output: scales.residual, ..Scales::ONE };
            let after = Scales { input: scales.residual, ..scales };
            let whole = Conv { input: [height, width, inner], output: [height, width, expanded], ..ROW };
            let row = Conv { input: [1, width, inner], output: [1, width, expanded], ..ROW };
            let conv = Conv {
                input: [height, width, expanded],
                output: [5, 4, expanded],
                kernel: [3, 3],
                stride: [2, 2],
                pad: [1, 1],
            };
            let (image, _) = stored::draw::<E>(rng, height * width * inner, scales.input);
            let (w1, b1) = (draw(rng, inner * expanded), draw(rng, expanded));
            let (w2, b2) = (draw(rng, 9 * expanded), draw(rng, expanded));
            let relu = Some(Activation::Relu6);
            let bits = |values: &[E]| bytemuck::cast_slice::<E, u8>(values).to_vec();

            let point = PackedConv::<E>::stored(isa, whole, &w1, &b1, &between);
            let mut expanded_image = vec![E::default(); height * width * expanded];
            let mut scratch = vec![E::from_f32(77.0); point.scratch()];
            point.run(&Pool::single(), &image, None, relu, &mut scratch, &mut expanded_image);
            let depthwise = PackedDepthwise::<E>::stored(isa, conv, &w2, &b2, &after);
            let mut expected = vec![E::default(); 5 * 4 * expanded];
            let mut scratch = vec![E::from_f32(77.0); depthwise.scratch()];
            depthwise.run(&Pool::single(), &expanded_image, None, relu, &mut scratch, &mut expected);

            let point = PackedConv::<E>::stored(isa, row, &w1, &b1, &between);
            let packed = PackedExpand::new(point, relu, depthwise);
            for rows in 1..=5 {
                let packed = PackedExpand { rows, ..packed.clone() };
                for threads in [1, 3] {
                    let mut scratch = vec![E::from_f32(77.0); packed.scratch()];
                    let mut out = vec![E::from_f32(77.0); expected.len()];
                    packed.run(&Pool::new(threads), &image, None, relu, &mut scratch, &mut out);
                    assert_eq!(bits(&out), bits(&expected), "{isa} {} bands of {rows}", E::NAME);
                }
            }
        }
        const ROW: Conv = Conv { input: [0; 3], output: [0; 3], kernel: [1, 1], stride: [1, 1], pad: [0, 0] };
        let mut rng = Rng::new(11);
        for isa in Isa::available() {
            agree::<f32>(&mut rng, isa);
            agree::<crate::bf16>(&mut rng, isa);
            agree::<u8>(&mut rng, isa);
        }
    }
}
