//! Invariants of a roll-out's shape: canaries, waves, pauses, and its end where too many nodes fail.

use super::*;
use everleaf::config::spec::Certificate;
use everleaf::core::ledger::Rolled;
use everleaf::types::Epoch;

/// What is remembered of roll-outs.
#[derive(Debug, Default)]
pub(crate) struct Courses {
    /// Where more nodes have failed than may, and since when.
    stopped: BTreeMap<CertName, u64>,
    /// Nodes published to, and when that last began.
    begun: BTreeMap<(CertName, NodeName), (Epoch, u64)>,
    /// When a node was last found out of reach.
    out_of_reach: BTreeMap<NodeName, u64>,
}

/// A node's certificate that is about to end waits for nobody, nor does a node without one wait for canaries.
fn has(ledger: &Ledger, node: &NodeName) -> Option<Timestamp> {
    let rolled = ledger.rolled(node);
    let at = rolled.confirmed.as_ref().or(rolled.reloaded.as_ref())?;
    ledger.generations.get(&at.generation).map(|held| last_call(held.about.validity))
}

fn is_through(ledger: &Ledger, certificate: &Certificate, node: &NodeName) -> bool {
    let Some(want) = &ledger.want else { return false };
    let (aim, rolled) = (want.on(node), ledger.rolled(node));
    let proof = if certificate.confirm == Confirm::None { &rolled.reloaded } else { &rolled.confirmed };
    proof.as_ref().is_some_and(|at| at.epoch >= aim.epoch)
}

/// Whether it failed at what is wanted there, and has not got over it.
fn has_failed(ledger: &Ledger, node: &NodeName) -> bool {
    let Some(want) = &ledger.want else { return false };
    let (aim, rolled): (_, &Rolled) = (want.on(node), ledger.rolled(node));
    let deploy = rolled.deploy.failures > 0 && !rolled.deployed_at(aim);
    let reload = rolled.reload.failures > 0 && rolled.reload_due();
    let open = deploy || reload || rolled.serve.failures > 0;
    (aim.rollback && aim.generation < want.default.generation) || (rolled.failed == Some(aim.epoch) && open)
}

impl State {
    pub(super) fn node_failed(&mut self, node: &NodeName) {
        self.watcher.courses.out_of_reach.insert(node.clone(), self.mono);
    }

    /// After each record: whether a roll-out has stopped by now.
    pub(super) fn note_stop(&mut self, name: &CertName, ledger: &Ledger) {
        let Some(certificate) = self.spec.certificates.get(name) else { return };
        let most = certificate.rollout.max_failures;
        let own = certificate.endpoints.iter().all(|endpoint| endpoint.node.is_some());
        let failed = certificate.nodes.iter().filter(|node| has_failed(ledger, node)).count();
        if own && most.is_some_and(|most| failed > most) {
            let mono = self.mono;
            if !self.watcher.courses.stopped.contains_key(name) {
                self.watcher.courses.stopped.insert(name.clone(), mono);
                self.count("roll-out", "stopped");
            }
        } else if self.watcher.courses.stopped.remove(name).is_some() {
            self.count("roll-out", "goes on");
        }
    }

    /// A node is about to be published to: is it its turn?
    pub(super) fn it_is_its_turn(&mut self, name: &CertName, node: &NodeName) {
        let (spec, ledger, mono) = (Rc::clone(&self.spec), self.watcher.ledger(name), self.mono);
        let (Some(certificate), Some(want)) = (spec.certificates.get(name), &ledger.want) else { return };
        let just_decided = self.watcher.wanted_before.get(name).is_some_and(|(at, _)| *at == mono);
        let aim = want.on(node);
        let rolled = ledger.rolled(node);
        let key = (name.clone(), node.clone());
        let before = self.watcher.courses.begun.insert(key, (aim.epoch, mono));
        let tried =
            rolled.deployed_at(aim) || rolled.failed == Some(aim.epoch) || before.is_some_and(|it| it.0 == aim.epoch);
        let apart = want.overrides.contains_key(node);
        if just_decided || tried || apart || self.watcher.harmed.contains(name) {
            return;
        }
        self.no_more_than_so_many_at_once(name, node, certificate, &ledger);
        if want.default.rollback {
            return;
        }
        let now = self.now();
        let last_call = has(&ledger, node);
        let ends = last_call.is_some_and(|at| now >= at);
        // What begins in the very moment in which another one's failure is heard of was begun before.
        let stopped = self.watcher.courses.stopped.get(name).is_some_and(|since| *since < mono);
        if stopped && !ends {
            self.watcher.violated("nothing_begins_after_too_many_failures", format!("{name} on {node}"));
        }
        if ends || last_call.is_none() {
            return;
        }
        let canaries = &certificate.rollout.canaries;
        if !canaries.contains(node) && canaries.iter().any(|canary| !is_through(&ledger, certificate, canary)) {
            self.watcher.violated("canaries_come_first", format!("{name} on {node}"));
        }
        let in_wave = ledger.wave.as_ref().is_some_and(|wave| wave.epoch == aim.epoch && wave.nodes.contains(node));
        if !certificate.rollout.pause.is_zero() && !in_wave {
            self.watcher.violated("pauses_are_kept", format!("{name} on {node}"));
        }
    }

    /// Never are more than `parallel` nodes of a certificate between publishing and proof, those that failed aside.
    fn no_more_than_so_many_at_once(
        &mut self,
        name: &CertName,
        node: &NodeName,
        certificate: &Certificate,
        ledger: &Ledger,
    ) {
        let Some(want) = &ledger.want else { return };
        let mono = self.mono;
        let courses = &self.watcher.courses;
        let under_way = |other: &&NodeName| {
            let (aim, rolled) = (want.on(other), ledger.rolled(other));
            let begun = courses.begun.get(&(name.clone(), (*other).clone()));
            let begins =
                begun.is_some_and(|begun| *begun == (aim.epoch, mono)) && !is_through(ledger, certificate, other);
            let published = rolled.deployed_at(aim) && !is_through(ledger, certificate, other);
            let lost = courses.out_of_reach.get(*other).is_some_and(|at| mono.saturating_sub(*at) < 2 * DAY);
            *other != node
                && !want.overrides.contains_key(*other)
                && (begins || published)
                && rolled.failed != Some(aim.epoch)
                && !lost
        };
        let others: Vec<_> =
            certificate.nodes.iter().filter(under_way).map(|node| (node, ledger.rolled(node))).collect();
        if others.len() >= certificate.rollout.parallel {
            self.watcher
                .violated("no_more_than_so_many_at_once", format!("{name} on {node}: {others:?} are under way"));
        }
    }

    /// A wave begins when the one before is through and its pause is over.
    pub(super) fn a_wave_comes_after_the_pause(&mut self, name: &CertName, before: &Ledger, entry: &Entry<Event>) {
        let Event::WaveBegun { epoch, nodes } = &entry.event else { return };
        let Some(certificate) = self.spec.certificates.get(name) else { return };
        let rollout = &certificate.rollout;
        let patience = before.newest_accepted().map_or(rollout.pause, |held| held.about.validity.width() / 6);
        let pause = rollout.pause.min(patience);
        let last = before.wave.as_ref().filter(|wave| wave.epoch == *epoch);
        let early = last.is_some_and(|wave| wave.ended.is_none_or(|ended| entry.at < ended + pause));
        let canaries = nodes.iter().all(|node| rollout.canaries.contains(node));
        let large = nodes.len() > rollout.parallel && !canaries;
        if early || large {
            self.watcher.violated("a_wave_comes_after_the_pause", format!("{name}: {nodes:?} after {last:?}"));
        }
    }
}
