//! Fine-tuning: the last stages of a network trained on, from the activations at the freeze boundary.

mod recipe;
mod schedule;
mod unfreeze;

pub use recipe::{Augment, TuneRecipe};
pub use schedule::Schedule;
