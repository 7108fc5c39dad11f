//! Consensus: the namings of the target vote, class means settle from the vote in every feature space, and half of what they come
//! to, half of the vote, spreads along neighbours in all spaces.
//!
//! Spaces fail on different images (co-training: Blum and Mitchell 1998, "Combining Labeled and Unlabeled Data with Co-Training",
//! COLT). A head is fitted to the answers by logistic regression, as to labels.

use super::domains::{class_sums, hard, one_hot, unit};
use super::spread::Neighbours;
use crate::head::LinearHead;
use crate::{Error, Session};
use headstart_tensor::Tensor;

/// The name of the method.
pub(super) const CONSENSUS: &str = "consensus";
/// What it does, in a few words, and the paper.
pub(super) const ABOUT: &str =
    "all namings vote, and class means settle in every feature space (after Blum and Mitchell 1998)";
/// Rounds, at most: it ends where no answer changes.
const ROUNDS: usize = 30;

/// The class of each row that `votes` `[n, classes]`, each row's sum 1, come to among `neighbours`.
///
/// # Errors
/// Where the run was interrupted.
pub(super) fn consensus(
    session: &Session,
    neighbours: &Neighbours,
    votes: &Tensor,
) -> Result<Vec<usize>, Error> {
    let classes = votes.row_len();
    let mut start = votes.clone();
    start.data_mut().iter_mut().for_each(|v| *v *= 0.5);
    for space in &neighbours.spaces {
        let settled = one_hot(&settle(session, space, votes)?, classes);
        let share = 0.5 / neighbours.spaces.len() as f32;
        start.data_mut().iter_mut().zip(settled.data()).for_each(|(s, v)| *s += share * v);
    }
    Ok(hard(&neighbours.spread(session, &start, &[])?))
}

/// Spherical k-means from the vote, in a space of rows at length 1. A class without a row is given no more.
fn settle(session: &Session, space: &Tensor, votes: &Tensor) -> Result<Vec<usize>, Error> {
    let (pool, classes) = (session.pool, votes.row_len());
    let mut answers = hard(votes);
    for _ in 0..ROUNDS {
        session.check()?;
        let means = unit(pool, &class_sums(pool, &one_hot(&answers, classes), space)?);
        // Cosines are at least -1.
        let absent = |class: usize| if answers.contains(&class) { 0.0 } else { -10.0 };
        let next = hard(&LinearHead::new(means, Tensor::from_fn([classes], absent))?.logits(pool, space)?);
        if next == answers {
            break;
        }
        answers = next;
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::testing::{cluster, quiet};

    fn right(answers: &[usize], labels: &[usize]) -> usize {
        answers.iter().zip(labels).filter(|(a, l)| a == l).count()
    }

    #[test]
    fn a_vote_that_is_often_wrong_settles() {
        quiet(|session| {
            let (rows, labels) = cluster(240, 3, 5);
            let votes: Vec<usize> =
                labels.iter().enumerate().map(|(i, c)| if i % 5 < 2 { (c + i) % 3 } else { *c }).collect();
            let neighbours = Neighbours::of(session, &[rows]).unwrap();
            let found = consensus(session, &neighbours, &one_hot(&votes, 3)).unwrap();
            assert!(right(&votes, &labels) < 190, "{}", right(&votes, &labels));
            assert!(right(&found, &labels) > 235, "{}", right(&found, &labels));
        });
    }

    #[test]
    fn two_spaces_tell_what_neither_does_alone() {
        quiet(|session| {
            let (rows, labels) = cluster(400, 4, 5);
            // One space mixes classes 0 and 1, the other 2 and 3.
            let mixed = |a: usize, b: usize| {
                Tensor::from_fn([400, 4], |i| {
                    let (row, c) = (rows.row(i / 4), i % 4);
                    if c == a || c == b { 0.5 * (row[a] + row[b]) } else { row[c] }
                })
            };
            let (one, two) = (mixed(0, 1), mixed(2, 3));
            let wrong = |(i, c): (usize, &usize)| (c + usize::from(i % 3 == 0)) % 4;
            let votes = one_hot(&labels.iter().enumerate().map(wrong).collect::<Vec<_>>(), 4);
            let found = |spaces: &[Tensor]| {
                let neighbours = Neighbours::of(session, spaces).unwrap();
                right(&consensus(session, &neighbours, &votes).unwrap(), &labels)
            };
            let [a, b] = [&one, &two].map(|space| found(std::slice::from_ref(space)));
            let both = found(&[one, two]);
            assert!(both > a + 10 && both > b + 10, "{a} {b} {both}");
        });
    }

    #[test]
    fn a_class_that_nobody_votes_for_is_not_given() {
        quiet(|session| {
            let (rows, _) = cluster(60, 3, 5);
            let neighbours = Neighbours::of(session, &[rows]).unwrap();
            let found = consensus(session, &neighbours, &one_hot(&[1; 60], 3)).unwrap();
            assert_eq!(found, [1; 60]);
        });
    }
}
