//! From facts to a status: one certificate.

use super::status::{
    AimStatus, CertificateStatus, EndpointStatus, GenerationStatus, MilestoneStatus, NextStatus, NodeStatus,
    OrderStatus, Said,
};
use crate::config::spec::{Certificate, Confirm, Endpoint, Spec};
use crate::core::ledger::{Gate, Held, Ledger, Milestone, Order, Rolled};
use crate::core::outcome::{Outcome, Standing};
use crate::core::sightings::{EndpointSeen, endpoint_id};
use crate::core::{Facts, Plan, Reason, Wake, WakeKind};
use crate::types::{CertName, Failure, GenId, NodeName, Printable, Timestamp, Window};
use std::collections::BTreeSet;

/// One certificate after a look at it.
#[derive(Debug, Clone, Copy)]
pub struct Looked<'a> {
    /// Its name.
    pub name: &'a CertName,
    /// What is known of it.
    pub facts: &'a Facts,
    /// Where it stands.
    pub standing: &'a Standing,
    /// What comes next.
    pub plan: &'a Plan,
    /// Whether the pass changed something.
    pub changed: bool,
    /// What kept everleaf from working on it at all.
    pub broken: Option<&'a Failure>,
    /// When.
    pub at: Timestamp,
}

/// The status of one certificate.
#[must_use]
pub fn certificate(spec: &Spec, looked: &Looked<'_>) -> CertificateStatus {
    let ledger = &looked.facts.ledger;
    let configured = spec.certificates.get(looked.name);
    let wanted = ledger.want.as_ref().and_then(|want| ledger.generations.get(&want.default.generation));
    let mut troubles = looked.standing.troubles.clone();
    troubles.splice(0..0, looked.broken.cloned());
    let outcome = looked.broken.map_or(looked.standing.outcome, |_| looked.standing.outcome.max(Outcome::Operator));
    let ari = looked.facts.seen.ari.as_ref();
    let ari = ari.filter(|ari| wanted.is_some_and(|held| held.about.generation == ari.generation));
    let info = ari.and_then(|ari| ari.info.as_ref());
    CertificateStatus {
        name: looked.name.clone(),
        names: configured
            .map(|it| it.names.clone())
            .or_else(|| wanted.map(|it| it.about.names.clone()))
            .unwrap_or_default(),
        issuer: configured.map(|it| it.issuer.clone()),
        looked: looked.at,
        stage: looked.standing.stage,
        outcome: Said::new(outcome, looked.standing.stage, looked.changed),
        exit: looked.broken.map_or(outcome.exit_code(), super::exit::of_failure),
        generation: wanted.map(generation),
        served: served(ledger, configured),
        ari_window: info.map(|info| info.window),
        ari_explanation: info.and_then(|info| info.explanation.clone()),
        renewal: looked.plan.wakes.iter().find(|wake| renews(&wake.why)).map(next),
        next: looked.plan.wakes.iter().find(|wake| wake.why != Reason::Routine).map(next),
        hold: looked.plan.wakes.iter().find(|wake| wake.kind == WakeKind::Hold).map(next),
        order: ledger.order.as_ref().map(order),
        nodes: configured.map(|it| it.nodes.iter().map(|name| node(ledger, name)).collect()).unwrap_or_default(),
        endpoints: configured.map(|it| endpoints(it, looked.facts, wanted)).unwrap_or_default(),
        troubles,
        failures: ledger.issue.failures,
        last_success: last_success(ledger, configured),
        earlier: earlier(ledger),
        unproven: configured.is_some_and(|it| it.confirm == Confirm::None),
    }
}

/// Whether this wake-up is the one that renews.
const fn renews(why: &Reason) -> bool {
    matches!(
        why,
        Reason::Drawn { .. }
            | Reason::Fallback
            | Reason::LastCall
            | Reason::ArmTimer { .. }
            | Reason::AheadInWindow { .. }
            | Reason::NoTimer { .. }
    )
}

fn next(wake: &Wake) -> NextStatus {
    let forceable = matches!(wake.why, Reason::Budget { .. });
    let held = wake.kind == WakeKind::Hold;
    NextStatus { at: wake.at, held, why: Printable::new(&wake.why.to_string()), firm: wake.firm, forceable }
}

fn generation(held: &Held) -> GenerationStatus {
    let about = &held.about;
    let notes = match &held.gate {
        Gate::Accepted { notes, .. } => notes.clone(),
        Gate::Pending | Gate::Rejected { .. } => Vec::new(),
    };
    GenerationStatus {
        id: about.generation,
        serial: about.serial.clone(),
        fingerprint: about.leaf,
        validity: about.validity,
        issued_by: about.issued_by.clone(),
        notes,
    }
}

/// Of all that is wanted or known to be served, the validity that ends first.
fn served(ledger: &Ledger, configured: Option<&Certificate>) -> Option<Window> {
    let here = |node: &NodeName| configured.is_some_and(|certificate| certificate.nodes.contains(node));
    let confirmed = ledger.nodes.iter().filter(|(node, _)| here(node)).filter_map(|(_, it)| it.confirmed.as_ref());
    let wanted = ledger.want.as_ref().map(|want| want.default.generation);
    let all: BTreeSet<GenId> = confirmed.map(|at| at.generation).chain(wanted).collect();
    let validities = all.iter().filter_map(|id| ledger.generations.get(id)).map(|held| held.about.validity);
    validities.min_by_key(|validity| validity.end)
}

fn order(order: &Order) -> OrderStatus {
    OrderStatus {
        attempt: order.attempt,
        phase: order.phase.name().into(),
        since: order.entered_at,
        url: order.opened.as_ref().map(|opened| Printable::new(&opened.url)),
    }
}

fn node(ledger: &Ledger, name: &NodeName) -> NodeStatus {
    let rolled: &Rolled = ledger.rolled(name);
    let milestone = |it: &Option<Milestone>| {
        it.as_ref().map(|it| MilestoneStatus { epoch: it.epoch, generation: it.generation, at: it.at })
    };
    let wanted = ledger.want.as_ref().map(|want| {
        let aim = want.on(name);
        AimStatus { epoch: aim.epoch, generation: aim.generation, rollback: aim.rollback }
    });
    NodeStatus {
        node: name.clone(),
        wanted,
        deployed: milestone(&rolled.deployed),
        reloaded: milestone(&rolled.reloaded),
        confirmed: milestone(&rolled.confirmed),
        placeholder: rolled.placeholder,
        failure: [&rolled.deploy, &rolled.reload, &rolled.serve].into_iter().find_map(|it| it.last.clone()),
    }
}

fn endpoints(certificate: &Certificate, facts: &Facts, wanted: Option<&Held>) -> Vec<EndpointStatus> {
    let mut rows = Vec::new();
    for endpoint in &certificate.endpoints {
        match facts.seen.endpoints.get(&endpoint_id(endpoint)) {
            Some(seen) => rows.extend(seen_rows(endpoint, seen, facts, wanted)),
            None => rows.push(EndpointStatus {
                endpoint: Printable::new(&endpoint.to_string()),
                node: endpoint.node.clone(),
                address: None,
                shown: None,
                at: None,
                current: false,
                notes: Vec::new(),
            }),
        }
    }
    rows
}

fn seen_rows<'a>(
    endpoint: &'a Endpoint,
    seen: &'a EndpointSeen,
    facts: &Facts,
    wanted: Option<&Held>,
) -> impl Iterator<Item = EndpointStatus> + 'a {
    let aim = endpoint.node.as_ref().and_then(|node| Some(facts.ledger.want.as_ref()?.on(node).generation));
    let aim = aim.and_then(|generation| facts.ledger.generations.get(&generation)).or(wanted);
    let current = aim.is_some_and(|held| held.about.leaf == seen.leaf);
    seen.observations.iter().map(move |observation| EndpointStatus {
        endpoint: Printable::new(&endpoint.to_string()),
        node: endpoint.node.clone(),
        address: observation.address,
        shown: Some(observation.shown.clone()),
        at: Some(seen.at),
        current,
        notes: observation.notes.clone(),
    })
}

fn last_success(ledger: &Ledger, configured: Option<&Certificate>) -> Option<Timestamp> {
    match configured.map(|certificate| certificate.confirm) {
        Some(Confirm::None) => ledger.nodes.values().filter_map(|it| it.reloaded.as_ref()).map(|it| it.at).max(),
        _ => ledger.live.as_ref().map(|it| it.at),
    }
}

fn earlier(ledger: &Ledger) -> Vec<GenId> {
    let wanted = ledger.want.as_ref().map(|want| want.default.generation);
    ledger.accepted().map(|held| held.about.generation).filter(|id| Some(*id) != wanted).collect()
}
