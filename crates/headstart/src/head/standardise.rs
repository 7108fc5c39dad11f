//! Features with zero mean and unit variance, and the way back.
//!
//! The one copy of the features that a fit makes: rows in the order the fit wants them, columns scaled.

use headstart_kernels::Pool;
use headstart_tensor::Tensor;

use super::{HeadError, LinearHead};

/// Rows of a task: the sums of the statistics are cut by it, so it is part of the result's bytes.
const ROWS: usize = 256;

/// A deviation that is this share of the largest one, about the rounding of f32, is none: encoders of text have features of 1e-8
/// and of 1e-32, whose weights would be 1e7 and 1e31, and the first step of a fine-tuning beyond all numbers.
const NOTHING: f64 = 1e-6;

/// Mean and scale of each feature, over all rows.
pub(crate) struct Standardiser {
    mean: Vec<f64>,
    /// `1 / standard deviation` (over `n`, as scikit-learn's `StandardScaler`); 0 where the feature is constant, or next to it ([`NOTHING`]).
    scale: Vec<f64>,
}

impl Standardiser {
    /// The statistics of features `[n, d]`, in two passes in f64.
    ///
    /// # Errors
    /// Where a feature is NaN or infinite: the first one, by row.
    pub(crate) fn of(pool: &Pool, features: &Tensor) -> Result<Standardiser, HeadError> {
        if let Some(i) = features.data().iter().position(|v| !v.is_finite()) {
            let d = features.row_len();
            return Err(HeadError::NotFinite { row: i / d, column: i % d, value: features.data()[i] });
        }
        let mean = column_means(pool, features, |_, x| x);
        let variance = column_means(pool, features, |j, x| (x - mean[j]) * (x - mean[j]));
        let deviations: Vec<f64> = variance.into_iter().map(f64::sqrt).collect();
        let nothing = NOTHING * deviations.iter().copied().fold(0.0, f64::max);
        let scale = mean
            .iter()
            .zip(deviations)
            .map(|(mean, deviation)| {
                // Below the spacing of f32 values around the mean there is only rounding.
                let least = nothing.max(f64::from(f32::EPSILON) * mean.abs());
                if deviation <= least { 0.0 } else { 1.0 / deviation }
            })
            .collect();
        Ok(Standardiser { mean, scale })
    }

    /// The mean of each feature.
    pub(crate) fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// What each centred feature is multiplied by; 0 where it is constant.
    pub(crate) fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// Standardised rows `order` of `features`: row `i` of the result is row `order[i]`.
    pub(crate) fn apply(&self, pool: &Pool, features: &Tensor, order: &[usize]) -> Vec<f32> {
        let d = self.mean.len();
        let mut out = vec![0.0; order.len() * d];
        pool.chunks_mut(&mut out, ROWS * d, |chunk, rows| {
            for (row, &source) in rows.chunks_exact_mut(d).zip(&order[chunk * ROWS..]) {
                for (j, (o, &x)) in row.iter_mut().zip(features.row(source)).enumerate() {
                    *o = ((f64::from(x) - self.mean[j]) * self.scale[j]) as f32;
                }
            }
        });
        out
    }

    /// The head on raw features that is the same function as `parameters` (weight `[classes, d]`, then bias
    /// `[classes]`) on standardised ones.
    ///
    /// # Errors
    /// Never where `parameters` are `classes * (d + 1)` values.
    pub(crate) fn fold_back(&self, parameters: &[f64], classes: usize) -> Result<LinearHead, HeadError> {
        let d = self.mean.len();
        let (weight, bias) = parameters.split_at(classes * d);
        let raw: Vec<f32> = weight
            .chunks_exact(d)
            .flat_map(|row| row.iter().zip(&self.scale).map(|(w, s)| (w * s) as f32))
            .collect();
        let bias = bias.iter().zip(raw.chunks_exact(d)).map(|(b, row)| {
            // With the rounded weights, so that their rounding does not move the logits of the mean image.
            let shift: f64 = row.iter().zip(&self.mean).map(|(&w, mean)| f64::from(w) * mean).sum();
            (b - shift) as f32
        });
        let bias = bias.collect();
        LinearHead::new(Tensor::new([classes, d], raw)?, Tensor::new([classes], bias)?)
    }
}

/// The mean over rows of `f(column, value)`.
fn column_means(pool: &Pool, features: &Tensor, f: impl Fn(usize, f64) -> f64 + Sync) -> Vec<f64> {
    let (n, d) = (features.len() / features.row_len().max(1), features.row_len());
    let partial = pool.map(n.div_ceil(ROWS), |chunk| {
        let mut sums = vec![0.0; d];
        let end = features.len().min((chunk + 1) * ROWS * d);
        for row in features.data()[chunk * ROWS * d..end].chunks_exact(d) {
            sums.iter_mut().zip(row).enumerate().for_each(|(j, (sum, &x))| *sum += f(j, f64::from(x)));
        }
        sums
    });
    let mut means = vec![0.0; d];
    for sums in partial {
        means.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum);
    }
    means.iter_mut().for_each(|mean| *mean /= n as f64);
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_get_zero_mean_and_unit_variance_and_a_constant_one_becomes_zero() {
        let pool = Pool::new(2);
        // Far from zero, barely moving, constant at a value whose f64 sum is rounded, and next to nothing.
        let x = Tensor::from_fn([600, 4], |i| match i % 4 {
            0 => 1000.0 + (i / 4) as f32,
            1 => 1e-3 * ((i / 4) % 7) as f32,
            2 => 0.1,
            _ => 1e-6 * ((i / 4) % 7) as f32,
        });
        let order: Vec<usize> = (0..600).rev().collect();
        let s = Standardiser::of(&pool, &x).unwrap();
        let z = s.apply(&pool, &x, &order);
        for j in 0..4 {
            let column: Vec<f64> = z.iter().skip(j).step_by(4).map(|&v| f64::from(v)).collect();
            let mean = column.iter().sum::<f64>() / 600.0;
            let variance = column.iter().map(|v| v * v).sum::<f64>() / 600.0;
            assert!(mean.abs() < 1e-6, "{mean}");
            assert!((variance - if j >= 2 { 0.0 } else { 1.0 }).abs() < 1e-5, "{variance}");
        }
        assert!(z[0] > 0.0, "rows come in the order asked for");
    }

    #[test]
    fn the_folded_head_is_the_same_function_on_raw_features() {
        let pool = Pool::new(1);
        let x = Tensor::from_fn([40, 2], |i| if i % 2 == 0 { 5.0 + i as f32 } else { (i as f32).sin() });
        let s = Standardiser::of(&pool, &x).unwrap();
        let order: Vec<usize> = (0..40).collect();
        let z = s.apply(&pool, &x, &order);
        let p = [0.5, -2.0, 1.5, 0.25, 0.1, -0.1];
        let logits = s.fold_back(&p, 2).unwrap().logits(&pool, &x).unwrap();
        for i in 0..40 {
            for c in 0..2 {
                let expected =
                    p[2 * c] * f64::from(z[2 * i]) + p[2 * c + 1] * f64::from(z[2 * i + 1]) + p[4 + c];
                assert!((f64::from(logits.row(i)[c]) - expected).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn a_damaged_feature_is_named_by_row_and_column() {
        let mut x = Tensor::zeros([4, 3]);
        x.data_mut()[7] = f32::INFINITY;
        let error = Standardiser::of(&Pool::new(1), &x).map(|_| ()).unwrap_err();
        assert_eq!(error, HeadError::NotFinite { row: 2, column: 1, value: f32::INFINITY });
        assert!(error.to_string().starts_with("feature 1 of image 2 is inf"), "{error}");
    }
}
