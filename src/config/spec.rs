//! The checked specification: what people want, with every reference resolved and every default filled in.
//!
//! Nothing here reads YAML; [`super::load`] makes it. The core plans from these types and nothing else of the configuration.

mod nodes;

pub use nodes::{Hook, Node, NodeKind, Receive, Reload, Ssh};

use crate::types::{
    CertName, Digest, Identifier, IssuerName, KeyFamily, NodeName, NotifierName, Secret, SpecDigest, Vantage, sha256,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that is wanted on this machine.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Where things lie.
    pub paths: Paths,
    /// Resolvers to ask instead of the system's.
    pub resolvers: Vec<SocketAddr>,
    /// Where the CAs look for http-01: port 80 (RFC 8555 §8.3), unless a CA for tests says otherwise.
    pub http_port: u16,
    /// Where the CAs look for tls-alpn-01: port 443 (RFC 8737 §3), likewise.
    pub tls_port: u16,
    /// How often `run` is called; `None` lets everleaf learn it from its own starts.
    pub every: Option<Duration>,
    /// The ACME directories, each with one account.
    pub issuers: BTreeMap<IssuerName, Issuer>,
    /// The machines that terminate TLS. `local` is always there.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Names for several of them, for people: what lists groups has been written out into nodes.
    pub groups: BTreeMap<NodeName, Vec<NodeName>>,
    /// The certificates.
    pub certificates: BTreeMap<CertName, Certificate>,
    /// Who is told, and how.
    pub notifiers: BTreeMap<NotifierName, Notifier>,
    /// A dead-man's switch told of every run's start and end.
    pub ping: Option<Ping>,
    /// Where the Prometheus textfile is written.
    pub metrics: Option<PathBuf>,
    /// Bounds on waits.
    pub limits: Limits,
}

/// Where everleaf keeps things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Keys, journals, generations: 0700.
    pub state: PathBuf,
    /// What servers read.
    pub live: PathBuf,
    /// Locks and the status file.
    pub run: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { state: "/var/lib/everleaf".into(), live: "/etc/everleaf/live".into(), run: "/run/everleaf".into() }
    }
}

/// Bounds on waits, each configurable under `limits:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// To open a connection to a CA.
    pub connect: Duration,
    /// For one request to a CA, reply included.
    pub request: Duration,
    /// From opening an order to its certificate.
    pub order: Duration,
    /// For one run over everything; a lock holder older than this is reported.
    pub run: Duration,
    /// For one hook.
    pub hook: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(30),
            order: Duration::from_secs(600),
            run: Duration::from_secs(1800),
            hook: Duration::from_secs(120),
        }
    }
}

/// One ACME directory and the account there.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its name in the configuration.
    pub name: IssuerName,
    /// The directory's URL: https, or http on a loopback address in a rehearsal.
    pub directory: String,
    /// What a certificate must chain to.
    pub roots: Roots,
    /// Extra roots for the ACME connection itself (Pebble, private CAs).
    pub ca_bundle: Option<PathBuf>,
    /// Contact URLs (`mailto:…`).
    pub contact: Vec<String>,
    /// Whether the terms of service were agreed to.
    pub agree_to_terms: bool,
    /// The profile asked for where a certificate does not say.
    pub profile: Option<String>,
    /// External account binding (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// The limits on orders, from the shipped table or the configuration.
    pub budget: Budget,
    /// How many of this issuer's orders may be open at once.
    pub parallel: usize,
    /// Where `--dry-run` goes.
    pub dry_run: Option<Rehearsal>,
}

impl Issuer {
    /// The digest of all that is configured here: trouble with other settings is no trouble with these.
    #[must_use]
    pub fn settings(&self) -> Digest {
        let hmac = self.external_account.as_ref().map_or("", |external| external.hmac.reveal());
        sha256(&[format!("{self:?}").as_bytes(), hmac.as_bytes()])
    }
}

/// Trust anchors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// The machine's own.
    System,
    /// A PEM file.
    File(PathBuf),
    /// Not known, and said so: only for a rehearsal without `roots`.
    Unchecked,
}

/// A key id and MAC key that the CA handed out beforehand.
#[derive(Debug, Clone)]
pub struct ExternalAccount {
    /// The key identifier.
    pub kid: String,
    /// The MAC key, base64url.
    pub hmac: Secret,
}

/// A staging directory for `--dry-run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// Its URL.
    pub directory: String,
    /// What its certificates chain to.
    pub roots: Roots,
    /// Extra roots for the connection itself.
    pub ca_bundle: Option<PathBuf>,
    /// The profile, where the staging directory's differs.
    pub profile: Option<String>,
}

/// Token buckets on orders. Shipped for known directories; an unknown one has backoff only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budget {
    /// Certificates for one exact set of names.
    pub per_set: Option<Quota>,
    /// Certificates for one registered domain.
    pub per_domain: Option<Quota>,
    /// Orders of the account.
    pub per_account: Option<Quota>,
    /// How many of each the CA itself allows within the same spans, where that is known: what `--force` stops at.
    pub allowed: Allowed,
}

/// What a CA allows, automatic or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Certificates for one exact set of names.
    pub per_set: Option<u32>,
    /// Certificates for one registered domain.
    pub per_domain: Option<u32>,
    /// Orders of the account.
    pub per_account: Option<u32>,
}

/// So many in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many an automatic run may use.
    pub count: u32,
    /// Within this span.
    pub per: Duration,
}

/// One certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Its name.
    pub name: CertName,
    /// The names it was known by before (`was:`), whose lineage it adopts.
    pub was: Option<CertName>,
    /// The identifiers, in the order written; at least one, no duplicates.
    pub names: Vec<Identifier>,
    /// Who issues it.
    pub issuer: IssuerName,
    /// The profile asked for: the certificate's own or its issuer's.
    pub profile: Option<String>,
    /// The key's algorithm.
    pub key: KeyAlgorithm,
    /// Whether a renewal keeps the key.
    pub reuse_key: bool,
    /// What the certificate is for.
    pub usage: Usage,
    /// How control of each identifier is proved.
    pub solvers: BTreeMap<Identifier, Solver>,
    /// Where it goes.
    pub nodes: Vec<NodeName>,
    /// Where it must be served.
    pub endpoints: Vec<Endpoint>,
    /// What proves that it is live.
    pub confirm: Confirm,
    /// In which order nodes get it.
    pub rollout: Rollout,
    /// Owner, group and modes in the live directory.
    pub access: Access,
    /// Further files to write, on the local node.
    pub files: Vec<ExtraFile>,
    /// Hooks of the certificate's own.
    pub hooks: CertHooks,
    /// Publish a self-signed pair until the first certificate is there.
    pub placeholder: bool,
    /// Who is told; all notifiers when empty.
    pub notify: Vec<NotifierName>,
}

impl Certificate {
    /// The digest of what an order depends on: another one means that another certificate is wanted.
    #[must_use]
    pub fn digest(&self, issuer: &Issuer) -> SpecDigest {
        let names: BTreeSet<String> = self.names.iter().map(ToString::to_string).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(",");
        let key = format!("{:?}", self.key);
        let usage = format!("{:?}", self.usage);
        let parts = [names.as_str(), &key, self.profile.as_deref().unwrap_or(""), &issuer.directory, &usage];
        sha256(&[parts.join("\n").as_bytes()])
    }

    /// The digest of the set of names alone: what duplicate limits count by.
    #[must_use]
    pub fn names_digest(&self) -> Digest {
        Identifier::set_digest(&self.names)
    }
}

/// A leaf key's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// ECDSA on P-384.
    #[serde(rename = "ecdsa-p384")]
    EcdsaP384,
    /// RSA, 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA, 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA, 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
}

impl KeyAlgorithm {
    /// The family servers choose by.
    #[must_use]
    pub const fn family(self) -> KeyFamily {
        match self {
            Self::EcdsaP256 | Self::EcdsaP384 => KeyFamily::Ecdsa,
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => KeyFamily::Rsa,
        }
    }
}

/// What a certificate must be good for (`use:`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Usage {
    /// TLS servers.
    #[default]
    Server,
    /// TLS clients.
    Client,
    /// Both.
    Both,
}

/// How control of an identifier is proved.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Solver {
    /// http-01 (RFC 8555 §8.3).
    Http01(Http01),
    /// tls-alpn-01 (RFC 8737), by a listener of everleaf's own while challenges are up.
    TlsAlpn01 {
        /// Where it listens: port 443, or wherever that is passed on to by ALPN.
        listen: Vec<SocketAddr>,
    },
    /// dns-01 (RFC 8555 §8.4).
    Dns01(Dns01),
}

impl Solver {
    /// The challenge it answers, as CAs call it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http01(_) => "http-01",
            Self::TlsAlpn01 { .. } => "tls-alpn-01",
            Self::Dns01(_) => "dns-01",
        }
    }
}

/// Who answers `GET /.well-known/acme-challenge/TOKEN`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Http01 {
    /// A listener of everleaf's own, while challenges are up.
    Listen(Vec<SocketAddr>),
    /// Files below `DIR/.well-known/acme-challenge/`, served by the user's server.
    Webroot(PathBuf),
    /// Every edge answers `TOKEN.THUMBPRINT` by a rule of its own; nothing is put up.
    Stateless,
}

/// TXT records by a hook.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Dns01 {
    /// Called with `present` and `cleanup`, all values of a name at once.
    pub hook: Hook,
    /// How long the zone's authoritative servers may take to serve the values.
    pub propagation: Duration,
}

/// A place where a certificate must be served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Where to connect.
    pub target: Target,
    /// The name asked for; an IP address asks without SNI.
    pub sni: Identifier,
    /// The node behind it, when known: only its reload is repeated when this endpoint lags.
    pub node: Option<NodeName>,
    /// How TLS begins.
    pub starttls: StartTls,
    /// What counts as confirmed.
    pub expect: Expect,
    /// From where it is looked at.
    pub from: Vantage,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.target {
            Target::Address(address) => write!(f, "{address} ({})", self.sni)?,
            Target::Host { host, port } => write!(f, "{host}:{port} ({})", self.sni)?,
        }
        match &self.from {
            Vantage::Here => Ok(()),
            there @ Vantage::Ssh(_) => write!(f, " from {there}"),
        }
    }
}

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// An address.
    Address(SocketAddr),
    /// Every A and AAAA of a host.
    Host {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
}

/// How TLS begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartTls {
    /// At once.
    #[default]
    No,
    /// After SMTP's STARTTLS (RFC 3207).
    Smtp,
    /// After IMAP's STARTTLS (RFC 9051).
    Imap,
    /// After POP3's STLS (RFC 2595 §4).
    Pop3,
    /// After PostgreSQL's `SSLRequest`.
    Postgres,
    /// After the greeting of MySQL and MariaDB.
    Mysql,
    /// After LDAP's extended operation `StartTLS` (RFC 4511 §4.14).
    Ldap,
}

impl StartTls {
    /// What people write for each.
    pub const WORDS: [(&'static str, Self); 7] = [
        ("none", Self::No),
        ("smtp", Self::Smtp),
        ("imap", Self::Imap),
        ("pop3", Self::Pop3),
        ("postgres", Self::Postgres),
        ("mysql", Self::Mysql),
        ("ldap", Self::Ldap),
    ];
}

/// What counts as confirmed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expect {
    /// The wanted leaf and its complete chain.
    #[default]
    Leaf,
    /// Any valid certificate for the name: a CDN that terminates with its own.
    Valid,
}

/// What proves that a certificate is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// Nothing: shown as `installed, unproven`, never as live. Must be written.
    None,
    /// Several fresh handshakes.
    Handshakes(Handshakes),
}

/// How many looks make a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshakes {
    /// How many in a row must show the wanted leaf; one old leaf starts the count anew.
    pub count: u32,
    /// Over at least this span.
    pub over: Duration,
    /// How long old workers may still answer after a reload.
    pub drain: Duration,
    /// How often a confirmed endpoint is looked at again (drift).
    pub every: Duration,
}

/// In which order nodes get a new generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// These first; the others wait until they are confirmed.
    pub canaries: Vec<NodeName>,
    /// Then so many at a time.
    pub parallel: usize,
    /// How long to wait before the next ones once those are through; with none, one begins as soon as another is through.
    pub pause: Duration,
    /// How many nodes may fail. When one more does, those that have not begun wait. Any number when not given.
    pub max_failures: Option<usize>,
    /// Whether a broken canary goes back by itself (only during a roll-out, and only what our own publishing broke).
    pub roll_back: bool,
}

/// Owner, group and modes of published files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Owner, when not everleaf's own user.
    pub owner: Option<String>,
    /// Group, when not everleaf's own.
    pub group: Option<String>,
    /// Mode of `privkey.pem` and `bundle.pem`.
    pub key_mode: u32,
    /// Mode of the files without a key.
    pub cert_mode: u32,
    /// Mode of the directories.
    pub dir_mode: u32,
}

impl Access {
    /// The bits that the mode of a file with a key may have.
    pub const KEY_MODES: u32 = 0o660;
    /// The bits that the mode of a file without one may have.
    pub const CERT_MODES: u32 = 0o664;
    /// The bits that a directory's mode may have.
    pub const DIR_MODES: u32 = 0o775;

    /// What is said of it, with what is usual where nothing is; who names a group wants it to read the key.
    #[must_use]
    pub fn of(owner: Option<String>, group: Option<String>, [key, cert, dir]: [Option<u32>; 3]) -> Self {
        let key_mode = key.unwrap_or(if group.is_some() { 0o640 } else { 0o600 });
        Self { owner, group, key_mode, cert_mode: cert.unwrap_or(0o644), dir_mode: dir.unwrap_or(0o755) }
    }
}

/// A further file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraFile {
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub content: FileContent,
    /// Owner.
    pub owner: Option<String>,
    /// Group.
    pub group: Option<String>,
    /// Mode.
    pub mode: u32,
}

/// What an extra file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileContent {
    /// The leaf.
    Cert,
    /// The intermediates.
    Chain,
    /// Leaf and intermediates.
    Fullchain,
    /// The key.
    Privkey,
    /// Key, leaf, intermediates.
    Bundle,
}

/// A certificate's own hooks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertHooks {
    /// Before an order.
    pub pre: Option<Hook>,
    /// After the files were published on the local node.
    pub deploy: Vec<Hook>,
    /// After an order, also after one that failed or crashed.
    pub post: Option<Hook>,
}

/// Who is told, and how.
#[derive(Debug, Clone)]
pub struct Notifier {
    /// Its name.
    pub name: NotifierName,
    /// How.
    pub kind: NotifierKind,
}

/// How people are told.
#[derive(Debug, Clone)]
pub enum NotifierKind {
    /// A command with the JSON event on stdin.
    Exec(Hook),
    /// An HTTP POST of the JSON event.
    Webhook {
        /// Where to.
        url: Secret,
        /// The key of the `X-Everleaf-Signature` header (HMAC-SHA-256).
        hmac: Option<Secret>,
    },
}

/// A dead-man's switch: `URL/start` when a run starts, `URL` when it ended well, `URL/fail` when it did not.
#[derive(Debug, Clone)]
pub struct Ping {
    /// The base URL, which is a capability and therefore a secret.
    pub url: Secret,
}
