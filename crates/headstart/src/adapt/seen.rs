//! Both domains as a network sees them, for a page to show: before and after.

use super::domains::{hard, soft, unit};
use super::layout::{Place, plane};
use super::score::some;
use super::trial::Adaptation;
use crate::{Error, Session, extract};
use headstart_data::Picture;
use headstart_tensor::Tensor;

/// Images of each domain on a map, at most.
const SHOWN: usize = 400;

/// Some images of both domains, and what they are taken for.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Features `[n, d]` at length 1: those of the source, behind them the target's.
    rows: Tensor,
    /// How many are the source's, seen as the classifier was fitted to them.
    pub source: usize,
    /// The class of each: the label where it is the source's, the answer where it is the target's.
    pub classes: Vec<usize>,
}

impl Seen {
    /// A place in the plane for each, both coordinates within -1 and 1: near where the network sees them alike.
    ///
    /// # Errors
    /// Where the run was interrupted.
    pub fn places(&self, session: &Session, seed: u64) -> Result<Vec<Place>, Error> {
        plane(session, &self.rows, seed)
    }

    /// Whether the network sees the images as `other` does, whatever they are taken for.
    pub fn sees_as(&self, other: &Seen) -> bool {
        self.rows == other.rows
    }
}

/// What an image of the target is taken for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// By the unadapted model.
    pub before: usize,
    /// By the one that was chosen.
    pub after: usize,
    /// The probability of the latter, by the one that was chosen.
    pub probability: f32,
}

impl Adaptation<'_> {
    /// Both domains by a candidate.
    pub(super) fn seen(&self, candidate: usize) -> Result<Seen, Error> {
        let (session, seed) = (self.session, self.options.seed);
        let candidate = &self.candidates[candidate];
        let site = &self.sites[candidate.site];
        let mut rows = Vec::new();
        let mut classes = Vec::new();
        if let (Some(images), Some(source)) = (&self.source, self.at(site).0) {
            let shown = some(source.labels.len(), SHOWN, seed, "map of the source");
            let features = match candidate.method.pull() {
                None => {
                    classes.extend(shown.iter().map(|&i| source.labels[i]));
                    source.features.rows(&shown)
                }
                // The tail has learnt from the source too, which goes through it.
                Some(_) => {
                    let pictures: Vec<&Picture> = shown.iter().map(|&i| &images.pictures[i]).collect();
                    let found = extract(session, &site.backbone, &pictures, 1, seed, "source on the map")?;
                    classes.extend(found.kept.iter().map(|&i| images.labels[shown[i]]));
                    found.values
                }
            };
            rows.extend(unit(session.pool, &features).into_data());
        }
        let source = classes.len();
        let shown = some(site.target.dims()[0], SHOWN, seed, "map of the target");
        let target = site.target.rows(&shown);
        classes.extend(hard(&candidate.head.logits(session.pool, &target)?));
        rows.extend(unit(session.pool, &target).into_data());
        let rows = Tensor::new([classes.len(), site.target.row_len()], rows)?;
        Ok(Seen { rows, source, classes })
    }

    /// What every image of the target is taken for by the unadapted model and by a candidate.
    pub(super) fn taken(&self, candidate: usize) -> Result<Vec<Taken>, Error> {
        let logits = |i: usize| {
            let candidate = &self.candidates[i];
            candidate.head.logits(self.session.pool, &self.sites[candidate.site].target)
        };
        let (before, probabilities) = (hard(&logits(0)?), soft(&logits(candidate)?));
        let after = hard(&probabilities);
        let taken = |(i, (before, after)): (usize, (usize, usize))| Taken {
            before,
            after,
            probability: probabilities.row(i)[after],
        };
        Ok(before.into_iter().zip(after).enumerate().map(taken).collect())
    }
}
