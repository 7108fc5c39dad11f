//! Whether enough images were measured to say anything, and how many would be.

use serde::Serialize;

use super::accuracy::{Z, wilson_interval};

/// The 95 % interval of an accuracy that is wider than this many points says little.
const WIDE: f64 = 0.10;
/// Half the width of an interval that tells classifiers apart.
const NARROW: f64 = 0.02;

/// How much a measured accuracy says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleSize {
    /// Whether the images are too few to tell: the 95 % interval is more than 10 points wide.
    pub too_few: bool,
    /// Images of which the interval would reach 2 points to either side: `z^2 p (1 - p) / 0.02^2`, with the middle of
    /// the interval for `p`.
    pub images_for_2_points: usize,
}

impl SampleSize {
    /// Of `correct` right answers in `n`.
    pub fn of(correct: usize, n: usize) -> SampleSize {
        let [low, high] = wilson_interval(correct, n);
        let p = (low + high) / 2.0;
        SampleSize {
            too_few: high - low > WIDE,
            images_for_2_points: (Z * Z * p * (1.0 - p) / (NARROW * NARROW)).ceil() as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_images_are_too_few_whatever_the_accuracy() {
        for (correct, n, too_few) in
            [(16, 16, true), (100, 153, true), (145, 153, false), (1534, 2000, false)]
        {
            assert_eq!(SampleSize::of(correct, n).too_few, too_few, "{correct}/{n}");
        }
        assert!(SampleSize::of(0, 0).too_few);
    }

    #[test]
    fn as_many_images_as_asked_for_give_the_interval_they_promise() {
        for (correct, n) in [(1534, 2000), (50, 100), (18, 20)] {
            let images = SampleSize::of(correct, n).images_for_2_points;
            let [low, high] = wilson_interval(correct, n);
            let right = (images as f64 * (low + high) / 2.0).round() as usize;
            let [low, high] = wilson_interval(right, images);
            assert!((high - low - 0.04).abs() < 5e-4, "{images}: {low} {high}");
        }
    }
}
