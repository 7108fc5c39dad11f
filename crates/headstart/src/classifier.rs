//! Something that answers with labels: a model file, or a published network with its own ImageNet classifier.

use crate::calibration::scaled;
use crate::features::{CENTER, Views, through};
use crate::head::LinearHead;
use crate::loss::log_sum_exp;
use crate::unknown::{FEWEST, UNKNOWN, Unknown, energies, residuals};
use crate::{Artifact, Backbone, Error, Features, Session, extract};
use headstart_data::{Kind, Picture, Skipped};
use headstart_models::{Home, Pretrained};
use headstart_tensor::Tensor;
use serde::Serialize;
use std::path::Path;

/// Texts that a thread is given at once.
const TOGETHER: usize = 128;

/// A backbone, a head, and the names of its classes.
#[derive(Debug)]
pub struct Classifier {
    /// The frozen part.
    pub backbone: Backbone,
    /// The head, on features.
    pub head: LinearHead,
    labels: Vec<String>,
    published: bool,
    /// What logits are divided by; 1 where no temperature was fitted.
    temperature: f64,
    /// How images of no known class are told, with the directions that it takes.
    unknown: Option<(Unknown, Option<Tensor>)>,
    /// Whether they are answered with `unknown`.
    rejecting: bool,
    /// Views of each image whose probabilities are averaged.
    views: usize,
}

/// The answer for one image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The image.
    pub path: String,
    /// The most probable class, or `unknown`.
    pub label: String,
    /// The probability of the most probable class.
    pub probability: f64,
    /// Whether it was rejected; absent where that was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<bool>,
    /// Its number among the published classes; absent for a model file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The most probable classes, best first.
    pub top: Vec<Ranked>,
}

/// A class and its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranked {
    /// The class.
    pub label: String,
    /// Its probability.
    pub probability: f64,
}

impl Classifier {
    /// Opens a model file, or the network of that name with the weights of this machine.
    ///
    /// # Errors
    /// Where neither is there, or the file is damaged.
    pub fn open(model: &str, home: &Home) -> Result<Classifier, Error> {
        let path = Path::new(model);
        let is_named_as_file = model.contains(['/', '\\'])
            || path
                .extension()
                .is_some_and(|e| ["safetensors", "safetensor", "pt", "pth", "onnx"].iter().any(|f| e == *f));
        if path.is_dir() {
            return Err(Error::Folder { path: path.to_owned() });
        }
        if path.exists() || is_named_as_file {
            let artifact = Artifact::load(path, home)?;
            let (backbone, head) = (artifact.backbone, artifact.head);
            return Ok(Classifier {
                backbone,
                head,
                labels: artifact.manifest.labels,
                published: false,
                temperature: artifact.manifest.temperature.unwrap_or(1.0),
                unknown: artifact.manifest.unknown.map(|unknown| (unknown, artifact.directions)),
                rejecting: false,
                views: 1,
            });
        }
        let pretrained = Pretrained::open(model, home)?.with_own_classifier()?;
        let labels = pretrained.labels.clone();
        let (backbone, weight, bias) = Backbone::of(pretrained)?;
        let head = LinearHead::new(weight, bias)?;
        Ok(Classifier {
            backbone,
            head,
            labels,
            published: true,
            temperature: 1.0,
            unknown: None,
            rejecting: false,
            views: 1,
        })
    }

    /// The same, answering with the mean of the probabilities of `views` views of each image (1 to 64): its centre, and
    /// random crops, half of them mirrored, that depend on its content alone.
    ///
    /// # Errors
    /// Where `views` is out of its range.
    pub fn with_views(self, views: usize) -> Result<Classifier, Error> {
        if !(1..=64).contains(&views) {
            return Err(Error::Setting { name: "--tta", found: views.to_string(), expected: "1 to 64" });
        }
        if views > 1 {
            self.backbone.input.preprocess("--tta")?;
        }
        Ok(Classifier { views, ..self })
    }

    /// The same, answering `unknown` for images that are less like what the model knows than 95 % of the images it was
    /// validated on.
    ///
    /// # Errors
    /// Where the model has no threshold.
    pub fn rejecting(self) -> Result<Classifier, Error> {
        self.unknown()?;
        Ok(Classifier { rejecting: true, ..self })
    }

    /// How images of no known class are told.
    ///
    /// # Errors
    /// Where the model has no threshold.
    pub fn unknown(&self) -> Result<&Unknown, Error> {
        let (unknown, _) = self.unknown.as_ref().ok_or(Error::NoThreshold { fewest: FEWEST })?;
        Ok(unknown)
    }

    /// How little each image is like what the model knows, from features `[n * views, d]`: the mean over its views. `None`
    /// where the model does not say.
    ///
    /// # Errors
    /// Where the features do not fit the head.
    pub(crate) fn scores(&self, session: &Session, features: &Tensor) -> Result<Option<Vec<f64>>, Error> {
        let Some((unknown, directions)) = &self.unknown else {
            return Ok(None);
        };
        let energies = energies(&self.head.logits(session.pool, features)?);
        let residuals = match directions {
            Some(directions) => Some(residuals(session.pool, directions, features)?),
            None => None,
        };
        let scores = unknown.scores(&energies, residuals.as_deref());
        let mean = |views: &[f64]| views.iter().sum::<f64>() / views.len() as f64;
        Ok(Some(scores.chunks_exact(self.views).map(mean).collect()))
    }

    /// What logits are divided by: the temperature of the model file, else 1.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// Features `[n * views, d]` to logits `[n, classes]`, divided by `temperature`: of several views the logarithm of their
    /// mean probability.
    ///
    /// # Errors
    /// Where the features do not fit the head.
    pub(crate) fn logits(
        &self,
        session: &Session,
        features: &Tensor,
        temperature: f64,
    ) -> Result<Tensor, Error> {
        let logits = scaled(self.head.logits(session.pool, features)?, temperature);
        if self.views == 1 {
            return Ok(logits);
        }
        let (classes, n) = (logits.row_len(), logits.dims()[0] / self.views);
        Ok(Tensor::from_fn([n, classes], |i| {
            let (image, class) = (i / classes, i % classes);
            let probability = |view: usize| {
                let row = logits.row(image * self.views + view);
                (f64::from(row[class]) - log_sum_exp(row)).exp()
            };
            let mean = (0..self.views).map(probability).sum::<f64>() / self.views as f64;
            mean.max(f64::MIN_POSITIVE).ln() as f32
        }))
    }

    /// Class names in the order of the logits.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Answers for `pictures` in order, `top` classes each (at least one). `each` gets every answer, or why an
    /// image has none, and says whether to go on.
    ///
    /// # Errors
    /// Where the run was interrupted, or the features do not fit the head.
    pub fn predict(
        &self,
        session: &Session,
        pictures: &[Picture],
        top: usize,
        each: &mut dyn FnMut(Result<Prediction, Skipped>) -> bool,
    ) -> Result<(), Error> {
        let trunk = self.backbone.trunk();
        let views = Views { each: self.views, ..CENTER };
        let together = match self.backbone.input.kind() {
            Kind::Images => trunk.group(),
            // Enough to find others of the same length.
            Kind::Texts => TOGETHER,
        };
        for chunk in pictures.chunks(4 * session.pool.threads() * together) {
            session.check()?;
            let some: Vec<&Picture> = chunk.iter().collect();
            let features = through(trunk, &self.backbone.input, &some, views, session.pool);
            for (picture, features) in chunk.iter().zip(features) {
                let answer = match features {
                    Err(reason) => Err(Skipped { path: picture.path().to_owned(), reason }),
                    Ok(features) => {
                        let features = Tensor::new([self.views, trunk.output().len()], features)?;
                        let logits = self.logits(session, &features, self.temperature)?;
                        let mut answer = self.answer(picture.path(), logits.row(0), top);
                        if self.rejecting {
                            self.reject(session, &features, &mut answer)?;
                        }
                        Ok(answer)
                    }
                };
                if !each(answer) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Answers `unknown` where the image's score is above the threshold.
    fn reject(&self, session: &Session, features: &Tensor, answer: &mut Prediction) -> Result<(), Error> {
        let scores = self.scores(session, features)?;
        if let (Some((unknown, _)), Some(score)) = (&self.unknown, scores.as_deref().and_then(<[f64]>::first))
        {
            let rejected = unknown.rejects(*score);
            answer.unknown = Some(rejected);
            if rejected {
                UNKNOWN.clone_into(&mut answer.label);
            }
        }
        Ok(())
    }

    fn answer(&self, path: &str, logits: &[f32], top: usize) -> Prediction {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exps: Vec<f64> = logits.iter().map(|&l| f64::from(l - most).exp()).collect();
        let sum: f64 = exps.iter().sum();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let ranked = |&i: &usize| Ranked { label: self.labels[i].clone(), probability: exps[i] / sum };
        let best = order.first().copied().unwrap_or(0);
        Prediction {
            path: path.to_owned(),
            label: self.labels[best].clone(),
            probability: exps[best] / sum,
            index: self.published.then_some(best),
            unknown: None,
            top: order.iter().take(top.max(1)).map(ranked).collect(),
        }
    }

    /// The features of `pictures`, a row for each view, through the cache.
    ///
    /// # Errors
    /// As [`extract`].
    pub fn features(&self, session: &Session, pictures: &[&Picture], what: &str) -> Result<Features, Error> {
        extract(session, &self.backbone, pictures, self.views, 0, what)
    }
}
