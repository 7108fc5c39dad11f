//! Images, texts and where they lie, one module a subject.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod dataset;
mod pillow;
mod texts;
