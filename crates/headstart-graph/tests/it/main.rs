//! Networks over sequences. `steady_state.rs` counts allocations and is an executable of its own.
#![allow(clippy::unwrap_used, reason = "a test stops where its surroundings fail")]

mod sequences;
mod tokens;
