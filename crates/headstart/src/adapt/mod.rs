//! Domain adaptation: a model of photos comes to sketches, without labels of the target.
//!
//! ```text
//! model + source + target | features of both, from the cache
//!   | Site                -> the target through the trunk; the source as it is and redrawn in a Style
//!   | statistics          -> AdaBN, DSBN: the trunk with the target's batch norm statistics
//!   | Alignment           -> a head for the target's features: seconds
//!   | TailFit             -> the tail trained for certain answers of the target: minutes
//!   | JointFit            -> the tail and the head trained on both domains, for a Pull: minutes
//!   | Namings             -> what the source calls the target, in many ways; their consensus is a method
//!   | Neighbourhoods      -> with the namings the label-free score that chooses
//!   v
//! a model file as of `train`, which says how it came to the target
//! ```
//!
//! No choice looks at a label of the target. The same options, data and model give the same bytes for any number of threads.

mod alignment;
mod choice;
mod consensus;
mod coral;
mod discriminator;
mod domains;
mod few;
mod joint;
mod label_shift;
mod layout;
mod matrix;
mod namings;
mod objective;
mod options;
mod prototypes;
mod pull;
mod report;
mod run;
mod score;
mod seen;
mod self_training;
mod sites;
mod spread;
mod standardise;
mod statistics;
mod subspace;
mod tail;
#[cfg(test)]
mod testing;
mod trial;

pub use alignment::{Alignment, alignments};
pub use coral::Coral;
pub use domains::{Domains, Source};
pub use label_shift::LabelShift;
pub use objective::{Objective, objectives};
pub use options::{AdaptOptions, Method};
pub use prototypes::Prototypes;
pub use pull::{Pull, pulls};
pub use report::{AdaptReport, Adapted, EvalAccuracy, Tried};
pub use run::adapt;
pub use score::Score;
pub use seen::{Seen, Taken};
pub use self_training::SelfTraining;
pub use standardise::Standardise;
pub use statistics::{MovedNorm, Statistics};
pub use subspace::Subspace;
