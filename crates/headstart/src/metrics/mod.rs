//! How good a classifier is on labelled images: from logits `[n, classes]` and targets to what is reported.

mod accuracy;
mod answer;
mod confusion;
mod mcnemar;
mod probability;
mod sample_size;
mod separation;

pub use accuracy::{argmax, correct, majority_accuracy, top_k_correct, wilson_interval};
pub use answer::Answer;
pub use confusion::{Confused, Confusion, MacroAverage};
pub use mcnemar::{McNemar, holm};
pub use probability::{BINS, ReliabilityBin, brier, calibration_error, log_loss, reliability, softmax};
pub use sample_size::SampleSize;
pub use separation::{Separation, keeping};

use headstart_data::Kind;
use headstart_tensor::Tensor;
use serde::Serialize;

use crate::head::HeadError;
use crate::loss::check;

/// The `k` of the top-k accuracies, each reported where there are more classes.
const TOP_K: [usize; 2] = [3, 5];
/// Pairs of confused classes that are named.
const CONFUSED: usize = 10;

/// What is reported of a classifier on labelled images. Serialises to the JSON of `eval`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of images, at least 1.
    pub n: usize,
    /// Share that is right.
    pub accuracy: f64,
    /// Its 95 % interval, low and high: [`wilson_interval`].
    pub accuracy_ci95: [f64; 2],
    /// Whether these are enough images to tell, and how many would be.
    pub sample_size: SampleSize,
    /// Mean recall of the classes that have images.
    pub balanced_accuracy: f64,
    /// Precision, recall and F1, every class counting the same.
    pub macro_average: MacroAverage,
    /// Share of images whose class is among the 3, and the 5, most probable ones, where there are more classes.
    pub top_k: Vec<TopK>,
    /// Mean cross-entropy (natural logarithm), unweighted.
    pub loss: f64,
    /// [`brier`]: 0 to 2.
    pub brier: f64,
    /// Expected calibration error: [`calibration_error`] of `reliability`.
    pub ece: f64,
    /// The answers by their probability: [`BINS`] bins.
    pub reliability: Vec<ReliabilityBin>,
    /// Class by class, in the order of the classes.
    pub per_class: Vec<ClassEvaluation>,
    /// Ten pairs of classes at most, the most often mistaken first.
    pub most_confused: Vec<ConfusedClasses>,
    /// Counts, `[true][predicted]`.
    pub confusion: Confusion,
}

/// A top-k accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TopK {
    /// Most probable classes that are looked at.
    pub k: usize,
    /// Share of images whose class is among them.
    pub accuracy: f64,
}

/// One class's part of an [`Evaluation`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassEvaluation {
    /// The class's name.
    pub label: String,
    /// Its number of images.
    pub n: usize,
    /// Of the images answered with it, the share that is of it; `None` where none was.
    pub precision: Option<f64>,
    /// Of its images, the share that is answered with it; `None` where it has none.
    pub recall: Option<f64>,
    /// [`Confusion::f1`]; `None` where it has neither images nor answers.
    pub f1: Option<f64>,
}

/// Images of one class that were taken for another, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfusedClasses {
    /// Their class.
    pub label: String,
    /// The class they were taken for.
    pub taken_for: String,
    /// How many.
    pub n: usize,
}

impl Evaluation {
    /// Judges logits `[n, classes]` of images of classes `targets`; `labels` are the classes' names.
    ///
    /// # Errors
    /// Where there is no image (nothing can be said), shapes, labels or names do not fit, or a logit is NaN or
    /// infinite.
    pub fn new(logits: &Tensor, targets: &[usize], labels: &[String]) -> Result<Evaluation, HeadError> {
        let classes = check(logits, targets)?;
        if labels.len() != classes {
            return Err(HeadError::ClassNames { names: labels.len(), classes });
        }
        let n = targets.len();
        let answers = (0..n).map(|i| argmax(logits.row(i)));
        let confusion = Confusion::new(classes, targets.iter().copied().zip(answers));
        let right = confusion.correct();
        let accuracy = right as f64 / n as f64;
        let per_class = labels.iter().enumerate().map(|(class, label)| ClassEvaluation {
            label: label.clone(),
            n: confusion.images(class),
            precision: confusion.precision(class),
            recall: confusion.recall(class),
            f1: confusion.f1(class),
        });
        let confused = confusion.most_confused(CONFUSED).into_iter().map(|pair| ConfusedClasses {
            label: labels[pair.truth].clone(),
            taken_for: labels[pair.answer].clone(),
            n: pair.n,
        });
        let top_k = TOP_K
            .into_iter()
            .filter(|&k| k < classes)
            .map(|k| TopK { k, accuracy: top_k_correct(logits, targets, k) as f64 / n as f64 });
        let reliability = reliability(logits, targets)?;
        Ok(Evaluation {
            n,
            accuracy,
            accuracy_ci95: wilson_interval(right, n),
            sample_size: SampleSize::of(right, n),
            balanced_accuracy: confusion.balanced_accuracy().unwrap_or(accuracy),
            macro_average: confusion.macro_average(),
            top_k: top_k.collect(),
            loss: log_loss(logits, targets)?,
            brier: brier(logits, targets)?,
            ece: calibration_error(&reliability),
            reliability,
            per_class: per_class.collect(),
            most_confused: confused.collect(),
            confusion,
        })
    }

    /// A sentence where the items (of `split`: "validation", "test") are too few to tell.
    pub fn doubt(&self, split: &str, kind: Kind) -> Option<String> {
        let [low, high] = self.accuracy_ci95;
        self.sample_size.too_few.then(|| {
            format!(
                "too few {split} {} to tell: the interval is {:.0} points wide; about {} would give +-2 points",
                kind.many(),
                100.0 * (high - low),
                kind.count(self.sample_size.images_for_2_points)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("class {i}")).collect()
    }

    #[test]
    fn the_json_has_the_names_and_numbers_of_the_report() {
        let z =
            Tensor::new([4, 3], vec![2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 0.0]).unwrap();
        let evaluation = Evaluation::new(&z, &[0, 1, 1, 1], &names(3)).unwrap();
        let right = (1.0 + 2.0 * (-2.0f64).exp()).ln();
        assert!((evaluation.loss - (right + 0.5)).abs() < 1e-12, "one of four is wrong, by 2");
        let json = serde_json::to_value(&evaluation).unwrap();
        assert_eq!(json["n"], 4);
        assert_eq!(json["accuracy"], 0.75);
        assert_eq!(json["accuracy_ci95"].as_array().unwrap().len(), 2);
        assert_eq!(json["balanced_accuracy"], (1.0 + 2.0 / 3.0) / 2.0);
        assert_eq!(json["confusion"], serde_json::json!([[1, 0, 0], [1, 2, 0], [0, 0, 0]]));
        let classes = serde_json::json!([
            {"label": "class 0", "n": 1, "precision": 0.5, "recall": 1.0, "f1": 2.0 / 3.0},
            {"label": "class 1", "n": 3, "precision": 1.0, "recall": 2.0 / 3.0, "f1": 0.8},
            {"label": "class 2", "n": 0, "precision": null, "recall": null, "f1": null},
        ]);
        assert_eq!(json["per_class"], classes);
        let confused = serde_json::json!([{"label": "class 1", "taken_for": "class 0", "n": 1}]);
        assert_eq!(json["most_confused"], confused);
        assert_eq!(json["reliability"].as_array().unwrap().len(), BINS);
        assert_eq!(json["sample_size"]["too_few"], true);
        assert!(
            evaluation
                .doubt("validation", Kind::Images)
                .unwrap()
                .starts_with("too few validation images to tell: the interval is")
        );
        let mut fields: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "accuracy",
                "accuracy_ci95",
                "balanced_accuracy",
                "brier",
                "confusion",
                "ece",
                "loss",
                "macro_average",
                "most_confused",
                "n",
                "per_class",
                "reliability",
                "sample_size",
                "top_k"
            ]
        );
    }

    #[test]
    fn top_k_is_told_where_there_are_more_classes() {
        let k = |classes: usize| {
            let z = Tensor::from_fn([1, classes], |i| i as f32);
            let found = Evaluation::new(&z, &[classes - 4], &names(classes)).unwrap();
            found.top_k.iter().map(|top| (top.k, top.accuracy)).collect::<Vec<_>>()
        };
        assert_eq!((k(4), k(5), k(6)), (vec![(3, 0.0)], vec![(3, 0.0)], vec![(3, 0.0), (5, 1.0)]));
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        let z = Tensor::zeros([1, 2]);
        assert_eq!(Evaluation::new(&z, &[0], &names(3)), Err(HeadError::ClassNames { names: 3, classes: 2 }));
        let nothing = Evaluation::new(&Tensor::zeros([0, 2]), &[], &names(2)).unwrap_err();
        assert_eq!(
            nothing.to_string(),
            "logits have shape [0, 2]: expected [images, classes], both at least 1"
        );
        assert!(matches!(log_loss(&z, &[2]), Err(HeadError::Target { row: 0, target: 2, classes: 2 })));
    }
}
