//! Class folders, alone or below `train/`, `val/` and `test/`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::listing::{Listing, Row, Split};
use crate::walk::{self, Folder, join};
use crate::{DataError, SkipReason, Skipped};

/// Lists the class folders below `root`.
pub(crate) fn list(root: &Path) -> Result<Listing, DataError> {
    let folder = Folder::read(root)?;
    let mut listing = Listing::default();
    if !has_splits(root, &folder)? {
        list_classes(root, "", Split::Train, folder, &mut listing)?;
        return Ok(listing);
    }
    let mut found: BTreeMap<Split, &str> = BTreeMap::new();
    for name in &folder.folders {
        let Some(split) = Split::named(name) else {
            listing.skip(name, SkipReason::OutsideSplits);
            continue;
        };
        if let Some(first) = found.insert(split, name) {
            let (first, second) = (first.to_owned(), name.clone());
            return Err(DataError::DuplicateSplit { path: root.to_owned(), first, second });
        }
    }
    for (split, name) in found {
        let dir = folder.path(root, name);
        list_classes(&dir, name, split, Folder::read(&dir)?, &mut listing)?;
    }
    listing.skipped.extend(folder.skipped);
    for name in folder.images {
        listing.skip(name, SkipReason::NoLabel);
    }
    Ok(listing)
}

/// Whether the subfolders are splits: all are named so, or `train` has subfolders itself. (A `train` folder with
/// nothing but images beside `car` and `plane` is a class.)
fn has_splits(root: &Path, folder: &Folder) -> Result<bool, DataError> {
    let split = |name: &String| Split::named(name);
    if folder.folders.is_empty() {
        return Ok(false);
    }
    if folder.folders.iter().all(|name| split(name).is_some()) {
        return Ok(true);
    }
    match folder.folders.iter().find(|name| split(name) == Some(Split::Train)) {
        Some(train) => Ok(!Folder::read(&folder.path(root, train))?.folders.is_empty()),
        None => Ok(false),
    }
}

/// Lists the class folders in `dir`, which is shown as `shown`.
fn list_classes(
    dir: &Path,
    shown: &str,
    split: Split,
    folder: Folder,
    listing: &mut Listing,
) -> Result<(), DataError> {
    if folder.folders.is_empty() {
        let images = folder.images.len();
        if split == Split::Test && images > 0 {
            listing.skip(shown, SkipReason::UnlabelledSplit { images });
            return Ok(());
        }
        let path = dir.to_owned();
        return Err(match images {
            0 => DataError::NoImages { path, hint: crate::listing::left_out(&folder.skipped) },
            images => DataError::NoClasses { path, images },
        });
    }
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for name in &folder.folders {
        if let Some(first) = names.insert(name.trim(), name) {
            let (first, second) = (first.to_owned(), name.clone());
            return Err(DataError::DuplicateClass { path: dir.to_owned(), first, second });
        }
    }
    for name in &folder.folders {
        let shown = join(shown, name);
        let pictures = walk::images(&folder.path(dir, name), &shown, &mut listing.skipped)?;
        if pictures.is_empty() {
            listing.empty_classes += usize::from(split == Split::Train);
            listing.skip(shown, SkipReason::EmptyClass);
        }
        let class: Arc<str> = name.trim().into();
        listing.rows.extend(pictures.into_iter().map(|picture| Row {
            split,
            class: Arc::clone(&class),
            picture,
        }));
    }
    for name in &folder.images {
        listing.skip(join(shown, name), SkipReason::NoLabel);
    }
    listing.skipped.extend(folder.skipped.into_iter().map(|s| Skipped { path: join(shown, &s.path), ..s }));
    Ok(())
}
