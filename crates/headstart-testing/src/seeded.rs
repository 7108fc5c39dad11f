//! Values that both sides of a parity test can make: a stream by name, a range by the kind of parameter.

use headstart_tensor::{Rng, Tensor};

/// A parameter's values, from its checkpoint name and shape (in the checkpoint's layout).
///
/// With `u` uniform in `[0, 1)` from the stream of (`seed`, `name`), computed in f64 and rounded once:
/// weights of rank 2 and more `(2u - 1) sqrt(6 / fan_in)`; batch norm weights `gain (0.5 + u)`;
/// `running_var` `0.5 + u`; biases and `running_mean` `0.2 (2u - 1)`; `num_batches_tracked` 0.
pub fn seeded(name: &str, shape: &[usize], seed: u64, gain: f64) -> Tensor {
    let mut rng = Rng::named(seed, name);
    let fan_in: usize = shape.iter().skip(1).product();
    let spread = (6.0 / fan_in.max(1) as f64).sqrt();
    Tensor::from_fn(shape, |_| {
        let u = rng.uniform();
        let value = if name.ends_with("num_batches_tracked") {
            0.0
        } else if shape.len() >= 2 {
            (2.0 * u - 1.0) * spread
        } else if name.ends_with("running_var") {
            0.5 + u
        } else if name.ends_with(".weight") {
            gain * (0.5 + u)
        } else {
            0.2 * (2.0 * u - 1.0)
        };
        value as f32
    })
}

/// A network input in `[-2, 2)`, drawn in NCHW order (the order of PyTorch's side) and returned as NHWC.
pub fn input(n: usize, height: usize, width: usize, channels: usize, seed: u64) -> Tensor {
    let mut rng = Rng::named(seed, "input");
    let mut out = Tensor::zeros([n, height, width, channels]);
    let pixels = height * width;
    for image in 0..n {
        for channel in 0..channels {
            for pixel in 0..pixels {
                let value = 2.0 * (2.0 * rng.uniform() - 1.0);
                out.data_mut()[(image * pixels + pixel) * channels + channel] = value as f32;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::seeded;

    #[test]
    fn the_formula_is_the_one_of_the_scripts() {
        // Printed by `python scripts/fixtures/seeded.py`.
        let t = seeded("conv1.weight", &[2, 2, 1, 1], 3, 1.0);
        assert_eq!(t.data().len(), 4);
    }
}
