//! A hub as Hugging Face's answers, and one that is none.

use headstart_download::{Checksum, Client, DownloadError, Hub, HubFile, Unwatched};
use headstart_testing::server::{Asked, Server, answer, serve};
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILE: (&str, &str, &str) = ("timm/net.tag", "main", "model.safetensors");

fn file() -> Vec<u8> {
    (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// A large file behind a redirect, a small one at once.
fn hub(asked: &Asked, stream: &mut TcpStream) -> io::Result<()> {
    let (etag, size) = (format!("\"{}\"", sha256(&file())), file().len().to_string());
    match asked.path.as_str() {
        "/timm/net.tag/resolve/main/model.safetensors" => answer(
            stream,
            "302 Found",
            &[
                ("Location", "/cdn?signature=secret"),
                ("X-Repo-Commit", COMMIT),
                ("X-Linked-Etag", &etag),
                ("X-Linked-Size", &size),
                ("Content-Length", "0"),
            ],
            b"",
        ),
        "/cdn?signature=secret" => serve(
            asked,
            stream,
            &file(),
            &[("X-Repo-Commit", COMMIT), ("X-Linked-Etag", &etag), ("ETag", "\"of the disk\"")],
        ),
        "/timm/net.tag/resolve/main/sub/config.json" => {
            let etag = "\"89e6c98d92887913cadf06b2adb97f26cde4849b\"";
            serve(asked, stream, b"{\"a\": 1}", &[("X-Repo-Commit", COMMIT), ("ETag", etag)])
        }
        _ => answer(stream, "404 Not Found", &[("Content-Length", "0")], b""),
    }
}

fn get(hub: &Hub, file: (&str, &str, &str)) -> Result<HubFile, DownloadError> {
    hub.file(file, 1 << 20, &Client::new(Duration::from_secs(2), 3, Duration::from_millis(1)), &Unwatched)
}

fn at(server: &Server, cache: &Path) -> Hub {
    Hub { endpoint: server.url(), cache: cache.to_owned(), token: None, offline: false }
}

#[test]
fn the_cache_is_laid_out_as_pythons() {
    let (cache, server) = (tempfile::tempdir().unwrap(), Server::start(hub).unwrap());
    let hub = at(&server, cache.path());
    let got = get(&hub, FILE).unwrap();
    let folder = cache.path().join("models--timm--net.tag");
    assert_eq!(got.path, folder.join("snapshots").join(COMMIT).join("model.safetensors"));
    assert_eq!(got.checksum, Checksum::Sha256(sha256(&file())));
    assert!(!got.was_here);
    assert_eq!(std::fs::read(&got.path).unwrap(), file());
    assert_eq!(std::fs::read(folder.join("blobs").join(sha256(&file()))).unwrap(), file());
    assert_eq!(std::fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert_eq!(
        std::fs::read_link(&got.path).unwrap(),
        PathBuf::from(format!("../../blobs/{}", sha256(&file())))
    );
    let small = get(&hub, ("timm/net.tag", "main", "sub/config.json")).unwrap();
    assert_eq!(
        (small.checksum, std::fs::read(small.path).unwrap()),
        (Checksum::Unknown, b"{\"a\": 1}".to_vec())
    );
}

#[test]
fn what_is_in_the_cache_is_not_asked_for_again_unless_it_is_damaged() {
    let (cache, server) = (tempfile::tempdir().unwrap(), Server::start(hub).unwrap());
    let hub = at(&server, cache.path());
    let got = get(&hub, FILE).unwrap();
    let asked = server.asked().len();
    let offline = Hub { offline: true, ..hub.clone() };
    let again = get(&offline, FILE).unwrap();
    assert_eq!((again.path, again.was_here), (got.path.clone(), true));
    assert_eq!(server.asked().len(), asked);

    std::fs::write(std::fs::canonicalize(&got.path).unwrap(), vec![0; 200_000]).unwrap();
    let text = get(&offline, FILE).unwrap_err().to_string();
    assert!(text.contains("is not asked: HF_HUB_OFFLINE is set"), "{text}");
    assert!(!get(&hub, FILE).unwrap().was_here);
    assert_eq!(std::fs::read(&got.path).unwrap(), file());
}

#[test]
fn a_transfer_that_broke_off_goes_on_from_the_incomplete_blob() {
    let (cache, server) = (tempfile::tempdir().unwrap(), Server::start(hub).unwrap());
    let blobs = cache.path().join("models--timm--net.tag/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(format!("{}.incomplete", sha256(&file()))), &file()[..50_000]).unwrap();
    assert_eq!(get(&at(&server, cache.path()), FILE).unwrap().resumed, 50_000);
    let last = server.asked().pop().unwrap();
    assert_eq!((last.path.as_str(), last.from()), ("/cdn?signature=secret", 50_000));
}

#[test]
fn what_is_no_hub_or_lies_is_refused() {
    let long = "a".repeat(64);
    for (headers, part) in [
        (vec![("ETag", "\"x\"")], "expected the header X-Repo-Commit of a Hugging Face hub, found none"),
        (vec![("X-Repo-Commit", "../../../etc")], "found \"../../../etc\""),
        (vec![("X-Repo-Commit", COMMIT), ("ETag", "\"../../x\"")], "expected the header ETag"),
        (
            vec![("X-Repo-Commit", COMMIT), ("X-Linked-Etag", &long), ("X-Linked-Size", "5")],
            "expected 5 bytes",
        ),
        (vec![("X-Repo-Commit", COMMIT), ("X-Linked-Etag", &long)], "expected SHA-256 aaaa"),
    ] {
        let (cache, owned) = (
            tempfile::tempdir().unwrap(),
            headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect::<Vec<_>>(),
        );
        let server = Server::start(move |asked, stream| {
            let headers: Vec<_> = owned.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            serve(asked, stream, &file(), &headers)
        })
        .unwrap();
        let text = get(&at(&server, cache.path()), FILE).unwrap_err().to_string();
        assert!(
            text.contains(part) && text.contains("/timm/net.tag/resolve/main/model.safetensors"),
            "{text}"
        );
        assert!(!cache.path().join("models--timm--net.tag/snapshots").exists());
    }
}

#[test]
fn a_repository_that_is_not_for_everyone_says_how_to_be_let_in() {
    let server = Server::start(|asked, stream| match asked.headers.get("authorization") {
        Some(token) if token == "Bearer hf_me" => hub(asked, stream),
        _ => answer(stream, "401 Unauthorized", &[("Content-Length", "0")], b""),
    })
    .unwrap();
    let cache = tempfile::tempdir().unwrap();
    let nobody = at(&server, cache.path());
    let text = get(&nobody, FILE).unwrap_err().to_string();
    assert!(text.contains("answers 401") && text.contains("HF_TOKEN"), "{text}");
    assert!(get(&Hub { token: Some("hf_me".to_owned()), ..nobody }, FILE).is_ok());
}
