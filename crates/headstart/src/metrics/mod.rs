//! How good a classifier is on labelled images: from logits `[n, classes]` and targets to what is reported.

mod accuracy;
mod confusion;

pub use accuracy::{argmax, correct, majority_accuracy, top_k_correct, wilson_interval};
pub use confusion::Confusion;

use headstart_tensor::Tensor;
use serde::Serialize;

use crate::head::HeadError;
use crate::loss::{check, log_sum_exp};

/// What is reported of a classifier on labelled images. Serialises to the JSON of `eval`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of images, at least 1.
    pub n: usize,
    /// Share that is right.
    pub accuracy: f64,
    /// Its 95 % interval, low and high: [`wilson_interval`].
    pub accuracy_ci95: [f64; 2],
    /// Mean recall of the classes that have images.
    pub balanced_accuracy: f64,
    /// Mean cross-entropy (natural logarithm), unweighted.
    pub loss: f64,
    /// Class by class, in the order of the classes.
    pub per_class: Vec<ClassEvaluation>,
    /// Counts, `[true][predicted]`.
    pub confusion: Confusion,
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
        });
        Ok(Evaluation {
            n,
            accuracy,
            accuracy_ci95: wilson_interval(right, n),
            balanced_accuracy: confusion.balanced_accuracy().unwrap_or(accuracy),
            loss: log_loss(logits, targets)?,
            per_class: per_class.collect(),
            confusion,
        })
    }
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
            {"label": "class 0", "n": 1, "precision": 0.5, "recall": 1.0},
            {"label": "class 1", "n": 3, "precision": 1.0, "recall": 2.0 / 3.0},
            {"label": "class 2", "n": 0, "precision": null, "recall": null},
        ]);
        assert_eq!(json["per_class"], classes);
        let mut fields: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            ["accuracy", "accuracy_ci95", "balanced_accuracy", "confusion", "loss", "n", "per_class"]
        );
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
