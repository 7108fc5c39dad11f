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

/// The standard normal distribution's upper tail at `a >= 0`, to about twelve digits.
pub fn normal_tail(a: f64) -> f64 {
    let density = (-a * a / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if a < 4.0 {
        // 1/2 - density (a + a^3 / 3 + a^5 / (3 5) + ..).
        let (mut term, mut sum) = (a, 0.0);
        for k in 1..200 {
            sum += term;
            term *= a * a / f64::from(2 * k + 1);
        }
        0.5 - density * sum
    } else {
        // density / (a + 1 / (a + 2 / (a + 3 / ..))).
        density / (1..200).rev().fold(a, |below, k| a + f64::from(k) / below)
    }
}

/// `x` times the normal distribution's probability of less than `x`.
pub fn gelu(x: f64) -> f64 {
    if x < 0.0 { x * normal_tail(-x) } else { x * (1.0 - normal_tail(x)) }
}

/// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`.
pub fn gelu_tanh(x: f64) -> f64 {
    // (1 + tanh z) / 2 = 1 / (1 + e^-2z), which does not cancel.
    let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    x / (1.0 + (-2.0 * z).exp())
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `x / (1 + e^-x)`.
pub fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

/// `min(max(x + 3, 0), 6) / 6`.
pub fn hard_sigmoid(x: f64) -> f64 {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

/// `x min(max(x + 3, 0), 6) / 6`.
pub fn hard_swish(x: f64) -> f64 {
    x * hard_sigmoid(x)
}

/// Every value of `[.., channels]` times the factor of its channel.
pub fn scale_channels(x: &[f32], scale: &[f32]) -> Vec<f32> {
    x.iter().enumerate().map(|(i, &v)| (f64::from(v) * f64::from(scale[i % scale.len()])) as f32).collect()
}

/// The softmax of every row of `len` values times `scale`.
pub fn softmax(x: &[f32], len: usize, scale: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks(len.max(1)) {
        let scaled: Vec<f64> = row.iter().map(|&v| f64::from(v) * f64::from(scale)).collect();
        let most = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scaled.iter().map(|v| (v - most).exp()).sum();
        out.extend(scaled.iter().map(|v| ((v - most).exp() / sum) as f32));
    }
    out
}

/// Every row of `weight.len()` values less its mean, over its deviation, times `weight` and plus `bias`.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    let n = weight.len() as f64;
    for row in x.chunks(weight.len().max(1)) {
        let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        let norm = |v: f32| (f64::from(v) - mean) / (variance + eps).sqrt();
        let terms = row.iter().zip(weight).zip(bias);
        out.extend(terms.map(|((&v, &w), &b)| (norm(v) * f64::from(w) + f64::from(b)) as f32));
    }
    out
}

/// Self-attention of `heads` heads of `head` values over rows `[query | key | value]`; keys whose mark is 0 are not seen.
pub fn attention(qkv: &[f32], heads: usize, head: usize, keys: Option<&[f32]>) -> Vec<f32> {
    let width = heads * head;
    let tokens = qkv.len() / (3 * width).max(1);
    let at = |token: usize, part: usize, c: usize| f64::from(qkv[(token * 3 + part) * width + c]);
    let seen: Vec<usize> = (0..tokens).filter(|&t| keys.is_none_or(|k| k[t] != 0.0)).collect();
    let mut out = vec![0.0; tokens * width];
    for query in 0..tokens {
        for h in 0..heads {
            let channels = h * head..(h + 1) * head;
            let score = |&key: &usize| {
                let dot: f64 = channels.clone().map(|c| at(query, 0, c) * at(key, 1, c)).sum();
                dot / (head as f64).sqrt()
            };
            let scores: Vec<f64> = seen.iter().map(score).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - most).exp()).sum();
            for c in channels.clone() {
                let mixed = seen.iter().zip(&scores).map(|(&key, s)| (s - most).exp() / sum * at(key, 2, c));
                out[query * width + c] = mixed.sum::<f64>() as f32;
            }
        }
    }
    out
}
