//! The nearest centroid: the least that features can do, to compare a fitted head with.

use headstart_kernels::Pool;
use headstart_tensor::Tensor;

use super::logistic::count;
use super::standardise::Standardiser;
use super::{HeadError, LinearHead};

/// The nearest-centroid classifier of `features` `[n, d]`, whose row `i` is of class `targets[i]` in `0..classes`.
///
/// Features are standardised by the mean and variance of all rows, as for a fitted head; a row is answered with the class
/// whose mean is nearest (Euclidean). That is a linear head: `|x - m|^2 = |x|^2 - 2 (m x - |m|^2 / 2)`.
///
/// # Errors
/// Where shapes or labels do not fit, a feature is not finite, there are fewer than two classes, or one has no row.
pub fn nearest_centroid(
    pool: &Pool,
    features: &Tensor,
    targets: &[usize],
    classes: usize,
) -> Result<LinearHead, HeadError> {
    let counts = count(features, targets, classes)?;
    let (n, d) = (targets.len(), features.row_len());
    let standardiser = Standardiser::of(pool, features)?;
    let order: Vec<usize> = (0..n).collect();
    let values = standardiser.apply(pool, features, &order);
    let mut parameters = vec![0.0; classes * (d + 1)];
    let (means, bias) = parameters.split_at_mut(classes * d);
    for (row, &class) in values.chunks_exact(d).zip(targets) {
        means[class * d..(class + 1) * d].iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    for (class, mean) in means.chunks_exact_mut(d).enumerate() {
        mean.iter_mut().for_each(|sum| *sum /= counts[class] as f64);
        bias[class] = -0.5 * mean.iter().map(|m| m * m).sum::<f64>();
    }
    standardiser.fold_back(&parameters, classes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_answered_with_the_class_whose_mean_is_nearest_in_standardised_features() {
        // The second feature is a thousand times larger and says nothing.
        let x =
            Tensor::new([6, 2], vec![0.0, 5e3, 1.0, -5e3, 0.5, 0.0, 4.0, 5e3, 5.0, -5e3, 4.5, 0.0]).unwrap();
        let head = nearest_centroid(&Pool::new(1), &x, &[0, 0, 0, 1, 1, 1], 2).unwrap();
        let seen = Tensor::new([3, 2], vec![2.0, 9e3, 3.0, -9e3, 2.5, 1.0]).unwrap();
        let logits = head.logits(&Pool::new(1), &seen).unwrap();
        let apart = |i: usize| logits.row(i)[1] - logits.row(i)[0];
        assert!(apart(0) < 0.0 && apart(1) > 0.0 && apart(2).abs() < 1e-3, "{logits:?}");
    }

    #[test]
    fn a_class_without_a_row_is_refused() {
        let x = Tensor::new([2, 1], vec![0.0, 1.0]).unwrap();
        let found = nearest_centroid(&Pool::new(1), &x, &[0, 2], 3);
        assert_eq!(found, Err(HeadError::EmptyClass { class: 1 }));
    }
}
