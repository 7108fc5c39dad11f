//! A CSV or TSV table with the columns `path`, `label` and, if wanted, `split`.
//!
//! Paths are relative to the table. Fields may be quoted; a byte order mark, CRLF and spaces around fields are
//! accepted; the separator (comma, tab or semicolon) is told from the first line.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use csv::StringRecord;

use crate::listing::{Listing, Row, Split};
use crate::{DataError, Picture, SkipReason};

/// Lists the rows of the table `path`.
pub(crate) fn list(path: &Path) -> Result<Listing, DataError> {
    let cannot = |detail: String| DataError::Io { path: path.to_owned(), detail };
    let bytes = fs::read(path).map_err(|error| cannot(error.to_string()))?;
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator(text))
        .trim(csv::Trim::All)
        .has_headers(true)
        .from_reader(text);
    let header = reader.headers().map_err(|error| bad_line(path, &error))?.clone();
    let columns = Columns::find(path, &header)?;

    let mut listing = Listing::default();
    let mut earlier: BTreeMap<String, Arc<str>> = BTreeMap::new();
    let mut classes: BTreeMap<String, Arc<str>> = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| bad_line(path, &error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let fault = |detail: String| DataError::TableLine { path: path.to_owned(), line, detail };
        let field = |column: usize| record.get(column).unwrap_or_default();
        let (image, label) = (field(columns.path), field(columns.label));
        if image.is_empty() || label.is_empty() {
            let what = if image.is_empty() { "path" } else { "label" };
            return Err(fault(format!("the {what} is empty")));
        }
        let split = match columns.split.map(field) {
            None | Some("") => Split::Train,
            Some(name) => Split::named(name)
                .ok_or_else(|| fault(format!("the split is \"{name}\"; it may be train, val or test")))?,
        };
        let class = Arc::clone(classes.entry(label.to_owned()).or_insert_with(|| label.into()));
        if let Some(first) = earlier.insert(image.to_owned(), Arc::clone(&class)) {
            if first != class {
                let (image, first, second) = (image.to_owned(), first.to_string(), label.to_owned());
                return Err(DataError::TwoLabels { path: path.to_owned(), line, image, first, second });
            }
            listing.skip(image, SkipReason::RepeatedRow { line });
            continue;
        }
        match picture(path, image) {
            Ok(picture) => listing.rows.push(Row { split, class, picture }),
            Err(reason) => listing.skip(image, reason),
        }
    }
    Ok(listing)
}

/// Positions of the columns.
struct Columns {
    path: usize,
    label: usize,
    split: Option<usize>,
}

impl Columns {
    fn find(table: &Path, header: &StringRecord) -> Result<Self, DataError> {
        let column = |name: &str| header.iter().position(|found| found.eq_ignore_ascii_case(name));
        match (column("path"), column("label")) {
            (Some(path), Some(label)) => Ok(Columns { path, label, split: column("split") }),
            _ => Err(DataError::TableColumns {
                path: table.to_owned(),
                found: header.iter().map(str::to_owned).filter(|name| !name.is_empty()).collect(),
            }),
        }
    }
}

/// The image that a row of `table` names.
fn picture(table: &Path, image: &str) -> Result<Picture, SkipReason> {
    let folder = table.parent().unwrap_or(Path::new(""));
    // A table written on Windows has backslashes, which elsewhere are part of no sane name.
    let shown = image.replace('\\', "/");
    let file = match folder.join(image) {
        file if file.exists() => file,
        _ => folder.join(&shown),
    };
    match fs::metadata(&file) {
        Ok(meta) if meta.is_file() => Ok(Picture::from_file(shown, file)),
        Ok(_) => Err(SkipReason::OtherFile),
        Err(_) => Err(SkipReason::Missing),
    }
}

/// The separator of a table: that of comma, tab and semicolon which its first line has most of.
fn separator(text: &[u8]) -> u8 {
    let first = text.split(|&b| b == b'\n').next().unwrap_or_default();
    let count = |separator: u8| first.iter().filter(|&&b| b == separator).count();
    [b';', b'\t', b','].into_iter().max_by_key(|&separator| count(separator)).unwrap_or(b',')
}

fn bad_line(path: &Path, error: &csv::Error) -> DataError {
    let line = error.position().map_or(1, csv::Position::line);
    let detail = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields, but the first line has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "the text is not UTF-8".to_owned(),
        _ => error.to_string(),
    };
    DataError::TableLine { path: path.to_owned(), line, detail }
}
