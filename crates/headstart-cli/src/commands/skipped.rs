//! Files that were left out, as a person reads them.

use crate::printer::Printer;
use headstart::SkippedFile;
use headstart::data::Kind;

/// Files named one by one; the rest is a count.
const NAMED: usize = 10;

/// Says which files were left out and why: faults first, ten by name. JSON carries them all, so nothing then.
pub(super) fn say(skipped: &[SkippedFile], kind: Kind, printer: &Printer) {
    if skipped.is_empty() || printer.is_json() {
        return;
    }
    let thing = if kind == Kind::Images { "file" } else { "row" };
    let (faults, others): (Vec<_>, Vec<_>) = skipped.iter().partition(|s| s.fault);
    let mut text = match (skipped.len(), faults.len()) {
        (1, _) => format!("skipped 1 {thing}:\n"),
        (n, 0) => format!("skipped {n} {thing}s, none of them a fault:\n"),
        (n, faults) => format!("skipped {n} {thing}s, {faults} of them faults:\n"),
    };
    for file in faults.iter().chain(&others).take(NAMED) {
        text += &format!("  {}: {}\n", file.path, file.detail);
    }
    if skipped.len() > NAMED {
        text += &format!("  and {} more (--json names them all)\n", skipped.len() - NAMED);
    }
    printer.say(&text);
}
