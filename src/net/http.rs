//! One HTTP client in which everything is bounded: connecting, the whole exchange, the body, redirects.
//!
//! It never follows a redirect of anything but a GET (a JWS and a webhook are signed for one URL), decompresses nothing,
//! and takes its proxy from the environment, except for loopback addresses.

use super::trouble::{self, chain, failure};
use crate::types::{Class, Failure};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, header};
use reqwest::{Client, Url};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The body limit unless a request sets another: far above any ACME object, far below what would hurt.
pub const BODY_LIMIT: usize = 1 << 20;
/// The longest URL that is requested: servers' own limits start at 2 KB to 8 KB.
pub const URL_LIMIT: usize = 2048;
/// How many redirects of a GET are followed.
const REDIRECTS: usize = 3;
/// The header block a peer may send over HTTP/2; ACME replies stay under 2 KB.
const HEADER_LIMIT: u32 = 64 << 10;
/// How long an idle connection is kept: longer than the pause between two looks at an order.
const IDLE: Duration = Duration::from_secs(60);
/// Idle connections kept per host: what issuing in parallel over HTTP/1.1 needs.
const IDLE_PER_HOST: usize = 16;
const USER_AGENT: &str = concat!("everleaf/", env!("CARGO_PKG_VERSION"));

/// Where plain http is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// Nowhere: https only.
    Never,
    /// On loopback addresses and `localhost`: a test's CA, a local proxy.
    Loopback,
    /// Everywhere: CRLs (RFC 5280 §4.2.1.13) and redirect checks.
    Anywhere,
}

/// Bounds and trust of a client.
#[derive(Debug, Clone)]
pub struct Options {
    /// To open a connection, TLS included.
    pub connect: Duration,
    /// For one request, the whole reply included.
    pub request: Duration,
    /// Roots trusted beside the system's, PEM.
    pub ca_bundle: Option<PathBuf>,
    /// Where plain http is allowed.
    pub plain: Plain,
}

/// What to send.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `HEAD` or `POST`.
    pub method: Method,
    /// Where to.
    pub url: String,
    /// Further headers; `User-Agent` is set here and nowhere else.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
    /// The most the reply's body may hold, in octets.
    pub limit: usize,
}

impl Request {
    /// A request without body and further headers, with the usual [`BODY_LIMIT`].
    #[must_use]
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: HeaderMap::new(), body: Bytes::new(), limit: BODY_LIMIT }
    }
}

/// What came back, whatever its status.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The URL that answered, after redirects.
    pub url: String,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// The client. Making one touches neither disk nor network; roots are read at the first request.
pub struct Http {
    options: Options,
    /// For loopback: no proxy can reach our own loopback addresses.
    direct: OnceLock<Result<Client, Failure>>,
    /// For everything else: through the environment's proxy, if any.
    outward: OnceLock<Result<Client, Failure>>,
}

impl Http {
    /// A client with these bounds.
    #[must_use]
    pub const fn new(options: Options) -> Self {
        Self { options, direct: OnceLock::new(), outward: OnceLock::new() }
    }

    /// Sends `request` and reads the whole reply, within the request's time limit all told.
    ///
    /// # Errors
    /// `net:url` for a URL that may not be asked, `net:roots` when the extra roots cannot be used; `net:dns`, `net:connect`,
    /// `net:tls`, `net:timeout`, `net:closed` by what failed; `net:tooLarge`, `net:redirects` when the reply is out of bounds.
    pub async fn send(&self, request: Request) -> Result<Reply, Failure> {
        let place = request.url.clone();
        let limit = self.options.request;
        let outcome = tokio::time::timeout(limit, self.exchange(request)).await;
        outcome.unwrap_or_else(|_| Err(trouble::too_slow(&place, &self.options)))
    }

    async fn exchange(&self, mut request: Request) -> Result<Reply, Failure> {
        for _ in 0..=REDIRECTS {
            let url = allowed(&request.url, self.options.plain)?;
            let client = self.client(&url)?;
            let sent = client
                .request(request.method.clone(), url.clone())
                .headers(request.headers.clone())
                .body(request.body.clone())
                .send()
                .await
                .map_err(|error| failure(&url, &error, &self.options))?;
            let target = sent.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let follow = request.method == Method::GET && matches!(sent.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            match target.filter(|_| follow).and_then(|target| url.join(target).ok()) {
                Some(next) => request.url = self.onward(&url, &next)?.into(),
                None => return self.read(url, sent, request.limit).await,
            }
        }
        Err(Failure::new(Class::Retry, "net:redirects", request.url, format!("more than {REDIRECTS} redirects"))
            .advise("Check the URL and what answers on the way to it."))
    }

    /// Where a GET is redirected to, if it may be asked. It is not the operator who named that URL.
    fn onward(&self, from: &Url, to: &Url) -> Result<Url, Failure> {
        allowed(to.as_str(), self.options.plain).map_err(|refused| {
            let message = format!("it redirects to {to}, and {}", refused.message);
            Failure::new(Class::Retry, "net:redirects", from.as_str(), message)
                .advise("Check the URL and what answers on the way to it.")
        })
    }

    async fn read(&self, url: Url, mut sent: reqwest::Response, limit: usize) -> Result<Reply, Failure> {
        let too_large = || {
            Failure::new(
                Class::Retry,
                "net:tooLarge",
                url.as_str(),
                format!("the reply is larger than the {} KiB that are read", limit >> 10),
            )
            .advise("Something other than the expected server may be answering at this URL.")
        };
        if sent.content_length().is_some_and(|length| length > limit as u64) && sent.status().as_u16() != 304 {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = sent.chunk().await.map_err(|error| failure(&url, &error, &self.options))? {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        let headers = std::mem::take(sent.headers_mut());
        Ok(Reply { status: sent.status().as_u16(), headers, body: body.freeze(), url: url.into() })
    }

    fn client(&self, url: &Url) -> Result<&Client, Failure> {
        let (slot, direct) = if is_loopback(url) { (&self.direct, true) } else { (&self.outward, false) };
        slot.get_or_init(|| build(&self.options, direct)).as_ref().map_err(Clone::clone)
    }
}

/// Parses a URL and checks that it may be asked: a bounded length, https or allowed http, a host, no credentials.
///
/// # Errors
/// `net:url`.
pub fn allowed(url: &str, plain: Plain) -> Result<Url, Failure> {
    let refused = |why: &str| {
        Failure::new(Class::Operator, "net:url", url, format!("this URL is not asked: {why}"))
            .advise("Use an https URL; http is for loopback addresses only.")
    };
    if url.len() > URL_LIMIT {
        return Err(refused("it is too long"));
    }
    // The parser drops line breaks and tabs, and would let through a text that is not what is requested.
    if !url.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(refused("it holds spaces, control characters or letters beyond ASCII"));
    }
    let parsed = Url::parse(url).map_err(|error| refused(&error.to_string()))?;
    let plain_allowed = match plain {
        Plain::Never => false,
        Plain::Loopback => is_loopback(&parsed),
        Plain::Anywhere => true,
    };
    match parsed.scheme() {
        "https" => {}
        "http" if plain_allowed => {}
        _ if plain == Plain::Anywhere => return Err(refused("it is neither http nor https")),
        _ => return Err(refused("it is not https")),
    }
    if parsed.host_str().is_none_or(str::is_empty) || !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(refused("it names no host, or carries credentials"));
    }
    Ok(parsed)
}

/// Whether a URL's host is a loopback address or `localhost`.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().map_or_else(|_| bare == "localhost" || bare.ends_with(".localhost"), |ip| ip.is_loopback())
}

fn build(options: &Options, direct: bool) -> Result<Client, Failure> {
    #[expect(clippy::disallowed_methods, reason = "the one client")]
    let builder = Client::builder()
        .tls_backend_preconfigured(tls(options)?)
        .user_agent(USER_AGENT)
        .connect_timeout(options.connect)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .http2_max_header_list_size(HEADER_LIMIT);
    let builder = if direct { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| {
        Failure::new(Class::Operator, "net:client", "HTTP client", chain(&error))
            .advise("Check HTTPS_PROXY and its like in the environment.")
    })
}

/// TLS with the system's roots and the bundle's. Its provider is named here, so no process-wide default is needed.
fn tls(options: &Options) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = &options.ca_bundle {
        let place = path.display().to_string();
        let unusable = |why: &str| {
            Failure::new(Class::Operator, "net:roots", &place, format!("no extra roots can be read from it: {why}"))
                .advise("`ca_bundle` names a readable PEM file with at least one CA certificate.")
        };
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let certificates = certificates.map_err(|error| unusable(&error.to_string()))?;
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(unusable("it holds no certificate"));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| Failure::new(Class::Operator, "net:client", "TLS", error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const OPTIONS: Options = Options {
        connect: Duration::from_secs(1),
        request: Duration::from_secs(2),
        ca_bundle: None,
        plain: Plain::Loopback,
    };

    #[test]
    fn only_https_and_loopback_http_are_asked() {
        for good in ["https://ca.test/dir", "http://127.0.0.1:4000/dir", "http://[::1]/", "http://localhost/dir"] {
            assert!(allowed(good, Plain::Loopback).is_ok(), "{good}");
        }
        for bad in ["http://ca.test/", "http://10.0.0.1/", "http://localhost.evil.test/", "ftp://127.0.0.1/", "x", ""] {
            assert_eq!(allowed(bad, Plain::Loopback).expect_err(bad).code, "net:url");
        }
        assert!(allowed("http://127.0.0.1/", Plain::Never).is_err());
        assert!(allowed("http://crl.test/a.crl", Plain::Anywhere).is_ok());
        for bad in ["https://user@ca.test/", "https://ca.test/a\nb", "https://ca.test/a b", "https://ca.test/é"] {
            assert!(allowed(bad, Plain::Anywhere).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_request_says_who_asks_and_nothing_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/x", listener.local_addr().expect("an address"));
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.expect("a request");
            stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").await.expect("sent");
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        let reply = Http::new(OPTIONS).send(Request::new(Method::GET, url)).await.expect("a reply");
        assert_eq!((reply.status, reply.body.len()), (204, 0));
        let head = served.await.expect("served");
        let headers: HashMap<_, _> = head.lines().filter_map(|line| line.split_once(": ")).collect();
        assert_eq!(headers.get("user-agent"), Some(&USER_AGENT), "{head}");
        assert!(!headers.contains_key("accept-encoding") && !headers.contains_key("referer"), "{head}");
    }

    #[tokio::test]
    async fn a_bundle_that_is_no_pem_is_the_operators_matter() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for path in [file.path().to_owned(), PathBuf::from("/nonexistent/ca.pem")] {
            let http = Http::new(Options { ca_bundle: Some(path), ..OPTIONS });
            let failure = http.send(Request::new(Method::GET, "https://127.0.0.1:9/")).await.expect_err("unusable");
            assert_eq!((failure.class, failure.code.as_str()), (Class::Operator, "net:roots"), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_and_no_such_host() {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        let code =
            async |url: String| Http::new(OPTIONS).send(Request::new(Method::GET, url)).await.expect_err("nobody").code;
        assert_eq!(code(format!("http://{free}/")).await, "net:connect");
        assert_eq!(code("https://nobody.invalid/".to_owned()).await, "net:dns");
    }
}
