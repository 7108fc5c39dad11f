//! Texts that are named or given on the command line.

use anyhow::Context;
use headstart::data::{
    Column, DataError, Picture, SkipReason, Skipped, TextColumns, open_unlabelled_texts, texts_of_lines,
};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The texts of `--text`, then those of files and of standard input, in their order.
pub(super) fn given(
    own: &[String],
    items: &[PathBuf],
    column: Option<&Column>,
) -> anyhow::Result<(Vec<Picture>, Vec<Skipped>)> {
    let columns = TextColumns { text: column.cloned(), label: None };
    let (mut texts, mut skipped) = (Vec::new(), Vec::new());
    for (i, text) in own.iter().enumerate() {
        let name = if own.len() == 1 { "text".to_owned() } else { format!("text {}", i + 1) };
        match text.trim() {
            "" => skipped.push(Skipped { path: name, reason: SkipReason::EmptyText }),
            text => texts.push(Picture::from_bytes(name, text.as_bytes())),
        }
    }
    for path in items {
        let (found, left) = if path == Path::new("-") {
            texts_of_lines("-", &standard_input()?)
        } else {
            let found = open_unlabelled_texts(std::slice::from_ref(path), &columns);
            found.map_err(|error| match error {
                DataError::Missing { .. } => anyhow::anyhow!("{error}; --text gives a text itself"),
                other => other.into(),
            })?
        };
        texts.extend(found);
        skipped.extend(left);
    }
    Ok((texts, skipped))
}

/// The text of one line, where `path` is no file and reads `FILE:LINE`; none where it is something else.
pub(super) fn line(
    path: &Path,
    column: Option<&Column>,
) -> anyhow::Result<Option<(Vec<Picture>, Vec<Skipped>)>> {
    let shown = path.to_string_lossy();
    let Some((file, number)) = shown.rsplit_once(':').filter(|_| !path.exists()) else { return Ok(None) };
    let Ok(number) = number.parse::<u64>() else { return Ok(None) };
    let (mut texts, mut skipped) = given(&[], &[PathBuf::from(file)], column)?;
    let wanted = format!(":{number}");
    texts.retain(|text| text.path().ends_with(&wanted));
    skipped.retain(|skipped| skipped.path.ends_with(&wanted));
    anyhow::ensure!(
        !texts.is_empty() || !skipped.is_empty(),
        "no text begins in line {number} of {file}; lines are counted from 1, that of names included"
    );
    Ok(Some((texts, skipped)))
}

pub(super) fn standard_input() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
    Ok(bytes)
}
