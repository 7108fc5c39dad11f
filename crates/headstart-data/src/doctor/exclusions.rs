//! A list of images and texts to leave out, as the doctor writes it and people edit it.
//!
//! A line is `path<TAB>kind<TAB>detail`; only the path counts, which is `file:line` of a text. Empty lines and lines that begin with `#` say nothing, so
//! a `#` before a line keeps its item. Paths are relative to the data; `./` before one is dropped.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{DataError, Dataset, Item, SkipReason, Skipped};

/// The paths of items to leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclusions {
    paths: BTreeSet<String>,
}

impl Exclusions {
    /// Reads the list in `file`.
    ///
    /// # Errors
    ///
    /// [`DataError::Io`] where it cannot be read or is no text.
    pub fn read(file: &Path) -> Result<Self, DataError> {
        let text = fs::read_to_string(file)
            .map_err(|error| DataError::Io { path: file.to_owned(), detail: error.to_string() })?;
        Ok(Exclusions::of(&text))
    }

    /// The list in `text`.
    pub fn of(text: &str) -> Self {
        let lines = text.trim_start_matches('\u{feff}').lines();
        let paths = lines.filter(|line| !line.starts_with('#')).filter_map(|line| {
            let path = line.split('\t').next().unwrap_or_default().trim_end_matches('\r');
            let path = path.strip_prefix("./").unwrap_or(path);
            (!path.trim().is_empty()).then(|| path.to_owned())
        });
        Exclusions { paths: paths.collect() }
    }

    /// Whether nothing is to be left out.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Moves the items of the list from `data` to what it skipped; a faulty row that it skipped itself counts as left out by
    /// the list. Returns the listed paths that `data` has not, neither as an item nor as something it left out already.
    pub fn apply(&self, data: &mut Dataset) -> Vec<&str> {
        let mut unknown: BTreeSet<&str> = self.paths.iter().map(String::as_str).collect();
        for skipped in &mut data.skipped {
            unknown.remove(skipped.path.as_str());
            if skipped.reason.is_fault() && self.paths.contains(&skipped.path) {
                skipped.reason = SkipReason::Excluded;
            }
        }
        let splits = [Some(&mut data.train), data.val.as_mut(), data.test.as_mut()];
        for items in splits.into_iter().flatten() {
            items.retain(|Item { picture, .. }| {
                let listed = self.paths.contains(picture.path());
                if listed {
                    unknown.remove(picture.path());
                    data.skipped
                        .push(Skipped { path: picture.path().to_owned(), reason: SkipReason::Excluded });
                }
                !listed
            });
        }
        unknown.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Exclusions;
    use crate::{Dataset, OpenOptions, SkipReason};

    #[test]
    fn listed_images_move_to_the_skipped_files_and_unknown_lines_come_back() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["train/a/1.jpg", "train/a/2 x.jpg", "train/b/1.jpg", "val/a/1.jpg", "train/a/.DS_Store"]
        {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"x").unwrap();
        }
        let mut data = Dataset::open(folder.path(), &OpenOptions::default()).unwrap();
        let text = "\u{feff}# made by hand\n\ntrain/a/2 x.jpg\ttruncated\tcut short\r\n#train/b/1.jpg\tblank\t\n\
                    ./val/a/1.jpg\ntrain/a/.DS_Store\thidden\t\ntrain/c/9.jpg\n";
        let list = Exclusions::of(text);
        assert_eq!(list.apply(&mut data), ["train/c/9.jpg"]);
        let paths: Vec<&str> = data.train.iter().map(|i| i.picture.path()).collect();
        assert_eq!(paths, ["train/a/1.jpg", "train/b/1.jpg"]);
        assert_eq!(data.val.unwrap().len(), 0);
        let excluded = data.skipped.iter().filter(|s| s.reason == SkipReason::Excluded);
        assert_eq!(excluded.map(|s| s.path.as_str()).collect::<Vec<_>>(), ["train/a/2 x.jpg", "val/a/1.jpg"]);
        assert!(Exclusions::of("# nothing\n\n").is_empty());
    }

    #[test]
    fn rows_are_named_by_file_and_line_and_faulty_ones_are_accounted_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.tsv");
        std::fs::write(&path, "text\tlabel\na b\tx\nc d\t\ne f\ty\ng h\tx\ni\n").unwrap();
        let mut data = Dataset::open(&path, &OpenOptions::default()).unwrap();
        let list = Exclusions::of("r.tsv:3\tempty_label\t\nr.tsv:5\tduplicate\t\nr.tsv:99\n");
        assert_eq!(list.apply(&mut data), ["r.tsv:99"]);
        let left: Vec<&str> = data.train.iter().map(|i| i.picture.path()).collect();
        assert_eq!(left, ["r.tsv:2", "r.tsv:4"]);
        let skipped: Vec<_> = data.skipped.iter().map(|s| (s.path.as_str(), s.reason.name())).collect();
        assert_eq!(skipped, [("r.tsv:3", "excluded"), ("r.tsv:6", "few_columns"), ("r.tsv:5", "excluded")]);
    }
}
