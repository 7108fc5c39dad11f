//! The sizes of a convolution of one NHWC image.

/// Sizes of a convolution (dense or depthwise) of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Height, width, channels of the input.
    pub input: [usize; 3],
    /// Height, width, channels of the output.
    pub output: [usize; 3],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step between patches, down and across.
    pub stride: [usize; 2],
    /// Rows of zeros above and columns of zeros left of the image. Below and to the right as many as the
    /// output needs.
    pub pad: [usize; 2],
}

impl Conv {
    /// The pointwise convolution that a matrix product of `rows` rows is.
    pub fn linear(rows: usize, inner: usize, outer: usize) -> Conv {
        let (kernel, stride, pad) = ([1, 1], [1, 1], [0, 0]);
        Conv { input: [1, rows, inner], output: [1, rows, outer], kernel, stride, pad }
    }

    /// Number of values in a patch.
    pub fn patch(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.input[2]
    }

    /// Number of patches, which is the number of output pixels.
    pub fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Panics where the slices are not `n` images, their residuals and their outputs: the caller's shapes are wrong.
    pub(crate) fn expect_sizes<I, O>(&self, n: usize, image: &[I], residual: Option<&[O]>, out: &[O]) {
        let (inputs, outputs): (usize, usize) = (self.input.iter().product(), self.output.iter().product());
        assert_eq!(image.len(), n * inputs, "the image of a convolution");
        assert!(
            out.len() == n * outputs && residual.is_none_or(|r| r.len() == out.len()),
            "its output and residual"
        );
    }

    /// For every (output pixel, kernel tap) in order: the offset of the input pixel, or `None` in the padding.
    #[inline]
    pub(crate) fn tap(&self, y: usize, x: usize, ky: usize, kx: usize) -> Option<usize> {
        let iy = (y * self.stride[0] + ky).checked_sub(self.pad[0])?;
        let ix = (x * self.stride[1] + kx).checked_sub(self.pad[1])?;
        (iy < self.input[0] && ix < self.input[1]).then(|| (iy * self.input[1] + ix) * self.input[2])
    }

    /// The kernel rows of output row `y` that lie inside the image.
    #[inline]
    pub(crate) fn rows(&self, y: usize) -> std::ops::Range<usize> {
        self.inside(0, y)
    }

    /// The kernel columns of output column `x` that lie inside the image.
    #[inline]
    pub(crate) fn columns(&self, x: usize) -> std::ops::Range<usize> {
        self.inside(1, x)
    }

    #[inline]
    fn inside(&self, axis: usize, at: usize) -> std::ops::Range<usize> {
        let from = at * self.stride[axis];
        let first = self.pad[axis].saturating_sub(from).min(self.kernel[axis]);
        let last = (self.input[axis] + self.pad[axis]).saturating_sub(from).min(self.kernel[axis]);
        first..last.max(first)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use headstart_tensor::Rng;

    /// Convolutions of odd sizes: strides that leave pixels over, kernels wider than the image, lone rows.
    pub(crate) fn odd_sizes(channels: &[(usize, usize)]) -> Vec<Conv> {
        let mut all = Vec::new();
        for &(ic, oc) in channels {
            for (size, kernel, stride, pad) in [
                ([5usize, 7], [3usize, 3], [1, 1], [1usize, 1]),
                ([5, 7], [3, 3], [2, 2], [0, 0]),
                ([6, 4], [3, 3], [2, 2], [0, 1]),
                ([1, 1], [5, 5], [1, 1], [2, 2]),
                ([9, 8], [7, 7], [2, 2], [3, 3]),
                ([4, 5], [1, 1], [1, 1], [0, 0]),
                ([4, 5], [1, 1], [2, 2], [0, 0]),
                ([3, 2], [1, 5], [1, 3], [0, 2]),
            ] {
                let out = |i: usize| (size[i] + 2 * pad[i]).saturating_sub(kernel[i]) / stride[i] + 1;
                let output = [out(0), out(1), oc];
                all.push(Conv { input: [size[0], size[1], ic], output, kernel, stride, pad });
            }
        }
        all
    }

    pub(crate) fn draw(rng: &mut Rng, n: usize) -> Vec<f32> {
        (0..n).map(|_| rng.range(-1.0, 1.0) as f32).collect()
    }

    pub(crate) fn close(found: &[f32], expected: &[f32], what: &str) {
        assert_eq!(found.len(), expected.len(), "{what}");
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() <= 1e-4 * (1.0 + e.abs()), "{what}: {f} {e}");
        }
    }
}
