//! The trait of methods that adapt a head on cached features, and the list of them.

use super::coral::Coral;
use super::domains::Domains;
use super::label_shift::LabelShift;
use super::prototypes::Prototypes;
use super::self_training::SelfTraining;
use super::standardise::Standardise;
use super::subspace::Subspace;
use crate::head::LinearHead;
use crate::{Error, Session};

/// A way to make a head for the target from features of both domains. What it yields reads the target's features as they
/// are.
pub trait Alignment: std::fmt::Debug + Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What it does, in a few words, and the paper.
    fn about(&self) -> &'static str;

    /// Whether it looks at the source.
    fn needs_source(&self) -> bool {
        true
    }

    /// A head for the target's features. The same domains give the same bytes for any number of threads.
    ///
    /// # Errors
    /// Where there is no source and the method needs one, a fit was interrupted, or features are no numbers.
    fn align(&self, session: &Session, domains: &Domains) -> Result<LinearHead, Error>;
}

/// Every method on features, from the cheapest.
pub fn alignments() -> Vec<Box<dyn Alignment>> {
    vec![
        Box::new(LabelShift::default()),
        Box::new(Standardise),
        Box::new(Prototypes::default()),
        Box::new(Coral::default()),
        Box::new(Subspace::default()),
        Box::new(SelfTraining::default()),
    ]
}
