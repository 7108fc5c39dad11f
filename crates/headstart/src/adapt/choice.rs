//! Which of the methods that were tried is taken, and which images a person should label first.

use super::domains::{centred, unit};
use super::report::Tried;
use crate::Session;
use crate::head::LinearHead;
use headstart_tensor::{Rng, Tensor};

/// How much more agreement than the unadapted model an adapted one must have: less may be chance.
const MARGIN: f64 = 0.05;
/// Images that are named for labelling.
const FIRST: usize = 10;
/// Rows that they are chosen from, at most.
const MOST: usize = 3000;

/// The method with the largest agreement, the first being that of the unadapted model; and why.
pub(super) fn best(tried: &[Tried]) -> (usize, String) {
    let agreement = |i: usize| tried[i].score.agreement;
    let best = (1..tried.len()).fold(0, |best, i| if agreement(i) > agreement(best) { i } else { best });
    let more = agreement(best) - agreement(0);
    if best > 0 && more > MARGIN {
        let why = format!(
            "images that look alike are answered alike more often: agreement {:.3}, {:.3} unadapted",
            agreement(best),
            agreement(0)
        );
        return (best, why);
    }
    (
        0,
        format!(
            "no method has clearly more agreement than the unadapted model ({:.3}): it is kept",
            agreement(0)
        ),
    )
}

/// Rows to label first: the one most like the others, then always the one that is least like those before
/// (farthest-first traversal, Gonzalez 1985), among centred rows by the cosine.
pub(super) fn first_to_label(session: &Session, rows: &Tensor, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.dims()[0]).collect();
    Rng::named(seed, "images to label").shuffle(&mut order);
    order.truncate(MOST);
    order.sort_unstable();
    let Ok((centred, _)) = centred(session.pool, rows, false) else { return Vec::new() };
    let some = unit(session.pool, &centred.rows(&order));
    let like = |of: usize| -> Vec<f32> {
        let head = Tensor::new([1, some.row_len()], some.row(of).to_vec());
        let head = head.ok().and_then(|w| LinearHead::new(w, Tensor::zeros([1])).ok());
        head.and_then(|h| h.logits(session.pool, &some).ok()).map(Tensor::into_data).unwrap_or_default()
    };
    // The largest cosine of each row with one that is chosen.
    let mut nearest = vec![f32::NEG_INFINITY; order.len()];
    let mut chosen = Vec::new();
    let mut next = (!order.is_empty()).then_some(0);
    while let Some(row) = next {
        chosen.push(order[row]);
        nearest.iter_mut().zip(like(row)).for_each(|(n, c)| *n = n.max(c));
        let left = (0..order.len()).filter(|&i| nearest[i] < 1.0 - 1e-6);
        next = match chosen.len() < FIRST {
            true => left.min_by(|&a, &b| nearest[a].total_cmp(&nearest[b])),
            false => None,
        };
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::score::Score;
    use crate::adapt::testing::{cluster, quiet};

    fn tried(agreements: &[f64]) -> Vec<Tried> {
        let of = |&agreement: &f64| Tried {
            method: String::new(),
            score: Score { agreement, entropy: 0.5, diversity: 0.5 },
            answers: Vec::new(),
            seconds: 0.0,
            eval: None,
        };
        agreements.iter().map(of).collect()
    }

    #[test]
    fn the_unadapted_model_is_kept_where_nothing_is_clearly_better() {
        assert_eq!(best(&tried(&[0.3, 0.34, 0.1])).0, 0);
        assert_eq!(best(&tried(&[0.3, 0.36, 0.5, 0.5])).0, 2, "the first of equals");
        assert_eq!(best(&tried(&[0.3])).0, 0);
    }

    #[test]
    fn images_of_every_cluster_come_first() {
        quiet(|session| {
            let (rows, labels) = cluster(90, 3, 7);
            let found = first_to_label(session, &rows, 0);
            let mut classes: Vec<usize> = found[..3].iter().map(|&i| labels[i]).collect();
            classes.sort_unstable();
            assert_eq!((found.len(), classes), (FIRST, vec![0, 1, 2]));
        });
    }
}
