//! LogME (You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning"): how well a Bayesian
//! linear model explains labels by features, without a fit and without held-out images.
//!
//! For each class the labels, 1 or 0, are `F w + noise` with `w` of variance `1 / alpha` and the noise of variance `1 / beta`; of
//! both the values are taken that make the labels most probable (MacKay's fixed point), and the logarithm of that
//! probability, by the number of images, is the score. The mean over the classes is LogME. It is comparable between
//! features of the same images, higher is better, and it has no unit.

use super::spectrum::{Spectrum, dot};
use headstart_kernels::Pool;
use headstart_tensor::Tensor;

/// Rows of a task.
const ROWS: usize = 8;
/// Steps of the fixed point at most, and the change that ends it: those of the authors' program.
const STEPS: usize = 11;
const STILL: f64 = 1e-3;
/// Added to the lengths that are divided by, as there: with more features than images the residual can vanish.
const LEAST: f64 = 1e-5;
/// Squared singular values below this share of the largest are rounding.
const ROUNDING: f64 = 1e-12;

/// LogME of features `[n, d]` whose rows are of the classes `targets` in `0..classes`; `None` where a feature is not finite or
/// there are none.
///
/// # Panics
/// Where there are not as many targets as rows, or one is not below `classes`.
pub fn logme(pool: &Pool, features: &Tensor, targets: &[usize], classes: usize) -> Option<f64> {
    let &[n, d] = features.dims() else { return None };
    assert!(targets.len() == n && targets.iter().all(|&t| t < classes), "a class for each row");
    if n == 0 || d == 0 || classes == 0 {
        return None;
    }
    // Squared singular values s of F = U S V^T, and of each class (u y)^2 for every u of U: from F F^T, or, where that is
    // larger, from F^T F, whose eigenvectors v give u = F v / sqrt(s).
    let wide = n <= d;
    let vectors = if wide { one_hot(targets, classes) } else { sums(features, targets, classes) };
    let spectrum = Spectrum::of(pool, gram(pool, features, wide), n.min(d), vectors)?;
    let largest = spectrum.values.iter().fold(0.0, |most: f64, &v| most.max(v));
    let kept: Vec<usize> =
        (0..n.min(d)).filter(|&i| spectrum.values[i] > ROUNDING * largest && largest > 0.0).collect();
    let values: Vec<f64> = kept.iter().map(|&i| spectrum.values[i]).collect();
    let mut total = 0.0;
    for class in 0..classes {
        let square = |&i: &usize| {
            let along = spectrum.along[i * classes + class].powi(2);
            if wide { along } else { along / spectrum.values[i] }
        };
        let squares: Vec<f64> = kept.iter().map(square).collect();
        let length = targets.iter().filter(|&&t| t == class).count() as f64;
        total += evidence(&values, &squares, length, n as f64);
    }
    Some(total / classes as f64)
}

/// The logarithm of the probability of labels with `length` ones among `n`, by `n`: of squared singular values and the squares
/// of the labels along them.
fn evidence(values: &[f64], squares: &[f64], length: f64, n: f64) -> f64 {
    let outside = (length - squares.iter().sum::<f64>()).max(0.0);
    let pairs = || values.iter().zip(squares);
    let (mut alpha, mut beta) = (1.0f64, 1.0f64);
    let (mut weights, mut residual) = (0.0, 0.0);
    for _ in 0..STEPS {
        let ratio = alpha / beta;
        let effective: f64 = values.iter().map(|s| s / (s + ratio)).sum();
        weights = pairs().map(|(s, x)| s * x / (s + ratio).powi(2)).sum();
        residual = outside + pairs().map(|(s, x)| x * (ratio / (s + ratio)).powi(2)).sum::<f64>();
        alpha = effective / (weights + LEAST);
        beta = (n - effective).max(0.0) / (residual + LEAST);
        if !(alpha > 0.0 && beta > 0.0) || (alpha / beta - ratio).abs() <= STILL * ratio {
            break;
        }
    }
    // Features that explain nothing, or everything exactly: any value serves in place of none.
    let (alpha, beta) = (alpha.max(f64::MIN_POSITIVE), beta.max(f64::MIN_POSITIVE));
    // Of the determinant's factors those of directions without features are alpha, and cancel.
    let factors: f64 = values.iter().map(|s| (1.0 + beta / alpha * s).ln()).sum();
    let logarithm = n * (beta / std::f64::consts::TAU).ln() - factors - beta * residual - alpha * weights;
    logarithm / 2.0 / n
}

/// `F F^T`, `[n, n]`, or else `F^T F`, `[d, d]`.
fn gram(pool: &Pool, features: &Tensor, wide: bool) -> Vec<f64> {
    let (n, d) = (features.dims()[0], features.row_len());
    let data = features.data();
    let (size, length) = if wide { (n, d) } else { (d, n) };
    let value = |row: usize, i: usize| f64::from(if wide { data[row * d + i] } else { data[i * d + row] });
    let mut rows = vec![0.0; size * length];
    pool.chunks_mut(&mut rows, length, |row, out| {
        out.iter_mut().enumerate().for_each(|(i, out)| *out = value(row, i));
    });
    let mut gram = vec![0.0; size * size];
    pool.chunks_mut(&mut gram, ROWS * size, |task, out| {
        let first = task * ROWS;
        for (j, other) in rows.chunks_exact(length).enumerate().skip(first) {
            for (i, out) in out.chunks_exact_mut(size).enumerate() {
                out[j] = dot(&rows[(first + i) * length..][..length], other);
            }
        }
    });
    for i in 0..size {
        for j in 0..i {
            gram[i * size + j] = gram[j * size + i];
        }
    }
    gram
}

/// `[n, classes]`: 1 for the class of a row.
fn one_hot(targets: &[usize], classes: usize) -> Vec<f64> {
    let mut labels = vec![0.0; targets.len() * classes];
    targets.iter().enumerate().for_each(|(row, &class)| labels[row * classes + class] = 1.0);
    labels
}

/// `[d, classes]`: of each class the sum of its rows.
fn sums(features: &Tensor, targets: &[usize], classes: usize) -> Vec<f64> {
    let d = features.row_len();
    let mut sums = vec![0.0; d * classes];
    for (row, &class) in targets.iter().enumerate() {
        for (i, &value) in features.row(row).iter().enumerate() {
            sums[i * classes + class] += f64::from(value);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        name: String,
        n: usize,
        d: usize,
        classes: usize,
        features: Vec<f32>,
        targets: Vec<usize>,
        logme: f64,
    }

    /// Written by `scripts/fixtures/logme.py`, which solves dense systems.
    #[test]
    fn the_score_is_that_of_dense_linear_algebra() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../tests/fixtures/logme.json")).unwrap();
        assert!(cases.len() >= 5);
        for case in cases {
            let features = Tensor::new([case.n, case.d], case.features).unwrap();
            let found = logme(&Pool::new(2), &features, &case.targets, case.classes).unwrap();
            assert!((found - case.logme).abs() < 1e-7, "{}: {found}, {} expected", case.name, case.logme);
        }
    }

    #[test]
    fn features_that_tell_the_classes_apart_score_higher() {
        let mut rng = headstart_tensor::Rng::new(1);
        let targets: Vec<usize> = (0..90).map(|i| i % 3).collect();
        let mut of = |signal: f64| {
            let mut value = |i: usize| signal * f64::from(u8::from(i % 6 == i / 6 % 3)) + 0.3 * rng.normal();
            let features = Tensor::from_fn([90, 6], |i| value(i) as f32);
            logme(&Pool::new(1), &features, &targets, 3).unwrap()
        };
        let scores = [of(0.0), of(0.5), of(2.0)];
        assert!(scores[0] < scores[1] && scores[1] < scores[2], "{scores:?}");
    }

    #[test]
    fn features_without_a_value_or_without_a_number_have_a_score_or_none() {
        let pool = Pool::new(1);
        assert!(logme(&pool, &Tensor::zeros([4, 3]), &[0, 1, 0, 1], 2).unwrap().is_finite());
        let broken = Tensor::from_fn([4, 3], |i| if i == 5 { f32::NAN } else { 1.0 });
        assert_eq!(logme(&pool, &broken, &[0, 1, 0, 1], 2), None);
        assert_eq!(logme(&pool, &Tensor::zeros([0, 3]), &[], 2), None);
    }
}
