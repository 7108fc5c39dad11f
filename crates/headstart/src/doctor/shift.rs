//! Whether two sets of images or texts come from the same source: a classifier is told to tell them apart.

use super::suspects::strength;
use crate::head::{Folds, Labelled, held_out_probabilities};
use crate::metrics::Separation;
use crate::{Error, Session};
use headstart_data::Kind;
use headstart_tensor::{Rng, Tensor};

/// Items of each set, at most: the area is known to about a hundredth then.
const MOST: usize = 3000;
/// Folds of the cross-validation.
const FOLDS: usize = 5;

/// The rows of `n` that are looked at.
pub(super) fn sample(n: usize) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..n).collect();
    if n > MOST {
        Rng::named(0, "shift").shuffle(&mut rows);
        rows.truncate(MOST);
        rows.sort_unstable();
    }
    rows
}

/// The area under the ROC curve with which heads tell rows of `here` from rows of `there` that they did not see.
pub(super) fn auc(
    session: &Session,
    kind: Kind,
    here: &Tensor,
    there: &Tensor,
) -> Result<Option<f64>, Error> {
    let d = here.row_len();
    let count = |set: &Tensor| set.len() / d.max(1);
    let counts = [count(here), count(there)];
    if counts.iter().any(|&n| n < 2) {
        return Ok(None);
    }
    let values = [here.data(), there.data()].concat();
    let features = Tensor::new([counts[0] + counts[1], d], values)?;
    let targets: Vec<usize> = (0..counts[0] + counts[1]).map(|i| usize::from(i >= counts[0])).collect();
    let folds = Folds::stratified(&targets, &counts, FOLDS, 0);
    let labelled = Labelled { features: &features, targets: &targets, classes: 2 };
    let (order, held_out) = (&folds.order, &folds.held_out);
    let found = held_out_probabilities(
        labelled,
        order,
        held_out,
        strength(kind, 2),
        session.pool,
        session.interrupt,
    )?;
    let rows = held_out.iter().cloned().flatten().map(|position| order[position]);
    let judged: Vec<(f64, bool)> =
        rows.zip(found.chunks_exact(2)).map(|(row, p)| (f64::from(p[1]), targets[row] == 1)).collect();
    let scores = |of: bool| judged.iter().filter(|j| j.1 == of).map(|j| j.0).collect::<Vec<f64>>();
    Ok(Separation::of(&scores(false), &scores(true)).map(|s| s.auroc))
}

/// What an area means for whoever wants to train on one set and predict on the other.
pub(super) fn meaning(auc: f64, kind: Kind) -> String {
    let (what, adapt) = (kind.many(), if kind == Kind::Images { ", or adapt to it" } else { "" });
    match auc {
        a if a < 0.6 => "the sets look alike: what is measured on one should hold on the other".to_owned(),
        a if a < 0.8 => {
            "the sets differ a little: an accuracy from one is only a guide for the other".to_owned()
        }
        a if a < 0.95 => {
            format!("the sets differ: measure on {what} of the other before trusting an accuracy")
        }
        _ => format!(
            "the sets can be told apart at a glance: an accuracy on one says little about the other; label some {what} of \
             it{adapt}"
        ),
    }
}
