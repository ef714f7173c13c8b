//! One endpoint of a roll-out: what it should serve, what it was seen to serve, and when patience with it is at an end.

use super::effect::{Effect, Slot};
use super::ledger::{Aim, Held, Rolled, Want};
use super::plan::{Draft, View, WakeKind};
use super::reason::Reason;
use super::sightings::{EndpointSeen, endpoint_id};
use crate::config::spec::{Endpoint, Expect, Handshakes};
use crate::ports::{Observation, Shown};
use crate::types::{Class, Digest, Failure, Fingerprint, GenId, NodeName, Seq, Timestamp};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Between two looks at an endpoint that does not yet serve what it should.
const RELOOK: Duration = Duration::from_secs(1);

/// The node behind an endpoint, when that is known.
fn behind<'a>(view: &View<'a>, endpoint: &'a Endpoint) -> Option<&'a NodeName> {
    match (&endpoint.node, view.certificate.nodes.as_slice()) {
        (Some(node), _) => Some(node),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

/// All endpoints of a certificate, gone through once: each node's own, and those behind several nodes. Nothing stands for one
/// behind a node that was never reloaded.
pub(super) struct Watches<'a> {
    own: BTreeMap<&'a NodeName, Vec<Option<Watch<'a>>>>,
    pub(super) common: Vec<Option<Watch<'a>>>,
}

impl<'a> Watches<'a> {
    pub(super) fn new(view: &View<'a>, want: &Want) -> Self {
        let mut all = Self { own: BTreeMap::new(), common: Vec::new() };
        let mut together = None;
        for endpoint in &view.certificate.endpoints {
            let Some(node) = behind(view, endpoint) else {
                let behind = *together.get_or_insert_with(|| Behind::all(view));
                all.common.push(Watch::new(view, endpoint, &want.default, behind));
                continue;
            };
            let watch = Watch::new(view, endpoint, want.on(node), Behind::of(view.ledger().rolled(node)));
            all.own.entry(node).or_default().push(watch);
        }
        all
    }

    /// Takes those of a node.
    pub(super) fn take(&mut self, node: &NodeName) -> Vec<Watch<'a>> {
        self.own.remove(node).into_iter().flatten().flatten().collect()
    }

    /// Whether every one is proven.
    pub(super) fn proven(&self) -> bool {
        proven(&self.common) && self.own.values().all(|own| proven(own))
    }
}

/// Whether all of these are proven.
pub(super) fn proven(watches: &[Option<Watch<'_>>]) -> bool {
    watches.iter().all(|watch| watch.is_some_and(|watch| watch.proven()))
}

/// What the nodes behind an endpoint have come to.
#[derive(Clone, Copy)]
struct Behind {
    /// The last reload of all; nothing when one was never reloaded.
    floor: Option<(Seq, Timestamp)>,
    lagging: Option<Seq>,
}

impl Behind {
    fn of(rolled: &Rolled) -> Self {
        Self { floor: rolled.reloaded.as_ref().map(|at| (at.seq, at.at)), lagging: rolled.lagging }
    }

    /// Of all nodes together.
    fn all(view: &View<'_>) -> Self {
        let each = || view.certificate.nodes.iter().map(|name| Self::of(view.ledger().rolled(name)));
        let floors: Option<Vec<_>> = each().map(|behind| behind.floor).collect();
        Self {
            floor: floors.and_then(|floors| floors.into_iter().max()),
            lagging: each().filter_map(|it| it.lagging).max(),
        }
    }
}

/// An endpoint, what it should serve and what it was last seen to serve.
#[derive(Clone, Copy)]
pub(super) struct Watch<'a> {
    endpoint: &'a Endpoint,
    id: Digest,
    generation: GenId,
    generations: &'a BTreeMap<GenId, Held>,
    /// The last reload of every node behind it, and when that was: a look must have begun after it.
    floor: (Seq, Timestamp),
    /// The last record that says that a node behind it does not serve what it should: a proof from before it, which a
    /// crash may have brought back, is none.
    lagging: Option<Seq>,
    seen: Option<&'a EndpointSeen>,
}

impl<'a> Watch<'a> {
    /// Nothing when a node behind it was never reloaded: there is nothing to look for yet.
    fn new(view: &View<'a>, endpoint: &'a Endpoint, aim: &Aim, behind: Behind) -> Option<Self> {
        let floor = behind.floor?;
        let generations = &view.ledger().generations;
        let about = &generations.get(&aim.generation)?.about;
        let id = endpoint_id(endpoint);
        let seen = view.facts.seen.endpoints.get(&id).filter(|seen| seen.leaf == about.leaf);
        Some(Self { endpoint, id, generation: aim.generation, generations, floor, lagging: behind.lagging, seen })
    }

    /// The last look, when it began after the last reload.
    fn current(&self) -> Option<&'a EndpointSeen> {
        self.seen.filter(|seen| seen.started >= self.floor.0)
    }

    pub(super) fn proven(&self) -> bool {
        let since = self.lagging.map_or(self.floor.0, |lagging| lagging.max(self.floor.0));
        self.current().is_some_and(|seen| seen.proof.is_some_and(|proof| proof >= since))
    }

    pub(super) fn seen_at(&self) -> Timestamp {
        self.current().map_or(self.floor.1, |seen| seen.at)
    }

    /// What is wrong, once patience is at an end: a whole look, begun after the reload, ended after `drain`.
    pub(super) fn wrong(&self, confirm: Handshakes, not_before: Timestamp, now: Timestamp) -> Option<Failure> {
        // A clock set back must not make patience endless: after a reload of the future, any look of the past will do.
        let drained = if now < self.floor.1 { Timestamp::from_millis(0) } else { self.floor.1 + confirm.drain };
        let seen = self.current().filter(|seen| seen.whole && !seen.wanted() && seen.at <= now)?;
        (seen.at >= drained && seen.at >= not_before).then(|| self.failure(seen))
    }

    fn shown(&self) -> impl Iterator<Item = &'a Shown> {
        self.current().into_iter().flat_map(|seen| seen.observations.iter().map(|observation| &observation.shown))
    }

    /// Whether some address answered with something other than what it should.
    pub(super) fn reachable(&self) -> bool {
        self.shown().any(|shown| !matches!(shown, Shown::Wanted | Shown::Unreachable { .. } | Shown::NotLooked { .. }))
    }

    /// Whether nobody answers at one of its addresses.
    pub(super) fn meets_nobody(&self) -> bool {
        self.shown().any(|shown| matches!(shown, Shown::Unreachable { .. }))
    }

    /// Whether ordinary clients are refused: not merely the old leaf, and not merely nobody there.
    fn broken(&self) -> bool {
        self.shown().any(|shown| matches!(shown, Shown::HandshakeFailed { .. } | Shown::BrokenChain { .. }))
    }

    /// Whether it is broken, and was proven to serve `before` until this roll-out: then the roll-out broke it.
    pub(super) fn broke_after(&self, before: Fingerprint) -> bool {
        self.broken() && self.current().is_some_and(|seen| seen.before == Some(before))
    }

    pub(super) fn look(&self, confirm: Handshakes, now: Timestamp, draft: &mut Draft) {
        let endpoint = self.endpoint.to_string();
        let again = self.current().filter(|seen| seen.whole && seen.at <= now).map(|seen| seen.at + RELOOK);
        if let Some(at) = again.filter(|at| *at > now) {
            return draft.wake(at, WakeKind::Pause, Reason::Draining { endpoint });
        }
        let why = if self.current().is_some() && now < self.floor.1 + confirm.drain {
            Reason::Draining { endpoint }
        } else {
            Reason::NotProven { endpoint }
        };
        self.step(true, why, draft);
    }

    pub(super) fn look_for_drift(&self, confirm: Handshakes, draft: &mut Draft) {
        let endpoint = self.endpoint.to_string();
        let due = self.seen_at() + confirm.every;
        if due > draft.now && self.seen_at() <= draft.now {
            return draft.wake(due, WakeKind::Schedule, Reason::DriftLook { endpoint });
        }
        self.step(false, Reason::DriftLook { endpoint }, draft);
    }

    fn step(&self, whole: bool, why: Reason, draft: &mut Draft) {
        let effect = Effect::Look { endpoint: self.endpoint.clone(), generation: self.generation, whole };
        draft.step(Slot::Endpoint(self.id), effect, why);
    }

    /// Whether some address shows a certificate that is none of ours.
    pub(super) fn shows_foreign(&self) -> bool {
        self.shown().any(|shown| self.is_foreign(shown))
    }

    fn is_foreign(&self, shown: &Shown) -> bool {
        let Shown::Other { leaf, .. } = shown else { return false };
        self.endpoint.expect == Expect::Leaf && !self.generations.values().any(|held| held.about.leaf == *leaf)
    }

    /// What a look showed, where it was not what it should be.
    fn failure(&self, seen: &EndpointSeen) -> Failure {
        let found = |observation: &Observation| Some((observation.address, self.wrong_with(&observation.shown)?));
        let found: Vec<_> = seen.observations.iter().filter_map(found).collect();
        let (code, message) = found.first().map_or_else(
            || ("dns_no_address".to_owned(), "no address to look at".to_owned()),
            |(_, (code, message))| (code.clone(), message.clone()),
        );
        let advice = match () {
            () if self.reachable() => {
                "is the right server reloaded, and does its configuration name the files in the live directory?"
            }
            () if seen.is_blind() => {
                "the endpoint may be well: mend what it is looked at from, or name another place with `from:`; it is looked at again"
            }
            () => "is its server up, and may this machine connect to it? it is looked at again by every run",
        };
        let place = match &self.endpoint.node {
            Some(node) => format!("node {node}, {}", self.endpoint),
            None => self.endpoint.to_string(),
        };
        let of_some = || found.first().and_then(|(address, _)| self.among(*address, found.len(), seen));
        let message = of_some().map_or_else(|| message.clone(), |some| format!("{some} {message}"));
        let mut failure = Failure::new(Class::Retry, code, place, message).advise(advice);
        for (address, (_, message)) in found {
            let address = address.map_or_else(|| "no address".to_owned(), |address| address.to_string());
            failure = failure.detail(format!("{address}: {message}"));
        }
        failure
    }

    /// The first address with something wrong, where the endpoint's own name does not say which, and how many more there are.
    fn among(&self, address: Option<SocketAddr>, wrong: usize, seen: &EndpointSeen) -> Option<String> {
        let address = address.map(|it| it.to_string()).filter(|it| !self.endpoint.to_string().starts_with(it))?;
        Some(match (wrong, seen.observations.len()) {
            (1, 1) => address,
            (wrong, all) => format!("{address} ({wrong} of {all} addresses are not as they should be)"),
        })
    }

    /// What should be served, where that is known.
    fn instead(&self) -> String {
        let wanted = self.generations.get(&self.generation);
        wanted.map_or_else(String::new, |held| format!(", instead of {}", held.about.serial))
    }

    /// The stable label of what is wrong, and what to say about it.
    fn wrong_with(&self, shown: &Shown) -> Option<(String, String)> {
        let label = |code: &str, message| Some((code.to_owned(), message));
        match shown {
            Shown::Wanted => None,
            Shown::Other { serial, not_after, .. } => {
                let serves = format!("serves serial {serial}, valid until {not_after}");
                if self.endpoint.expect == Expect::Valid {
                    label("served_invalid", format!("{serves}, which clients do not accept for this name"))
                } else if self.is_foreign(shown) {
                    label("served_foreign", format!("{serves}, which is none of this certificate's generations"))
                } else {
                    label("served_older_than_disk", format!("{serves}{}", self.instead()))
                }
            }
            Shown::BrokenChain { message } => {
                label("node_chain_broken", format!("serves the new leaf with a broken chain: {message}"))
            }
            Shown::NotLooked { failure } => {
                label(&failure.code, format!("cannot tell yet what is served there: {failure}"))
            }
            Shown::HandshakeFailed { failure } | Shown::Unreachable { failure } => {
                label(&failure.code, failure.message.to_string())
            }
        }
    }
}
