//! Texts and their labels: CSV, TSV and JSON lines, alone or as the files of a folder's splits.
//!
//! A text is an [`Item`](crate::Item) like an image: a name for people (`reviews.tsv:17`, the line it begins in) and its
//! bytes, UTF-8 without the spaces around it. A row that cannot be used is skipped by name, with its reason; the file goes on.

mod columns;
mod rows;

pub use columns::{Column, TextColumns};

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use self::columns::Places;
use self::rows::Format;
use crate::listing::{Kind, Listing, Split};
use crate::listing::{Row, left_out};
use crate::walk::Folder;
use crate::{DataError, Picture, SkipReason, Skipped, image};

/// Larger files are no tables to be read at once.
const MAX_FILE: u64 = 1 << 30;
/// Bytes at the start of a file that tell what it is.
const MAX_HEADER: u64 = 1 << 16;
/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xEF\xBB\xBF";
/// Bytes of a text at most: a long novel.
const MAX_TEXT: usize = 1 << 20;

/// Whether the file at `path` holds texts: told by its ending, by the columns that were asked for, or by its header.
pub(crate) fn is_text(path: &Path, columns: &TextColumns) -> bool {
    match Format::of(path) {
        None => false,
        Some(Format::JsonLines) => true,
        Some(_) if !columns.is_default() => true,
        Some(format) => start(path).is_ok_and(|bytes| {
            let header = rows::header(&bytes, format);
            let has = |name: &str| header.iter().any(|h| h.eq_ignore_ascii_case(name));
            has("text") && !has("path")
        }),
    }
}

/// The start of a file, with its first line but for one that is longer than any header.
fn start(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_HEADER).read_to_end(&mut bytes)?;
    Ok(bytes.strip_prefix(MARK).map(<[u8]>::to_vec).unwrap_or(bytes))
}

/// Lists the labelled texts of the file `path`.
pub(crate) fn list(path: &Path, columns: &TextColumns) -> Result<Listing, DataError> {
    let mut listing = Listing { kind: Kind::Texts, ..Listing::default() };
    list_into(path, &file_name(path), columns, None, &mut listing)?;
    Ok(listing)
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

/// The files of a folder's splits by their names, and what else is there.
type SplitFiles = (BTreeMap<Split, String>, Vec<Skipped>);

/// The files that are the splits of the folder `path`; none where it is something else.
fn split_files(path: &Path) -> Result<Option<SplitFiles>, DataError> {
    let folder = Folder::read(path)?;
    if !folder.folders.is_empty() || !folder.images.is_empty() {
        return Ok(None);
    }
    let (mut found, mut others): SplitFiles = Default::default();
    for skipped in folder.skipped {
        let file = path.join(&skipped.path);
        let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let split = split(&stem).filter(|_| Format::of(&file).is_some());
        match split.filter(|_| skipped.reason == SkipReason::OtherFile) {
            None => others.push(skipped),
            Some(split) => {
                if let Some(first) = found.insert(split, skipped.path.clone()) {
                    let second = skipped.path;
                    return Err(DataError::DuplicateSplitFile { path: path.to_owned(), first, second });
                }
            }
        }
    }
    Ok((!found.is_empty()).then_some((found, others)))
}

/// Lists the texts of a folder whose files are its splits (`train.tsv`, `dev.tsv`, `test.tsv`); none where it is something
/// else.
pub(crate) fn list_folder(path: &Path, columns: &TextColumns) -> Result<Option<Listing>, DataError> {
    let Some((files, skipped)) = split_files(path)? else { return Ok(None) };
    let mut listing = Listing { kind: Kind::Texts, skipped, ..Listing::default() };
    for (split, name) in files {
        list_into(&path.join(&name), &name, columns, Some(split), &mut listing)?;
    }
    Ok(Some(listing))
}

impl Kind {
    /// What the data at `path` is, told without reading it all; none where nothing can be told.
    pub fn of(path: &Path, columns: &TextColumns) -> Option<Kind> {
        let texts = match fs::metadata(path).ok()?.is_dir() {
            true => split_files(path).ok()?.is_some(),
            false => is_text(path, columns),
        };
        Some(if texts { Kind::Texts } else { Kind::Images })
    }
}

/// The split that a file or a cell calls `name`.
fn split(name: &str) -> Option<Split> {
    if name.eq_ignore_ascii_case("dev") { Some(Split::Val) } else { Split::named(name) }
}

/// Adds the rows of a file, shown as `name`; `of` is the split of all of them, else each row may say its own.
fn list_into(
    path: &Path,
    name: &str,
    columns: &TextColumns,
    of: Option<Split>,
    listing: &mut Listing,
) -> Result<(), DataError> {
    let (bytes, format) = read(path)?;
    let places = Places::find(path, &rows::header(&bytes, format), format, columns, true)?;
    let mut classes: BTreeMap<String, Arc<str>> = BTreeMap::new();
    rows::each(&bytes, format, &places, &mut |line, row| {
        let shown = format!("{name}:{line}");
        let labelled = row.and_then(|kept| {
            let text = text_bytes(kept.text)?;
            let label = kept.label.filter(|l| !l.is_empty()).ok_or(SkipReason::EmptyLabel)?;
            let own = kept.split.filter(|c| !c.is_empty());
            let own = own.map(|c| split(&c).ok_or(SkipReason::UnknownSplit { split: c })).transpose()?;
            Ok((text, label, of.or(own).unwrap_or(Split::Train)))
        });
        match labelled {
            Err(reason) => listing.skip(shown, reason),
            Ok((text, label, split)) => {
                let class =
                    Arc::clone(classes.entry(label).or_insert_with_key(|label| label.as_str().into()));
                listing.rows.push(Row { split, class, picture: Picture::from_bytes(shown, text) });
            }
        }
    });
    Ok(())
}

/// A text as an item keeps it.
fn text_bytes(text: String) -> Result<Arc<[u8]>, SkipReason> {
    match text.trim() {
        "" => Err(SkipReason::EmptyText),
        text if text.len() > MAX_TEXT => Err(SkipReason::TextTooLong { bytes: text.len() }),
        text => Ok(text.as_bytes().into()),
    }
}

/// The bytes of a file without its byte order mark, and what they are.
fn read(path: &Path) -> Result<(Vec<u8>, Format), DataError> {
    let cannot = |detail: String| DataError::Io { path: path.to_owned(), detail };
    let size = fs::metadata(path).map_err(|e| cannot(e.to_string()))?.len();
    if size > MAX_FILE {
        return Err(cannot(format!("it has {size} bytes; files of texts may have up to {MAX_FILE}")));
    }
    let mut bytes = fs::read(path).map_err(|e| cannot(e.to_string()))?;
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err(cannot("it is UTF-16: save it as UTF-8".to_owned()));
    }
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    let format = Format::of(path).unwrap_or(Format::Lines);
    Ok((bytes, format))
}

/// The texts of `paths` without labels: the text column of CSV, TSV and JSON lines, and every line of other files. Each is
/// shown as `path:line`.
///
/// # Errors
/// [`DataError`] for a path that is not there, an image or other bytes that are no text, a table without the column, and where no text is found at all.
pub fn open_unlabelled_texts(
    paths: &[std::path::PathBuf],
    columns: &TextColumns,
) -> Result<(Vec<Picture>, Vec<Skipped>), DataError> {
    let (mut texts, mut skipped) = (Vec::new(), Vec::new());
    for path in paths {
        let before = (texts.len(), skipped.len());
        let shown = path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
        if crate::dataset::metadata(path)?.is_dir() {
            let (path, found) = (path.clone(), "a folder");
            return Err(DataError::NotTexts { path, found });
        }
        let (bytes, format) = read(path)?;
        if image::looks_like_image(&bytes) {
            return Err(DataError::NotTexts { path: path.clone(), found: "an image" });
        }
        // UTF-16 has them too, which would be no words either.
        if bytes.iter().take(MAX_HEADER as usize).any(|&b| b == 0) {
            return Err(DataError::NotTexts { path: path.clone(), found: "bytes that are no UTF-8 text" });
        }
        unlabelled_into(path, &shown, (&bytes, format), columns, (&mut texts, &mut skipped))?;
        if texts.len() == before.0 {
            return Err(DataError::NoTexts { path: path.clone(), hint: left_out(&skipped[before.1..]) });
        }
    }
    Ok((texts, skipped))
}

/// The texts of a table whose labels, if it has any, do not matter, called as with labels.
pub(crate) fn without_labels(
    path: &Path,
    columns: &TextColumns,
) -> Result<(Vec<Picture>, Vec<Skipped>), DataError> {
    let (mut texts, mut skipped) = (Vec::new(), Vec::new());
    let (bytes, format) = read(path)?;
    unlabelled_into(path, &file_name(path), (&bytes, format), columns, (&mut texts, &mut skipped))?;
    match texts.is_empty() {
        true => Err(DataError::NoTexts { path: path.to_owned(), hint: left_out(&skipped) }),
        false => Ok((texts, skipped)),
    }
}

/// The lines of standard input, or of whatever is called `name`, a text each.
pub fn texts_of_lines(name: &str, bytes: &[u8]) -> (Vec<Picture>, Vec<Skipped>) {
    let (mut texts, mut skipped) = (Vec::new(), Vec::new());
    let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
    collect(name, (bytes, Format::Lines), &Places::whole(), (&mut texts, &mut skipped));
    (texts, skipped)
}

fn unlabelled_into(
    path: &Path,
    shown: &str,
    (bytes, format): (&[u8], Format),
    columns: &TextColumns,
    into: (&mut Vec<Picture>, &mut Vec<Skipped>),
) -> Result<(), DataError> {
    let places = match format {
        Format::Lines => Places::whole(),
        _ => Places::find(path, &rows::header(bytes, format), format, columns, false)?,
    };
    collect(shown, (bytes, format), &places, into);
    Ok(())
}

fn collect(
    shown: &str,
    (bytes, format): (&[u8], Format),
    places: &Places,
    (texts, skipped): (&mut Vec<Picture>, &mut Vec<Skipped>),
) {
    rows::each(bytes, format, places, &mut |line, row| {
        let path = format!("{shown}:{line}");
        match row.and_then(|kept| text_bytes(kept.text)) {
            Ok(text) => texts.push(Picture::from_bytes(path, text)),
            Err(reason) => skipped.push(Skipped { path, reason }),
        }
    });
}
