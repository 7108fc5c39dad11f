//! A server on this machine that answers as a test says: well, badly, or with lies.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What a client asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Headers by their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// Which request of this server it is, from 0.
    pub number: usize,
}

impl Asked {
    /// The first byte of `Range: bytes=N-`; 0 without one.
    pub fn from(&self) -> usize {
        let range = self.headers.get("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-'));
        range.and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

/// A server, until it is dropped. Each connection carries one request.
pub struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A server that answers by `handler`, which writes the whole answer, its status line first.
    ///
    /// # Errors
    /// Where this machine lets nobody listen.
    pub fn start(
        handler: impl Fn(&Asked, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<Server> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, stopped, handler) = (Arc::clone(&asked), Arc::clone(&stop), Arc::new(handler));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let (log, handler) = (Arc::clone(&log), Arc::clone(&handler));
                std::thread::spawn(move || {
                    let Ok(Some(mut request)) = read(&stream) else { return };
                    {
                        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                        request.number = log.len();
                        log.push(request.clone());
                    }
                    // A client that goes away is part of many tests.
                    let _ = handler(&request, &mut stream);
                });
            }
        });
        Ok(Server { address, asked, stop, thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The connection that lets the thread look.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes a status line, headers and a body. `Content-Length` stands in `headers`, or nowhere.
///
/// # Errors
/// Where the client went away.
pub fn answer(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}

/// Answers as a file server does: the whole of `file`, or from where the client wants it.
///
/// # Errors
/// As [`answer`].
pub fn serve(asked: &Asked, stream: &mut TcpStream, file: &[u8], headers: &[(&str, &str)]) -> io::Result<()> {
    let (from, size) = (asked.from(), file.len());
    let Some(rest) = file.get(from..).filter(|rest| from == 0 || !rest.is_empty()) else {
        return answer(
            stream,
            "416 Range Not Satisfiable",
            &[("Content-Range", &format!("bytes */{size}"))],
            b"",
        );
    };
    let (length, span) = (rest.len().to_string(), format!("bytes {from}-{}/{size}", size.saturating_sub(1)));
    let mut all = vec![("Content-Length", length.as_str())];
    all.extend(headers);
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    if from > 0 {
        all.push(("Content-Range", &span));
    }
    answer(stream, status, &all, if asked.method == "HEAD" { b"" } else { rest })
}

fn read(stream: &TcpStream) -> io::Result<Option<Asked>> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Some(Asked { method, path, headers, number: 0 }))
}
