//! Who is told how a download comes along.

/// Told how a download comes along.
pub trait Watch {
    /// `file` begins to come, of `total` bytes where that is known; `have` of them are here already.
    fn begin(&self, file: &str, have: u64, total: Option<u64>);
    /// `bytes` more are here.
    fn advance(&self, bytes: u64);
    /// The transfer ended, whole or not.
    fn end(&self);
    /// Something a person should know, in a sentence.
    fn note(&self, text: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn begin(&self, _: &str, _: u64, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
    fn note(&self, _: &str) {}
}
