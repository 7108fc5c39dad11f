//! Everything `eval` says of a set of answers.

use super::wilson;
use crate::loss::cross_entropy;
use headstart_tensor::Tensor;
use serde::Serialize;

/// Measures of a classifier on labelled images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Images.
    pub n: usize,
    /// Share that was right; 0 without images.
    pub accuracy: f64,
    /// Its 95 % Wilson interval.
    pub accuracy_ci95: [f64; 2],
    /// Mean recall of the classes that have images.
    pub balanced_accuracy: f64,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Every class.
    pub per_class: Vec<ClassResult>,
    /// Rows are true classes, columns answers.
    pub confusion: Vec<Vec<usize>>,
}

/// A class's measures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassResult {
    /// The class.
    pub label: String,
    /// Its images.
    pub n: usize,
    /// Share of the answers for this class that were right; `null` where none was given.
    pub precision: Option<f64>,
    /// Share of its images that were found; `null` where it has none.
    pub recall: Option<f64>,
}

impl Evaluation {
    /// Measures `logits` `[n, classes]` against `targets`. The first of equal largest logits is the answer.
    ///
    /// # Panics
    /// Where targets and labels do not fit the logits.
    pub fn new(logits: &Tensor, targets: &[usize], labels: &[String]) -> Evaluation {
        let mut confusion = vec![vec![0usize; labels.len()]; labels.len()];
        for (i, &target) in targets.iter().enumerate() {
            confusion[target][answer(logits.row(i))] += 1;
        }
        let n = targets.len();
        let right: usize = (0..labels.len()).map(|c| confusion[c][c]).sum();
        let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
        let per_class: Vec<ClassResult> = labels
            .iter()
            .enumerate()
            .map(|(c, label)| {
                let n = confusion[c].iter().sum();
                let answers = confusion.iter().map(|row| row[c]).sum();
                let (precision, recall) = (share(confusion[c][c], answers), share(confusion[c][c], n));
                ClassResult { label: label.clone(), n, precision, recall }
            })
            .collect();
        let recalls: Vec<f64> = per_class.iter().filter_map(|c| c.recall).collect();
        Evaluation {
            n,
            accuracy: share(right, n).unwrap_or(0.0),
            accuracy_ci95: wilson(right, n),
            balanced_accuracy: recalls.iter().sum::<f64>() / recalls.len().max(1) as f64,
            loss: f64::from(cross_entropy(logits, targets, None).0),
            per_class,
            confusion,
        }
    }
}

fn answer(logits: &[f32]) -> usize {
    let mut best = 0;
    for (i, &l) in logits.iter().enumerate() {
        if l > logits[best] {
            best = i;
        }
    }
    best
}

/// The accuracy on `targets` of always answering the most frequent of the training labels (the first of equals).
pub fn majority_accuracy(train: &[usize], targets: &[usize], classes: usize) -> f64 {
    let count = |labels: &[usize], class| labels.iter().filter(|&&l| l == class).count();
    let most = (0..classes).rev().max_by_key(|&c| count(train, c)).unwrap_or(0);
    count(targets, most) as f64 / targets.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_right_and_absent_classes_do_not_poison() {
        let logits = Tensor::new([3, 3], vec![2.0, 1.0, 0.0, 0.0, 1.0, 0.0, 5.0, 0.0, 0.0]).unwrap();
        let labels = ["a", "b", "c"].map(str::to_owned);
        let e = Evaluation::new(&logits, &[0, 1, 1], &labels);
        assert_eq!((e.n, e.accuracy, e.balanced_accuracy), (3, 2.0 / 3.0, 0.75));
        assert_eq!(e.confusion, [[1, 0, 0], [1, 1, 0], [0, 0, 0]]);
        assert_eq!((e.per_class[0].precision, e.per_class[0].recall), (Some(0.5), Some(1.0)));
        assert_eq!((e.per_class[2].precision, e.per_class[2].recall), (None, None));
        assert_eq!(majority_accuracy(&[1, 1, 0], &[0, 1, 1], 3), 2.0 / 3.0);
    }

    #[test]
    fn no_image_is_no_error() {
        let e = Evaluation::new(&Tensor::zeros([0, 2]), &[], &["a".to_owned(), "b".to_owned()]);
        assert_eq!((e.n, e.accuracy, e.accuracy_ci95), (0, 0.0, [0.0, 1.0]));
    }
}
