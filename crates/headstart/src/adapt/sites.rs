//! What both domains look like: the target through a trunk, the source as it is and in another style.

use super::domains::{Source, hard};
use super::joint::JointFit;
use super::namings::Way;
use super::objective::{Objective, objectives};
use super::pull::Pull;
use super::score::{Neighbourhoods, some};
use super::standardise::brought;
use super::statistics::{MovedNorm, Statistics, restate, share};
use super::tail::{Tail, TailFit};
use super::trial::{Adaptation, Candidate, NAMED_BY};
use super::{AdaptOptions, Method};
use crate::evaluate::labels;
use crate::fine_tune::boundary::Photos;
use crate::head::LinearHead;
use crate::{Backbone, Error, Features, Session, SkippedFile, extract};
use headstart_data::{Dataset, Item, OpenOptions, Picture, Style, TextColumns};
use headstart_graph::Params;
use headstart_tensor::Tensor;
use std::path::Path;
use std::sync::Arc;

/// A trunk, and what the target looks like through it.
pub(super) struct Site {
    pub(super) backbone: Backbone,
    pub(super) target: Tensor,
    /// Of the images to measure on.
    pub(super) eval: Option<Tensor>,
    /// Of the few that are labelled.
    pub(super) few: Option<Tensor>,
    pub(super) moved: Vec<MovedNorm>,
    /// Where the source is not seen as by the weights' statistics.
    pub(super) own: Option<Arc<Own>>,
    /// Where the head's statistics are the target's too: the head that has them.
    pub(super) restated: Option<(LinearHead, MovedNorm)>,
}

/// The source by statistics of its own, and the head that is fitted to it.
pub(super) struct Own {
    source: Source,
    head: LinearHead,
}

/// The source in a style, and the head that is fitted to it.
pub(super) struct Redrawn {
    pub(super) style: Style,
    pub(super) source: Source,
    pub(super) head: LinearHead,
}

/// The labelled images of all of `path` that can be read, whatever their splits, and their features.
///
/// # Errors
/// Where there is no image that can be read, or one of an unknown class.
pub(super) fn open_labelled(
    session: &Session,
    backbone: &Backbone,
    path: &Path,
    classes: &[String],
    what: &str,
    skipped: &mut Vec<SkippedFile>,
) -> Result<(Photos, Tensor), Error> {
    backbone.input.expect(&backbone.name, path, &TextColumns::default())?;
    let options = OpenOptions { classes: Some(classes.to_vec()), columns: TextColumns::default() };
    let data = Dataset::open(path, &options)?;
    skipped.extend(data.skipped.iter().map(SkippedFile::from));
    let parts = [Some(&data.train), data.val.as_ref(), data.test.as_ref()];
    let items: Vec<Item> = parts.into_iter().flatten().flatten().cloned().collect();
    let pictures: Vec<&Picture> = items.iter().map(|i| &i.picture).collect();
    let features: Features = extract(session, backbone, &pictures, 1, 0, what)?;
    skipped.extend(features.skipped.iter().map(SkippedFile::from));
    if features.kept.is_empty() {
        return Err(Error::NothingReadable { what: path.display().to_string() });
    }
    let labels = labels(&items, &features.kept);
    let pictures = features.kept.iter().map(|&i| items[i].picture.clone()).collect();
    Ok((Photos { pictures, hashes: features.hashes, labels }, features.values))
}

/// Features of at most `most` of the images, redrawn.
///
/// # Errors
/// Where the run was interrupted.
pub(super) fn redraw(
    session: &Session,
    backbone: &Backbone,
    images: &Photos,
    style: Style,
    most: usize,
    seed: u64,
) -> Result<Source, Error> {
    let rows = some(images.pictures.len(), most, seed, "source");
    let pictures: Vec<&Picture> = rows.iter().map(|&row| &images.pictures[row]).collect();
    let what = format!("source in {}", style.name());
    let features = extract(session, &redrawing(backbone, style)?, &pictures, 1, seed, &what)?;
    let labels = features.kept.iter().map(|&i| images.labels[rows[i]]).collect();
    Ok(Source { features: features.values, labels })
}

/// A backbone with other weights.
pub(super) fn with_params(of: &Backbone, params: Params) -> Result<Backbone, Error> {
    let (graph, classifier) = (of.graph.clone(), of.classifier.clone());
    Backbone::new(graph, classifier, params, of.input.clone(), of.name.clone())
}

/// A backbone that is shown pictures in a style.
fn redrawing(of: &Backbone, style: Style) -> Result<Backbone, Error> {
    let mut preprocess = of.input.preprocess("adapt")?.clone();
    preprocess.style = Some(style);
    let (graph, classifier) = (of.graph.clone(), of.classifier.clone());
    Backbone::new(graph, classifier, of.params.clone(), preprocess, of.name.clone())
}

impl Adaptation<'_> {
    /// One more site: the target by other batch norm statistics, and with [`Statistics::Dsbn`] the source by its own.
    pub(super) fn restate(&mut self, statistics: Statistics) -> Result<(), Error> {
        let (session, seed) = (self.session, self.options.seed);
        let plain = &self.sites[0].backbone;
        let (images, target) = (self.source.as_ref(), &self.photos.pictures[..]);
        let (own, like) = match (statistics, images) {
            (Statistics::AdaBn, images) => (None, images.map(|images| &images.pictures[..])),
            (Statistics::Dsbn, Some(images)) => (Some(Arc::new(self.by_its_own(images)?)), None),
            (Statistics::Dsbn, None) => return Err(Error::NeedsSource { method: statistics.name() }),
        };
        let (params, moved) = restate(session, plain, like, target, "the target", seed)?;
        self.add_site(with_params(plain, params)?, moved, own)?;
        self.spaces = self.sites.len();
        let last = self.sites.len() - 1;
        if let (Statistics::AdaBn, Some(source)) = (statistics, &self.source_features) {
            let target = &self.sites[last].target;
            let share = share(target.dims()[0] as f64);
            let (map, moved) = brought(session, &source.features, target, share)?;
            self.sites[last].restated = Some((map.before(&self.head)?, moved));
        }
        Ok(())
    }

    /// The source by statistics of its own.
    fn by_its_own(&self, images: &Photos) -> Result<Own, Error> {
        let (session, seed, plain) = (self.session, self.options.seed, &self.sites[0].backbone);
        let (params, _) = restate(session, plain, None, &images.pictures, "the source", seed)?;
        let pictures: Vec<&Picture> = images.pictures.iter().collect();
        let of = with_params(plain, params)?;
        let features = extract(session, &of, &pictures, 1, seed, "source features by its own statistics")?;
        let labels: Vec<usize> = features.kept.iter().map(|&i| images.labels[i]).collect();
        let head = self.fit(&features.values, &labels)?;
        Ok(Own { source: Source { features: features.values, labels }, head })
    }

    /// The second site: of both ways to other statistics the one whose answers follow more how the target's images look, in every
    /// space.
    pub(super) fn restate_best(&mut self) -> Result<Statistics, Error> {
        self.restate(Statistics::AdaBn)?;
        if self.source.is_none() {
            return Ok(Statistics::AdaBn);
        }
        self.restate(Statistics::Dsbn)?;
        let spaces: Vec<&Tensor> = self.sites.iter().map(|s| &s.target).collect();
        let near = Neighbourhoods::of(self.session, &spaces, Vec::new(), self.options.seed)?;
        let agreement = |site: &Site| -> Result<f64, Error> {
            Ok(near.agreement(&hard(&self.answering(site).logits(self.session.pool, &site.target)?)))
        };
        let [adabn, dsbn] = [agreement(&self.sites[1])?, agreement(&self.sites[2])?];
        let (kept, other) = if dsbn > adabn { (Statistics::Dsbn, 1) } else { (Statistics::AdaBn, 2) };
        self.sites.remove(other);
        self.spaces = self.sites.len();
        let text = format!(
            "batch norm statistics: {} is taken, images that look alike are answered alike more often (adabn {adabn:.3}, dsbn {dsbn:.3})",
            kept.name()
        );
        self.session.progress.note(&text);
        Ok(kept)
    }

    /// The source as a site's head has seen it, and that head.
    pub(super) fn at<'a>(&'a self, site: &'a Site) -> (Option<&'a Source>, &'a LinearHead) {
        match &site.own {
            Some(own) => (Some(&own.source), &own.head),
            None => (self.source_features.as_ref(), &self.head),
        }
    }

    /// The head that answers at a site where no method makes another.
    pub(super) fn answering<'a>(&'a self, site: &'a Site) -> &'a LinearHead {
        site.restated.as_ref().map_or(self.at(site).1, |(head, _)| head)
    }

    /// How the statistics moved that a candidate answers by.
    pub(super) fn moved(&self, candidate: &Candidate) -> Vec<MovedNorm> {
        let mut moved = self.sites[candidate.site].moved.clone();
        let site = self.sites.get(usize::from(candidate.method.statistics.is_some()));
        let restated =
            site.and_then(|site| site.restated.as_ref()).filter(|_| candidate.method.head.is_none());
        moved.extend(restated.map(|(_, moved)| moved.clone()));
        moved
    }

    /// What the source calls the target: as it is through every trunk, and in every style where `everything` is asked for.
    pub(super) fn name_target(
        &mut self,
        statistics: Option<Statistics>,
        everything: bool,
    ) -> Result<(), Error> {
        let (Some(images), Some(source)) = (&self.source, &self.source_features) else { return Ok(()) };
        let (session, plain) = (self.session, &self.sites[0]);
        for (site, statistics) in self.sites.iter().zip([None, statistics]) {
            let way = Way { style: None, statistics };
            let source = site.own.as_ref().map_or(source, |own| &own.source);
            self.namings.add(session, way, source, &site.target, None)?;
        }
        for style in Style::ALL.into_iter().filter(|_| everything) {
            let redrawn = redraw(session, &plain.backbone, images, style, NAMED_BY, self.options.seed)?;
            let way = Way { style: Some(style), statistics: None };
            self.namings.add(session, way, &redrawn, &plain.target, Some(source))?;
        }
        Ok(())
    }

    fn add_site(
        &mut self,
        backbone: Backbone,
        moved: Vec<MovedNorm>,
        own: Option<Arc<Own>>,
    ) -> Result<(), Error> {
        let of = |pictures: &[Picture], what: &str| -> Result<Tensor, Error> {
            let all: Vec<&Picture> = pictures.iter().collect();
            Ok(extract(self.session, &backbone, &all, 1, self.options.seed, what)?.values)
        };
        let target = of(&self.photos.pictures, "adapted features")?;
        let of = |images: &Option<Photos>, what| {
            images.as_ref().map(|images| of(&images.pictures, what)).transpose()
        };
        let eval = of(&self.eval, "adapted evaluation features")?;
        let few = of(&self.few, "adapted features of the few")?;
        self.sites.push(Site { backbone, target, eval, few, moved, own, restated: None });
        Ok(())
    }

    fn tail<'a>(
        &'a self,
        backbone: &'a Backbone,
        head: &'a LinearHead,
        judge: &'a dyn Fn(&Tensor) -> [f64; 2],
    ) -> Tail<'a> {
        let AdaptOptions { unfreeze, epochs, seed, .. } = self.options;
        let (session, target) = (self.session, &self.photos);
        Tail { session, backbone, head, target, unfreeze, epochs: *epochs, seed: *seed, judge }
    }

    /// How good logits of all of the target are that come about in that way.
    fn judge<'a>(&'a self, near: &'a Neighbourhoods, way: Way) -> impl Fn(&Tensor) -> [f64; 2] + 'a {
        move |logits| near.score(&self.namings, way, logits).rank(&self.tried[0].score)
    }

    /// One more site, its head, and the epoch that was kept: the tail and the head trained on both domains.
    pub(super) fn train_both(
        &mut self,
        pull: Pull,
        near: &Neighbourhoods,
    ) -> Result<(LinearHead, usize), Error> {
        let Some(source) = &self.source else { return Err(Error::NeedsSource { method: pull.name() }) };
        let plain = &self.sites[0].backbone;
        let (trained, epoch) = {
            let judge = self.judge(near, Way::UNADAPTED);
            let tail = self.tail(plain, &self.head, &judge);
            JointFit { tail, source, pull }.run()?
        };
        let (params, head) = trained;
        self.add_site(with_params(plain, params)?, Vec::new(), None)?;
        Ok((head, epoch))
    }

    /// One more site: the tail trained for an objective, from one; the epoch that was kept.
    pub(super) fn train_tail(
        &mut self,
        method: Method,
        head: &LinearHead,
        site: usize,
        near: &Neighbourhoods,
    ) -> Result<usize, Error> {
        let of_method = |o: &Objective| Some(o.name()) == method.tail;
        let Some(objective) = objectives().into_iter().find(of_method) else { return Ok(0) };
        let from = &self.sites[site];
        let (params, epoch) = {
            let judge = self.judge(near, method.way());
            let tail = self.tail(&from.backbone, head, &judge);
            TailFit { tail, objective }.run()?
        };
        let (backbone, moved) = (with_params(&from.backbone, params)?, from.moved.clone());
        let own = from.own.clone();
        self.add_site(backbone, moved, own)?;
        Ok(epoch)
    }
}
