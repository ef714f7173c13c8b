//! A machine with a CA, a configuration, and an agent that works on it in bursts, as `run` would.

use crate::rig::{Pebble, PebbleOptions, scratch};
use everleaf::agent::{Agent, CertificateReport, Observer, Report, Settings};
use everleaf::config;
use everleaf::core::{Ask, Event, Horizon, Work};
use everleaf::ports::{Memory, Request};
use everleaf::types::{CertName, RequestId};
use everleaf::wire::wire;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

pub(crate) struct Scene {
    pub(crate) pebble: Pebble,
    pub(crate) dir: tempfile::TempDir,
    requests: Cell<u8>,
}

struct Silent;

impl Observer for Silent {
    fn began(&self, _: &Work) {}
    fn happened(&self, _: &CertName, _: &Event) {}
}

impl Scene {
    pub(crate) fn new(options: PebbleOptions) -> Self {
        Self { pebble: Pebble::start(options), dir: scratch("main-job"), requests: Cell::new(0) }
    }

    /// A Pebble that asks our own listener.
    pub(crate) fn with_listener() -> Self {
        Self::new(PebbleOptions { serve_http01: false, ..PebbleOptions::default() })
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    /// What every configuration here begins with.
    pub(crate) fn preamble(&self) -> String {
        let here = self.dir.path().display();
        format!(
            "version: 1\npaths: {{ state: {here}/state, live: {here}/live, run: {here}/run }}\nresolvers: [\"{}\"]\n\
             issuers:\n  pebble: {{ directory: \"{}\", ca_bundle: {}, roots: {}, agree_to_terms: true, profile: tlsserver }}\n",
            self.pebble.challenges.dns,
            self.pebble.directory(),
            self.pebble.tls_root_file().display(),
            self.pebble.issuing_root_file().display(),
        )
    }

    pub(crate) fn solver(&self) -> String {
        format!("solver: {{ http-01: {{ listen: \"{}\" }} }}", self.pebble.http01())
    }

    /// One burst over everything, with the configuration `yaml`.
    pub(crate) fn burst(&self, yaml: &str) -> Report {
        let spec = Rc::new(self.spec(yaml));
        let names: Vec<CertName> = spec.certificates.keys().cloned().collect();
        let wired = wire(&spec, vec!["everleaf".into(), "run".into()]).expect("adapters");
        let horizon = Horizon { span: Duration::ZERO, issue: true };
        let settings = Settings { horizon, deadline: Duration::from_secs(90), rehearsal: false, host: "here".into() };
        let agent = Agent::new(spec, wired.ports, settings, Rc::new(Silent));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(agent.burst(&names)).expect("a burst")
    }

    /// Drops a request, as a command does.
    pub(crate) fn ask(&self, yaml: &str, name: &str, ask: &Ask) {
        let wired = wire(&self.spec(yaml), Vec::new()).expect("adapters");
        self.requests.set(self.requests.get() + 1);
        let id = RequestId::from_random([self.requests.get(); 16]);
        let ask = serde_json::to_value(ask).expect("JSON");
        let request = Request { id, by: "the test".into(), ask };
        wired.state.drop_request(&name.parse().expect("a name"), &request).expect("a request");
    }

    /// Forgets what was seen of a certificate: it may be lost at the price of one more look.
    pub(crate) fn forget_seen(&self, name: &str) {
        fs::remove_file(self.path(&format!("state/certs/{name}/seen.json"))).expect("seen.json");
    }

    fn spec(&self, yaml: &str) -> config::spec::Spec {
        let path = self.path("everleaf.yaml");
        fs::write(&path, yaml).expect("a file");
        config::load(&path).unwrap_or_else(|errors| panic!("{errors}")).spec
    }
}

/// The report on one certificate.
pub(crate) fn of<'a>(report: &'a Report, name: &str) -> &'a CertificateReport {
    &report.certificates[&name.parse::<CertName>().expect("a name")]
}

/// A self-signed pair where a server will look for its certificate.
pub(crate) fn left_behind(live: &Path) {
    fs::create_dir_all(live).expect("a directory");
    let (cert, key) = crate::rig::self_signed(&["shop.example.com"]);
    fs::write(live.join("fullchain.pem"), &cert).expect("a file");
    fs::write(live.join("privkey.pem"), &key).expect("a file");
    fs::write(live.join("bundle.pem"), format!("{key}{cert}")).expect("a file");
}
