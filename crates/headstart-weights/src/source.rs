//! The bytes of a weight file: mapped, compiled in, or owned.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a weight file.
pub(crate) enum Source {
    Mapped(Mmap),
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

impl Source {
    /// Maps the file at `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // Asked before opening: opening a pipe would wait for a writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        map(&File::open(path)?).map(Source::Mapped)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Source::Mapped(map) => map,
            Source::Static(bytes) => bytes,
            Source::Owned(bytes) => bytes,
        }
    }
}

#[expect(unsafe_code, reason = "a mapped file is read without a copy; see SAFETY")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is read-only and private to this process, and every read of it is bounds-checked. What
    // is left is another process that changes the file meanwhile: bytes may then differ between two reads, and
    // a file cut short stops this process. No check of ours guards memory safety by bytes read twice: offsets
    // and sizes are copied out of the mapping before they are checked and used.
    unsafe { Mmap::map(file) }
}
