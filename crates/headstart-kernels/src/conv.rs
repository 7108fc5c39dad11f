//! Dense convolution of one NHWC image, by a matrix of patches and a matrix product.
//!
//! Weights are `[kernel_h * kernel_w * in_channels, out_channels]`, so that the product of the patches
//! `[out_h * out_w, kernel_h * kernel_w * in_channels]` with them is the output `[out_h, out_w, out_channels]`.

use crate::{Isa, Mat, matmul};

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

    /// Values in the matrix of patches; 0 where the image is that matrix already.
    pub fn scratch(&self) -> usize {
        if self.is_pointwise() { 0 } else { self.pixels() * self.patch() }
    }

    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1]
            && self.stride == [1, 1]
            && self.pad == [0, 0]
            && self.input[..2] == self.output[..2]
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

    fn each_row(&self, mut f: impl FnMut(usize, Option<usize>, std::ops::Range<usize>)) {
        let row = self.kernel[1] * self.input[2];
        let mut at = 0;
        for y in 0..self.output[0] {
            for x in 0..self.output[1] {
                let columns = self.columns(x);
                for ky in 0..self.kernel[0] {
                    let from = if columns.is_empty() { None } else { self.tap(y, x, ky, columns.start) };
                    f(at, from, columns.clone());
                    at += row;
                }
            }
        }
    }
}

/// Writes the matrix of patches `[out_h * out_w, kernel_h * kernel_w * in_channels]`, zeros for the padding.
pub fn im2col(conv: &Conv, image: &[f32], patches: &mut [f32]) {
    let (row, channels) = (conv.kernel[1] * conv.input[2], conv.input[2]);
    conv.each_row(|at, from, columns| {
        let out = &mut patches[at..at + row];
        match from {
            None => out.fill(0.0),
            Some(from) => {
                let (first, last) = (columns.start * channels, columns.end * channels);
                out[..first].fill(0.0);
                out[first..last].copy_from_slice(&image[from..from + last - first]);
                out[last..].fill(0.0);
            }
        }
    });
}

/// Adds every patch back to where [`im2col`] took it: its adjoint. `image` is added to.
pub fn col2im(conv: &Conv, patches: &[f32], image: &mut [f32]) {
    let channels = conv.input[2];
    conv.each_row(|at, from, columns| {
        if let Some(from) = from {
            let (first, last) = (columns.start * channels, columns.end * channels);
            for (i, &v) in image[from..from + last - first].iter_mut().zip(&patches[at + first..at + last]) {
                *i += v;
            }
        }
    });
}

/// `out = image * weights` for one image. `scratch` holds [`Conv::scratch`] values or more.
pub fn conv2d(isa: Isa, conv: &Conv, image: &[f32], weights: &[f32], scratch: &mut [f32], out: &mut [f32]) {
    let patches = patches_of(conv, image, scratch);
    let a = Mat::new(patches, conv.pixels(), conv.patch());
    matmul(isa, a, Mat::new(weights, conv.patch(), conv.output[2]), out, false);
}

/// `gradient += patches^T out_gradient`: the gradient of the weights, in their layout, over one more image.
pub fn conv2d_weight_gradient(
    isa: Isa,
    conv: &Conv,
    image: &[f32],
    out_gradient: &[f32],
    scratch: &mut [f32],
    gradient: &mut [f32],
) {
    let patches = patches_of(conv, image, scratch);
    let a = Mat::new(patches, conv.pixels(), conv.patch());
    matmul(isa, a.t(), Mat::new(out_gradient, conv.pixels(), conv.output[2]), gradient, true);
}

/// `gradient = col2im(out_gradient weights^T)`: the gradient of one image.
pub fn conv2d_input_gradient(
    isa: Isa,
    conv: &Conv,
    weights: &[f32],
    out_gradient: &[f32],
    scratch: &mut [f32],
    gradient: &mut [f32],
) {
    let a = Mat::new(out_gradient, conv.pixels(), conv.output[2]);
    let b = Mat::new(weights, conv.patch(), conv.output[2]).t();
    if conv.is_pointwise() {
        matmul(isa, a, b, gradient, false);
    } else {
        let patches = &mut scratch[..conv.scratch()];
        matmul(isa, a, b, patches, false);
        gradient.fill(0.0);
        col2im(conv, patches, gradient);
    }
}

fn patches_of<'a>(conv: &Conv, image: &'a [f32], scratch: &'a mut [f32]) -> &'a [f32] {
    if conv.is_pointwise() {
        return image;
    }
    let patches = &mut scratch[..conv.scratch()];
    im2col(conv, image, patches);
    patches
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::reference;
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

    #[test]
    fn forward_and_both_gradients_agree_with_the_plain_loops() {
        let mut rng = Rng::new(3);
        for isa in Isa::available() {
            for conv in odd_sizes(&[(1, 1), (3, 5), (17, 16)]) {
                let what = format!("{isa} {conv:?}");
                let (inputs, outputs) = (conv.input.iter().product(), conv.output.iter().product());
                let image = draw(&mut rng, inputs);
                let weights = draw(&mut rng, conv.patch() * conv.output[2]);
                let gradient = draw(&mut rng, outputs);
                let mut scratch = vec![f32::NAN; conv.scratch()];

                let mut out = vec![f32::NAN; outputs];
                conv2d(isa, &conv, &image, &weights, &mut scratch, &mut out);
                close(&out, &reference::conv2d(&conv, &image, &weights), &what);

                let mut dw = vec![0.25; weights.len()];
                let mut expected = dw.clone();
                conv2d_weight_gradient(isa, &conv, &image, &gradient, &mut scratch, &mut dw);
                reference::conv2d_weight_gradient(&conv, &image, &gradient, &mut expected);
                close(&dw, &expected, &what);

                let mut dx = vec![f32::NAN; inputs];
                conv2d_input_gradient(isa, &conv, &weights, &gradient, &mut scratch, &mut dx);
                close(&dx, &reference::conv2d_input_gradient(&conv, &weights, &gradient), &what);
            }
        }
    }
}
