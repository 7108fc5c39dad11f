//! How good answers are, and how sure that is.

mod evaluation;
mod interval;

pub use evaluation::{ClassResult, Evaluation, majority_accuracy};
pub use interval::wilson;
