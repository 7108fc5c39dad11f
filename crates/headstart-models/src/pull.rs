//! Getting published weights over the network and importing them. Nothing is asked of the network where weights are here,
//! in the home, in the binary or in a cache of PyTorch or of the hub.

use crate::sources::{Published, REVISION};
use crate::{
    Home, Imported, ModelsError, Origin, Precision, PretrainedCfg, Sources, Whereabouts, import, registry,
};
use headstart_download::{Checksum, Client, Download, DownloadError, Watch, shown};
use std::path::PathBuf;

/// Bytes of a parameter, and of what stands beside the parameters in a file: names, and counters of batch norms.
const BYTES: u64 = 4;
const BESIDE: u64 = 16 << 20;

/// What a pull did.
#[derive(Debug)]
pub enum Pulled {
    /// Nothing: the weights were on this machine.
    Here(&'static PretrainedCfg, Whereabouts),
    /// It got a file and imported it.
    New {
        /// What the import did.
        imported: Box<Imported>,
        /// The address, or the file of another program's cache.
        from: String,
        /// Whether the network was asked.
        downloaded: bool,
        /// How many bytes an earlier pull had brought.
        resumed: u64,
        /// What the file was compared with: `SHA-256 f37072fd..`.
        checked: String,
    },
}

/// A file that is here, and how it came.
struct Got {
    path: PathBuf,
    from: String,
    downloaded: bool,
    resumed: u64,
    checked: String,
    /// Of no use once it is imported.
    passing: bool,
}

/// Gets the weights of the record `name` (`arch` or `arch.tag`) and imports them, where they are not on this machine.
///
/// # Errors
/// Where the name is unknown, the file cannot be had whole and as it was published, or the import fails.
pub fn pull(
    name: &str,
    home: &Home,
    precision: Precision,
    sources: &Sources,
    client: &Client,
    watch: &dyn Watch,
) -> Result<Pulled, ModelsError> {
    let (architecture, cfg) = registry::find(name)?;
    match cfg.whereabouts(home) {
        Whereabouts::Absent => {}
        here => return Ok(Pulled::Here(cfg, here)),
    }
    let parameters = architecture.build(cfg.input.crop, cfg.outputs())?.parameter_count() as u64;
    let most = 2 * BYTES * parameters + BESIDE;
    let published = sources.published(cfg);
    let got = match cfg.origin {
        Origin::Hub(repository) => from_hub(repository, cfg, &published, most, sources, client, watch),
        Origin::Url(_) | Origin::OtherFile { .. } => from_url(&published, most, home, sources, client, watch),
    };
    let got = got.map_err(|source| ModelsError::Pull {
        name: cfg.name(),
        file: published.file.to_owned(),
        source: Box::new(source),
    })?;
    let imported = import(&got.path, &cfg.name(), home, precision);
    if got.passing {
        // It is imported, or it does not fit and never will.
        let _ = std::fs::remove_file(&got.path);
        let _ = got.path.parent().map(std::fs::remove_dir);
    }
    let Got { from, downloaded, resumed, checked, .. } = got;
    Ok(Pulled::New { imported: Box::new(imported?), from, downloaded, resumed, checked })
}

fn from_hub(
    repository: &str,
    cfg: &PretrainedCfg,
    published: &Published,
    most: u64,
    sources: &Sources,
    client: &Client,
    watch: &dyn Watch,
) -> Result<Got, DownloadError> {
    let file = sources.hub.file((repository, REVISION, cfg.file), most, client, watch)?;
    let checked = match file.checksum {
        Checksum::Unknown => "its size alone: the hub knows no SHA-256".to_owned(),
        known => format!("the hub's {known}"),
    };
    let from = if file.was_here { file.path.display().to_string() } else { shown(&published.url) };
    let (downloaded, resumed) = (!file.was_here, file.resumed);
    Ok(Got { path: file.path, from, downloaded, resumed, checked, passing: false })
}

fn from_url(
    published: &Published,
    most: u64,
    home: &Home,
    sources: &Sources,
    client: &Client,
    watch: &dyn Watch,
) -> Result<Got, DownloadError> {
    let checksum = Checksum::starting_with(published.sha256);
    let checked = format!("the published {checksum}");
    let passing = home.downloads().join(published.file);
    let kept = sources.torch.as_ref().map(|folder| folder.join(published.file));
    // PyTorch's own, or what an interrupted import left.
    for (path, is_passing) in [(kept, false), (Some(passing.clone()), true)] {
        if let Some(path) = path.filter(|path| checksum.is_of(path)) {
            let from = path.display().to_string();
            return Ok(Got { path, from, downloaded: false, resumed: 0, checked, passing: is_passing });
        }
    }
    let fetched = Download {
        url: published.url.clone(),
        unfinished: passing.with_file_name(format!("{}.part", published.file)),
        to: passing.clone(),
        checksum,
        size: None,
        most,
        token: None,
    }
    .fetch(client, watch)?;
    let (from, resumed) = (shown(&published.url), fetched.resumed);
    Ok(Got { path: passing, from, downloaded: true, resumed, checked, passing: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256_hex;
    use headstart_download::{Hub, Unwatched};
    use headstart_testing::server::{Server, serve};
    use std::time::Duration;

    #[test]
    fn a_plain_file_comes_once_and_is_found_in_the_caches() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("home"));
        let server = Server::start(|asked, stream| serve(asked, stream, b"weights", &[])).unwrap();
        let cache = folder.path().join("hf");
        let sources = Sources {
            hub: Hub { endpoint: server.url(), cache, token: None, offline: false },
            mirror: None,
            torch: Some(folder.path().join("torch")),
        };
        let sha256 = "9a129038";
        assert!(sha256_hex(b"weights").starts_with(sha256), "{}", sha256_hex(b"weights"));
        let published = Published { url: format!("{}/net.pth", server.url()), file: "net.pth", sha256 };
        let client = Client::new(Duration::from_secs(5), 2, Duration::from_millis(1));
        let get = || from_url(&published, 100, &home, &sources, &client, &Unwatched).unwrap();
        let got = get();
        assert_eq!(std::fs::read(&got.path).unwrap(), b"weights");
        assert!(got.downloaded && got.passing && got.path.starts_with(home.downloads()));
        assert_eq!(
            (got.from, got.checked),
            (published.url.clone(), "the published SHA-256 9a129038..".to_owned())
        );
        let again = get();
        assert!(!again.downloaded && again.passing);
        std::fs::create_dir_all(folder.path().join("torch")).unwrap();
        std::fs::write(folder.path().join("torch/net.pth"), "weights").unwrap();
        let pytorchs = get();
        assert!(!pytorchs.downloaded && !pytorchs.passing, "PyTorch's file is not ours to remove");
        assert_eq!(server.asked().len(), 1);
    }
}
