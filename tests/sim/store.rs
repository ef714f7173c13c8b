//! What survives a process: journals, keys, generations, requests; and what need not: sightings.

use crate::dice::Dice;
use crate::faults::Fault;
use crate::forge::{FakeCertificate, read_pem};
use crate::world::{Peer, State};
use everleaf::config::spec::KeyAlgorithm;
use everleaf::ports::{
    About, AnyGeneration, AppendError, Criteria, Download, Generations, Holder, Journal, Keys, Loaded, LockError,
    LockGuard, Locks, Material, Memory, Pending, Record, Request, Scope, Verdict, Violation,
};
use everleaf::types::{
    CertName, Class, Failure, Fingerprint, GenId, Identifier, KeyId, RequestId, Secret, Seq, Timestamp, sha256,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) journals: BTreeMap<Scope, Vec<Record>>,
    pub(crate) seen: BTreeMap<CertName, Value>,
    pub(crate) requests: BTreeMap<CertName, Vec<Request>>,
    pub(crate) keys: BTreeMap<(CertName, KeyId), KeyAlgorithm>,
    pub(crate) generations: BTreeMap<(CertName, GenId), Stored>,
    /// Who holds what.
    pub(crate) locks: BTreeMap<CertName, (u32, Timestamp)>,
    /// Journals that the next reader finds damaged.
    damaged: BTreeSet<Scope>,
    /// Journals that were set aside.
    set_aside: BTreeSet<Scope>,
    seed: [u8; 32],
}

/// A generation on disk.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) about: About,
    pub(crate) certificate: FakeCertificate,
    pub(crate) pem: String,
    pub(crate) served: Vec<Fingerprint>,
}

impl Store {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&dice.octets());
        Self {
            journals: BTreeMap::new(),
            seen: BTreeMap::new(),
            requests: BTreeMap::new(),
            keys: BTreeMap::new(),
            generations: BTreeMap::new(),
            locks: BTreeMap::new(),
            damaged: BTreeSet::new(),
            set_aside: BTreeSet::new(),
            seed,
        }
    }

    pub(crate) fn journal(&self, name: &CertName) -> &[Record] {
        self.journals.get(&Scope::Certificate(name.clone())).map(Vec::as_slice).unwrap_or_default()
    }
}

fn last(records: &[Record]) -> Seq {
    records.last().map_or(Seq(0), |record| record.seq)
}

fn disk(what: &str) -> Failure {
    Failure::new(Class::Retry, "state:enospc", what, "no space left on device")
}

impl Journal for Peer {
    fn load(&self, scope: &Scope, after: Seq) -> Result<Loaded, Failure> {
        let mut store = self.store();
        if store.damaged.remove(scope) {
            store.journals.remove(scope);
            store.set_aside.insert(scope.clone());
            let set_aside = Some("journal.damaged-1.jsonl".into());
            return Ok(Loaded { set_aside, ..Loaded::default() });
        }
        let Some(records) = store.journals.get(scope) else {
            // While no new one is begun, the ledger is still to be rebuilt.
            let set_aside = store.set_aside.contains(scope).then(|| "journal.damaged-1.jsonl".into());
            return Ok(Loaded { restarted: after > Seq(0), set_aside, ..Loaded::default() });
        };
        let first = records.first().map_or(Seq(0), |record| record.seq);
        if after > Seq(0) && (last(records) < after || (first > Seq(1) && after < first)) {
            return Ok(Loaded { restarted: true, ..Loaded::default() });
        }
        let records = records.iter().filter(|record| record.seq > after).cloned().collect();
        Ok(Loaded { records, set_aside: None, restarted: false })
    }

    fn append(&self, scope: &Scope, expect: Seq, at: Timestamp, events: &[Value]) -> Result<Seq, AppendError> {
        let kinds = || events.iter().filter_map(|event| event["kind"].as_str()).collect::<Vec<_>>().join(", ");
        self.point(|| format!("append {} {}", of(scope), kinds()));
        let torn = {
            let store = self.store();
            if store.damaged.contains(scope) {
                let failure = Failure::new(Class::Retry, "state:damaged", "journal", "the journal is damaged");
                return Err(AppendError::Failed(failure));
            }
            let end = store.journals.get(scope).map_or(Seq(0), |records| last(records));
            if end != expect {
                return Err(AppendError::Stale(end));
            }
            drop(store);
            let mut state = self.state();
            if state.disk_is_full() || state.strikes(Fault::AppendFails) {
                return Err(AppendError::Failed(disk("journal")));
            }
            state.strikes(Fault::TornAppend)
        };
        if torn {
            self.die();
        }
        self.point(|| "torn line".to_owned());
        let seq = {
            let mut store = self.store();
            let records = store.journals.entry(scope.clone()).or_default();
            let mut seq = expect;
            for event in events {
                seq = seq.next();
                records.push(Record { seq, at, event: event.clone() });
            }
            drop(store);
            if !self.rehearsal {
                self.state().appended(scope, expect, at, events);
            }
            seq
        };
        self.point(|| "appended".to_owned());
        Ok(seq)
    }

    fn compact(&self, scope: &Scope, expect: Seq, at: Timestamp, snapshot: &Value) -> Result<(), AppendError> {
        self.point(|| format!("compact {}", of(scope)));
        {
            if self.state().disk_is_full() {
                return Err(AppendError::Failed(disk("journal")));
            }
            let mut store = self.store();
            let end = store.journals.get(scope).map_or(Seq(0), |records| last(records));
            if end != expect || store.damaged.contains(scope) {
                return Err(AppendError::Stale(end));
            }
            let snapshot = vec![Record { seq: expect, at, event: snapshot.clone() }];
            store.journals.insert(scope.clone(), snapshot);
            drop(store);
            if !self.rehearsal {
                self.state().compacted(scope);
            }
        }
        self.point(|| "compacted".to_owned());
        Ok(())
    }

    fn certificates(&self) -> Result<Vec<CertName>, Failure> {
        let certificate = |scope: &Scope| match scope {
            Scope::Certificate(name) => Some(name.clone()),
            _ => None,
        };
        Ok(self.store().journals.keys().filter_map(certificate).collect())
    }
}

fn of(scope: &Scope) -> String {
    match scope {
        Scope::Certificate(name) => name.to_string(),
        Scope::Issuer(name) => format!("issuer {name}"),
        Scope::Node(name) => format!("node {name}"),
    }
}

/// A lock of one process.
struct Guard {
    peer: Peer,
    name: CertName,
}

impl LockGuard for Guard {}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut store = self.peer.store();
        let mine = store.locks.get(&self.name).is_some_and(|(pid, _)| *pid == self.peer.pid);
        if mine {
            store.locks.remove(&self.name);
        }
    }
}

impl Locks for Peer {
    fn try_lock(&self, name: &CertName) -> Result<Box<dyn LockGuard>, LockError> {
        let held = self.store().locks.get(name).copied();
        if let Some((pid, since)) = held {
            self.state().count("lock", "held by another process");
            return Err(LockError::Held(Some(Holder { pid, since, command: "everleaf".into() })));
        }
        let now = self.state().now();
        self.store().locks.insert(name.clone(), (self.pid, now));
        Ok(Box::new(Guard { peer: self.clone(), name: name.clone() }))
    }
}

impl Memory for Peer {
    fn seen(&self, name: &CertName) -> Option<Value> {
        self.store().seen.get(name).cloned()
    }

    fn remember(&self, name: &CertName, seen: &Value) {
        self.point(|| format!("remember {name}"));
        if !self.state().disk_is_full() {
            self.store().seen.insert(name.clone(), seen.clone());
            self.state().sightings_are_durable(name);
        }
    }

    fn index(&self) -> Option<Value> {
        None
    }

    fn set_index(&self, _: &Value) {}

    fn requests(&self, name: &CertName) -> Vec<Request> {
        self.store().requests.get(name).cloned().unwrap_or_default()
    }

    fn drop_request(&self, name: &CertName, request: &Request) -> Result<(), Failure> {
        if self.state().disk_is_full() {
            return Err(disk("requests"));
        }
        self.store().requests.entry(name.clone()).or_default().push(request.clone());
        Ok(())
    }

    fn request_journaled(&self, name: &CertName, id: &RequestId) {
        self.point(|| format!("request {id} of {name} is journaled"));
        if self.state().strikes(Fault::RequestStays) {
            return;
        }
        if let Some(requests) = self.store().requests.get_mut(name) {
            requests.retain(|request| request.id != *id);
        }
    }

    fn install_seed(&self) -> Result<[u8; 32], Failure> {
        Ok(self.store().seed)
    }
}

impl Keys for Peer {
    fn make(&self, name: &CertName, algorithm: KeyAlgorithm) -> Pending<'_, Result<KeyId, Failure>> {
        let name = name.clone();
        Box::pin(async move {
            self.point(|| format!("make a key for {name}"));
            let made = {
                let mut state = self.state();
                if state.disk_is_full() || state.strikes(Fault::StoreFails) {
                    return Err(disk("keys"));
                }
                let key = sha256(&[&state.dice.octets()]);
                drop(state);
                self.store().keys.insert((name.clone(), key), algorithm);
                key
            };
            self.point(|| "the key is stored".to_owned());
            Ok(made)
        })
    }

    fn csr(&self, name: &CertName, key: &KeyId, names: &[Identifier]) -> Result<Vec<u8>, Failure> {
        if self.state().strikes(Fault::KeyLost) {
            self.store().keys.remove(&(name.clone(), *key));
        }
        if !self.store().keys.contains_key(&(name.clone(), *key)) {
            return Err(Failure::new(Class::Operator, "key:missing", name.as_str(), "the key is not there"));
        }
        Ok(json!({ "name": name, "key": key, "names": names }).to_string().into_bytes())
    }

    fn discard(&self, name: &CertName, key: &KeyId) -> Result<(), Failure> {
        self.point(|| format!("discard a key of {name}"));
        self.store().keys.remove(&(name.clone(), *key));
        Ok(())
    }
}

impl Generations for Peer {
    fn rescue(&self, _: &CertName, about: &About, _: &everleaf::ports::Rescued) -> Result<(), Failure> {
        Err(Failure::new(
            Class::Operator,
            "generation:damaged",
            about.generation.to_string(),
            "nothing is put back here",
        ))
    }

    fn stage(&self, name: &CertName, download: &Download<'_>) -> Result<About, Failure> {
        self.point(|| format!("stage generation {} of {name}", download.number));
        let about = {
            let mut state = self.state();
            if state.disk_is_full() || state.strikes(Fault::StoreFails) {
                return Err(disk("gen"));
            }
            drop(state);
            self.store().store_generation(name, download)?
        };
        self.point(|| "staged".to_owned());
        Ok(about)
    }

    fn judge(&self, name: &CertName, generation: GenId, criteria: &Criteria<'_>) -> Result<Verdict, Failure> {
        self.point(|| format!("judge {generation} of {name}"));
        let verdict = {
            if self.state().disk_is_full() {
                return Err(disk("gen"));
            }
            let mut store = self.store();
            let stored = store.stored(name, generation)?;
            let violations = stored.violations(criteria.names);
            if violations.is_empty() {
                stored.about.accepted = Some(criteria.now);
                Verdict::Accepted { notes: Vec::new() }
            } else {
                Verdict::Rejected { violations }
            }
        };
        self.point(|| format!("judged {verdict:?}"));
        Ok(verdict)
    }

    fn read(&self, name: &CertName, generation: GenId) -> Result<AnyGeneration, Failure> {
        let stored = self.store().stored(name, generation)?.clone();
        if stored.about.accepted.is_none() {
            return Err(missing("the gate has not accepted it"));
        }
        let dir = format!("/var/lib/everleaf/certs/{name}/gen/{generation}").into();
        let privkey = Secret::new(stored.about.key.to_string());
        let material = Material { cert: stored.pem, chain: String::new(), privkey, served: stored.served };
        Ok(AnyGeneration::new(stored.about, dir, material))
    }

    fn list(&self, name: &CertName) -> Result<Vec<About>, Failure> {
        let store = self.store();
        let mine = store.generations.iter().filter(|((owner, _), _)| owner == name);
        Ok(mine.map(|(_, stored)| stored.about.clone()).collect())
    }

    fn prune(&self, name: &CertName, generation: GenId) -> Result<(), Failure> {
        self.point(|| format!("prune {generation} of {name}"));
        {
            if !self.rehearsal {
                self.state().about_to_prune(name, generation);
            }
            self.store().generations.remove(&(name.clone(), generation));
        }
        self.point(|| "pruned".to_owned());
        Ok(())
    }
}

fn missing(why: &str) -> Failure {
    Failure::new(Class::Operator, "generation:missing", "gen", why)
}

impl State {
    pub(crate) fn disk_is_full(&self) -> bool {
        self.disk_full_until > self.mono
    }

    /// A journal is damaged or gone.
    pub(crate) fn harm(&mut self, scope: &Scope, gone: bool) {
        self.say(|| format!("     !! the journal of {} is {}", of(scope), if gone { "gone" } else { "damaged" }));
        if gone {
            self.store.journals.remove(scope);
        } else {
            self.store.damaged.insert(scope.clone());
        }
        self.forgotten(scope);
    }
}

impl Store {
    fn stored(&mut self, name: &CertName, generation: GenId) -> Result<&mut Stored, Failure> {
        let stored = self.generations.get_mut(&(name.clone(), generation));
        stored.ok_or_else(|| missing("there is no such generation"))
    }

    fn store_generation(&mut self, name: &CertName, download: &Download<'_>) -> Result<About, Failure> {
        let sent = read_pem(download.pem);
        let Some(leaf) = sent.first() else {
            return Err(Failure::new(Class::Operator, "gate:unreadable", name.as_str(), "no certificate in it"));
        };
        let Ok(certificate) = serde_json::from_slice::<FakeCertificate>(leaf) else {
            return Err(Failure::new(Class::Operator, "gate:unreadable", name.as_str(), "no certificate in it"));
        };
        let Some(algorithm) = self.keys.get(&(name.clone(), *download.key)) else {
            return Err(Failure::new(Class::Operator, "key:missing", name.as_str(), "the key is not there"));
        };
        let fingerprint = sha256(&[leaf]);
        let about = About {
            generation: GenId::new(download.number, &fingerprint),
            leaf: fingerprint,
            serial: certificate.serial(),
            key: *download.key,
            family: algorithm.family(),
            validity: certificate.validity,
            names: certificate.names.clone(),
            ari: Some(certificate.ari()),
            issued_by: "sim intermediate".into(),
            issuer: download.issuer.name.clone(),
            directory: download.issuer.directory.clone(),
            rehearsal: download.rehearsal,
            account: download.account.to_owned(),
            spec_digest: download.spec_digest,
            accepted: None,
        };
        let place = (name.clone(), about.generation);
        if let Some(stored) = self.generations.get(&place) {
            return Ok(stored.about.clone());
        }
        let served = sent.iter().map(|der| sha256(&[der])).collect();
        let pem = String::from_utf8_lossy(download.pem).into_owned();
        self.generations.insert(place, Stored { about: about.clone(), certificate, pem, served });
        Ok(about)
    }
}

impl Stored {
    /// What the gate finds: the truth, since the world made the certificate.
    pub(crate) fn violations(&self, names: &[Identifier]) -> Vec<Violation> {
        let mut codes = Vec::new();
        let wanted: BTreeSet<_> = names.iter().collect();
        if self.certificate.names.iter().collect::<BTreeSet<_>>() != wanted {
            codes.push("san_missing");
        }
        if self.certificate.key != self.about.key {
            codes.push("key_mismatch");
        }
        if self.served.len() < 2 {
            codes.push("missing_intermediate");
        }
        let violation = |code: &str| Violation { code: code.to_owned(), message: code.into() };
        codes.into_iter().map(violation).collect()
    }
}
