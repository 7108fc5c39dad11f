//! The confusion matrix and what is read from it class by class.

use serde::Serialize;

/// Counts of images: row = true class, column = predicted class. In JSON a list of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Confusion {
    rows: Vec<Vec<usize>>,
}

/// Means of shares over classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MacroAverage {
    /// Mean precision, 0 to 1.
    pub precision: f64,
    /// Mean recall, 0 to 1.
    pub recall: f64,
    /// Mean F1, 0 to 1.
    pub f1: f64,
}

/// Images of one class that were taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confused {
    /// Their class.
    pub truth: usize,
    /// The class they were taken for.
    pub answer: usize,
    /// How many.
    pub n: usize,
}

impl Confusion {
    /// The counts of `(true, predicted)` pairs, each below `classes`; others are not counted.
    pub fn new(classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Confusion {
        let mut rows = vec![vec![0; classes]; classes];
        for (truth, predicted) in pairs {
            if let Some(count) = rows.get_mut(truth).and_then(|row| row.get_mut(predicted)) {
                *count += 1;
            }
        }
        Confusion { rows }
    }

    /// The counts, `[true][predicted]`.
    pub fn rows(&self) -> &[Vec<usize>] {
        &self.rows
    }

    /// Images of class `class`.
    pub fn images(&self, class: usize) -> usize {
        self.rows[class].iter().sum()
    }

    /// Images that are right.
    pub fn correct(&self) -> usize {
        (0..self.rows.len()).map(|class| self.rows[class][class]).sum()
    }

    /// Of the images answered with `class`, the share that is of it. `None` where nothing was.
    pub fn precision(&self, class: usize) -> Option<f64> {
        share(self.rows[class][class], self.answers(class))
    }

    /// Of the images of `class`, the share that is answered with it. `None` where there are none.
    pub fn recall(&self, class: usize) -> Option<f64> {
        share(self.rows[class][class], self.images(class))
    }

    /// The harmonic mean of precision and recall, `2 tp / (2 tp + fp + fn)`. `None` where the class has neither images nor
    /// answers.
    pub fn f1(&self, class: usize) -> Option<f64> {
        share(2 * self.rows[class][class], self.images(class) + self.answers(class))
    }

    /// Images answered with `class`.
    pub fn answers(&self, class: usize) -> usize {
        self.rows.iter().map(|row| row[class]).sum()
    }

    /// Means over the classes that have images or answers, each class counting the same and a share of nothing as 0: as
    /// scikit-learn's `average="macro", zero_division=0`. 0 where there are no such classes.
    pub fn macro_average(&self) -> MacroAverage {
        let classes: Vec<usize> =
            (0..self.rows.len()).filter(|&c| self.images(c) + self.answers(c) > 0).collect();
        let mean = |of: &dyn Fn(usize) -> Option<f64>| {
            classes.iter().map(|&c| of(c).unwrap_or(0.0)).sum::<f64>() / classes.len().max(1) as f64
        };
        MacroAverage {
            precision: mean(&|c| self.precision(c)),
            recall: mean(&|c| self.recall(c)),
            f1: mean(&|c| self.f1(c)),
        }
    }

    /// Pairs of a class and another that it was taken for, most images first, at most `limit`; pairs as often mistaken
    /// stand in the order of the classes.
    pub fn most_confused(&self, limit: usize) -> Vec<Confused> {
        let mut pairs: Vec<Confused> = Vec::new();
        for (truth, row) in self.rows.iter().enumerate() {
            let wrong = row.iter().enumerate().filter(|&(answer, &n)| answer != truth && n > 0);
            pairs.extend(wrong.map(|(answer, &n)| Confused { truth, answer, n }));
        }
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.n));
        pairs.truncate(limit);
        pairs
    }

    /// Mean recall of the classes that have images. `None` where none has.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        let recalls: Vec<f64> = (0..self.rows.len()).filter_map(|class| self.recall(class)).collect();
        (!recalls.is_empty()).then(|| recalls.iter().sum::<f64>() / recalls.len() as f64)
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_truth_and_columns_are_answers() {
        let c = Confusion::new(3, [(0, 0), (0, 0), (0, 1), (1, 1), (1, 0), (1, 1), (1, 1)]);
        assert_eq!(c.rows(), [[2, 1, 0], [1, 3, 0], [0, 0, 0]]);
        assert_eq!(c.correct(), 5);
        assert_eq!((c.precision(0), c.recall(0)), (Some(2.0 / 3.0), Some(2.0 / 3.0)));
        assert_eq!((c.precision(1), c.recall(1)), (Some(0.75), Some(0.75)));
        assert_eq!((c.precision(2), c.recall(2), c.images(2)), (None, None, 0));
        assert_eq!(c.balanced_accuracy(), Some((2.0 / 3.0 + 0.75) / 2.0), "an absent class is left out");
    }

    #[test]
    fn f1_and_macro_averages_are_scikit_learns() {
        // precision_recall_fscore_support(y, q, zero_division=0), by class and with average="macro". Class 3 has answers
        // only, class 4 has nothing.
        let y = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2];
        let q = [0, 0, 0, 1, 2, 2, 1, 1, 1, 0, 3, 2, 2, 0, 1];
        let c = Confusion::new(5, y.into_iter().zip(q));
        for (class, f1) in [(0, 0.545_454_545_454_545_4), (1, 0.6), (2, 0.5), (3, 0.0)] {
            assert!((c.f1(class).unwrap() - f1).abs() < 1e-12, "{class}");
        }
        assert_eq!(c.f1(4), None);
        let average = c.macro_average();
        assert!((average.precision - 0.425).abs() < 1e-12 && (average.recall - 0.4).abs() < 1e-12);
        assert!((average.f1 - 0.411_363_636_363_636_4).abs() < 1e-12, "{average:?}");
    }

    #[test]
    fn the_most_confused_pairs_come_first() {
        let c = Confusion::new(3, [(0, 0), (0, 1), (1, 0), (2, 1), (2, 1), (1, 1), (2, 2), (2, 2), (2, 2)]);
        let pair = |truth, answer, n| Confused { truth, answer, n };
        assert_eq!(c.most_confused(9), [pair(2, 1, 2), pair(0, 1, 1), pair(1, 0, 1)]);
        assert_eq!(c.most_confused(1), [pair(2, 1, 2)]);
    }

    #[test]
    fn nothing_evaluated_has_no_shares() {
        let c = Confusion::new(2, []);
        assert_eq!((c.balanced_accuracy(), c.precision(0), c.recall(1)), (None, None, None));
    }
}
