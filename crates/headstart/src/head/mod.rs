//! The linear head: features `[n, d]` to logits `[n, classes]`.
//!
//! [`LogisticRegression`] fits one to convergence on cached features. It stops at the features: where they
//! come from is the business of the trunk, and a head that is trained together with a tail is a layer of the
//! graph.

mod centroid;
mod class_weights;
mod error;
mod folds;
mod held_out;
mod lbfgs;
mod linear;
mod logistic;
mod objective;
mod path;
mod standardise;

pub use centroid::nearest_centroid;
pub use class_weights::ClassWeights;
pub use error::HeadError;
pub use linear::LinearHead;
pub use logistic::{HeadFit, L2, LogisticRegression};
pub use path::CvPoint;

pub(crate) use folds::Folds;
pub(crate) use held_out::{Labelled, held_out_probabilities};
pub(crate) use standardise::Standardiser;
