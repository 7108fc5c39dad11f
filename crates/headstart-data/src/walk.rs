//! Files below a folder: which are images, which are not, and which are the system's own.
//!
//! Links are followed, each folder is read once. The order is torchvision's: folders by their path, files by name.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::{DataError, Picture, SkipReason, Skipped, image};

/// Names, in lower case, that systems and tools put beside people's files.
const SYSTEM_NAMES: [&str; 8] = [
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
];

/// File name endings that are taken for images without looking; other files are told by their first bytes.
const IMAGE_ENDINGS: [&str; 11] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif", "tif", "tiff"];

/// What a folder holds directly.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    /// Visible subfolders, links to folders included, by name.
    pub(crate) folders: Vec<String>,
    /// Images by name.
    pub(crate) images: Vec<String>,
    /// Everything else, its path relative to this folder.
    pub(crate) skipped: Vec<Skipped>,
    /// For a name that is not UTF-8: the shown name and the real path.
    strange: Vec<(String, PathBuf)>,
}

impl Folder {
    /// Reads the folder `dir`.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`].
    pub(crate) fn read(dir: &Path) -> Result<Self, DataError> {
        let cannot = |error: io::Error| DataError::Io { path: dir.to_owned(), detail: error.to_string() };
        let mut folder = Folder::default();
        for entry in fs::read_dir(dir).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_name().to_str().is_none() {
                folder.strange.push((name.clone(), entry.path()));
            }
            // Following links: `DirEntry::file_type` does not.
            let kind = match entry.file_type() {
                Ok(kind) if kind.is_symlink() => fs::metadata(entry.path()).map(|meta| meta.file_type()),
                kind => kind,
            };
            let reason = match kind {
                _ if is_hidden(&name) => SkipReason::Hidden,
                Err(error) if error.kind() == io::ErrorKind::NotFound => SkipReason::Missing,
                Err(error) => SkipReason::Unreadable { detail: error.to_string() },
                Ok(kind) if kind.is_dir() => {
                    folder.folders.push(name);
                    continue;
                }
                Ok(kind) if !kind.is_file() => SkipReason::OtherFile,
                Ok(_) => match is_image(&entry.path(), &name) {
                    Ok(true) => {
                        folder.images.push(name);
                        continue;
                    }
                    Ok(false) => SkipReason::OtherFile,
                    Err(error) => SkipReason::Unreadable { detail: error.to_string() },
                },
            };
            folder.skipped.push(Skipped { path: name, reason });
        }
        folder.folders.sort_unstable();
        folder.images.sort_unstable();
        folder.skipped.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(folder)
    }

    /// The path of the entry that is shown as `name`.
    pub(crate) fn path(&self, dir: &Path, name: &str) -> PathBuf {
        match self.strange.iter().find(|(shown, _)| shown == name) {
            Some((_, path)) => path.clone(),
            None => dir.join(name),
        }
    }
}

/// All images below `dir`, which is shown as `shown`; what is none goes to `skipped`.
///
/// # Errors
///
/// [`DataError::Io`] where `dir` itself cannot be read; a folder below it that cannot is skipped by name.
pub(crate) fn images(dir: &Path, shown: &str, skipped: &mut Vec<Skipped>) -> Result<Vec<Picture>, DataError> {
    let mut seen = BTreeSet::new();
    let mut read = Vec::new();
    let real = |dir: &Path| fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let root = real(dir);
    let mut pending = vec![(dir.to_owned(), shown.to_owned())];
    while let Some((dir, shown)) = pending.pop() {
        let place = real(&dir);
        // A link up to a folder around this one would bring in the images of other classes.
        let around = place != root && root.starts_with(&place);
        if around || !seen.insert(place) {
            skipped.push(Skipped { path: shown, reason: SkipReason::LinkLoop });
            continue;
        }
        let folder = match Folder::read(&dir) {
            Ok(folder) => folder,
            Err(DataError::Io { detail, .. }) if !read.is_empty() => {
                skipped.push(Skipped { path: shown, reason: SkipReason::Unreadable { detail } });
                continue;
            }
            Err(error) => return Err(error),
        };
        for name in folder.folders.iter().rev() {
            pending.push((folder.path(&dir, name), join(&shown, name)));
        }
        read.push((shown, dir, folder));
    }
    read.sort_by(|a, b| a.0.cmp(&b.0));
    let mut pictures = Vec::new();
    for (shown, dir, folder) in read {
        for name in &folder.images {
            pictures.push(Picture::from_file(join(&shown, name), folder.path(&dir, name)));
        }
        skipped.extend(folder.skipped.into_iter().map(|s| Skipped { path: join(&shown, &s.path), ..s }));
    }
    Ok(pictures)
}

/// `folder/name`, or `name` where `folder` is the root, which has no name.
pub(crate) fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        _ if folder.ends_with('/') => format!("{folder}{name}"),
        _ => format!("{folder}/{name}"),
    }
}

fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || SYSTEM_NAMES.contains(&name.to_ascii_lowercase().as_str())
}

fn is_image(path: &Path, name: &str) -> io::Result<bool> {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    if ending.is_some_and(|ending| IMAGE_ENDINGS.contains(&ending.as_str())) {
        return Ok(true);
    }
    let mut first = Vec::with_capacity(32);
    File::open(path)?.take(32).read_to_end(&mut first)?;
    Ok(image::looks_like_image(&first))
}
