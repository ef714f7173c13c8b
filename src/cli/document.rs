//! A verdict as JSON, for probes of endpoints and of files alike.

use super::verdict;
use crate::probe::chain::{Origin, Step};
use crate::probe::checks::client::{Attempt, Given};
use crate::probe::checks::revocation::{Looked, Outcome};
use crate::probe::checks::{Case, Presented, View};
use crate::probe::files::Taken;
use crate::probe::survey::http::{Mute, Spoken};
use crate::probe::{Finding, Label, Severity, Verdict};
use crate::types::{Identifier, NodeName, Printable, Timestamp};
use serde::Serialize;
use std::net::SocketAddr;

/// What a probe found. Schema `everleaf.probe/1`.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    target: &'a str,
    /// From where it was looked; nothing for files.
    vantage: Option<&'a Printable>,
    verdict: Severity,
    findings: &'a [Finding],
    endpoints: Vec<Endpoint<'a>>,
    files: Vec<File>,
    chain: Vec<Link>,
}

/// A file that was read.
#[derive(Debug, Serialize)]
struct File {
    path: String,
    taken_for: String,
}

/// A step of the path.
#[derive(Debug, Serialize)]
struct Link {
    origin: &'static str,
    /// From 1, as presented.
    position: Option<usize>,
    store: Option<String>,
    subject: String,
    /// What people call it.
    name: String,
    serial: Option<String>,
    fingerprint: Option<String>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

/// What one address showed.
#[derive(Debug, Serialize)]
struct Endpoint<'a> {
    address: SocketAddr,
    node: Option<&'a NodeName>,
    sni: Option<&'a Identifier>,
    /// Whether a client gets through, with the given certificate where there is one, and accepts what it sees.
    ok: bool,
    /// Why not, where the handshake did not come to its end.
    error: Option<Trouble<'a>>,
    protocol: Option<&'a str>,
    cipher: Option<&'a str>,
    group: Option<&'a str>,
    alpn: Option<&'a str>,
    /// From the beginning of TLS (or STARTTLS) to the end of the handshake.
    handshake_ms: u64,
    client_certificate_asked: bool,
    /// What it makes of the client certificate, where one was given.
    client: Option<Client>,
    /// Whether an OCSP response was stapled.
    stapled: bool,
    /// What the CRLs came to, where they were asked for.
    crls: Vec<Listed>,
    http: Option<Said>,
    /// Without TLS.
    http_plain: Option<Said>,
    /// Why some client refuses the certificates; nothing where none does.
    refused: Option<&'static str>,
    certificates: Vec<Sent>,
    /// Of the other key family, when the address has both.
    other_certificates: Vec<Sent>,
}

/// What a CRL said of one certificate.
#[derive(Debug, Serialize)]
struct Listed {
    /// The certificate, from 1, as presented.
    certificate: usize,
    url: String,
    /// Nothing where the list could not be used.
    revoked: Option<bool>,
    seen: String,
}

/// A client certificate that was given.
#[derive(Debug, Serialize)]
struct Client {
    subject: String,
    names: Vec<String>,
    issuer: String,
    fingerprint: String,
    not_before: Timestamp,
    not_after: Timestamp,
    asked: bool,
    /// Whether its issuer is among those asked for; nothing where none is named.
    issuer_asked_for: Option<bool>,
    /// In every version; nothing where none is asked for.
    accepted: Option<bool>,
    tried: Vec<Tried>,
    identity_mapping: &'static str,
}

/// What became of it in one version.
#[derive(Debug, Serialize)]
struct Tried {
    protocol: &'static str,
    accepted: bool,
    seen: String,
}

#[derive(Debug, Serialize)]
struct Trouble<'a> {
    label: &'static str,
    seen: &'a str,
}

/// What was answered in HTTP.
#[derive(Debug, Serialize)]
struct Said {
    port: u16,
    status: Option<u16>,
    location: Option<String>,
    strict_transport_security: Vec<String>,
    alt_svc: Vec<String>,
    date: Option<String>,
    /// Why nothing was.
    error: Option<String>,
}

/// A certificate as sent.
#[derive(Debug, Serialize)]
struct Sent {
    subject: String,
    issuer: String,
    names: Vec<Identifier>,
    serial: String,
    fingerprint: String,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl<'a> Document<'a> {
    pub(super) fn new(target: &'a str, verdict: &'a Verdict, steps: &[Step]) -> Self {
        Self {
            schema: "everleaf.probe/1",
            target,
            vantage: None,
            verdict: verdict.severity(),
            findings: verdict.findings(),
            endpoints: Vec::new(),
            files: Vec::new(),
            chain: steps.iter().enumerate().map(link).collect(),
        }
    }

    /// With the files that were read.
    pub(super) fn files(self, taken: &[Taken]) -> Self {
        let file = |it: &Taken| File { path: it.path.display().to_string(), taken_for: it.what.clone() };
        Self { files: taken.iter().map(file).collect(), ..self }
    }

    /// With the addresses that were looked at.
    pub(super) fn endpoints(self, case: &'a Case<'a>) -> Self {
        let sni = case.survey.query.sni();
        let vantage = Some(&case.survey.query.vantage);
        Self { vantage, endpoints: case.views.iter().map(|view| endpoint(view, sni)).collect(), ..self }
    }
}

fn said(port: u16, spoken: &Result<Spoken, Mute>) -> Said {
    let head = spoken.as_ref().ok().map(|it| &it.first.head);
    let all = |name: &str| -> Vec<String> {
        let text = |value: &http::HeaderValue| Printable::new(&String::from_utf8_lossy(value.as_bytes())).to_string();
        head.iter().flat_map(|head| head.headers.get_all(name)).map(text).collect()
    };
    Said {
        port,
        status: head.map(|head| head.status),
        location: all("location").into_iter().next(),
        strict_transport_security: all("strict-transport-security"),
        alt_svc: all("alt-svc"),
        date: all("date").into_iter().next(),
        error: spoken.as_ref().err().map(ToString::to_string),
    }
}

fn endpoint<'a>(view: &'a View<'a>, sni: Option<&'a Identifier>) -> Endpoint<'a> {
    let sight = view.sight;
    let telling = view.shaken();
    let agreed = telling.agreed.as_ref();
    let error = telling.end.as_ref().err();
    Endpoint {
        address: sight.address,
        node: sight.node.as_ref(),
        sni,
        ok: view.is_fine()
            && error.is_none()
            && view.given.as_ref().is_none_or(|given| given.attempts.is_empty() || given.accepted()),
        error: error.map(|it| Trouble { label: it.label.as_str(), seen: &it.message }),
        protocol: agreed.map(|it| it.version.as_str()),
        cipher: agreed.map(|it| it.cipher.as_str()),
        group: agreed.and_then(|it| it.group.as_deref()),
        alpn: agreed.and_then(|it| it.alpn.as_deref()),
        handshake_ms: u64::try_from(telling.took.as_millis()).unwrap_or(u64::MAX),
        client_certificate_asked: telling.client_certificate_asked,
        stapled: !sight.stapled().is_empty(),
        crls: view.looked.iter().map(listed).collect(),
        client: view.given.as_ref().map(client),
        http: view.spoken().map(|it| said(sight.address.port(), it)),
        http_plain: sight.plain.as_ref().map(|(port, it)| said(*port, it)),
        refused: view.presented.worst().map(Label::as_str),
        certificates: sent(&view.presented),
        other_certificates: view.other.as_ref().map(|it| sent(it)).unwrap_or_default(),
    }
}

fn client(given: &Given<'_>) -> Client {
    let leaf = given.identity.leaf();
    let names = leaf.names().iter().map(ToString::to_string);
    let tried = |it: &Attempt| Tried { protocol: it.version, accepted: it.refused.is_none(), seen: it.seen.clone() };
    Client {
        subject: leaf.subject().to_string(),
        names: names.chain(leaf.other_names().iter().map(ToString::to_string)).collect(),
        issuer: leaf.issuer().to_string(),
        fingerprint: leaf.fingerprint().to_string(),
        not_before: leaf.validity().start,
        not_after: leaf.validity().end,
        asked: !given.attempts.is_empty(),
        issuer_asked_for: given.named,
        accepted: (!given.attempts.is_empty()).then(|| given.accepted()),
        tried: given.attempts.iter().map(tried).collect(),
        identity_mapping: "not tested",
    }
}

fn listed(looked: &Looked) -> Listed {
    Listed {
        certificate: looked.position + 1,
        url: looked.url.to_string(),
        revoked: match looked.outcome {
            Outcome::Revoked(_) => Some(true),
            Outcome::NotListed { .. } => Some(false),
            Outcome::Unusable(_) => None,
        },
        seen: looked.outcome.to_string(),
    }
}

fn sent(presented: &Presented) -> Vec<Sent> {
    let one = |it: &crate::pki::Certificate| Sent {
        subject: it.subject().to_string(),
        issuer: it.issuer().to_string(),
        names: it.names().to_vec(),
        serial: it.serial().to_string(),
        fingerprint: it.fingerprint().to_string(),
        not_before: it.validity().start,
        not_after: it.validity().end,
    };
    presented.certificates.iter().map(one).collect()
}

fn link((at, step): (usize, &Step)) -> Link {
    let certificate = step.certificate.as_ref();
    let (origin, position, store) = match &step.origin {
        Origin::Sent(at) => ("sent", Some(at + 1), None),
        Origin::Foreign(at) => ("untrusted", Some(at + 1), None),
        Origin::Store(name) => ("store", None, Some(name.clone())),
        Origin::Missing => ("missing", None, None),
    };
    Link {
        origin,
        position,
        store,
        subject: step.who.clone(),
        name: verdict::name(at, step),
        serial: certificate.map(|it| it.serial().to_string()),
        fingerprint: certificate.map(|it| it.fingerprint().to_string()),
        not_before: certificate.map(|it| it.validity().start),
        not_after: certificate.map(|it| it.validity().end),
    }
}
