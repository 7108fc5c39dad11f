//! Which of the methods that were tried is taken, and which images a person should label first.

use super::domains::{centred, class_sums, unit};
use super::report::Tried;
use crate::head::LinearHead;
use crate::{Error, Session};
use headstart_tensor::{Rng, Tensor};

/// How much more an adapted model's answers must be worth: less may be chance.
const MARGIN: f64 = 0.05;
/// What the names that others support may differ by and be as good: the method that was tried first is taken then, the simplest.
const TIE: f64 = 0.02;
/// Images that are named for labelling.
const FIRST: usize = 10;
/// Rows that they are chosen from, at most.
const MOST: usize = 3000;

/// The method that is taken, the first being that of the unadapted model; and why.
///
/// Of those whose answers are about as diverse as the unadapted ones and clearly worth more ([`super::Score::gain`]), the first
/// whose names others support about as much as any ([`super::Score::lead`]). Agreement is no part of the second: between
/// methods it praises those that follow clusters, right or wrong.
pub(super) fn best(tried: &[Tried]) -> (usize, String) {
    if let Some(chosen) = best_by_few(tried) {
        return chosen;
    }
    let none = &tried[0].score;
    if none.naming.is_none() && tried.iter().any(|t| t.score.naming.is_some()) {
        let kept = "the source has no second way to name the target's classes: the unadapted model is kept";
        return (0, kept.to_owned());
    }
    let gain = |i: usize| tried[i].score.gain(none);
    let named = |i: usize| tried[i].score.naming.is_some() == none.naming.is_some();
    let diverse = |i: usize| tried[i].score.is_diverse(none);
    let sound = |i: &usize| named(*i) && diverse(*i) && gain(*i) > MARGIN;
    let sound: Vec<usize> = (1..tried.len()).filter(sound).collect();
    let lead = |i: usize| tried[i].score.lead(none);
    let most = sound.iter().map(|&i| lead(i)).fold(f64::NEG_INFINITY, f64::max);
    let Some(best) = sound.into_iter().find(|&i| lead(i) >= most - TIE) else {
        let kept = "no method has clearly more worth (agreement x naming): the unadapted model is kept";
        return (0, kept.to_owned());
    };
    let (more, less) = (tried[best].score, none);
    let alike = format!(
        "images that look alike are answered alike more often ({:.3}, unadapted {:.3})",
        more.agreement, less.agreement
    );
    let names = match (more.naming, more.unadapted_naming) {
        (Some(more), Some(less)) => {
            format!("; other namings of the classes say the same more often ({more:.3}, unadapted {less:.3})")
        }
        _ => "; but without --source nothing says whether under the right names: measure before you trust it"
            .to_owned(),
    };
    (best, alike + &names)
}

/// Where a few labels are there, the method that they are answered rightly by most; the one that gains more among equals.
fn best_by_few(tried: &[Tried]) -> Option<(usize, String)> {
    let right = |i: usize| tried[i].few;
    right(0)?;
    let better = |a: usize, b: usize| {
        let by = |i: usize| (right(i).unwrap_or(0.0), tried[i].score.gain(&tried[0].score));
        by(a).partial_cmp(&by(b)) == Some(std::cmp::Ordering::Greater)
    };
    let best = (0..tried.len()).reduce(|best, i| if better(i, best) { i } else { best })?;
    let (more, less) = (right(best).unwrap_or(0.0), right(0).unwrap_or(0.0));
    Some((
        best,
        format!(
            "{:.0} % of the few are answered rightly, held out (unadapted {:.0} %)",
            100.0 * more,
            100.0 * less
        ),
    ))
}

/// Rows to label first: the one most like the others, then always the one that is least like those before
/// (farthest-first traversal, Gonzalez 1985), among centred rows by the cosine.
///
/// # Errors
/// Where a feature is not finite.
pub(super) fn first_to_label(session: &Session, rows: &Tensor, seed: u64) -> Result<Vec<usize>, Error> {
    let mut order: Vec<usize> = (0..rows.dims()[0]).collect();
    Rng::named(seed, "images to label").shuffle(&mut order);
    order.truncate(MOST);
    order.sort_unstable();
    let some = unit(session.pool, &centred(session.pool, rows, false)?.0.rows(&order));
    let (n, d) = (order.len(), some.row_len());
    let along = |direction: Vec<f32>| -> Result<Vec<f32>, Error> {
        let head = LinearHead::new(Tensor::new([1, d], direction)?, Tensor::zeros([1]))?;
        Ok(head.logits(session.pool, &some)?.into_data())
    };
    let sum = class_sums(session.pool, &Tensor::full([n, 1], 1.0), &some)?;
    let typical = along(sum.into_data())?;
    let mut next = (0..n).reduce(|best, i| if typical[i] > typical[best] { i } else { best });
    // The largest cosine of each row with one that is chosen.
    let mut nearest = vec![f32::NEG_INFINITY; n];
    let mut chosen = Vec::new();
    while let Some(row) = next {
        chosen.push(order[row]);
        nearest.iter_mut().zip(along(some.row(row).to_vec())?).for_each(|(n, c)| *n = n.max(c));
        let left = (0..n).filter(|&i| nearest[i] < 1.0 - 1e-6);
        next = match chosen.len() < FIRST {
            true => left.min_by(|&a, &b| nearest[a].total_cmp(&nearest[b])),
            false => None,
        };
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::score::Score;
    use crate::adapt::testing::{cluster, quiet};

    fn tried(scores: &[(f64, f64, f64)]) -> Vec<Tried> {
        let of = |&(agreement, naming, diversity): &(f64, f64, f64)| Tried {
            method: String::new(),
            score: Score {
                agreement,
                naming: Some(naming),
                unadapted_naming: Some(0.6),
                entropy: 0.5,
                diversity,
            },
            answers: Vec::new(),
            seconds: 0.0,
            epoch: None,
            few: None,
            eval: None,
        };
        scores.iter().map(of).collect()
    }

    #[test]
    fn the_unadapted_model_is_kept_where_nothing_is_clearly_better() {
        let none = (0.3, 0.6, 0.8);
        let taken = |other: (f64, f64, f64)| best(&tried(&[none, other])).0;
        assert_eq!(taken((0.4, 0.6, 0.8)), 1);
        assert_eq!(taken((0.34, 0.65, 0.9)), 0, "hardly more");
        assert_eq!(taken((0.9, 0.2, 0.9)), 0, "its clusters have other names elsewhere");
        assert_eq!(taken((0.9, 0.9, 0.3)), 0, "one class has swallowed the others");
        let (a, b, c) = ((0.5, 0.75, 0.8), (0.6, 0.7, 0.8), (0.5, 0.71, 0.8));
        assert_eq!(best(&tried(&[none, b, a, a])).0, 2, "the names that others support most");
        assert_eq!(best(&tried(&[none, b, c])).0, 1, "the first of equals");
        assert_eq!(best(&tried(&[none])).0, 0);
        let mut sourceless = tried(&[none, (0.4, 0.1, 0.8)]);
        sourceless.iter_mut().for_each(|t| (t.score.naming, t.score.unadapted_naming) = (None, None));
        let (taken, why) = best(&sourceless);
        assert!(taken == 1 && why.contains("without --source"), "{why}");
        // With a source that says nothing of the unadapted model there is nothing to compare.
        sourceless[1].score.naming = Some(0.9);
        let (taken, why) = best(&sourceless);
        assert!(taken == 0 && why.contains("no second way"), "{why}");
    }

    #[test]
    fn a_few_labels_decide_where_they_are() {
        let mut some = tried(&[(0.3, 0.6, 0.8), (0.9, 0.9, 0.9), (0.4, 0.6, 0.8)]);
        some.iter_mut().zip([0.5, 0.4, 0.7]).for_each(|(t, few)| t.few = Some(few));
        let (taken, why) = best(&some);
        assert!(taken == 2 && why.starts_with("70 % of the few"), "{why}");
        some[1].few = Some(0.7);
        assert_eq!(best(&some).0, 1, "the one that gains more among equals");
    }

    #[test]
    fn images_of_every_cluster_come_first() {
        quiet(|session| {
            let (rows, labels) = cluster(90, 3, 7);
            let found = first_to_label(session, &rows, 0).unwrap();
            let mut classes: Vec<usize> = found[..3].iter().map(|&i| labels[i]).collect();
            classes.sort_unstable();
            assert_eq!((found.len(), classes), (FIRST, vec![0, 1, 2]));
        });
    }
}
