//! How good answers are for the target, without its labels.
//!
//! *Agreement*: whether images that look alike are answered alike. For each row its nearest neighbours among the target's
//! features are looked up; the share of them that have its answer, corrected for chance (Cohen's kappa), is 1 where every
//! neighbourhood is of one class and 0 for answers that have nothing to do with how images look, answering one class always
//! among them. It is soft neighbourhood density (Saito et al. 2021, "Tune it the Right Way: Unsupervised Validation of Domain
//! Adaptation via Soft Neighborhood Density", ICCV) with hard answers: no temperature enters, so heads whose logits have other
//! scales are compared alike.
//!
//! *Reverse accuracy*: whether the answers lead back (reverse validation: Zhong et al. 2010, "Cross Validation Framework to Choose
//! amongst Models and Datasets for Transfer Learning"). The nearest class mean, of the target's rows by these answers, is asked
//! about the source, whose labels are known. Clusters that agree within themselves under the wrong name show here.
//!
//! Both are means over the feature spaces that are there (by the source's statistics and by the target's), which no method
//! has trained.

use super::domains::{Source, centred, class_sums, hard, one_hot, soft, unit};
use crate::head::LinearHead;
use crate::metrics::Confusion;
use crate::{Error, Session};
use headstart_tensor::{Rng, Tensor};
use serde::Serialize;

/// Rows that are looked at, at most: what is left of chance is about a hundredth then.
const MOST: usize = 3000;
/// Neighbours of each.
const NEIGHBOURS: usize = 10;

/// What can be said of answers without labels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Whether neighbours are answered alike, beyond chance; at most 1.
    pub agreement: f64,
    /// How well the answers lead back to the source: the mean over its classes of the share that is right; `null` without a
    /// source.
    pub reverse: Option<f64>,
    /// Mean entropy of the probabilities, 0 (certain) to 1 (every class as probable).
    pub entropy: f64,
    /// Entropy of the mean probabilities, 0 (all one class) to 1 (every class as often). `diversity - entropy` is the mutual
    /// information that SHOT maximises.
    pub diversity: f64,
}

/// What the score looks at, of some of the target's rows.
#[derive(Debug)]
pub(super) struct Neighbourhoods {
    /// The rows that are looked at.
    rows: Vec<usize>,
    spaces: Vec<Space>,
    /// Of the source: some rows, centred and at length 1, and their labels.
    source: Option<(Tensor, Vec<usize>)>,
}

/// A feature space of the target.
#[derive(Debug)]
struct Space {
    /// The rows, centred and at length 1.
    rows: Tensor,
    /// The nearest to each, as positions among them.
    nearest: Vec<Vec<usize>>,
}

/// At most so many of `n` rows, in their order.
fn some(n: usize, seed: u64, name: &str) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..n).collect();
    Rng::named(seed, name).shuffle(&mut rows);
    rows.truncate(MOST);
    rows.sort_unstable();
    rows
}

impl Neighbourhoods {
    /// Those of rows in feature spaces `[n, d]` of the same images, centred, by the cosine.
    pub(super) fn of(
        session: &Session,
        spaces: &[&Tensor],
        source: Option<&Source>,
        seed: u64,
    ) -> Result<Neighbourhoods, Error> {
        let pool = session.pool;
        let rows = some(spaces.first().map_or(0, |s| s.dims()[0]), seed, "neighbourhoods");
        let mut found = Vec::new();
        for space in spaces {
            let some = unit(pool, &centred(pool, space, false)?.0.rows(&rows));
            let zeros = Tensor::zeros([rows.len()]);
            let cosines = LinearHead::new(some.clone(), zeros)?.logits(pool, &some)?;
            let nearest = pool.map(rows.len(), |i| {
                let row = cosines.row(i);
                let mut others: Vec<usize> = (0..rows.len()).filter(|&j| j != i).collect();
                let nearer = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
                if others.len() > NEIGHBOURS {
                    others.select_nth_unstable_by(NEIGHBOURS, nearer);
                    others.truncate(NEIGHBOURS);
                }
                others
            });
            found.push(Space { rows: some, nearest });
        }
        let source = match source {
            None => None,
            Some(source) => {
                let rows = some(source.labels.len(), seed, "source");
                let labels = rows.iter().map(|&row| source.labels[row]).collect();
                Some((unit(pool, &centred(pool, &source.features, false)?.0.rows(&rows)), labels))
            }
        };
        Ok(Neighbourhoods { rows, spaces: found, source })
    }

    /// The score of logits `[n, classes]` of all rows.
    ///
    /// # Errors
    /// Never for logits of these rows.
    pub(super) fn score(&self, session: &Session, logits: &Tensor) -> Result<Score, Error> {
        let answers = hard(logits);
        let answers: Vec<usize> = self.rows.iter().map(|&row| answers[row]).collect();
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let agreement = mean(self.spaces.iter().map(|s| agreement(&answers, &s.nearest)).collect());
        let reverse = match &self.source {
            None => None,
            Some((rows, labels)) => {
                let back =
                    |s: &Space| reverse(session, (&s.rows, &answers), (rows, labels), logits.row_len());
                Some(mean(self.spaces.iter().map(back).collect::<Result<_, _>>()?))
            }
        };
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
        Ok(Score { agreement, reverse, entropy, diversity })
    }
}

/// The mean over the source's classes of the share that the nearest mean of the target's rows, by their answers, gets right.
/// A class that no row is answered with is never given.
fn reverse(
    session: &Session,
    (rows, answers): (&Tensor, &[usize]),
    (source, labels): (&Tensor, &[usize]),
    classes: usize,
) -> Result<f64, Error> {
    let means = unit(session.pool, &class_sums(session.pool, &one_hot(answers, classes), rows)?);
    let absent = |c: usize| if answers.contains(&c) { 0.0 } else { -10.0 };
    let head = LinearHead::new(means, Tensor::from_fn([classes], absent))?;
    let found = hard(&head.logits(session.pool, source)?);
    let pairs = labels.iter().copied().zip(found);
    Ok(Confusion::new(classes, pairs).balanced_accuracy().unwrap_or(0.0))
}

fn nats(probabilities: impl Iterator<Item = f64>) -> f64 {
    probabilities.map(|p| if p > 0.0 { -p * p.ln() } else { 0.0 }).sum()
}

/// The share of neighbours with a row's answer, corrected for what chance would give.
fn agreement(answers: &[usize], nearest: &[Vec<usize>]) -> f64 {
    let classes = answers.iter().max().map_or(0, |m| m + 1);
    let mut counts = vec![0.0; classes];
    answers.iter().for_each(|&a| counts[a] += 1.0);
    let n = answers.len().max(1) as f64;
    let chance: f64 = counts.iter().map(|c| (c / n) * (c / n)).sum();
    let pairs: usize = nearest.iter().map(Vec::len).sum();
    let alike = nearest.iter().zip(answers).flat_map(|(near, a)| near.iter().map(move |&j| answers[j] == *a));
    let share = alike.filter(|&same| same).count() as f64 / pairs.max(1) as f64;
    if chance < 1.0 { (share - chance) / (1.0 - chance) } else { 0.0 }
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
            let found = Neighbourhoods::of(session, &[&rows], None, 0).unwrap();
            let score = |answers: Vec<usize>| found.score(session, &one_hot(&answers, 3)).unwrap().agreement;
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
            let found = Neighbourhoods::of(session, &[&rows], None, 0).unwrap();
            let certain = Tensor::from_fn([30, 3], |i| if labels[i / 3] == i % 3 { 50.0 } else { 0.0 });
            let score = found.score(session, &certain).unwrap();
            assert!(score.entropy < 1e-6 && (score.diversity - 1.0).abs() < 1e-6, "{score:?}");
            let same = found.score(session, &Tensor::zeros([30, 3])).unwrap();
            assert!((same.entropy - 1.0).abs() < 1e-6, "{same:?}");
        });
    }

    #[test]
    fn clusters_under_wrong_names_do_not_lead_back_to_the_source() {
        quiet(|session| {
            let (target, labels) = cluster(240, 3, 5);
            let (features, known) = cluster(90, 3, 8);
            let source = Source { features, labels: known };
            let found = Neighbourhoods::of(session, &[&target], Some(&source), 0).unwrap();
            let score =
                |answers: Vec<usize>| found.score(session, &one_hot(&answers, 3)).unwrap().reverse.unwrap();
            assert!(score(labels.clone()) > 0.95);
            assert!(score(labels.iter().map(|c| (c + 1) % 3).collect()) < 0.05);
            assert!((score(labels.iter().map(|&c| c.min(1)).collect()) - 2.0 / 3.0).abs() < 0.1);
        });
    }
}
