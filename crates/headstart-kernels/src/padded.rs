//! An image with its border of zeros written out, so that kernels need not look where it ends.

use crate::Conv;

/// Where a kernel finds its patches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// The image, or its padded copy.
    pub(crate) data: &'a [f32],
    /// Values from a row of pixels to the next.
    pub(crate) stride: usize,
}

impl<'a> Rows<'a> {
    /// The rows that output rows from `y` on look at.
    pub(crate) fn at_output_row(self, conv: &Conv, y: usize) -> Rows<'a> {
        Rows { data: &self.data[y * conv.stride[0] * self.stride..], stride: self.stride }
    }
}

/// Height and width of the padded image: what the outputs' patches reach.
pub(crate) fn extent(conv: &Conv) -> [usize; 2] {
    [0, 1].map(|axis| (conv.output[axis].max(1) - 1) * conv.stride[axis] + conv.kernel[axis])
}

/// Values of the padded copy; 0 where the image does without.
pub(crate) fn scratch(conv: &Conv) -> usize {
    let [h, w] = extent(conv);
    let inside = conv.pad == [0, 0] && h <= conv.input[0] && w <= conv.input[1];
    if inside { 0 } else { h * w * conv.input[2] }
}

/// The image as the kernels want it; `buffer` holds [`scratch`] values or more.
pub(crate) fn padded<'a>(conv: &Conv, image: &'a [f32], buffer: &'a mut [f32]) -> Rows<'a> {
    let [in_h, in_w, channels] = conv.input;
    if scratch(conv) == 0 {
        return Rows { data: image, stride: in_w * channels };
    }
    let [h, w] = extent(conv);
    let [top, left] = conv.pad;
    let stride = w * channels;
    let left = left.min(w);
    let columns = in_w.min(w - left);
    let buffer = &mut buffer[..h * stride];
    for (y, row) in buffer.chunks_exact_mut(stride).enumerate() {
        match y.checked_sub(top).filter(|&y| y < in_h) {
            None => row.fill(0.0),
            Some(y) => {
                let (before, rest) = row.split_at_mut(left * channels);
                let (pixels, after) = rest.split_at_mut(columns * channels);
                before.fill(0.0);
                pixels.copy_from_slice(&image[y * in_w * channels..][..columns * channels]);
                after.fill(0.0);
            }
        }
    }
    Rows { data: buffer, stride }
}
