//! Temperature scaling: one number that makes a classifier's probabilities mean what they say.
//!
//! C. Guo, G. Pleiss, Y. Sun, K. Weinberger 2017, "On Calibration of Modern Neural Networks" (ICML): logits are divided by
//! `T > 0` before the softmax, with the `T` of the lowest log loss on validation images. No answer changes.

use crate::head::HeadError;
use crate::metrics::{calibration_error, log_loss, reliability};
use headstart_tensor::{Rng, Tensor};
use serde::Serialize;

/// Fewer validation images than this say too little about probabilities: no temperature is fitted.
const FEWEST: usize = 50;
/// `ln T` is searched from minus this to this: T from 0.05 to 20.
const REACH: f64 = 2.995_732_273_553_991;
/// The deviation of `ln T` from 0 that is expected before an image was seen. Where no validation image is wrong, the lowest
/// log loss would be that of `T = 0`, of a classifier that is never in doubt; a few hundred images outweigh this.
const EXPECTED: f64 = 0.5;
/// Evaluations of the search: each leaves 0.618 of the interval, so `ln T` is known to 1e-7.
const STEPS: usize = 36;

/// A fitted temperature, and what it does to the validation images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CalibrationPart {
    /// What logits are divided by; `None` where no temperature was fitted: they stay as they are.
    pub temperature: Option<f64>,
    /// Why there is none.
    pub why_not: Option<String>,
    /// Mean log loss before.
    pub loss_before: f64,
    /// Mean log loss after, each half of the images with the temperature of the other half: images that a temperature was
    /// fitted to would flatter it.
    pub loss_after: f64,
    /// Expected calibration error before.
    pub ece_before: f64,
    /// Expected calibration error after, by halves as the loss.
    pub ece_after: f64,
}

/// The temperature of logits `[n, classes]` for `targets`: the `T` that minimises
/// `sum_i cross_entropy(z_i / T, y_i) + (ln T)^2 / (2 * 0.5^2)`, by golden section over `ln T`.
///
/// # Errors
/// Where there is no image, shapes or labels do not fit, or a logit is NaN or infinite.
pub fn temperature(logits: &Tensor, targets: &[usize]) -> Result<f64, HeadError> {
    crate::loss::check(logits, targets)?;
    let rows: Vec<Vec<f64>> = (0..targets.len()).map(|i| below_largest(logits.row(i))).collect();
    let cost = |log_t: f64| {
        let beta = (-log_t).exp();
        let loss = |(row, &target): (&Vec<f64>, &usize)| {
            row.iter().map(|z| (beta * z).exp()).sum::<f64>().ln() - beta * row[target]
        };
        let losses: f64 = rows.iter().zip(targets).map(loss).sum();
        losses + log_t * log_t / (2.0 * EXPECTED * EXPECTED)
    };
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (-REACH, REACH);
    let (mut a, mut b) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut at_a, mut at_b) = (cost(a), cost(b));
    for _ in 0..STEPS {
        if at_a <= at_b {
            (high, b, at_b) = (b, a, at_a);
            a = high - ratio * (high - low);
            at_a = cost(a);
        } else {
            (low, a, at_a) = (a, b, at_b);
            b = low + ratio * (high - low);
            at_b = cost(b);
        }
    }
    Ok(((low + high) / 2.0).exp())
}

/// Logits minus the largest of their row, in f64.
fn below_largest(row: &[f32]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter().map(|&z| f64::from(z) - f64::from(largest)).collect()
}

/// Logits divided by `temperature` (above 0): the answers stay.
pub fn scaled(mut logits: Tensor, temperature: f64) -> Tensor {
    if temperature != 1.0 {
        logits.data_mut().iter_mut().for_each(|z| *z = (f64::from(*z) / temperature) as f32);
    }
    logits
}

/// Fits a temperature to validation logits `[n, classes]` and says what it does; none where a half is judged no better by the
/// temperature of the other half. Also the logits as they are honestly
/// judged: each half, drawn from `seed`, divided by the temperature of the other half.
///
/// # Errors
/// Where there is no image, shapes or labels do not fit, or a logit is NaN or infinite.
pub fn calibrate(
    logits: &Tensor,
    targets: &[usize],
    seed: u64,
) -> Result<(CalibrationPart, Tensor), HeadError> {
    let ece = |logits: &Tensor| Ok::<_, HeadError>(calibration_error(&reliability(logits, targets)?));
    let (loss_before, ece_before) = (log_loss(logits, targets)?, ece(logits)?);
    let n = targets.len();
    let without = |why_not: String| CalibrationPart {
        temperature: None,
        why_not: Some(why_not),
        loss_before,
        loss_after: loss_before,
        ece_before,
        ece_after: ece_before,
    };
    if n < FEWEST {
        let why = format!("{n} for validation are too few for a temperature: it takes {FEWEST}");
        return Ok((without(why), logits.clone()));
    }
    let classes = logits.row_len();
    let mut order: Vec<usize> = (0..n).collect();
    Rng::named(seed, "halves of the validation images").shuffle(&mut order);
    let halves = order.split_at(n / 2);
    let mut judged = logits.clone();
    for (fitted, other) in [(halves.0, halves.1), (halves.1, halves.0)] {
        let some = logits.rows(fitted);
        let labels: Vec<usize> = fitted.iter().map(|&i| targets[i]).collect();
        let t = temperature(&some, &labels)?;
        for &i in other {
            let row = &mut judged.data_mut()[i * classes..(i + 1) * classes];
            row.iter_mut().for_each(|z| *z = (f64::from(*z) / t) as f32);
        }
    }
    let loss_after = log_loss(&judged, targets)?;
    if loss_after >= loss_before {
        let why = format!(
            "a temperature makes the probabilities no better: loss {loss_before:.4} without, {loss_after:.4} with one"
        );
        return Ok((without(why), logits.clone()));
    }
    let part = CalibrationPart {
        temperature: Some(temperature(logits, targets)?),
        why_not: None,
        loss_before,
        loss_after,
        ece_before,
        ece_after: ece(&judged)?,
    };
    Ok((part, judged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::softmax;

    /// Logits, and labels drawn from their own probabilities; then `factor` times the logits.
    fn drawn(n: usize, factor: f32) -> (Tensor, Vec<usize>) {
        let mut rng = Rng::new(5);
        let z = Tensor::from_fn([n, 4], |_| 2.0 * rng.normal() as f32);
        let draw = |i: usize, u: f64| {
            let mut left = u;
            let p = softmax(z.row(i));
            (0..3)
                .find(|&c| {
                    left -= p[c];
                    left < 0.0
                })
                .unwrap_or(3)
        };
        let targets = (0..n).map(|i| draw(i, rng.uniform())).collect();
        (Tensor::from_fn([n, 4], |i| factor * z.data()[i]), targets)
    }

    #[test]
    fn the_temperature_undoes_logits_that_are_too_large() {
        for factor in [0.5, 1.0, 3.0] {
            let (z, targets) = drawn(4000, factor);
            let t = temperature(&z, &targets).unwrap();
            assert!((t / f64::from(factor) - 1.0).abs() < 0.06, "{factor}: {t}");
        }
    }

    #[test]
    fn the_temperature_has_the_lowest_cost_around() {
        let (z, targets) = drawn(300, 2.0);
        let t = temperature(&z, &targets).unwrap();
        let cost =
            |t: f64| 300.0 * log_loss(&scaled(z.clone(), t), &targets).unwrap() + t.ln() * t.ln() / 0.5;
        for other in [0.9, 0.98, 1.02, 1.1] {
            assert!(cost(t * other) > cost(t), "{t} * {other}");
        }
    }

    #[test]
    fn without_a_mistake_the_temperature_stays_near_one() {
        let z = Tensor::from_fn([60, 2], |i| if i % 2 == 0 { 5.0 } else { 0.0 });
        let t = temperature(&z, &[0; 60]).unwrap();
        assert!((0.5..1.0).contains(&t), "{t}");
    }

    #[test]
    fn calibration_improves_probabilities_and_changes_no_answer() {
        let (z, targets) = drawn(2000, 3.0);
        let (part, judged) = calibrate(&z, &targets, 1).unwrap();
        assert!(part.ece_before > 0.1 && part.ece_after < 0.04, "{part:?}");
        assert!(part.loss_after < part.loss_before);
        let answers = |z: &Tensor| (0..2000).map(|i| crate::metrics::argmax(z.row(i))).collect::<Vec<_>>();
        assert_eq!(answers(&z), answers(&judged));
        let fitted = log_loss(&scaled(z.clone(), part.temperature.unwrap()), &targets).unwrap();
        assert!(fitted < part.loss_after, "images a temperature was fitted to flatter it");
    }

    #[test]
    fn logits_that_are_right_as_they_are_get_no_temperature() {
        let kept = (50..90).filter(|&n| {
            let (z, targets) = drawn(n, 1.0);
            let (part, judged) = calibrate(&z, &targets, 1).unwrap();
            assert_eq!(part.temperature.is_none(), part.why_not.is_some());
            assert!(part.temperature.is_some() || judged == z && part.loss_after == part.loss_before);
            assert!(part.loss_after <= part.loss_before);
            part.temperature.is_some()
        });
        assert!(kept.count() < 20, "most of these have nothing to gain");
    }

    #[test]
    fn few_images_get_no_temperature_and_are_told_why() {
        let (z, targets) = drawn(49, 3.0);
        let (part, judged) = calibrate(&z, &targets, 1).unwrap();
        assert_eq!((part.temperature, part.loss_after, &judged), (None, part.loss_before, &z));
        assert!(part.why_not.unwrap().starts_with("49 for validation are too few"));
        assert!(calibrate(&drawn(50, 3.0).0, &drawn(50, 3.0).1, 1).unwrap().0.temperature.is_some());
    }
}
