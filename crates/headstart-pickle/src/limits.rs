//! What a reader may accept: the allow-list and the bounds.

/// The globals that may be named, and the bounds on work and memory.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// The allowed globals, as (module, name). Any other is refused where it is named.
    pub globals: &'a [(&'a str, &'a str)],
    /// The bounds.
    pub limits: Limits,
}

/// Bounds on one pickle. Reaching one is an error, never a shortened value.
///
/// With the defaults a hostile file costs at most about 150 MB and well under a second; a state dict of ten
/// thousand tensors stays a factor of four below each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the pickle, up to and with its STOP.
    pub bytes: usize,
    /// Opcodes run.
    pub steps: usize,
    /// Values in the arena; a shared value counts once.
    pub values: usize,
    /// The highest memo index, plus one.
    pub memo: usize,
    /// Values and marks on the stack at once.
    pub stack: usize,
    /// Nesting of the result: a list of numbers has depth 2.
    pub depth: usize,
    /// Values of the result where a shared one counts at each place it stands: what a full walk visits.
    pub walk: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: 256 << 20,
            steps: 1 << 22,
            values: 1 << 20,
            memo: 1 << 20,
            stack: 1 << 16,
            depth: 64,
            walk: 1 << 23,
        }
    }
}
