//! f32 values that begin at a cache line, so that a vector of packed weights lies in one line.

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// f32 values that begin at a cache line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Aligned { lines: vec![Line([0.0; 16]); len.div_ceil(16)], len }
    }

    /// Values there is room for.
    pub(crate) fn room(&self) -> usize {
        16 * self.lines.len()
    }

    /// The same memory as `len` values, whatever they are; no more than its room.
    pub(crate) fn cut(self, len: usize) -> Self {
        assert!(len <= self.room(), "room for {len} values");
        Aligned { len, ..self }
    }
}

impl std::ops::Deref for Aligned {
    type Target = [f32];

    #[allow(unsafe_code)]
    fn deref(&self) -> &[f32] {
        // SAFETY: `Line` is sixteen f32 without padding, and `len` is at most 16 times the lines (`zeros`, `cut`).
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl std::ops::DerefMut for Aligned {
    #[allow(unsafe_code)]
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
