//! How much an image of each class counts in the loss.

use super::HeadError;

/// What an image of each class counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ClassWeights {
    /// Every image counts the same.
    #[default]
    None,
    /// Every class counts the same: an image of class `c` weighs `n / (classes * count[c])`, as scikit-learn's
    /// `class_weight="balanced"`.
    Balanced,
    /// A weight a class, each above 0, in the order of the classes.
    PerClass(Vec<f64>),
}

impl ClassWeights {
    /// A weight for each class, given how many images each has (at least one).
    ///
    /// # Errors
    /// Where the number of weights is not the number of classes, or one is not a finite number above 0.
    pub fn resolve(&self, counts: &[usize]) -> Result<Vec<f64>, HeadError> {
        match self {
            ClassWeights::None => Ok(vec![1.0; counts.len()]),
            ClassWeights::Balanced => {
                let n: usize = counts.iter().sum();
                let share = n as f64 / counts.len() as f64;
                counts
                    .iter()
                    .enumerate()
                    .map(|(class, &count)| match count {
                        0 => Err(HeadError::EmptyClass { class }),
                        count => Ok(share / count as f64),
                    })
                    .collect()
            }
            ClassWeights::PerClass(weights) => {
                if weights.len() != counts.len() {
                    return Err(HeadError::ClassWeightCount { found: weights.len(), classes: counts.len() });
                }
                match weights.iter().position(|w| !(w.is_finite() && *w > 0.0)) {
                    Some(class) => Err(HeadError::ClassWeight { class, found: weights[class] }),
                    None => Ok(weights.clone()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_weights_give_every_class_the_same_sum() {
        let weights = ClassWeights::Balanced.resolve(&[10, 30, 60]).unwrap();
        assert_eq!(weights, [100.0 / 30.0, 100.0 / 90.0, 100.0 / 180.0]);
        assert_eq!(ClassWeights::Balanced.resolve(&[1, 0]), Err(HeadError::EmptyClass { class: 1 }));
    }

    #[test]
    fn weights_that_are_no_weights_are_refused() {
        let per_class = |w: &[f64]| ClassWeights::PerClass(w.to_vec()).resolve(&[1, 1]);
        assert_eq!(per_class(&[1.0, 2.5]).unwrap(), [1.0, 2.5]);
        assert_eq!(per_class(&[1.0]), Err(HeadError::ClassWeightCount { found: 1, classes: 2 }));
        for bad in [0.0, -1.0, f64::INFINITY] {
            assert_eq!(per_class(&[1.0, bad]), Err(HeadError::ClassWeight { class: 1, found: bad }));
        }
        assert!(matches!(per_class(&[f64::NAN, 1.0]), Err(HeadError::ClassWeight { class: 0, .. })));
    }
}
