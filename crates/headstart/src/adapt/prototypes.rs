//! Prototypes: class means of the source are carried to the target and settle there, as the centres of a spherical k-means
//! (the pseudo-labelling of SHOT: Liang, Hu and Feng 2020, "Do We Really Need to Access the Source Data?", ICML, with hard
//! assignments; Tanwisuth et al. 2021 start from the source's means).
//!
//! Each domain is centred by its own mean and rows are brought to length 1. Without the source the first centres are the means
//! of the target's rows, weighted by what the head answers. A centre that attracts nothing stays where it was.

use super::alignment::Alignment;
use super::domains::{Domains, centred, class_sums, hard, mean_length, one_hot, soft, unit};
use crate::head::LinearHead;
use crate::{Error, Session};
use headstart_tensor::Tensor;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Prototypes {
    /// Rounds, at most: it ends where no answer changes.
    pub rounds: usize,
    /// What cosines are multiplied by to become logits.
    pub sharpness: f64,
}

impl Default for Prototypes {
    fn default() -> Self {
        Prototypes { rounds: 30, sharpness: 20.0 }
    }
}

impl Alignment for Prototypes {
    fn name(&self) -> &'static str {
        "prototypes"
    }

    fn about(&self) -> &'static str {
        "class means that settle among the target's features (as in SHOT, Liang et al. 2020)"
    }

    fn needs_source(&self) -> bool {
        false
    }

    fn align(&self, session: &Session, domains: &Domains) -> Result<LinearHead, Error> {
        let (pool, classes) = (session.pool, domains.classes());
        let (target, map) = centred(pool, domains.target, false)?;
        let rows = unit(pool, &target);
        let mut centres = match domains.source {
            Some(source) => {
                let (source_rows, _) = centred(pool, &source.features, false)?;
                class_sums(pool, &one_hot(&source.labels, classes), &unit(pool, &source_rows))?
            }
            None => class_sums(pool, &soft(&domains.answers(session)?), &rows)?,
        };
        let mut answered: Vec<usize> = Vec::new();
        for _ in 0..self.rounds {
            session.check()?;
            centres = unit(pool, &centres);
            let head = LinearHead::new(centres.clone(), Tensor::zeros([classes]))?;
            let answers = hard(&head.logits(pool, &rows)?);
            if answers == answered {
                break;
            }
            let mut sums = class_sums(pool, &one_hot(&answers, classes), &rows)?;
            // What is left of the old centre decides nothing but where there is nothing new.
            for (sum, old) in sums.data_mut().iter_mut().zip(centres.data()) {
                *sum += 1e-3 * old;
            }
            (centres, answered) = (sums, answers);
        }
        // A row's length does not change which centre is nearest, so the head leaves it out.
        let scale = self.sharpness / mean_length(&target).max(f64::MIN_POSITIVE);
        let mut weight = unit(pool, &centres);
        weight.data_mut().iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
        map.before(&LinearHead::new(weight, Tensor::zeros([classes]))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::domains::Source;
    use crate::adapt::testing::{cluster, quiet};
    use crate::head::LogisticRegression;
    use crate::metrics::correct;

    #[test]
    fn clusters_that_moved_together_and_apart_are_found_with_and_without_the_source() {
        quiet(|session| {
            let (features, labels) = cluster(300, 3, 3);
            let (moved, other) = cluster(300, 3, 4);
            let mut target = moved;
            for row in target.data_mut().chunks_exact_mut(4) {
                row.iter_mut().zip([2.5, -2.0, 1.5, 3.0]).for_each(|(v, by)| *v = 0.8 * *v + by);
            }
            let (pool, stop) = (session.pool, session.interrupt);
            let head = LogisticRegression::default().fit(&features, &labels, 3, pool, stop).unwrap().head;
            let source = Source { features, labels };
            let right = |source: Option<&Source>| {
                let domains = Domains { source, target: &target, head: &head, l2: 0.1, seed: 0 };
                let found = Prototypes::default().align(session, &domains).unwrap();
                correct(&found.logits(pool, &target).unwrap(), &other)
            };
            let domains = Domains { source: None, target: &target, head: &head, l2: 0.1, seed: 0 };
            let before = correct(&domains.answers(session).unwrap(), &other);
            assert!(before < 280 && right(Some(&source)) > 290, "{before} {}", right(Some(&source)));
            assert!(right(None) > before, "{} {before}", right(None));
        });
    }
}
