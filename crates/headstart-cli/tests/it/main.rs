//! The binary as a person or a program meets it, one module a subject.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where its surroundings fail")]

mod place;

#[cfg(feature = "embedded-weights")]
mod adapt;
mod cli;
mod doctor;
mod doctor_texts;
#[cfg(feature = "embedded-weights")]
mod evaluation;
#[cfg(feature = "embedded-weights")]
mod export;
#[cfg(feature = "embedded-weights")]
mod finetune;
mod import;
#[cfg(feature = "download")]
mod pull;
#[cfg(feature = "embedded-weights")]
mod report;
mod text;
