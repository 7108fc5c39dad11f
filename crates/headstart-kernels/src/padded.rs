//! An image with its border of zeros written out, so that kernels need not look where it ends.

use crate::Conv;
use crate::element::Element;

/// Where a kernel finds its patches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a, E = f32> {
    /// The image, or its padded copy.
    pub(crate) data: &'a [E],
    /// Values from a row of pixels to the next.
    pub(crate) stride: usize,
}

impl<'a, E> Rows<'a, E> {
    /// The rows that output rows from `y` on look at.
    pub(crate) fn at_output_row(self, conv: &Conv, y: usize) -> Rows<'a, E> {
        Rows { data: &self.data[y * conv.stride[0] * self.stride..], stride: self.stride }
    }
}

/// Height and width of the padded image: what the outputs' patches reach.
pub(crate) fn extent(conv: &Conv) -> [usize; 2] {
    [0, 1].map(|axis| {
        (conv.output[axis].max(1) - 1).saturating_mul(conv.stride[axis]).saturating_add(conv.kernel[axis])
    })
}

/// Elements of the padded copy; 0 where the image does without. With words of `E` that reach over the end of a patch,
/// the copy ends in a word of zeros.
pub(crate) fn scratch<E: Element>(conv: &Conv) -> usize {
    let [h, w] = extent(conv);
    let whole_words = (conv.kernel[1] * conv.input[2]).is_multiple_of(E::IN_WORD);
    let inside = conv.pad == [0, 0] && h <= conv.input[0] && w <= conv.input[1];
    if inside && whole_words { 0 } else { h * w * conv.input[2] + E::IN_WORD - 1 }
}

/// Elements of the padded copies of `n` images, each from a cache line on where the first is.
pub(crate) fn scratch_of<E: Element>(conv: &Conv, n: usize) -> usize {
    n * scratch::<E>(conv).next_multiple_of(64 / size_of::<E>())
}

/// As [`padded`], for images one after the other; and the elements from one to the next. `buffer` holds [`scratch_of`] elements or more.
pub(crate) fn padded_all<'a, E: Element>(
    conv: &Conv,
    images: &'a [E],
    zero: E,
    buffer: &'a mut [E],
) -> (Rows<'a, E>, usize) {
    let (one, copy) = (conv.input.iter().product::<usize>(), scratch_of::<E>(conv, 1));
    if copy == 0 {
        return (padded(conv, images, zero, buffer), one);
    }
    let mut stride = 0;
    for (image, copy) in images.chunks_exact(one).zip(buffer.chunks_exact_mut(copy)) {
        stride = padded(conv, image, zero, copy).stride;
    }
    (Rows { data: buffer, stride }, copy)
}

/// The image as the kernels want it, what stands for 0 around it; `buffer` holds [`scratch`] elements or more.
pub(crate) fn padded<'a, E: Element>(
    conv: &Conv,
    image: &'a [E],
    zero: E,
    buffer: &'a mut [E],
) -> Rows<'a, E> {
    let [in_h, in_w, channels] = conv.input;
    let room = scratch::<E>(conv);
    if room == 0 {
        return Rows { data: image, stride: in_w * channels };
    }
    let [h, w] = extent(conv);
    let [top, left] = conv.pad;
    let stride = w * channels;
    let left = left.min(w);
    let columns = in_w.min(w - left);
    let buffer = &mut buffer[..room];
    let (rows, beyond) = buffer.split_at_mut(h * stride);
    beyond.fill(E::default());
    for (y, row) in rows.chunks_exact_mut(stride).enumerate() {
        match y.checked_sub(top).filter(|&y| y < in_h) {
            None => row.fill(zero),
            Some(y) => {
                let (before, rest) = row.split_at_mut(left * channels);
                let (pixels, after) = rest.split_at_mut(columns * channels);
                before.fill(zero);
                pixels.copy_from_slice(&image[y * in_w * channels..][..columns * channels]);
                after.fill(zero);
            }
        }
    }
    Rows { data: buffer, stride }
}
