//! Which certificates a run must open: an index over what each was last found to need. Losable: without it, all are opened.

use crate::agent::CertificateReport;
use crate::config::spec::{Certificate, NodeKind, Spec};
use crate::core::Reason;
use crate::ports::Memory;
use crate::publish;
use crate::types::{CertName, Digest, Seq, Timestamp, sha256};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// The index's version: another one is read as none.
const VERSION: u32 = 1;
/// Starts remembered, and learned from.
const STARTS: usize = 8;
/// How often runs come when neither the configuration nor experience says.
const DAY: Duration = Duration::from_secs(86_400);
/// No interval that was learned is shorter: a run itself takes seconds.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(60);

/// What tells from outside that a certificate must be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks {
    /// Of what it is planned from: another one means that somebody edited it.
    pub(super) digest: Digest,
    /// Of its published files on this machine: another one means that somebody was at them.
    #[serde(default)]
    pub(super) files: Option<Digest>,
}

/// What is remembered of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// What it was planned from.
    #[serde(flatten)]
    marks: Marks,
    /// When: by a clock that was ahead, if that is still to come.
    #[serde(default)]
    looked: Option<Timestamp>,
    /// Its journal's last record.
    seq: Seq,
    /// When it needs a look, for any reason but its renewal.
    wake: Option<Timestamp>,
    /// When it is renewed: a run looks ahead to that by its horizon.
    renew: Option<Timestamp>,
}

/// The index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    v: u32,
    starts: Vec<Timestamp>,
    certificates: BTreeMap<CertName, Known>,
}

impl Index {
    /// The index on disk; an empty one when it is missing, damaged, or of another version.
    pub(super) fn read(memory: &dyn Memory) -> Self {
        Self::of(memory.index().unwrap_or_default())
    }

    /// The index in a file; an empty one when it is something else.
    #[must_use]
    pub fn of(file: Value) -> Self {
        let index = serde_json::from_value::<Self>(file).ok();
        index.filter(|index| index.v == VERSION).unwrap_or_else(|| Self { v: VERSION, ..Self::default() })
    }

    /// Writes it.
    pub(super) fn write(&self, memory: &dyn Memory) {
        if let Ok(value) = serde_json::to_value(self) {
            memory.set_index(&value);
        }
    }

    /// Takes in a run's start.
    pub(super) fn started(&mut self, now: Timestamp) {
        self.starts.retain(|start| *start <= now);
        self.starts.push(now);
        let surplus = self.starts.len().saturating_sub(STARTS);
        self.starts.drain(..surplus);
    }

    /// The starts, the newest last.
    pub(super) fn starts(&self) -> &[Timestamp] {
        &self.starts
    }

    /// How often runs come: as configured, else the longest gap between the last eight starts. Until eight are known it is a
    /// day at least: a second run by hand a minute after the first is no schedule, and must not make `check` expect one.
    pub(super) fn interval(&self, configured: Option<Duration>) -> Duration {
        let longest = self.starts.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap_or(DAY);
        let learned = if self.starts.len() < STARTS { longest.max(DAY) } else { longest };
        configured.unwrap_or_else(|| learned.max(SHORTEST_INTERVAL))
    }

    /// Whether a certificate must be opened by a run that looks ahead by `horizon`; `told` is when it was looked at that the
    /// status tells of. A look that the status does not tell of (who looked was killed in between, or its disk was full) counts for
    /// nothing: the run would repeat what was true before, trouble or none.
    pub(super) fn due(&self, name: &CertName, now: &Marks, told: Timestamp, at: Timestamp, horizon: Duration) -> bool {
        let Some(known) = self.certificates.get(name) else { return true };
        known.marks != *now
            || known.looked.is_some_and(|looked| looked > at || looked > told)
            || known.wake.is_some_and(|wake| wake <= at)
            || known.renew.is_some_and(|renew| renew <= at + horizon)
    }

    /// Forgets a certificate, before work on it begins: if that is cut short, the next run opens it.
    pub(super) fn forget(&mut self, name: &CertName) {
        self.certificates.remove(name);
    }

    /// Remembers what a look came to, unless somebody else was at it or it could not be looked at. What another process has
    /// learned since from a longer journal stays.
    pub(super) fn learn(&mut self, name: &CertName, marks: Marks, report: &CertificateReport) {
        if self.is_newer(name, marks.digest, report.facts.ledger.seq) {
            return;
        }
        // What is not live everywhere, or waits for somebody to mend this machine, is gone on with by every run.
        let unfinished = report.standing.stage.is_unfinished() || report.standing.is_mended_here();
        if report.broken.is_some() || report.locked.is_some() || !report.plan.steps.is_empty() || unfinished {
            return self.forget(name);
        }
        let wakes = &report.plan.wakes;
        let first = |renewal: bool| {
            let mut of_kind = wakes.iter().filter(|wake| wake.why != Reason::Routine && renews(&wake.why) == renewal);
            of_kind.next().map(|wake| wake.at)
        };
        let (looked, seq) = (Some(report.looked), report.facts.ledger.seq);
        let known = Known { marks, looked, seq, wake: first(false), renew: first(true) };
        self.certificates.insert(name.clone(), known);
    }

    /// Whether what is remembered was learned, from the same configuration, from a journal that went on after `seq`.
    fn is_newer(&self, name: &CertName, digest: Digest, seq: Seq) -> bool {
        self.certificates.get(name).is_some_and(|known| known.marks.digest == digest && known.seq > seq)
    }
}

const fn renews(why: &Reason) -> bool {
    matches!(why, Reason::Drawn { .. } | Reason::Fallback | Reason::LastCall)
}

/// Makes marks; holds what every certificate is planned from beside its own section: if that is edited, all are opened once.
pub(super) struct Digests {
    shared: Digest,
}

impl Digests {
    pub(super) fn new(spec: &Spec) -> Self {
        let parts = format!("{:?}{:?}{:?}{:?}", spec.issuers, spec.nodes, spec.notifiers, spec.paths);
        Self { shared: sha256(&[env!("CARGO_PKG_VERSION").as_bytes(), parts.as_bytes()]) }
    }

    /// The marks of one certificate as it is configured and published now.
    pub(super) fn of(&self, spec: &Spec, name: &CertName) -> Marks {
        let configured = spec.certificates.get(name);
        let section = configured.map(|certificate| format!("{certificate:?}")).unwrap_or_default();
        let digest = sha256(&[self.shared.as_bytes(), section.as_bytes()]);
        Marks { digest, files: configured.map(|certificate| files(spec, certificate)) }
    }
}

/// What all that a certificate has published on this machine looks like from outside.
fn files(spec: &Spec, certificate: &Certificate) -> Digest {
    let here = certificate.nodes.iter().filter_map(|node| spec.nodes.get(node));
    let here = here.filter(|node| matches!(node.kind, NodeKind::Local));
    let mut marks: Vec<String> = here.map(|node| publish::mark(&node.live.join(certificate.name.as_str()))).collect();
    marks.extend(certificate.files.iter().map(|file| publish::mark_of(&file.path)));
    sha256(&[marks.join("\n").as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn the_interval_is_the_longest_gap_of_the_last_eight_starts() {
        let mut index = Index::default();
        assert_eq!(index.interval(None), DAY);
        index.started(at(0));
        index.started(at(60));
        assert_eq!(index.interval(None), DAY, "two runs by hand are no schedule");
        for start in [50_000, 50_100, 50_200, 50_300, 53_900, 54_000, 54_100, 54_200] {
            index.started(at(start));
        }
        assert_eq!(index.starts().len(), STARTS);
        assert_eq!(index.interval(None), Duration::from_secs(3_600), "the gap before the eighth start is forgotten");
        assert_eq!(index.interval(Some(Duration::from_secs(900))), Duration::from_secs(900));
    }

    #[test]
    fn starts_after_a_clock_set_back_are_forgotten() {
        let mut index = Index::default();
        index.started(at(1_000_000));
        index.started(at(100));
        assert_eq!(index.starts(), [at(100)]);
    }

    #[test]
    fn who_looked_at_a_shorter_journal_does_not_overwrite_who_looked_at_a_longer_one() {
        let name: CertName = "shop".parse().expect("name");
        let known = |seq| Known {
            marks: Marks { digest: sha256(&[b"a"]), files: None },
            looked: Some(at(500)),
            seq: Seq(seq),
            wake: None,
            renew: None,
        };
        let index = Index { v: VERSION, starts: Vec::new(), certificates: BTreeMap::from([(name.clone(), known(9))]) };
        let digest = sha256(&[b"a"]);
        assert_eq!([8, 9, 10].map(|seq| index.is_newer(&name, digest, Seq(seq))), [true, false, false]);
        assert!(
            !index.is_newer(&name, sha256(&[b"b"]), Seq(3)),
            "what was planned from another configuration says nothing"
        );
    }

    #[test]
    fn due_by_wake_by_horizon_by_edit_or_when_unknown() {
        let name: CertName = "shop".parse().expect("name");
        let marks = |digest: &[u8]| Marks { digest: sha256(&[digest]), files: None };
        let digest = &marks(b"a");
        let known = Known {
            marks: digest.clone(),
            looked: Some(at(500)),
            seq: Seq(1),
            wake: Some(at(1_000)),
            renew: Some(at(5_000)),
        };
        let index = Index { v: VERSION, starts: Vec::new(), certificates: BTreeMap::from([(name.clone(), known)]) };
        let (hour, told) = (Duration::from_secs(3_600), at(500));
        assert!(!index.due(&name, digest, told, at(999), hour));
        assert!(
            index.due(&name, digest, told, at(499), hour),
            "a look that is still to come was made by a wrong clock"
        );
        assert!(index.due(&name, digest, told, at(1_000), Duration::ZERO));
        assert!(
            index.due(&name, digest, told, at(900), Duration::from_secs(4_100)),
            "it is renewed before the next run"
        );
        assert!(index.due(&name, &marks(b"b"), told, at(900), Duration::ZERO), "edited");
        let touched = Marks { files: Some(sha256(&[b"c"])), ..digest.clone() };
        assert!(index.due(&name, &touched, told, at(900), Duration::ZERO), "somebody was at its files");
        assert!(index.due(&name, digest, at(499), at(900), Duration::ZERO), "the status tells of a look before that");
        assert!(index.due(&"api".parse().expect("name"), digest, told, at(0), hour), "not known");
    }
}
