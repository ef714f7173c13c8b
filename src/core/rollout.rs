//! The roll-out track: each node towards what is wanted there, each endpoint until it is proven.
//!
//! ```text
//! confirmed at want  → nothing; look again every so often (drift)
//! deployed ≠ want    → Deploy            reloaded < deploy → Reload
//! otherwise          → Look; on mismatch look again until `drain` has passed; then Inspect;
//!                      differs → Deploy, same → Reload, with backoff; people are told
//! ```

use super::effect::{Effect, Slot};
use super::event::{Ask, Event};
use super::hold::Trouble;
use super::issue::held;
use super::ledger::{Aim, Asked, Rolled, Want};
use super::plan::{Draft, View, WakeKind};
use super::reason::Reason;
use super::schedule::last_call;
use super::sightings::{EndpointSeen, endpoint_id};
use crate::config::spec::{Confirm, Endpoint, Handshakes, Node};
use crate::ports::Shown;
use crate::types::{Class, Digest, Failure, GenId, NodeName, RequestId, Seq, Timestamp, sha256};
use std::time::Duration;

/// Between two looks at an endpoint that does not yet serve what it should.
const RELOOK: Duration = Duration::from_secs(1);

/// Plans the roll-out track.
pub(super) fn rollout(view: &View<'_>, draft: &mut Draft) {
    let Some(want) = &view.ledger().want else {
        refuse_asks(view, draft);
        return placeholders(view, draft);
    };
    if asks(view, want, draft) {
        return;
    }
    let nodes = waves(view, want, draft);
    for node in &nodes {
        node.plan(view, draft);
    }
    unattributed(view, want, draft);
    went_live(view, want, draft);
}

/// Whether every endpoint of every node is proven to serve what is wanted. `confirm: none` never is.
pub(super) fn live(view: &View<'_>) -> bool {
    let Some(want) = &view.ledger().want else { return false };
    let Confirm::Handshakes(_) = view.certificate.confirm else { return false };
    let placed = view.certificate.nodes.iter().all(|node| placed(view, node, want.on(node)));
    placed
        && view
            .certificate
            .endpoints
            .iter()
            .all(|endpoint| Watch::new(view, endpoint).is_some_and(|watch| watch.proven()))
}

/// Whether everything wanted is published and reloaded, proven or not.
pub(super) fn installed(view: &View<'_>) -> bool {
    let Some(want) = &view.ledger().want else { return false };
    view.certificate.nodes.iter().all(|node| placed(view, node, want.on(node)))
}

fn placed(view: &View<'_>, node: &NodeName, aim: &Aim) -> bool {
    view.ledger().nodes.get(node).is_some_and(|rolled| rolled.deployed_at(aim) && !rolled.reload_due())
}

/// The digest of a node's reload command: trouble with one command is no trouble of another.
#[must_use]
pub(super) fn verb(node: &Node) -> Digest {
    sha256(&[format!("{:?} {:?}", node.reload, node.kind).as_bytes()])
}

fn placeholders(view: &View<'_>, draft: &mut Draft) {
    if !view.certificate.placeholder {
        return;
    }
    for node in &view.certificate.nodes {
        let rolled = view.ledger().rolled(node);
        if rolled.placeholder || rolled.deployed.is_some() {
            continue;
        }
        if let Some(until) = view.hold(&rolled.deploy) {
            draft.wake(until, WakeKind::Hold, held("publishing a placeholder", &rolled.deploy));
            continue;
        }
        let why = Reason::NothingPublished { node: node.clone() };
        draft.step(Slot::Node(node.clone()), Effect::Placeholder { node: node.clone() }, why);
    }
}

// ------------------------------------------------------------------------------------------------------------- requests

fn refuse_asks(view: &View<'_>, draft: &mut Draft) {
    if let Some((id, asked)) = view.ledger().asked_for(|ask| !matches!(ask, Ask::Renew { .. })) {
        let why = Reason::Asked { id: id.clone(), by: asked.by.clone() };
        let event = Event::AskClosed { id: id.clone(), why: "no certificate was ever accepted".into() };
        draft.record(Slot::Want, event, why);
    }
}

/// Turns a request to deploy or to go back into what is wanted. Says whether one was turned.
fn asks(view: &View<'_>, want: &Want, draft: &mut Draft) -> bool {
    let Some((id, asked)) = view.ledger().asked_for(|ask| !matches!(ask, Ask::Renew { .. })) else { return false };
    let why = Reason::Asked { id: id.clone(), by: asked.by.clone() };
    draft.record(Slot::Want, answer(view, want, id, asked), why);
    true
}

fn answer(view: &View<'_>, want: &Want, id: &RequestId, asked: &Asked) -> Event {
    let set = |generation, node: &Option<NodeName>, rollback| Event::WantSet {
        epoch: view.ledger().epoch.next(),
        generation,
        node: node.clone(),
        rollback,
        asked: Some(id.clone()),
        why: format!("{} asked for it", asked.by).into(),
    };
    let refused = |why: String| Event::AskClosed { id: id.clone(), why: why.into() };
    match &asked.ask {
        Ask::Deploy { node } | Ask::Rollback { node, .. }
            if node.as_ref().is_some_and(|node| !view.certificate.nodes.contains(node)) =>
        {
            refused("that node is not one of the certificate's nodes".into())
        }
        Ask::Deploy { node } => {
            let aim = node.as_ref().map_or(&want.default, |node| want.on(node));
            set(aim.generation, node, aim.rollback)
        }
        Ask::Rollback { to, node } => {
            let from = node.as_ref().map_or(&want.default, |node| want.on(node)).generation;
            match (earlier(view, from, *to), to) {
                (Some(generation), _) => set(generation, node, true),
                (None, Some(to)) => refused(format!("generation {to} is not an accepted one on this machine")),
                (None, None) => refused(format!("there is no accepted generation before {from}")),
            }
        }
        Ask::Renew { .. } => refused("not a request of the roll-out".into()),
    }
}

fn earlier(view: &View<'_>, from: GenId, to: Option<GenId>) -> Option<GenId> {
    let mut accepted = view.ledger().accepted().map(|held| held.about.generation);
    match to {
        Some(to) => accepted.find(|generation| *generation == to),
        None => accepted.rfind(|generation| *generation < from),
    }
}

// ---------------------------------------------------------------------------------------------------------------- waves

/// The nodes whose turn it is: canaries first, then `parallel` at a time. One that is held does not take a place.
fn waves<'a>(view: &View<'a>, want: &'a Want, draft: &mut Draft) -> Vec<Turn<'a>> {
    let rollout = &view.certificate.rollout;
    let turns: Vec<Turn<'a>> = view.certificate.nodes.iter().filter_map(|name| Turn::new(view, want, name)).collect();
    let canaries_done =
        turns.iter().filter(|turn| rollout.canaries.contains(&turn.node.name)).all(|turn| turn.confirmed(view));
    let canaries_first = !canaries_done && !in_a_hurry(view);
    let mut places = rollout.parallel.max(1);
    let mut chosen = Vec::new();
    for turn in turns {
        let begun = turn.rolled.deployed_at(turn.aim);
        let waits = canaries_first && !begun && !rollout.canaries.contains(&turn.node.name);
        let settled = turn.confirmed(view) || turn.is_held(view);
        if waits || (!settled && places == 0) {
            let why = Reason::Wave { node: turn.node.name.clone() };
            draft.wake(view.now + super::plan::LONGEST_SLEEP, WakeKind::Schedule, why);
            continue;
        }
        places -= usize::from(!settled);
        chosen.push(turn);
    }
    chosen
}

/// When what is out there is about to end, or nothing is out there, waiting for canaries does more harm than good.
fn in_a_hurry(view: &View<'_>) -> bool {
    let ledger = view.ledger();
    let out_there = ledger.nodes.values().filter_map(|rolled| rolled.confirmed.as_ref());
    let mut validities =
        out_there.filter_map(|at| ledger.generations.get(&at.generation)).map(|held| held.about.validity);
    let first = validities.next();
    first.is_none_or(|first| std::iter::once(first).chain(validities).any(|validity| view.now >= last_call(validity)))
}

/// A node on its way to what is wanted there.
struct Turn<'a> {
    node: &'a Node,
    aim: &'a Aim,
    rolled: Rolled,
    verb: Digest,
}

impl<'a> Turn<'a> {
    fn new(view: &View<'a>, want: &'a Want, name: &NodeName) -> Option<Self> {
        let node = view.spec.nodes.get(name)?;
        Some(Self { node, aim: want.on(name), rolled: view.ledger().rolled(name), verb: verb(node) })
    }

    fn slot(&self) -> Slot {
        Slot::Node(self.node.name.clone())
    }

    fn watches(&self, view: &View<'a>) -> Vec<Watch<'a>> {
        let mine = |endpoint: &&Endpoint| behind(view, endpoint) == Some(&self.node.name);
        view.certificate.endpoints.iter().filter(mine).filter_map(|endpoint| Watch::new(view, endpoint)).collect()
    }

    fn confirmed(&self, view: &View<'a>) -> bool {
        let placed = self.rolled.deployed_at(self.aim) && !self.rolled.reload_due();
        placed && self.watches(view).iter().all(Watch::proven)
    }

    /// Trouble with another reload command, one that has been edited since, is no reason to wait.
    fn edited(&self) -> bool {
        self.rolled.reload_verb.is_some_and(|verb| verb != self.verb)
    }

    fn hold(&self, view: &View<'a>, trouble: &Trouble) -> Option<Timestamp> {
        view.hold(trouble).filter(|_| !self.edited())
    }

    fn is_held(&self, view: &View<'a>) -> bool {
        let rolled = &self.rolled;
        let own = if rolled.deployed_at(self.aim) { None } else { view.hold(&rolled.deploy) };
        let own = own.or_else(|| self.hold(view, &rolled.reload).filter(|_| rolled.reload_due()));
        let serve = self.hold(view, &rolled.serve).filter(|_| rolled.lagging.is_some());
        own.or(serve).or_else(|| self.unreachable(view)).is_some()
    }

    fn unreachable(&self, view: &View<'a>) -> Option<Timestamp> {
        let trouble = &view.shared.nodes.get(&self.node.name)?.trouble;
        // A decision newer than the trouble is worth one try.
        let newer = trouble.hold.is_some_and(|hold| self.aim.at >= hold.set_at);
        view.hold(trouble).filter(|_| !newer)
    }

    fn plan(&self, view: &View<'a>, draft: &mut Draft) {
        if !self.rolled.deployed_at(self.aim) {
            let why = Reason::NotDeployed { node: self.node.name.clone(), epoch: self.aim.epoch };
            return self.deploy(view, why, draft);
        }
        if self.rolled.reload_due() {
            return self.reload(view, Reason::NotReloaded { node: self.node.name.clone() }, draft);
        }
        let Confirm::Handshakes(confirm) = view.certificate.confirm else { return };
        let watches = self.watches(view);
        if watches.iter().all(Watch::proven) {
            self.confirm(draft);
            return watches.iter().for_each(|watch| watch.look_for_drift(confirm, draft));
        }
        self.pursue(view, confirm, &watches, draft);
    }

    fn deploy(&self, view: &View<'a>, why: Reason, draft: &mut Draft) {
        let node = self.node.name.clone();
        if let Some(until) = view.hold(&self.rolled.deploy) {
            return draft.wake(until, WakeKind::Hold, held("publishing", &self.rolled.deploy));
        }
        if let Some(until) = self.unreachable(view) {
            let failure = view.shared.nodes.get(&node).and_then(|facts| facts.trouble.last.clone());
            let failure = failure.map(|failure| failure.message).unwrap_or_default();
            return draft.wake(until, WakeKind::Hold, Reason::NodeTrouble { node, failure });
        }
        let effect = Effect::Deploy { node, epoch: self.aim.epoch, generation: self.aim.generation };
        draft.step(self.slot(), effect, why);
    }

    fn reload(&self, view: &View<'a>, why: Reason, draft: &mut Draft) {
        if let Some(until) = self.hold(view, &self.rolled.reload) {
            return draft.wake(until, WakeKind::Hold, held("reloading", &self.rolled.reload));
        }
        let (node, verb) = (self.node.name.clone(), self.verb);
        let effect = Effect::Reload { node, epoch: self.aim.epoch, generation: self.aim.generation, verb };
        draft.step(self.slot(), effect, why);
    }

    fn confirm(&self, draft: &mut Draft) {
        let rolled = &self.rolled;
        let known = rolled.confirmed.as_ref().is_some_and(|confirmed| confirmed.epoch == self.aim.epoch);
        if known && rolled.lagging.is_none() && rolled.serve.failures == 0 {
            return;
        }
        let (node, epoch, generation) = (self.node.name.clone(), self.aim.epoch, self.aim.generation);
        draft.record(self.slot(), Event::NodeConfirmed { node, epoch, generation }, Reason::Proven);
    }

    /// Not proven: look; give old workers time to go; then find out why, and mend it.
    fn pursue(&self, view: &View<'a>, confirm: Handshakes, watches: &[Watch<'a>], draft: &mut Draft) {
        if let Some(until) = self.hold(view, &self.rolled.serve).filter(|_| self.rolled.lagging.is_some()) {
            return draft.wake(until, WakeKind::Hold, held("serving it", &self.rolled.serve));
        }
        let not_before = self.look_not_before(view);
        let mut wrong = Vec::new();
        for watch in watches.iter().filter(|watch| !watch.proven()) {
            match watch.wrong(confirm, not_before, view.now) {
                Some(failure) => wrong.push((watch, failure)),
                None => watch.look(confirm, view.now, draft),
            }
        }
        let unsettled = watches.iter().filter(|watch| !watch.proven()).count() > wrong.len();
        let Some((watch, failure)) = wrong.into_iter().max_by_key(|(watch, _)| watch.reachable()) else { return };
        if !unsettled || watch.reachable() {
            self.mend(view, watch, failure, draft);
        }
    }

    /// After a hold only a look made since then counts.
    fn look_not_before(&self, view: &View<'a>) -> Timestamp {
        let serve = &self.rolled.serve;
        let hold_end = || serve.hold.map(|hold| hold.set_at + hold.span());
        let waited = self.rolled.lagging.and_then(|_| view.outlived(serve).or_else(hold_end));
        waited.unwrap_or(Timestamp::from_millis(0))
    }

    fn mend(&self, view: &View<'a>, watch: &Watch<'a>, failure: Failure, draft: &mut Draft) {
        let (node, epoch) = (self.node.name.clone(), self.aim.epoch);
        let why = Reason::StillOld { node: node.clone() };
        let known = self.rolled.confirmed.as_ref().is_some_and(|confirmed| confirmed.epoch == epoch);
        if !watch.reachable() {
            // Nobody answers: that says nothing about what is served. Tell people, look again later.
            return draft.record(self.slot(), Event::Lagging { node, epoch, drift: false, failure }, why);
        }
        let files = view.facts.seen.nodes.get(&node).filter(|seen| seen.at >= watch.seen_at());
        let Some(files) = files else {
            let effect = Effect::Inspect { node, generation: self.aim.generation };
            return draft.step(self.slot(), effect, why);
        };
        if let Some(event) = self.go_back(view, watch, files) {
            let generation = self.rolled.served_before.unwrap_or(self.aim.generation);
            return draft.record(Slot::Want, event, Reason::GoesBack { node, generation });
        }
        if self.rolled.lagging.is_none() {
            return draft.record(self.slot(), Event::Lagging { node, epoch, drift: known, failure }, why);
        }
        if files.holds(self.aim.generation) {
            self.reload(view, why, draft);
        } else {
            self.deploy(view, Reason::Drifted { node: self.node.name.clone() }, draft);
        }
    }

    /// Back to what it served well, and only where our generation is published and broke it (DESIGN §1).
    fn go_back(&self, view: &View<'a>, watch: &Watch<'a>, files: &super::sightings::NodeSeen) -> Option<Event> {
        let ledger = view.ledger();
        let during_rollout = self.rolled.confirmed.as_ref().is_none_or(|confirmed| confirmed.epoch < self.aim.epoch);
        let before = self.rolled.served_before.filter(|before| *before < self.aim.generation)?;
        let good =
            ledger.generations.get(&before).is_some_and(|held| held.accepted() && view.now < held.about.validity.end);
        let allowed = view.certificate.rollout.roll_back && !self.aim.rollback;
        (allowed && during_rollout && good && watch.broken() && files.holds(self.aim.generation)).then(|| {
            Event::WantSet {
                epoch: ledger.epoch.next(),
                generation: before,
                node: Some(self.node.name.clone()),
                rollback: true,
                asked: None,
                why: format!("{} broke on {}", self.node.name, self.aim.generation).into(),
            }
        })
    }
}

impl Rolled {
    /// Whether what was published last is what is wanted.
    #[must_use]
    pub fn deployed_at(&self, aim: &Aim) -> bool {
        self.deployed.as_ref().is_some_and(|at| at.epoch == aim.epoch && at.generation == aim.generation)
    }

    /// Whether something was published that its servers were not told of.
    #[must_use]
    pub fn reload_due(&self) -> bool {
        let reloaded = self.reloaded.as_ref().map(|at| at.seq);
        self.deployed.as_ref().is_some_and(|at| reloaded.is_none_or(|reloaded| reloaded < at.seq))
    }
}

// ------------------------------------------------------------------------------------------------------------ endpoints

/// The node behind an endpoint, when that is known.
fn behind<'a>(view: &View<'a>, endpoint: &'a Endpoint) -> Option<&'a NodeName> {
    match (&endpoint.node, view.certificate.nodes.as_slice()) {
        (Some(node), _) => Some(node),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

/// Endpoints behind more than one node: proven after the last of them was reloaded; every node is told when they lag.
fn unattributed(view: &View<'_>, want: &Want, draft: &mut Draft) {
    let Confirm::Handshakes(confirm) = view.certificate.confirm else { return };
    let nodes = || view.certificate.nodes.iter().filter_map(|name| Turn::new(view, want, name));
    if nodes().any(|turn| !turn.confirmed(view)) {
        return;
    }
    let alone = |endpoint: &&Endpoint| behind(view, endpoint).is_none();
    for endpoint in view.certificate.endpoints.iter().filter(alone) {
        let Some(watch) = Watch::new(view, endpoint) else { continue };
        if watch.proven() {
            watch.look_for_drift(confirm, draft);
            continue;
        }
        for turn in nodes() {
            turn.pursue(view, confirm, &[watch], draft);
        }
    }
}

/// An endpoint, what it should serve and what it was last seen to serve.
#[derive(Clone, Copy)]
struct Watch<'a> {
    endpoint: &'a Endpoint,
    id: Digest,
    generation: GenId,
    /// The last reload of every node behind it, and when that was: a look must have begun after it.
    floor: (Seq, Timestamp),
    seen: Option<&'a EndpointSeen>,
}

impl<'a> Watch<'a> {
    /// Nothing when a node behind it was never reloaded: there is nothing to look for yet.
    fn new(view: &View<'a>, endpoint: &'a Endpoint) -> Option<Self> {
        let want = view.ledger().want.as_ref()?;
        let node = behind(view, endpoint);
        let aim = node.map_or(&want.default, |node| want.on(node));
        let about = &view.ledger().generations.get(&aim.generation)?.about;
        let behind = view.certificate.nodes.iter().filter(|name| node.is_none_or(|node| node == *name));
        let reloads: Option<Vec<_>> =
            behind.map(|name| view.ledger().nodes.get(name)?.reloaded.as_ref().map(|at| (at.seq, at.at))).collect();
        let floor = reloads?.into_iter().max()?;
        let id = endpoint_id(endpoint);
        let seen = view.facts.seen.endpoints.get(&id).filter(|seen| seen.leaf == about.leaf);
        Some(Self { endpoint, id, generation: aim.generation, floor, seen })
    }

    /// The last look, when it began after the last reload.
    fn current(&self) -> Option<&'a EndpointSeen> {
        self.seen.filter(|seen| seen.started >= self.floor.0)
    }

    fn proven(&self) -> bool {
        self.current().is_some_and(|seen| seen.proof.is_some_and(|proof| proof >= self.floor.0))
    }

    fn seen_at(&self) -> Timestamp {
        self.current().map_or(self.floor.1, |seen| seen.at)
    }

    /// What is wrong, once patience is at an end: a whole look, begun after the reload, ended after `drain`.
    fn wrong(&self, confirm: Handshakes, not_before: Timestamp, now: Timestamp) -> Option<Failure> {
        let drained = self.floor.1 + confirm.drain;
        // A clock set back must not make patience endless.
        let believable = |seen: &&EndpointSeen| seen.at <= now;
        let seen = self.current().filter(|seen| seen.whole).filter(believable)?;
        (seen.at >= drained.min(now) && now >= drained && seen.at >= not_before)
            .then(|| shown_wrong(self.endpoint, seen))
    }

    fn shown(&self) -> impl Iterator<Item = &'a Shown> {
        self.current().into_iter().flat_map(|seen| seen.observations.iter().map(|observation| &observation.shown))
    }

    /// Whether some address answered with something other than what it should.
    fn reachable(&self) -> bool {
        self.shown().any(|shown| !matches!(shown, Shown::Wanted | Shown::Unreachable { .. }))
    }

    /// Whether ordinary clients are refused: not merely the old leaf, and not merely nobody there.
    fn broken(&self) -> bool {
        self.shown().any(|shown| matches!(shown, Shown::HandshakeFailed { .. } | Shown::BrokenChain { .. }))
    }

    fn look(&self, confirm: Handshakes, now: Timestamp, draft: &mut Draft) {
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

    fn look_for_drift(&self, confirm: Handshakes, draft: &mut Draft) {
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
}

fn shown_wrong(endpoint: &Endpoint, seen: &EndpointSeen) -> Failure {
    let wrong = |shown: &Shown| match shown {
        Shown::Wanted => None,
        Shown::Other { serial, not_after, .. } => {
            Some(("served_older_than_disk".to_owned(), format!("serves serial {serial}, valid until {not_after}")))
        }
        Shown::BrokenChain { message } => {
            Some(("node_chain_broken".to_owned(), format!("serves the new leaf with a broken chain: {message}")))
        }
        Shown::HandshakeFailed { failure } | Shown::Unreachable { failure } => {
            Some((failure.code.clone(), failure.message.to_string()))
        }
    };
    let found =
        seen.observations.iter().filter_map(|observation| Some((observation.address, wrong(&observation.shown)?)));
    let lines: Vec<_> = found.collect();
    let (code, message) = lines.first().map_or_else(
        || ("dns_no_address".to_owned(), "no address to look at".to_owned()),
        |(_, (code, message))| (code.clone(), message.clone()),
    );
    let mut failure = Failure::new(Class::Retry, code, endpoint.to_string(), message)
        .advise("is the right server reloaded, and does its configuration name the files in the live directory?");
    for (address, (_, message)) in lines {
        let address = address.map_or_else(|| "no address".to_owned(), |address| address.to_string());
        failure = failure.detail(format!("{address}: {message}"));
    }
    failure
}

/// Everything wanted is proven: say so once an epoch.
fn went_live(view: &View<'_>, want: &Want, draft: &mut Draft) {
    let ledger = view.ledger();
    if ledger.live.as_ref().is_some_and(|milestone| milestone.epoch == ledger.epoch) || !live(view) {
        return;
    }
    let (epoch, generation) = (ledger.epoch, want.default.generation);
    draft.record(Slot::Want, Event::WentLive { epoch, generation }, Reason::Proven);
}
