//! A convolution and the max pooling behind it, as networks begin, band by band: the convolution's output, the largest
//! activation of the network, never leaves the second-level cache.

use crate::element::Element;
use crate::padded::{self, Rows};
use crate::pool::{MaxPool, max_pool};
use crate::{Activation, Conv, PackedConv, Pool};

/// Bytes of convolved rows that are kept at once, about: a part of the second-level cache.
const BAND: usize = 256 * 1024;

/// A convolution whose output only a max pooling reads.
#[derive(Debug, Clone)]
pub struct PackedPooled<I = f32, O = I> {
    conv: PackedConv<I, O>,
    pool: MaxPool,
    /// Output rows of a band.
    rows: usize,
}

impl PackedPooled {
    /// Whether the convolution's output is so large that bands are the faster way. Those that Winograd's kernels compute
    /// are better done whole.
    pub fn suits(conv: &Conv) -> bool {
        let winograd = conv.kernel == [3, 3] && conv.stride == [1, 1];
        !winograd && conv.output.iter().product::<usize>() > 1 << 17
    }
}

impl<I: Element, O: Element> PackedPooled<I, O> {
    /// From the convolution and the sizes of the pooling of its output.
    ///
    /// # Panics
    /// Where the pooling's input is not the convolution's output.
    pub fn new(conv: PackedConv<I, O>, pool: MaxPool) -> Self {
        assert_eq!(pool.input, conv.conv().output, "what is pooled is the convolution's output");
        let row = pool.input[1] * pool.input[2] * size_of::<O>();
        let fitting = (BAND / row.max(1)).saturating_sub(pool.kernel[0]) / pool.stride[0] + 1;
        PackedPooled { conv, pool, rows: fitting.clamp(1, pool.output[0].max(1)) }
    }

    /// Elements of an image, and of its output.
    pub fn sizes(&self) -> (usize, usize) {
        (self.conv.conv().input.iter().product(), self.pool.output.iter().product())
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        self.conv.bytes()
    }

    /// Elements of scratch and of band that [`PackedPooled::run`] wants.
    pub fn scratch(&self) -> (usize, usize) {
        (self.conv.scratch(), self.band() * self.row())
    }

    /// Values of a row of the convolution's output.
    fn row(&self) -> usize {
        self.pool.input[1] * self.pool.input[2]
    }

    /// Rows of the convolution's output that a band of output rows looks at.
    fn band(&self) -> usize {
        (self.rows - 1) * self.pool.stride[0] + self.pool.kernel[0]
    }

    /// `out = max_pool(activation(image * weights + bias))`, the rows of the output spread over `pool`; the bytes do not
    /// depend on it.
    ///
    /// # Panics
    /// Where a slice has another size than convolution and pooling say.
    #[cfg_attr(debug_assertions, inline(never))]
    pub fn run(
        &self,
        pool: &Pool,
        image: &[I],
        activation: Option<Activation>,
        (scratch, band): (&mut [I], &mut [O]),
        out: &mut [O],
    ) {
        let [height, width, channels] = self.pool.output;
        assert_eq!((image.len(), out.len()), self.sizes(), "the image and the output");
        let rows = padded::padded(self.conv.conv(), image, self.conv.zero(), scratch);
        if pool.threads() == 1 {
            return self.rows(0, rows, activation, band, out);
        }
        let share = height.div_ceil(pool.threads());
        pool.chunks_mut(out, share * width * channels, |i, out| {
            let mut band = vec![O::default(); self.band() * self.row()];
            self.rows(i * share, rows, activation, &mut band, out);
        });
    }

    /// The output rows from `first` on that `out` holds.
    fn rows(
        &self,
        first: usize,
        image: Rows<I>,
        activation: Option<Activation>,
        band: &mut [O],
        out: &mut [O],
    ) {
        let (row, line) = (self.row(), self.pool.output[1] * self.pool.output[2]);
        let ([height, ..], down, top) = (self.pool.input, self.pool.stride[0], self.pool.pad[0]);
        let lowest = O::from_f32(O::LIMITS.0);
        // Rows of the band that hold what the next output rows want already.
        let mut kept = 0;
        for (i, part) in out.chunks_mut((self.rows * line).max(1)).enumerate() {
            let (y, count) = ((first + i * self.rows) * down, part.len() / line);
            let rows = (count - 1) * down + self.pool.kernel[0];
            // Those of `kept..rows` that lie inside the image.
            let from = top.saturating_sub(y).clamp(kept.min(rows), rows);
            let to = (height + top).saturating_sub(y).clamp(from, rows);
            band[kept.min(rows) * row..from * row].fill(lowest);
            band[to * row..rows * row].fill(lowest);
            if from < to {
                let image = image.at_output_row(self.conv.conv(), y + from - top);
                self.conv.run_rows(image, activation, &mut band[from * row..to * row]);
            }
            let sizes = MaxPool {
                input: [rows, self.pool.input[1], self.pool.input[2]],
                output: [count, self.pool.output[1], self.pool.output[2]],
                pad: [0, self.pool.pad[1]],
                ..self.pool
            };
            max_pool(self.conv.isa(), &sizes, &band[..rows * row], part);
            let used = count * down;
            kept = rows.saturating_sub(used);
            if kept > 0 {
                band.copy_within(used * row..rows * row, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::tests::draw;
    use crate::element::tests as stored;
    use crate::{Isa, bf16};
    use headstart_tensor::Rng;

    #[test]
    fn bands_of_any_size_are_the_convolution_and_the_pooling_to_the_byte() {
        fn agree<I: Element, O: Element>(rng: &mut Rng, isa: Isa, conv: Conv, pool: MaxPool) {
            let scales = stored::scales::<I, O>();
            let (image, _) = stored::draw::<I>(rng, conv.input.iter().product(), scales.input);
            let weights = draw(rng, conv.patch() * conv.output[2]);
            let bias = draw(rng, conv.output[2]);
            let relu = Some(Activation::Relu);
            let bits = |values: &[O]| bytemuck::cast_slice::<O, u8>(values).to_vec();
            let packed = PackedConv::<I, O>::stored(isa, conv, &weights, &bias, &scales);
            let mut scratch = vec![I::from_f32(77.0); packed.scratch()];
            let mut between = vec![O::from_f32(77.0); conv.pixels() * conv.output[2]];
            packed.run(&Pool::single(), &image, None, relu, &mut scratch, &mut between);
            let mut expected = vec![O::from_f32(77.0); pool.output.iter().product()];
            max_pool(isa, &pool, &between, &mut expected);
            for rows in 1..=pool.output[0] {
                let pooled = PackedPooled { rows, ..PackedPooled::new(packed.clone(), pool) };
                for threads in [1, 3] {
                    let (scratch, band) = pooled.scratch();
                    let (mut scratch, mut band) =
                        (vec![I::from_f32(77.0); scratch], vec![O::from_f32(77.0); band]);
                    let mut out = vec![O::from_f32(77.0); expected.len()];
                    let room = (&mut scratch[..], &mut band[..]);
                    pooled.run(&Pool::new(threads), &image, relu, room, &mut out);
                    assert_eq!(bits(&out), bits(&expected), "{isa} {conv:?} {pool:?} bands of {rows}");
                }
            }
        }
        let mut rng = Rng::new(12);
        let conv =
            Conv { input: [13, 11, 3], output: [7, 6, 18], kernel: [7, 7], stride: [2, 2], pad: [3, 3] };
        for isa in Isa::available() {
            for (kernel, stride, pad, output) in [
                ([3, 3], [2, 2], [1, 1], [4, 3]),
                ([2, 2], [2, 2], [0, 0], [3, 3]),
                ([3, 3], [1, 1], [1, 1], [7, 6]),
                ([2, 3], [3, 1], [0, 2], [2, 8]),
                ([1, 1], [1, 1], [1, 0], [9, 6]),
            ] {
                let pool =
                    MaxPool { input: conv.output, output: [output[0], output[1], 18], kernel, stride, pad };
                agree::<f32, f32>(&mut rng, isa, conv, pool);
                agree::<bf16, bf16>(&mut rng, isa, conv, pool);
                agree::<bf16, u8>(&mut rng, isa, conv, pool);
                agree::<u8, u8>(&mut rng, isa, conv, pool);
            }
        }
    }
}
