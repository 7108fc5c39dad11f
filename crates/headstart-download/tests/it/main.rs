//! Downloads and hubs, against servers on this machine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where its surroundings fail")]

mod download;
mod hub;
