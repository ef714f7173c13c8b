//! Pebble with its challtestsrv: an ACME server with ARI, a DNS server, and knobs.

use super::http::{self, Reply, posting};
use super::process::{Daemon, free_port, host, repository, run, scratch};
use super::self_signed;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How Pebble is to behave. The default is the quiet one: no bad nonces, no reused authorizations, no waits.
#[derive(Debug, Clone)]
pub(crate) struct PebbleOptions {
    /// Its profiles: name → validity in seconds. Always ask for one: without, Pebble picks by chance.
    pub(crate) profiles: BTreeMap<String, u64>,
    /// Per cent of requests refused with `badNonce`.
    pub(crate) bad_nonces: u32,
    /// Per cent of new orders for which an authorization that is still valid is used again.
    pub(crate) authz_reuse: u32,
    /// How many intermediates a chain has.
    pub(crate) chain_length: u32,
    /// How many further roots there are, each with a chain of its own (`Link: rel="alternate"`).
    pub(crate) alternate_roots: u32,
    /// `rsa` or `ecdsa`; Pebble hands out its issuing key only with `rsa`.
    pub(crate) key_algorithm: &'static str,
    /// External account binding keys, key id → base64url MAC key. Required when there are any.
    pub(crate) external_account_keys: BTreeMap<String, String>,
    /// Names that are refused.
    pub(crate) blocklist: Vec<String>,
    /// `Retry-After` in seconds on authorizations and on orders.
    pub(crate) retry_after: (u32, u32),
    /// How challenges are validated.
    pub(crate) validation: Validation,
    /// Whether Pebble runs with `-strict`.
    pub(crate) strict: bool,
    /// Whether challtestsrv answers http-01 at [`Pebble::http01`]. Without, the port is free for a listener of one's own.
    pub(crate) serve_http01: bool,
    /// What challtestsrv resolves every name to.
    pub(crate) default_ipv4: Ipv4Addr,
    /// Another DNS server than challtestsrv.
    pub(crate) dns: Option<SocketAddr>,
    /// Where http-01 is looked for; a free port otherwise.
    pub(crate) http_port: Option<u16>,
}

/// How Pebble validates challenges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validation {
    /// At once.
    Prompt,
    /// After 0…15 s, which is Pebble's own default.
    Slow,
    /// Not at all: every challenge counts as proved.
    Never,
}

impl Default for PebbleOptions {
    fn default() -> Self {
        let profiles = [("default", 90 * 86_400), ("tlsserver", 45 * 86_400), ("shortlived", 160 * 3_600)];
        Self {
            profiles: profiles.map(|(name, validity)| (name.to_owned(), validity)).into(),
            bad_nonces: 0,
            authz_reuse: 0,
            chain_length: 1,
            alternate_roots: 0,
            key_algorithm: "ecdsa",
            external_account_keys: BTreeMap::new(),
            blocklist: Vec::new(),
            retry_after: (1, 1),
            validation: Validation::Prompt,
            strict: false,
            serve_http01: true,
            default_ipv4: host(),
            dns: None,
            http_port: None,
        }
    }
}

/// A running Pebble with its challtestsrv.
pub(crate) struct Pebble {
    daemon: Daemon,
    /// Its DNS server and challenge responder.
    pub(crate) challenges: Challtestsrv,
    options: PebbleOptions,
    program: PathBuf,
    acme: SocketAddr,
    management: SocketAddr,
    http01: SocketAddr,
    tls_alpn01: SocketAddr,
    root: String,
    dir: tempfile::TempDir,
}

impl Pebble {
    /// Starts both, on ports of their own, with a TLS certificate of their own.
    pub(crate) fn start(options: PebbleOptions) -> Self {
        let (program, challtestsrv) = install();
        let dir = scratch("pebble");
        let at = |port| SocketAddr::from((host(), port));
        let (acme, management) = (at(free_port()), at(free_port()));
        let http01 = at(options.http_port.unwrap_or_else(free_port));
        let tls_alpn01 = at(free_port());
        let (root, key) = self_signed(&["localhost", &host().to_string()]);
        fs::write(dir.path().join("cert.pem"), &root).expect("a file");
        fs::write(dir.path().join("key.pem"), key).expect("a file");
        let challenges = Challtestsrv::start(&challtestsrv, dir.path(), &options, http01);
        let config = configuration(&options, dir.path(), acme, management, [http01.port(), tls_alpn01.port()]);
        fs::write(dir.path().join("pebble.json"), config.to_string()).expect("a file");
        let dns = options.dns.unwrap_or(challenges.dns);
        let daemon = spawn(&program, &options, dir.path(), dns);
        let mut pebble = Self { daemon, challenges, options, program, acme, management, http01, tls_alpn01, root, dir };
        pebble.await_ready();
        pebble
    }

    /// Ends Pebble and starts it again at the same place: with a new CA, and without accounts, orders and certificates.
    pub(crate) fn restart(&mut self) {
        self.daemon.stop();
        let dns = self.options.dns.unwrap_or(self.challenges.dns);
        self.daemon = spawn(&self.program, &self.options, self.dir.path(), dns);
        self.await_ready();
    }

    /// Ends Pebble; [`Pebble::restart`] brings it back.
    pub(crate) fn stop(&mut self) {
        self.daemon.stop();
    }

    fn await_ready(&mut self) {
        let (acme, root) = (self.acme, self.root.clone());
        self.daemon.await_ready(|| fetch(acme, &root, "/dir").is_ok_and(|reply| reply.status == 200));
    }

    /// Its directory, as JSON.
    pub(crate) fn offers(&self) -> Value {
        let reply = fetch(self.acme, &self.root, "/dir").expect("Pebble");
        serde_json::from_str(&reply.body).expect("JSON")
    }

    /// The directory's URL.
    pub(crate) fn directory(&self) -> String {
        format!("https://{}/dir", self.acme)
    }

    /// Where the ACME server listens: for a proxy before it.
    pub(crate) fn acme(&self) -> SocketAddr {
        self.acme
    }

    /// Where http-01 is looked for.
    pub(crate) fn http01(&self) -> SocketAddr {
        self.http01
    }

    /// Where tls-alpn-01 is looked for.
    pub(crate) fn tls_alpn01(&self) -> SocketAddr {
        self.tls_alpn01
    }

    /// What the HTTPS connection to the directory chains to, PEM.
    pub(crate) fn tls_root(&self) -> &str {
        &self.root
    }

    /// The same as a file, for `ca_bundle:`.
    pub(crate) fn tls_root_file(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// The directory of this Pebble's files and logs.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What its certificates chain to, PEM; 0 is the default root, others are the alternates.
    pub(crate) fn issuing_root(&self, number: u32) -> String {
        self.managed(&format!("/roots/{number}")).body
    }

    /// The issuing root as a file, for `roots:`.
    pub(crate) fn issuing_root_file(&self) -> PathBuf {
        let path = self.dir.path().join("issuing-root.pem");
        fs::write(&path, self.issuing_root(0)).expect("a file");
        path
    }

    /// The intermediate of root `number`, PEM.
    pub(crate) fn intermediate(&self, number: u32) -> String {
        self.managed(&format!("/intermediates/{number}")).body
    }

    /// The key of that intermediate, PEM; only with `key_algorithm: "rsa"`.
    pub(crate) fn intermediate_key(&self, number: u32) -> String {
        self.managed(&format!("/intermediate-keys/{number}")).body
    }

    /// A certificate's status by its serial number (hexadecimal), as JSON.
    pub(crate) fn status(&self, serial: &str) -> Value {
        serde_json::from_str(&self.managed(&format!("/cert-status-by-serial/{serial}")).body).expect("JSON")
    }

    /// What ARI answers for a leaf (PEM) from now on, as it stands; empty text brings the default back.
    pub(crate) fn set_renewal_info(&self, leaf: &str, answer: &str) {
        let body = json!({ "certificate": leaf, "ariResponse": answer }).to_string();
        let request = posting(self.management, "/set-renewal-info/", &body);
        let reply = http::request(self.management, Some(&self.root), &request).expect("Pebble's management port");
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    /// The suggested window of a leaf (PEM): RFC 3339 times.
    pub(crate) fn set_window(&self, leaf: &str, start: &str, end: &str) {
        self.set_renewal_info(leaf, &json!({ "suggestedWindow": { "start": start, "end": end } }).to_string());
    }

    /// What Pebble has printed.
    pub(crate) fn log(&self) -> String {
        self.daemon.log()
    }

    /// How many orders Pebble has taken, by its own log.
    pub(crate) fn orders(&self) -> usize {
        self.log().matches("Added order ").count()
    }

    /// How many certificates Pebble has issued, by its own log.
    pub(crate) fn issued(&self) -> usize {
        self.log().matches("Issued certificate serial ").count()
    }

    fn managed(&self, path: &str) -> Reply {
        let reply = fetch(self.management, &self.root, path).expect("Pebble's management port");
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        reply
    }
}

/// Pebble answers nobody who does not name himself.
fn fetch(address: SocketAddr, root: &str, path: &str) -> io::Result<Reply> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nUser-Agent: everleaf-tests\r\n\r\n");
    http::request(address, Some(root), &request)
}

/// Where Pebble and challtestsrv are; fetched on first use.
fn install() -> (PathBuf, PathBuf) {
    let printed = run(&mut Command::new(repository().join("pebble/install")), None);
    let path = |key: &str| {
        let value = printed.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        PathBuf::from(value.unwrap_or_else(|| panic!("pebble/install named no {key}:\n{printed}")))
    };
    (path("pebble"), path("challtestsrv"))
}

fn configuration(
    options: &PebbleOptions,
    dir: &Path,
    acme: SocketAddr,
    management: SocketAddr,
    [http_port, tls_port]: [u16; 2],
) -> Value {
    let profile = |(name, validity): (&String, &u64)| {
        (name.clone(), json!({ "description": format!("{validity} seconds"), "validityPeriod": validity }))
    };
    json!({ "pebble": {
        "listenAddress": acme,
        "managementListenAddress": management,
        "certificate": dir.join("cert.pem"),
        "privateKey": dir.join("key.pem"),
        "httpPort": http_port,
        "tlsPort": tls_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": !options.external_account_keys.is_empty(),
        "externalAccountMACKeys": options.external_account_keys,
        "domainBlocklist": options.blocklist,
        "keyAlgorithm": options.key_algorithm,
        "profiles": options.profiles.iter().map(profile).collect::<BTreeMap<_, _>>(),
        "retryAfter": { "authz": options.retry_after.0, "order": options.retry_after.1 },
    }})
}

fn spawn(program: &Path, options: &PebbleOptions, dir: &Path, dns: SocketAddr) -> Daemon {
    let mut command = Command::new(program);
    command.arg("-config").arg(dir.join("pebble.json")).args(["-dnsserver", &dns.to_string()]);
    command.args(options.strict.then_some("-strict"));
    command.env("PEBBLE_WFE_NONCEREJECT", options.bad_nonces.to_string());
    command.env("PEBBLE_AUTHZREUSE", options.authz_reuse.to_string());
    command.env("PEBBLE_CHAIN_LENGTH", options.chain_length.to_string());
    command.env("PEBBLE_ALTERNATE_ROOTS", options.alternate_roots.to_string());
    let flag = |set: bool| if set { "1" } else { "0" };
    command.env("PEBBLE_VA_NOSLEEP", flag(options.validation != Validation::Slow));
    command.env("PEBBLE_VA_ALWAYS_VALID", flag(options.validation == Validation::Never));
    Daemon::spawn("pebble", &command, dir)
}

/// Pebble's companion: a DNS server whose answers are set by request, and an http-01 responder.
pub(crate) struct Challtestsrv {
    daemon: Daemon,
    /// Its DNS server, UDP and TCP.
    pub(crate) dns: SocketAddr,
    management: SocketAddr,
}

impl Challtestsrv {
    fn start(program: &Path, dir: &Path, options: &PebbleOptions, http01: SocketAddr) -> Self {
        let at = || SocketAddr::from((host(), free_port()));
        let (dns, management) = (at(), at());
        let served = if options.serve_http01 { http01.to_string() } else { String::new() };
        let mut command = Command::new(program);
        command.args(["-dnsserver", &dns.to_string(), "-management", &management.to_string()]);
        command.args(["-http01", &served, "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""]);
        command.args(["-defaultIPv4", &options.default_ipv4.to_string()]);
        let mut daemon = Daemon::spawn("challtestsrv", &command, dir);
        daemon.await_port(management);
        daemon.await_port(dns);
        Self { daemon, dns, management }
    }

    /// Serves a key authorization for a token at [`Pebble::http01`].
    pub(crate) fn add_http01(&self, token: &str, key_authorization: &str) {
        self.tell("add-http01", &json!({ "token": token, "content": key_authorization }));
    }

    /// Takes it down.
    pub(crate) fn del_http01(&self, token: &str) {
        self.tell("del-http01", &json!({ "token": token }));
    }

    /// Adds a TXT value to `name` (without the trailing dot).
    pub(crate) fn add_txt(&self, name: &str, value: &str) {
        self.tell("set-txt", &json!({ "host": format!("{name}."), "value": value }));
    }

    /// Removes all TXT values of `name`.
    pub(crate) fn clear_txt(&self, name: &str) {
        self.tell("clear-txt", &json!({ "host": format!("{name}.") }));
    }

    /// The A records of `name`, in place of the default.
    pub(crate) fn set_a(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.tell("add-a", &json!({ "host": name, "addresses": addresses }));
    }

    /// Makes `name` an alias of `target`.
    pub(crate) fn set_cname(&self, name: &str, target: &str) {
        self.tell("set-cname", &json!({ "host": name, "target": target }));
    }

    /// Answers SERVFAIL for `name`.
    pub(crate) fn set_servfail(&self, name: &str) {
        self.tell("set-servfail", &json!({ "host": name }));
    }

    /// Where [`Challtestsrv::add_txt`] and the others send their requests: for hooks of one's own.
    pub(crate) fn management(&self) -> SocketAddr {
        self.management
    }

    fn tell(&self, verb: &str, body: &Value) {
        let reply = http::post(self.management, &format!("/{verb}"), &body.to_string()).expect("challtestsrv");
        assert_eq!(reply.status, 200, "{verb} {body}: {}", reply.body);
    }
}
