//! What must hold after every step, whatever went wrong before it. Each invariant is a function; its name is what fails.

use crate::forge::FakeCertificate;
use crate::nodes::served;
use crate::world::State;
use everleaf::agent::Report;
use everleaf::config::spec::{Confirm, Endpoint};
use everleaf::core::event::IssuerEvent;
use everleaf::core::ledger::{Gate, Phase};
use everleaf::core::outcome::{Stage, standing};
use everleaf::core::schedule::last_call;
use everleaf::core::{Entry, Event, Facts, Horizon, Ledger, Plan, Reason, Shared, Sightings, plan};
use everleaf::ports::{Generation, NewOrder, Production, Proof, Record, Scope};
use everleaf::types::{
    CertName, Digest, Fingerprint, GenId, Identifier, IssuerName, KeyId, NodeName, RequestId, Seq, SpecDigest,
    Timestamp,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DAY: u64 = 86_400_000;

/// What is remembered in order to judge; the agent knows nothing of it.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    pub(crate) violations: Vec<String>,
    /// Challenges that are up now.
    pub(crate) proofs_up: BTreeMap<(CertName, String), Proof>,
    /// The replay of everything ever appended.
    pub(crate) truth: BTreeMap<CertName, Ledger>,
    certificates: BTreeMap<Fingerprint, FakeCertificate>,
    looks: BTreeMap<CertName, Vec<Looked>>,
    drawn: BTreeMap<(CertName, Timestamp, Timestamp), Timestamp>,
    ordered_names: BTreeMap<SpecDigest, Vec<Identifier>>,
    counted: Vec<Counted>,
    intended: BTreeMap<CertName, Vec<(u64, SpecDigest)>>,
    asked: BTreeMap<CertName, Vec<u64>>,
    fired: BTreeSet<RequestId>,
    demands: BTreeMap<CertName, u64>,
    pub(crate) one_shots: Vec<u64>,
    reloads: BTreeMap<(CertName, NodeName), Vec<u64>>,
    /// When the clock was last set, in true time.
    pub(crate) clock_set: Option<u64>,
}

#[derive(Debug)]
struct Looked {
    endpoint: Endpoint,
    leaf: Fingerprint,
    began: u64,
    handshakes: u32,
}

#[derive(Debug)]
struct Counted {
    certificate: CertName,
    names: Digest,
    exempt: bool,
    at: u64,
    /// Whether it ended before a CSR was sent.
    unissued: bool,
}

impl Watcher {
    pub(crate) fn violated(&mut self, invariant: &str, how: impl Into<String>) {
        self.violations.push(format!("{invariant}: {}", how.into()));
    }

    pub(crate) fn issued(&mut self, certificate: &FakeCertificate) {
        self.certificates.insert(certificate.leaf(), certificate.clone());
    }

    pub(crate) fn certificate(&self, leaf: &Fingerprint) -> Option<&FakeCertificate> {
        self.certificates.get(leaf)
    }

    pub(crate) fn ledger(&self, name: &CertName) -> Ledger {
        self.truth.get(name).cloned().unwrap_or_default()
    }

    fn clock_was_set_within(&self, mono: u64, span: u64) -> bool {
        self.clock_set.is_some_and(|at| mono.saturating_sub(at) < span)
    }
}

// ------------------------------------------------------------------------------------------------------------- journals

impl State {
    /// Records were appended.
    pub(crate) fn appended(&mut self, scope: &Scope, expect: Seq, at: Timestamp, events: &[Value]) {
        let mut seq = expect;
        for event in events {
            seq = seq.next();
            match scope {
                Scope::Certificate(name) => {
                    if let Some(event) = self.readable::<Event>(event) {
                        self.happened(name, &Entry { seq, at, event });
                    }
                }
                Scope::Issuer(_) => {
                    let at = self.mono;
                    match self.readable(event) {
                        Some(IssuerEvent::OrderCounted { certificate, names, exempt, .. }) => {
                            self.watcher.counted.push(Counted { certificate, names, exempt, at, unissued: false });
                        }
                        Some(IssuerEvent::OrderUnissued { certificate }) => {
                            let sent = self.watcher.truth.get(&certificate).and_then(|ledger| ledger.order.as_ref());
                            if sent.is_some() {
                                self.watcher.violated("only_what_ended_is_given_back", certificate.to_string());
                            }
                            let last = self.watcher.counted.iter_mut().rfind(|it| it.certificate == certificate);
                            if let Some(counted) = last {
                                counted.unissued = true;
                            }
                        }
                        _ => {}
                    }
                }
                Scope::Node(_) => {}
            }
        }
        if let Scope::Certificate(name) = scope {
            self.plan_moves_on(name);
        }
    }

    fn readable<E: serde::de::DeserializeOwned>(&mut self, event: &Value) -> Option<E> {
        match serde_json::from_value(event.clone()) {
            Ok(event) => Some(event),
            Err(error) => {
                self.watcher.violated("what_is_written_can_be_read", format!("{error}: {event}"));
                None
            }
        }
    }

    fn happened(&mut self, name: &CertName, entry: &Entry<Event>) {
        let before = self.watcher.truth.remove(name).unwrap_or_default();
        let violations = self.watcher.violations.len();
        self.force_fires_once(name, &entry.event);
        self.orders_are_paced(name, &before, &entry.event);
        self.budget_is_never_exceeded(name, &entry.event);
        self.retry_after_is_kept(name, &before, &entry.event);
        self.rollback_is_not_undone(name, &before, &entry.event);
        self.live_only_if_seen(name, &before, &entry.event);
        self.reloads_are_paced(name, &entry.event);
        let mut ledger = before;
        // At most one open order, each step after the one before: the ledger refuses anything else.
        if let Err(illegal) = ledger.apply(entry) {
            self.watcher.violated("journal_is_legal", illegal.to_string());
        }
        self.watcher.truth.insert(name.clone(), ledger);
        if self.watcher.violations.len() > violations {
            self.say(|| format!("VIOLATED by {:?}", entry.event));
        }
    }

    /// A journal was compacted: its replay must be what it was.
    pub(crate) fn compacted(&mut self, scope: &Scope) {
        if let Scope::Certificate(name) = scope {
            self.replay_is_the_ledger(name);
        }
    }

    /// `replay(journal) == ledger`, through compaction.
    pub(crate) fn replay_is_the_ledger(&mut self, name: &CertName) {
        let mut replayed = Ledger::default();
        for Record { seq, at, event } in self.store.journal(name).to_vec() {
            let Some(event) = self.readable::<Event>(&event) else { return };
            if let Err(illegal) = replayed.apply(&Entry { seq, at, event }) {
                self.watcher.violated("replay_is_the_ledger", illegal.to_string());
            }
        }
        if replayed != self.watcher.ledger(name) {
            self.watcher.violated("replay_is_the_ledger", format!("{name} replays to something else"));
        }
    }

    /// A request to renew by force is used up by the intent that names it, also across crashes.
    fn force_fires_once(&mut self, name: &CertName, event: &Event) {
        let Event::OrderIntended { asked: Some(id), .. } = event else { return };
        if !self.watcher.fired.insert(id.clone()) {
            self.watcher.violated("force_fires_once", format!("{name}: {id}"));
        }
    }

    /// An automatic order is made at most once a backoff step: at most six a day while nothing is accepted.
    fn orders_are_paced(&mut self, name: &CertName, before: &Ledger, event: &Event) {
        const MOST_A_DAY: usize = 6;
        let mono = self.mono;
        if let Event::Asked { .. } = event {
            self.watcher.asked.entry(name.clone()).or_default().push(mono);
        }
        if let Event::Accepted { .. } = event {
            self.watcher.intended.remove(name);
        }
        let Event::OrderIntended { asked: None, spec_digest, .. } = event else { return };
        let _ = before;
        let today = |at: &u64| mono.saturating_sub(*at) < DAY - 60_000;
        let asks = self.watcher.asked.get(name).map_or(0, |asks| asks.iter().filter(|at| today(at)).count());
        let orders = self.watcher.intended.entry(name.clone()).or_default();
        orders.push((mono, *spec_digest));
        let made = orders.iter().filter(|(at, digest)| today(at) && digest == spec_digest).count();
        if made > MOST_A_DAY + asks && !self.watcher.clock_was_set_within(mono, 2 * DAY) {
            self.watcher.violated("orders_are_paced", format!("{name}: {made} orders within a day"));
        }
    }

    /// What the issuer allows automatic orders is checked on disk before each.
    fn budget_is_never_exceeded(&mut self, name: &CertName, event: &Event) {
        let Event::OrderIntended { asked, issuer, .. } = event else { return };
        let mono = self.mono;
        let Some(order) = self.watcher.counted.iter().rfind(|counted| counted.certificate == *name) else {
            return self.watcher.violated("orders_are_counted_first", name.to_string());
        };
        if order.at != mono {
            self.watcher.violated("orders_are_counted_first", format!("{name}: the last count is of another order"));
            return;
        }
        let quota = self.spec.issuers.get(issuer).and_then(|issuer| issuer.budget.per_set);
        let Some(quota) = quota.filter(|_| asked.is_none() && !order.exempt) else { return };
        let span = u64::try_from(quota.per.as_millis()).unwrap_or(u64::MAX);
        let same = |counted: &&Counted| {
            counted.names == order.names
                && !counted.exempt
                && !counted.unissued
                && mono.saturating_sub(counted.at) < span
        };
        let spent = self.watcher.counted.iter().filter(same).count();
        if spent > usize::try_from(quota.count).unwrap_or(usize::MAX) && !self.watcher.clock_was_set_within(mono, span)
        {
            self.watcher.violated("budget_is_never_exceeded", format!("{name}: {spent} orders in {:?}", quota.per));
        }
    }

    /// A CA's Retry-After to newOrder, once durable, is a minimum: across restarts, and for `--force` too.
    fn retry_after_is_kept(&mut self, name: &CertName, before: &Ledger, event: &Event) {
        let mono = self.mono;
        match event {
            Event::StepFailed { failure, .. }
                if before.order.as_ref().is_some_and(|it| it.phase == Phase::Intended) =>
            {
                if let Some(wait) = failure.retry_after {
                    let until = mono + u64::try_from(wait.as_millis()).unwrap_or(0);
                    self.watcher.demands.insert(name.clone(), until);
                }
            }
            Event::OrderIntended { .. } => {
                let early = self.watcher.demands.get(name).is_some_and(|until| mono + 1_000 < *until);
                if early && !self.watcher.clock_was_set_within(mono, DAY) {
                    self.watcher.violated("retry_after_is_kept", format!("{name} is ordered before the CA allows it"));
                }
            }
            _ => {}
        }
    }

    /// A rollback stands until something newer is accepted; nothing orders that by itself before the pinned one ends.
    fn rollback_is_not_undone(&mut self, name: &CertName, before: &Ledger, event: &Event) {
        match event {
            Event::OrderIntended { asked: None, spec_digest, .. } => {
                let Some(aim) = before.want.as_ref().map(|want| &want.default).filter(|aim| aim.rollback) else {
                    return;
                };
                let (Some(newest), Some(pinned)) = (before.newest_accepted(), before.generations.get(&aim.generation))
                else {
                    return;
                };
                let same_spec = newest.about.spec_digest == *spec_digest;
                let early = self.now() < last_call(pinned.about.validity);
                if newest.about.generation > aim.generation && same_spec && early {
                    self.watcher.violated("rollback_is_not_undone", format!("{name} orders anew"));
                }
            }
            Event::WantSet { asked: None, rollback: false, generation, .. } => {
                self.watcher.violated("rollback_is_not_undone", format!("{name}: nobody asked for {generation}"));
            }
            _ => {}
        }
    }

    /// Live only if each endpoint was seen on that leaf, whole, by a look begun after its node's last reload ended.
    fn live_only_if_seen(&mut self, name: &CertName, before: &Ledger, event: &Event) {
        let (only, generation) = match event {
            Event::NodeConfirmed { node, generation, .. } => (Some(node), None.or(Some(*generation))),
            Event::WentLive { .. } => (None, None),
            _ => return,
        };
        let Some(certificate) = self.spec.certificates.get(name).cloned() else { return };
        let Confirm::Handshakes(confirm) = certificate.confirm else {
            return self.watcher.violated("live_only_if_seen", format!("{name} is not to be confirmed"));
        };
        let Some(want) = &before.want else { return };
        for endpoint in &certificate.endpoints {
            if only.is_some_and(|node| endpoint.node.as_ref() != Some(node)) {
                continue;
            }
            let behind: Vec<&NodeName> = match &endpoint.node {
                Some(node) => vec![node],
                None => certificate.nodes.iter().collect(),
            };
            let aim = endpoint.node.as_ref().map_or(&want.default, |node| want.on(node));
            let generation = generation.unwrap_or(aim.generation);
            let Some(leaf) = before.generations.get(&generation).map(|held| held.about.leaf) else { continue };
            let reloaded = |node: &&NodeName| {
                let site = self.nodes.get(*node).and_then(|node| node.sites.get(name));
                site.map_or(0, |site| site.reloaded_at)
            };
            let floor = behind.iter().map(reloaded).max().unwrap_or(0);
            let proof = |look: &Looked| {
                look.endpoint == *endpoint
                    && look.leaf == leaf
                    && look.began > floor
                    && look.handshakes >= confirm.count
            };
            if floor == 0 || !self.watcher.looks.get(name).is_some_and(|looks| looks.iter().any(proof)) {
                self.watcher.violated("live_only_if_seen", format!("{name}: {endpoint} was not seen on {generation}"));
            }
        }
        if matches!(event, Event::WentLive { .. }) {
            self.count("stage:live");
        }
    }

    /// A node that does not serve what it should is reloaded again with backoff, not without end.
    fn reloads_are_paced(&mut self, name: &CertName, event: &Event) {
        const MOST_A_DAY: usize = 8;
        let mono = self.mono;
        match event {
            Event::Asked { .. } | Event::WantSet { .. } | Event::Accepted { .. } => {
                self.watcher.reloads.retain(|(of, _), _| of != name);
            }
            Event::Deployed { node, .. } | Event::NodeConfirmed { node, .. } => {
                self.watcher.reloads.remove(&(name.clone(), node.clone()));
            }
            Event::Reloaded { node, .. } => {
                let reloads = self.watcher.reloads.entry((name.clone(), node.clone())).or_default();
                reloads.retain(|at| mono.saturating_sub(*at) < DAY);
                reloads.push(mono);
                // A one-shot run goes on at the first stage without proof, whatever an earlier one waits for.
                let runs = self.watcher.one_shots.iter().filter(|at| mono.saturating_sub(**at) < DAY).count();
                if reloads.len() > MOST_A_DAY + 2 * runs && !self.watcher.clock_was_set_within(mono, DAY) {
                    self.watcher.violated("reloads_are_paced", format!("{name} on {node}"));
                }
            }
            _ => {}
        }
    }

    /// A plan is total, and has effects or a wake-up after now.
    fn plan_moves_on(&mut self, name: &CertName) {
        let Some(ledger) = self.watcher.truth.remove(name) else { return };
        let facts = Facts { ledger, seen: Sightings::default() };
        let (shared, now) = (Shared::default(), self.now());
        let made =
            plan(&self.spec, name, &facts, &shared, now, Horizon { span: Duration::ZERO, issue: true, began: None });
        let stage = standing(&self.spec, name, &facts, &shared, &made, now).stage;
        self.count(format!("stage:{stage:?}").to_lowercase());
        self.moves_on(name, &made, now);
        self.watcher.truth.insert(name.clone(), facts.ledger);
    }

    fn moves_on(&mut self, name: &CertName, made: &Plan, now: Timestamp) {
        if made.wake().is_none_or(|wake| wake.at <= now) {
            self.watcher.violated("plan_moves_on", format!("{name} wakes at {:?}", made.wake()));
        }
    }
}

// -------------------------------------------------------------------------------------------------------------- effects

impl State {
    /// Key and intent are durable before the request for an order.
    pub(crate) fn about_to_order(&mut self, issuer: &IssuerName, order: &NewOrder) {
        let wanted: BTreeSet<&Identifier> = order.names.iter().collect();
        let intended = self.watcher.truth.iter().find_map(|(name, ledger)| {
            let open = ledger.order.as_ref().filter(|open| open.issuer == *issuer && open.phase == Phase::Intended)?;
            (open.names.iter().collect::<BTreeSet<_>>() == wanted).then(|| (name.clone(), open.clone()))
        });
        let Some((name, open)) = intended else {
            return self.watcher.violated("intent_is_durable_before_the_request", format!("{:?}", order.names));
        };
        if !self.store.keys.contains_key(&(name.clone(), open.key)) {
            self.watcher.violated("key_is_durable_before_the_order", name.to_string());
        }
        self.watcher.ordered_names.insert(open.spec_digest, order.names.clone());
    }

    pub(crate) fn about_to_finalize(&mut self, csr: &[u8]) {
        let csr: Value = serde_json::from_slice(csr).unwrap_or_default();
        let (name, key) = (csr["name"].as_str().unwrap_or(""), csr["key"].as_str().unwrap_or(""));
        let (Ok(name), Ok(key)) = (name.parse::<CertName>(), key.parse::<KeyId>()) else {
            return self.watcher.violated("intent_is_durable_before_the_request", "a CSR of nobody");
        };
        let order = self.watcher.ledger(&name).order;
        let intended = order.as_ref().is_some_and(|order| order.phase == Phase::CsrIntended && order.key == key);
        if !intended {
            self.watcher.violated("intent_is_durable_before_the_request", format!("{name}: a CSR in {order:?}"));
        }
    }

    pub(crate) fn about_to_put_up(&mut self, name: &CertName, proofs: &[Proof]) {
        let ledger = self.watcher.ledger(name);
        let known = |proof: &Proof| ledger.left_up.values().flatten().any(|up| up == proof);
        if !proofs.iter().all(known) {
            self.watcher.violated("intent_is_durable_before_the_request", format!("{name}: challenges"));
        }
    }

    /// An unaccepted chain is never published; what is published is what is wanted there, and a pair.
    pub(crate) fn about_to_publish(&mut self, name: &CertName, node: &NodeName, generation: &Generation<Production>) {
        let about = &generation.about;
        let ledger = self.watcher.ledger(name);
        let held = ledger.generations.get(&about.generation);
        if !held.is_some_and(|held| matches!(held.gate, Gate::Accepted { .. })) || about.accepted.is_none() {
            self.watcher.violated("unaccepted_is_never_published", format!("{name} {}", about.generation));
        }
        let names = self.watcher.ordered_names.get(&about.spec_digest).cloned().unwrap_or_default();
        let stored = self.store.generations.get(&(name.clone(), about.generation));
        let bad = stored.is_none_or(|stored| !stored.violations(&names).is_empty());
        let pair = stored.is_some_and(|stored| {
            generation.privkey.reveal() == stored.certificate.key.to_string() && stored.certificate.leaf() == about.leaf
        });
        if bad {
            self.watcher.violated("unaccepted_is_never_published", format!("{name} {} is bad", about.generation));
        }
        if !pair {
            self.watcher.violated("what_is_published_is_a_pair", format!("{name} {}", about.generation));
        }
        let wanted = ledger.want.as_ref().map(|want| want.on(node).generation);
        if wanted != Some(about.generation) {
            self.watcher.violated("only_what_is_wanted_is_published", format!("{name} {} on {node}", about.generation));
        }
    }

    /// No reload is started while this process switches files on the node.
    pub(crate) fn about_to_reload(&mut self, node: &NodeName, pid: u32) {
        let switching = self.node(node).switching.clone();
        if switching.contains(&pid) {
            self.watcher.violated("no_reload_while_switching", node.to_string());
        } else if !switching.is_empty() {
            self.count("reload while another process switches");
        }
    }

    /// Nothing is pruned that a node serves or has on its disk, where anybody can tell: behind a balancer nobody can.
    pub(crate) fn about_to_prune(&mut self, name: &CertName, generation: GenId) {
        let watched = self.watched(name);
        let in_use = self.nodes.iter().filter(|(node, _)| watched.contains(*node)).find(|(_, node)| {
            let site = node.sites.get(name);
            let loaded = site.and_then(|site| site.loaded.as_ref()?.generation);
            let disk = site.and_then(|site| site.disk.as_ref()?.generation);
            loaded == Some(generation) || disk == Some(generation)
        });
        if let Some(node) = in_use.map(|(node, _)| node.clone()) {
            self.watcher.violated("nothing_pruned_that_a_node_serves", format!("{name} {generation} on {node}"));
        }
    }

    /// The nodes of a certificate that have an endpoint of their own.
    fn watched(&self, name: &CertName) -> BTreeSet<NodeName> {
        let certificate = self.spec.certificates.get(name);
        certificate.into_iter().flat_map(|it| &it.endpoints).filter_map(|endpoint| endpoint.node.clone()).collect()
    }

    pub(crate) fn looked(
        &mut self,
        name: &CertName,
        endpoint: &Endpoint,
        leaf: Fingerprint,
        began: u64,
        handshakes: u32,
    ) {
        let looks = self.watcher.looks.entry(name.clone()).or_default();
        // A glance proves nothing and takes nothing away; anything else than what was wanted starts the count anew.
        if handshakes != 1 {
            looks.retain(|look| look.endpoint != *endpoint);
        }
        if handshakes > 1 {
            looks.push(Looked { endpoint: endpoint.clone(), leaf, began, handshakes });
        }
    }
}

// ---------------------------------------------------------------------------------------------------------- after a run

impl State {
    /// What a burst reports is what the journal says; what it draws it always draws.
    pub(crate) fn reported(&mut self, report: &Report) {
        let now = self.now();
        for (name, account) in &report.certificates {
            if account.locked.is_some() || account.broken.is_some() {
                continue;
            }
            let stage = account.standing.stage;
            self.count(format!("stage:{stage:?}").to_lowercase());
            if self.watcher.truth.get(name).is_some_and(|truth| *truth != account.facts.ledger) {
                self.watcher.violated("replay_is_the_ledger", format!("{name}: memory and journal differ"));
            }
            let horizon = Horizon { span: Duration::ZERO, issue: true, began: None };
            let made = plan(&self.spec, name, &account.facts, &Shared::default(), now, horizon);
            self.moves_on(name, &made, now);
            self.drawn_instant_stands(name, &account.plan);
            self.live_is_true(name, stage);
            // A whole replay costs; one run in some is enough to catch what lasts.
            if self.points.is_multiple_of(32) {
                self.replay_is_the_ledger(name);
            }
        }
    }

    /// The instant drawn from a window is the same while the window stands.
    fn drawn_instant_stands(&mut self, name: &CertName, made: &Plan) {
        for wake in &made.wakes {
            let Reason::Drawn { window } = &wake.why else { continue };
            let drawn = *self.watcher.drawn.entry((name.clone(), window.start, window.end)).or_insert(wake.at);
            if drawn != wake.at {
                self.watcher.violated("drawn_instant_stands", format!("{name}: {drawn}, then {}", wake.at));
            }
        }
    }

    /// What is called live has a journal that says each node confirmed what is wanted there.
    fn live_is_true(&mut self, name: &CertName, stage: Stage) {
        let never = self.watcher.truth.get(name).is_none_or(|ledger| ledger.live.is_none());
        if stage == Stage::Live && never {
            self.watcher.violated("live_only_if_seen", format!("{name} is called live and never went live"));
        }
    }

    /// In a world that is whole again everything is live and nothing is left behind.
    pub(crate) fn is_healed(&mut self, report: &Report) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some((name, _)) = self.watcher.proofs_up.keys().next() {
            wrong.push(format!("no_challenge_is_left_behind: {name}"));
        }
        let spec = std::rc::Rc::clone(&self.spec);
        for name in spec.certificates.keys() {
            let ledger = self.watcher.ledger(name);
            let Some(account) = report.certificates.get(name) else { continue };
            let stage = account.standing.stage;
            if stage != Stage::Live {
                wrong.push(format!("healed_means_live: {name} is {stage}; {:?}", account.plan.wakes));
                continue;
            }
            for node in &self.watched(name) {
                let want = ledger.want.as_ref().map(|want| want.on(node).generation);
                let leaf = want.and_then(|want| ledger.generations.get(&want)).map(|held| held.about.leaf);
                if served(self, node, name).map(|(leaf, _)| leaf) != leaf {
                    wrong.push(format!("live_is_what_is_served: {name} on {node}"));
                }
            }
            if ledger.post_due {
                wrong.push(format!("post_runs_at_last: {name}"));
            }
            if !ledger.told.is_empty() {
                wrong.push(format!("recovery_is_told: {name} {:?}", ledger.told));
            }
            if account.standing.troubles.iter().any(|trouble| trouble.code != "state:rebuilt") {
                wrong.push(format!("troubles_end: {name} {:?}", account.standing.troubles));
            }
        }
        wrong
    }

    /// Every node that can serve at all serves something that is valid.
    pub(crate) fn nothing_has_expired(&mut self, but: Option<&NodeName>) {
        let now = self.true_now();
        let spec = std::rc::Rc::clone(&self.spec);
        for name in spec.certificates.keys() {
            let newest = self.watcher.ledger(name).newest_accepted().map(|held| held.about.validity.end);
            if newest.is_some_and(|end| end <= now) {
                self.watcher.violated("no_certificate_expires", format!("{name}: nothing newer was issued"));
            }
            for node in self.watched(name).iter().filter(|node| Some(*node) != but) {
                let end = served(self, node, name).and_then(|(_, end)| end);
                if end.is_some_and(|end| end <= now) {
                    self.watcher.violated("no_certificate_expires", format!("{name} on {node}"));
                }
            }
        }
    }
}
