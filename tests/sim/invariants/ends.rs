//! Invariants of what a run reports, and of how it all ends.

use super::*;

impl State {
    /// What a burst reports is what the journal says; what it draws it always draws.
    pub(crate) fn reported(&mut self, report: &Report) {
        let now = self.now();
        for (name, account) in &report.certificates {
            if let Some(defect) = account.broken.as_ref().filter(|failure| failure.code == "internal") {
                self.watcher.violated("decisions_come_to_an_end", format!("{name}: {defect}"));
            }
            if account.locked.is_some() || account.broken.is_some() {
                continue;
            }
            let stage = account.standing.stage;
            self.count("outcome", coverage::outcome(&account.standing.outcome));
            self.count("stage", coverage::stage(&stage));
            // A report is of the moment in which the certificate was let go: a process that was stopped since reports late.
            let ledger = &account.facts.ledger;
            if self.watcher.truth.get(name).is_some_and(|truth| truth.seq <= ledger.seq && **truth != *ledger) {
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
    pub(super) fn drawn_instant_stands(&mut self, name: &CertName, made: &Plan) {
        for wake in &made.wakes {
            let Reason::Drawn { window } = &wake.why else { continue };
            let drawn = *self.watcher.drawn.entry((name.clone(), window.start, window.end)).or_insert(wake.at);
            if drawn != wake.at {
                self.watcher.violated("drawn_instant_stands", format!("{name}: {drawn}, then {}", wake.at));
            }
        }
    }

    /// What is called live has a journal that says each node confirmed what is wanted there.
    pub(super) fn live_is_true(&mut self, name: &CertName, stage: Stage) {
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
        let spec = Rc::clone(&self.spec);
        for name in spec.certificates.keys() {
            let ledger = self.watcher.ledger(name);
            let Some(account) = report.certificates.get(name) else { continue };
            let stage = account.standing.stage;
            let proven = self.spec.certificates.get(name).is_none_or(|it| it.confirm != Confirm::None);
            // Who went back on a node has it so until something newer is accepted, and reads that it is not live.
            let went_back = ledger.want.as_ref().is_some_and(|want| want.overrides.values().any(|aim| aim.rollback));
            if went_back {
                continue;
            }
            if stage != if proven { Stage::Live } else { Stage::Unproven } {
                wrong.push(format!("healed_means_live: {name} is {stage}; {:?}", account.plan.wakes));
                continue;
            }
            let now = self.true_now();
            if ledger.newest_accepted().is_none_or(|held| held.about.validity.end <= now) {
                wrong.push(format!("nothing_expires_in_a_healed_world: {name}"));
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
            // What a person went back to may be near its end before it is renewed, and so may what its CA renews late.
            let pinned = ledger.want.as_ref().is_some_and(|want| want.default.rollback);
            let called = ledger.newest_accepted().is_some_and(|held| now >= last_call(held.about.validity));
            // Nothing is ordered for a day after a journal was lost, which a daemon may find two days after the world healed.
            let careful = ledger.issue.last.as_ref().is_some_and(|last| last.code == "state:rebuilt");
            let over = |alert: &Alert| match alert {
                Alert::Danger => called && !pinned,
                Alert::Issue => !careful,
                _ => true,
            };
            if ledger.told.values().any(|told| told.keys().any(over)) {
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
        let spec = Rc::clone(&self.spec);
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
