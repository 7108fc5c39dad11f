//! How much an accuracy owes to the split: every image held out once (folds), or the split drawn again (repeats).
//!
//! Both fit the head anew to features that are there already. Images of a group stay on one side.

use crate::head::LinearHead;
use crate::metrics::{correct, wilson_interval};
use crate::parts::Groups;
use crate::{Error, Session};
use headstart_data::split;
use headstart_tensor::Tensor;
use serde::Serialize;

/// The result of `--folds`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossValidation {
    /// Images, each of which was held out once.
    pub n: usize,
    /// Fold by fold.
    pub folds: Vec<Fold>,
    /// Share of all images that was right when held out.
    pub accuracy: f64,
    /// Its 95 % Wilson interval. Heads of other folds share training images, so it is a little too narrow; with groups it is
    /// too narrow by as much as the images of a group resemble each other.
    pub accuracy_ci95: [f64; 2],
}

/// One fold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fold {
    /// Images held out.
    pub n: usize,
    /// Share of them that was right.
    pub accuracy: f64,
}

/// The result of `--repeats`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Repeats {
    /// The accuracy for each seed, beginning with the run's own.
    pub seeds: Vec<SeedAccuracy>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (over one less than their number).
    pub deviation: f64,
}

/// The accuracy of a split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SeedAccuracy {
    /// What the split was drawn from.
    pub seed: u64,
    /// Share of its validation images that was right.
    pub accuracy: f64,
}

/// Fits a head to features and labels, with a seed.
type FitHead<'a> = dyn Fn(&Tensor, &[usize], u64) -> Result<LinearHead, Error> + 'a;

/// Features of labelled images, a row each, and how a head is fitted to some of them.
pub(crate) struct Material<'a> {
    pub(crate) values: Tensor,
    pub(crate) labels: Vec<usize>,
    pub(crate) classes: &'a [String],
    /// The group of each image, where there are groups.
    pub(crate) groups: Option<Groups>,
    /// Fits a head to features and labels, with a seed.
    pub(crate) fit: &'a FitHead<'a>,
}

impl Material<'_> {
    /// Holds every image out once, in `k` folds.
    ///
    /// # Errors
    /// Where a class has fewer images than folds, or all its images are in the groups of one fold, or the run was interrupted.
    pub(crate) fn cross_validate(
        &self,
        session: &Session,
        k: usize,
        seed: u64,
    ) -> Result<CrossValidation, Error> {
        enough(k, &self.labels, self.classes)?;
        let own: Vec<usize>;
        let groups = match &self.groups {
            Some(groups) => &groups.of,
            None => {
                own = (0..self.labels.len()).collect();
                &own
            }
        };
        let fold_of = split::folds(&self.labels, groups, k, seed);
        session.progress.start("folds", k);
        let mut folds = Vec::with_capacity(k);
        let mut right = 0;
        for fold in 0..k {
            session.check()?;
            let (held, rest): (Vec<usize>, Vec<usize>) =
                (0..self.labels.len()).partition(|&i| fold_of[i] == fold);
            if held.is_empty() {
                return Err(refused(k.to_string(), "at most as many folds as there are groups"));
            }
            let found = self.measure(session, &rest, &held, seed)?;
            right += found;
            folds.push(Fold { n: held.len(), accuracy: found as f64 / held.len() as f64 });
            session.progress.advance(1);
        }
        session.progress.finish();
        let n = self.labels.len();
        let accuracy = right as f64 / n as f64;
        Ok(CrossValidation { n, folds, accuracy, accuracy_ci95: wilson_interval(right, n) })
    }

    /// Draws the split again `count - 1` times, from the seeds after `seed`, whose accuracy is `first`.
    ///
    /// # Errors
    /// Where a split leaves nothing to train on or to validate on, or the run was interrupted.
    pub(crate) fn repeat(
        &self,
        session: &Session,
        (count, fraction): (usize, f64),
        seed: u64,
        first: f64,
    ) -> Result<Repeats, Error> {
        let mut seeds = vec![SeedAccuracy { seed, accuracy: first }];
        session.progress.start("splits", count.saturating_sub(1));
        for again in 1..count as u64 {
            session.check()?;
            let seed = seed.wrapping_add(again);
            let (train, val) = match &self.groups {
                None => split::stratified(&self.labels, fraction, seed)?,
                Some(groups) => split::grouped(&self.labels, &groups.of, fraction, seed)?,
            };
            let right = self.measure(session, &train, &val, seed)?;
            seeds.push(SeedAccuracy { seed, accuracy: right as f64 / val.len() as f64 });
            session.progress.advance(1);
        }
        session.progress.finish();
        let n = seeds.len() as f64;
        let mean = seeds.iter().map(|s| s.accuracy).sum::<f64>() / n;
        let variance = seeds.iter().map(|s| (s.accuracy - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        Ok(Repeats { seeds, mean, deviation: variance.sqrt() })
    }

    /// The images `held` that are right after a fit to the images `rest`.
    fn measure(&self, session: &Session, rest: &[usize], held: &[usize], seed: u64) -> Result<usize, Error> {
        let labels = |some: &[usize]| some.iter().map(|&i| self.labels[i]).collect::<Vec<_>>();
        let train = labels(rest);
        if let Some(class) = (0..self.classes.len()).find(|class| !train.contains(class)) {
            let detail = format!(
                "all images of the class \"{}\" are in one group or a few, and none is left to train on",
                self.classes[class]
            );
            let pattern = self.groups.as_ref().map(|g| g.pattern.clone()).unwrap_or_default();
            return Err(Error::GroupBy { pattern, detail });
        }
        let head = (self.fit)(&self.values.rows(rest), &train, seed)?;
        let logits = head.logits(session.pool, &self.values.rows(held))?;
        Ok(correct(&logits, &labels(held)))
    }
}

/// Whether every class has an image for each of `k` folds.
///
/// # Errors
/// Where one has not.
pub(crate) fn enough(k: usize, labels: &[usize], classes: &[String]) -> Result<(), Error> {
    let mut counts = vec![0usize; classes.len()];
    labels.iter().for_each(|&label| counts[label] += 1);
    match counts.iter().position(|&n| n < k) {
        None => Ok(()),
        Some(class) => {
            let found = format!("{k}, and the class \"{}\" has {} images", classes[class], counts[class]);
            Err(refused(found, "at most as many folds as the smallest class has images"))
        }
    }
}

fn refused(found: String, expected: &'static str) -> Error {
    Error::Setting { name: "--folds", found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;
    use crate::head::nearest_centroid;
    use headstart_kernels::Pool;
    use headstart_models::Home;
    use std::sync::atomic::AtomicBool;

    /// Two classes of `n` images a group; a group's images are alike and say nothing of the class.
    fn with_material<T>(groups: bool, check: impl FnOnce(&Material, &Session) -> T) -> T {
        let (home, pool, stop) = (Home::at("no-home"), Pool::new(1), AtomicBool::new(false));
        let session = Session { home: &home, pool: &pool, progress: &Quiet, interrupt: &stop };
        let of: Vec<usize> = (0..60).map(|i| i / 6).collect();
        let labels = of.iter().map(|g| g % 2).collect();
        let values = Tensor::from_fn([60, 10], |i| f32::from(u8::from(i / 60 == i % 10)));
        let classes = ["a".to_owned(), "b".to_owned()];
        let fit = |x: &Tensor, y: &[usize], _| Ok(nearest_centroid(&pool, x, y, 2)?);
        let groups = groups.then(|| Groups { pattern: "g".into(), of });
        check(&Material { values, labels, classes: &classes, groups, fit: &fit }, &session)
    }

    #[test]
    fn images_that_are_alike_flatter_the_accuracy_unless_they_stay_together() {
        let accuracy = |groups| {
            with_material(groups, |m, session| {
                let found = m.cross_validate(session, 5, 0).unwrap();
                assert_eq!(found.folds.iter().map(|f| f.n).sum::<usize>(), 60);
                let right: f64 = found.folds.iter().map(|f| f.accuracy * f.n as f64).sum();
                assert!((right / 60.0 - found.accuracy).abs() < 1e-12);
                found.accuracy
            })
        };
        assert!(accuracy(false) > 0.95, "{}", accuracy(false));
        assert!(accuracy(true) < 0.7, "{}", accuracy(true));
    }

    #[test]
    fn more_folds_than_a_class_has_images_are_refused_by_name() {
        with_material(false, |m, session| {
            let error = m.cross_validate(session, 31, 0).unwrap_err().to_string();
            assert!(error.starts_with("--folds is 31, and the class \"a\" has 30 images"), "{error}");
        });
        with_material(true, |m, session| {
            let error = m.cross_validate(session, 11, 0).unwrap_err().to_string();
            assert!(error.contains("as there are groups"), "{error}");
        });
    }

    #[test]
    fn repeats_tell_the_spread_of_the_splits() {
        with_material(true, |m, session| {
            let found = m.repeat(session, (4, 0.3), 7, 0.5).unwrap();
            assert_eq!(found.seeds.iter().map(|s| s.seed).collect::<Vec<_>>(), [7, 8, 9, 10]);
            let mean = found.seeds.iter().map(|s| s.accuracy).sum::<f64>() / 4.0;
            assert!((found.mean - mean).abs() < 1e-12 && found.deviation >= 0.0);
        });
    }
}
