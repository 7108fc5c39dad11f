//! Subspace alignment: the source's principal directions are turned onto the target's (Fernando et al. 2013, "Unsupervised
//! Visual Domain Adaptation Using Subspace Alignment", ICCV).
//!
//! With the `k` first principal directions `P_s`, `P_t` `[k, d]` of each standardised domain: a head is fitted to
//! `x_s P_s^T (P_s P_t^T)`, and reads `x_t P_t^T`.

use super::alignment::Alignment;
use super::domains::{Domains, centred};
use super::matrix::product;
use crate::head::{L2, LinearHead, LogisticRegression};
use crate::unknown::principal;
use crate::{Error, Session};
use headstart_tensor::{Rng, Tensor};

/// Rounds of subspace iteration: directions are compared one by one, so the last ones count too.
const ROUNDS: usize = 60;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Subspace {
    /// Directions, at most; a quarter of the rows or of the features where that is less.
    pub directions: usize,
}

impl Default for Subspace {
    fn default() -> Self {
        Subspace { directions: 64 }
    }
}

impl Alignment for Subspace {
    fn name(&self) -> &'static str {
        "subspace"
    }

    fn about(&self) -> &'static str {
        "a head on the source's principal directions, turned onto the target's (Fernando et al. 2013)"
    }

    fn align(&self, session: &Session, domains: &Domains) -> Result<LinearHead, Error> {
        let (source, pool) = (domains.source(self.name())?, session.pool);
        let (from, _) = centred(pool, &source.features, true)?;
        let (to, map) = centred(pool, domains.target, true)?;
        let (n, m, d) = (from.dims()[0], to.dims()[0], from.row_len());
        let k = self.directions.min(n / 4).min(m / 4).min(d / 4).max(1);
        let mut rng = Rng::named(domains.seed, "subspaces");
        let ours = principal(pool, &from, (k, ROUNDS), &mut rng)?;
        session.check()?;
        let theirs = principal(pool, &to, (k, ROUNDS), &mut rng)?;
        session.check()?;
        let along = LinearHead::new(ours.clone(), Tensor::zeros([k]))?.logits(pool, &from)?;
        // `P_s P_t^T`: the rows of `P_s` along those of `P_t`.
        let turn = LinearHead::new(theirs.clone(), Tensor::zeros([k]))?.logits(pool, &ours)?;
        let rows = Tensor::new([n, k], product(pool, along.data(), turn.data(), [n, k, k]))?;
        let settings = LogisticRegression { l2: L2::Fixed(domains.l2), ..LogisticRegression::default() };
        let (classes, stop) = (domains.classes(), session.interrupt);
        let head = settings.fit(&rows, &source.labels, classes, pool, stop)?.head;
        let weight = product(pool, head.weight.data(), theirs.data(), [classes, k, d]);
        map.before(&LinearHead::new(Tensor::new([classes, d], weight)?, head.bias)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::domains::Source;
    use crate::adapt::testing::{cluster, quiet};
    use crate::metrics::correct;

    #[test]
    fn classes_along_the_same_directions_are_told_apart_in_the_other_domain() {
        quiet(|session| {
            let (features, labels) = cluster(400, 3, 1);
            let (target, other) = cluster(400, 3, 2);
            let (pool, stop) = (session.pool, session.interrupt);
            let head = LogisticRegression::default().fit(&features, &labels, 3, pool, stop).unwrap().head;
            let source = Source { features, labels };
            let domains = Domains { source: Some(&source), target: &target, head: &head, l2: 0.1, seed: 0 };
            let found = Subspace { directions: 2 }.align(session, &domains);
            // Of four features a quarter is one direction: too few for three classes, and still no failure.
            assert!(correct(&found.unwrap().logits(pool, &target).unwrap(), &other) > 150);
        });
    }
}
