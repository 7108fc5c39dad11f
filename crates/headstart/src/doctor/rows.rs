//! The features of images or texts.

use super::images::Images;
use super::{near, resemblance};
use crate::{Error, Session};
use headstart_data::Kind;
use headstart_tensor::Tensor;

/// The features of some of them.
pub(super) struct Rows<'a> {
    /// `[n, d]`.
    pub(super) values: &'a Tensor,
    /// The image or text of each row.
    pub(super) images: Vec<usize>,
    pub(super) of: &'a Images<'a>,
}

impl Rows<'_> {
    pub(super) fn path(&self, row: usize) -> &str {
        self.of.path(self.images[row])
    }

    pub(super) fn split(&self, row: usize) -> &'static str {
        self.of.images[self.images[row]].split
    }

    /// The label of each row, and the names of the classes; none where the data has no labels.
    pub(super) fn targets(&self) -> Option<(Vec<usize>, &[String])> {
        let targets = self.images.iter().map(|&image| self.of.images[image].label);
        Some((targets.collect::<Option<Vec<usize>>>()?, self.of.classes))
    }

    /// Pairs that are nearly the same: by their features, and texts by their letters too.
    pub(super) fn near(&self, session: &Session) -> Result<Vec<near::Pair>, Error> {
        let same = match self.of.kind {
            Kind::Images => near::SAME,
            Kind::Texts => resemblance::COSINE,
        };
        let pairs = near::pairs(session, self.values, same)?.into_iter();
        let pairs = pairs.map(|p| near::Pair { a: self.images[p.a], b: self.images[p.b], ..p }).collect();
        Ok(match self.of.kind {
            Kind::Images => pairs,
            Kind::Texts => resemblance::resembling(session, self.of, pairs),
        })
    }
}
