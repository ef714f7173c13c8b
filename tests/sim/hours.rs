//! What goes wrong by itself, and what people do, hour by hour; and how it all ends.

use crate::faults::Fault;
use crate::process::Kind;
use crate::scenario::{DAY, Deed, HOUR, MINUTE, Run, SECOND};
use everleaf::config::spec::{Certificate, KeyAlgorithm, Reload};
use everleaf::core::Ask;
use everleaf::ports::{Memory, Request, Scope};
use everleaf::types::{CertName, Identifier, IssuerName, NodeName, RequestId, Window};
use std::rc::Rc;
use std::time::Duration;

impl Run {
    pub(crate) fn an_hour_passes(&mut self, mono: u64) {
        self.nodes_fail(mono);
        self.cas_fail(mono);
        self.the_machine_fails(mono);
        self.people_ask();
        self.people_edit(mono);
    }

    fn strikes(&self, fault: Fault) -> bool {
        self.world.state().strikes(fault)
    }

    fn below(&self, below: u64) -> u64 {
        self.world.state().dice.below(below)
    }

    fn cas_fail(&mut self, mono: u64) {
        let names: Vec<IssuerName> = self.world.state().spec.issuers.keys().cloned().collect();
        for name in names {
            if self.strikes(Fault::CaDown) {
                let until = mono + HOUR + self.below(8 * HOUR);
                if let Some(ca) = self.world.state().cas.get_mut(&name) {
                    ca.down_until = until;
                }
            }
            if self.strikes(Fault::MassRecall) {
                let mut state = self.world.state();
                let now = state.true_now();
                let past = Window { start: now - Duration::from_secs(7_200), end: now - Duration::from_secs(3_600) };
                if let Some(ca) = state.cas.get_mut(&name) {
                    ca.recall(past);
                }
            }
        }
    }

    fn the_machine_fails(&mut self, mono: u64) {
        if self.strikes(Fault::SecondPeer) {
            self.start(Kind::OneShot);
        }
        if self.strikes(Fault::OwnDiskFull) {
            let until = mono + HOUR / 2 + self.below(10 * HOUR);
            self.world.state().disk_full_until = until;
        }
        for fault in [Fault::JournalDamaged, Fault::JournalLost] {
            let scopes: Vec<Scope> = self.world.state().store.journals.keys().cloned().collect();
            let chosen = self.world.state().dice.pick(&scopes).cloned();
            if let Some(scope) = chosen.filter(|_| self.strikes(fault)) {
                self.world.state().harm(&scope, fault == Fault::JournalLost);
            }
        }
        if !self.processes.is_empty() && self.strikes(Fault::Stopped) {
            let until = mono + HOUR + self.below(10 * HOUR);
            let which = usize::try_from(self.below(self.processes.len() as u64)).unwrap_or(0);
            self.stop(which, until);
        }
        if self.strikes(Fault::ClockAhead) {
            let jump = 60 * SECOND + self.below(3 * HOUR);
            self.set_clock(i64::try_from(jump).unwrap_or(0));
        }
        if self.strikes(Fault::ClockBack) {
            self.clock_back(mono);
        }
        let off = self.world.state().offset != 0;
        if off && self.below(3) == 0 {
            self.set_clock(0);
        }
    }

    /// Often somebody is at work just then: a certificate is looked at before, and forced afterwards.
    fn clock_back(&mut self, mono: u64) {
        let by = i64::try_from(60 * SECOND + self.below(6 * HOUR)).unwrap_or(0);
        let names: Vec<CertName> = self.world.state().spec.certificates.keys().cloned().collect();
        let forced = self.world.state().dice.pick(&names).cloned();
        if let Some(name) = &forced {
            self.ask(name, &Ask::Renew { force: false, new_key: false, yes: false });
        }
        self.plan(mono + 10 * MINUTE, Deed::ClockBack { by, forced });
    }

    /// SIGSTOP, and hours later SIGCONT.
    pub(crate) fn stop(&mut self, which: usize, until: u64) {
        if let Some(process) = self.processes.get_mut(which) {
            (process.stopped_until, process.was_stopped) = (until, true);
            self.plan(until, Deed::Continue);
        }
    }

    pub(crate) fn set_clock(&mut self, offset: i64) {
        let mut state = self.world.state();
        state.offset = offset;
        state.watcher.clock_set = Some(state.mono);
    }

    fn nodes_fail(&mut self, mono: u64) {
        let spec = Rc::clone(&self.world.state().spec);
        for node in spec.nodes.keys() {
            if self.scapegoat.as_ref().is_some_and(|goat| goat != node) {
                continue;
            }
            let mut state = self.world.state();
            for fault in [
                Fault::NodeDown,
                Fault::HookLies,
                Fault::HookFails,
                Fault::SlowHook,
                Fault::NodeDiskFull,
                Fault::InspectUnknown,
                Fault::BreaksOnNew,
            ] {
                if state.strikes(fault) {
                    let until = mono + HOUR / 2 + state.dice.below(10 * HOUR);
                    *state.node(node).until(fault) = until;
                }
            }
            if state.strikes(Fault::ForeignFiles) {
                let salt = state.dice.next();
                let names: Vec<CertName> = spec.certificates.keys().cloned().collect();
                if let Some(name) = state.dice.pick(&names).cloned() {
                    state.node(node).overwrite(&name, salt);
                }
            }
            if state.strikes(Fault::DamagedOnReload) {
                state.node(node).finds_damage = 1;
            }
            if state.strikes(Fault::ServerRestart) {
                state.node(node).load(mono, None);
            }
        }
    }

    // ----------------------------------------------------------------------------------------------------------- people

    fn people_ask(&mut self) {
        const ASKS: [Fault; 6] = [
            Fault::AskRenew,
            Fault::AskForce,
            Fault::AskDeploy,
            Fault::AskDeployNode,
            Fault::AskRollback,
            Fault::AskRollbackNode,
        ];
        let spec = Rc::clone(&self.world.state().spec);
        for (name, certificate) in &spec.certificates {
            for fault in ASKS {
                if self.strikes(fault) {
                    let ask = self.wish(fault, certificate);
                    self.ask(name, &ask);
                }
            }
        }
        if self.strikes(Fault::Rehearsal) {
            self.rehearse();
        }
    }

    fn wish(&self, fault: Fault, certificate: &Certificate) -> Ask {
        let yes = self.below(2) == 0;
        let node: Option<NodeName> = self.world.state().dice.pick(&certificate.nodes).cloned();
        match fault {
            Fault::AskRenew => Ask::Renew { force: false, new_key: false, yes: false },
            Fault::AskForce => Ask::Renew { force: true, new_key: yes, yes },
            Fault::AskDeploy => Ask::Deploy { node: None },
            Fault::AskDeployNode => Ask::Deploy { node },
            Fault::AskRollback => Ask::Rollback { to: None, node: None },
            _ => Ask::Rollback { to: None, node },
        }
    }

    /// `renew --dry-run`: the same path, with another state, at another directory.
    pub(crate) fn rehearse(&mut self) {
        let names: Vec<CertName> = self.world.state().spec.certificates.keys().cloned().collect();
        let peer = self.peer(Kind::Rehearsal, 0);
        let ask = Ask::Renew { force: true, new_key: false, yes: true };
        for name in &names {
            let id = RequestId::from_random(self.world.state().dice.octets());
            let ask = serde_json::to_value(&ask).expect("it has only plain fields");
            drop(peer.drop_request(name, &Request { id, by: "operator".into(), ask }));
        }
        self.world.state().watcher.rehearsed = true;
        self.start_on(Kind::Rehearsal, names);
    }

    fn people_edit(&mut self, mono: u64) {
        let names: Vec<CertName> = self.world.state().spec.certificates.keys().cloned().collect();
        for name in names {
            for fault in [Fault::EditNames, Fault::EditKey, Fault::EditIssuer] {
                if self.strikes(fault) {
                    self.edit_certificate(fault, &name);
                }
            }
            if self.strikes(Fault::RemoveCertificate) {
                let mut removed = None;
                self.edit(|spec| removed = spec.certificates.remove(&name));
                let back = mono + HOUR + self.below(DAY);
                if let Some(certificate) = removed {
                    self.plan(back, Deed::PutBack(Box::new(certificate)));
                }
            }
        }
        let nodes: Vec<NodeName> = self.world.state().spec.nodes.keys().cloned().collect();
        for name in nodes {
            if self.strikes(Fault::EditReload) {
                self.edit(|spec| {
                    let Some(node) = spec.nodes.get_mut(&name) else { return };
                    node.reload = match node.reload {
                        Reload::Hook => Reload::Systemd { unit: "edge".into() },
                        _ => Reload::Hook,
                    };
                });
            }
        }
    }

    fn edit_certificate(&mut self, fault: Fault, name: &CertName) {
        let extra: Identifier = format!("v{}.{name}.example.org", self.below(1_000)).parse().expect("name");
        self.edit(|spec| {
            let Some(certificate) = spec.certificates.get_mut(name) else { return };
            match fault {
                Fault::EditNames => {
                    let solver = certificate.solvers.values().next().cloned();
                    certificate.names.truncate(1);
                    certificate.names.push(extra.clone());
                    certificate.solvers.extend(solver.map(|solver| (extra, solver)));
                }
                Fault::EditKey => {
                    certificate.key = match certificate.key {
                        KeyAlgorithm::EcdsaP256 => KeyAlgorithm::EcdsaP384,
                        _ => KeyAlgorithm::EcdsaP256,
                    };
                }
                _ => {
                    let other = spec.issuers.keys().find(|issuer| **issuer != certificate.issuer);
                    certificate.issuer = other.unwrap_or(&certificate.issuer).clone();
                }
            }
        });
    }

    // ---------------------------------------------------------------------------------------------------------- healing

    /// From here on nothing goes wrong any more.
    pub(crate) fn heal(&mut self) {
        self.world.state().heal();
        self.agenda.retain(|_, deed| !matches!(deed, Deed::ClockBack { .. }));
        let back: Vec<_> =
            self.agenda.iter().filter(|(_, deed)| matches!(deed, Deed::PutBack(_))).map(|(key, _)| *key).collect();
        let mono = self.world.state().mono;
        for key in back {
            if let Some(deed) = self.agenda.remove(&key) {
                self.act(deed, mono);
            }
        }
        // What a rehearsal that was cut short left behind, the next one takes down.
        if self.world.state().watcher.rehearsed {
            self.rehearse();
        }
    }
}
