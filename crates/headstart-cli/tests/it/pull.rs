//! `models pull` against servers on this machine: a hub, a mirror, and some that lie. Nothing here asks the network.

use crate::place::{Place, err, out};
use headstart::models::{download::Checksum, registry};
use headstart_testing::seeded;
use headstart_testing::server::{Asked, Server, answer, serve};
use headstart_weights::{StoredTensor, write_safetensors_to};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const REPOSITORY: &str = "/timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k/resolve/main/model.safetensors";

/// A weight file of the smallest network that the hub has, and its SHA-256.
static WEIGHTS: LazyLock<(Vec<u8>, String)> = LazyLock::new(|| {
    let (arch, cfg) = registry::find("vit_tiny_patch16_224").unwrap();
    let graph = arch.build(cfg.input.crop, cfg.outputs()).unwrap();
    let stored: Vec<(String, StoredTensor)> = graph
        .params()
        .into_iter()
        .map(|p| {
            let value = seeded(&p.name, p.shape.dims(), 0, 1.0);
            (p.name, StoredTensor::from_tensor_half(&value).unwrap())
        })
        .collect();
    let tensors: Vec<(&str, &StoredTensor)> = stored.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut bytes = Vec::new();
    write_safetensors_to(&mut bytes, &tensors, &BTreeMap::new()).unwrap();
    let sha256 = headstart::models::sha256_hex(&bytes);
    (bytes, sha256)
});

/// How a server answers.
type Answer = Arc<dyn Fn(&Asked, &mut TcpStream) -> io::Result<()> + Send + Sync>;

/// Answers as the hub does: a redirect that says all about the file, then the file.
fn hub(asked: &Asked, stream: &mut TcpStream) -> io::Result<()> {
    let (file, sha256) = &*WEIGHTS;
    match asked.path.as_str() {
        REPOSITORY => {
            let (etag, size) = (format!("\"{sha256}\""), file.len().to_string());
            let headers = [
                ("Location", "/cdn/blob?signature=secret"),
                ("X-Repo-Commit", COMMIT),
                ("X-Linked-Etag", etag.as_str()),
                ("X-Linked-Size", &size),
                ("Content-Length", "0"),
            ];
            let status = if asked.method == "HEAD" { "200 OK" } else { "302 Found" };
            let headers = if asked.method == "HEAD" { &headers[1..4] } else { &headers[..] };
            answer(stream, status, headers, b"")
        }
        "/cdn/blob?signature=secret" => serve(asked, stream, file, &[]),
        _ => answer(stream, "404 Not Found", &[("Content-Length", "0")], b""),
    }
}

/// The binary, with every cache of its own, and no proxy.
fn command(place: &Place, server: Option<&Server>, line: &str) -> Command {
    let mut command = place.command(line);
    for name in
        ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "SSL_CERT_FILE"]
    {
        command.env_remove(name);
    }
    for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"] {
        command.env_remove(name);
    }
    let url = server.map_or("http://127.0.0.1:9".to_owned(), Server::url);
    command.env("HF_ENDPOINT", &url).env("HF_HOME", place.path("hf")).env("TORCH_HOME", place.path("torch"));
    command.env("HEADSTART_MIRROR", format!("{url}/mirror/"));
    command
}

fn run(place: &Place, server: Option<&Server>, line: &str) -> Output {
    command(place, server, line).output().unwrap()
}

fn json(place: &Place, server: Option<&Server>, line: &str) -> Value {
    let output = run(place, server, line);
    assert_eq!(output.status.code(), Some(0), "{line}: {}", err(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(place: &Place, server: Option<&Server>, line: &str) -> String {
    let output = run(place, server, line);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(2), ""), "{line}");
    err(&output)
}

#[test]
fn a_pull_from_the_hub_is_checked_kept_and_not_repeated() {
    let (place, server) = (Place::new(), Server::start(hub).unwrap());
    let report = json(&place, Some(&server), "models pull vit_tiny_patch16_224 --json");
    assert_eq!(report["outcome"], "pulled");
    assert_eq!(report["from"], format!("{}{REPOSITORY}", server.url()));
    assert_eq!(report["checked"], format!("the hub's SHA-256 {}", WEIGHTS.1));
    assert_eq!((&report["downloaded"], &report["loaded"]), (&true.into(), &152.into()));
    let kept = place.path("hf/hub/models--timm--vit_tiny_patch16_224.augreg_in21k_ft_in1k/snapshots");
    assert_eq!(std::fs::read(kept.join(COMMIT).join("model.safetensors")).unwrap(), WEIGHTS.0);
    assert!(place.path("home/weights/vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors").is_file());

    // Again, without a network: nothing is to be done, and it says so.
    drop(server);
    let again = run(&place, None, "models pull vit_tiny_patch16_224");
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    assert!(
        out(&again).starts_with("vit_tiny_patch16_224.augreg_in21k_ft_in1k: is here\n"),
        "{}",
        out(&again)
    );
    assert_eq!(json(&place, None, "models pull vit_tiny_patch16_224 --json")["outcome"], "imported");
    assert_eq!(json(&place, None, "models show vit_tiny_patch16_224 --json")["weights"], "imported");

    // At another size its position embeddings are resampled, whether the model holds them or not.
    place.colours();
    let size = "--backbone vit_tiny_patch16_224 --size 64 --report none --json";
    for (slim, file) in [("", "whole.safetensors"), ("--slim", "slim.safetensors")] {
        let report = json(&place, None, &format!("train data {size} {slim} -o {file}"));
        assert_eq!(report["train"]["n"], 12, "{report}");
        assert_eq!(json(&place, None, &format!("eval {file} data --json"))["n"], 16);
        assert_eq!(
            json(&place, None, &format!("inspect {file} --json"))["input"],
            serde_json::json!([64, 64, 3])
        );
    }
    let error = refused(&place, None, "train data --backbone vit_tiny_patch16_224 --size 65");
    assert!(error.contains("multiples of 16"), "{error}");

    // Out of the hub's cache, where the home has lost it.
    std::fs::remove_dir_all(place.path("home")).unwrap();
    let cached = json(&place, None, "models pull vit_tiny_patch16_224 --json");
    assert_eq!((&cached["outcome"], &cached["downloaded"]), (&"pulled".into(), &false.into()));
    assert!(cached["from"].as_str().unwrap().contains(COMMIT), "{cached}");
}

#[test]
fn a_pull_that_was_killed_leaves_nothing_usable_and_the_next_goes_on() {
    let place = Place::new();
    let half = WEIGHTS.0.len() / 2;
    let server = Server::start(move |asked, stream| {
        if asked.path.starts_with("/cdn") && asked.from() == 0 {
            let length = WEIGHTS.0.len().to_string();
            answer(stream, "200 OK", &[("Content-Length", &length)], &WEIGHTS.0[..half])?;
            std::thread::sleep(Duration::from_secs(60));
        }
        hub(asked, stream)
    })
    .unwrap();
    let mut child = command(&place, Some(&server), "models pull vit_tiny_patch16_224").spawn().unwrap();
    let blobs = place.path("hf/hub/models--timm--vit_tiny_patch16_224.augreg_in21k_ft_in1k/blobs");
    let unfinished = blobs.join(format!("{}.incomplete", WEIGHTS.1));
    let start = Instant::now();
    while std::fs::metadata(&unfinished).map_or(0, |m| m.len()) < half as u64 {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing came");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path("home").exists() && !blobs.join(&WEIGHTS.1).exists());
    let text = refused(&place, None, "predict vit_tiny_patch16_224 x.png");
    assert!(text.contains("are not on this machine: `headstart models pull vit_tiny_patch16_224"), "{text}");

    let report = json(&place, Some(&server), "models pull vit_tiny_patch16_224 --json");
    assert_eq!(report["resumed"], half);
    assert_eq!(server.asked().last().unwrap().from(), half);
    assert!(!unfinished.exists());
}

#[test]
fn a_file_that_is_not_the_published_one_is_thrown_away() {
    let place = Place::new();
    let server = Server::start(|asked, stream| serve(asked, stream, b"another file", &[])).unwrap();
    let text = refused(&place, Some(&server), "models pull resnet18");
    let url = format!("{}/mirror/resnet18-f37072fd.pth", server.url());
    assert!(text.contains(&format!("{url}: expected SHA-256 f37072fd.., found ")), "{text}");
    assert!(
        text.contains("`headstart models import resnet18-f37072fd.pth --arch resnet18.tv_in1k`"),
        "{text}"
    );
    let left: Vec<_> = std::fs::read_dir(place.path("home/downloads")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_failure_names_the_address_and_the_way_by_hand() {
    let endless = |_: &Asked, stream: &mut TcpStream| {
        answer(stream, "200 OK", &[], b"")?;
        loop {
            stream.write_all(&[0; 1 << 16])?;
        }
    };
    let answers: [(Answer, &str); 4] = [
        (
            Arc::new(|_, s| answer(s, "404 Not Found", &[("Content-Length", "0")], b"")),
            "answers 404: there is no such file",
        ),
        (Arc::new(|_, s| answer(s, "403 Forbidden", &[("Content-Length", "0")], b"")), "answers 403"),
        (
            Arc::new(|_, s| answer(s, "302 Found", &[("Location", "/a"), ("Content-Length", "0")], b"")),
            "more than 5 times",
        ),
        (Arc::new(endless), "holds more than 26661184 bytes, the most this file can have"),
    ];
    for (handler, part) in answers {
        let place = Place::new();
        let server = Server::start(move |asked, stream| handler(asked, stream)).unwrap();
        let text = refused(&place, Some(&server), "models pull squeezenet1_1");
        let url = format!("{}/mirror/squeezenet1_1-b8a52dc0.pth", server.url());
        assert!(text.contains(&url) && text.contains(part), "{text}");
        assert!(text.contains("By hand: bring squeezenet1_1-b8a52dc0.pth here"), "{text}");
        assert!(!place.path("home/weights").exists());
    }
    let text = refused(&Place::new(), None, "models pull vit_tiny_patch16_224");
    assert!(text.contains(&format!("cannot reach http://127.0.0.1:9{REPOSITORY}")), "{text}");
    assert!(text.contains("--arch vit_tiny_patch16_224.augreg_in21k_ft_in1k`"), "{text}");
    let text = refused(&Place::new(), None, "models pull resent18");
    assert!(text.contains("did you mean `resnet18`"), "{text}");
    let place = Place::new();
    let output =
        command(&place, None, "models pull resnet18").env("HEADSTART_MIRROR", "ftp://x").output().unwrap();
    assert!(
        err(&output).contains("ftp://x is no address: expected https://HOST/.. in HEADSTART_MIRROR"),
        "{}",
        err(&output)
    );
    let output = command(&place, None, "models pull vit_tiny_patch16_224")
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    assert!(err(&output).contains("HF_HUB_OFFLINE is set"), "{}", err(&output));
}

#[test]
fn the_record_is_shown_with_the_address_that_would_be_asked() {
    let place = Place::new();
    let shown = |name: &str| json(&place, None, &format!("models show {name} --json"))["url"].clone();
    assert_eq!(shown("resnet18"), "http://127.0.0.1:9/mirror/resnet18-f37072fd.pth");
    assert_eq!(shown("vit_tiny_patch16_224"), format!("http://127.0.0.1:9{REPOSITORY}"));
    let plain = |name: &str| {
        let mut command = command(&place, None, &format!("models show {name}"));
        out(&command.env_remove("HF_ENDPOINT").env_remove("HEADSTART_MIRROR").output().unwrap())
    };
    assert!(plain("resnet18").contains("https://download.pytorch.org/models/resnet18-f37072fd.pth"));
    assert!(plain("vit_tiny_patch16_224").contains(&format!("https://huggingface.co{REPOSITORY}")));
}

#[test]
fn other_commands_pull_when_asked_and_never_else() {
    let (place, server) = (Place::new(), Server::start(hub).unwrap());
    place.colours();
    let line = "embed data --backbone vit_tiny_patch16_224 --threads 1 -o f.npy";
    let text = refused(&place, Some(&server), line);
    assert!(text.contains("`headstart models pull vit_tiny_patch16_224"), "{text}");
    assert!(server.asked().is_empty());
    let output = run(&place, Some(&server), &format!("{line} --pull"));
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(err(&output).contains("equals the hub's SHA-256"), "{}", err(&output));
    let asked = server.asked().len();
    assert_eq!(run(&place, Some(&server), &format!("{line} --pull")).status.code(), Some(0));
    assert_eq!(server.asked().len(), asked);
}

#[test]
fn a_text_encoder_is_pulled_by_its_repository_and_used_by_that_name() {
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../headstart-models/tests/fixtures/tiny_encoder");
    let server = Server::start(move |asked, stream| {
        let file = asked.path.strip_prefix("/some-one/tiny/resolve/main/").unwrap_or("none");
        match std::fs::read(format!("{tiny}/{file}")) {
            Ok(bytes) => {
                let etag = format!("\"{}\"", headstart::models::sha256_hex(&bytes));
                serve(asked, stream, &bytes, &[("X-Repo-Commit", COMMIT), ("ETag", &etag)])
            }
            Err(_) => answer(stream, "404 Not Found", &[("Content-Length", "0")], b""),
        }
    })
    .unwrap();
    let place = Place::new();
    let report = json(&place, Some(&server), "models pull some-one/tiny --json");
    assert_eq!(report["outcome"], "pulled");
    let files = report["files"].as_array().unwrap();
    for file in
        ["modules.json", "config.json", "1_Pooling/config.json", "tokenizer.json", "model.safetensors"]
    {
        assert!(
            files.contains(&file.into()) && place.path("home/encoders/some-one/tiny").join(file).is_file()
        );
    }
    let rows: String =
        (0..24).map(|i| format!("{} film {i}\t{}\n", ["good", "dull"][i % 2], i % 2)).collect();
    std::fs::write(place.path("r.tsv"), format!("text\tlabel\n{rows}")).unwrap();
    let trained = json(&place, None, "train r.tsv --backbone some-one/tiny --json --report none");
    assert_eq!(trained["backbone"], "tiny");
    assert_eq!(json(&place, None, "models pull some-one/tiny --json")["outcome"], "imported");

    let text = refused(&place, Some(&server), "models pull some-one/other");
    assert!(
        text.contains("/some-one/other/resolve/main/config.json answers 404")
            && text.contains("config.json, tokenizer.json"),
        "{text}"
    );
    let text = refused(&place, None, "train r.tsv --backbone some-one/other");
    assert!(text.contains("`headstart models pull some-one/other`"), "{text}");
    let left: Vec<_> = std::fs::read_dir(place.path("home/encoders/some-one")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_file_in_pytorchs_cache_is_taken_only_where_it_is_the_published_one() {
    let place = Place::new();
    let cache = place.path("torch/hub/checkpoints");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join("resnet18-f37072fd.pth"), "half a file").unwrap();
    assert!(!Checksum::starting_with("f37072fd").fits(&headstart::models::sha256_hex(b"half a file")));
    let text = refused(&place, None, "models pull resnet18");
    assert!(text.contains("cannot reach http://127.0.0.1:9/mirror/resnet18-f37072fd.pth"), "{text}");
}
