//! Pickles as Python wrote them, and pickles made to harm.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod batches;
mod hostile;
