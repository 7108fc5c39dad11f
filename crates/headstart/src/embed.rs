//! Features as a NumPy array, for whatever else somebody wants to do with them.

use crate::{Backbone, Error, Session, SkippedFile, extract};
use headstart_data::{DataError, Dataset, OpenOptions, Picture, TextColumns, open_unlabelled};
use headstart_graph::Precision;
use headstart_weights::replace_file;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What `embed` reports.
#[derive(Debug, Clone, Serialize)]
pub struct EmbedReport {
    /// `arch.tag`.
    pub backbone: String,
    /// Precision of the trunk.
    pub precision: Precision,
    /// Rows of the array.
    pub n: usize,
    /// Columns of the array.
    pub dim: usize,
    /// The array, `[n, dim]` f32 in NumPy's format.
    pub output: PathBuf,
    /// The table of its rows (`NAME.rows.tsv`): path, label (empty where there is none), split.
    pub rows: PathBuf,
    /// Images that went through the network.
    pub computed: usize,
    /// Images that were in the cache.
    pub cached: usize,
    /// Wall-clock seconds of the extraction.
    pub seconds: f64,
    /// What was left out, and why.
    pub skipped: Vec<SkippedFile>,
}

/// Writes the features of all images at `data`, in `precision`, to `output`, and beside it a table of the rows. Data with labels
/// gives them; a folder without class folders gives none.
///
/// # Errors
/// Where the data cannot be opened, nothing of it can be read, or the files cannot be written.
pub fn embed(
    session: &Session,
    backbone: &mut Backbone,
    precision: Precision,
    (data, columns): (&Path, &TextColumns),
    output: &Path,
) -> Result<EmbedReport, Error> {
    let rows = check(data, output)?;
    let (pictures, about, mut skipped) = collect(backbone, data, columns)?;
    let pictures: Vec<&Picture> = pictures.iter().collect();
    backbone.lower(session, precision, &pictures)?;
    let features = extract(session, backbone, &pictures, 1, 0, "features")?;
    if features.kept.is_empty() {
        return Err(Error::NothingReadable { what: data.display().to_string() });
    }
    skipped.extend(features.skipped.iter().map(SkippedFile::from));
    let values = &features.values;
    let header = npy_header(values.dims());
    let write = replace_file(output, |w| {
        w.write_all(&header)?;
        values.data().iter().try_for_each(|v| w.write_all(&v.to_le_bytes()))
    });
    write.map_err(Error::io("write", output))?;
    let write = replace_file(&rows, |w| {
        writeln!(w, "path\tlabel\tsplit")?;
        features.kept.iter().try_for_each(|&i| {
            let clean = |s: &str| s.replace(['\t', '\n', '\r'], " ");
            writeln!(w, "{}\t{}\t{}", clean(pictures[i].path()), clean(&about[i].0), about[i].1)
        })
    });
    write.map_err(Error::io("write", &rows))?;
    Ok(EmbedReport {
        backbone: backbone.name.clone(),
        precision,
        n: features.kept.len(),
        dim: backbone.dim(),
        output: output.to_owned(),
        rows,
        computed: features.computed,
        cached: features.cached,
        seconds: features.seconds,
        skipped,
    })
}

/// The path of the table of rows, where `output` is one that an array can be written to.
fn check(data: &Path, output: &Path) -> Result<PathBuf, Error> {
    let rows = output.with_extension("rows.tsv");
    let is_array = output.extension().is_some_and(|e| e == "npy");
    if !is_array || [output, &rows].contains(&data) {
        let (found, expected) =
            (output.display().to_string(), "a file that ends in .npy and is not the data");
        return Err(Error::Setting { name: "-o", found, expected });
    }
    if output.parent().is_some_and(|p| !p.as_os_str().is_empty() && !p.is_dir()) {
        let found = output.display().to_string();
        return Err(Error::Setting { name: "-o", found, expected: "a file in a folder that exists" });
    }
    Ok(rows)
}

/// Pictures, and for each its label and split.
type Collected = (Vec<Picture>, Vec<(String, &'static str)>, Vec<SkippedFile>);

fn collect(backbone: &Backbone, data: &Path, columns: &TextColumns) -> Result<Collected, Error> {
    backbone.input.expect(&backbone.name, data, columns)?;
    let open = |classes| Dataset::open(data, &OpenOptions { classes, columns: columns.clone() });
    let set = match open(None) {
        Err(DataError::NoClasses { .. }) => {
            let (pictures, skipped) = open_unlabelled(&[data.to_owned()])?;
            let about = vec![(String::new(), ""); pictures.len()];
            return Ok((pictures, about, skipped.iter().map(SkippedFile::from).collect()));
        }
        // One class is too few to train on, but features have no need of a second.
        Err(DataError::OneClass { class, .. }) => open(Some(vec![class]))?,
        set => set?,
    };
    let (mut pictures, mut about) = (Vec::new(), Vec::new());
    let splits = [("train", Some(set.train)), ("val", set.val), ("test", set.test)];
    for (split, items) in splits {
        for item in items.into_iter().flatten() {
            about.push((set.classes[item.label].clone(), split));
            pictures.push(item.picture);
        }
    }
    Ok((pictures, about, set.skipped.iter().map(SkippedFile::from).collect()))
}

/// The header of a NumPy array file, version 1.0, little-endian f32 in row-major order.
fn npy_header(dims: &[usize]) -> Vec<u8> {
    let shape: String = dims.iter().map(|d| format!("{d}, ")).collect();
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    // The data begins at a multiple of 64.
    while (10 + text.len() + 1) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::npy_header;

    #[test]
    fn the_header_is_numpys() {
        let header = npy_header(&[3, 1280]);
        assert_eq!(header.len() % 64, 0);
        assert!(header.starts_with(
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1280,), }"
        ));
    }
}
