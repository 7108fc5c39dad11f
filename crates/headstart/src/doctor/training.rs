//! What the doctor sees of a training's images, from the features that it has.

use super::duplicates::{Equal, leaks, near_groups};
use super::images::Images;
use super::report::Suspect;
use super::rows::Rows;
use super::suspects::suspects;
use crate::metrics::Answer;
use crate::{Error, Session};
use headstart_tensor::Tensor;
use std::collections::BTreeSet;

/// What is doubtful in the images of a training. Files are not decoded again, so equal images are those with the same bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// Groups of images that are the same, then of images that are nearly the same: their paths, sorted.
    pub duplicates: Vec<Vec<String>>,
    /// Validation images that stand, nearly or byte for byte, among those for training: that one's path, and theirs.
    pub leaks: Vec<[String; 2]>,
    /// The model's accuracy without the validation images in `leaks`; none without leaks, or where no image is left.
    pub accuracy_without_leaks: Option<f64>,
    /// Labels that look wrong, the most suspicious first.
    pub suspects: Vec<Suspect>,
    /// The share of all labels that the heads which suspect them give too.
    pub agreed_labels: Option<f64>,
}

/// Looks at `images`, training images before validation images, with the hashes of their contents, their features
/// `[n, d]`, and the model's answers for the validation images, in their order. With the positions of the suspects.
///
/// # Errors
/// Where the run was interrupted.
pub(crate) fn findings(
    session: &Session,
    images: &Images,
    hashes: &[[u8; 32]],
    values: &Tensor,
    answers: &[Answer],
) -> Result<(Findings, Vec<usize>), Error> {
    let rows = Rows { values, images: (0..hashes.len()).collect(), of: images };
    let equal = Equal::of(images, hashes.iter().copied().enumerate());
    let near = equal.others(rows.near(session)?);
    let leaks = leaks(images, &equal, &near);
    let first = images.images.len() - answers.len();
    let leaked: BTreeSet<usize> = leaks.iter().map(|leak| leak.held_out).collect();
    let clean = answers.iter().enumerate().filter(|(i, _)| !leaked.contains(&(first + i)));
    let clean: Vec<bool> = clean.map(|(_, answer)| answer.is_right()).collect();
    let right = clean.iter().filter(|right| **right).count();
    let measured = !leaks.is_empty() && !clean.is_empty();
    let same = equal.0.iter().map(|group| images.paths(group));
    let nearly = near_groups(images, &near).into_iter().map(|group| group.paths);
    let suspicion = suspects(session, &rows)?;
    let findings = Findings {
        duplicates: same.chain(nearly).collect(),
        leaks: leaks.iter().map(|l| [l.first, l.held_out].map(|i| images.path(i).to_owned())).collect(),
        accuracy_without_leaks: measured.then(|| right as f64 / clean.len() as f64),
        suspects: suspicion.suspects,
        agreed_labels: suspicion.agreed,
    };
    Ok((findings, suspicion.rows))
}
