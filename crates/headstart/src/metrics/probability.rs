//! How good stated probabilities are: log loss, Brier score, and whether they mean what they say.

use headstart_tensor::Tensor;
use serde::Serialize;

use super::argmax;
use crate::head::HeadError;
use crate::loss::{check, log_sum_exp};

/// Bins of equal width of a reliability diagram: Guo et al. 2017 use as many.
pub const BINS: usize = 15;

/// Answers of about the same confidence: one bar of a reliability diagram.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Confidences above this are in it.
    pub low: f64,
    /// Confidences up to this are in it.
    pub high: f64,
    /// Images.
    pub n: usize,
    /// Mean probability of the answers, 0 to 1; `None` without images.
    pub confidence: Option<f64>,
    /// Share of the answers that is right; `None` without images.
    pub accuracy: Option<f64>,
}

/// The probabilities of a row of finite logits: `exp(z) / sum exp(z)`, in f64.
pub fn softmax(row: &[f32]) -> Vec<f64> {
    let norm = log_sum_exp(row);
    row.iter().map(|&z| (f64::from(z) - norm).exp()).collect()
}

/// Mean cross-entropy of `softmax(logits)` against `targets`, in f64.
///
/// # Errors
/// Where there is no image, shapes or labels do not fit, or a logit is NaN or infinite.
pub fn log_loss(logits: &Tensor, targets: &[usize]) -> Result<f64, HeadError> {
    check(logits, targets)?;
    let losses = targets.iter().enumerate().map(|(i, &target)| {
        let row = logits.row(i);
        log_sum_exp(row) - f64::from(row[target])
    });
    Ok(losses.sum::<f64>() / targets.len() as f64)
}

/// Mean of `sum_c (p_c - [c = target])^2` over the images: 0 at best, 2 at worst (G. W. Brier 1950, "Verification of
/// forecasts expressed in terms of probability", in its form for several classes).
///
/// # Errors
/// As [`log_loss`].
pub fn brier(logits: &Tensor, targets: &[usize]) -> Result<f64, HeadError> {
    check(logits, targets)?;
    let scores = targets.iter().enumerate().map(|(i, &target)| {
        let apart = |(class, p): (usize, f64)| p - f64::from(u8::from(class == target));
        softmax(logits.row(i)).into_iter().enumerate().map(apart).map(|d| d * d).sum::<f64>()
    });
    Ok(scores.sum::<f64>() / targets.len() as f64)
}

/// The answers in [`BINS`] bins by their probability, from low to high.
///
/// # Errors
/// As [`log_loss`].
pub fn reliability(logits: &Tensor, targets: &[usize]) -> Result<Vec<ReliabilityBin>, HeadError> {
    check(logits, targets)?;
    let mut sums = vec![(0usize, 0.0, 0usize); BINS];
    for (i, &target) in targets.iter().enumerate() {
        let row = logits.row(i);
        let answer = argmax(row);
        let confidence = (f64::from(row[answer]) - log_sum_exp(row)).exp();
        let bin = (confidence * BINS as f64).ceil() as usize;
        let sum = &mut sums[bin.clamp(1, BINS) - 1];
        *sum = (sum.0 + 1, sum.1 + confidence, sum.2 + usize::from(answer == target));
    }
    let bin = |(i, (n, confidence, correct)): (usize, (usize, f64, usize))| ReliabilityBin {
        low: i as f64 / BINS as f64,
        high: (i + 1) as f64 / BINS as f64,
        n,
        confidence: (n > 0).then(|| confidence / n as f64),
        accuracy: (n > 0).then(|| correct as f64 / n as f64),
    };
    Ok(sums.into_iter().enumerate().map(bin).collect())
}

/// The expected calibration error (Naeini et al. 2015, Guo et al. 2017): the mean over all images of how far the accuracy
/// of their bin is from its mean confidence. 0 at best, below 1. Of few images it is large by chance alone.
pub fn calibration_error(bins: &[ReliabilityBin]) -> f64 {
    let n: usize = bins.iter().map(|bin| bin.n).sum();
    let apart = |bin: &ReliabilityBin| match (bin.accuracy, bin.confidence) {
        (Some(accuracy), Some(confidence)) => bin.n as f64 * (accuracy - confidence).abs(),
        _ => 0.0,
    };
    bins.iter().map(apart).sum::<f64>() / n.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits() -> Tensor {
        Tensor::new([4, 3], vec![2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.5, 0.0, 0.0, 3.0]).unwrap()
    }

    #[test]
    fn brier_score_and_calibration_error_are_those_of_numpy() {
        // p = softmax(z); ((p - eye(3)[t]) ** 2).sum(1).mean(); bins by ceil(15 * p.max(1)) - 1
        let targets = [0, 1, 1, 2];
        assert!((brier(&logits(), &targets).unwrap() - 0.340_709_850_077_690_3).abs() < 1e-7);
        let bins = reliability(&logits(), &targets).unwrap();
        let filled: Vec<usize> = (0..BINS).filter(|&i| bins[i].n > 0).collect();
        assert_eq!(filled, [7, 8, 11, 13]);
        assert!((calibration_error(&bins) - 0.308_483_616_403_871_1).abs() < 1e-7);
    }

    #[test]
    fn probabilities_that_come_true_as_often_as_they_say_have_no_error() {
        let z = Tensor::new([4, 2], [3f32.ln(), 0.0].repeat(4)).unwrap();
        let error = |targets: &[usize]| calibration_error(&reliability(&z, targets).unwrap());
        assert!(error(&[0, 0, 0, 1]) < 1e-7);
        assert!((error(&[0, 0, 0, 0]) - 0.25).abs() < 1e-7);
        assert!((error(&[1, 1, 1, 1]) - 0.75).abs() < 1e-7);
    }

    #[test]
    fn a_probability_of_one_is_in_the_last_bin_and_an_even_one_in_the_first_that_holds_it() {
        let z = Tensor::new([2, 2], vec![1e4, -1e4, 0.0, 0.0]).unwrap();
        let bins = reliability(&z, &[0, 0]).unwrap();
        assert_eq!((bins[BINS - 1].n, bins[7].n), (1, 1));
        assert_eq!((bins[0].confidence, bins[0].accuracy), (None, None));
    }

    #[test]
    fn softmax_adds_up_to_one_for_huge_logits() {
        assert_eq!(softmax(&[3e38, -3e38]), [1.0, 0.0]);
        assert!((softmax(&[1.0, 2.0, 3.0]).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
