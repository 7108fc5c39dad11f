//! Fixtures, seeded values and comparisons for the tests of this workspace.
//!
//! Whole networks do not fit in a repository, so both sides of a parity test make the same weights from
//! a formula: [`seeded`] here, `scripts/fixtures/seeded.py` beside the scripts that write the fixtures.

mod compare;
mod data;
mod seeded;
pub mod server;

pub use compare::relative_l2;
pub use data::shared_data;
pub use seeded::{input, seeded};
