//! Depthwise convolution of one NHWC image: every channel has a kernel of its own.
//!
//! Weights are `[kernel_h * kernel_w, channels]`: the inner loop runs over channels and vectorises.

use crate::Conv;

/// `out[y, x, c] = sum over taps of image[.., c] * weights[tap, c]`.
pub fn depthwise(conv: &Conv, image: &[f32], weights: &[f32], out: &mut [f32]) {
    let channels = conv.input[2];
    each_tap(conv, |at, taps| {
        let out = &mut out[at..at + channels];
        out.fill(0.0);
        for (tap, from) in taps {
            let pixel = &image[from..from + channels];
            let weights = &weights[tap * channels..(tap + 1) * channels];
            for ((o, &p), &w) in out.iter_mut().zip(pixel).zip(weights) {
                *o += p * w;
            }
        }
    });
}

/// `gradient += ..`: the gradient of the weights, in their layout, over one more image.
pub fn depthwise_weight_gradient(conv: &Conv, image: &[f32], out_gradient: &[f32], gradient: &mut [f32]) {
    let channels = conv.input[2];
    each_tap(conv, |at, taps| {
        let out = &out_gradient[at..at + channels];
        for (tap, from) in taps {
            let pixel = &image[from..from + channels];
            let gradient = &mut gradient[tap * channels..(tap + 1) * channels];
            for ((g, &p), &o) in gradient.iter_mut().zip(pixel).zip(out) {
                *g += p * o;
            }
        }
    });
}

/// The gradient of one image.
pub fn depthwise_input_gradient(conv: &Conv, weights: &[f32], out_gradient: &[f32], gradient: &mut [f32]) {
    let channels = conv.input[2];
    gradient.fill(0.0);
    each_tap(conv, |at, taps| {
        let out = &out_gradient[at..at + channels];
        for (tap, from) in taps {
            let pixel = &mut gradient[from..from + channels];
            let weights = &weights[tap * channels..(tap + 1) * channels];
            for ((p, &w), &o) in pixel.iter_mut().zip(weights).zip(out) {
                *p += w * o;
            }
        }
    });
}

/// For every output pixel: its offset, and the (tap, input offset) pairs inside the image.
fn each_tap(conv: &Conv, mut f: impl FnMut(usize, &mut dyn Iterator<Item = (usize, usize)>)) {
    for y in 0..conv.output[0] {
        for x in 0..conv.output[1] {
            let taps = (0..conv.kernel[0]).flat_map(|ky| {
                conv.columns(x)
                    .filter_map(move |kx| Some((ky * conv.kernel[1] + kx, conv.tap(y, x, ky, kx)?)))
            });
            f((y * conv.output[1] + x) * conv.output[2], &mut { taps });
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
    fn forward_and_both_gradients_agree_with_the_plain_loops() {
        let mut rng = Rng::new(4);
        for conv in odd_sizes(&[(1, 1), (5, 5), (33, 33)]) {
            let what = format!("{conv:?}");
            let (inputs, outputs) = (conv.input.iter().product(), conv.output.iter().product());
            let image = draw(&mut rng, inputs);
            let weights = draw(&mut rng, conv.kernel[0] * conv.kernel[1] * conv.input[2]);
            let gradient = draw(&mut rng, outputs);

            let mut out = vec![f32::NAN; outputs];
            depthwise(&conv, &image, &weights, &mut out);
            close(&out, &reference::depthwise(&conv, &image, &weights), &what);

            let mut dw = vec![0.25; weights.len()];
            let mut expected = dw.clone();
            depthwise_weight_gradient(&conv, &image, &gradient, &mut dw);
            reference::depthwise_weight_gradient(&conv, &image, &gradient, &mut expected);
            close(&dw, &expected, &what);

            let mut dx = vec![f32::NAN; inputs];
            depthwise_input_gradient(&conv, &weights, &gradient, &mut dx);
            close(&dx, &reference::depthwise_input_gradient(&conv, &weights, &gradient), &what);
        }
    }
}
