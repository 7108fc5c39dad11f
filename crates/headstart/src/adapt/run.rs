//! An adaptation from the model file to the adapted one.

use super::choice::first_to_label;
use super::domains::Source;
use super::namings::Namings;
use super::score::some;
use super::sites::{Site, open_labelled};
use super::trial::Adaptation;
use super::{AdaptOptions, AdaptReport, Adapted, Method, Tried};
use crate::artifact::{Manifest, whole_fingerprint};
use crate::fine_tune::boundary::Photos;
use crate::fine_tune::unfreeze;
use crate::head::L2;
use crate::unknown::{Unknown, energies};
use crate::{Artifact, Error, Session, SkippedFile, extract};
use headstart_data::{Picture, open_unlabelled};
use headstart_graph::{Calibration, Precision};
use headstart_models::sha256_hex;
use headstart_weights::replace_file;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Images of the target that are named, at most: who is near to whom costs their number squared.
const NAMED: usize = 10_000;

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
    if options.budget.is_nan() || options.budget < 0.0 {
        let (found, expected) = (options.budget.to_string(), "a time from 0");
        return Err(Error::Setting { name: "--budget", found, expected });
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
    let mut open =
        |path: &Path, what: &str| open_labelled(session, &backbone, path, &classes, what, &mut skipped);
    let (source, source_features) = match &options.source {
        None => (None, None),
        Some(path) => {
            let (images, features) = open(path, "source features")?;
            let labels = images.labels.clone();
            (Some(images), Some(Source { features, labels }))
        }
    };
    let (eval, eval_features) = match &options.eval {
        None => (None, None),
        Some(path) => {
            let (images, features) = open(path, "evaluation features")?;
            (Some(images), Some(features))
        }
    };
    let (few, few_features) = match &options.few {
        None => (None, None),
        Some(path) => {
            let (images, features) = open(path, "features of the few")?;
            (Some(images), Some(features))
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
    // By their contents: names of folders would decide the order otherwise, and batches and samples with it.
    let mut order: Vec<usize> = (0..target.kept.len()).collect();
    order.sort_by(|&a, &b| target.hashes[a].cmp(&target.hashes[b]).then(a.cmp(&b)));
    let photos = Photos {
        pictures: order.iter().map(|&i| pictures[target.kept[i]].clone()).collect(),
        hashes: order.iter().map(|&i| target.hashes[i]).collect(),
        labels: Vec::new(),
    };
    let l2 = manifest.recipe.l2.unwrap_or(L2::FALLBACK);
    let plain = Site {
        backbone,
        target: target.values.rows(&order),
        eval: eval_features,
        few: few_features,
        moved: Vec::new(),
        own: None,
        restated: None,
    };
    let mut adaptation = Adaptation {
        session,
        options,
        l2,
        head,
        started,
        source,
        source_features,
        redrawn: None,
        namings: Namings::new(classes.len(), some(photos.hashes.len(), NAMED, options.seed, "named")),
        photos,
        eval,
        few,
        sites: vec![plain],
        spaces: 1,
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

impl Adaptation<'_> {
    fn report(
        &self,
        chosen: usize,
        why: String,
        skipped: Vec<SkippedFile>,
        started: Instant,
    ) -> Result<AdaptReport, Error> {
        let candidate = &self.candidates[chosen];
        let site = &self.sites[candidate.site];
        let pictures = &self.photos.pictures;
        let first = first_to_label(self.session, &site.target, self.options.seed)?;
        let first: Vec<Picture> = first.into_iter().map(|i| pictures[i].clone()).collect();
        Ok(AdaptReport {
            backbone: site.backbone.name.clone(),
            classes: self.classes.clone(),
            source: self.source.as_ref().map(|images| images.labels.len()),
            target: pictures.len(),
            few: self.few.as_ref().map(|images| images.labels.len()),
            eval: self.eval.as_ref().map(|images| images.labels.len()),
            tried: self.tried.clone(),
            chosen: candidate.method.name(),
            why,
            moved: self.moved(candidate),
            label_first: first.iter().map(|picture| picture.path().to_owned()).collect(),
            first,
            seen: [self.seen(0)?, self.seen(chosen)?],
            taken: self.taken(chosen)?,
            pictures: pictures.clone(),
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
        let unfrozen = match self.tried[chosen].epoch {
            Some(1..) => {
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
            target_images: self.photos.pictures.len(),
            target_sha256: sha256_hex(&self.photos.hashes.concat()),
            started_from: manifest.weights_sha256.clone(),
            seed: self.options.seed,
            agreement: [agreement(0), agreement(chosen)],
            moved: report.moved.clone(),
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
