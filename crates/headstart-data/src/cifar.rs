//! CIFAR-10 as published (Krizhevsky 2009): the binary and the Python version, as a folder or as the `.tar.gz`.
//!
//! A binary record is a label byte and the planes of red, green and blue, 1024 bytes each. A Python batch is a
//! pickled dict with `data` (numpy, u8, `[n, 3072]`, the same planes) and `labels`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;
use headstart_pickle::{Limits, Pickle, Policy, Value};

use crate::listing::{Listing, Row, Split};
use crate::picture::PLANES;
use crate::{DataError, Picture, SkipReason};

/// The batches of both versions, without the `.bin` of the binary one.
const BATCHES: [(&str, Split); 6] = [
    ("data_batch_1", Split::Train),
    ("data_batch_2", Split::Train),
    ("data_batch_3", Split::Train),
    ("data_batch_4", Split::Train),
    ("data_batch_5", Split::Train),
    ("test_batch", Split::Test),
];
/// Folders that the archives unpack to.
const FOLDERS: [&str; 2] = ["cifar-10-batches-bin", "cifar-10-batches-py"];
/// More than twice the published size of a file.
const MAX_FILE: u64 = 64 << 20;

/// Every call in a pickled numpy array of bytes.
const NUMPY: [(&str, &str); 4] = [
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
];

/// Whether `name` is a file of the published data.
fn is_ours(name: &str) -> bool {
    let batch = name.strip_suffix(".bin").unwrap_or(name);
    BATCHES.iter().any(|(known, _)| *known == batch) || name == "batches.meta.txt" || name == "batches.meta"
}

/// Lists the CIFAR-10 files in `dir`, or in the folder below it that the archive makes. `None` where it has none.
pub(crate) fn list_folder(dir: &Path) -> Result<Option<Listing>, DataError> {
    for dir in [dir.to_owned()].into_iter().chain(FOLDERS.map(|name| dir.join(name))) {
        let mut files = BTreeMap::new();
        let names = BATCHES.iter().flat_map(|(batch, _)| [batch.to_string(), format!("{batch}.bin")]);
        for name in names.chain(["batches.meta.txt".to_owned(), "batches.meta".to_owned()]) {
            let path = dir.join(&name);
            if path.is_file() {
                let bytes = File::open(&path).and_then(read_file);
                files.insert(name, bytes.map_err(|error| cannot(&path, &error))?);
            }
        }
        if files.keys().any(|name| !name.starts_with("batches.meta")) {
            return list(&dir, files).map(Some);
        }
    }
    Ok(None)
}

/// Lists the CIFAR-10 archive `path`.
pub(crate) fn list_archive(path: &Path) -> Result<Listing, DataError> {
    let file = File::open(path).map_err(|error| cannot(path, &error))?;
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    let damaged = |error: io::Error| DataError::Cifar {
        path: path.to_owned(),
        detail: format!("the archive is damaged or cut short ({error})"),
    };
    let mut files = BTreeMap::new();
    for entry in archive.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let name = entry.path().ok().and_then(|p| Some(p.file_name()?.to_str()?.to_owned()));
        if let Some(name) = name.filter(|name| is_ours(name)) {
            files.insert(name, read_file(entry).map_err(damaged)?);
        }
    }
    if files.is_empty() {
        let detail = "other archives are not read: unpack it and name its folder".to_owned();
        return Err(DataError::Cifar { path: path.to_owned(), detail });
    }
    list(path, files)
}

fn cannot(path: &Path, error: &io::Error) -> DataError {
    DataError::Io { path: path.to_owned(), detail: error.to_string() }
}

fn read_file(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        0..=MAX_FILE => Ok(bytes),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than a file of CIFAR-10 can be")),
    }
}

fn list(root: &Path, mut files: BTreeMap<String, Vec<u8>>) -> Result<Listing, DataError> {
    let ending = if files.keys().any(|name| name.ends_with(".bin")) { ".bin" } else { "" };
    let classes = classes(root, &files)?;
    let mut listing = Listing::default();
    for (batch, split) in BATCHES {
        let name = format!("{batch}{ending}");
        let Some(bytes) = files.remove(&name) else {
            listing.skip(name, SkipReason::Missing);
            continue;
        };
        let fault = |detail: String| DataError::Cifar { path: root.join(&name), detail };
        let (planes, records) = match ending {
            "" => python_records(&bytes).map_err(fault)?,
            _ => binary_records(bytes).map_err(fault)?,
        };
        for (number, (offset, label)) in records.into_iter().enumerate() {
            let class = classes.get(label).cloned().ok_or_else(|| {
                fault(format!("image {number} has the label {label}; there are {}", classes.len()))
            })?;
            let picture = Picture::from_planes(format!("{name}#{number}"), &planes, offset)
                .ok_or_else(|| fault(format!("it ends in image {number}")))?;
            listing.rows.push(Row { split, class, picture });
        }
    }
    Ok(listing)
}

/// Pixels, and offset and label of each image in them.
type Records = (Arc<[u8]>, Vec<(usize, usize)>);

fn binary_records(bytes: Vec<u8>) -> Result<Records, String> {
    let record = 1 + PLANES;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let found = bytes.len();
        return Err(format!(
            "{found} bytes are no whole number of images ({record} bytes each): it is cut short"
        ));
    }
    let records = bytes.iter().step_by(record).enumerate();
    let records = records.map(|(i, &label)| (i * record + 1, usize::from(label))).collect();
    Ok((bytes.into(), records))
}

fn python_records(bytes: &[u8]) -> Result<Records, String> {
    let pickle = read_pickle(bytes)?;
    let Value::Dict(batch) = pickle.root() else {
        return Err(format!("it holds {}, not a dict", pickle.root().kind()));
    };
    let labels = match batch.get("labels") {
        Some(Value::List(labels)) => labels.iter().map(|label| label.size()).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let labels = labels.ok_or("its \"labels\" are no list of numbers")?;
    let planes = batch.get("data").and_then(|data| array_of_bytes(data, labels.len()));
    let planes = planes.ok_or_else(|| format!("its \"data\" is no u8 array [{}, {PLANES}]", labels.len()))?;
    Ok((planes.into(), labels.into_iter().enumerate().map(|(i, label)| (i * PLANES, label)).collect()))
}

/// The bytes of a pickled numpy array, u8, `[rows, 3072]`, in C order.
fn array_of_bytes(array: Value<'_>, rows: usize) -> Option<&[u8]> {
    let Value::Call(array) = array else {
        return None;
    };
    // What numpy's __setstate__ takes: version, shape, dtype, is_fortran, bytes.
    let state = array.state()?.tuple()?;
    let shape: Option<Vec<usize>> = state.get(1)?.tuple()?.iter().map(|n| n.size()).collect();
    let Value::Call(dtype) = state.get(2)? else {
        return None;
    };
    let is_u8 = dtype.global().name == "dtype" && dtype.args().get(0)?.text()? == "u1";
    match (state.get(3)?, state.get(4)?) {
        (Value::Bool(false), Value::Bytes(bytes))
            if is_u8 && shape? == [rows, PLANES] && Some(bytes.len()) == rows.checked_mul(PLANES) =>
        {
            Some(bytes)
        }
        _ => None,
    }
}

fn read_pickle(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    let policy = Policy { globals: &NUMPY, limits: Limits::default() };
    headstart_pickle::read(bytes, &policy).map_err(|error| error.to_string())
}

/// The class names in label order.
fn classes(root: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<Arc<str>>, DataError> {
    let meta =
        ["batches.meta.txt", "batches.meta"].into_iter().find_map(|name| Some((name, files.get(name)?)));
    let (name, names) = match meta {
        Some((name, bytes)) if name.ends_with(".txt") => (name, text_names(bytes)),
        Some((name, bytes)) => (name, python_names(bytes)),
        None => ("batches.meta.txt", Err("the file with the class names is not there".to_owned())),
    };
    names
        .and_then(|names| match names.len() {
            10 => Ok(names),
            n => Err(format!("it names {n} classes, not 10")),
        })
        .map_err(|detail| DataError::Cifar { path: root.join(name), detail })
}

fn text_names(bytes: &[u8]) -> Result<Vec<Arc<str>>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the text is not UTF-8".to_owned())?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Arc::from).collect())
}

fn python_names(bytes: &[u8]) -> Result<Vec<Arc<str>>, String> {
    let pickle = read_pickle(bytes)?;
    let names = match pickle.root() {
        Value::Dict(meta) => meta.get("label_names"),
        _ => None,
    };
    match names {
        Some(Value::List(names)) => names.iter().map(|name| name.text().map(Arc::from)).collect(),
        _ => None,
    }
    .ok_or_else(|| "it has no \"label_names\"".to_owned())
}
