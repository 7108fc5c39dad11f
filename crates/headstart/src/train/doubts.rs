//! What is doubtful in the images of a training.

use crate::doctor::{self, Findings, Image, Images};
use crate::metrics::Answer;
use crate::parts::Parts;
use crate::{Error, Features, Session};
use headstart_data::{Item, Picture};
use headstart_tensor::Tensor;

/// Suspects whose images are kept to be shown.
const SUSPECTED: usize = 24;

/// What the doctor sees of the images, and those of the first suspects; says how much it is.
pub(super) fn doubts(
    session: &Session,
    parts: &Parts,
    views: usize,
    (train, val): (&Features, &Features),
    answers: &[Answer],
) -> Result<(Findings, Vec<Picture>), Error> {
    let of = |items: &[Item], features: &Features, split| {
        let image = |&i: &usize| {
            let item: &Item = &items[i];
            (item.picture.clone(), item.label, split)
        };
        features.kept.iter().map(image).collect::<Vec<(Picture, usize, &'static str)>>()
    };
    let all = [of(&parts.train, train, "train"), of(&parts.val, val, "val")].concat();
    let images = all.iter().map(|(p, label, split)| Image { picture: p, label: Some(*label), split });
    let images = Images { kind: parts.kind, images: images.collect(), classes: &parts.classes };
    let hashes = [&train.hashes[..], &val.hashes].concat();
    let d = train.values.row_len();
    // Of several views the first is the centre.
    let centres = train.values.data().chunks_exact(d * views).flat_map(|views| &views[..d]).copied();
    let values = Tensor::new([all.len(), d], centres.chain(val.values.data().iter().copied()).collect())?;
    let (found, suspects) = doctor::findings(session, &images, &hashes, &values, answers)?;
    let suspected = suspects.into_iter().take(SUSPECTED).map(|i| all[i].0.clone()).collect();
    if !found.suspects.is_empty() || !found.duplicates.is_empty() {
        let what = parts.kind.many();
        let by = match found.agreed_labels.filter(|_| !found.suspects.is_empty()) {
            Some(agreed) => format!(" (to heads that give {:.1} % of all labels)", 100.0 * agreed),
            None => String::new(),
        };
        session.progress.note(&format!(
            "labels that look wrong: {}{by}; groups of {what} that are the same or nearly so: {}; validation {what} that stand \
             nearly among those for training: {} (`headstart doctor` lists them)",
            found.suspects.len(),
            found.duplicates.len(),
            found.leaks.len()
        ));
    }
    Ok((found, suspected))
}
