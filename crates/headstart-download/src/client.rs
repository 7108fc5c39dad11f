//! Requests: proxies, certificates, timeouts, and redirects that are looked at before they are followed.

use crate::DownloadError;
use crate::url::{is_same_server, is_secure, join, parts, shown};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{HeaderMap, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Error};

/// Redirects of one request at most.
const REDIRECTS: usize = 5;

/// Makes requests.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    /// How long a server may say nothing.
    pub(crate) patience: Duration,
    /// How often in a row a transfer may break off without bringing much.
    pub(crate) tries: u32,
    /// Time before the second try; it doubles from one to the next.
    pub(crate) pause: Duration,
}

/// A request.
pub(crate) struct Request<'a> {
    pub(crate) url: &'a str,
    /// Ask for what the server knows of the file, not for the file, and do not go to another server.
    pub(crate) head: bool,
    /// The first byte that is wanted.
    pub(crate) from: u64,
    /// Told to the server of `url` alone.
    pub(crate) token: Option<&'a str>,
}

impl Client {
    /// A client for this environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name proxies, `SSL_CERT_FILE`
    /// certificates to trust in place of Mozilla's.
    ///
    /// # Errors
    /// Where that file holds no certificates.
    pub fn from_env() -> Result<Client, DownloadError> {
        let file = std::env::var_os("SSL_CERT_FILE").filter(|v| !v.is_empty()).map(PathBuf::from);
        let roots = match file {
            None => RootCerts::WebPki,
            Some(path) => certificates(path)?,
        };
        Ok(Client::with(roots, Duration::from_secs(30), 5, Duration::from_secs(1)))
    }

    /// A client that waits `patience` for a server that says nothing, and `pause` before the second of `tries`.
    pub fn new(patience: Duration, tries: u32, pause: Duration) -> Client {
        Client::with(RootCerts::WebPki, patience, tries, pause)
    }

    fn with(roots: RootCerts, patience: Duration, tries: u32, pause: Duration) -> Client {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("headstart/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Client { agent: agent.into(), patience, tries: tries.max(1), pause }
    }

    /// The answer, after at most five redirects. Its status may be any but one of those.
    pub(crate) fn send(&self, request: &Request<'_>) -> Result<Response<Body>, DownloadError> {
        let mut url = request.url.to_owned();
        for _ in 0..=REDIRECTS {
            if parts(&url).is_none() {
                return Err(DownloadError::Address { url: shown(&url), why: "" });
            }
            let mut builder = if request.head { self.agent.head(&url) } else { self.agent.get(&url) };
            builder = builder.header("Accept-Encoding", "identity");
            if request.from > 0 {
                builder = builder.header("Range", format!("bytes={}-", request.from));
            }
            if let Some(token) = request.token.filter(|_| is_same_server(request.url, &url)) {
                builder = builder.header("Authorization", format!("Bearer {token}"));
            }
            let answer = builder.call().map_err(|error| refused(request.url, error))?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let refuse = |why: String| DownloadError::Redirect { url: shown(request.url), why };
            let location =
                text(answer.headers(), "location").ok_or_else(|| refuse("to nowhere".to_owned()))?;
            let next = join(&url, location).ok_or_else(|| refuse(format!("to {}", shown(location))))?;
            if request.head && !is_same_server(request.url, &next) {
                // What the hub says of the file stands in this answer; the other server would say less.
                return Ok(answer);
            }
            if is_secure(&url) && !is_secure(&next) {
                return Err(refuse(format!("to {}, which is not encrypted", shown(&next))));
            }
            url = next;
        }
        let why = format!("more than {REDIRECTS} times");
        Err(DownloadError::Redirect { url: shown(request.url), why })
    }
}

/// A header that is text.
pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// What `error` means for the address `url`.
fn refused(url: &str, error: Error) -> DownloadError {
    let (url, why) = (shown(url), error.to_string());
    match error {
        Error::BadUri(_) | Error::Http(_) => DownloadError::Address { url, why: ", without blanks" },
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) => DownloadError::Insecure { url, why },
        // Certificates that fail arrive as errors of the connection.
        Error::Io(ref io) if io.kind() == std::io::ErrorKind::InvalidData => {
            DownloadError::Insecure { url, why }
        }
        _ => DownloadError::Unreachable { url, why },
    }
}

fn certificates(path: PathBuf) -> Result<RootCerts, DownloadError> {
    let bad = |why: String| DownloadError::Certificates { path: path.clone(), why };
    let bytes = std::fs::read(&path).map_err(|error| bad(error.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| bad(error.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(bad("there is none in it".to_owned()));
    }
    Ok(RootCerts::Specific(Arc::new(found)))
}
