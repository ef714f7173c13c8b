//! The roll-out track: each node towards what is wanted there, each endpoint until it is proven.
//!
//! ```text
//! confirmed at want  → nothing; look again every so often (drift)
//! deployed ≠ want    → Deploy            reloaded < deploy → Reload
//! otherwise          → Look; on mismatch look again until `drain` has passed; then Inspect;
//!                      differs → Deploy, same → Reload, with backoff; people are told
//! ```

use super::effect::{Effect, Slot};
use super::event::Event;
use super::hold::Trouble;
use super::issue::held;
use super::ledger::{Aim, Held, Rolled, Want};
use super::plan::{Draft, View, WakeKind};
use super::reason::Reason;
use super::schedule::last_call;
use super::sightings::NodeSeen;
use super::watch::{Watch, Watches, proven};
use super::{asks, waves};
use crate::config::spec::{Certificate, Confirm, Handshakes, Node, NodeKind};
use crate::types::{Class, Digest, Failure, GenId, NodeName, Timestamp, sha256};
use std::time::Duration;

/// How often files on this machine are looked at where no endpoint is.
const FILES_EVERY: Duration = Duration::from_secs(3_600);

/// Plans the roll-out track.
pub(super) fn rollout(view: &View<'_>, draft: &mut Draft) {
    let Some(want) = &view.ledger().want else {
        asks::refuse(view, draft);
        return placeholders(view, draft);
    };
    if asks::answered(view, want, draft) {
        return;
    }
    let (turns, common) = turns(view, want);
    for turn in waves::whose(view, want, &turns, draft) {
        turn.plan(view, &common, draft);
    }
    unattributed(view, &turns, &common, draft);
    went_live(view, want, draft);
}

/// Every node of the certificate on its way, and the endpoints that are no single node's.
pub(super) fn turns<'a>(view: &View<'a>, want: &'a Want) -> (Vec<Turn<'a>>, Vec<Option<Watch<'a>>>) {
    let mut watches = Watches::new(view, want);
    let nodes = view.certificate.nodes.iter();
    let turns = nodes.filter_map(|name| Turn::new(view, want, name, watches.take(name))).collect();
    (turns, watches.common)
}

/// Whether every endpoint of every node is proven to serve what is wanted. `confirm: none` never is.
pub(super) fn live(view: &View<'_>) -> bool {
    let Some(want) = &view.ledger().want else { return false };
    let Confirm::Handshakes(_) = view.certificate.confirm else { return false };
    let placed = view.certificate.nodes.iter().all(|node| placed(view, node, want.on(node)));
    placed && put_back(view).next().is_none() && Watches::new(view, want).proven()
}

/// Nodes that went back by themselves during a roll-out: each with what to tell people until something newer is decided.
pub(super) fn put_back<'a>(view: &View<'a>) -> impl Iterator<Item = (&'a NodeName, Failure)> {
    let want = view.ledger().want.as_ref();
    let name = &view.certificate.name;
    view.certificate.nodes.iter().filter_map(move |node| {
        let (wanted, aim) = (want?.default.generation, want?.on(node));
        (aim.rollback && aim.generation < wanted).then(|| {
            let message = format!("{}: it serves {} again, and the others wait", aim.why, aim.generation);
            let failure = Failure::new(Class::Operator, "rollout:rolled_back", format!("node {node}"), message);
            let advice = format!(
                "find out from its server's log what it has against {wanted}, then `everleaf deploy {name}` tries that again"
            );
            (node, failure.advise(advice))
        })
    })
}

/// Whether everything wanted is published and reloaded, proven or not.
pub(super) fn installed(view: &View<'_>) -> bool {
    let Some(want) = &view.ledger().want else { return false };
    view.certificate.nodes.iter().all(|node| placed(view, node, want.on(node)))
}

fn placed(view: &View<'_>, node: &NodeName, aim: &Aim) -> bool {
    published(view, node, aim) && view.ledger().nodes.get(node).is_some_and(|rolled| !rolled.reload_due())
}

/// What is wrong with a node now. Trouble with publishing or reloading is over where nothing of the kind is left to do, even
/// if somebody else did it.
pub(super) fn troubles<'a>(view: &View<'a>, node: &NodeName) -> impl Iterator<Item = &'a Trouble> {
    let (ledger, rolled) = (view.ledger(), view.ledger().rolled(node));
    let lags = rolled.lagging.is_some() || rolled.serve.failures > 0;
    let here = || ledger.want.as_ref().is_some_and(|want| published(view, node, want.on(node)) && !drifted(view, node));
    let deploy = (rolled.deploy.failures > 0 && (lags || !here())).then_some(&rolled.deploy);
    let reload = (lags || rolled.reload_due()).then_some(&rolled.reload);
    [deploy, reload, Some(&rolled.serve)].into_iter().flatten()
}

/// Whether something else than what was published last was seen to lie on a node. On this machine that cannot even be looked
/// at is no better: it is published anew.
fn drifted(view: &View<'_>, node: &NodeName) -> bool {
    let Some(deployed) = &view.ledger().rolled(node).deployed else { return false };
    let here = view.spec.nodes.get(node).is_some_and(|node| matches!(node.kind, NodeKind::Local));
    let seen = view.facts.seen.nodes.get(node).filter(|seen| seen.started >= deployed.seq && seen.at <= view.now);
    seen.is_some_and(|seen| (here || seen.published.is_some()) && !seen.holds(deployed.generation))
}

/// Whether a node has what is wanted there, where and as it is wanted.
pub(super) fn published(view: &View<'_>, node: &NodeName, aim: &Aim) -> bool {
    let placement = view.spec.nodes.get(node).map(|node| placement(node, view.certificate));
    let rolled = view.ledger().nodes.get(node);
    rolled.zip(placement).is_some_and(|(rolled, placement)| rolled.deployed_at(aim) && rolled.placed_as(&placement))
}

/// The digest of where and how a certificate is published on a node.
fn placement(node: &Node, certificate: &Certificate) -> Digest {
    let how = match &node.kind {
        NodeKind::Local => format!("{:?} {:?}", certificate.access, certificate.files),
        NodeKind::Exec(hook) => format!("{:?}", hook.argv),
        NodeKind::Ssh(ssh) => format!("{:?} {ssh:?}", certificate.access),
    };
    sha256(&[node.live.as_os_str().as_encoded_bytes(), b"\0", how.as_bytes()])
}

/// Whether a reload failed because of what lies there, which publishing it anew mends.
pub(super) fn found_damaged(failure: &Failure) -> bool {
    matches!(failure.code.as_str(), "reload:not-published" | "reload:pair")
}

/// The digest of a node's reload command and its check: trouble with one command is no trouble of another.
#[must_use]
pub(super) fn verb(node: &Node) -> Digest {
    sha256(&[format!("{:?} {:?} {:?}", node.reload, node.check, node.kind).as_bytes()])
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
            draft.wake(until, WakeKind::Hold, held("publishing a placeholder", &rolled.deploy, draft.now));
            continue;
        }
        let why = Reason::NothingPublished { node: node.clone() };
        draft.step(Slot::Node(node.clone()), Effect::Placeholder { node: node.clone() }, why);
    }
}

/// A node on its way to what is wanted there.
pub(super) struct Turn<'a> {
    pub(super) node: &'a Node,
    pub(super) aim: &'a Aim,
    pub(super) rolled: &'a Rolled,
    placement: Digest,
    /// Its own endpoints.
    watches: Vec<Watch<'a>>,
}

impl<'a> Turn<'a> {
    fn new(view: &View<'a>, want: &'a Want, name: &NodeName, watches: Vec<Watch<'a>>) -> Option<Self> {
        let node = view.spec.nodes.get(name)?;
        let placement = placement(node, view.certificate);
        Some(Self { node, aim: want.on(name), rolled: view.ledger().rolled(name), placement, watches })
    }

    fn slot(&self) -> Slot {
        Slot::Node(self.node.name.clone())
    }

    /// Whether it serves what it should, as far as that is asked for.
    pub(super) fn confirmed(&self, view: &View<'a>) -> bool {
        let published = self.rolled.deployed_at(self.aim) && self.rolled.placed_as(&self.placement);
        let placed = published && !self.rolled.reload_due();
        placed && (view.certificate.confirm == Confirm::None || self.watches.iter().all(Watch::proven))
    }

    /// When what it has is about to end, or it has nothing, waiting for canaries and in pauses does more harm than good.
    pub(super) fn in_a_hurry(&self, view: &View<'a>) -> bool {
        self.has(view).is_none() || self.is_about_to_end(view)
    }

    /// When what it has is about to end, nothing that could go wrong is worse than to wait.
    pub(super) fn is_about_to_end(&self, view: &View<'a>) -> bool {
        self.has(view).is_some_and(|held| view.now >= last_call(held.about.validity))
    }

    fn has(&self, view: &View<'a>) -> Option<&'a Held> {
        let has = self.rolled.confirmed.as_ref().or(self.rolled.reloaded.as_ref())?;
        view.ledger().generations.get(&has.generation)
    }

    /// Whether the roll-out failed here and has not got over it.
    pub(super) fn failed(&self, view: &View<'a>) -> bool {
        let since = self.rolled.failed == Some(self.aim.epoch);
        since && troubles(view, &self.node.name).any(|trouble| trouble.failures > 0)
    }

    /// Whether the node was found out of reach, for this certificate or another, since this was decided.
    pub(super) fn is_out_of_reach(&self, view: &View<'a>) -> bool {
        let trouble = view.shared.nodes.get(&self.node.name).map(|facts| &facts.trouble);
        trouble.and_then(|trouble| trouble.hold).is_some_and(|hold| hold.set_at > self.aim.at)
    }

    /// Whether it is back at something older than what is rolled out.
    pub(super) fn went_back(&self, want: &Want) -> bool {
        self.aim.rollback && self.aim.generation < want.default.generation
    }

    /// Whether a generation was published there last.
    pub(super) fn has_files_of(&self, generation: GenId) -> bool {
        self.rolled.deployed.as_ref().is_some_and(|at| at.generation == generation)
    }

    /// Trouble with another reload command, one that has been edited since, is no reason to wait.
    fn edited(&self) -> bool {
        self.rolled.reload_verb.is_some_and(|it| it != verb(self.node))
    }

    fn hold(&self, view: &View<'a>, trouble: &Trouble) -> Option<Timestamp> {
        view.hold(trouble).filter(|_| !self.edited())
    }

    pub(super) fn is_held(&self, view: &View<'a>) -> bool {
        let rolled = self.rolled;
        let own = view.hold(&rolled.deploy).or_else(|| self.hold(view, &rolled.reload).filter(|_| rolled.reload_due()));
        let serve = self.hold(view, &rolled.serve).filter(|_| rolled.lagging.is_some());
        own.or(serve).or_else(|| self.unreachable(view)).is_some()
    }

    fn unreachable(&self, view: &View<'a>) -> Option<Timestamp> {
        let trouble = &view.shared.nodes.get(&self.node.name)?.trouble;
        // A decision newer than the trouble is worth one try.
        let newer = trouble.hold.is_some_and(|hold| self.aim.at >= hold.set_at);
        view.hold(trouble).filter(|_| !newer)
    }

    fn plan(&self, view: &View<'a>, common: &[Option<Watch<'a>>], draft: &mut Draft) {
        if !self.rolled.deployed_at(self.aim) {
            let why = Reason::NotDeployed { node: self.node.name.clone(), epoch: self.aim.epoch };
            return self.deploy(view, why, draft);
        }
        if !self.rolled.placed_as(&self.placement) {
            return self.deploy(view, Reason::PlacementEdited { node: self.node.name.clone() }, draft);
        }
        if self.rolled.reload_due() {
            let why = Reason::NotReloaded { node: self.node.name.clone() };
            let again = self.may_be_damaged() && self.hold(view, &self.rolled.reload).is_none();
            return if again { self.deploy(view, why, draft) } else { self.reload(view, why, draft) };
        }
        if self.rolled.deploy.failures > 0 {
            // What was found damaged and could not be mended: done already is done, and is known to be done then.
            return self.deploy(view, Reason::Drifted { node: self.node.name.clone() }, draft);
        }
        let Confirm::Handshakes(confirm) = view.certificate.confirm else {
            return self.look_at_files(view, FILES_EVERY, draft);
        };
        let watches = &self.watches;
        if watches.iter().all(Watch::proven) {
            self.confirm(common, draft);
            self.look_at_files(view, confirm.every, draft);
            return watches.iter().for_each(|watch| watch.look_for_drift(confirm, draft));
        }
        self.pursue(view, confirm, watches, draft);
    }

    fn deploy(&self, view: &View<'a>, why: Reason, draft: &mut Draft) {
        let node = self.node.name.clone();
        if let Some(until) = view.hold(&self.rolled.deploy) {
            return draft.wake(until, WakeKind::Hold, held("publishing", &self.rolled.deploy, draft.now));
        }
        if let Some(until) = self.unreachable(view) {
            let failure = view.shared.nodes.get(&node).and_then(|facts| facts.trouble.last.clone());
            let failure = failure.map(|failure| failure.message).unwrap_or_default();
            return draft.wake(until, WakeKind::Hold, Reason::NodeTrouble { node, failure });
        }
        let (epoch, generation, placement) = (self.aim.epoch, self.aim.generation, self.placement);
        draft.step(self.slot(), Effect::Deploy { node, epoch, generation, placement }, why);
    }

    /// Whether the last reload failed since publishing, perhaps because of what lies there: a node's own hook looks, and does not say.
    fn may_be_damaged(&self) -> bool {
        let failed = self.rolled.reload_failed > self.rolled.deployed.as_ref().map(|at| at.seq);
        let damaged = self.rolled.reload.last.as_ref().is_some_and(found_damaged);
        failed && (damaged || !matches!(self.node.kind, NodeKind::Local))
    }

    /// On this machine, what lies there is held against what was put there every so often: servers that read it long ago hide
    /// the damage until they are started again. Elsewhere that would cost a connection a certificate; there the probe has to do.
    fn look_at_files(&self, view: &View<'a>, every: Duration, draft: &mut Draft) {
        let (NodeKind::Local, Some(deployed)) = (&self.node.kind, &self.rolled.deployed) else { return };
        let node = self.node.name.clone();
        let seen = view.facts.seen.nodes.get(&node);
        let seen = seen.filter(|seen| seen.started >= deployed.seq && seen.at <= view.now);
        // What cannot even be looked at is published anew, which mends it or says why it cannot.
        if seen.is_some_and(|seen| !seen.holds(self.aim.generation)) {
            return self.deploy(view, Reason::Drifted { node }, draft);
        }
        let last = seen.map_or(deployed.at, |seen| seen.at).min(view.now);
        let why = Reason::DriftLook { endpoint: format!("what lies on {node}") };
        // A one-shot run opens a certificate because something called for it, damage perhaps: it looks once.
        let due = view.horizon.began.filter(|began| last < *began).map_or(last + every, |began| began.min(view.now));
        if due > view.now {
            return draft.wake(due, WakeKind::Schedule, why);
        }
        draft.step(self.slot(), Effect::Inspect { node, generation: self.aim.generation }, why);
    }

    fn reload(&self, view: &View<'a>, why: Reason, draft: &mut Draft) {
        if let Some(until) = self.hold(view, &self.rolled.reload) {
            return draft.wake(until, WakeKind::Hold, held("reloading", &self.rolled.reload, draft.now));
        }
        let (node, verb) = (self.node.name.clone(), verb(self.node));
        let effect = Effect::Reload { node, epoch: self.aim.epoch, generation: self.aim.generation, verb };
        draft.step(self.slot(), effect, why);
    }

    fn confirm(&self, common: &[Option<Watch<'a>>], draft: &mut Draft) {
        let rolled = self.rolled;
        let settled = rolled.lagging.is_none() && rolled.serve.failures == 0;
        // Its trouble may be that of an endpoint it shares with other nodes, and is not over before that is proven.
        if self.is_known() && (settled || !proven(common)) {
            return;
        }
        let (node, epoch, generation) = (self.node.name.clone(), self.aim.epoch, self.aim.generation);
        draft.record(self.slot(), Event::NodeConfirmed { node, epoch, generation }, Reason::Proven);
    }

    /// Whether it was confirmed since its aim was set.
    fn is_known(&self) -> bool {
        self.rolled.confirmed.as_ref().is_some_and(|confirmed| confirmed.epoch == self.aim.epoch)
    }

    /// Not proven: look; give old workers time to go; then find out why, and mend it.
    fn pursue(&self, view: &View<'a>, confirm: Handshakes, watches: &[Watch<'a>], draft: &mut Draft) {
        if self.rolled.lagging.is_some() {
            if self.edited() {
                return self.reload(view, Reason::StillOld { node: self.node.name.clone() }, draft);
            }
            if let Some(until) = view.hold(&self.rolled.serve) {
                return draft.wake(until, WakeKind::Hold, held("serving it", &self.rolled.serve, draft.now));
            }
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
        let Some((watch, failure)) = wrong.iter().max_by_key(|(watch, _)| watch.reachable()) else { return };
        let failure = failure.clone();
        let reachable = watch.reachable();
        let wrong: Vec<Watch<'a>> = wrong.iter().map(|(watch, _)| **watch).collect();
        if reachable {
            self.mend(view, &wrong, failure, draft);
        } else if !unsettled {
            self.silent(view, &wrong, failure, draft);
        }
    }

    /// Nobody answers: that says nothing about what is served, so people are told, and it is looked again later. But what lies there
    /// can be lost: a machine built anew has nothing, and its server does not start without.
    fn silent(&self, view: &View<'a>, wrong: &[Watch<'a>], failure: Failure, draft: &mut Draft) {
        if self.unreachable(view).is_some() || !wrong.iter().any(Watch::meets_nobody) {
            return self.lags(false, failure, draft);
        }
        let Some(files) = self.inspected(view, wrong) else { return self.inspect(draft) };
        let lost = files.published.is_some() && !files.holds(self.aim.generation);
        if self.rolled.lagging.is_none() || !lost {
            return self.lags(lost && self.is_known() && self.rolled.serve.failures == 0, failure, draft);
        }
        self.deploy(view, Reason::Drifted { node: self.node.name.clone() }, draft);
    }

    /// What was found to lie there after these looks.
    fn inspected(&self, view: &View<'a>, wrong: &[Watch<'a>]) -> Option<&'a NodeSeen> {
        let seen_at = wrong.iter().map(Watch::seen_at).max();
        view.facts.seen.nodes.get(&self.node.name).filter(|seen| Some(seen.at) >= seen_at)
    }

    fn inspect(&self, draft: &mut Draft) {
        let node = self.node.name.clone();
        let effect = Effect::Inspect { node: node.clone(), generation: self.aim.generation };
        draft.step(self.slot(), effect, Reason::StillOld { node });
    }

    /// After a hold only a look made since then counts.
    fn look_not_before(&self, view: &View<'a>) -> Timestamp {
        let serve = &self.rolled.serve;
        let hold_end = || serve.hold.map(|hold| hold.set_at + hold.span().min(view.patience()));
        let waited = self.rolled.lagging.and_then(|_| view.outlived(serve).or_else(hold_end));
        waited.unwrap_or(Timestamp::from_millis(0))
    }

    fn mend(&self, view: &View<'a>, wrong: &[Watch<'a>], failure: Failure, draft: &mut Draft) {
        let node = self.node.name.clone();
        let why = Reason::StillOld { node: node.clone() };
        let Some(files) = self.inspected(view, wrong) else { return self.inspect(draft) };
        if let Some((event, generation)) = self.go_back(view, wrong, files) {
            return draft.record(Slot::Want, event, Reason::GoesBack { node, generation });
        }
        if self.rolled.lagging.is_none() {
            // What held until now is mended at once; what was mended and does not hold waits.
            return self.lags(self.is_known() && self.rolled.serve.failures == 0, failure, draft);
        }
        if files.holds(self.aim.generation) && !wrong.iter().any(Watch::shows_foreign) {
            self.reload(view, why, draft);
        } else {
            self.deploy(view, Reason::Drifted { node }, draft);
        }
    }

    fn lags(&self, sudden: bool, failure: Failure, draft: &mut Draft) {
        let (node, epoch) = (self.node.name.clone(), self.aim.epoch);
        let why = Reason::StillOld { node: node.clone() };
        draft.record(self.slot(), Event::Lagging { node, epoch, drift: sudden, failure }, why);
    }

    /// Back to what it served well, and only where our generation is published and broke it.
    fn go_back(&self, view: &View<'a>, wrong: &[Watch<'a>], files: &NodeSeen) -> Option<(Event, GenId)> {
        let ledger = view.ledger();
        let generation = self.rolled.served_before.filter(|before| *before < self.aim.generation)?;
        let before = ledger.generations.get(&generation)?;
        let good = before.accepted() && view.now < before.about.validity.end;
        let allowed = view.certificate.rollout.roll_back && !self.aim.rollback && !self.is_known();
        let broke = wrong.iter().any(|watch| watch.broke_after(before.about.leaf));
        let event = Event::WantSet {
            epoch: ledger.epoch.next(),
            generation,
            node: Some(self.node.name.clone()),
            rollback: true,
            asked: None,
            why: format!("{} broke on {}", self.node.name, self.aim.generation).into(),
        };
        (allowed && good && broke && files.holds(self.aim.generation)).then_some((event, generation))
    }
}

impl Rolled {
    /// Whether what was published last is what is wanted.
    #[must_use]
    pub fn deployed_at(&self, aim: &Aim) -> bool {
        self.deployed.as_ref().is_some_and(|at| at.epoch == aim.epoch && at.generation == aim.generation)
    }

    /// Whether it was published where and as `placement` says, as far as is known.
    #[must_use]
    pub fn placed_as(&self, placement: &Digest) -> bool {
        self.placement.is_none_or(|placed| placed == *placement)
    }

    /// Whether something was published that its servers were not told of.
    #[must_use]
    pub fn reload_due(&self) -> bool {
        let reloaded = self.reloaded.as_ref().map(|at| at.seq);
        self.deployed.as_ref().is_some_and(|at| reloaded.is_none_or(|reloaded| reloaded < at.seq))
    }
}

/// Endpoints behind more than one node: proven after the last of them was reloaded; every node is told when they lag.
fn unattributed<'a>(view: &View<'a>, turns: &[Turn<'a>], common: &[Option<Watch<'a>>], draft: &mut Draft) {
    let Confirm::Handshakes(confirm) = view.certificate.confirm else { return };
    if common.is_empty() || turns.iter().any(|turn| !turn.confirmed(view)) {
        return;
    }
    for watch in common.iter().flatten() {
        if watch.proven() {
            watch.look_for_drift(confirm, draft);
            continue;
        }
        for turn in turns {
            turn.pursue(view, confirm, &[*watch], draft);
        }
    }
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
