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
    let value: &dyn Fn(f64) -> f64 = if name.ends_with("num_batches_tracked") {
        &|_| 0.0
    } else if shape.len() >= 2 {
        &|u| (2.0 * u - 1.0) * spread
    } else if name.ends_with("running_var") {
        &|u| 0.5 + u
    } else if name.ends_with(".weight") {
        &|u| gain * (0.5 + u)
    } else {
        &|u| 0.2 * (2.0 * u - 1.0)
    };
    Tensor::from_fn(shape, |_| value(rng.uniform()) as f32)
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
    use super::{input, seeded};

    #[test]
    fn the_formula_is_the_one_of_the_scripts() {
        // Printed by `python scripts/fixtures/seeded.py`: the bits of each f32, by name, shape and gain, at seed 3.
        let expected: [(&str, &[usize], f64, &[u32]); 6] = [
            ("conv1.weight", &[2, 2, 1, 1], 1.0, &[0x3f7a31c7, 0x3e60e49c, 0x3edee0a6, 0x3fc2a8f6]),
            ("bn1.weight", &[3], 0.7, &[0x3f644dcf, 0x3ef8dc3a, 0x3ed8d75e]),
            ("bn1.bias", &[3], 0.7, &[0xbd1f5773, 0x3e44ac98, 0xbd89cf40]),
            ("bn1.running_mean", &[3], 0.7, &[0xbe190e48, 0xbb1e8d33, 0xbd61e153]),
            ("bn1.running_var", &[3], 0.7, &[0x3f79c315, 0x3f142229, 0x3f97bf86]),
            ("bn1.num_batches_tracked", &[1], 0.7, &[0x00000000]),
        ];
        for (name, shape, gain, bits) in expected {
            let values = seeded(name, shape, 3, gain);
            let found: Vec<u32> = values.data().iter().map(|v| v.to_bits()).collect();
            assert_eq!(found, bits, "{name}");
        }
    }

    #[test]
    fn the_input_is_drawn_in_the_order_of_the_scripts() {
        // Printed by `python scripts/fixtures/seeded.py`, which names the elements by image, channel, row, column.
        let images = input(2, 3, 4, 3, 1);
        let at =
            |n: usize, c: usize, y: usize, x: usize| images.data()[((n * 3 + y) * 4 + x) * 3 + c].to_bits();
        assert_eq!([at(0, 0, 0, 0), at(0, 1, 0, 0), at(1, 2, 1, 3)], [0x3d9bfac0, 0xbfc78710, 0xbfc17cb8]);
    }
}
