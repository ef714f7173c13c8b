//! Requests to one directory: the pool of nonces, the record of each exchange, and the repetition of badNonce.
//!
//! instant-acme speaks through [`Library`], which keeps of every exchange what the library drops (status, `Retry-After`,
//! `Location`, the raw body) for the step that caused it, and answers its HEAD for a nonce from the pool.

use super::jws::{AccountKey, SignedAs};
use super::nonces::{self, Nonces};
use super::problem::Refusal;
use crate::net::header;
use crate::net::http::{BODY_LIMIT, Http, Plain, Reply, Request, allowed};
use crate::types::{Class, Failure, humane};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use serde_json::Value;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often one request is sent when its nonce is refused each time: at nine bad ones in ten, one request in a thousand
/// still fails.
const MAX_SENDS: usize = 64;
/// How long a request whose nonce is refused is sent again: a slow CA must not make minutes of it.
const REPEATING: Duration = Duration::from_secs(30);
const REPLAY_NONCE: &str = "replay-nonce";
const JOSE_JSON: HeaderValue = HeaderValue::from_static("application/jose+json");

/// How many requests were made since the start, for people and tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    /// All that were sent: the directory, nonces and repetitions included.
    pub sent: u64,
    /// Of these, those for a nonce alone.
    pub nonces: u64,
    /// Of these, those that were refused because of their nonce.
    pub bad_nonces: u64,
}

/// One request and its reply.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The URL that was asked.
    pub url: String,
    /// The reply's status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body, which is bounded by what reads it from the network.
    pub body: Bytes,
}

impl Exchange {
    pub(super) const fn refused(&self) -> bool {
        !matches!(self.status, 200..=299)
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        header::retry_after(&self.headers, Some(unix_now()))
    }

    pub(super) fn location(&self) -> Option<String> {
        self.headers.get(http::header::LOCATION)?.to_str().ok().map(str::to_owned)
    }

    fn nonce(&self) -> Option<String> {
        let nonce = self.headers.get(REPLAY_NONCE)?.to_str().ok()?;
        nonces::is_nonce(nonce).then(|| nonce.to_owned())
    }

    /// The body as JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.body).map_err(|error| Refusal::bad_json(self, &error))
    }
}

/// Checks a URL that the CA named in its reply at `place`.
pub(super) fn named(url: &str, place: &str, plain: Plain) -> Result<(), Failure> {
    allowed(url, plain).map(|_| ()).map_err(|refused| {
        let message = format!("the CA names {url}: {}", refused.message);
        Failure::new(refused.class, refused.code, place, message)
            .advise("Check that `directory` is the CA's own; if it is, report this to the CA.")
    })
}

/// How often a request was sent, and since when.
struct Repeats {
    begun: Instant,
    sent: usize,
}

impl Repeats {
    fn new() -> Self {
        Self { begun: Instant::now(), sent: 0 }
    }

    /// What is said when no nonce was good.
    fn given_up(&self, mut refusal: Refusal) -> Refusal {
        if refusal.kind == "badNonce" {
            let theirs = refusal.failure.message.to_string();
            let tried = format!("sent {} times in {}: {theirs}", self.sent, humane(self.begun.elapsed()));
            refusal.failure.message = "the CA refused one of its own nonces after the other (badNonce)".into();
            refusal.failure = refusal.failure.detail(tried).advise(
                "Nothing is wrong here: the CA's servers may not agree with each other, or a cache on the way repeats \
                 replies.",
            );
        }
        refusal
    }
}

/// The way to one directory.
pub(super) struct Wire {
    http: Http,
    /// Whether the directory itself is on loopback: only then may a URL it names be plain http.
    plain: Plain,
    nonces: Nonces,
    /// Our clock less the CA's, in seconds, at its last reply.
    offset: Mutex<Option<i64>>,
    sent: AtomicU64,
    asked_for_nonce: AtomicU64,
    bad_nonces: AtomicU64,
}

impl Wire {
    pub(super) fn new(http: Http, plain: Plain) -> Self {
        let (nonces, offset) = (Nonces::new(), Mutex::default());
        let (sent, asked_for_nonce, bad_nonces) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { http, plain, nonces, offset, sent, asked_for_nonce, bad_nonces }
    }

    /// Where a URL that the CA names may be plain http.
    pub(super) const fn plain(&self) -> Plain {
        self.plain
    }

    /// Checks a URL that the CA named in its reply at `place`, before anything is signed for it.
    pub(super) fn check_named(&self, url: &str, place: &str) -> Result<(), Failure> {
        named(url, place, self.plain)
    }

    /// The same for a URL in what belongs to one order, which says nothing about the other orders at this CA.
    pub(super) fn check_ordered(&self, url: &str, place: &str) -> Result<(), Failure> {
        self.check_named(url, place).map_err(|failure| Failure { code: "acme:badUrl".to_owned(), ..failure })
    }

    /// Checks a URL before anything is signed for it.
    pub(super) fn check(&self, url: &str) -> Result<(), Failure> {
        allowed(url, self.plain).map(|_| ())
    }

    /// One plain GET, which follows redirects.
    pub(super) async fn get(&self, url: &str) -> Result<Exchange, Failure> {
        self.send(Request::new(Method::GET, url)).await
    }

    /// One signed request (RFC 8555 §6.2), repeated while its nonce is refused. `None` is POST-as-GET.
    ///
    /// # Errors
    /// The CA's refusal, or why there was no reply.
    pub(super) async fn post(
        &self,
        (key, signed_as): (&AccountKey, SignedAs<'_>),
        new_nonce: &str,
        url: &str,
        payload: Option<&Value>,
    ) -> Result<Exchange, Refusal> {
        let mut repeats = Repeats::new();
        loop {
            match self.post_once((key, signed_as), new_nonce, url, payload).await {
                Err(refusal) if self.again(&refusal, &mut repeats) => {}
                outcome => return outcome.map_err(|refusal| repeats.given_up(refusal)),
            }
        }
    }

    /// A step of instant-acme's, repeated while its nonce is refused: what it made, and the last exchange it needed.
    ///
    /// # Errors
    /// The CA's refusal, why there was no reply, or what the library could not read.
    pub(super) async fn step<T>(
        &self,
        limit: usize,
        mut call: impl AsyncFnMut() -> Result<T, instant_acme::Error>,
    ) -> Result<(T, Exchange), Refusal> {
        let mut repeats = Repeats::new();
        loop {
            match recorded(limit, call()).await {
                Err(refusal) if self.again(&refusal, &mut repeats) => {}
                outcome => return outcome.map_err(|refusal| repeats.given_up(refusal)),
            }
        }
    }

    pub(super) fn requests(&self) -> Requests {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests { sent: read(&self.sent), nonces: read(&self.asked_for_nonce), bad_nonces: read(&self.bad_nonces) }
    }

    pub(super) fn clock_offset(&self) -> Option<i64> {
        *self.offset.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request is to be sent again: its nonce was refused, and neither count nor time is used up.
    fn again(&self, refusal: &Refusal, repeats: &mut Repeats) -> bool {
        if refusal.kind != "badNonce" {
            return false;
        }
        self.bad_nonces.fetch_add(1, Ordering::Relaxed);
        repeats.sent += 1;
        repeats.sent < MAX_SENDS && repeats.begun.elapsed() < REPEATING
    }

    async fn post_once(
        &self,
        (key, signed_as): (&AccountKey, SignedAs<'_>),
        new_nonce: &str,
        url: &str,
        payload: Option<&Value>,
    ) -> Result<Exchange, Refusal> {
        self.check(url)?;
        let nonce = self.nonce(new_nonce).await?;
        let body = key.sign(signed_as, &nonce, url, payload)?;
        let exchange = self.send_signed(post(url, body.into(), BODY_LIMIT)).await?;
        if exchange.refused() { Err(Refusal::read(&exchange)) } else { Ok(exchange) }
    }

    /// A nonce: of the pool, or asked for.
    async fn nonce(&self, new_nonce: &str) -> Result<String, Refusal> {
        if let Some(nonce) = self.nonces.take().await {
            return Ok(nonce);
        }
        self.asked_for_nonce.fetch_add(1, Ordering::Relaxed);
        let exchange = self.send(Request::new(Method::HEAD, new_nonce)).await?;
        if exchange.refused() {
            return Err(Refusal::read(&exchange));
        }
        exchange.nonce().map_or_else(|| Err(Refusal::unreadable(&exchange, "there is no Replay-Nonce")), Ok)
    }

    async fn send(&self, request: Request) -> Result<Exchange, Failure> {
        self.check(&request.url)?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        let (method, url) = (request.method.clone(), request.url.clone());
        let reply = self.http.send(request).await;
        match &reply {
            Ok(reply) => tracing::debug!(%method, url, status = reply.status, "acme"),
            Err(failure) => tracing::debug!(%method, url, code = failure.code, "acme"),
        }
        let Reply { status, headers, body, .. } = reply?;
        if let Some(theirs) = header::date(&headers) {
            *self.offset.lock().unwrap_or_else(PoisonError::into_inner) = Some(unix_now().saturating_sub(theirs));
        }
        Ok(Exchange { url, status, headers, body })
    }

    /// Sends a signed request. Its reply's nonce goes to the pool, and is promised to somebody until then.
    async fn send_signed(&self, request: Request) -> Result<Exchange, Failure> {
        let promise = self.nonces.promise();
        let exchange = self.send(request).await?;
        if let Some(nonce) = exchange.nonce() {
            self.nonces.put(&nonce);
        }
        drop(promise);
        Ok(exchange)
    }
}

fn post(url: &str, body: Bytes, limit: usize) -> Request {
    let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, JOSE_JSON)]);
    Request { headers, body, limit, ..Request::new(Method::POST, url) }
}

#[expect(clippy::disallowed_methods, reason = "what the CA's Date and Retry-After are held against")]
fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

// -------------------------------------------------------------------------------------------------------- instant-acme

/// What one step's exchanges left behind.
struct Record {
    limit: usize,
    last: RefCell<Option<Result<Exchange, Failure>>>,
}

tokio::task_local! {
    /// The step under way. The library's requests are polled inside the step's own future, and nowhere else.
    static RECORD: Rc<Record>;
}

async fn recorded<T>(
    limit: usize,
    call: impl Future<Output = Result<T, instant_acme::Error>>,
) -> Result<(T, Exchange), Refusal> {
    let record = Rc::new(Record { limit, last: RefCell::new(None) });
    let outcome = RECORD.scope(Rc::clone(&record), call).await;
    let last = record.last.take();
    match (outcome, last) {
        (_, Some(Err(failure))) => Err(failure.into()),
        (_, Some(Ok(exchange))) if exchange.refused() => Err(Refusal::read(&exchange)),
        (Ok(made), Some(Ok(exchange))) => Ok((made, exchange)),
        (Err(instant_acme::Error::Json(error)), Some(Ok(exchange))) => Err(Refusal::bad_json(&exchange, &error)),
        (Err(error), Some(Ok(exchange))) => Err(Refusal::no_json(&exchange, &error.to_string())),
        (Err(error), None) => Err(without_exchange(&error.to_string()).into()),
        (Ok(_), None) => Err(without_exchange("nothing was sent").into()),
    }
}

fn without_exchange(why: &str) -> Failure {
    Failure::new(Class::Retry, "acme:client", "ACME client", format!("the request could not be made: {why}"))
}

/// What instant-acme speaks through.
pub(super) struct Library {
    pub(super) wire: Arc<Wire>,
    /// The directory's URL and what instant-acme needs of it, so that it is not fetched twice.
    pub(super) directory: (String, Bytes),
}

impl HttpClient for Library {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        if parts.method == Method::GET && url == self.directory.0 {
            let answer = respond(200, HeaderMap::new(), self.directory.1.clone());
            return Box::pin(std::future::ready(answer));
        }
        let wire = Arc::clone(&self.wire);
        Box::pin(async move {
            if parts.method == Method::HEAD {
                return wire.library_nonce(&url).await;
            }
            let limit = RECORD.try_with(|record| record.limit).unwrap_or(BODY_LIMIT);
            let body = collect(body).await;
            note(wire.send_signed(post(&url, body, limit)).await)
        })
    }
}

impl Wire {
    async fn library_nonce(&self, url: &str) -> Result<BytesResponse, instant_acme::Error> {
        match self.nonce(url).await {
            Ok(nonce) => {
                let value = HeaderValue::from_str(&nonce).map_err(|error| instant_acme::Error::Http(error.into()))?;
                let name = http::HeaderName::from_static(REPLAY_NONCE);
                respond(200, HeaderMap::from_iter([(name, value)]), Bytes::new())
            }
            Err(refusal) => note(Err(refusal.failure)),
        }
    }
}

/// Keeps an exchange for the step, and gives the library what it can use. A refusal ends the library's call at once: the
/// step reads it from the record, repeats it if it was the nonce, and knows its status, which the library would lose. The
/// nonce is kept from the library, whose own would be used a second time from the pool.
fn note(outcome: Result<Exchange, Failure>) -> Result<BytesResponse, instant_acme::Error> {
    let answer = match &outcome {
        Ok(exchange) if !exchange.refused() => {
            let mut headers = exchange.headers.clone();
            headers.remove(REPLAY_NONCE);
            respond(exchange.status, headers, exchange.body.clone())
        }
        _ => Err(instant_acme::Error::Str("the request was refused")),
    };
    // Outside a step nobody asks for the record.
    let _ = RECORD.try_with(|record| record.last.replace(Some(outcome)));
    answer
}

fn respond(status: u16, headers: HeaderMap, body: Bytes) -> Result<BytesResponse, instant_acme::Error> {
    let (mut parts, ()) = http::Response::builder().status(status).body(())?.into_parts();
    parts.headers = headers;
    Ok(BytesResponse { parts, body: Box::new(body) })
}

/// The body of a request, through the one public way to read the library's wrapper; it is in memory already.
async fn collect(body: BodyWrapper<Bytes>) -> Bytes {
    BytesResponse::from(http::Response::new(body)).body.into_bytes().await.unwrap_or_default()
}
