//! Which columns of a table hold the text and its label.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::rows::Format;
use crate::DataError;
use serde::{Deserialize, Serialize};

/// A column, by its name or by its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// By the name in the first line (in JSON lines, of the field), upper or lower case alike.
    Name(String),
    /// By its place, counted from 1: the file has no first line of names.
    Number(usize),
}

impl FromStr for Column {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.parse() {
            Ok(number) => Column::Number(number),
            Err(_) => Column::Name(text.to_owned()),
        })
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Column::Name(name) => f.write_str(name),
            Column::Number(number) => number.fmt(f),
        }
    }
}

/// Which columns of a table hold the text and its label; `text` and `label` where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TextColumns {
    /// The column of the texts.
    pub text: Option<Column>,
    /// The column of the labels.
    pub label: Option<Column>,
}

impl TextColumns {
    /// Whether nothing was said.
    pub fn is_default(&self) -> bool {
        self.text.is_none() && self.label.is_none()
    }
}

/// Where the columns are, in a table or among the fields of JSON objects.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) text: usize,
    pub(super) label: Option<usize>,
    pub(super) split: Option<usize>,
    /// Whether the first line holds names.
    pub(super) has_header: bool,
    /// The fields of JSON objects that these places stand for.
    pub(super) fields: [String; 3],
}

impl Places {
    /// The whole of a line is the text.
    pub(super) fn whole() -> Places {
        Places {
            text: 0,
            label: None,
            split: None,
            has_header: false,
            fields: std::array::from_fn(|_| String::new()),
        }
    }

    /// The places of the text and, where it is `labelled`, of its label.
    pub(super) fn find(
        path: &Path,
        header: &[String],
        format: Format,
        columns: &TextColumns,
        labelled: bool,
    ) -> Result<Places, DataError> {
        let named = |column: &Option<Column>, usual: &str| {
            column.clone().unwrap_or_else(|| Column::Name(usual.to_owned()))
        };
        let (text, label) = (named(&columns.text, "text"), named(&columns.label, "label"));
        let label = labelled.then_some(&label);
        let found = Places::of(header, format, &text, label);
        found.ok_or_else(|| {
            let wanted: Vec<&Column> = std::iter::once(&text).chain(label).collect();
            refused(path, header, format, &wanted)
        })
    }

    fn of(header: &[String], format: Format, text: &Column, label: Option<&Column>) -> Option<Places> {
        let by_name = |column: &Column| match column {
            Column::Name(name) => Some(name.clone()),
            Column::Number(_) => None,
        };
        if format == Format::JsonLines {
            // Which fields there are, each line says anew.
            let label_name = label.map_or(Some(String::new()), by_name)?;
            let fields = [by_name(text)?, label_name, "split".to_owned()];
            let label = label.map(|_| 1);
            return Some(Places { text: 0, label, split: Some(2), has_header: false, fields });
        }
        let none = || std::array::from_fn(|_| String::new());
        let place = |column: &Column| match column {
            Column::Name(name) => header.iter().position(|h| h.eq_ignore_ascii_case(name)),
            Column::Number(number) => number.checked_sub(1).filter(|&n| n < header.len()),
        };
        // One by its name and one by its number: whether there is a header cannot be both.
        let names =
            [Some(text), label].into_iter().flatten().filter(|c| matches!(c, Column::Name(_))).count();
        let all = 1 + usize::from(label.is_some());
        if names != 0 && names != all {
            return None;
        }
        let label = match label {
            Some(label) => Some(place(label)?),
            None => None,
        };
        let has_header = names > 0;
        let split = Column::Name("split".to_owned());
        let split = if has_header { place(&split) } else { None };
        Some(Places { text: place(text)?, label, split, has_header, fields: none() })
    }
}

fn refused(path: &Path, header: &[String], format: Format, wanted: &[&Column]) -> DataError {
    DataError::TextColumns {
        path: path.to_owned(),
        wanted: wanted.iter().map(ToString::to_string).collect(),
        numbers: wanted.iter().filter(|c| matches!(c, Column::Number(_))).count(),
        json: format == Format::JsonLines,
        found: header.to_vec(),
    }
}
