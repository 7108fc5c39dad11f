//! How good answers are for the target, without its labels.
//!
//! *Agreement*: whether images that look alike are answered alike. For each row its nearest neighbours among the target's
//! features are looked up; the share of them that have its answer, corrected for chance (Cohen's kappa), is 1 where every
//! neighbourhood is of one class and 0 for answers that have nothing to do with how images look, answering one class always
//! among them. It is soft neighbourhood density (Saito et al. 2021, "Tune it the Right Way: Unsupervised Validation of Domain
//! Adaptation via Soft Neighborhood Density", ICCV) with hard answers: no temperature enters, so heads whose logits have other
//! scales are compared alike.
//!
//! *Naming*: whether others who do not know the target give these answers too: their [`super::namings::Namings`] support
//! (agreement of classifiers stands for accuracy without labels: Platanios et al. 2014, "Estimating Accuracy from Unlabeled
//! Data", UAI). A cluster under a wrong name shows here.
//!
//! Answers are worth the product of both: neither alone is enough. They are compared with those of the unadapted model, by namings that
//! are neither's: its own naming would praise it, and praise others more where it is right.

use super::domains::{centred, hard, soft, unit};
use super::namings::{Namings, Way, kappa};
use crate::head::LinearHead;
use crate::{Error, Session};
use headstart_tensor::{Rng, Tensor};
use serde::Serialize;

/// Rows that are looked at, at most: what is left of chance is about a hundredth then.
const MOST: usize = 3000;
/// Rows whose cosines with all others are computed at once.
const BLOCK: usize = 512;
/// The share of the unadapted answers' diversity that adapted ones keep: less is a class that swallows others.
const DIVERSITY: f64 = 0.9;
/// Neighbours of each.
const NEIGHBOURS: usize = 10;

/// What can be said of answers without labels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Whether neighbours are answered alike, beyond chance; at most 1.
    pub agreement: f64,
    /// Whether class means of the source that are made in other ways than these answers and the unadapted ones answer alike,
    /// beyond chance; `null` without a source.
    pub naming: Option<f64>,
    /// The same class means' naming of the unadapted model: what `naming` is to be compared with.
    pub unadapted_naming: Option<f64>,
    /// Mean entropy of the probabilities, 0 (certain) to 1 (every class as probable).
    pub entropy: f64,
    /// Entropy of the mean probabilities, 0 (all one class) to 1 (every class as often). `diversity - entropy` is the mutual
    /// information that SHOT maximises.
    pub diversity: f64,
}

impl Score {
    fn worth(&self) -> f64 {
        worth(self.agreement, self.naming)
    }

    /// Whether the answers are about as diverse as those of the unadapted model, whose score is `none`: no class has swallowed
    /// others.
    pub(super) fn is_diverse(&self, none: &Score) -> bool {
        self.diversity >= DIVERSITY * none.diversity
    }

    /// What an epoch of a fit is judged by, against others of the fit: the worth of its answers, among equals their agreement; less
    /// than all else where they are not diverse.
    pub(super) fn rank(&self, none: &Score) -> [f64; 2] {
        if self.is_diverse(none) { [self.worth(), self.agreement] } else { [f64::NEG_INFINITY; 2] }
    }

    /// How much more the answers are worth than those of the unadapted model, whose score is `none`.
    pub fn gain(&self, none: &Score) -> f64 {
        self.worth() - worth(none.agreement, self.unadapted_naming)
    }

    /// How much more the names of the classes are supported than those of the unadapted model, whose score is `none`; without a
    /// source how much more neighbours are answered alike.
    pub fn lead(&self, none: &Score) -> f64 {
        match (self.naming, self.unadapted_naming) {
            (Some(naming), Some(unadapted)) => naming - unadapted,
            _ => self.agreement - none.agreement,
        }
    }
}

/// Without a source the agreement alone.
fn worth(agreement: f64, naming: Option<f64>) -> f64 {
    agreement.max(0.0) * naming.map_or(1.0, |naming| naming.max(0.0))
}

/// What the score looks at, of some of the target's rows.
#[derive(Debug)]
pub(super) struct Neighbourhoods {
    /// The rows that are looked at.
    rows: Vec<usize>,
    /// In each feature space the nearest to each, as positions among them.
    nearest: Vec<Vec<Vec<usize>>>,
    /// What the unadapted model answers to all of them; of no use where agreement alone is asked for.
    unadapted: Vec<usize>,
}

/// The nearest [`NEIGHBOURS`] of each of `rows` `[n, d]`, at length 1, by the cosine.
///
/// # Errors
/// Where a feature is not finite.
pub(super) fn nearest(session: &Session, rows: &Tensor) -> Result<Vec<Vec<usize>>, Error> {
    let n = rows.dims()[0];
    let head = LinearHead::new(rows.clone(), Tensor::zeros([n]))?;
    let mut found = Vec::with_capacity(n);
    let order: Vec<usize> = (0..n).collect();
    for block in order.chunks(BLOCK) {
        session.check()?;
        let cosines = head.logits(session.pool, &rows.rows(block))?;
        found.extend(session.pool.map(block.len(), |i| {
            let row = cosines.row(i);
            let mut others: Vec<usize> = (0..n).filter(|&j| j != block[i]).collect();
            let nearer = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
            if others.len() > NEIGHBOURS {
                others.select_nth_unstable_by(NEIGHBOURS, nearer);
                others.truncate(NEIGHBOURS);
            }
            others
        }));
    }
    Ok(found)
}

/// At most `most` of `n` rows, in their order.
pub(super) fn some(n: usize, most: usize, seed: u64, name: &str) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..n).collect();
    Rng::named(seed, name).shuffle(&mut rows);
    rows.truncate(most);
    rows.sort_unstable();
    rows
}

impl Neighbourhoods {
    /// Those of rows in feature spaces `[n, d]` of the same images, centred, by the cosine, which the unadapted model answers
    /// so.
    ///
    /// # Errors
    /// Where a feature is not finite.
    pub(super) fn of(
        session: &Session,
        spaces: &[&Tensor],
        unadapted: Vec<usize>,
        seed: u64,
    ) -> Result<Neighbourhoods, Error> {
        let pool = session.pool;
        let rows = some(spaces.first().map_or(0, |s| s.dims()[0]), MOST, seed, "neighbourhoods");
        let mut found = Vec::new();
        for space in spaces {
            let some = unit(pool, &centred(pool, space, false)?.0.rows(&rows));
            found.push(nearest(session, &some)?);
        }
        Ok(Neighbourhoods { rows, nearest: found, unadapted })
    }

    /// Whether neighbours have the same of `answers` to all rows, the mean over feature spaces.
    pub(super) fn agreement(&self, answers: &[usize]) -> f64 {
        let some: Vec<usize> = self.rows.iter().map(|&row| answers[row]).collect();
        let sum: f64 = self.nearest.iter().map(|near| agreement(&some, near)).sum();
        sum / self.nearest.len().max(1) as f64
    }

    /// The score of logits `[n, classes]` of all rows, which came about that way.
    pub(super) fn score(&self, namings: &Namings, way: Way, logits: &Tensor) -> Score {
        let all = hard(logits);
        let agreement = self.agreement(&all);
        let ways = [Way::UNADAPTED, way];
        let (naming, unadapted_naming) =
            (namings.support(&ways, &all), namings.support(&ways, &self.unadapted));
        let (classes, n) = (logits.row_len(), logits.dims()[0].max(1) as f64);
        let probabilities = soft(logits);
        let mut mean = vec![0.0; classes];
        let mut entropy = 0.0;
        for i in 0..logits.dims()[0] {
            let row = probabilities.row(i);
            mean.iter_mut().zip(row).for_each(|(m, &p)| *m += f64::from(p) / n);
            entropy += nats(row.iter().map(|&p| f64::from(p))) / n;
        }
        let most = (classes as f64).ln();
        let (entropy, diversity) = (entropy / most, nats(mean.into_iter()) / most);
        Score { agreement, naming, unadapted_naming, entropy, diversity }
    }
}

fn nats(probabilities: impl Iterator<Item = f64>) -> f64 {
    probabilities.map(|p| if p > 0.0 { -p * p.ln() } else { 0.0 }).sum()
}

/// Whether neighbours have a row's answer, beyond what chance would give.
fn agreement(answers: &[usize], nearest: &[Vec<usize>]) -> f64 {
    kappa(nearest.iter().zip(answers).flat_map(|(near, &a)| near.iter().map(move |&j| (a, answers[j]))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::domains::one_hot;
    use crate::adapt::testing::{cluster, quiet};

    #[test]
    fn answers_that_follow_the_clusters_agree_and_others_do_not() {
        quiet(|session| {
            let (rows, labels) = cluster(240, 3, 5);
            let (found, none) =
                (Neighbourhoods::of(session, &[&rows], Vec::new(), 0).unwrap(), Namings::new(3, Vec::new()));
            let score =
                |answers: Vec<usize>| found.score(&none, Way::UNADAPTED, &one_hot(&answers, 3)).agreement;
            assert!(score(labels.clone()) > 0.95);
            assert!(score(labels.iter().map(|c| (c + 1) % 3).collect()) > 0.95, "names do not matter");
            assert_eq!(score(vec![1; 240]), 0.0, "one answer to all agrees by chance alone");
            let mut rng = Rng::new(2);
            assert!(score((0..240).map(|_| rng.below(3)).collect()).abs() < 0.1);
            let mut some = labels;
            some.iter_mut().step_by(4).for_each(|c| *c = (*c + 1) % 3);
            assert!((0.0..0.95).contains(&score(some)));
        });
    }

    #[test]
    fn entropy_and_diversity_are_zero_and_one_at_their_ends() {
        quiet(|session| {
            let (rows, labels) = cluster(30, 3, 6);
            let (found, none) =
                (Neighbourhoods::of(session, &[&rows], Vec::new(), 0).unwrap(), Namings::new(3, Vec::new()));
            let certain = Tensor::from_fn([30, 3], |i| if labels[i / 3] == i % 3 { 50.0 } else { 0.0 });
            let score = found.score(&none, Way::UNADAPTED, &certain);
            assert!(score.entropy < 1e-6 && (score.diversity - 1.0).abs() < 1e-6, "{score:?}");
            let same = found.score(&none, Way::UNADAPTED, &Tensor::zeros([30, 3]));
            assert!((same.entropy - 1.0).abs() < 1e-6, "{same:?}");
        });
    }

    #[test]
    fn worth_asks_for_both_and_is_compared_by_the_same_namings() {
        let of = |agreement, naming, unadapted_naming| Score {
            agreement,
            naming,
            unadapted_naming,
            entropy: 0.5,
            diversity: 0.5,
        };
        let (none, sourceless) = (of(0.5, Some(0.5), Some(0.5)), of(0.25, None, None));
        assert_eq!((none.gain(&none), none.lead(&none), sourceless.lead(&sourceless)), (0.0, 0.0, 0.0));
        assert_eq!(of(0.1, Some(0.5), Some(0.25)).lead(&none), 0.25);
        assert_eq!(of(1.0, Some(0.5), Some(0.25)).gain(&none), 0.375);
        assert_eq!(of(0.9, Some(-0.2), Some(0.5)).gain(&none), -0.25);
        assert_eq!(of(0.5, None, None).gain(&sourceless), 0.25);
    }
}
