//! Servers that break off, lie, stall or send something else.

use headstart_download::{Checksum, Client, Download, DownloadError, Fetched, Unwatched, Watch};
use headstart_testing::server::{Asked, Server, answer, serve};
use std::io::{self, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// 300,000 bytes that do not repeat.
fn file() -> Vec<u8> {
    (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn to(&self) -> PathBuf {
        self.0.path().join("file.pth")
    }

    fn unfinished(&self) -> PathBuf {
        self.0.path().join("file.pth.part")
    }

    fn download(&self, server: &Server) -> Download {
        Download {
            url: format!("{}/models/file.pth", server.url()),
            to: self.to(),
            unfinished: self.unfinished(),
            checksum: Checksum::starting_with(&sha256(&file())),
            size: None,
            most: 1 << 20,
            token: None,
        }
    }

    /// Nothing that could be taken for the file.
    fn holds_nothing(&self) -> bool {
        !self.to().exists()
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn client() -> Client {
    Client::new(Duration::from_millis(1500), 3, Duration::from_millis(1))
}

fn start(handler: impl Fn(&Asked, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Server {
    Server::start(handler).unwrap()
}

fn fetch(download: &Download) -> Result<Fetched, DownloadError> {
    let start = Instant::now();
    let result = download.fetch(&client(), &Unwatched);
    assert!(start.elapsed() < Duration::from_secs(20), "it took {:?}", start.elapsed());
    result
}

fn starts(server: &Server) -> Vec<usize> {
    server.asked().iter().map(Asked::from).collect()
}

#[test]
fn a_whole_file_arrives_checked_and_the_unfinished_one_is_gone() {
    let (place, server) = (Place::new(), start(|asked, stream| serve(asked, stream, &file(), &[])));
    let fetched = fetch(&place.download(&server)).unwrap();
    assert_eq!((fetched.bytes, fetched.resumed, fetched.sha256), (300_000, 0, sha256(&file())));
    assert_eq!(std::fs::read(place.to()).unwrap(), file());
    assert!(!place.unfinished().exists());
    assert_eq!(server.asked()[0].headers["accept-encoding"], "identity");
    assert!(!server.asked()[0].headers.contains_key("authorization"));
}

#[test]
fn eight_digits_of_a_checksum_are_compared() {
    let (place, server) = (Place::new(), start(|asked, stream| serve(asked, stream, &file(), &[])));
    let mut download = place.download(&server);
    download.checksum = Checksum::starting_with(&sha256(&file())[..8]);
    assert!(fetch(&download).is_ok());
    download.checksum = Checksum::starting_with("00000000");
    let text = fetch(&download).unwrap_err().to_string();
    assert!(text.contains("expected SHA-256 00000000.., found"), "{text}");
}

/// Sends `length` bytes of what it should, and goes away.
fn break_off(asked: &Asked, stream: &mut TcpStream, length: usize) -> io::Result<()> {
    let (file, from) = (file(), asked.from());
    let length_header = (file.len() - from).to_string();
    let span = format!("bytes {from}-{}/{}", file.len() - 1, file.len());
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    let headers = [("Content-Length", length_header.as_str()), ("Content-Range", &span)];
    answer(stream, status, &headers, &file[from..(from + length).min(file.len())])
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    let place = Place::new();
    let server = start(|asked, stream| match asked.number {
        0 | 1 => break_off(asked, stream, 100_000),
        _ => serve(asked, stream, &file(), &[]),
    });
    fetch(&place.download(&server)).unwrap();
    assert_eq!(starts(&server), [0, 100_000, 200_000]);
    assert_eq!(std::fs::read(place.to()).unwrap(), file());
}

#[test]
fn a_later_call_goes_on_with_what_an_earlier_one_left() {
    let place = Place::new();
    let server = start(|asked, stream| match asked.number {
        0 => break_off(asked, stream, 120_000),
        1..=2 => break_off(asked, stream, 0),
        _ => serve(asked, stream, &file(), &[]),
    });
    let download = place.download(&server);
    let text = fetch(&download).unwrap_err().to_string();
    assert!(text.contains("broke off 3 times: 120000 of 300000 bytes are here"), "{text}");
    assert!(text.contains("/models/file.pth"), "{text}");
    assert!(place.holds_nothing() && place.unfinished().exists());
    let fetched = fetch(&download).unwrap();
    assert_eq!((fetched.bytes, fetched.resumed), (300_000, 120_000));
    assert_eq!(starts(&server), [0, 120_000, 120_000, 120_000]);
    assert_eq!(std::fs::read(place.to()).unwrap(), file());
}

#[test]
fn a_server_that_ignores_the_range_costs_time_and_nothing_else() {
    let place = Place::new();
    let server = start(|asked, stream| match asked.number {
        0 => break_off(asked, stream, 100_000),
        _ => answer(stream, "200 OK", &[("Content-Length", "300000")], &file()),
    });
    fetch(&place.download(&server)).unwrap();
    assert_eq!(starts(&server), [0, 100_000]);
    assert_eq!(std::fs::read(place.to()).unwrap(), file());
}

#[test]
fn another_range_than_was_asked_for_is_not_appended() {
    let place = Place::new();
    let server = start(|asked, stream| match (asked.number, asked.from()) {
        (0, _) => break_off(asked, stream, 100_000),
        (_, 0) => serve(asked, stream, &file(), &[]),
        _ => {
            let headers = [("Content-Length", "200001"), ("Content-Range", "bytes 99999-299999/300000")];
            answer(stream, "206 Partial Content", &headers, &file()[99_999..])
        }
    });
    fetch(&place.download(&server)).unwrap();
    assert_eq!(starts(&server), [0, 100_000, 0]);
    assert_eq!(std::fs::read(place.to()).unwrap(), file());
}

#[test]
fn a_remainder_of_another_file_is_thrown_away() {
    for remainder in [vec![7; 100_000], vec![7; 300_000], vec![7; 400_000]] {
        let (place, server) = (Place::new(), start(|asked, stream| serve(asked, stream, &file(), &[])));
        std::fs::write(place.unfinished(), &remainder).unwrap();
        fetch(&place.download(&server)).unwrap();
        assert_eq!(std::fs::read(place.to()).unwrap(), file());
        assert_eq!(starts(&server).last(), Some(&0), "{}", remainder.len());
    }
}

#[test]
fn a_remainder_that_is_the_whole_file_is_taken_without_another_byte() {
    let (place, server) = (Place::new(), start(|asked, stream| serve(asked, stream, &file(), &[])));
    std::fs::write(place.unfinished(), file()).unwrap();
    let download = Download { size: Some(300_000), ..place.download(&server) };
    assert_eq!(fetch(&download).unwrap().resumed, 300_000);
    assert!(server.asked().is_empty());
}

#[test]
fn without_a_checksum_nothing_is_resumed() {
    let place = Place::new();
    std::fs::write(place.unfinished(), vec![7; 1000]).unwrap();
    let server = start(|asked, stream| match asked.number {
        0 => break_off(asked, stream, 100_000),
        _ => serve(asked, stream, &file(), &[]),
    });
    let download = Download { checksum: Checksum::Unknown, ..place.download(&server) };
    fetch(&download).unwrap();
    assert_eq!(starts(&server), [0, 0]);
    assert_eq!(std::fs::read(place.to()).unwrap(), file());
}

#[test]
fn a_length_that_is_too_long_is_a_transfer_that_broke_off() {
    let place = Place::new();
    let server = start(|asked, stream| {
        if asked.from() > 0 {
            return serve(asked, stream, &file(), &[]);
        }
        answer(stream, "200 OK", &[("Content-Length", "300100")], &file())
    });
    let text = fetch(&place.download(&server)).unwrap_err().to_string();
    assert!(text.contains("300000 of 300100 bytes are here (the server has no more of it)"), "{text}");
    assert!(place.holds_nothing());
}

#[test]
fn a_length_that_is_too_short_fails_the_checksum_or_the_size() {
    let place = Place::new();
    let server = start(|_, stream| answer(stream, "200 OK", &[("Content-Length", "299000")], &file()));
    let text = fetch(&place.download(&server)).unwrap_err().to_string();
    assert!(text.contains("(299000 bytes). What came was thrown away"), "{text}");
    let known = Download { size: Some(300_000), ..place.download(&server) };
    let text = fetch(&known).unwrap_err().to_string();
    assert!(text.contains("expected 300000 bytes, found 299000"), "{text}");
    let unknown = Download { checksum: Checksum::Unknown, ..known };
    assert!(matches!(fetch(&unknown).unwrap_err(), DownloadError::Size { .. }));
    assert!(place.holds_nothing());
}

#[test]
fn wrong_bytes_are_thrown_away() {
    let place = Place::new();
    let server = start(|asked, stream| {
        let mut file = file();
        file[150_000] ^= 1;
        serve(asked, stream, &file, &[])
    });
    let text = fetch(&place.download(&server)).unwrap_err().to_string();
    assert!(text.contains(&format!("expected SHA-256 {}, found", sha256(&file()))), "{text}");
    assert!(place.holds_nothing() && !place.unfinished().exists());
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn an_answer_that_is_no_file_is_told_by_its_status() {
    for (status, part, tries) in [
        ("404 Not Found", "answers 404: there is no such file", 1),
        ("401 Unauthorized", "HF_TOKEN", 1),
        ("403 Forbidden", "answers 403", 1),
        ("204 No Content", "answers 204, expected 200", 1),
        ("500 Internal Server Error", "answers 500: the server has a fault; try again later", 3),
        ("429 Too Many Requests", "answers 429: too many requests", 3),
    ] {
        let place = Place::new();
        let server = start(move |_, stream| answer(stream, status, &[("Content-Length", "4")], b"oops"));
        let text = fetch(&place.download(&server)).unwrap_err().to_string();
        assert!(text.contains(part) && text.contains("/models/file.pth"), "{text}");
        assert_eq!(server.asked().len(), tries, "{status}");
        assert!(place.holds_nothing());
    }
}

#[test]
fn a_fault_that_passes_is_waited_for() {
    let place = Place::new();
    let server = start(|asked, stream| match asked.number {
        0 => answer(stream, "503 Service Unavailable", &[("Content-Length", "0")], b""),
        1 => break_off(asked, stream, 70_000),
        2 => answer(stream, "502 Bad Gateway", &[("Content-Length", "0")], b""),
        _ => serve(asked, stream, &file(), &[]),
    });
    fetch(&place.download(&server)).unwrap();
    assert_eq!(starts(&server), [0, 0, 70_000, 70_000]);
}

#[test]
fn a_body_without_an_end_is_cut_at_the_most_the_file_may_have() {
    let place = Place::new();
    let server = start(|_, stream| {
        answer(stream, "200 OK", &[], b"")?;
        loop {
            stream.write_all(&[0; 1 << 16])?;
        }
    });
    let text = fetch(&place.download(&server)).unwrap_err().to_string();
    assert!(text.contains("holds more than 1048576 bytes, the most this file can have"), "{text}");
    assert!(place.holds_nothing());
    assert_eq!(std::fs::metadata(place.unfinished()).unwrap().len(), 0);

    let announced = start(|_, stream| answer(stream, "200 OK", &[("Content-Length", "9000000000000")], b"x"));
    let text = fetch(&place.download(&announced)).unwrap_err().to_string();
    assert!(text.contains("it announces 9000000000000"), "{text}");
}

#[test]
fn redirects_are_followed_and_a_loop_ends() {
    let place = Place::new();
    let server = start(|asked, stream| match asked.path.as_str() {
        "/models/file.pth" => {
            answer(stream, "302 Found", &[("Location", "../blobs/1"), ("Content-Length", "0")], b"")
        }
        "/models/../blobs/1" => answer(
            stream,
            "307 Temporary Redirect",
            &[("Location", "/z?secret=1"), ("Content-Length", "0")],
            b"",
        ),
        "/z?secret=1" => serve(asked, stream, &file(), &[]),
        _ => answer(stream, "302 Found", &[("Location", "/loop"), ("Content-Length", "0")], b""),
    });
    fetch(&place.download(&server)).unwrap();
    let turning = Download {
        url: format!("{}/loop", server.url()),
        to: place.0.path().join("x"),
        ..place.download(&server)
    };
    let text = fetch(&turning).unwrap_err().to_string();
    assert!(text.contains("/loop sends elsewhere, which is not followed: more than 5 times"), "{text}");
    let out = start(|_, stream| {
        answer(stream, "302 Found", &[("Location", "file:///etc/passwd"), ("Content-Length", "0")], b"")
    });
    let text = fetch(&place.download(&out)).unwrap_err().to_string();
    assert!(text.contains("not followed: to file:///etc/passwd"), "{text}");
    let nowhere = start(|_, stream| answer(stream, "302 Found", &[("Content-Length", "0")], b""));
    assert!(fetch(&place.download(&nowhere)).unwrap_err().to_string().contains("to nowhere"));
}

#[test]
fn a_token_is_told_to_its_own_server_alone() {
    let place = Place::new();
    let other = start(|asked, stream| serve(asked, stream, &file(), &[]));
    let url = format!("{}/cdn", other.url());
    let server = start(move |_, stream| {
        answer(stream, "302 Found", &[("Location", &url), ("Content-Length", "0")], b"")
    });
    let download = Download { token: Some("hf_secret".to_owned()), ..place.download(&server) };
    fetch(&download).unwrap();
    assert_eq!(server.asked()[0].headers["authorization"], "Bearer hf_secret");
    assert!(!other.asked()[0].headers.contains_key("authorization"));
}

#[test]
fn a_server_that_says_nothing_is_left() {
    let place = Place::new();
    let silent = start(|_, stream| {
        std::thread::sleep(Duration::from_secs(8));
        answer(stream, "200 OK", &[], b"")
    });
    let text = fetch(&place.download(&silent)).unwrap_err().to_string();
    assert!(text.contains("cannot reach") && text.contains("timeout"), "{text}");
    let dripping = start(|_, stream| {
        answer(stream, "200 OK", &[("Content-Length", "300000")], b"")?;
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(200));
            stream.write_all(b"x")?;
        }
        Ok(())
    });
    let text = fetch(&place.download(&dripping)).unwrap_err().to_string();
    assert!(text.contains("broke off 3 times"), "{text}");
    assert!(place.holds_nothing());
}

#[test]
fn a_machine_without_a_network_is_told_so() {
    let (place, server) = (Place::new(), start(|_, _| Ok(())));
    let mut download = place.download(&server);
    drop(server);
    let text = fetch(&download).unwrap_err().to_string();
    assert!(text.starts_with("cannot reach http://127.0.0.1:") && text.contains("HTTPS_PROXY"), "{text}");
    for address in ["models.example/x", "ftp://models.example/x", "http://models.example/a b"] {
        download.url = address.to_owned();
        assert!(matches!(fetch(&download).unwrap_err(), DownloadError::Address { .. }), "{address}");
    }
}

#[test]
fn two_at_once_do_not_mix_their_bytes() {
    let place = Place::new();
    let server = start(|_, stream| {
        answer(stream, "200 OK", &[("Content-Length", "300000")], &file()[..1000])?;
        std::thread::sleep(Duration::from_millis(700));
        stream.write_all(&file()[1000..])
    });
    let (one, two) = (place.download(&server), place.download(&server));
    let first = std::thread::spawn(move || fetch(&one).map(|f| f.bytes));
    std::thread::sleep(Duration::from_millis(300));
    let text = fetch(&two).unwrap_err().to_string();
    assert!(text.contains("another process is getting") && text.contains("file.pth.part"), "{text}");
    assert_eq!(first.join().unwrap().unwrap(), 300_000);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let (place, server) = (Place::new(), start(|asked, stream| serve(asked, stream, &file(), &[])));
    std::fs::write(place.0.path().join("file"), b"").unwrap();
    let download = Download { unfinished: place.0.path().join("file/x.part"), ..place.download(&server) };
    let text = fetch(&download).unwrap_err().to_string();
    assert!(text.starts_with("cannot write ") && text.contains("file"), "{text}");
}

#[test]
fn it_is_told_what_is_here_and_what_comes() {
    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);
    impl Watch for Log {
        fn begin(&self, file: &str, have: u64, total: Option<u64>) {
            self.0.lock().unwrap().push(format!("{file} {have} {total:?}"));
        }
        fn advance(&self, bytes: u64) {
            self.0.lock().unwrap().push(bytes.to_string());
        }
        fn end(&self) {
            self.0.lock().unwrap().push("end".to_owned());
        }
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
    let place = Place::new();
    let server = start(|asked, stream| match asked.number {
        0 => break_off(asked, stream, 100_000),
        _ => serve(asked, stream, &file(), &[]),
    });
    let log = Log::default();
    place.download(&server).fetch(&client(), &log).unwrap();
    let log = log.0.into_inner().unwrap();
    assert_eq!(log.first().map(String::as_str), Some("file.pth 0 Some(300000)"));
    assert!(log.iter().any(|l| l == "file.pth 100000 Some(300000)"), "{log:?}");
    assert!(log.iter().any(|l| l.contains("100000 bytes are here, trying again")), "{log:?}");
    assert_eq!(log.last().map(String::as_str), Some("end"));
    assert_eq!(log.iter().filter_map(|l| l.parse::<u64>().ok()).sum::<u64>(), 300_000);
}

#[test]
fn certificates_that_are_none_are_named() {
    // In a process of its own: variables belong to the process.
    let place = Place::new();
    let path: &Path = &place.0.path().join("ca.pem");
    std::fs::write(path, "no certificate").unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "download::a_client_of_the_environment", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("SSL_CERT_FILE is") && text.contains("there is none in it"), "{text}");
}

#[test]
#[ignore = "run by the test of certificates, in a process of its own"]
fn a_client_of_the_environment() {
    println!("{}", Client::from_env().unwrap_err());
}
