//! The doctor's short word inside `train`: what can be seen without extra work.

use crate::Session;
use crate::parts::Parts;
use headstart_data::Kind;
use std::path::Path;

/// The largest class may have this many times the images of the smallest before it is said.
const IMBALANCE: usize = 10;

/// Says in at most two lines that files are faulty or classes unequal, and where to learn more. Images on both sides of the
/// split and with two labels are said by [`crate::parts::warn`].
pub(crate) fn brief(session: &Session, data: &Path, parts: &Parts, train_labels: &[usize]) {
    let mut counts = vec![0usize; parts.classes.len()];
    train_labels.iter().for_each(|&label| counts[label] += 1);
    let largest = (0..counts.len()).max_by_key(|&class| counts[class]);
    let smallest = (0..counts.len()).min_by_key(|&class| counts[class]);
    let mut said = false;
    if let (Some(largest), Some(smallest)) = (largest, smallest)
        && counts[largest] >= IMBALANCE * counts[smallest].max(1)
    {
        session.progress.note(&format!(
            "the class \"{}\" has {} for training, \"{}\" has {}: --class-weights balanced makes them count \
             the same",
            parts.classes[largest],
            parts.kind.count(counts[largest]),
            parts.classes[smallest],
            counts[smallest]
        ));
        said = true;
    }
    let faults = parts.skipped.iter().filter(|skipped| skipped.fault).count();
    if said || faults > 0 {
        let thing = if parts.kind == Kind::Images { "file" } else { "row" };
        let faulty = match faults {
            0 => None,
            1 => Some(format!("1 {thing} cannot be used")),
            n => Some(format!("{n} {thing}s cannot be used")),
        };
        let closer = match parts.kind {
            Kind::Images => format!("`headstart doctor {}` looks closer", data.display()),
            Kind::Texts => format!("`headstart doctor {} --backbone DIR` looks closer", data.display()),
        };
        let said: Vec<String> = faulty.into_iter().chain([closer]).collect();
        session.progress.note(&said.join("; "));
    }
}
