//! `--folds` and `--repeats`: the head fitted again to other parts of the same features.

use super::fit_head;
use crate::cross_validation::{CrossValidation, Material, Repeats, enough};
use crate::head::ClassWeights;
use crate::parts::Parts;
use crate::{Error, Features, Session, TrainOptions};
use headstart_tensor::Tensor;

/// Whether `parts` allow the folds and repeats that are asked for: to be known before any work.
///
/// # Errors
/// Where they do not.
pub(super) fn resamplable(options: &TrainOptions, parts: &Parts) -> Result<(), Error> {
    if options.repeats > 1 && parts.val_fraction.is_none() {
        let (found, expected) = ("given with validation data of its own", "data that is split here");
        return Err(Error::Setting { name: "--repeats", found: found.to_owned(), expected });
    }
    let Some(k) = options.folds else { return Ok(()) };
    let val = if parts.val_fraction.is_some() { &parts.val[..] } else { &[] };
    let labels: Vec<usize> = parts.train.iter().chain(val).map(|item| item.label).collect();
    enough(k, &labels, &parts.classes)
}

/// What folds and repeated splits say, where they were asked for. They take all images that were split here; where
/// validation data was set apart, folds take the training images.
pub(super) fn resample(
    session: &Session,
    options: &TrainOptions,
    parts: &Parts,
    class_weights: &ClassWeights,
    (train, train_labels): (&Features, &[usize]),
    (val, val_labels): (&Features, &[usize]),
    accuracy: f64,
) -> Result<(Option<CrossValidation>, Option<Repeats>), Error> {
    if options.folds.is_none() && options.repeats == 1 {
        return Ok((None, None));
    }
    let groups = parts.groups.as_ref().map(|[a, b]| (a.at(&train.kept), b));
    let fit = |values: &Tensor, targets: &[usize], seed: u64| {
        let (head, _) =
            fit_head(session, options, class_weights, (values, targets), parts.classes.len(), seed)?;
        Ok(head)
    };
    let material = match parts.val_fraction {
        None => Material {
            values: train.values.clone(),
            labels: train_labels.to_vec(),
            classes: &parts.classes,
            groups: groups.map(|(a, _)| a),
            fit: &fit,
        },
        Some(_) => Material {
            values: Tensor::new(
                [train_labels.len() + val_labels.len(), train.values.row_len()],
                [train.values.data(), val.values.data()].concat(),
            )?,
            labels: [train_labels, val_labels].concat(),
            classes: &parts.classes,
            groups: groups.map(|(a, b)| a.and(&b.at(&val.kept))),
            fit: &fit,
        },
    };
    let folds = match options.folds {
        Some(k) => Some(material.cross_validate(session, k, options.seed)?),
        None => None,
    };
    let repeats = match (options.repeats, parts.val_fraction) {
        (1, _) | (_, None) => None,
        (n, Some(fraction)) => Some(material.repeat(session, (n, fraction), options.seed, accuracy)?),
    };
    Ok((folds, repeats))
}
