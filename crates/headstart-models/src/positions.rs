//! Position embeddings for another number of patches: resampled as timm does it, bicubic (a = -0.5) and with a filter as wide as
//! what is left out (PyTorch's `interpolate(.., antialias=True)`).

use headstart_tensor::Tensor;

/// A table `[1, prefix + h * w, c]` of a grid `from`, `[h, w]`, for the grid `to`; the `prefix` rows that belong to no patch stay.
/// None where the table has another number of rows.
pub(crate) fn resample(table: &Tensor, prefix: usize, from: [usize; 2], to: [usize; 2]) -> Option<Tensor> {
    let &[1, rows, width] = table.dims() else { return None };
    if rows != prefix + from[0] * from[1] {
        return None;
    }
    let (head, grid) = table.data().split_at(prefix * width);
    let (down, across) = (filter(from[0], to[0]), filter(from[1], to[1]));
    let mut out = head.to_vec();
    // Across first, row by row of the grid, as PyTorch does.
    let mut wide = vec![0.0f64; from[0] * to[1] * width];
    for (y, line) in wide.chunks_exact_mut(to[1] * width).enumerate() {
        for (x, sum) in line.chunks_exact_mut(width).enumerate() {
            for &(at, weight) in &across[x] {
                let row = &grid[(y * from[1] + at) * width..][..width];
                sum.iter_mut().zip(row).for_each(|(s, &v)| *s += weight * f64::from(v));
            }
        }
    }
    for taps in &down {
        for x in 0..to[1] {
            let value = |c: usize| {
                taps.iter().map(|&(at, weight)| weight * wide[(at * to[1] + x) * width + c]).sum::<f64>()
            };
            out.extend((0..width).map(|c| value(c) as f32));
        }
    }
    Tensor::new([1, prefix + to[0] * to[1], width], out).ok()
}

/// For every place of `to` the places of `from` that it is made of, and their weights, which add up to 1.
fn filter(from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let place = |i: usize| {
        let center = scale * (i as f64 + 0.5);
        let first = (center - 2.0 * stretch + 0.5).max(0.0) as usize;
        let last = ((center + 2.0 * stretch + 0.5) as usize).min(from);
        let taps = (first..last).map(|j| (j, cubic((j as f64 - center + 0.5) / stretch)));
        let sum: f64 = taps.clone().map(|(_, weight)| weight).sum();
        taps.map(|(j, weight)| (j, weight / sum)).collect()
    };
    (0..to).map(place).collect()
}

/// Keys' cubic with a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    match x {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((x - 5.0) * x + 8.0) * x * A - 4.0 * A,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resampled_table_is_timms() {
        // timm.layers.resample_abs_pos_embed of sin(0), sin(1), .. [1, 1 + 3 * 4, 2], to 5 x 2 and to 2 x 6.
        let table = Tensor::from_fn([1, 13, 2], |i| (i as f64).sin() as f32);
        for (to, expected) in EXPECTED {
            let found = resample(&table, 1, [3, 4], to).unwrap();
            assert_eq!(found.dims(), [1, 1 + to[0] * to[1], 2]);
            for (f, e) in found.data().iter().zip(expected) {
                assert!((f - e).abs() < 2e-6, "{to:?}: {f} {e}");
            }
            assert_eq!(found.data().len(), expected.len());
        }
        assert_eq!(resample(&table, 1, [3, 4], [3, 4]).unwrap().data()[..4], table.data()[..4]);
        assert!(resample(&table, 0, [3, 4], [2, 2]).is_none());
    }

    const EXPECTED: [([usize; 2], &[f32]); 2] = [
        (
            [5, 2],
            &[
                0.000_000,
                0.841_471,
                0.027_282_8,
                -0.323_738_3,
                0.195_306_5,
                0.402_317_5,
                -0.149_853_7,
                -0.278_543_3,
                0.253_266_4,
                0.234_404_3,
                -0.366_228_1,
                -0.152_270_5,
                0.278_246_8,
                -0.055_158_7,
                -0.075_428_4,
                0.184_875_5,
                -0.082_105_2,
                -0.268_334_8,
                0.142_612_5,
                0.394_377_4,
                -0.324_386_7,
                -0.376_729_1,
            ],
        ),
        (
            [2, 6],
            &[
                0.000_000,
                0.841_471,
                0.484_515_8,
                -0.291_901_9,
                -0.186_161_1,
                -0.464_186_2,
                -0.694_963_5,
                -0.349_160_3,
                0.057_357_3,
                0.614_381_1,
                0.452_272_5,
                0.353_493_6,
                0.591_028_5,
                -0.155_485,
                -0.812_638_4,
                -0.366_994_3,
                -0.193_688_2,
                0.256_158,
                0.491_575_7,
                0.679_810_6,
                0.473_445_7,
                -0.173_100_7,
                -0.209_073_3,
                -0.467_638_6,
                -0.815_205_5,
                -0.487_748_3,
            ],
        ),
    ];
}
