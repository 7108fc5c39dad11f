//! What images on both sides of a split do to the accuracy that is measured.

use super::duplicates::Leak;
use super::report::Leakage;
use super::rows::Rows;
use super::suspects::strength;
use crate::head::{Labelled, held_out_probabilities};
use crate::{Error, Session};
use std::collections::BTreeSet;

/// The accuracy of a head fitted on the training images, over the held-out images and over those without `leaks`. None where
/// there are no leaks, no labels, or nothing to train or measure on.
pub(super) fn leakage(session: &Session, rows: &Rows, leaks: &[Leak]) -> Result<Option<Leakage>, Error> {
    let Some((targets, classes)) = rows.targets().filter(|_| !leaks.is_empty()) else { return Ok(None) };
    let is_train = |row: usize| rows.split(row) == "train";
    let (train, held_out): (Vec<usize>, Vec<usize>) = (0..targets.len()).partition(|&row| is_train(row));
    let known: BTreeSet<usize> = train.iter().map(|&row| targets[row]).collect();
    let held_out: Vec<usize> = held_out.into_iter().filter(|&row| known.contains(&targets[row])).collect();
    if known.len() < 2 || held_out.is_empty() {
        return Ok(None);
    }
    session.progress.start("leaks", 1);
    let order = [train.as_slice(), &held_out].concat();
    let labelled = Labelled { features: rows.values, targets: &targets, classes: classes.len() };
    let range = train.len()..order.len();
    let l2 = strength(rows.of.kind, classes.len());
    let found = held_out_probabilities(labelled, &order, &[range], l2, session.pool, session.interrupt);
    session.progress.finish();
    let found = found?;
    let leaked: BTreeSet<usize> = leaks.iter().map(|leak| leak.held_out).collect();
    let (mut right, mut clean, mut clean_right) = (0, 0, 0);
    for (&row, p) in held_out.iter().zip(found.chunks_exact(classes.len())) {
        let best = (1..p.len()).fold(0, |best, c| if p[c] > p[best] { c } else { best });
        let is_right = usize::from(best == targets[row]);
        let is_clean = usize::from(!leaked.contains(&rows.images[row]));
        right += is_right;
        clean += is_clean;
        clean_right += is_clean * is_right;
    }
    Ok(Some(Leakage {
        held_out: held_out.len(),
        accuracy: right as f64 / held_out.len() as f64,
        accuracy_without: (clean > 0).then(|| clean_right as f64 / clean as f64),
    }))
}
