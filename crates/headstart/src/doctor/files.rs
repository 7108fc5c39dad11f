//! Every file looked at once.

use super::images::{Image, Images};
use super::report::{Aspect, Problem};
use crate::{Error, Session};
use headstart_data::doctor::{Defect, DefectKind, Examined, Survey, Surveyed, examine};
use std::sync::atomic::Ordering;

/// A survey whose files were examined, in its order.
pub(super) struct Files {
    pub(super) survey: Survey,
    pub(super) examined: Vec<Examined>,
}

impl Files {
    /// Reads and decodes every image.
    ///
    /// # Errors
    /// [`Error::Interrupted`]. Files that cannot be read are a finding, not an error.
    pub(super) fn examine(session: &Session, survey: Survey, what: &str) -> Result<Files, Error> {
        session.progress.start(what, survey.images.len());
        let examined = session.pool.map(survey.images.len(), |i| {
            let stopped = session.interrupt.load(Ordering::Relaxed);
            let found = (!stopped).then(|| examine(&survey.images[i].picture));
            session.progress.advance(1);
            found
        });
        session.progress.finish();
        session.check()?;
        Ok(Files { survey, examined: examined.into_iter().flatten().collect() })
    }

    /// Its images.
    pub(super) fn images(&self) -> Images<'_> {
        let mut images = Vec::with_capacity(self.survey.images.len());
        for Surveyed { picture, label, split } in &self.survey.images {
            images.push(Image { path: picture.path(), label: *label, split });
        }
        Images { images, classes: &self.survey.classes }
    }

    /// The content of its usable images: size and upright pixels.
    pub(super) fn hashes(&self) -> impl Iterator<Item = (usize, [u8; 32])> {
        self.usable().into_iter().filter_map(|image| Some((image, self.examined[image].pixels?)))
    }

    pub(super) fn path(&self, image: usize) -> &str {
        self.survey.images[image].picture.path()
    }

    /// Whether the image can be learned from: whole, and not a dot or one colour.
    pub(super) fn is_usable(&self, image: usize) -> bool {
        let found = &self.examined[image];
        found.is_readable() && !found.defects.iter().any(|d| d.kind.is_worthless())
    }

    /// The images that can be learned from.
    pub(super) fn usable(&self) -> Vec<usize> {
        (0..self.examined.len()).filter(|&i| self.is_usable(i)).collect()
    }

    /// Defects of images, files and folders, by path.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let images = self.examined.iter().enumerate();
        let images = images.flat_map(|(i, found)| found.defects.iter().map(move |d| (i, d.clone())));
        let images = images.map(|(i, defect)| (self.path(i).to_owned(), defect));
        let others = self.survey.skipped.iter();
        let others = others.filter_map(|s| Some((s.path.clone(), Defect::of_skipped(&s.reason)?)));
        let problem =
            |(path, Defect { kind, detail })| Problem { path, kind, detail, fault: kind.is_fault() };
        let mut problems: Vec<Problem> = images.chain(others).map(problem).collect();
        problems.sort_by(|a, b| a.path.cmp(&b.path).then(a.kind.cmp(&b.kind)));
        problems
    }

    /// Usable images of extreme proportions, the longest first.
    pub(super) fn aspects(&self) -> Vec<Aspect> {
        let found = self.examined.iter().enumerate().filter_map(|(i, found)| {
            let (ratio, size) = (found.extreme_aspect()?, found.size?);
            let tiny = found.defects.iter().any(|d| d.kind == DefectKind::Tiny);
            (!tiny).then(|| Aspect { path: self.path(i).to_owned(), size, ratio })
        });
        let mut aspects: Vec<Aspect> = found.collect();
        aspects.sort_by(|a, b| b.ratio.total_cmp(&a.ratio).then(a.path.cmp(&b.path)));
        aspects
    }
}
