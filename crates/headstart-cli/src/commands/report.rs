//! The page that `train`, `finetune`, `adapt` and `eval` leave behind, beside what they print.

use crate::outcome::Outcome;
use crate::printer::Printer;
use headstart::Error;
use headstart::report::check;
use serde::Serialize;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Where the page goes: `NAME.report.html` beside the model where nothing else is said, nowhere by `none`.
///
/// # Errors
/// Where it would take the place of the model, or of anything else but a report.
pub(crate) fn beside(model: &Path, asked: Option<&Path>) -> Result<Option<PathBuf>, Error> {
    let path = match asked {
        Some(path) if path == Path::new("none") => return Ok(None),
        Some(path) if path == model => {
            let (found, expected) = (path.display().to_string(), "another file than the model");
            return Err(Error::Setting { name: "--report", found, expected });
        }
        Some(path) => path.to_owned(),
        None => {
            let name = model.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let stem = name.strip_suffix(".safetensors").unwrap_or(&name);
            model.with_file_name(format!("{stem}.report.html"))
        }
    };
    check(&path)?;
    Ok(Some(path))
}

/// A result with the page that shows it; `null` where there is none.
#[derive(Serialize)]
pub(crate) struct Shown<'a, T: Serialize> {
    #[serde(flatten)]
    pub(crate) result: &'a T,
    pub(crate) report: Option<String>,
}

/// Writes the page, which is told the command and the path, and gives its path. A page that cannot be written is a fault, said aloud; nothing else is lost by it.
pub(crate) fn write(
    path: Option<&Path>,
    page: impl FnOnce(&str, &Path) -> Result<(), Error>,
    printer: &Printer,
) -> (Option<String>, Outcome) {
    let Some(path) = path else { return (None, Outcome::Fine) };
    match page(&command(std::env::args_os()), path) {
        Ok(()) => (Some(path.display().to_string()), Outcome::Fine),
        Err(error) => {
            printer.say(&format!("warning: there is no report: {error}"));
            (None, Outcome::Fault)
        }
    }
}

/// The command line, as a shell takes it.
fn command(args: impl Iterator<Item = impl AsRef<OsStr>>) -> String {
    let quoted = |arg: String| {
        let plain = |c: char| c.is_alphanumeric() || "-_./=,:@%+".contains(c);
        match !arg.is_empty() && arg.chars().all(plain) {
            true => arg,
            false => format!("'{}'", arg.replace('\'', r"'\''")),
        }
    };
    let rest = args.skip(1).map(|arg| quoted(arg.as_ref().to_string_lossy().into_owned()));
    std::iter::once("headstart".to_owned()).chain(rest).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_quoted_as_a_shell_reads_it() {
        let args = ["/usr/bin/headstart", "train", "my photos", "--seed=3", "", "it's; rm"];
        assert_eq!(command(args.into_iter()), r"headstart train 'my photos' --seed=3 '' 'it'\''s; rm'");
    }

    #[test]
    fn the_page_stands_beside_the_model_and_never_in_its_place() {
        let at = |model: &str, asked: Option<&str>| beside(Path::new(model), asked.map(Path::new)).ok();
        assert_eq!(at("./m.safetensors", None), Some(Some("./m.report.html".into())));
        assert_eq!(at("m", None), Some(Some("m.report.html".into())));
        assert_eq!(at("m", Some("x.html")), Some(Some("x.html".into())));
        assert_eq!(at("m", Some("none")), Some(None));
        assert_eq!(at("m", Some("m")), None);
        assert_eq!(at("m", Some("no/such/folder/x.html")), None);
    }
}
