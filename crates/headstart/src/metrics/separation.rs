//! How well a score tells images of unknown classes from those of known ones.

use serde::Serialize;

/// Share of known images that a threshold keeps where the false-positive rate is read.
const RECALL: f64 = 0.95;

/// How well a score that is larger for unknown images separates them from known ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Separation {
    /// The chance that an unknown image has a larger score than a known one, equal scores counting half: the area under
    /// the ROC curve. 0.5 is a guess, 1 perfect.
    pub auroc: f64,
    /// The share of unknown images that pass for known at the threshold that keeps 95 % of the known ones.
    pub fpr_at_95_recall: f64,
}

impl Separation {
    /// Of the finite scores of known and of unknown images. `None` where one of both is empty.
    pub fn of(known: &[f64], unknown: &[f64]) -> Option<Separation> {
        let threshold = keeping(known, RECALL)?;
        let mut sorted = known.to_vec();
        sorted.sort_by(f64::total_cmp);
        let above = |&score: &f64| {
            let below = sorted.partition_point(|&k| k < score);
            let up_to = sorted.partition_point(|&k| k <= score);
            (below + up_to) as f64 / 2.0
        };
        let pairs = unknown.len() as f64 * known.len() as f64;
        let passed = unknown.iter().filter(|&&score| score <= threshold).count();
        (!unknown.is_empty()).then(|| Separation {
            auroc: unknown.iter().map(above).sum::<f64>() / pairs,
            fpr_at_95_recall: passed as f64 / unknown.len() as f64,
        })
    }
}

/// The smallest threshold that at least `share` (above 0, at most 1) of `scores` do not exceed. `None` without scores.
pub fn keeping(scores: &[f64], share: f64) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let kept = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(kept.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_scikit_learns_and_equal_scores_count_half() {
        // roc_auc_score([0, 0, 0, 0, 1, 1, 1], [.1, .4, .35, .8, .4, .9, .3])
        let found = Separation::of(&[0.1, 0.4, 0.35, 0.8], &[0.4, 0.9, 0.3]).unwrap();
        assert!((found.auroc - 7.5 / 12.0).abs() < 1e-12, "{found:?}");
        assert_eq!(Separation::of(&[1.0; 3], &[1.0; 5]).unwrap().auroc, 0.5);
        assert_eq!((Separation::of(&[], &[1.0]), Separation::of(&[1.0], &[])), (None, None));
    }

    #[test]
    fn the_threshold_keeps_the_share_and_no_more_than_it_must() {
        let scores: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!((keeping(&scores, 0.95), keeping(&scores, 1.0)), (Some(95.0), Some(100.0)));
        assert_eq!(keeping(&[3.0, 1.0, 2.0], 0.95), Some(3.0));
        let unknown = [94.0, 95.0, 96.0, 97.0];
        assert_eq!(Separation::of(&scores, &unknown).unwrap().fpr_at_95_recall, 0.5);
    }
}
