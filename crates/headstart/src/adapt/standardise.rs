//! Standardisation per domain: the target's features get the source's mean and deviation, column by column.
//!
//! `x -> (x - m_t) / s_t * s_s + m_s`. It is what AdaBN does (Li et al. 2017), for the last layer's features alone. It takes the
//! domains' class mix to be the same, and does harm where it is not.

use super::alignment::Alignment;
use super::domains::{Affine, Domains};
use crate::head::{LinearHead, Standardiser};
use crate::{Error, Session};

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
        let source = Standardiser::of(session.pool, &domains.source(self.name())?.features)?;
        let target = Standardiser::of(session.pool, domains.target)?;
        // What is constant in one of both stays where it is.
        let scale = source
            .scale()
            .iter()
            .zip(target.scale())
            .map(|(&s, &t)| if s > 0.0 && t > 0.0 { t / s } else { 1.0 });
        let scale: Vec<f64> = scale.collect();
        let mean = target.mean().iter().zip(source.mean()).zip(&scale);
        let mean = mean.map(|((t, s), scale)| t - s / scale).collect();
        Affine { mean, scale }.before(domains.head)
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
    fn a_shift_and_a_stretch_of_every_column_are_undone() {
        quiet(|session| {
            let (features, labels) = cluster(300, 3, 0);
            let target = headstart_tensor::Tensor::from_fn([300, 4], |i| {
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
}
