//! Invariants of each record, as it is appended.

use super::*;

impl State {
    /// A request to renew by force is used up by the intent that names it, also across crashes.
    pub(super) fn force_fires_once(&mut self, name: &CertName, event: &Event) {
        let Event::OrderIntended { asked: Some(id), .. } = event else { return };
        // What was settled before a journal was lost is known no longer.
        if !self.watcher.fired.insert(id.clone()) && !self.watcher.harmed.contains(name) {
            self.watcher.violated("force_fires_once", format!("{name}: {id}"));
        }
    }

    /// An automatic order is made at most once a backoff step: at most six a day while nothing is accepted.
    pub(super) fn orders_are_paced(&mut self, name: &CertName, before: &Ledger, event: &Event) {
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
    pub(super) fn budget_is_never_exceeded(&mut self, name: &CertName, event: &Event) {
        let Event::OrderIntended { asked, issuer, .. } = event else { return };
        let mono = self.mono;
        let Some(order) = self.watcher.counted.iter().rfind(|counted| counted.certificate == *name) else {
            return self.watcher.violated("orders_are_counted_first", name.to_string());
        };
        if order.at != mono {
            self.watcher.violated("orders_are_counted_first", format!("{name}: the last count is of another order"));
            return;
        }
        let Some(budget) = self.spec.issuers.get(issuer).map(|issuer| issuer.budget.clone()) else { return };
        if asked.is_some() || order.exempt {
            return;
        }
        let spent = |quota: Quota, of: &dyn Fn(&Counted) -> bool| {
            let span = u64::try_from(quota.per.as_millis()).unwrap_or(u64::MAX);
            let recent = |it: &&Counted| it.issuer == *issuer && !it.exempt && mono.saturating_sub(it.at) < span;
            let spent = self.watcher.counted.iter().filter(recent).filter(|it| of(it)).count();
            let known = !self.watcher.clock_was_set_within(mono, span);
            (known && spent > usize::try_from(quota.count).unwrap_or(usize::MAX)).then_some((spent, quota.per))
        };
        let same_domain = |it: &Counted| it.domains.iter().any(|domain| order.domains.contains(domain));
        let over = [
            budget.per_set.and_then(|quota| spent(quota, &|it| !it.unissued && it.names == order.names)),
            budget.per_domain.and_then(|quota| spent(quota, &|it| !it.unissued && same_domain(it))),
            budget.per_account.and_then(|quota| spent(quota, &|_| true)),
        ];
        if let Some((spent, per)) = over.into_iter().flatten().next() {
            self.watcher.violated("budget_is_never_exceeded", format!("{name}: {spent} orders in {per:?}"));
        }
    }

    /// A CA's Retry-After to newOrder, once durable, is a minimum: across restarts, and for `--force` too.
    pub(super) fn retry_after_is_kept(&mut self, name: &CertName, before: &Ledger, event: &Event) {
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

    /// Whatever process orders next, it waits as long as the failures before it ask for, in a row since the last success.
    pub(super) fn failures_are_remembered(&mut self, name: &CertName, before: &Ledger, event: &Event) {
        const LADDER: [u64; 4] = [60_000, 600_000, 6_000_000, DAY];
        let mono = self.mono;
        match event {
            // A person's wish, an edit and a success begin anew; a rebuilt journal has a caution of its own.
            Event::Accepted { .. } | Event::Asked { .. } | Event::Rebuilt { .. } => {
                self.watcher.failed.remove(name);
            }
            Event::OrderFailed { .. } => {
                let (failures, at) = self.watcher.failed.entry(name.clone()).or_default();
                (*failures, *at) = (*failures + 1, mono);
            }
            Event::OrderIntended { asked, spec_digest, settings, .. } => {
                let edited = before.attempted != Some(*spec_digest) || before.attempted_with != *settings;
                if edited || asked.is_some() {
                    self.watcher.failed.remove(name);
                }
                let Some((failures, at)) = self.watcher.failed.get(name) else { return };
                let patience = before.newest_accepted().map_or(Duration::MAX, |it| it.about.validity.width() / 6);
                let wait = LADDER[(*failures - 1).min(LADDER.len() - 1)];
                let wait = wait.min(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
                if mono + 1_000 < at + wait && !self.watcher.clock_was_set_within(mono, 2 * DAY) {
                    let waited = (mono - at) / 1_000;
                    let how = format!("{name} is ordered {waited} s after failure {failures}");
                    self.watcher.violated("failures_are_remembered", how);
                }
            }
            _ => {}
        }
    }

    /// An order of which a certificate may have come is looked after, not given up because a reply was lost.
    pub(super) fn a_lost_reply_costs_no_certificate(&mut self, name: &CertName, before: &Ledger, event: &Event) {
        let lost = match event {
            Event::OrderAbandoned { lost, .. } => *lost,
            Event::OrderFailed { failure, .. } => failure.code.starts_with("net:"),
            _ => false,
        };
        let phase = before.order.as_ref().map(|order| &order.phase);
        if lost && matches!(phase, Some(Phase::CsrIntended | Phase::Submitted | Phase::Valid)) {
            self.watcher.violated("a_lost_reply_costs_no_certificate", format!("{name}: given up in {phase:?}"));
        }
    }

    /// No order within a day of a rebuilt journal, unless the certificate is late, edited or asked for.
    pub(super) fn a_rebuilt_journal_is_cautious(&mut self, name: &CertName, before: &Ledger, event: &Event) {
        let mono = self.mono;
        if let Event::Rebuilt { .. } = event {
            self.watcher.rebuilt.insert(name.clone(), mono);
        }
        let Event::OrderIntended { asked: None, .. } = event else { return };
        let recent = self.watcher.rebuilt.get(name).is_some_and(|at| mono - at < DAY - 1_000);
        let asked = self.watcher.asked.get(name).is_some_and(|asks| asks.iter().any(|at| mono - at < DAY));
        let now = self.now();
        let late = before.newest_accepted().is_none_or(|held| now >= last_call(held.about.validity));
        if recent && !late && !asked && before.attempted.is_none() && !self.watcher.clock_was_set_within(mono, 2 * DAY)
        {
            self.watcher.violated("a_rebuilt_journal_is_cautious", name.to_string());
        }
    }

    /// A rollback stands until something newer is accepted; nothing orders that by itself before the pinned one ends.
    pub(super) fn rollback_is_not_undone(&mut self, name: &CertName, before: &Ledger, event: &Event) {
        match event {
            // Who forced an order whose reply was lost is owed another one.
            Event::OrderIntended { asked: None, spec_digest, .. } if before.owed.is_none() => {
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
    pub(super) fn live_only_if_seen(&mut self, name: &CertName, before: &Ledger, event: &Event) {
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
    }

    /// A node that does not serve what it should is reloaded again with backoff, not without end.
    pub(super) fn reloads_are_paced(&mut self, name: &CertName, event: &Event) {
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
    pub(super) fn plan_moves_on(&mut self, name: &CertName) {
        let ledger = self.watcher.ledger(name);
        let facts = Facts { ledger: (*ledger).clone(), seen: Sightings::default() };
        let (shared, now) = (Shared::default(), self.now());
        let horizon = Horizon { span: Duration::ZERO, issue: true, began: None };
        let made = plan(&self.spec, name, &facts, &shared, now, horizon);
        let stage = standing(&self.spec, name, &facts, &shared, &made, now).stage;
        self.count("stage", coverage::stage(&stage));
        self.moves_on(name, &made, now);
    }

    pub(super) fn moves_on(&mut self, name: &CertName, made: &Plan, now: Timestamp) {
        if made.wake().is_none_or(|wake| wake.at <= now) {
            self.watcher.violated("plan_moves_on", format!("{name} wakes at {:?}", made.wake()));
        }
    }
}
