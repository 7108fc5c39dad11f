//! Weight files as they are written, and as they are made to mislead. `thirty.rs` measures memory and is an executable of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod formats;
mod hostile;
#[path = "../made/mod.rs"]
mod made;
