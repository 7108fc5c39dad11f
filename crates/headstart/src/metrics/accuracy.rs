//! Shares of images that are right, and how far to trust them.

use headstart_tensor::Tensor;

/// The 97.5 % point of the standard normal distribution.
pub(super) const Z: f64 = 1.959_963_984_540_054;

/// The class of the largest logit; the first one where several are equal. 0 for an empty row.
pub fn argmax(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}

/// Rows of logits `[n, classes]` whose largest logit is that of their target.
pub fn correct(logits: &Tensor, targets: &[usize]) -> usize {
    top_k_correct(logits, targets, 1)
}

/// Rows of logits `[n, classes]` whose target is among the `k` largest logits; of equal logits, those of lower
/// classes come first.
pub fn top_k_correct(logits: &Tensor, targets: &[usize], k: usize) -> usize {
    let in_top = |row: &[f32], target: usize| {
        let before = |class: usize| row[class] > row[target] || (row[class] == row[target] && class < target);
        (0..row.len()).filter(|&class| before(class)).count() < k
    };
    targets.iter().enumerate().filter(|&(i, &target)| in_top(logits.row(i), target)).count()
}

/// The 95 % interval of a share of `correct` in `n`: Wilson's score interval (E. B. Wilson 1927, "Probable
/// inference, the law of succession, and statistical inference", JASA 22), without continuity correction. With
/// `p = correct / n` and `z = 1.96`:
///
/// `(p + z^2/2n +- z sqrt(p (1-p) / n + z^2/4n^2)) / (1 + z^2/n)`
///
/// It stays in `[0, 1]` and has its coverage also for few images and for shares near 0 and 1. `[0, 1]` where
/// `n` is 0: nothing is known.
pub fn wilson_interval(correct: usize, n: usize) -> [f64; 2] {
    if n == 0 {
        return [0.0, 1.0];
    }
    let (n, p) = (n as f64, correct as f64 / n as f64);
    let centre = p + Z * Z / (2.0 * n);
    let reach = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    [((centre - reach) / scale).max(0.0), ((centre + reach) / scale).min(1.0)]
}

/// The accuracy of always answering the most common label of `training` (the lowest one where several are
/// equally common) on images of `evaluated` labels. `None` where either is empty.
pub fn majority_accuracy(training: &[usize], evaluated: &[usize]) -> Option<f64> {
    let mut counts = vec![0usize; training.iter().max()? + 1];
    training.iter().for_each(|&label| counts[label] += 1);
    let majority = (0..counts.len()).fold(0, |best, c| if counts[c] > counts[best] { c } else { best });
    let right = evaluated.iter().filter(|&&label| label == majority).count();
    (!evaluated.is_empty()).then(|| right as f64 / evaluated.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_scipys() {
        // scipy.stats.binomtest(k, n).proportion_ci(method="wilson"). 81 of 263 is also Newcombe's (1998) table I.
        for (k, n, expected) in [
            (81, 263, [0.2552885199, 0.3662095770]),
            (0, 20, [0.0000000000, 0.1611251581]),
            (1, 29, [0.0061132143, 0.1717552188]),
            (145, 153, [0.9002235827, 0.9732699504]),
            (10, 10, [0.7224672001, 1.0000000000]),
            (1534, 2000, [0.7479716847, 0.7850046121]),
        ] {
            let found = wilson_interval(k, n);
            for (f, e) in found.iter().zip(expected) {
                assert!((f - e).abs() < 1e-9, "{k}/{n}: {found:?}");
            }
        }
        assert_eq!(wilson_interval(0, 0), [0.0, 1.0]);
        let newcombe = wilson_interval(81, 263).map(|v| (v * 1e4).round() / 1e4);
        assert_eq!(newcombe, [0.2553, 0.3662]);
    }

    #[test]
    fn top_k_counts_targets_among_the_largest() {
        let logits = Tensor::new([3, 3], vec![0.1, 0.7, 0.2, 0.5, 0.5, 0.5, 3.0, 2.0, 1.0]).unwrap();
        let targets = [2, 1, 2];
        assert_eq!(correct(&logits, &targets), 0);
        assert_eq!(top_k_correct(&logits, &targets, 2), 2);
        assert_eq!(top_k_correct(&logits, &targets, 3), 3);
        assert_eq!(top_k_correct(&logits, &targets, 9), 3);
        let answers: Vec<usize> = (0..3).map(|i| argmax(logits.row(i))).collect();
        assert_eq!(correct(&logits, &answers), 3, "ties are broken the same way everywhere");
    }

    #[test]
    fn the_majority_is_that_of_the_training_labels() {
        assert_eq!(majority_accuracy(&[0, 1, 1, 2], &[1, 0, 0, 0]), Some(0.25));
        assert_eq!(majority_accuracy(&[2, 2, 0, 0], &[0, 2, 2]), Some(1.0 / 3.0));
        assert_eq!(majority_accuracy(&[5], &[1]), Some(0.0));
        assert_eq!(majority_accuracy(&[], &[1]), None);
        assert_eq!(majority_accuracy(&[1], &[]), None);
    }
}
