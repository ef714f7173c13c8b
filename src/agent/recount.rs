//! The order ledger counted again: an issuer's journal that is new, lost or damaged must not forget what was ordered.

use super::Ports;
use crate::config::spec::{Issuer, Spec};
use crate::core::budget::{Spent, registered_domains};
use crate::core::{Entry, Event, Ledger};
use crate::ports::{About, Record, Scope};
use crate::types::{Attempt, CertName, Failure, GenId, Identifier, IssuerName, Seq, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// An order that a certificate's journal or a generation tells of.
struct Told {
    issuer: IssuerName,
    spent: Spent,
}

/// Counts the orders of every issuer again: from the certificates' own journals, and from their generations where those do
/// not say because they were compacted, or are lost too. `None` when there is no certificate to ask.
///
/// An order of an issuer that is configured no more counts for those at its directory: it may have another name now.
/// Whether an order was exempt is not known then, so none is.
///
/// # Errors
/// When the certificates cannot be listed. One that cannot be read tells of nothing; that is in its own report.
pub(super) fn recount(ports: &Ports, spec: &Spec) -> Result<Option<BTreeMap<IssuerName, Vec<Spent>>>, Failure> {
    let mut names: BTreeSet<CertName> = ports.journal.certificates()?.into_iter().collect();
    let first_run = names.is_empty();
    // A certificate's journal may be lost together with the issuer's: its generations are there still.
    names.extend(spec.certificates.keys().cloned());
    let mut told: Vec<Told> = names.iter().flat_map(|name| of_certificate(ports, name)).collect();
    if first_run && told.is_empty() {
        return Ok(None);
    }
    told.sort_by_key(|told| told.spent.at);
    let counts = |issuer: &Issuer, told: &Told| {
        let renamed = told.spent.directory == issuer.directory && !spec.issuers.contains_key(&told.issuer);
        told.issuer == issuer.name || renamed
    };
    let of = |issuer: &Issuer| {
        told.iter().filter(|told| counts(issuer, told)).map(|told| told.spent.clone()).collect::<Vec<_>>()
    };
    Ok(Some(spec.issuers.values().map(|issuer| (issuer.name.clone(), of(issuer))).collect()))
}

fn of_certificate(ports: &Ports, name: &CertName) -> Vec<Told> {
    let records = ports.journal.load(&Scope::Certificate(name.clone()), Seq(0)).map(|loaded| loaded.records);
    let mut heard = Heard::default();
    for record in records.unwrap_or_default() {
        // What follows a record that cannot be read cannot be believed either.
        if heard.take(name, record).is_none() {
            break;
        }
    }
    let held: Vec<About> = heard.ledger.generations.values().map(|held| held.about.clone()).collect();
    let abouts = if held.is_empty() { ports.generations.list(name).unwrap_or_default() } else { held };
    let silent = abouts.into_iter().filter(|about| !heard.staged.contains(&about.generation));
    let from_generations = silent.map(|about| {
        let at = about.accepted.unwrap_or(about.validity.start);
        Told { issuer: about.issuer.clone(), spent: spent(at, name, &about.directory, &about.names) }
    });
    from_generations.chain(heard.orders.into_values()).collect()
}

/// What one journal tells of.
#[derive(Default)]
struct Heard {
    ledger: Ledger,
    orders: BTreeMap<Attempt, Told>,
    staged: BTreeSet<GenId>,
}

impl Heard {
    fn take(&mut self, name: &CertName, record: Record) -> Option<()> {
        let event: Event = serde_json::from_value(record.event).ok()?;
        match &event {
            Event::OrderIntended { attempt, issuer, directory, names, .. } => {
                let told = Told { issuer: issuer.clone(), spent: spent(record.at, name, directory, names) };
                self.orders.insert(*attempt, told);
            }
            Event::ChainStaged { about, .. } => drop(self.staged.insert(about.generation)),
            event if self.ledger.ends_unissued(event).is_some() => {
                if let Some(last) = self.orders.values_mut().next_back() {
                    last.spent.unissued = true;
                }
            }
            _ => {}
        }
        self.ledger.apply(&Entry { seq: record.seq, at: record.at, event }).ok()
    }
}

fn spent(at: Timestamp, name: &CertName, directory: &str, names: &[Identifier]) -> Spent {
    Spent {
        at,
        certificate: name.clone(),
        directory: directory.to_owned(),
        names: Identifier::set_digest(names),
        domains: registered_domains(names),
        exempt: false,
        unissued: false,
    }
}
