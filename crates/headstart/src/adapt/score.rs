//! How good answers are for the target, without its labels.
//!
//! The score that decides is *agreement*: whether images that look alike are answered alike. For each row its nearest
//! neighbours among the target's features are looked up; the share of them that have its answer, corrected for chance
//! (Cohen's kappa), is 1 where every neighbourhood is of one class and 0 for answers that have nothing to do with how images
//! look, answering one class always among them. It is soft neighbourhood density (Saito et al. 2021, "Tune it the Right Way:
//! Unsupervised Validation of Domain Adaptation via Soft Neighborhood Density", ICCV) with hard answers: no temperature enters,
//! so heads whose logits have other scales are compared alike. The other figures are shown beside it.

use super::domains::{centred, hard, soft, unit};
use crate::head::LinearHead;
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
    /// Whether neighbours are answered alike, beyond chance; at most 1. This one decides.
    pub agreement: f64,
    /// Mean entropy of the probabilities, 0 (certain) to 1 (every class as probable).
    pub entropy: f64,
    /// Entropy of the mean probabilities, 0 (all one class) to 1 (every class as often). `diversity - entropy` is the mutual
    /// information that SHOT maximises.
    pub diversity: f64,
}

/// Neighbourhoods of some of the target's rows.
#[derive(Debug)]
pub(super) struct Neighbourhoods {
    /// The rows that are looked at.
    rows: Vec<usize>,
    /// The nearest of them to each, as positions in `rows`; of each feature space that was given.
    nearest: Vec<Vec<Vec<usize>>>,
}

impl Neighbourhoods {
    /// Those of rows in feature spaces `[n, d]` of the same images, centred, by the cosine.
    pub(super) fn of(session: &Session, spaces: &[&Tensor], seed: u64) -> Result<Neighbourhoods, Error> {
        let n = spaces.first().map_or(0, |s| s.dims()[0]);
        let mut rows: Vec<usize> = (0..n).collect();
        Rng::named(seed, "neighbourhoods").shuffle(&mut rows);
        rows.truncate(MOST);
        rows.sort_unstable();
        let mut nearest = Vec::new();
        for space in spaces {
            let (centred, _) = centred(session.pool, space, false)?;
            let some = unit(session.pool, &centred.rows(&rows));
            let zeros = Tensor::zeros([rows.len()]);
            let cosines = LinearHead::new(some.clone(), zeros)?.logits(session.pool, &some)?;
            nearest.push(session.pool.map(rows.len(), |i| {
                let row = cosines.row(i);
                let mut others: Vec<usize> = (0..rows.len()).filter(|&j| j != i).collect();
                let nearer = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
                if others.len() > NEIGHBOURS {
                    others.select_nth_unstable_by(NEIGHBOURS, nearer);
                    others.truncate(NEIGHBOURS);
                }
                others
            }));
        }
        Ok(Neighbourhoods { rows, nearest })
    }

    /// The score of logits `[n, classes]` of all rows.
    pub(super) fn score(&self, logits: &Tensor) -> Score {
        let answers = hard(logits);
        let answers: Vec<usize> = self.rows.iter().map(|&row| answers[row]).collect();
        let agreement = self.nearest.iter().map(|nearest| agreement(&answers, nearest)).sum::<f64>();
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
        Score {
            agreement: agreement / self.nearest.len().max(1) as f64,
            entropy: entropy / most,
            diversity: nats(mean.into_iter()) / most,
        }
    }
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
            let found = Neighbourhoods::of(session, &[&rows], 0).unwrap();
            let score = |answers: Vec<usize>| found.score(&one_hot(&answers, 3)).agreement;
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
            let found = Neighbourhoods::of(session, &[&rows], 0).unwrap();
            let certain = Tensor::from_fn([30, 3], |i| if labels[i / 3] == i % 3 { 50.0 } else { 0.0 });
            let score = found.score(&certain);
            assert!(score.entropy < 1e-6 && (score.diversity - 1.0).abs() < 1e-6, "{score:?}");
            let same = found.score(&Tensor::zeros([30, 3]));
            assert!((same.entropy - 1.0).abs() < 1e-6, "{same:?}");
        });
    }
}
