//! Standardisation per domain: the target's features get the source's mean and deviation, column by column.
//!
//! `x -> (x - m_t) / s_t * s_s + m_s`. It is what AdaBN does (Li et al. 2017), for the features that the head reads, and a part of
//! it ([`super::Statistics::AdaBn`]). It takes the domains' class mix to be the same, and does harm where it is not.

use super::alignment::Alignment;
use super::domains::{Affine, Domains};
use super::statistics::MovedNorm;
use crate::head::{LinearHead, Standardiser};
use crate::{Error, Session};
use headstart_tensor::Tensor;

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standardise;

impl Alignment for Standardise {
    fn name(&self) -> &'static str {
        "standardise"
    }

    fn about(&self) -> &'static str {
        "the target's features in the source's mean and deviation"
    }

    fn align(&self, session: &Session, domains: &Domains) -> Result<LinearHead, Error> {
        let source = domains.source(self.name())?;
        brought(session, &source.features, domains.target, 1.0)?.0.before(domains.head)
    }
}

/// The map that brings `target` `[m, d]` to the mean and deviation of `source` `[n, d]`, the target's own statistics counting as
/// `share`, from 0 to 1, beside the source's; and how far statistics moved.
///
/// # Errors
/// Where a feature is not finite.
pub(super) fn brought(
    session: &Session,
    source: &Tensor,
    target: &Tensor,
    share: f64,
) -> Result<(Affine, MovedNorm), Error> {
    let (source, target) = (Standardiser::of(session.pool, source)?, Standardiser::of(session.pool, target)?);
    let between = |source: f64, target: f64| source + share * (target - source);
    let variances = source.scale().iter().zip(target.scale()).map(|(&s, &t)| match s > 0.0 && t > 0.0 {
        true => (s.powi(-2), between(s.powi(-2), t.powi(-2))),
        // What is constant in one of both stays where it is.
        false => (1.0, 1.0),
    });
    let (old, new): (Vec<f64>, Vec<f64>) = variances.unzip();
    let mean: Vec<f64> = source.mean().iter().zip(target.mean()).map(|(&s, &t)| between(s, t)).collect();
    let moved = MovedNorm::between("head", [source.mean(), &old], [&mean, &new]);
    let scale: Vec<f64> = old.iter().zip(&new).map(|(old, new)| (old / new).sqrt()).collect();
    let mean = mean.iter().zip(source.mean()).zip(&scale).map(|((m, s), scale)| m - s / scale).collect();
    Ok((Affine { mean, scale }, moved))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::domains::Source;
    use crate::adapt::testing::{cluster, quiet};
    use crate::head::LogisticRegression;
    use crate::metrics::correct;

    #[test]
    fn a_shift_and_a_stretch_of_every_column_are_undone() {
        quiet(|session| {
            let (features, labels) = cluster(300, 3, 0);
            let target = Tensor::from_fn([300, 4], |i| {
                features.data()[i] * [3.0, 0.2, 1.0, 7.0][i % 4] + [50.0, -9.0, 0.5, 2.0][i % 4]
            });
            let (pool, stop) = (session.pool, session.interrupt);
            let head = LogisticRegression::default().fit(&features, &labels, 3, pool, stop).unwrap().head;
            let source = Source { features, labels: labels.clone() };
            let domains = Domains { source: Some(&source), target: &target, head: &head, l2: 0.1, seed: 0 };
            let before = correct(&domains.answers(session).unwrap(), &labels);
            let after = Standardise.align(session, &domains).unwrap().logits(pool, &target).unwrap();
            assert!(before < 200 && correct(&after, &labels) > 290, "{before}");
        });
    }

    #[test]
    fn few_images_count_by_their_share() {
        quiet(|session| {
            // Deviations of 1 and 3, means of 0 and 4; a column that is constant on the target.
            let source = Tensor::new([2, 2], vec![-1.0, 0.0, 1.0, 2.0]).unwrap();
            let target = Tensor::new([2, 2], vec![1.0, 5.0, 7.0, 5.0]).unwrap();
            let (map, moved) = brought(session, &source, &target, 0.5).unwrap();
            // Half way in mean and variance: 2 and (1 + 9) / 2; of the other the mean alone, from 1 to 3.
            let expected = ([2.0, 2.0], [1.0 / 5f64.sqrt(), 1.0]);
            for c in 0..2 {
                assert!((map.mean[c] - expected.0[c]).abs() < 1e-12, "{:?}", map.mean);
                assert!((map.scale[c] - expected.1[c]).abs() < 1e-12, "{:?}", map.scale);
            }
            assert!((moved.mean_shift - 2.0).abs() < 1e-12, "{moved:?}");
            assert!((moved.variance_ratio - 5f64.sqrt()).abs() < 1e-12, "{moved:?}");
            let (stays, _) = brought(session, &source, &target, 0.0).unwrap();
            assert_eq!((stays.mean, stays.scale), (vec![0.0, 0.0], vec![1.0, 1.0]));
        });
    }
}
