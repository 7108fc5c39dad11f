//! `headstart models pull`: weights over the network.

use super::import::Import;
use crate::outcome::Outcome;
use crate::printer::Printer;
use crate::progress::Talk;
use headstart::models::download::Client;
use headstart::models::{
    Home, Precision, Pulled, Sources, Whereabouts, is_repository, pull, pull_encoder, registry,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What a pull did.
#[derive(Serialize)]
struct Report {
    name: String,
    /// `embedded`, `imported` or `pulled`; the first two say that nothing was to be done.
    outcome: &'static str,
    /// The address or the file that the weights came from.
    from: Option<String>,
    /// What the file was compared with.
    checked: Option<String>,
    /// Whether the network was asked, and how many bytes were here of an earlier try.
    downloaded: bool,
    resumed: u64,
    #[serde(flatten)]
    import: Option<Import>,
}

pub(crate) fn run(
    name: &str,
    precision: Precision,
    home: &Home,
    printer: &Printer,
) -> anyhow::Result<Outcome> {
    if is_repository(name) {
        return encoder(name, home, printer);
    }
    let talk = Talk::new(*printer);
    // A name that is not known needs no network to be told so.
    registry::find(name)?;
    let pulled = pull(name, home, precision, &Sources::from_env()?, &Client::from_env()?, &talk)?;
    let report = Report::of(&pulled);
    if printer.is_json() {
        printer.json(&report)?;
        return Ok(Outcome::Fine);
    }
    let name = &report.name;
    match &pulled {
        Pulled::Here(_, Whereabouts::Imported(path)) => {
            printer.data(&format!("{name}: is here\n{}", path.display()))?;
        }
        Pulled::Here(..) => {
            printer.data(&format!("{name}: is inside this program"))?;
        }
        Pulled::New { imported, from, resumed, checked, .. } => {
            let resumed = match resumed {
                0 => String::new(),
                n => format!(", {} of it from an earlier try", megabytes(*n)),
            };
            printer.say(&format!("{from}{resumed}: equals {checked}"));
            printer.data(&format!("{name}: {}\n{}", imported.report, imported.path.display()))?;
        }
    }
    printer.say(&format!("Use it: `headstart train DATA --backbone {name}`."));
    Ok(Outcome::Fine)
}

/// Gets the weights of those of `names` that are not on this machine.
///
/// # Errors
/// Where they cannot be had.
pub(crate) fn absent(names: &[&str], printer: &Printer) -> anyhow::Result<()> {
    let home = Home::from_env()?;
    let talk = Talk::new(*printer);
    // A folder, a model file or an imported network needs nothing.
    let imported = home.networks();
    let is_here = |name: &str| {
        home.find_encoder(name).is_some()
            || Path::new(name).exists()
            || imported.iter().any(|here| here == name)
    };
    for name in names.iter().filter(|name| !is_here(name)) {
        let (sources, client) = (Sources::from_env()?, Client::from_env()?);
        if is_repository(name) {
            pull_encoder(name, &home, &sources, &client, &talk)?;
        } else if let Pulled::New { imported, from, checked, .. } =
            pull(name, &home, Precision::F32, &sources, &client, &talk)?
        {
            printer.say(&format!("{}: {from} equals {checked}", imported.cfg.name()));
        }
    }
    Ok(())
}

fn encoder(name: &str, home: &Home, printer: &Printer) -> anyhow::Result<Outcome> {
    #[derive(Serialize)]
    struct Encoder<'a> {
        name: &'a str,
        outcome: &'static str,
        path: PathBuf,
        files: Vec<String>,
    }
    let talk = Talk::new(*printer);
    let pulled = pull_encoder(name, home, &Sources::from_env()?, &Client::from_env()?, &talk)?;
    if printer.is_json() {
        let outcome = if pulled.was_here { "imported" } else { "pulled" };
        printer.json(&Encoder { name, outcome, path: pulled.folder, files: pulled.files })?;
        return Ok(Outcome::Fine);
    }
    let what = if pulled.was_here { "is here".to_owned() } else { pulled.files.join(", ") };
    printer.data(&format!("{name}: {what}\n{}", pulled.folder.display()))?;
    printer.say(&format!("Use it: `headstart train texts.tsv --backbone {name}`."));
    Ok(Outcome::Fine)
}

impl Report {
    fn of(pulled: &Pulled) -> Report {
        match pulled {
            Pulled::Here(cfg, whereabouts) => Report {
                name: cfg.name(),
                outcome: if *whereabouts == Whereabouts::Embedded { "embedded" } else { "imported" },
                from: None,
                checked: None,
                downloaded: false,
                resumed: 0,
                import: None,
            },
            Pulled::New { imported, from, downloaded, resumed, checked } => Report {
                name: imported.cfg.name(),
                outcome: "pulled",
                from: Some(from.clone()),
                checked: Some(checked.clone()),
                downloaded: *downloaded,
                resumed: *resumed,
                import: Some(Import::of(imported)),
            },
        }
    }
}

/// `12.3 MB`.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
