//! What the doctor would leave out, as a list that people edit and `train --exclude` reads.

use super::DoctorReport;
use crate::Error;
use headstart_data::Kind;
use headstart_weights::replace_file;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

/// What every list begins with.
const HEAD: &str = "# What `headstart doctor";

/// A list of findings, one a line: `path<TAB>kind<TAB>detail`.
///
/// Lines without `#` are images (or texts, by file and line) that are better left out: unusable ones, copies of another one under the same label, images
/// under two labels, and of leaks the copy in the earlier split. Lines behind `#` should be looked at by a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixList {
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    path: String,
    kind: &'static str,
    detail: String,
    proposed: bool,
}

impl FixList {
    /// The list for a report.
    pub fn of(report: &DoctorReport) -> FixList {
        let (mut lines, one) = (Vec::new(), report.kind.one());
        let but = match report.kind {
            Kind::Images => ", stored anew",
            Kind::Texts => ", but for case or spaces",
        };
        let mut line = |proposed, path: &str, kind, detail: String| {
            lines.push(Line { path: path.to_owned(), kind, detail, proposed });
        };
        for problem in &report.problems {
            line(problem.kind.is_worthless(), &problem.path, problem.kind.name(), problem.detail.clone());
        }
        for group in &report.duplicates {
            let but = if report.differing.contains(group) { but } else { "" };
            if report.contradictions.contains(group) {
                for path in group {
                    let others: Vec<&str> = group.iter().filter(|p| *p != path).map(String::as_str).collect();
                    let detail = format!("the same {one} under another label{but}: {}", others.join(", "));
                    line(true, path, "contradiction", detail);
                }
            } else {
                // Copies in other splits are leaks, below.
                let leaked = |path: &String| report.leaks.iter().any(|leak| leak.contains(path));
                for path in group[1..].iter().filter(|path| !leaked(path)) {
                    line(true, path, "duplicate", format!("the same {one} as {}{but}", group[0]));
                }
            }
        }
        for (i, [first, held_out]) in report.leaks.iter().enumerate() {
            let is_equal = i < report.equal_leaks;
            let how = if is_equal { "" } else { "nearly " };
            line(is_equal, first, "leak", format!("{how}the same {one} as {held_out}"));
        }
        for group in &report.near_duplicates {
            for path in &group.paths[1..] {
                let detail = format!("nearly the same as {} ({:.3})", group.paths[0], group.similarity);
                line(false, path, "near_duplicate", detail);
            }
        }
        for suspect in &report.suspects {
            let detail = format!("looks like {} ({:.3})", suspect.suggested, suspect.score);
            line(false, &suspect.path, "suspect", format!("labelled {}, {detail}", suspect.label));
        }
        for outlier in &report.outliers {
            let detail = format!("unlike all others ({:.3})", outlier.distance);
            line(false, &outlier.path, "outlier", detail);
        }
        for aspect in &report.aspect {
            let [width, height] = aspect.size;
            line(false, &aspect.path, "aspect", format!("{width} x {height} pixels"));
        }
        FixList { lines }
    }

    /// Lines that propose to leave something out.
    pub fn proposed(&self) -> usize {
        self.lines.iter().filter(|line| line.proposed).count()
    }

    /// All lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there was nothing to write down.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether a list can be written to `path`: a new file, or another list. Nothing else is replaced, least of all an image.
    ///
    /// # Errors
    /// Where not.
    pub fn check(path: &Path) -> Result<(), Error> {
        let bad = |expected| {
            Err(Error::Setting { name: "--fix-list", found: path.display().to_string(), expected })
        };
        if path.parent().is_some_and(|p| !p.as_os_str().is_empty() && !p.is_dir()) {
            return bad("a file in a folder that exists");
        }
        let mut first = Vec::new();
        match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            file => file
                .and_then(|file| file.take(HEAD.len() as u64).read_to_end(&mut first))
                .map_err(Error::io("read", path))?,
        };
        match first == HEAD.as_bytes() {
            true => Ok(()),
            false => bad("a new file, or a list to replace: this one exists and is something else"),
        }
    }

    /// Writes the list to `path`, whole or not at all.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, data: &str, path: &Path) -> Result<(), Error> {
        let write = replace_file(path, |w| {
            writeln!(w, "{HEAD} {data}` found: path, kind and detail, with tabs between them.")?;
            writeln!(
                w,
                "# `headstart train {data} --exclude FILE` leaves out what the lines without # name."
            )?;
            writeln!(
                w,
                "# Look at the others: take the # away to leave one out, put a # before a line to keep what it names."
            )?;
            for line in &self.lines {
                // A name with a tab or a line break in it cannot stand on a line.
                let shown = line.path.replace(['\t', '\n', '\r'], "?");
                let hash = if line.proposed && shown == line.path { "" } else { "# " };
                // A name that begins with # would read as a remark.
                let dot = if shown.starts_with('#') { "./" } else { "" };
                let detail = line.detail.replace(['\t', '\n', '\r'], " ");
                writeln!(w, "{hash}{dot}{shown}\t{}\t{detail}", line.kind)?;
            }
            Ok(())
        });
        write.map_err(Error::io("write", path))
    }
}
