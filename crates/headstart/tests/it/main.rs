//! The library as a whole, one module a subject, in one executable: what is linked once and run side by side takes less time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops where its surroundings fail, and says what it found"
)]

mod place;

mod adapt;
mod contract;
#[cfg(feature = "embedded-weights")]
mod doctor;
mod fine_tune;
mod grad_cam;
mod head;
mod model_file;
#[cfg(feature = "embedded-weights")]
mod real_adaptation;
#[cfg(feature = "embedded-weights")]
mod real_photos;
mod report;
mod training;
mod word_weights;
