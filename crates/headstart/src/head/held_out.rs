//! What heads say of rows that they did not see.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use headstart_kernels::Pool;
use headstart_tensor::Tensor;

use super::HeadError;
use super::lbfgs::{Stop, minimise};
use super::objective::{Objective, Samples};
use super::standardise::Standardiser;

/// The gradient's largest entry at which a fit is near enough, as a share of what it is at the zero head: as in the
/// cross-validation of [`super::LogisticRegression`].
const TOLERANCE: f64 = 5e-3;
/// Most steps of one fit.
const ITERATIONS: usize = 60;

/// Features `[n, d]`, and the class of each row in `0..classes`.
#[derive(Clone, Copy)]
pub(crate) struct Labelled<'a> {
    pub(crate) features: &'a Tensor,
    pub(crate) targets: &'a [usize],
    pub(crate) classes: usize,
}

/// For each range of positions in `order`: a logistic regression of strength `l2` on all other rows of `order`, and its
/// probabilities `[classes]` for the rows of the range. They come in the order of the
/// ranges. Features are standardised over all rows of `order`, which uses no label.
///
/// # Errors
/// Where a feature is not finite, or `interrupt` was set.
pub(crate) fn held_out_probabilities(
    labelled: Labelled,
    order: &[usize],
    held_out: &[Range<usize>],
    l2: f64,
    pool: &Pool,
    interrupt: &AtomicBool,
) -> Result<Vec<f32>, HeadError> {
    let Labelled { features, targets, classes } = labelled;
    let standardiser = Standardiser::of(pool, features)?;
    let ordered: Vec<usize> = order.iter().map(|&row| targets[row]).collect();
    let samples = Samples {
        features: &standardiser.apply(pool, features, order),
        d: features.row_len(),
        targets: &ordered,
        class_weights: &vec![1.0; classes],
    };
    let relative = TOLERANCE * samples.steepness_at_zero(pool);
    let stop = Stop { relative, absolute: 0.0, max_iterations: ITERATIONS };
    let mut probabilities = Vec::new();
    for range in held_out {
        // From zero: the fit before has seen the rows of this range.
        let mut parameters = vec![0.0; samples.parameters()];
        let objective = Objective::new(pool, &samples, range.clone(), l2);
        minimise(|p, g| objective.evaluate(p, g), &mut parameters, stop, interrupt)?;
        probabilities.extend(samples.probabilities(pool, &parameters, range.clone()));
    }
    Ok(probabilities)
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_tensor::Rng;

    #[test]
    fn a_row_is_judged_by_a_head_that_has_not_seen_its_label() {
        let mut rng = Rng::new(3);
        let n = 300;
        let mut targets: Vec<usize> = (0..n).map(|i| i % 3).collect();
        let features = Tensor::from_fn([n, 3], |i| {
            (rng.normal() * 0.3 + f64::from(u8::from(i / 3 % 3 == i % 3))) as f32
        });
        targets[7] = 2;
        let order: Vec<usize> = (0..n).rev().collect();
        let (pool, stop) = (Pool::new(2), AtomicBool::new(false));
        let labelled = Labelled { features: &features, targets: &targets, classes: 3 };
        let folds = [0..100, 100..200, 200..300];
        let found = held_out_probabilities(labelled, &order, &folds, 0.1, &pool, &stop).unwrap();
        let right = order.iter().zip(found.chunks_exact(3)).filter(|(row, p)| {
            assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            p[*row % 3] > 0.5
        });
        assert!(right.count() > 250);
        // Row 7 is the 8th from the end.
        let of_7 = &found[3 * (n - 8)..][..3];
        assert!(of_7[1] > of_7[2], "the wrong label did not teach the head: {of_7:?}");
    }
}
