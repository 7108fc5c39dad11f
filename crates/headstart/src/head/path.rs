//! The L2 strength by cross-validation, along a path from strong to weak.

use std::sync::atomic::AtomicBool;

use headstart_kernels::Pool;

use super::HeadError;
use super::folds::Folds;
use super::lbfgs::{Stop, minimise};
use super::objective::{Objective, Samples, Score};

/// Number of strengths, half a decade apart.
const STRENGTHS: usize = 11;
/// The search ends after this many strengths in a row that are worse than the best: the held-out loss falls
/// and then rises, and the weak end of the path is the expensive one.
const WORSE: usize = 2;
/// Rows held out, over the folds, after which more folds would tell nothing: with as many, the loss is known to
/// about a hundredth, and differences between strengths on the same rows to much less.
const ENOUGH_HELD_OUT: usize = 5000;

/// What cross-validation found for one strength.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct CvPoint {
    /// The strength.
    pub l2: f64,
    /// Share of held-out images that are right.
    pub accuracy: f64,
    /// Mean (class-weighted) cross-entropy of held-out images.
    pub loss: f64,
}

/// The points of the path, in the order they were tried; the best is that of the lowest held-out loss, the
/// stronger one where two are equal.
///
/// Every fold starts a strength from where it ended with the one before. Empty where there are no folds.
///
/// `start` becomes the first fold's head of the best strength: the fit on all rows is near it.
pub(crate) fn cross_validate(
    pool: &Pool,
    samples: &Samples,
    folds: &Folds,
    stop: Stop,
    interrupt: &AtomicBool,
    start: &mut Vec<f64>,
) -> Result<Vec<CvPoint>, HeadError> {
    let mut held_out = Vec::new();
    let mut rows = 0;
    for fold in &folds.held_out {
        if rows < ENOUGH_HELD_OUT {
            rows += fold.len();
            held_out.push(fold.clone());
        }
    }
    let mut points: Vec<CvPoint> = Vec::new();
    if held_out.is_empty() {
        return Ok(points);
    }
    let mut heads = vec![vec![0.0; samples.parameters()]; held_out.len()];
    for l2 in strengths(samples.classes()) {
        let mut score = Score::default();
        for (head, fold) in heads.iter_mut().zip(&held_out) {
            let objective = Objective::new(pool, samples, fold.clone(), l2);
            minimise(|p, g| objective.evaluate(p, g), head, stop, interrupt)?;
            score = score.plus(samples.score(pool, head, fold.clone()));
        }
        points.push(CvPoint {
            l2,
            accuracy: score.correct as f64 / score.n as f64,
            loss: score.loss / score.weight,
        });
        match points.len() - 1 - best(&points) {
            0 => start.clone_from(&heads[0]),
            WORSE.. => break,
            _ => {}
        }
    }
    Ok(points)
}

/// The strengths tried, from strong to weak: with ten classes 10, 10^0.5, .. 10^-4.
///
/// The curvature of the mean loss by one class's weights is `p (1 - p)`, about one over the number of classes:
/// what counts as strong goes with it.
fn strengths(classes: usize) -> impl Iterator<Item = f64> {
    let strongest = (2.0 * (100.0 / classes as f64).log10()).round();
    (0..STRENGTHS).map(move |i| 10f64.powf(0.5 * (strongest - i as f64)))
}

/// Index of the lowest loss, the first where equal. 0 without points.
pub(crate) fn best(points: &[CvPoint]) -> usize {
    (1..points.len()).fold(0, |best, i| if points[i].loss < points[best].loss { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_are_half_decades_that_go_with_the_number_of_classes() {
        let ends = |classes| {
            let all: Vec<f64> = strengths(classes).collect();
            (all[0], all[STRENGTHS - 1])
        };
        assert_eq!(ends(10), (10.0, 1e-4));
        assert_eq!(ends(1000), (0.1, 1e-6));
        assert!(strengths(2).zip(strengths(2).skip(1)).all(|(a, b)| (a / b - 10f64.sqrt()).abs() < 1e-9));
    }

    #[test]
    fn of_equal_losses_the_stronger_penalty_is_best() {
        let points = [3.0, 1.0, 1.0, 2.0].map(|loss| CvPoint { l2: 1.0, accuracy: 0.0, loss });
        assert_eq!((best(&points), best(&[])), (1, 0));
    }
}
