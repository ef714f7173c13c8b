//! Challenges, hooks of a certificate's own, notices, and wake-ups.

use crate::faults::Fault;
use crate::world::Peer;
use everleaf::config::spec::{Hook, Notifier};
use everleaf::ports::{Alarm, CertHooks, HookContext, Notice, NoticeKind, Notify, Pending, Proof, Solvers};
use everleaf::types::{CertName, Class, Failure, Printable, Timestamp};

fn broke(code: &str, place: &str) -> Failure {
    Failure::new(Class::Retry, code, place, "it failed")
}

impl Solvers for Peer {
    fn put_up<'a>(&'a self, name: &'a CertName, proofs: &'a [Proof]) -> Pending<'a, Result<Vec<Printable>, Failure>> {
        Box::pin(async move {
            self.point(|| format!("put up {} challenges of {name}", proofs.len()));
            if !self.rehearsal {
                self.state().about_to_put_up(name, proofs);
            }
            for proof in proofs {
                self.latency(5, 500).await;
                let fails = {
                    let mut state = self.state();
                    state.watcher.proofs_up.insert((name.clone(), proof.url.clone()), proof.clone());
                    state.strikes(Fault::PutUpFails)
                };
                if fails {
                    return Err(broke("solver:hook", "webroot"));
                }
            }
            self.point(|| "challenges are up".to_owned());
            Ok(Vec::new())
        })
    }

    fn take_down<'a>(&'a self, name: &'a CertName, proofs: &'a [Proof]) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.point(|| format!("take down {} challenges of {name}", proofs.len()));
            self.latency(5, 500).await;
            if self.state().strikes(Fault::TakeDownFails) {
                return Err(broke("solver:hook", "webroot"));
            }
            for proof in proofs {
                self.state().watcher.proofs_up.remove(&(name.clone(), proof.url.clone()));
            }
            self.point(|| "challenges are down".to_owned());
            Ok(())
        })
    }
}

impl CertHooks for Peer {
    fn run<'a>(
        &'a self,
        event: &'static str,
        _: &'a Hook,
        context: &'a HookContext,
    ) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.point(|| format!("{event} hook of {}", context.name));
            self.latency(10, 3_000).await;
            let fails = {
                let mut state = self.state();
                state.count("hook", event);
                state.strikes(Fault::CertHookFails)
            };
            self.point(|| format!("{event} hook of {}: done", context.name));
            if fails { Err(broke("hook:exit", event)) } else { Ok(()) }
        })
    }
}

impl Notify for Peer {
    fn tell<'a>(&'a self, _: &'a Notifier, notice: &'a Notice) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.acts_for_real("tell");
            self.point(|| format!("tell {:?} {}", notice.kind, notice.summary));
            self.latency(10, 1_000).await;
            if self.state().strikes(Fault::NotifierFails) {
                return Err(broke("notify:http", "webhook"));
            }
            let kind = notice.kind;
            self.state().count("notice", if kind == NoticeKind::Recovery { "good" } else { "bad" });
            self.point(|| "told".to_owned());
            Ok(())
        })
    }
}

impl Alarm for Peer {
    fn arm(&self, at: Timestamp) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move {
            self.point(|| format!("arm {at}"));
            let mut state = self.state();
            if state.strikes(Fault::NoTimer) {
                return Err(broke("alarm:systemd", "systemd-run"));
            }
            let due = state.mono_of(at);
            state.alarms.push(due);
            Ok(())
        })
    }
}
