//! The rows of a file of texts, one at a time.
//!
//! TSV is as data sets are published: a tab ends a field, a line break ends a row, and a quote is a character like any other.
//! In CSV (comma or semicolon) fields may be quoted, and a quoted field may hold line breaks.

use std::path::Path;

use csv::ByteRecord;

use super::columns::Places;
use crate::SkipReason;

/// How a file separates what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Tsv,
    JsonLines,
    /// Every line is a text.
    Lines,
}

impl Format {
    /// The format that the ending of `path` stands for.
    pub(super) fn of(path: &Path) -> Option<Format> {
        let ending = path.extension()?.to_ascii_lowercase();
        Some(match ending.to_str()? {
            "csv" => Format::Csv,
            "tsv" | "tab" => Format::Tsv,
            "jsonl" | "ndjson" => Format::JsonLines,
            _ => return None,
        })
    }
}

/// What is taken from a row.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) text: String,
    pub(super) label: Option<String>,
    pub(super) split: Option<String>,
}

/// The fields of the first line.
pub(super) fn header(bytes: &[u8], format: Format) -> Vec<String> {
    let shown = |field: &[u8]| String::from_utf8_lossy(field).trim().to_owned();
    match format {
        Format::Csv => {
            let mut record = ByteRecord::new();
            match reader(bytes).read_byte_record(&mut record) {
                Ok(true) => record.iter().map(shown).collect(),
                _ => Vec::new(),
            }
        }
        Format::Tsv | Format::Lines => {
            let first = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
            first.split(|&b| b == b'\t').map(shown).collect()
        }
        Format::JsonLines => {
            let first = bytes.split(|&b| b == b'\n').find(|line| !line.trim_ascii().is_empty());
            let value = first.and_then(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
            value.and_then(|v| v.as_object().map(|o| o.keys().cloned().collect())).unwrap_or_default()
        }
    }
}

/// Calls `f` with every row and the line, counted from 1, that it begins in. Lines without a character are no rows of a table.
pub(super) fn each(
    bytes: &[u8],
    format: Format,
    places: &Places,
    f: &mut dyn FnMut(u64, Result<Kept, SkipReason>),
) {
    let skip = usize::from(places.has_header);
    if format == Format::Csv {
        let mut reader = reader(bytes);
        let mut record = ByteRecord::new();
        let (mut number, mut line, mut counted) = (0, 1, 0);
        // Reading from memory, with rows of any length, has no other errors.
        while reader.read_byte_record(&mut record).unwrap_or(false) {
            number += 1;
            // Of a line break in two characters the reader leaves the second to the next row.
            let mut start = record.position().map_or(0, |p| p.byte() as usize).min(bytes.len());
            while matches!(bytes.get(start), Some(b'\r' | b'\n')) {
                start += 1;
            }
            line += bytes[counted..start].iter().filter(|&&b| b == b'\n').count() as u64;
            counted = start;
            if number > skip {
                let fields: Vec<&[u8]> = record.iter().collect();
                f(line, kept(&fields, places));
            }
        }
        return;
    }
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        return;
    }
    for (i, line) in bytes.split(|&b| b == b'\n').enumerate().skip(skip) {
        let (line, number) = (line.strip_suffix(b"\r").unwrap_or(line), i as u64 + 1);
        if line.is_empty() && format != Format::Lines {
            continue;
        }
        let row = match format {
            Format::JsonLines => json(line, places),
            Format::Lines => kept(&[line], places),
            Format::Tsv | Format::Csv => kept(&line.split(|&b| b == b'\t').collect::<Vec<_>>(), places),
        };
        f(number, row);
    }
}

fn reader(bytes: &[u8]) -> csv::Reader<&[u8]> {
    let first = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    let count = |separator: u8| first.iter().filter(|&&b| b == separator).count();
    let delimiter = if count(b';') > count(b',') { b';' } else { b',' };
    csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(bytes)
}

/// The fields of a row of a table.
fn kept(fields: &[&[u8]], places: &Places) -> Result<Kept, SkipReason> {
    let needed = 1 + places.text.max(places.label.unwrap_or(0));
    if fields.len() < needed {
        return Err(SkipReason::FewColumns { found: fields.len(), needed });
    }
    let field = |at: usize| match fields.get(at).map(|f| std::str::from_utf8(f)) {
        None => Ok(String::new()),
        Some(Ok(text)) => Ok(text.trim().to_owned()),
        Some(Err(_)) => Err(SkipReason::NotUtf8),
    };
    let optional = |at: Option<usize>| at.map(field).transpose();
    Ok(Kept { text: field(places.text)?, label: optional(places.label)?, split: optional(places.split)? })
}

/// The fields of a JSON object.
fn json(line: &[u8], places: &Places) -> Result<Kept, SkipReason> {
    use serde_json::Value;
    let line = std::str::from_utf8(line).map_err(|_| SkipReason::NotUtf8)?;
    let bad = |detail: String| SkipReason::NotJson { detail };
    let value: Value = serde_json::from_str(line).map_err(|e| bad(e.to_string()))?;
    let object = value.as_object().ok_or_else(|| bad("it is no object".to_owned()))?;
    let field = |name: &str| -> Result<Option<String>, SkipReason> {
        let named = object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        match named.map(|(_, value)| value) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(truth)) => Ok(Some(truth.to_string())),
            Some(_) => Err(bad(format!("its `{name}` is no text"))),
        }
    };
    let [text, label, split] = &places.fields;
    let label = if places.label.is_some() { field(label)? } else { None };
    Ok(Kept { text: field(text)?.unwrap_or_default(), label, split: field(split)? })
}
