//! What was seen and can be seen again: ARI answers, looks at endpoints and nodes, an armed timer.
//!
//! Kept in `seen.json`, not synced; losing it costs one more look.

use crate::config::spec::Endpoint;
use crate::ports::{Observation, Published, RenewalInfo, Shown};
use crate::types::{Digest, Failure, Fingerprint, GenId, NodeName, Seq, Timestamp, sha256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything seen of one certificate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sightings {
    /// When the journal was rebuilt whose sequence numbers these are; nothing when it never was.
    pub journal: Option<Timestamp>,
    /// The last answer to an ARI request.
    pub ari: Option<AriSeen>,
    /// What each endpoint showed, by [`endpoint_id`].
    pub endpoints: BTreeMap<Digest, EndpointSeen>,
    /// What lies on each node.
    pub nodes: BTreeMap<NodeName, NodeSeen>,
    /// A wake-up armed outside this process.
    pub timer: Option<TimerSeen>,
}

/// The last answer to an ARI request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AriSeen {
    /// Of which generation.
    pub generation: GenId,
    /// When it came.
    pub at: Timestamp,
    /// The last good answer for this generation: a later failure does not forget it.
    pub info: Option<RenewalInfo>,
    /// The last failure, when the last request failed.
    pub failure: Option<Failure>,
    /// How many requests failed in a row.
    pub failures: u32,
    /// How long to wait before asking again, in milliseconds.
    pub wait: u64,
}

impl AriSeen {
    /// When to ask again.
    #[must_use]
    pub fn next(&self) -> Timestamp {
        self.at + Duration::from_millis(self.wait)
    }
}

/// What an endpoint showed at the last look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointSeen {
    /// The journal's last record when the look began: it cannot confirm a reload that ended later.
    pub started: Seq,
    /// When the look ended.
    pub at: Timestamp,
    /// The leaf it looked for.
    pub leaf: Fingerprint,
    /// Whether it was a whole look (all handshakes) or one glance.
    pub whole: bool,
    /// Where the last whole look that showed nothing but the wanted leaf began; gone as soon as anything else is shown.
    pub proof: Option<Seq>,
    /// One for each address.
    pub observations: Vec<Observation>,
    /// Another leaf that it was last proven to serve before it was looked at for this one.
    #[serde(default)]
    pub before: Option<Fingerprint>,
}

impl EndpointSeen {
    /// Whether nobody could look, so that nothing is known of the endpoint.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        let blind = |it: &Observation| matches!(it.shown, Shown::NotLooked { .. });
        !self.observations.is_empty() && self.observations.iter().all(blind)
    }

    /// Whether every address showed what was wanted, and there was one.
    #[must_use]
    pub fn wanted(&self) -> bool {
        !self.observations.is_empty() && self.observations.iter().all(|observation| observation.shown == Shown::Wanted)
    }
}

impl Sightings {
    /// What is left of them beside a journal that was last rebuilt at `rebuilt`. The numbers of another journal say nothing
    /// of this one's: an old look would prove a new reload.
    #[must_use]
    pub fn beside(self, rebuilt: Option<Timestamp>) -> Self {
        if self.journal == rebuilt { self } else { Self { journal: rebuilt, ari: self.ari, ..Self::default() } }
    }

    /// Takes in a look at an endpoint. A whole look that shows what was wanted proves it; a glance keeps an earlier proof, and so does
    /// a look that could not be taken.
    pub fn saw_endpoint(&mut self, id: Digest, mut seen: EndpointSeen) {
        let last = self.endpoints.get(&id);
        let earlier = last.filter(|last| last.leaf == seen.leaf).and_then(|last| last.proof);
        seen.before = last.and_then(|last| match last.proof {
            Some(_) if last.leaf != seen.leaf => Some(last.leaf),
            _ => last.before.filter(|before| *before != seen.leaf),
        });
        seen.proof = match (seen.wanted(), seen.whole) {
            (false, _) if seen.is_blind() => earlier,
            (false, _) => None,
            (true, true) => Some(seen.started),
            (true, false) => earlier,
        };
        self.endpoints.insert(id, seen);
    }

    /// Takes in an ARI answer. A failure does not forget the last good window of the same generation.
    pub fn saw_ari(&mut self, generation: GenId, at: Timestamp, answer: Result<RenewalInfo, Failure>) {
        let earlier = self.ari.take().filter(|earlier| earlier.generation == generation);
        let failures = earlier.as_ref().map_or(0, |earlier| earlier.failures);
        self.ari = Some(match answer {
            Ok(info) => {
                let wait = millis(info.retry_after);
                AriSeen { generation, at, info: Some(info), failure: None, failures: 0, wait }
            }
            Err(failure) => {
                // 1, 2, 4 … minutes up to 6 h where the failure names no wait (5xx, timeouts).
                let backoff = Duration::from_secs(60 << failures.min(9)).min(ARI_RETRY);
                let wait = millis(failure.retry_after.unwrap_or(backoff));
                let info = earlier.and_then(|earlier| earlier.info);
                AriSeen { generation, at, info, failure: Some(failure), failures: failures.saturating_add(1), wait }
            }
        });
    }
}

/// ARI is asked again after six hours at the latest when it fails.
const ARI_RETRY: Duration = Duration::from_secs(6 * 3_600);

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What lies on a node, at the last look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeSeen {
    /// The journal's last record when the look began.
    pub started: Seq,
    /// When it ended.
    pub at: Timestamp,
    /// What lies there; `None` when it cannot be known.
    pub published: Option<Published>,
    /// Why it could not be looked at.
    pub failure: Option<Failure>,
}

impl NodeSeen {
    /// Whether `generation` lies there, byte for byte.
    #[must_use]
    pub fn holds(&self, generation: GenId) -> bool {
        self.published.as_ref().is_some_and(|published| published.intact && published.generation == Some(generation))
    }
}

/// A transient timer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimerSeen {
    /// When it fires.
    pub at: Timestamp,
    /// When that was tried.
    pub tried: Timestamp,
    /// Why it could not be armed.
    pub failure: Option<Failure>,
}

/// What identifies an endpoint across runs.
#[must_use]
pub fn endpoint_id(endpoint: &Endpoint) -> Digest {
    sha256(&[format!("{endpoint:?}").as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Observation;
    use crate::types::Class;

    fn look(leaf: &[u8], started: u64, shown: Shown) -> EndpointSeen {
        EndpointSeen {
            started: Seq(started),
            at: Timestamp::from_secs(1_000),
            leaf: sha256(&[leaf]),
            whole: true,
            proof: None,
            observations: vec![Observation { address: None, shown, matched: 8, notes: Vec::new() }],
            before: None,
        }
    }

    #[test]
    fn a_look_that_could_not_be_taken_neither_proves_nor_disproves() {
        let id = sha256(&[b"endpoint"]);
        let failure = Failure::new(Class::Retry, "ssh:unreachable", "ssh://far", "refused");
        let blind = || Shown::NotLooked { failure: failure.clone() };
        let mut sightings = Sightings::default();
        let mut saw = |seen| {
            sightings.saw_endpoint(id, seen);
            sightings.endpoints[&id].proof
        };
        assert_eq!(saw(look(b"first", 1, blind())), None, "nothing is proven by it");
        assert_eq!(saw(look(b"first", 2, Shown::Wanted)), Some(Seq(2)));
        assert_eq!(saw(look(b"first", 3, blind())), Some(Seq(2)), "what was proven stays so");
        assert_eq!(saw(look(b"second", 4, blind())), None, "of another leaf it says nothing");
        assert_eq!(saw(look(b"first", 5, Shown::Wanted)), Some(Seq(5)));
        let unreachable = Shown::Unreachable { failure: failure.clone() };
        assert_eq!(saw(look(b"first", 6, unreachable)), None, "a look that met nobody is one");
    }

    #[test]
    fn what_an_endpoint_was_proven_to_serve_before_outlives_looks_that_fail() {
        let (id, broken) = (sha256(&[b"endpoint"]), || Shown::BrokenChain { message: "no intermediate".into() });
        let mut sightings = Sightings::default();
        let mut saw = |seen| {
            sightings.saw_endpoint(id, seen);
            sightings.endpoints[&id].before
        };
        assert_eq!(saw(look(b"first", 1, broken())), None, "it never served anything well");
        assert_eq!(saw(look(b"second", 2, broken())), None);
        assert_eq!(saw(look(b"second", 3, Shown::Wanted)), None, "what it serves now is not what it served before");
        assert_eq!(saw(look(b"third", 4, broken())), Some(sha256(&[b"second"])));
        assert_eq!(saw(look(b"third", 5, broken())), Some(sha256(&[b"second"])));
        assert_eq!(saw(look(b"second", 6, Shown::Wanted)), None);
    }
}
