//! Architectures, their weights and encoders of text, one module a subject.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops where its surroundings fail, and says what it found"
)]

mod bert;
mod contract;
mod parity;
mod precision;
mod pretrained;
mod pth;
mod text;
