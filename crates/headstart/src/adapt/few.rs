//! A few labels of the target: a head of both domains, whose answers spread along the target's neighbours.
//!
//! 1. In every feature space logistic regression on the source and the few together, each domain centred by its own mean and
//!    at length 1. The few count [`SHARE`] of the whole, however few (the convex combination of Blitzer et al. 2008, "Learning
//!    Bounds for Domain Adaptation").
//! 2. The mean of its probabilities over the spaces, and for a third the votes of the namings, spread along neighbours.
//! 3. A head is fitted to what the rows have come to, as to labels.

use super::domains::{Source, centred, hard, soft, unit};
use super::score::some;
use super::spread::Neighbours;
use crate::head::{L2, LinearHead, LogisticRegression};
use crate::{Error, Session};
use headstart_tensor::Tensor;

/// The name of the method.
pub(super) const FEW: &str = "few";
/// What it does, in a few words, and the paper.
pub(super) const ABOUT: &str =
    "a head of the source and the few, whose answers spread to neighbours (Zhou et al. 2004)";
/// The weight of the few among both domains.
const SHARE: f64 = 0.8;
/// Rows of the source that take part, at most.
const MOST: usize = 2000;

/// The class of each of the target's rows, of which the `known` ones are given as row and class; of every space some source.
/// `votes` `[n, classes]` have sums of 1, or of 0 where nothing is said.
///
/// # Errors
/// Where features are not finite or the run was interrupted.
pub(super) fn few(
    session: &Session,
    neighbours: &Neighbours,
    sources: &[&Source],
    votes: &Tensor,
    known: &[(usize, usize)],
    l2: f64,
) -> Result<Vec<usize>, Error> {
    let mut start = votes.clone();
    start.data_mut().iter_mut().for_each(|v| *v /= 3.0);
    let share = 2.0 / (3.0 * neighbours.spaces.len() as f32);
    for (space, source) in neighbours.spaces.iter().zip(sources) {
        let found = soft(&joint(session, source, space, known, (votes.row_len(), l2))?);
        start.data_mut().iter_mut().zip(found.data()).for_each(|(s, p)| *s += share * p);
    }
    Ok(hard(&neighbours.spread(session, &start, known)?))
}

/// Logits of the target's `rows`, at length 1, of the head of both domains.
fn joint(
    session: &Session,
    source: &Source,
    rows: &Tensor,
    known: &[(usize, usize)],
    (classes, l2): (usize, f64),
) -> Result<Tensor, Error> {
    let pool = session.pool;
    let rows_of = some(source.labels.len(), MOST, 0, "source beside the few");
    let origin = unit(pool, &centred(pool, &source.features, false)?.0).rows(&rows_of);
    let mut labels: Vec<usize> = rows_of.iter().map(|&row| source.labels[row]).collect();
    // A weight is as many copies.
    let copies = SHARE / (1.0 - SHARE) * labels.len() as f64 / known.len().max(1) as f64;
    let copies = (copies.round() as usize).max(1);
    let mut values = origin.into_data();
    for &(row, class) in known {
        for _ in 0..copies {
            values.extend_from_slice(rows.row(row));
            labels.push(class);
        }
    }
    let features = Tensor::new([labels.len(), rows.row_len()], values)?;
    let head = fitted(session, &features, &labels, classes, l2)?;
    Ok(head.logits(pool, rows)?)
}

/// A head fitted to labels that may lack classes: these are never answered.
///
/// # Errors
/// Where features are not finite or the run was interrupted.
pub(super) fn fitted(
    session: &Session,
    features: &Tensor,
    labels: &[usize],
    classes: usize,
    l2: f64,
) -> Result<LinearHead, Error> {
    let present: Vec<usize> = (0..classes).filter(|class| labels.contains(class)).collect();
    let d = features.row_len();
    let mut weight = Tensor::zeros([classes, d]);
    let mut bias = Tensor::full([classes], NEVER);
    match present[..] {
        [] => {}
        [only] => bias.data_mut()[only] = 0.0,
        _ => {
            let fit = LogisticRegression { l2: L2::Fixed(l2), ..LogisticRegression::default() };
            let among = |class: &usize| present.iter().position(|p| p == class).unwrap_or(0);
            let labels: Vec<usize> = labels.iter().map(among).collect();
            let head = fit.fit(features, &labels, present.len(), session.pool, session.interrupt)?.head;
            for (i, &class) in present.iter().enumerate() {
                weight.data_mut()[class * d..(class + 1) * d].copy_from_slice(head.weight.row(i));
                bias.data_mut()[class] = head.bias.data()[i];
            }
        }
    }
    Ok(LinearHead::new(weight, bias)?)
}

/// The logit of a class that is never answered.
const NEVER: f32 = -1e4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::testing::{cluster, quiet};

    #[test]
    fn three_labels_a_class_name_clusters_that_the_source_names_wrongly() {
        quiet(|session| {
            let (target, labels) = cluster(300, 3, 5);
            let (features, known) = cluster(90, 3, 8);
            let turned: Vec<usize> = known.iter().map(|c| (c + 1) % 3).collect();
            let source = Source { features, labels: turned };
            let votes = Tensor::full([300, 3], 1.0 / 3.0);
            let few: Vec<(usize, usize)> = (0..9).map(|i| (i, labels[i])).collect();
            let neighbours = Neighbours::of(session, &[target]).unwrap();
            let found = super::few(session, &neighbours, &[&source], &votes, &few, 0.03).unwrap();
            let right = found.iter().zip(&labels).filter(|(a, l)| a == l).count();
            assert!(right > 270, "{right}; the source alone has none right");
        });
    }

    #[test]
    fn classes_without_a_row_are_never_answered() {
        quiet(|session| {
            let (rows, labels) = cluster(60, 2, 5);
            let moved: Vec<usize> = labels.iter().map(|c| 2 * c).collect();
            let head = fitted(session, &rows, &moved, 4, 0.03).unwrap();
            assert_eq!(hard(&head.logits(session.pool, &rows).unwrap()), moved);
            let one = fitted(session, &rows, &vec![3; 60], 4, 0.03).unwrap();
            assert_eq!(hard(&one.logits(session.pool, &rows).unwrap()), vec![3; 60]);
        });
    }
}
