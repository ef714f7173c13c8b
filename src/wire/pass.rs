//! A pass over certificates, and the run that cron and timers call.

use super::index::{Digests, Index};
use super::records::{Readable, carried, read_status, write_metrics, write_status};
use super::{App, Watch, host};
use crate::agent::{CertificateReport, Report};
use crate::core::Horizon;
use crate::notify::{Outcome, ping};
use crate::ports::{Holder, Journal, Memory};
use crate::report::{CertificateStatus, Looked, RunStatus, SCHEMA, Snapshot, certificate, highest};
use crate::types::{CertName, Failure, Printable, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// What a pass came to.
#[derive(Debug, Clone, Default)]
pub struct Came {
    /// The certificates looked at, by name.
    pub certificates: Vec<CertificateStatus>,
    /// Whether anything that is issued, published or served changed.
    pub changed: bool,
    /// Certificates that somebody else was at, and who.
    pub locked: Vec<(CertName, Holder)>,
    /// Requests that were refused, and why.
    pub refused: Vec<(CertName, Printable)>,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct RunCame {
    /// What was looked at.
    pub came: Came,
    /// Every certificate, looked at or not.
    pub all: Vec<CertificateStatus>,
    /// Its exit code, without `--detailed-exitcode`.
    pub exit: u8,
    /// How often runs come.
    pub interval: Duration,
}

impl App {
    /// One pass over everything: opens what is due, edited, or asked for, and leaves a status for readers.
    ///
    /// # Errors
    /// When the state cannot be used at all. What concerns one certificate is in its status.
    pub async fn run(&self, watch: &Rc<Watch>) -> Result<RunCame, Failure> {
        if let Some(switch) = &self.spec.ping {
            ping(switch, Outcome::Started).await;
        }
        let came = self.run_inside(watch).await;
        if let Some(switch) = &self.spec.ping {
            let well = came.as_ref().is_ok_and(|came| came.exit == 0);
            ping(switch, if well { Outcome::Succeeded } else { Outcome::Failed }).await;
        }
        came
    }

    async fn run_inside(&self, watch: &Rc<Watch>) -> Result<RunCame, Failure> {
        let started = self.now();
        self.adopt_renamed()?;
        let (interval, starts, names) = self.index(|index| {
            index.started(started);
            let interval = index.interval(self.spec.every);
            let names = self.due(index, self.ahead(interval))?;
            // Written whether or not anything is due: the starts are what the interval is learned from.
            for name in &names {
                index.forget(name);
            }
            Ok::<_, Failure>((interval, index.starts().to_vec(), names))
        })?;
        let horizon = Horizon { span: self.ahead(interval), issue: true, began: Some(started) };
        let report = self.burst(&names, horizon, watch).await?;
        let mut came = self.came(&report);
        let stuck = came.locked.iter().filter(|(_, holder)| self.is_stuck(holder));
        let stuck = stuck.map(|_| crate::report::TEMPORARY);
        let snapshot = self.leave(&came.certificates, |all| {
            // What somebody else is at just now is theirs to report.
            let mine = all.iter().filter(|it| !came.busy(&it.name)).map(|it| it.exit);
            let (pid, ended, interval) = (std::process::id(), self.now(), interval.as_secs());
            let exit = highest(mine.chain(stuck));
            Some(RunStatus { pid, started, ended, exit, interval, starts, daemon: false })
        });
        came.changed = report.certificates.values().any(|it| it.changed);
        let exit = snapshot.run.as_ref().map_or(0, |run| run.exit);
        Ok(RunCame { came, all: snapshot.certificates, exit, interval })
    }

    /// How far a run looks ahead: until the next one, unless a daemon is there when the time comes.
    pub(super) fn ahead(&self, interval: Duration) -> Duration {
        if self.state.has_daemon() { Duration::ZERO } else { interval }
    }

    /// Whether a lock's holder is older than a run may become.
    #[must_use]
    pub fn is_stuck(&self, holder: &Holder) -> bool {
        self.now().since(holder.since) > self.spec.limits.run
    }

    /// Changes the index while nobody else does.
    pub(super) fn index<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        self.state.exclusively(|| {
            let before = Index::read(&*self.state);
            let mut index = before.clone();
            let result = change(&mut index);
            if index != before {
                index.write(&*self.state);
            }
            result
        })
    }

    /// Certificates renamed in the configuration (`was:`) take their lineage along, before anything is kept of the new name.
    pub(super) fn adopt_renamed(&self) -> Result<(), Failure> {
        for certificate in self.spec.certificates.values() {
            if let Some(was) = &certificate.was
                && self.state.adopt(&certificate.name, was)?
            {
                tracing::info!(certificate = %certificate.name, "took over what was kept of {was}");
            }
        }
        Ok(())
    }

    /// The certificates a run must open.
    fn due(&self, index: &Index, horizon: Duration) -> Result<Vec<CertName>, Failure> {
        let now = self.now();
        let digests = Digests::new(&self.spec);
        let told: BTreeMap<CertName, Timestamp> = self.previous().into_iter().map(|it| (it.name, it.looked)).collect();
        let retired = self.state.certificates()?.into_iter().filter(|name| !self.spec.certificates.contains_key(name));
        let all = self.spec.certificates.keys().cloned().chain(retired);
        let due = |name: &CertName| {
            let due = |told: &Timestamp| index.due(name, &digests.of(&self.spec, name), *told, now, horizon);
            told.get(name).is_none_or(due) || !self.state.requests(name).is_empty()
        };
        Ok(all.filter(due).collect())
    }

    /// Works on `names`, and remembers in the index when each needs the next look.
    pub(super) async fn burst(
        &self,
        names: &[CertName],
        horizon: Horizon,
        watch: &Rc<Watch>,
    ) -> Result<Report, Failure> {
        if names.is_empty() {
            return Ok(Report::default());
        }
        let agent = self.agent(horizon, Rc::clone(watch) as _)?;
        let report = agent.burst(names).await;
        watch.done();
        let report = report?;
        let digests = Digests::new(&self.spec);
        self.index(|index| {
            for (name, account) in &report.certificates {
                // Only a pass that may issue knows all that a certificate needs.
                if horizon.issue {
                    index.learn(name, digests.of(&self.spec, name), account);
                } else {
                    index.forget(name);
                }
            }
        });
        Ok(report)
    }

    /// What a report comes to.
    pub(super) fn came(&self, report: &Report) -> Came {
        let locked = report.certificates.iter().filter_map(|(name, it)| Some((name.clone(), it.locked.clone()?)));
        Came {
            certificates: report.certificates.iter().map(|(name, it)| self.status_of(name, it)).collect(),
            changed: report.certificates.values().any(|it| it.changed),
            locked: locked.collect(),
            refused: Vec::new(),
        }
    }

    pub(super) fn status_of(&self, name: &CertName, report: &CertificateReport) -> CertificateStatus {
        let looked = Looked {
            name,
            facts: &report.facts,
            standing: &report.standing,
            plan: &report.plan,
            changed: report.changed,
            broken: report.broken.as_ref(),
            at: report.looked,
        };
        certificate(&self.spec, &looked)
    }

    /// What the status file says of certificates that are still known.
    fn previous(&self) -> Vec<CertificateStatus> {
        match read_status(&self.spec.paths.run) {
            Ok(Readable::There(snapshot)) => snapshot.certificates,
            Ok(Readable::Absent) | Err(_) => Vec::new(),
        }
    }

    /// The status file with `fresh` in it, but where another process has looked since; the run it tells of stays.
    fn merged(&self, fresh: &[CertificateStatus]) -> Snapshot {
        let previous = match read_status(&self.spec.paths.run) {
            Ok(Readable::There(snapshot)) => Some(*snapshot),
            Ok(Readable::Absent) | Err(_) => None,
        };
        let (run, now) = (previous.as_ref().and_then(|snapshot| snapshot.run.clone()), self.now());
        let retired: BTreeSet<CertName> = self.state.certificates().unwrap_or_default().into_iter().collect();
        let there = |name: &CertName| self.spec.certificates.contains_key(name) || retired.contains(name);
        let old = previous.into_iter().flat_map(|snapshot| snapshot.certificates);
        let mut all: BTreeMap<CertName, CertificateStatus> =
            old.filter(|it| there(&it.name)).map(|it| (it.name.clone(), carried(it))).collect();
        for status in fresh {
            let newer = all.get(&status.name).is_some_and(|old| old.looked > status.looked && old.looked <= now);
            if !newer {
                all.insert(status.name.clone(), status.clone());
            }
        }
        Snapshot {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").into(),
            host: host(),
            written: now,
            run,
            certificates: all.into_values().collect(),
        }
    }

    /// Leaves a status for readers. `run` makes of all certificates what is told of the run; nothing leaves that as it was.
    pub(super) fn leave(
        &self,
        fresh: &[CertificateStatus],
        run: impl FnOnce(&[CertificateStatus]) -> Option<RunStatus>,
    ) -> Snapshot {
        self.state.exclusively(|| {
            let mut snapshot = self.merged(fresh);
            if let Some(run) = run(&snapshot.certificates) {
                snapshot.run = Some(run);
            }
            write_status(&self.spec.paths.run, &snapshot);
            if let Some(file) = &self.spec.metrics {
                write_metrics(file, &snapshot);
            }
            snapshot
        })
    }

    /// Leaves a status of single certificates for readers.
    pub(super) fn leave_some(&self, fresh: &[CertificateStatus]) {
        self.leave(fresh, |_| None);
    }
}

impl Came {
    /// The exit code: the highest concern of all that was looked at. What somebody else is still at is temporary.
    #[must_use]
    pub fn exit(&self) -> u8 {
        let refused = self.refused.iter().map(|_| crate::report::OPERATOR);
        let locked = self.locked.iter().map(|_| crate::report::TEMPORARY);
        let mine = self.certificates.iter().filter(|it| !self.busy(&it.name)).map(|it| it.exit);
        highest(mine.chain(refused).chain(locked))
    }

    /// Whether somebody else is at it.
    #[must_use]
    pub fn busy(&self, name: &CertName) -> bool {
        self.locked.iter().any(|(locked, _)| locked == name)
    }
}
