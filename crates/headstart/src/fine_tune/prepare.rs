//! Everything a fine-tuning needs before its first step: the network with its head, the images that can be read, and what
//! of it learns.

use super::boundary::Photos;
use super::unfreeze::{Unfrozen, unfreeze};
use super::{Start, TuneOptions, TuneRecipe};
use crate::artifact::{Manifest, Recipe};
use crate::evaluate::labels;
use crate::head::{LinearHead, LogisticRegression, nearest_centroid};
use crate::metrics::correct;
use crate::parts::{Parts, Source, data_hash, strict, warn};
use crate::train::HeadPart;
use crate::{Artifact, Backbone, ClassWeights, Error, Features, Session, SkippedFile, Solver, extract};
use headstart_data::{Item, Kind, Picture};
use headstart_graph::{Graph, ParamKind, Params, Precision};
use headstart_models::{fingerprint, sha256_hex};
use headstart_tensor::Tensor;
use serde::Serialize;
use std::time::Instant;

/// The network that a fine-tuning starts from, and its data by name: nothing was computed yet.
pub(crate) struct Opened {
    pub(crate) backbone: Backbone,
    given: Option<Given>,
    /// The network with an output for each class, as it is trained: without masks of padding, which no text has.
    pub(crate) graph: Graph,
    pub(crate) parts: Parts,
    pub(crate) unfrozen: Unfrozen,
}

/// The head of the starting model, how it was trained, and on what.
struct Given {
    head: LinearHead,
    recipe: Recipe,
    data_sha256: String,
}

/// What a fine-tuning would do.
#[derive(Debug, Clone, Serialize)]
pub struct TunePlan {
    /// `arch.tag`.
    pub backbone: String,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// What it reads.
    #[serde(skip)]
    pub kind: Kind,
    /// Images, or texts, for training and for validation.
    pub images: [usize; 2],
    /// The stages that are trained.
    pub unfrozen: Vec<String>,
    /// The node after which the network is cut.
    pub cut: String,
    /// The shape of an image's activations there, and of the longest text's.
    pub activations: Vec<usize>,
    /// Values of trained parameters.
    pub trainable_parameters: usize,
    /// Values of frozen ones.
    pub frozen_parameters: usize,
    /// Steps of the whole fit.
    pub steps: usize,
    /// The recipe.
    pub recipe: TuneRecipe,
}

impl Opened {
    /// Opens model and data.
    ///
    /// # Errors
    /// Where one of them cannot be, or the recipe unfreezes nothing.
    pub(crate) fn new(session: &Session, options: &TuneOptions) -> Result<Opened, Error> {
        let (backbone, given, classes) = match &options.start {
            Start::Backbone(name) => (Backbone::open(session, name, None, None)?, None, None),
            Start::Model(path) => {
                let Artifact { manifest, backbone, head, .. } = Artifact::load(path, session.home)?;
                let precision = backbone.trunk().precision();
                if precision != Precision::F32 {
                    // Its features, which are cached in its precision, are used as they are: the fit has a trunk of its own.
                    let text =
                        format!("the model computes in {precision}; fine-tuning, and its model, in f32");
                    session.progress.note(&text);
                }
                let Manifest { labels, recipe, data_sha256, .. } = manifest;
                (backbone, Some(Given { head, recipe, data_sha256 }), Some(labels))
            }
        };
        let kind = backbone.input.kind();
        if kind == Kind::Texts {
            options.recipe.check_for_texts()?;
        }
        // The images that the head was measured on are held out again.
        let split = given.as_ref().map(|given| (given.recipe.seed, given.recipe.val_fraction));
        let (seed, val_fraction) = split.unwrap_or((options.seed, None));
        let group_by = given.as_ref().and_then(|given| given.recipe.group_by.clone());
        let source = Source {
            group_by: group_by.as_deref(),
            data: &options.data,
            val: options.val.as_deref(),
            val_fraction: val_fraction.unwrap_or(options.val_fraction),
            seed,
            exclude: options.exclude.as_deref(),
            columns: &options.columns,
        };
        let parts = Parts::open(session, &source, &backbone, classes)?;
        strict(options.strict, &parts.skipped)?;
        if parts.train.is_empty() {
            return Err(Error::NothingReadable { what: "the training data".into() });
        }
        let graph = backbone.graph.with_classes(&backbone.classifier, parts.classes.len())?;
        // Texts are never padded.
        let graph = if kind == Kind::Texts { graph.without_masks()? } else { graph };
        let unfrozen = unfreeze(&graph, &backbone.classifier, &options.recipe.unfreeze)?;
        Ok(Opened { backbone, given, graph, parts, unfrozen })
    }

    /// Values of trained and of frozen parameters.
    pub(crate) fn parameters(&self) -> [usize; 2] {
        let all = self.graph.params().into_iter().filter(|p| p.kind == ParamKind::Weight);
        all.fold([0, 0], |[trained, frozen], p| match self.unfrozen.freeze.is_trainable(&p.name) {
            true => [trained + p.shape.len(), frozen],
            false => [trained, frozen + p.shape.len()],
        })
    }

    pub(crate) fn plan(&self, recipe: &TuneRecipe) -> Result<TunePlan, Error> {
        let split = self.graph.split(&self.unfrozen.freeze)?;
        let [trainable_parameters, frozen_parameters] = self.parameters();
        Ok(TunePlan {
            backbone: self.backbone.name.clone(),
            classes: self.parts.classes.clone(),
            kind: self.parts.kind,
            images: [self.parts.train.len(), self.parts.val.len()],
            unfrozen: self.unfrozen.stages.clone(),
            cut: split.cut,
            activations: split.trunk.output().dims().to_vec(),
            trainable_parameters,
            frozen_parameters,
            steps: recipe.epochs * self.parts.train.len().div_ceil(recipe.batch_size),
            recipe: recipe.clone(),
        })
    }
}

/// A fine-tuning before its first step.
pub(crate) struct Prepared {
    pub(crate) opened: Opened,
    /// All parameters, those of the head included.
    pub(crate) params: Params,
    pub(crate) train: Photos,
    pub(crate) val: Photos,
    /// The features of both before the classifier, `[images, d]`.
    pub(crate) values: [Tensor; 2],
    /// What an image of each class counts, where they do not count the same.
    pub(crate) class_weights: Option<Vec<f64>>,
    /// How the head was trained and the data parted.
    pub(crate) head_recipe: Recipe,
    pub(crate) head: HeadPart,
    /// Share of the validation images that the nearest class mean of the features gets right.
    pub(crate) centroid_accuracy: f64,
    /// SHA-256 of all weights.
    pub(crate) started_from: String,
    /// SHA-256 over the training images, and over those and the validation images.
    pub(crate) data: [String; 2],
    /// Views computed and cached so far; seconds of that, and of the head.
    pub(crate) features: (usize, usize),
    pub(crate) seconds: (f64, f64),
}

impl Prepared {
    /// Reads every image once, and fits the head where none is given: the features are those of `train`, from its cache.
    ///
    /// # Errors
    /// Where nothing of a class or split can be read, or the run was interrupted.
    pub(crate) fn new(
        session: &Session,
        options: &TuneOptions,
        mut opened: Opened,
    ) -> Result<Prepared, Error> {
        let of = |items: &[Item], what| {
            let pictures: Vec<&Picture> = items.iter().map(|i| &i.picture).collect();
            extract(session, &opened.backbone, &pictures, 1, 0, what)
        };
        let mut train = of(&opened.parts.train, "training features")?;
        let mut val = of(&opened.parts.val, "validation features")?;
        let skipped = train.skipped.iter().chain(&val.skipped).map(SkippedFile::from);
        opened.parts.skipped.extend(skipped);
        strict(options.strict, &opened.parts.skipped)?;
        let (train_labels, val_labels) =
            (labels(&opened.parts.train, &train.kept), labels(&opened.parts.val, &val.kept));
        for (labels, what) in [(&train_labels, "the training data"), (&val_labels, "the validation data")] {
            if labels.is_empty() {
                return Err(Error::NothingReadable { what: what.into() });
            }
        }
        let classes = &opened.parts.classes;
        warn(session, (opened.parts.kind, classes), (&train, &train_labels), (&val, &val_labels));
        let mut counts = vec![0; classes.len()];
        train_labels.iter().for_each(|&label| counts[label] += 1);
        if let Some(class) = counts.iter().position(|&n| n == 0) {
            return Err(Error::NothingReadable { what: format!("the class \"{}\"", classes[class]) });
        }
        let weighting = options.class_weights.resolve(classes)?;
        let class_weights = match &weighting {
            ClassWeights::None => None,
            other => Some(other.resolve(&counts)?),
        };
        let train_hash = data_hash(&train, &train_labels);
        let fitting = Instant::now();
        let (head, head_recipe, head_part) = match opened.given.take() {
            Some(Given { head, recipe, data_sha256 }) => {
                if data_sha256 != train_hash {
                    session.progress.note(&format!(
                        "the training {} are not those the model was trained on: where it was trained on some that \
                         validate now, the accuracy looks better than it is (--val names others)",
                        opened.parts.kind.many()
                    ));
                }
                let part = HeadPart { l2: recipe.l2, converged: None, epochs: Vec::new() };
                (head, Recipe { val_fraction: opened.parts.val_fraction, ..recipe }, part)
            }
            None => {
                let (head, part) = fresh(session, options, weighting, &train, &train_labels, classes.len())?;
                let recipe = Recipe {
                    seed: options.seed,
                    views: 1,
                    val_fraction: opened.parts.val_fraction,
                    group_by: None,
                    solver: Solver::Convergence,
                    class_weights: class_weights.clone(),
                    l2: part.l2,
                };
                (head, recipe, part)
            }
        };
        let mut params = opened.backbone.params.clone();
        let classifier = &opened.backbone.classifier;
        params.insert(format!("{classifier}.weight"), head.weight);
        params.insert(format!("{classifier}.bias"), head.bias);
        let centroids = nearest_centroid(session.pool, &train.values, &train_labels, counts.len())?;
        let right = correct(&centroids.logits(session.pool, &val.values)?, &val_labels);
        let both = sha256_hex(format!("{train_hash} {}", data_hash(&val, &val_labels)).as_bytes());
        Ok(Prepared {
            started_from: fingerprint(&opened.graph, &params),
            params,
            class_weights,
            head_recipe,
            head: head_part,
            centroid_accuracy: right as f64 / val_labels.len() as f64,
            data: [train_hash, both],
            features: (train.computed + val.computed, train.cached + val.cached),
            seconds: (train.seconds + val.seconds, fitting.elapsed().as_secs_f64()),
            values: [std::mem::take(&mut train.values), std::mem::take(&mut val.values)],
            train: photos(&opened.parts.train, train, train_labels),
            val: photos(&opened.parts.val, val, val_labels),
            opened,
        })
    }
}

/// A head for a network that brings none: fitted to convergence, or at zero.
fn fresh(
    session: &Session,
    options: &TuneOptions,
    class_weights: ClassWeights,
    train: &Features,
    labels: &[usize],
    classes: usize,
) -> Result<(LinearHead, HeadPart), Error> {
    if !options.recipe.probe {
        let head =
            LinearHead::new(Tensor::zeros([classes, train.values.row_len()]), Tensor::zeros([classes]))?;
        return Ok((head, HeadPart { l2: None, converged: None, epochs: Vec::new() }));
    }
    let settings = LogisticRegression { class_weights, seed: options.seed, ..LogisticRegression::default() };
    let fit = settings.fit(&train.values, labels, classes, session.pool, session.interrupt)?;
    Ok((fit.head, HeadPart { l2: Some(fit.l2), converged: Some(fit.converged), epochs: Vec::new() }))
}

fn photos(items: &[Item], features: Features, labels: Vec<usize>) -> Photos {
    let pictures = features.kept.iter().map(|&i| items[i].picture.clone()).collect();
    Photos { pictures, hashes: features.hashes, labels }
}
