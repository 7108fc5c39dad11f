//! Images of no class that the model knows: a score that is larger for them, and a threshold.
//!
//! The score is ViM's idea (H. Wang et al. 2022, "ViM: Out-of-Distribution with Virtual-logit Matching", CVPR): the energy of
//! the logits says how little the head finds, the *residual* how far the features are from those it was trained on. Both are
//! standardised by the validation images and added up. On Lite0 features of CIFAR-10 the sum beat energy, Mahalanobis,
//! relative Mahalanobis and nearest-neighbour distances, each alone and with energy; `docs/evaluation.md` has the figures.

use crate::Error;
use crate::head::{HeadError, LinearHead};
use crate::loss::log_sum_exp;
use crate::metrics::keeping;
use headstart_kernels::{Isa, Mat, Pool, matmul};
use headstart_models::sha256_hex;
use headstart_tensor::{Rng, Tensor};
use headstart_weights::StoredTensor;
use serde::{Deserialize, Serialize};

/// The label of an image that is rejected.
pub const UNKNOWN: &str = "unknown";
/// Share of the validation images that the threshold keeps.
pub const KEPT: f64 = 0.95;
/// Fewer validation images than this give no threshold that keeps 95 %.
pub const FEWEST: usize = 50;
/// Directions that describe the training features, at most.
const DIRECTIONS: usize = 64;
/// Training images that they are computed from, at most.
const ROWS: usize = 20_000;
/// Rounds of subspace iteration: the features' leading directions are far apart, and the last ones need not be exact.
const ROUNDS: usize = 12;
/// Rows of a task.
const TASK: usize = 256;

/// How unknown images are told, as the model file says; the directions are a tensor beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unknown {
    /// Images with a larger score are unknown.
    pub threshold: f64,
    /// Validation images, of which 95 % are kept.
    pub images: usize,
    /// The energy `-ln sum exp(z)` of the logits of validation images.
    pub energy: Spread,
    /// The residual of their features: `1 - |V x|^2 / |x|^2`, 0 to 1, with the rows of `V` orthonormal: the principal
    /// directions of the training features at length 1. `None` where only the energy is known (fine-tuned models).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<Spread>,
    /// SHA-256 of the directions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directions_sha256: Option<String>,
}

/// Mean and standard deviation, above 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub deviation: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Spread {
        let n = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        Spread { mean, deviation: variance.sqrt().max(1e-9) }
    }

    fn standardised(&self, value: f64) -> f64 {
        (value - self.mean) / self.deviation
    }
}

impl Unknown {
    /// The threshold that keeps 95 % of validation images with those `energies` and, where known, `residuals`. `None` where
    /// there are fewer than 50.
    pub fn fit(energies: &[f64], residuals: Option<&[f64]>) -> Option<Unknown> {
        if energies.len() < FEWEST {
            return None;
        }
        let mut unknown = Unknown {
            threshold: 0.0,
            images: energies.len(),
            energy: Spread::of(energies),
            residual: residuals.map(Spread::of),
            directions_sha256: None,
        };
        unknown.threshold = keeping(&unknown.scores(energies, residuals), KEPT)?;
        Some(unknown)
    }

    /// The score of each image: the larger, the less it is like what the model knows.
    pub fn scores(&self, energies: &[f64], residuals: Option<&[f64]>) -> Vec<f64> {
        let residual = |i: usize| match (&self.residual, residuals) {
            (Some(spread), Some(values)) => spread.standardised(values[i]),
            _ => 0.0,
        };
        energies.iter().enumerate().map(|(i, &e)| self.energy.standardised(e) + residual(i)).collect()
    }

    /// Whether an image with that score is unknown.
    pub fn rejects(&self, score: f64) -> bool {
        score > self.threshold
    }
}

/// The hash of directions as a model file holds them.
///
/// # Errors
/// Never: unit vectors fit into f16.
pub(crate) fn fingerprint(directions: &Tensor) -> Result<String, Error> {
    Ok(sha256_hex(StoredTensor::from_tensor_half(directions)?.bytes()))
}

/// `-ln sum exp(z)` of each row of finite logits `[n, classes]`.
pub fn energies(logits: &Tensor) -> Vec<f64> {
    (0..logits.dims()[0]).map(|i| -log_sum_exp(logits.row(i))).collect()
}

/// `1 - |V x|^2 / |x|^2` of each row `x` of `features` `[n, d]`, with `directions` `V` `[k, d]`; 0 for a row of zeros.
///
/// # Errors
/// Where the features have another length than the directions.
pub fn residuals(pool: &Pool, directions: &Tensor, features: &Tensor) -> Result<Vec<f64>, HeadError> {
    let zero = Tensor::zeros([directions.dims()[0]]);
    let along = LinearHead::new(directions.clone(), zero)?.logits(pool, features)?;
    let square = |row: &[f32]| row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    let residual = |i: usize| match square(features.row(i)) {
        0.0 => 0.0,
        whole => (1.0 - square(along.row(i)) / whole).clamp(0.0, 1.0),
    };
    Ok((0..features.dims()[0]).map(residual).collect())
}

/// The principal directions `[k, d]` of `features` `[n, d]` at length 1, not centred, rounded to f16: 64, or a quarter of `n`
/// or of `d` where that is less. By subspace iteration from a seeded start; the bytes do not depend on the number of threads.
///
/// # Errors
/// Where the features are no matrix, or hold nothing but zeros.
pub fn directions(pool: &Pool, features: &Tensor, seed: u64) -> Result<Tensor, Error> {
    let &[n, d] = features.dims() else {
        return Err(HeadError::Features { found: features.shape().clone() }.into());
    };
    let mut rng = Rng::named(seed, "directions");
    let mut order: Vec<usize> = (0..n).collect();
    if n > ROWS {
        rng.shuffle(&mut order);
        order.truncate(ROWS);
    }
    let k = DIRECTIONS.min(order.len() / 4).min(d / 4).max(1);
    let mut rows = Vec::with_capacity(order.len() * d);
    for &i in &order {
        let row = features.row(i);
        let norm = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
        rows.extend(row.iter().map(|&v| if norm > 0.0 { (f64::from(v) / norm) as f32 } else { 0.0 }));
    }
    let rows = Tensor::new([order.len(), d], rows)?;
    let found = principal(pool, &rows, (k, ROUNDS), &mut rng)?;
    Ok(StoredTensor::from_tensor_half(&found)?.to_tensor()?)
}

/// The `k` leading right singular vectors `[k, d]` of `rows` `[n, d]`, by `rounds` of subspace iteration from a start that
/// `rng` draws.
pub(crate) fn principal(
    pool: &Pool,
    rows: &Tensor,
    (k, rounds): (usize, usize),
    rng: &mut Rng,
) -> Result<Tensor, Error> {
    let d = rows.row_len();
    let mut found = orthonormal(Tensor::from_fn([k, d], |_| rng.normal() as f32), rng);
    for _ in 0..rounds {
        let along = LinearHead::new(found, Tensor::zeros([k]))?.logits(pool, rows)?;
        found = orthonormal(Tensor::new([k, d], transposed_product(pool, &along, rows))?, rng);
    }
    Ok(found)
}

/// `a^T b` `[k, d]` of `a` `[n, k]` and `b` `[n, d]`: sums of blocks of rows, in their order.
fn transposed_product(pool: &Pool, a: &Tensor, b: &Tensor) -> Vec<f32> {
    let (n, k, d) = (a.dims()[0], a.row_len(), b.row_len());
    let blocks = pool.map(n.div_ceil(TASK), |block| {
        let rows = TASK.min(n - block * TASK);
        let mut out = vec![0.0; k * d];
        let part = Mat::new(&a.data()[block * TASK * k..], rows, k).t();
        matmul(Isa::current(), part, Mat::new(&b.data()[block * TASK * d..], rows, d), &mut out, false);
        out
    });
    let mut sum = vec![0.0; k * d];
    for block in blocks {
        sum.iter_mut().zip(block).for_each(|(s, v)| *s += v);
    }
    sum
}

/// The rows made orthonormal (Gram-Schmidt, twice over, in f64); a row that depends on those before it is drawn anew.
fn orthonormal(matrix: Tensor, rng: &mut Rng) -> Tensor {
    let (k, d) = (matrix.dims()[0], matrix.row_len());
    let mut done: Vec<Vec<f64>> = Vec::with_capacity(k);
    for i in 0..k {
        let mut row: Vec<f64> = matrix.row(i).iter().map(|&v| f64::from(v)).collect();
        loop {
            let before = norm(&row);
            for other in done.iter().chain(&done) {
                let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
            let after = norm(&row);
            if after > 1e-6 * before && after > 0.0 {
                row.iter_mut().for_each(|v| *v /= after);
                break;
            }
            row = (0..d).map(|_| rng.normal()).collect();
        }
        done.push(row);
    }
    Tensor::from_fn([k, d], |i| done[i / d][i % d] as f32)
}

fn norm(row: &[f64]) -> f64 {
    row.iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows near a plane of `d` dimensions, or anywhere.
    fn rows(n: usize, d: usize, flat: bool, seed: u64) -> Tensor {
        let mut rng = Rng::new(seed);
        let mut values = Vec::new();
        for _ in 0..n {
            let (a, b) = (rng.normal(), rng.normal());
            for j in 0..d {
                let on = a * (j as f64).sin() + b * (j as f64).cos();
                values.push(if flat { on + 0.05 * rng.normal() } else { rng.normal() } as f32);
            }
        }
        Tensor::new([n, d], values).unwrap()
    }

    #[test]
    fn features_outside_the_training_features_directions_have_a_large_residual() {
        let pool = Pool::new(1);
        let v = directions(&pool, &rows(200, 8, true, 1), 0).unwrap();
        assert_eq!(v.dims(), [2, 8]);
        let known = residuals(&pool, &v, &rows(50, 8, true, 2)).unwrap();
        let other = residuals(&pool, &v, &rows(50, 8, false, 3)).unwrap();
        let mean = |r: &[f64]| r.iter().sum::<f64>() / r.len() as f64;
        assert!(mean(&known) < 0.1 && mean(&other) > 0.5, "{} {}", mean(&known), mean(&other));
        assert_eq!(residuals(&pool, &v, &Tensor::zeros([1, 8])).unwrap(), [0.0]);
    }

    #[test]
    fn directions_are_orthonormal_and_the_same_for_any_number_of_threads() {
        let x = rows(700, 24, false, 4);
        let v = directions(&Pool::new(1), &x, 3).unwrap();
        assert_eq!(v, directions(&Pool::new(2), &x, 3).unwrap());
        for i in 0..v.dims()[0] {
            for j in 0..=i {
                let dot: f32 = v.row(i).iter().zip(v.row(j)).map(|(a, b)| a * b).sum();
                assert!((dot - f32::from(u8::from(i == j))).abs() < 5e-3, "{i} {j}: {dot}");
            }
        }
    }

    #[test]
    fn the_threshold_keeps_nineteen_of_twenty_validation_images() {
        let mut rng = Rng::new(1);
        let energies: Vec<f64> = (0..200).map(|_| rng.normal()).collect();
        let residuals: Vec<f64> = (0..200).map(|_| rng.uniform()).collect();
        for residuals in [None, Some(&residuals[..])] {
            let unknown = Unknown::fit(&energies, residuals).unwrap();
            let scores = unknown.scores(&energies, residuals);
            assert_eq!(scores.iter().filter(|&&s| unknown.rejects(s)).count(), 10);
        }
        assert_eq!(Unknown::fit(&energies[..49], None), None);
    }

    #[test]
    fn rows_that_depend_on_one_another_still_give_orthonormal_directions() {
        let x = Tensor::from_fn([40, 16], |i| (i % 16) as f32);
        let v = directions(&Pool::new(1), &x, 0).unwrap();
        assert_eq!(v.dims(), [4, 16]);
        assert!(v.data().iter().all(|v| v.is_finite()));
    }
}
