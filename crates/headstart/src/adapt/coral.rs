//! CORAL: the source's features get the target's covariance, and a head is fitted to them (Sun, Feng and Saenko 2016, "Return of
//! Frustratingly Easy Domain Adaptation", AAAI).
//!
//! Features of each domain are standardised first, as in the paper: `x_s C_s^(-1/2) C_t^(1/2)` with `C = cov + I`.

use super::alignment::Alignment;
use super::domains::{Domains, centred};
use super::matrix::{Square, product};
use crate::head::{L2, LinearHead, LogisticRegression};
use crate::{Error, Session};
use headstart_tensor::Tensor;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Coral {
    /// What is added to the variances, above 0; the paper's is 1.
    pub ridge: f32,
}

impl Default for Coral {
    fn default() -> Self {
        Coral { ridge: 1.0 }
    }
}

impl Coral {
    /// The source's standardised rows, recoloured, with the target's standardisation undone nowhere: both are `[n, d]`.
    fn recoloured(&self, session: &Session, source: &Tensor, target: &Tensor) -> Result<Tensor, Error> {
        let (n, d) = (source.dims()[0], source.row_len());
        let (_, whitening) = Square::covariance(session.pool, source, self.ridge).roots(session.pool);
        session.check()?;
        let (colouring, _) = Square::covariance(session.pool, target, self.ridge).roots(session.pool);
        session.check()?;
        let both = product(session.pool, &whitening.values, &colouring.values, [d, d, d]);
        Ok(Tensor::new([n, d], product(session.pool, source.data(), &both, [n, d, d]))?)
    }
}

impl Alignment for Coral {
    fn name(&self) -> &'static str {
        "coral"
    }

    fn about(&self) -> &'static str {
        "a head on source features with the target's covariance (Sun et al. 2016)"
    }

    fn align(&self, session: &Session, domains: &Domains) -> Result<LinearHead, Error> {
        let source = domains.source(self.name())?;
        let (from, _) = centred(session.pool, &source.features, true)?;
        let (to, map) = centred(session.pool, domains.target, true)?;
        let rows = self.recoloured(session, &from, &to)?;
        let settings = LogisticRegression { l2: L2::Fixed(domains.l2), ..LogisticRegression::default() };
        let (classes, stop) = (domains.classes(), session.interrupt);
        let fit = settings.fit(&rows, &source.labels, classes, session.pool, stop)?;
        map.before(&fit.head)
    }
}
