//! Buffers that are kept between uses: what a training step wants, the next one wants again.

use crate::aligned::Aligned;
use std::sync::{Mutex, PoisonError};

/// f32 values that begin at a cache line.
#[derive(Debug, Clone, Default)]
pub struct Buffer(pub(crate) Aligned);

impl Buffer {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Buffer(Aligned::zeros(len))
    }
}

impl std::ops::Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

/// Buffers that nobody uses at the moment, shared by the threads of one network.
#[derive(Debug, Default)]
pub struct Spare(Mutex<Vec<Buffer>>);

impl Spare {
    /// None yet.
    pub fn new() -> Self {
        Spare::default()
    }

    /// A buffer of `len` values, whatever they are: the smallest that is large enough, or a new one.
    pub fn take(&self, len: usize) -> Buffer {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = all.iter().enumerate().filter(|(_, b)| b.0.room() >= len && b.0.room() / 4 <= len);
        match fits.min_by_key(|(_, b)| b.0.room()).map(|(i, _)| i) {
            Some(i) => Buffer(all.swap_remove(i).0.cut(len)),
            None => {
                drop(all);
                Buffer::zeros(len)
            }
        }
    }

    /// A buffer with a copy of `values`.
    pub fn copy(&self, values: &[f32]) -> Buffer {
        let mut buffer = self.take(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    /// Takes a buffer back.
    pub fn give(&self, buffer: Buffer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::Spare;

    #[test]
    fn a_buffer_that_came_back_is_lent_again_and_the_smallest_first() {
        let spare = Spare::new();
        let (mut large, small) = (spare.take(1000), spare.take(400));
        large[0] = 7.0;
        let (at_large, at_small) = (large.as_ptr(), small.as_ptr());
        spare.give(large);
        spare.give(small);
        assert_eq!(spare.take(300).as_ptr(), at_small);
        let again = spare.take(900);
        assert_eq!((again.as_ptr(), again.len(), again[0]), (at_large, 900, 7.0));
        assert_eq!(&spare.copy(&[1.0, 2.0])[..], [1.0, 2.0]);
    }
}
