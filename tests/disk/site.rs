//! Scratch directories with what the tests publish and append, and what they expect to find.

use everleaf::config::spec::{Access, Paths};
use everleaf::ports::{Clock, Journal, Loaded, Pending, Scope};
use everleaf::publish::{Done, Files, Target, publish};
use everleaf::state::StateRoot;
use everleaf::types::{CertName, Epoch, Failure, GenId, Secret, Seq, Timestamp, sha256};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// The names in a live directory.
pub(crate) const NAMES: [&str; 5] = ["privkey.pem", "bundle.pem", "cert.pem", "chain.pem", "fullchain.pem"];

/// A test's own directories.
pub(crate) struct Site {
    root: PathBuf,
    _temp: Option<tempfile::TempDir>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().expect("a temporary directory");
        Self { root: temp.path().to_owned(), _temp: Some(temp) }
    }

    /// One that another process made.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), _temp: None }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The certificate's live directory.
    pub(crate) fn live(&self) -> PathBuf {
        self.root.join("live/shop")
    }

    /// Publishes generation `number`.
    pub(crate) fn publish(&self, number: u32, epoch: u64) -> Result<Done, Failure> {
        let access = Access { owner: None, group: None, key_mode: 0o640, cert_mode: 0o644, dir_mode: 0o755 };
        let live = self.root.join("live");
        let [cert, chain] = [format!("CERT {number}\n"), format!("CHAIN {number}\n")];
        let privkey = Secret::new(format!("KEY {number}\n"));
        let generation = generation(number);
        let files = Files { generation, cert: &cert, chain: &chain, privkey: &privkey };
        publish(&Target { live: &live, name: &shop(), access: &access }, &files, Epoch(epoch))
    }

    /// What each name shows; names that lead nowhere are left out.
    pub(crate) fn shown(&self) -> BTreeMap<&'static str, String> {
        NAMES.into_iter().filter_map(|name| Some((name, fs::read_to_string(self.live().join(name)).ok()?))).collect()
    }

    /// Everything in the directory of generation `number`.
    pub(crate) fn generation_files(&self, number: u32) -> BTreeMap<String, Vec<u8>> {
        let dir = self.live().join(format!("..gen-{}", generation(number)));
        let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("an entry"));
        entries
            .map(|entry| (entry.file_name().into_string().expect("text"), fs::read(entry.path()).expect("readable")))
            .collect()
    }

    /// Temporaries left in the live directory.
    pub(crate) fn temporaries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.live()).into_iter().flatten().map(|entry| entry.expect("an entry"));
        let names = entries.map(|entry| entry.file_name().into_string().expect("text"));
        names.filter(|name| name.starts_with("..tmp")).collect()
    }

    pub(crate) fn state(&self) -> StateRoot {
        let below = |name: &str| self.root.join(name);
        let paths = Paths { state: below("state"), live: below("live"), run: below("run") };
        StateRoot::open(&paths, Rc::new(Stopped)).expect("the state opens")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("state/certs/shop/journal.jsonl")
    }

    pub(crate) fn load(&self) -> Loaded {
        self.state().load(&scope(), Seq(0)).expect("the journal loads")
    }
}

/// What every name shows once generation `number` is published.
pub(crate) fn showing(number: u32) -> BTreeMap<&'static str, String> {
    let [key, cert, chain] = ["KEY", "CERT", "CHAIN"].map(|what| format!("{what} {number}\n"));
    let contents = [key.clone(), format!("{key}{cert}{chain}"), cert.clone(), chain.clone(), format!("{cert}{chain}")];
    NAMES.into_iter().zip(contents).collect()
}

pub(crate) fn generation(number: u32) -> GenId {
    GenId::new(number, &sha256(&[&number.to_be_bytes()]))
}

pub(crate) fn scope() -> Scope {
    Scope::Certificate(shop())
}

fn shop() -> CertName {
    CertName::new("shop").expect("a name")
}

/// Two events that are appended together.
pub(crate) fn pair(n: u64) -> Vec<Value> {
    vec![json!({"n": n}), json!({"n": n + 1, "text": "x".repeat(9000)})]
}

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }
    fn sleep(&self, _: Duration) -> Pending<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
