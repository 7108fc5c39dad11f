//! Every kernel again as plain loops in f64: slow, obvious, and what the others are tested against.

use crate::Conv;

/// `out = a b`, or `out += a b`; `m`, `k`, `n` are the extents.
pub fn matmul(
    (m, k, n): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
    out: &mut [f32],
    accumulate: bool,
) {
    for r in 0..m {
        for c in 0..n {
            let before = if accumulate { f64::from(out[r * n + c]) } else { 0.0 };
            let sum: f64 = (0..k).map(|i| f64::from(a(r, i)) * f64::from(b(i, c))).sum();
            out[r * n + c] = (before + sum) as f32;
        }
    }
}

/// Every (output pixel, tap, input pixel) of a convolution, with the padding left out.
fn taps(conv: &Conv) -> Vec<(usize, usize, usize)> {
    let mut all = Vec::new();
    for y in 0..conv.output[0] {
        for x in 0..conv.output[1] {
            for ky in 0..conv.kernel[0] {
                for kx in 0..conv.kernel[1] {
                    let iy = (y * conv.stride[0] + ky) as isize - conv.pad[0] as isize;
                    let ix = (x * conv.stride[1] + kx) as isize - conv.pad[1] as isize;
                    let inside = (0..conv.input[0] as isize).contains(&iy)
                        && (0..conv.input[1] as isize).contains(&ix);
                    if inside {
                        let from = iy as usize * conv.input[1] + ix as usize;
                        all.push((y * conv.output[1] + x, ky * conv.kernel[1] + kx, from));
                    }
                }
            }
        }
    }
    all
}

fn rounded(sums: Vec<f64>) -> Vec<f32> {
    sums.into_iter().map(|v| v as f32).collect()
}

/// Dense convolution.
pub fn conv2d(conv: &Conv, image: &[f32], weights: &[f32]) -> Vec<f32> {
    let [_, _, ic] = conv.input;
    let oc = conv.output[2];
    let mut out = vec![0.0f64; conv.pixels() * oc];
    for (pixel, tap, from) in taps(conv) {
        for i in 0..ic {
            for o in 0..oc {
                out[pixel * oc + o] +=
                    f64::from(image[from * ic + i]) * f64::from(weights[(tap * ic + i) * oc + o]);
            }
        }
    }
    rounded(out)
}

/// `gradient +=` the gradient of a dense convolution's weights.
pub fn conv2d_weight_gradient(conv: &Conv, image: &[f32], out_gradient: &[f32], gradient: &mut [f32]) {
    let (ic, oc) = (conv.input[2], conv.output[2]);
    let mut sums: Vec<f64> = gradient.iter().map(|&g| f64::from(g)).collect();
    for (pixel, tap, from) in taps(conv) {
        for i in 0..ic {
            for o in 0..oc {
                sums[(tap * ic + i) * oc + o] +=
                    f64::from(image[from * ic + i]) * f64::from(out_gradient[pixel * oc + o]);
            }
        }
    }
    gradient.copy_from_slice(&rounded(sums));
}

/// The gradient of a dense convolution's input.
pub fn conv2d_input_gradient(conv: &Conv, weights: &[f32], out_gradient: &[f32]) -> Vec<f32> {
    let (ic, oc) = (conv.input[2], conv.output[2]);
    let mut out = vec![0.0f64; conv.input.iter().product()];
    for (pixel, tap, from) in taps(conv) {
        for i in 0..ic {
            for o in 0..oc {
                out[from * ic + i] +=
                    f64::from(weights[(tap * ic + i) * oc + o]) * f64::from(out_gradient[pixel * oc + o]);
            }
        }
    }
    rounded(out)
}

/// Depthwise convolution.
pub fn depthwise(conv: &Conv, image: &[f32], weights: &[f32]) -> Vec<f32> {
    let c = conv.input[2];
    let mut out = vec![0.0f64; conv.pixels() * c];
    for (pixel, tap, from) in taps(conv) {
        for i in 0..c {
            out[pixel * c + i] += f64::from(image[from * c + i]) * f64::from(weights[tap * c + i]);
        }
    }
    rounded(out)
}

/// `gradient +=` the gradient of a depthwise convolution's weights.
pub fn depthwise_weight_gradient(conv: &Conv, image: &[f32], out_gradient: &[f32], gradient: &mut [f32]) {
    let c = conv.input[2];
    let mut sums: Vec<f64> = gradient.iter().map(|&g| f64::from(g)).collect();
    for (pixel, tap, from) in taps(conv) {
        for i in 0..c {
            sums[tap * c + i] += f64::from(image[from * c + i]) * f64::from(out_gradient[pixel * c + i]);
        }
    }
    gradient.copy_from_slice(&rounded(sums));
}

/// The gradient of a depthwise convolution's input.
pub fn depthwise_input_gradient(conv: &Conv, weights: &[f32], out_gradient: &[f32]) -> Vec<f32> {
    let c = conv.input[2];
    let mut out = vec![0.0f64; conv.input.iter().product()];
    for (pixel, tap, from) in taps(conv) {
        for i in 0..c {
            out[from * c + i] += f64::from(weights[tap * c + i]) * f64::from(out_gradient[pixel * c + i]);
        }
    }
    rounded(out)
}

/// Max pooling: the values, and for each the offset of its first winner.
pub fn max_pool(pool: &Conv, image: &[f32]) -> (Vec<f32>, Vec<Option<usize>>) {
    let c = pool.input[2];
    let mut winners: Vec<Option<usize>> = vec![None; pool.pixels() * c];
    for (pixel, _, from) in taps(pool) {
        for i in 0..c {
            let winner = &mut winners[pixel * c + i];
            if winner.is_none_or(|w| image[from * c + i] > image[w]) {
                *winner = Some(from * c + i);
            }
        }
    }
    (winners.iter().map(|w| w.map_or(f32::NEG_INFINITY, |w| image[w])).collect(), winners)
}
