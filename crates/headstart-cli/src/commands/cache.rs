//! `headstart cache`: what cached features take, and their removal.

use crate::args::Cache;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::table::thousands;
use headstart::models::Home;
use headstart::{cache_clear, cache_info};

pub(crate) fn run(action: Cache, printer: &Printer) -> anyhow::Result<Outcome> {
    let home = Home::from_env()?;
    let (info, verb) = match action {
        Cache::Info => (cache_info(&home)?, "in"),
        Cache::Clear => (cache_clear(&home)?, "removed from"),
    };
    if printer.is_json() {
        printer.json(&info)?;
    } else {
        let (bytes, spaces, path) = (thousands(info.bytes), info.spaces, info.path.display());
        printer.data(&format!("{bytes} bytes of features of {spaces} networks {verb} {path}"))?;
    }
    Ok(Outcome::Fine)
}
