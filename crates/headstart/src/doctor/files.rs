//! Every file and every row looked at once.

use super::images::{Image, Images, by_line};
use super::report::{Aspect, Problem};
use crate::{Error, Session};
use headstart_data::doctor::{Defect, DefectKind, Examined, Survey, Surveyed, examine, examine_text};
use headstart_data::{Kind, Picture, SkipReason};
use headstart_models::Tokens;
use std::sync::atomic::Ordering;

/// A survey whose items were examined, in its order.
pub(super) struct Files {
    pub(super) survey: Survey,
    pub(super) examined: Vec<Examined>,
}

impl Files {
    /// Reads and decodes every image, or looks at every text; with `tokens` at what the network would read of it, too.
    ///
    /// # Errors
    /// [`Error::Interrupted`]. What cannot be read is a finding, not an error.
    pub(super) fn examine(
        session: &Session,
        survey: Survey,
        tokens: Option<&Tokens>,
        what: &str,
    ) -> Result<Files, Error> {
        session.progress.start(what, survey.images.len());
        let examined = session.pool.map(survey.images.len(), |i| {
            let stopped = session.interrupt.load(Ordering::Relaxed);
            let picture = &survey.images[i].picture;
            let found = (!stopped).then(|| match survey.kind {
                Kind::Images => examine(picture),
                Kind::Texts => read(picture, tokens),
            });
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
            images.push(Image { picture, label: *label, split });
        }
        Images { kind: self.survey.kind, images, classes: &self.survey.classes }
    }

    /// What its usable items show: size and upright pixels, or words without case.
    pub(super) fn hashes(&self) -> impl Iterator<Item = (usize, [u8; 32])> {
        self.usable().into_iter().filter_map(|image| Some((image, self.examined[image].shown?)))
    }

    pub(super) fn path(&self, image: usize) -> &str {
        self.survey.images[image].picture.path()
    }

    /// Whether the item can be learned from: whole, and not a dot or one colour.
    pub(super) fn is_usable(&self, image: usize) -> bool {
        let found = &self.examined[image];
        found.is_readable() && !found.defects.iter().any(|d| d.kind.is_worthless())
    }

    /// Whether items that show the same differ in their bytes: images stored anew, texts in case and spaces.
    pub(super) fn differ(&self, group: &[usize]) -> bool {
        group.windows(2).any(|pair| self.examined[pair[0]].content != self.examined[pair[1]].content)
    }

    /// The items that can be learned from.
    pub(super) fn usable(&self) -> Vec<usize> {
        (0..self.examined.len()).filter(|&i| self.is_usable(i)).collect()
    }

    /// Defects of images, files, folders and rows, by path.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let images = self.examined.iter().enumerate();
        let images = images.flat_map(|(i, found)| found.defects.iter().map(move |d| (i, d.clone())));
        let images = images.map(|(i, defect)| (self.path(i).to_owned(), defect));
        let others = self.survey.skipped.iter();
        let others = others.filter_map(|s| Some((s.path.clone(), Defect::of_skipped(&s.reason)?)));
        let problem =
            |(path, Defect { kind, detail })| Problem { path, kind, detail, fault: kind.is_fault() };
        let mut problems: Vec<Problem> = images.chain(others).map(problem).collect();
        problems.sort_by(|a, b| by_line(&a.path).cmp(&by_line(&b.path)).then(a.kind.cmp(&b.kind)));
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

/// A look at a text, with and without the network's tokenizer.
fn read(text: &Picture, tokens: Option<&Tokens>) -> Examined {
    let mut found = examine_text(text);
    let (Some(tokens), Ok(bytes)) = (tokens, text.bytes()) else { return found };
    let most = tokens.most();
    match tokens.lost(&String::from_utf8_lossy(&bytes)) {
        Ok(0) => {}
        Ok(lost) => {
            let detail = format!("{lost} tokens are lost: the network reads {most}");
            found.defects.push(Defect { kind: DefectKind::Cut, detail });
        }
        Err(detail) => {
            let reason = SkipReason::NoTokens { detail };
            found.defects.extend(Defect::of_skipped(&reason));
        }
    }
    found
}
