//! Multinomial logistic regression: the head that is fitted to convergence.

use std::sync::atomic::AtomicBool;

use headstart_kernels::Pool;
use headstart_tensor::Tensor;

use super::folds::Folds;
use super::lbfgs::{Stop, minimise};
use super::objective::{Objective, Samples};
use super::path::{CvPoint, best, cross_validate};
use super::standardise::Standardiser;
use super::{ClassWeights, HeadError, LinearHead};

/// Tolerance of a fit in cross-validation, relative to that of the final one: held-out losses that close to
/// their limit are told apart.
const CV_TOLERANCE: f64 = 50.0;
/// Gradients below are rounding: their entries are means of f32 products of about 1.
const ROUNDING: f64 = 1e-8;

/// How strongly large weights are penalised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum L2 {
    /// The strength with the lowest held-out loss in stratified cross-validation.
    Auto {
        /// Number of folds, at least 2; fewer are used where there are fewer images.
        folds: usize,
    },
    /// This strength, at least 0.
    Fixed(f64),
}

impl L2 {
    /// The strength where nothing can be held out: every class has a single image.
    pub const FALLBACK: f64 = 0.1;
}

/// Settings of a fit.
///
/// It minimises, over features with zero mean and unit variance (of all training images; a constant feature is
/// left out: its weight is 0; so is one whose deviation is under 1e-6 of the largest one: features are taken to be of one scale),
///
/// `1/V sum_i v[y_i] cross_entropy(W x_i + b, y_i) + l2/2 |W|^2`, `V = sum_i v[y_i]`,
///
/// by L-BFGS, and folds the standardisation into weight and bias, so that the head reads raw features. `l2` is
/// scikit-learn's `C = 1 / (V l2)`, with `V = n` without class weights. (With two classes scikit-learn keeps one
/// weight vector, the difference of the two here: its `C` is then `2 / (V l2)`.)
///
/// The strength is chosen by the held-out cross-entropy and not by accuracy: it uses how sure the head is of
/// every image, so it tells strengths apart where a few hundred images give the same accuracy, and
/// probabilities are part of what a person gets. The statistics of the standardisation, which use no label, are
/// those of all training images also in cross-validation.
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticRegression {
    /// The penalty.
    pub l2: L2,
    /// What an image of each class counts, in the fit and in cross-validation's loss.
    pub class_weights: ClassWeights,
    /// Which images go into which fold. The fit itself has no randomness.
    pub seed: u64,
    /// Rows that every image gave, one after the other, 1 or more: they stay in one fold.
    pub views: usize,
    /// Most L-BFGS steps of one fit, at least 1.
    pub max_iterations: usize,
    /// Converged where the largest entry of the gradient, relative to the objective, is at most this share of
    /// what it is at the zero head; above 0. Below about 1e-6 it is lost in the rounding of f32 products.
    pub tolerance: f64,
}

impl Default for LogisticRegression {
    fn default() -> Self {
        LogisticRegression {
            l2: L2::Auto { folds: 5 },
            class_weights: ClassWeights::None,
            seed: 0,
            views: 1,
            max_iterations: 1000,
            tolerance: 1e-4,
        }
    }
}

/// A fitted head, and how the fit went.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadFit {
    /// The head, on raw features.
    pub head: LinearHead,
    /// The strength it was fitted with.
    pub l2: f64,
    /// What cross-validation found, from strong to weak. Empty with a fixed strength.
    pub cross_validation: Vec<CvPoint>,
    /// L-BFGS steps of the final fit.
    pub iterations: usize,
    /// False where the steps ran out, or nothing more could be gained in f32, before the tolerance was met.
    pub converged: bool,
    /// The objective at the solution: mean weighted cross-entropy plus penalty.
    pub loss: f64,
}

impl LogisticRegression {
    /// Fits a head to `features` `[n, d]`, whose row `i` is of class `targets[i]` in `0..classes`.
    ///
    /// The same features, settings and instruction set give the same bytes, whatever the number of threads.
    ///
    /// # Errors
    /// Where a setting is out of its range, features are no matrix or not finite, labels do not fit, there are
    /// fewer than two classes or one without an image, or `interrupt` was set.
    pub fn fit(
        &self,
        features: &Tensor,
        targets: &[usize],
        classes: usize,
        pool: &Pool,
        interrupt: &AtomicBool,
    ) -> Result<HeadFit, HeadError> {
        self.check()?;
        if self.views == 0 || !targets.len().is_multiple_of(self.views) {
            return Err(HeadError::Views { views: self.views, rows: targets.len() });
        }
        let counts = count(features, targets, classes)?;
        let class_weights = self.class_weights.resolve(&counts)?;
        let folds = match self.l2 {
            L2::Auto { folds } => folds,
            L2::Fixed(_) => 0,
        };
        let folds = Folds::of_views(targets, classes, self.views, folds, self.seed);
        let standardiser = Standardiser::of(pool, features)?;
        let ordered: Vec<usize> = folds.order.iter().map(|&row| targets[row]).collect();
        let samples = Samples {
            features: &standardiser.apply(pool, features, &folds.order),
            d: features.row_len(),
            targets: &ordered,
            class_weights: &class_weights,
        };
        let relative = self.tolerance * samples.steepness_at_zero(pool);
        let stop = Stop { relative, absolute: ROUNDING, max_iterations: self.max_iterations };
        let rough = Stop { relative: CV_TOLERANCE * relative, ..stop };
        let mut parameters = vec![0.0; samples.parameters()];
        let cross_validation = cross_validate(pool, &samples, &folds, rough, interrupt, &mut parameters)?;
        let l2 = match self.l2 {
            L2::Fixed(l2) => l2,
            L2::Auto { .. } => {
                cross_validation.get(best(&cross_validation)).map_or(L2::FALLBACK, |point| point.l2)
            }
        };
        let objective = Objective::new(pool, &samples, 0..0, l2);
        let minimum = minimise(|p, g| objective.evaluate(p, g), &mut parameters, stop, interrupt)?;
        Ok(HeadFit {
            head: standardiser.fold_back(&parameters, classes)?,
            l2,
            cross_validation,
            iterations: minimum.iterations,
            converged: minimum.converged,
            loss: minimum.value,
        })
    }

    /// Whether every setting is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), HeadError> {
        let setting = |ok: bool, name, found, expected| match ok {
            true => Ok(()),
            false => Err(HeadError::Setting { name, found, expected }),
        };
        match self.l2 {
            L2::Auto { folds } => setting(folds >= 2, "folds", folds as f64, "2 or more")?,
            L2::Fixed(l2) => setting(l2 >= 0.0 && l2.is_finite(), "l2", l2, "a number from 0")?,
        }
        let iterations = self.max_iterations;
        setting(iterations > 0, "max_iterations", iterations as f64, "1 or more")?;
        let ok = self.tolerance > 0.0 && self.tolerance.is_finite();
        setting(ok, "tolerance", self.tolerance, "a number above 0")
    }
}

/// Images of each class of `features` `[n, d]`, after a look at shapes and labels.
///
/// # Errors
/// Where they do not fit, there are fewer than two classes, or one has no image.
pub(super) fn count(features: &Tensor, targets: &[usize], classes: usize) -> Result<Vec<usize>, HeadError> {
    let &[n, d] = features.dims() else {
        return Err(HeadError::Features { found: features.shape().clone() });
    };
    if n == 0 || d == 0 {
        return Err(HeadError::Features { found: features.shape().clone() });
    }
    if targets.len() != n {
        return Err(HeadError::TargetCount { rows: n, targets: targets.len() });
    }
    if classes < 2 {
        return Err(HeadError::TooFewClasses { classes });
    }
    let mut counts = vec![0; classes];
    for (row, &target) in targets.iter().enumerate() {
        *counts.get_mut(target).ok_or(HeadError::Target { row, target, classes })? += 1;
    }
    match counts.iter().position(|&count| count == 0) {
        Some(class) => Err(HeadError::EmptyClass { class }),
        None => Ok(counts),
    }
}
