//! The methods, tried one after the other, and the one that is taken.

use super::choice::best;
use super::consensus::{CONSENSUS, consensus};
use super::domains::{Domains, Source, hard};
use super::few::{FEW, few, fitted};
use super::namings::Namings;
use super::score::Neighbourhoods;
use super::sites::{Redrawn, Site, redraw};
use super::spread::Neighbours;
use super::statistics::{Statistics, norms};
use super::{AdaptOptions, EvalAccuracy, Method, Tried, alignments};
use crate::fine_tune::boundary::Photos;
use crate::head::LinearHead;
use crate::metrics::{Confusion, wilson_interval};
use crate::{Error, Session};
use headstart_tensor::Tensor;
use std::time::Instant;

/// Images of the source that are redrawn in the style that is tried, at most.
const REDRAWN: usize = 5000;
/// Images of the source that are redrawn for a naming, at most.
pub(super) const NAMED_BY: usize = 1000;
/// Parts that the few are cut into to measure on.
const FOLDS: usize = 3;

/// A way that was tried: where its head reads features, and the head.
pub(super) struct Candidate {
    pub(super) method: Method,
    /// The number of its site.
    pub(super) site: usize,
    pub(super) head: LinearHead,
}

/// Everything that is opened before a method is tried.
pub(super) struct Adaptation<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) options: &'a AdaptOptions,
    pub(super) l2: f64,
    /// The head that was fitted to the source.
    pub(super) head: LinearHead,
    /// When the adaptation was begun.
    pub(super) started: Instant,
    pub(super) source: Option<Photos>,
    /// What the source looks like.
    pub(super) source_features: Option<Source>,
    /// The source in the style that is tried.
    pub(super) redrawn: Option<Redrawn>,
    pub(super) namings: Namings,
    /// The target's images that can be read.
    pub(super) photos: Photos,
    pub(super) eval: Option<Photos>,
    /// A few labelled images of the target.
    pub(super) few: Option<Photos>,
    /// By the weights' statistics, by others where these are asked for, and what tails were trained to.
    pub(super) sites: Vec<Site>,
    /// How many of them no tail was trained for.
    pub(super) spaces: usize,
    pub(super) candidates: Vec<Candidate>,
    pub(super) tried: Vec<Tried>,
    pub(super) classes: Vec<String>,
}

impl Adaptation<'_> {
    /// Tries what was asked for; the number of the candidate that is taken, and why.
    pub(super) fn choose(&mut self) -> Result<(usize, String), Error> {
        let plain = &self.sites[0].backbone;
        let has_norms = norms(plain.trunk_graph()).next().is_some();
        let asked = self.options.method;
        if asked.is_some_and(|m| m.needs_norms()) && !has_norms {
            return Err(Error::NoBatchNorm { network: plain.name.clone() });
        }
        if asked.is_some_and(|m| m.head == Some(FEW)) && self.few.is_none() {
            return Err(Error::NeedsFew);
        }
        let everything = asked.is_none_or(|m| m.head == Some(CONSENSUS) || m.head == Some(FEW));
        let statistics = match asked.and_then(|m| m.statistics) {
            Some(statistics) => {
                self.restate(statistics)?;
                Some(statistics)
            }
            None if has_norms && everything => Some(self.restate_best()?),
            None => None,
        };
        // A tail is judged, epoch by epoch, by namings of other ways than its own.
        self.name_target(statistics, everything || asked.is_some_and(|m| m.tail.is_some()))?;
        let style = match asked {
            Some(method) if !everything => method.style,
            _ => self.namings.best_style(),
        };
        if let (Some(style), Some(images)) = (style, &self.source) {
            let (session, seed) = (self.session, self.options.seed);
            let source = redraw(session, &self.sites[0].backbone, images, style, REDRAWN, seed)?;
            let head = self.fit(&source.features, &source.labels)?;
            self.redrawn = Some(Redrawn { style, source, head });
        }
        let spaces: Vec<&Tensor> = self.sites.iter().map(|s| &s.target).collect();
        let plain = &self.sites[0];
        let unadapted = hard(&self.head.logits(self.session.pool, &plain.target)?);
        let near = Neighbourhoods::of(self.session, &spaces, unadapted, self.options.seed)?;
        self.try_method(Method::NONE, &near)?;
        if asked == Some(Method::NONE) {
            return Ok((0, "asked for".to_owned()));
        }
        if let Some(method) = asked {
            self.try_method(method, &near)?;
            return Ok((self.tried.len() - 1, "asked for".to_owned()));
        }
        // What needs a source is left out without one, and what needs norms where there are none.
        let with_source = self.source.is_some();
        let usable = |m: &Method| (with_source || !m.needs_source()) && (has_norms || !m.needs_norms());
        let mut features = Method::plain();
        features.extend(statistics.into_iter().flat_map(Method::restated));
        let few = Method { statistics, head: Some(FEW), ..Method::NONE };
        features.extend(self.few.as_ref().map(|_| few));
        features.extend(style.into_iter().flat_map(Method::styled));
        for method in features.into_iter().filter(|m| *m != Method::NONE && usable(m)) {
            self.try_method(method, &near)?;
        }
        let start = self.candidates[best(&self.tried).0].method;
        // A tail that starts from the few would be measured on images that it has learnt from.
        let tails = match start.head {
            Some(FEW) => Vec::new(),
            _ => start.tails(statistics.unwrap_or(Statistics::AdaBn)),
        };
        for method in tails.into_iter().filter(usable) {
            self.try_method(method, &near)?;
        }
        for method in Method::joint().into_iter().filter(usable) {
            if self.started.elapsed().as_secs_f64() < self.options.budget {
                self.try_method(method, &near)?;
            }
        }
        Ok(best(&self.tried))
    }

    /// Tries a method and notes what it gives.
    fn try_method(&mut self, method: Method, near: &Neighbourhoods) -> Result<(), Error> {
        self.session.check()?;
        let started = Instant::now();
        self.session.progress.note(&format!("trying {}: {}", method.name(), method.about()));
        let mut site = usize::from(method.statistics.is_some());
        let mut head = self.head(method, site)?;
        let mut epoch = None;
        if let Some(pull) = method.pull() {
            let (trained, kept) = self.train_both(pull, near)?;
            (head, epoch) = (trained, Some(kept));
            site = self.sites.len() - 1;
        } else if method.tail.is_some() {
            epoch = Some(self.train_tail(method, &head, site, near)?);
            site = self.sites.len() - 1;
        }
        let logits = head.logits(self.session.pool, &self.sites[site].target)?;
        let mut answers = vec![0; self.classes.len()];
        hard(&logits).into_iter().for_each(|c| answers[c] += 1);
        let eval = match (&self.eval, &self.sites[site].eval) {
            (Some(images), Some(features)) => {
                let found = hard(&head.logits(self.session.pool, features)?);
                Some(accuracy(&found, &images.labels, self.classes.len()))
            }
            _ => None,
        };
        let few = match (&self.few, &self.sites[site].few) {
            // What learns from them is measured on those held out; a tail behind it is not measured.
            (Some(images), Some(_)) if method.head == Some(FEW) => match method.tail {
                None => Some(self.held_out(images)?),
                Some(_) => None,
            },
            (Some(images), Some(features)) => {
                let found = hard(&head.logits(self.session.pool, features)?);
                Some(share(&found, &images.labels))
            }
            _ => None,
        };
        let score = near.score(&self.namings, method.way(), &logits);
        let seconds = started.elapsed().as_secs_f64();
        self.tried.push(Tried { method: method.name(), score, answers, seconds, epoch, few, eval });
        self.candidates.push(Candidate { method, site, head });
        Ok(())
    }

    /// The head of a method, at a site.
    fn head(&self, method: Method, site: usize) -> Result<LinearHead, Error> {
        let plain = &self.sites[site];
        let (source, own) = match method.style {
            None => self.at(plain),
            Some(style) => match self.redrawn.as_ref().filter(|redrawn| redrawn.style == style) {
                Some(redrawn) => (Some(&redrawn.source), &redrawn.head),
                None => return Err(Error::NeedsSource { method: style.name() }),
            },
        };
        match (method.head, &self.few) {
            (None, _) if method.style.is_none() => return Ok(self.answering(plain).clone()),
            (None, _) => return Ok(own.clone()),
            (Some(CONSENSUS), _) => return self.consensus(site),
            (Some(FEW), Some(images)) => {
                let all: Vec<usize> = (0..images.labels.len()).collect();
                let answers = self.spread(&self.beside_few()?, images, &all)?;
                return self.fit(&self.both(plain)?, &answers);
            }
            _ => {}
        }
        let Some(alignment) = alignments().into_iter().find(|a| Some(a.name()) == method.head) else {
            return Ok(own.clone());
        };
        let target = &plain.target;
        let domains = Domains { source, target, head: own, l2: self.l2, seed: self.options.seed };
        alignment.align(self.session, &domains)
    }

    /// The head that is fitted at a site to what the namings come to.
    fn consensus(&self, site: usize) -> Result<LinearHead, Error> {
        if self.source.is_none() {
            return Err(Error::NeedsSource { method: CONSENSUS });
        }
        let rows = self.namings.rows();
        let sites = self.sites[..self.spaces].iter();
        let spaces: Vec<Tensor> = sites.map(|s| s.target.rows(rows)).collect();
        let neighbours = Neighbours::of(self.session, &spaces)?;
        let answers = consensus(self.session, &neighbours, &self.namings.votes())?;
        self.fit(&self.sites[site].target.rows(rows), &answers)
    }

    /// Images of the target, and behind them the few, in every feature space.
    fn beside_few(&self) -> Result<Neighbours, Error> {
        let sites = self.sites[..self.spaces].iter();
        let spaces = sites.map(|site| self.both(site)).collect::<Result<Vec<Tensor>, Error>>()?;
        Neighbours::of(self.session, &spaces)
    }

    /// Rows of the target at a site, and behind them the few.
    fn both(&self, site: &Site) -> Result<Tensor, Error> {
        let mut values = site.target.rows(self.namings.rows()).into_data();
        values.extend_from_slice(site.few.as_ref().map(Tensor::data).unwrap_or_default());
        let d = site.target.row_len();
        Ok(Tensor::new([values.len() / d.max(1), d], values)?)
    }

    /// What these images come to where `some` of the few are known.
    fn spread(&self, neighbours: &Neighbours, images: &Photos, some: &[usize]) -> Result<Vec<usize>, Error> {
        let mut sources = Vec::new();
        for site in &self.sites[..self.spaces] {
            sources.push(self.at(site).0.ok_or(Error::NeedsSource { method: FEW })?);
        }
        if let (Some(plain), Some(redrawn)) = (sources.first_mut(), &self.redrawn) {
            *plain = &redrawn.source;
        }
        let (before, classes) = (self.namings.rows().len(), self.classes.len());
        let known: Vec<(usize, usize)> = some.iter().map(|&i| (before + i, images.labels[i])).collect();
        let mut votes = self.namings.votes().into_data();
        votes.resize((before + images.labels.len()) * classes, 0.0);
        let votes = Tensor::new([before + images.labels.len(), classes], votes)?;
        few(self.session, neighbours, &sources, &votes, &known, self.l2)
    }

    /// The share of the few that are answered rightly by the others of them, with one in [`FOLDS`] of each class left out in
    /// turn.
    fn held_out(&self, images: &Photos) -> Result<f64, Error> {
        let mut seen = vec![0; self.classes.len()];
        let mut fold = |class: usize| {
            seen[class] += 1;
            (seen[class] - 1) % FOLDS
        };
        let folds: Vec<usize> = images.labels.iter().map(|&class| fold(class)).collect();
        let (neighbours, before) = (self.beside_few()?, self.namings.rows().len());
        let mut found = vec![0; folds.len()];
        for fold in 0..FOLDS {
            let (out, known): (Vec<usize>, Vec<usize>) = (0..folds.len()).partition(|&i| folds[i] == fold);
            let answers = self.spread(&neighbours, images, &known)?;
            out.into_iter().for_each(|i| found[i] = answers[before + i]);
        }
        Ok(share(&found, &images.labels))
    }

    /// A head fitted to labels, with the penalty of the model's own.
    pub(super) fn fit(&self, features: &Tensor, labels: &[usize]) -> Result<LinearHead, Error> {
        fitted(self.session, features, labels, self.classes.len(), self.l2)
    }
}

fn share(answers: &[usize], labels: &[usize]) -> f64 {
    let right = answers.iter().zip(labels).filter(|(a, l)| a == l).count();
    right as f64 / labels.len().max(1) as f64
}

fn accuracy(answers: &[usize], labels: &[usize], classes: usize) -> EvalAccuracy {
    let confusion = Confusion::new(classes, labels.iter().copied().zip(answers.iter().copied()));
    let right = confusion.correct();
    EvalAccuracy {
        accuracy: right as f64 / labels.len().max(1) as f64,
        accuracy_ci95: wilson_interval(right, labels.len()),
        recall: (0..classes).map(|c| confusion.recall(c)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_is_told_for_each_class() {
        let found = accuracy(&[0, 0, 1, 1], &[0, 1, 1, 1], 3);
        assert_eq!((found.accuracy, found.recall), (0.75, vec![Some(1.0), Some(2.0 / 3.0), None]));
    }
}
