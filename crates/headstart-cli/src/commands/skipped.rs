//! Files that were left out, as a person reads them.

use crate::printer::Printer;
use headstart::SkippedFile;

/// Files named one by one; the rest is a count.
const NAMED: usize = 10;

/// Says which files were left out and why: faults first, ten by name. JSON carries them all, so nothing then.
pub(super) fn say(skipped: &[SkippedFile], printer: &Printer) {
    if skipped.is_empty() || printer.is_json() {
        return;
    }
    let (faults, others): (Vec<_>, Vec<_>) = skipped.iter().partition(|s| s.fault);
    let mut text = match (skipped.len(), faults.len()) {
        (1, _) => "skipped 1 file:\n".to_owned(),
        (n, 0) => format!("skipped {n} files, none of them a fault:\n"),
        (n, faults) => format!("skipped {n} files, {faults} of them faults:\n"),
    };
    for file in faults.iter().chain(&others).take(NAMED) {
        text += &format!("  {}: {}\n", file.path, file.detail);
    }
    if skipped.len() > NAMED {
        text += &format!("  and {} more (--json names them all)\n", skipped.len() - NAMED);
    }
    printer.say(&text);
}
