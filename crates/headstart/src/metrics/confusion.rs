//! The confusion matrix and what is read from it class by class.

use serde::Serialize;

/// Counts of images: row = true class, column = predicted class. In JSON a list of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Confusion {
    rows: Vec<Vec<usize>>,
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
        share(self.rows[class][class], self.rows.iter().map(|row| row[class]).sum())
    }

    /// Of the images of `class`, the share that is answered with it. `None` where there are none.
    pub fn recall(&self, class: usize) -> Option<f64> {
        share(self.rows[class][class], self.images(class))
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
    fn nothing_evaluated_has_no_shares() {
        let c = Confusion::new(2, []);
        assert_eq!((c.balanced_accuracy(), c.precision(0), c.recall(1)), (None, None, None));
    }
}
