//! Writing a file whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Writes `path` through a temporary sibling that takes its place when it is complete and on disk.
///
/// On any error, also one of `write` itself, the sibling is removed and what stood at `path` stays as it was.
///
/// # Errors
/// Those of `write`, and of the file system.
pub fn replace_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let path = &target(path)?;
    let (file, sibling) = create_sibling(path)?;
    let guard = RemoveOnDrop(Some(sibling));
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    write(&mut writer)?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    guard.rename(path)
}

/// What is written to: where `path` is a link, the file it leads to. A device or a pipe is refused: renaming would
/// put a file in its place.
fn target(path: &Path) -> io::Result<PathBuf> {
    let path = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => std::fs::canonicalize(path)?,
        _ => path.to_owned(),
    };
    match std::fs::metadata(&path) {
        Ok(found) if !found.is_file() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it exists and is not a regular file"))
        }
        _ => Ok(path),
    }
}

/// Tells the siblings of one process apart.
static SIBLINGS: AtomicU32 = AtomicU32::new(0);

fn create_sibling(path: &Path) -> io::Result<(File, PathBuf)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"))?;
    loop {
        let count = SIBLINGS.fetch_add(1, Ordering::Relaxed);
        let suffix = format!(".{}-{count}.partial", std::process::id());
        let sibling = path
            .with_file_name([OsStr::new("."), name, OsStr::new(&suffix)].into_iter().collect::<OsString>());
        match OpenOptions::new().write(true).create_new(true).open(&sibling) {
            // Left by a killed process of the same number (in a container it is always 1).
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            file => return Ok((file?, sibling)),
        }
    }
}

struct RemoveOnDrop(Option<PathBuf>);

impl RemoveOnDrop {
    fn rename(mut self, path: &Path) -> io::Result<()> {
        if let Some(sibling) = &self.0 {
            std::fs::rename(sibling, path)?;
            self.0 = None;
        }
        sync_folder(path)
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(sibling) = &self.0 {
            // Nothing is left to be done where this fails too; the first error is already on its way.
            let _ = std::fs::remove_file(sibling);
        }
    }
}

/// Makes the rename itself last over a power cut. Other systems do not let a folder be opened.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        replace_file(&path, |w| w.write_all(b"old")).unwrap();
        let error = replace_file(&path, |w| {
            w.write_all(&[1; 3 << 20])?;
            Err(io::Error::new(io::ErrorKind::StorageFull, "no space left"))
        })
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["model"]);
        replace_file(&path, |w| w.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["model"]);
    }

    #[test]
    fn a_folder_in_the_way_is_an_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("model")).unwrap();
        assert!(replace_file(&folder.path().join("model"), |w| w.write_all(b"x")).is_err());
        assert_eq!(names(folder.path()), ["model"]);
        assert!(replace_file(&folder.path().join("missing/model"), |w| w.write_all(b"x")).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn a_link_leads_to_its_file_and_a_device_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace_file(&link, |w| w.write_all(b"new")).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        let device = folder.path().join("device");
        std::os::unix::fs::symlink("/dev/null", &device).unwrap();
        let error = replace_file(&device, |w| w.write_all(b"new")).unwrap_err();
        assert_eq!(error.to_string(), "it exists and is not a regular file");
    }
}
