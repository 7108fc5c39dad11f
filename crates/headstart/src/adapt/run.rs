//! An adaptation from the model file to the adapted one.

use super::choice::{best, first_to_label};
use super::domains::{Domains, Source, hard};
use super::objective::objectives;
use super::score::Neighbourhoods;
use super::statistics::{MovedNorm, norms, restate};
use super::tail::TailFit;
use super::{AdaptOptions, AdaptReport, Adapted, EvalAccuracy, Method, Then, Tried, alignments};
use crate::artifact::{Manifest, whole_fingerprint};
use crate::evaluate::labels;
use crate::fine_tune::boundary::Photos;
use crate::fine_tune::unfreeze;
use crate::head::{L2, LinearHead};
use crate::metrics::{Confusion, wilson_interval};
use crate::unknown::{Unknown, energies};
use crate::{Artifact, Backbone, Error, Features, Session, SkippedFile, extract};
use headstart_data::{Dataset, Item, OpenOptions, Picture, TextColumns, open_unlabelled};
use headstart_graph::{Calibration, Params, Precision};
use headstart_models::sha256_hex;
use headstart_tensor::Tensor;
use headstart_weights::replace_file;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// A trunk, and what both domains look like through it.
struct Site {
    backbone: Backbone,
    target: Tensor,
    eval: Option<Tensor>,
    moved: Vec<MovedNorm>,
}

/// A way that was tried: where its head reads features, and the head.
struct Candidate {
    method: Method,
    /// The number of its site.
    site: usize,
    head: LinearHead,
}

/// Everything that is opened before a method is tried.
struct Adaptation<'a> {
    session: &'a Session<'a>,
    options: &'a AdaptOptions,
    head: LinearHead,
    l2: f64,
    source: Option<Source>,
    pictures: Vec<Picture>,
    /// Of the target's images that can be read.
    photos: Photos,
    eval: Option<(Vec<Picture>, Vec<usize>)>,
    sites: Vec<Site>,
    candidates: Vec<Candidate>,
    tried: Vec<Tried>,
    classes: Vec<String>,
}

/// Adapts the model and writes it.
///
/// # Errors
/// Where the model or data are not usable, a method needs what is not there, or the run was interrupted. The model file is
/// written last, whole or not at all.
pub fn adapt(session: &Session, options: &AdaptOptions) -> Result<AdaptReport, Error> {
    let started = Instant::now();
    if options.epochs == 0 {
        let (found, expected) = ("0".to_owned(), "1 or more");
        return Err(Error::Setting { name: "--epochs", found, expected });
    }
    let Artifact { manifest, mut backbone, head, .. } = Artifact::load(&options.model, session.home)?;
    backbone.input.preprocess("adapt")?;
    if backbone.trunk().precision() != Precision::F32 {
        let text = format!("the model computes in {}; adaptation, and its model, in f32", manifest.precision);
        session.progress.note(&text);
        backbone.compile_in(Precision::F32, Calibration::default())?;
    }
    let mut skipped = Vec::new();
    let classes = manifest.labels.clone();
    let source = match &options.source {
        None => None,
        Some(path) => {
            let (features, labels, _) =
                labelled(session, &backbone, path, &classes, "source features", &mut skipped)?;
            Some(Source { features: features.values, labels })
        }
    };
    let (pictures, left_out) = open_unlabelled(std::slice::from_ref(&options.target))?;
    skipped.extend(left_out.iter().map(SkippedFile::from));
    let all: Vec<&Picture> = pictures.iter().collect();
    let target = extract(session, &backbone, &all, 1, options.seed, "target features")?;
    skipped.extend(target.skipped.iter().map(SkippedFile::from));
    if target.kept.is_empty() {
        return Err(Error::NothingReadable { what: "the target".into() });
    }
    let kept: Vec<Picture> = target.kept.iter().map(|&i| pictures[i].clone()).collect();
    let photos = Photos { pictures: kept.clone(), hashes: target.hashes, labels: Vec::new() };
    let (mut eval, mut eval_features) = (None, None);
    if let Some(path) = &options.eval {
        let (features, labels, pictures) =
            labelled(session, &backbone, path, &classes, "evaluation features", &mut skipped)?;
        eval_features = Some(features.values);
        eval = Some((pictures, labels));
    }
    let l2 = manifest.recipe.l2.unwrap_or(L2::FALLBACK);
    let plain = Site { backbone, target: target.values, eval: eval_features, moved: Vec::new() };
    let mut adaptation = Adaptation {
        session,
        options,
        head,
        l2,
        source,
        pictures: kept,
        photos,
        eval,
        sites: vec![plain],
        candidates: Vec::new(),
        tried: Vec::new(),
        classes,
    };
    let (chosen, why) = adaptation.choose()?;
    let report = adaptation.report(chosen, why, skipped, started)?;
    if adaptation.candidates[chosen].method == Method::NONE {
        keep(&options.model, &options.output)?;
    } else {
        adaptation.save(manifest, chosen, &report)?;
    }
    Ok(AdaptReport { seconds: started.elapsed().as_secs_f64(), ..report })
}

/// The model as it is, to the byte.
fn keep(model: &Path, output: &Path) -> Result<(), Error> {
    let bytes = std::fs::read(model).map_err(Error::io("read", model))?;
    replace_file(output, |file| file.write_all(&bytes)).map_err(Error::io("write", output))
}

/// Features and labels of all labelled images of known classes, and those that could be read.
fn labelled(
    session: &Session,
    backbone: &Backbone,
    path: &Path,
    classes: &[String],
    what: &str,
    skipped: &mut Vec<SkippedFile>,
) -> Result<(Features, Vec<usize>, Vec<Picture>), Error> {
    backbone.input.expect(&backbone.name, path, &TextColumns::default())?;
    let options = OpenOptions { classes: Some(classes.to_vec()), columns: TextColumns::default() };
    let data = Dataset::open(path, &options)?;
    skipped.extend(data.skipped.iter().map(SkippedFile::from));
    let parts = [Some(&data.train), data.val.as_ref(), data.test.as_ref()];
    let items: Vec<Item> = parts.into_iter().flatten().flatten().cloned().collect();
    let pictures: Vec<&Picture> = items.iter().map(|i| &i.picture).collect();
    let features = extract(session, backbone, &pictures, 1, 0, what)?;
    skipped.extend(features.skipped.iter().map(SkippedFile::from));
    if features.kept.is_empty() {
        return Err(Error::NothingReadable { what: path.display().to_string() });
    }
    let labels = labels(&items, &features.kept);
    let pictures = features.kept.iter().map(|&i| items[i].picture.clone()).collect();
    Ok((features, labels, pictures))
}

impl Adaptation<'_> {
    /// Tries what was asked for; the number of the candidate that is taken, and why.
    fn choose(&mut self) -> Result<(usize, String), Error> {
        let plain = &self.sites[0].backbone;
        let has_norms = !norms(plain.trunk_graph()).is_empty();
        let wanted = |m: &Method| match self.options.method {
            Some(method) => *m == method,
            // What needs a source is left out without one, and what needs norms where there are none.
            None => (self.source.is_some() || !m.needs_source()) && (has_norms || !m.needs_norms()),
        };
        if self.options.method.is_some_and(|m| m.needs_norms()) && !has_norms {
            return Err(Error::NoBatchNorm { network: plain.name.clone() });
        }
        let methods: Vec<Method> =
            Method::all().into_iter().filter(|m| *m == Method::NONE || wanted(m)).collect();
        if methods.iter().any(|m| m.statistics) && has_norms {
            self.restate()?;
        }
        let spaces: Vec<&Tensor> = self.sites.iter().map(|s| &s.target).collect();
        let neighbourhoods =
            Neighbourhoods::of(self.session, &spaces, self.source.as_ref(), self.options.seed)?;
        for method in methods {
            self.session.check()?;
            self.try_method(method, &neighbourhoods)?;
        }
        Ok(match self.options.method {
            Some(_) => (self.tried.len() - 1, "asked for".to_owned()),
            None => best(&self.tried),
        })
    }

    /// The second site: the target's own statistics.
    fn restate(&mut self) -> Result<(), Error> {
        let all: Vec<&Picture> = self.pictures.iter().collect();
        let plain = &self.sites[0].backbone;
        let (params, moved) = restate(self.session, plain, &all, self.options.seed)?;
        let backbone = with_params(plain, params)?;
        self.add_site(backbone, moved)
    }

    fn add_site(&mut self, backbone: Backbone, moved: Vec<MovedNorm>) -> Result<(), Error> {
        let (session, seed) = (self.session, self.options.seed);
        let all: Vec<&Picture> = self.pictures.iter().collect();
        let target = extract(session, &backbone, &all, 1, seed, "adapted features")?.values;
        let eval = match &self.eval {
            None => None,
            Some((pictures, _)) => {
                let all: Vec<&Picture> = pictures.iter().collect();
                Some(extract(session, &backbone, &all, 1, seed, "adapted evaluation features")?.values)
            }
        };
        self.sites.push(Site { backbone, target, eval, moved });
        Ok(())
    }

    /// Tries a method and notes what it gives.
    fn try_method(&mut self, method: Method, neighbourhoods: &Neighbourhoods) -> Result<(), Error> {
        let started = Instant::now();
        self.session.progress.note(&format!("trying {}: {}", method.name(), method.about()));
        let mut site = usize::from(method.statistics && self.sites.len() > 1);
        let head = match method.then {
            Then::Nothing => self.head.clone(),
            Then::Head(name) => self.align(name, site)?,
            Then::Tail(name) => {
                let head = self.align("prototypes", site)?;
                self.train_tail(name, &head)?;
                site = self.sites.len() - 1;
                head
            }
        };
        let logits = head.logits(self.session.pool, &self.sites[site].target)?;
        let mut answers = vec![0; self.classes.len()];
        hard(&logits).into_iter().for_each(|c| answers[c] += 1);
        let eval = match (&self.eval, &self.sites[site].eval) {
            (Some((_, labels)), Some(features)) => {
                Some(accuracy(&hard(&head.logits(self.session.pool, features)?), labels, self.classes.len()))
            }
            _ => None,
        };
        let score = neighbourhoods.score(self.session, &logits)?;
        let seconds = started.elapsed().as_secs_f64();
        self.tried.push(Tried { method: method.name(), score, answers, seconds, eval });
        self.candidates.push(Candidate { method, site, head });
        Ok(())
    }

    /// The head that an alignment makes at a site.
    fn align(&self, name: &str, site: usize) -> Result<LinearHead, Error> {
        let domains = Domains {
            source: self.source.as_ref(),
            target: &self.sites[site].target,
            head: &self.head,
            l2: self.l2,
            seed: self.options.seed,
        };
        let found = alignments().into_iter().find(|a| a.name() == name);
        found.map_or_else(|| Ok(self.head.clone()), |a| a.align(self.session, &domains))
    }

    /// One more site: the tail trained for an objective.
    fn train_tail(&mut self, name: &str, head: &LinearHead) -> Result<(), Error> {
        let Some(objective) = objectives().into_iter().find(|o| o.name() == name) else { return Ok(()) };
        let from = &self.sites[self.sites.len().min(2) - 1];
        let fit = TailFit {
            session: self.session,
            backbone: &from.backbone,
            head,
            target: &self.photos,
            objective,
            unfreeze: &self.options.unfreeze,
            epochs: self.options.epochs,
            seed: self.options.seed,
        };
        let backbone = with_params(&from.backbone, fit.run()?)?;
        let moved = from.moved.clone();
        self.add_site(backbone, moved)
    }

    fn report(
        &self,
        chosen: usize,
        why: String,
        skipped: Vec<SkippedFile>,
        started: Instant,
    ) -> Result<AdaptReport, Error> {
        let candidate = &self.candidates[chosen];
        let site = &self.sites[candidate.site];
        let first = first_to_label(self.session, &site.target, self.options.seed)?;
        Ok(AdaptReport {
            backbone: site.backbone.name.clone(),
            classes: self.classes.clone(),
            source: self.source.as_ref().map(|s| s.labels.len()),
            target: self.pictures.len(),
            eval: self.eval.as_ref().map(|(_, labels)| labels.len()),
            tried: self.tried.clone(),
            chosen: candidate.method.name(),
            why,
            moved: site.moved.clone(),
            label_first: first.into_iter().map(|i| self.pictures[i].path().to_owned()).collect(),
            seconds: started.elapsed().as_secs_f64(),
            model: self.options.output.display().to_string(),
            skipped,
        })
    }

    /// Writes the model of a candidate.
    fn save(mut self, manifest: Manifest, chosen: usize, report: &AdaptReport) -> Result<(), Error> {
        let candidate = self.candidates.swap_remove(chosen);
        let site = self.sites.swap_remove(candidate.site);
        let logits = candidate.head.logits(self.session.pool, &site.target)?;
        let unfrozen = match candidate.method.then {
            Then::Tail(_) => {
                let (graph, classifier) = (&site.backbone.graph, &site.backbone.classifier);
                let mut stages = unfreeze(graph, classifier, &self.options.unfreeze)?.stages;
                stages.retain(|stage| stage != classifier);
                stages
            }
            _ => Vec::new(),
        };
        let agreement = |i: usize| self.tried.get(i).map_or(0.0, |t: &Tried| t.score.agreement);
        let adapted = Adapted {
            method: report.chosen.clone(),
            target_images: self.pictures.len(),
            target_sha256: sha256_hex(&self.photos.hashes.concat()),
            started_from: manifest.weights_sha256.clone(),
            seed: self.options.seed,
            agreement: [agreement(0), agreement(chosen)],
            moved: site.moved,
            unfrozen,
        };
        let weights_sha256 =
            whole_fingerprint(&manifest.graph, &manifest.classifier, &site.backbone.params, &candidate.head);
        let manifest = Manifest {
            headstart: env!("CARGO_PKG_VERSION").to_owned(),
            precision: Precision::F32,
            calibration: Calibration::default(),
            trunk_sha256: site.backbone.fingerprint.clone(),
            weights_sha256,
            slim: false,
            // Both were those of the source.
            temperature: None,
            unknown: Unknown::fit(&energies(&logits), None),
            adapted: Some(adapted),
            ..manifest
        };
        let manifest = manifest.with_version();
        Artifact { manifest, backbone: site.backbone, head: candidate.head, directions: None }
            .save(&self.options.output)
    }
}

/// A backbone with other weights.
fn with_params(of: &Backbone, params: Params) -> Result<Backbone, Error> {
    let (graph, classifier) = (of.graph.clone(), of.classifier.clone());
    Backbone::new(graph, classifier, params, of.input.clone(), of.name.clone())
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
