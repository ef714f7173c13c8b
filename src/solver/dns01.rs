//! dns-01 by a hook: all values of a name at once, then every authoritative server is asked until it serves them.
//!
//! The hook is called with `present` and `cleanup`. Its environment has `EVERLEAF_FQDN` (`_acme-challenge.example.com`),
//! `EVERLEAF_TARGET` (where CNAMEs lead from there; the same where there are none), `EVERLEAF_VALUES` (separated by
//! spaces), `EVERLEAF_DOMAIN` and `EVERLEAF_NAME`; the JSON event has the same as `fqdn`, `target`, `values`, `domain` and
//! `name`. `present` names every value that must be there, also those of other certificates that are up; `cleanup` names
//! those that are to go.

use super::propagation;
use crate::config::spec::{Dns01 as How, Solver};
use crate::hook::{Answer, Call};
use crate::net::dns::Resolver;
use crate::ports::Proof;
use crate::types::{CertName, Class, Failure, sha256};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// CNAMEs followed from `_acme-challenge`: resolvers stop at about as many.
const MAX_ALIASES: usize = 8;

/// The TXT records of this process.
pub(super) struct Dns01 {
    resolver: Rc<Resolver>,
    /// What is up: name of the record → value → the certificates that need it.
    up: RefCell<BTreeMap<String, BTreeMap<String, BTreeSet<CertName>>>>,
    /// Hooks edit zone files and call APIs that overwrite each other: one runs at a time.
    turn: tokio::sync::Mutex<()>,
}

/// A record to put up or take down: what is common to all proofs of one name.
struct Record<'a> {
    fqdn: String,
    domain: String,
    how: &'a How,
    values: BTreeSet<String>,
}

impl Dns01 {
    pub(super) fn new(resolver: Rc<Resolver>) -> Self {
        Self { resolver, up: RefCell::default(), turn: tokio::sync::Mutex::new(()) }
    }

    /// Puts up all values and waits until every authoritative server serves them.
    pub(super) async fn put_up(&self, name: &CertName, proofs: &[Proof]) -> Result<(), Failure> {
        let mut targets = Vec::new();
        let records = records(proofs);
        for record in &records {
            let target = self.target(&record.fqdn).await?;
            let _turn = self.turn.lock().await;
            let all = self.added(name, record);
            self.call("present", name, record, &target, &all).await?;
            targets.push(target);
        }
        let waits = records.iter().zip(&targets).map(|(record, target)| {
            propagation::wait(&self.resolver, &record.fqdn, target, &record.values, record.how.propagation)
        });
        let mut failures = futures_util::future::join_all(waits).await.into_iter().filter_map(Result::err);
        match failures.next() {
            None => Ok(()),
            Some(first) => Err(failures.fold(first, |first, other| first.detail(other.to_string()))),
        }
    }

    /// Takes the values down that no other certificate needs; all are tried, the first failure is answered.
    pub(super) async fn take_down(&self, name: &CertName, proofs: &[Proof]) -> Result<(), Failure> {
        let mut failure: Option<Failure> = None;
        for record in &records(proofs) {
            // Without an answer the hook still gets the name itself, which is where it looks in most zones.
            let target = self.target(&record.fqdn).await.unwrap_or_else(|_| record.fqdn.clone());
            let _turn = self.turn.lock().await;
            let unneeded = self.unneeded(name, record);
            if unneeded.is_empty() {
                continue;
            }
            match self.call("cleanup", name, record, &target, &unneeded).await {
                Ok(()) => self.forget(name, record),
                Err(error) => {
                    failure = Some(match failure {
                        None => error,
                        Some(first) => first.detail(error.to_string()),
                    });
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Where CNAMEs lead from `fqdn`: that is where the CA looks (RFC 8555 §8.4 asks for TXT, and resolvers follow).
    async fn target(&self, fqdn: &str) -> Result<String, Failure> {
        let mut at = fqdn.to_owned();
        for _ in 0..MAX_ALIASES {
            match self.resolver.cname_target(&at).await? {
                Some(next) => at = next,
                None => return Ok(at),
            }
        }
        let message = format!("more than {MAX_ALIASES} CNAMEs follow each other; the last leads to {at}");
        Err(Failure::new(Class::Operator, "dns:alias", fqdn, message).advise("Look for a loop among them."))
    }

    /// Notes the values of `record`, and answers all that must be up at its name.
    fn added(&self, name: &CertName, record: &Record<'_>) -> BTreeSet<String> {
        let mut up = self.up.borrow_mut();
        let at = up.entry(record.fqdn.clone()).or_default();
        for value in &record.values {
            at.entry(value.clone()).or_default().insert(name.clone());
        }
        at.keys().cloned().collect()
    }

    /// The values of `record` that only `name` needs. After a crash nothing is noted, and all of them are.
    fn unneeded(&self, name: &CertName, record: &Record<'_>) -> BTreeSet<String> {
        let up = self.up.borrow();
        let at = up.get(&record.fqdn);
        let others = |value: &String| {
            at.and_then(|at| at.get(value)).is_some_and(|owners| owners.iter().any(|owner| owner != name))
        };
        record.values.iter().filter(|value| !others(value)).cloned().collect()
    }

    fn forget(&self, name: &CertName, record: &Record<'_>) {
        let mut up = self.up.borrow_mut();
        if let Some(at) = up.get_mut(&record.fqdn) {
            at.retain(|value, owners| {
                if record.values.contains(value) {
                    owners.remove(name);
                }
                !owners.is_empty()
            });
        }
        up.retain(|_, at| !at.is_empty());
    }

    async fn call(
        &self,
        event: &'static str,
        name: &CertName,
        record: &Record<'_>,
        target: &str,
        values: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        let joined = values.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let texts = [("name", name.as_str()), ("domain", &record.domain), ("fqdn", &record.fqdn), ("target", target)];
        let mut fields: Map<String, Value> =
            texts.into_iter().map(|(key, text)| (key.to_owned(), text.into())).collect();
        fields.insert("values".to_owned(), values.iter().cloned().collect());
        let place = format!("certificate {name}, {}", record.fqdn);
        let call = Call::new(&record.how.hook, event, &place)
            .variable("EVERLEAF_NAME", name.as_str())
            .variable("EVERLEAF_DOMAIN", &record.domain)
            .variable("EVERLEAF_FQDN", &record.fqdn)
            .variable("EVERLEAF_TARGET", target)
            .variable("EVERLEAF_VALUES", joined)
            .fields(fields);
        match call.run().await? {
            Answer::Done { .. } => Ok(()),
            Answer::NotForMe if event == "cleanup" => Ok(()),
            Answer::NotForMe => Err(Failure::new(
                Class::Operator,
                "hook:notForMe",
                place,
                "the hook says that it does not put up records here (exit 42)",
            )
            .advise("Give this name a hook that serves its zone.")),
        }
    }
}

/// The dns-01 proofs by name and hook: apex and wildcard of one base are one record with two values.
fn records(proofs: &[Proof]) -> Vec<Record<'_>> {
    let mut records: Vec<Record<'_>> = Vec::new();
    for proof in proofs {
        let Solver::Dns01(how) = &proof.solver else { continue };
        let domain = proof.identifier.base();
        let value = value_of(&proof.key_authorization);
        if let Some(record) = records.iter_mut().find(|it| it.domain == domain && it.how.hook == how.hook) {
            record.values.insert(value);
        } else {
            let fqdn = format!("_acme-challenge.{domain}");
            records.push(Record { fqdn, domain, how, values: [value].into() });
        }
    }
    records
}

/// RFC 8555 §8.4: base64url, without padding, of the key authorization's SHA-256.
fn value_of(key_authorization: &str) -> String {
    data_encoding::BASE64URL_NOPAD.encode(sha256(&[key_authorization.as_bytes()]).as_bytes())
}
