//! The replay of a certificate's journal. [`Ledger::apply`] is the only mutation, and refuses what cannot have happened.

use super::event::{Alert, Ask, Entry, Event};
use super::hold::{Fruitless, Trouble};
pub use super::order::{OpenedOrder, Order, Phase};
use super::sightings::Sightings;
pub use super::want::{Aim, Milestone, Rolled, Want, Wave};
use crate::config::spec::KeyAlgorithm;
use crate::ports::{About, Proof, Violation};
use crate::types::{
    Attempt, Class, Digest, Epoch, Failure, GenId, IssuerName, KeyId, NodeName, NotifierName, Printable, RequestId,
    Seq, SpecDigest, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

/// What is known of one certificate: durable facts, and sightings that can be looked up again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The replay of the journal.
    pub ledger: Ledger,
    /// What was seen.
    pub seen: Sightings,
}

/// The replay of a certificate's journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// The last record.
    pub seq: Seq,
    /// The newest time in the journal.
    pub newest: Option<Timestamp>,
    /// Requests not yet settled.
    pub asks: BTreeMap<RequestId, Asked>,
    /// The last ones settled: one whose file could not be removed is found again, and must not fire twice.
    pub settled: Vec<RequestId>,
    /// Keys on disk that no generation uses yet.
    pub spare_keys: BTreeMap<KeyId, SpareKey>,
    /// The last attempt's number.
    pub attempts: Attempt,
    /// The open order.
    pub order: Option<Order>,
    /// Trouble with issuing.
    pub issue: Trouble,
    /// Whether the last of it cost nothing: it came before an order was intended, or before the CA heard of that.
    pub unspent: bool,
    /// An order that somebody asked for and whose reply was lost: they are owed another one, though the request is used up.
    pub owed: Option<Attempt>,
    /// The last orders that came to nothing.
    pub fruitless: Fruitless,
    /// What the last order was for: trouble with another specification is no trouble of this one.
    pub attempted: Option<SpecDigest>,
    /// With which settings of the issuer.
    pub attempted_with: Option<Digest>,
    /// Challenges that may be up, by attempt.
    #[serde(with = "pairs")]
    pub left_up: BTreeMap<Attempt, Vec<Proof>>,
    /// Trouble with taking them down.
    pub cleanup: Trouble,
    /// Generations on disk.
    pub generations: BTreeMap<GenId, Held>,
    /// The highest generation number ever given.
    pub last_number: u32,
    /// What should be served.
    pub want: Option<Want>,
    /// The highest epoch ever given.
    pub epoch: Epoch,
    /// Each generation on disk that was ever wanted anywhere, and the last epoch at which it was.
    pub aimed: BTreeMap<GenId, Epoch>,
    /// The last key that was found to be gone: it is not reused.
    pub lost_key: Option<KeyId>,
    /// What is known of each node.
    pub nodes: BTreeMap<NodeName, Rolled>,
    /// The last wave of a roll-out with pauses.
    pub wave: Option<Wave>,
    /// When everything was last live.
    pub live: Option<Milestone>,
    /// Whether `pre` succeeded for the coming order.
    pub pre_done: bool,
    /// Whether `post` is owed.
    pub post_due: bool,
    /// Trouble with the `post` hook.
    pub post: Trouble,
    /// What people were told and not yet told the end of.
    pub told: BTreeMap<NotifierName, BTreeMap<Alert, Timestamp>>,
    /// Trouble with telling them.
    pub tell: BTreeMap<NotifierName, Trouble>,
    /// Since when the certificate is no longer configured.
    pub retired: Option<Timestamp>,
    /// When the journal was last rebuilt.
    pub rebuilt: Option<Timestamp>,
}

/// A request not yet settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What for.
    pub ask: Ask,
    /// Who.
    pub by: Printable,
    /// When it was journaled.
    pub at: Timestamp,
    /// Its record.
    pub seq: Seq,
}

/// A key that no generation uses yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpareKey {
    /// Its algorithm.
    pub algorithm: KeyAlgorithm,
    /// Its record: a request for a new key takes only keys made after it.
    pub seq: Seq,
}

/// A generation on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// What it is.
    pub about: About,
    /// What the gate said.
    pub gate: Gate,
    /// Whether an early ARI window had called for it: such a window renews once.
    #[serde(default)]
    pub early_window: bool,
}

/// What the gate said of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "gate", rename_all = "snake_case")]
pub enum Gate {
    /// Nothing yet.
    Pending,
    /// It passed.
    Accepted {
        /// What people should know.
        notes: Vec<Printable>,
        /// When.
        at: Timestamp,
    },
    /// It was refused.
    Rejected {
        /// All that is wrong with it.
        violations: Vec<Violation>,
    },
}

/// A record that contradicts the ones before it: a defect of everleaf or of the file, never applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {seq}: {event} cannot follow: {why}")]
pub struct IllegalEvent {
    /// Its number.
    pub seq: Seq,
    /// Its kind.
    pub event: &'static str,
    /// What it contradicts.
    pub why: String,
}

/// After a rebuild no order is made for this long, unless past the last call or forced.
const AFTER_REBUILD: Duration = Duration::from_secs(86_400);

/// Settled requests that are remembered: more files than this never lie in a certificate's directory unnoticed.
const MOST_SETTLED: usize = 64;

/// A node never dealt with.
static NEVER: LazyLock<Rolled> = LazyLock::new(Rolled::default);

pub(super) type Applied = Result<(), (&'static str, String)>;

impl Ledger {
    /// Replays one record.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the record cannot follow those before it; the ledger is unchanged.
    pub fn apply(&mut self, entry: &Entry<Event>) -> Result<(), IllegalEvent> {
        let illegal = |(event, why)| IllegalEvent { seq: entry.seq, event, why };
        if entry.seq <= self.seq && !matches!(entry.event, Event::Snapshot { .. }) {
            return Err(illegal(("record", format!("its number is not above {}", self.seq))));
        }
        self.apply_event(entry).map_err(illegal)?;
        self.seq = entry.seq;
        // A snapshot says nothing new: replaying it gives what it was taken of.
        if !matches!(entry.event, Event::Snapshot { .. }) {
            self.newest = self.newest.max(Some(entry.at));
        }
        Ok(())
    }

    fn apply_event(&mut self, entry: &Entry<Event>) -> Applied {
        let at = entry.at;
        match &entry.event {
            Event::Snapshot { ledger } => *self = (**ledger).clone(),
            Event::Rebuilt { generations, note } => self.rebuild(generations, note, at),
            Event::Asked { id, ask, by } => self.asked(id, ask, by, entry),
            Event::AskClosed { id, .. } => self.settle(id),
            Event::KeyMade { key, algorithm } => {
                self.spare_keys.insert(*key, SpareKey { algorithm: *algorithm, seq: entry.seq });
            }
            Event::KeyDiscarded { key } => {
                self.spare_keys.remove(key);
                self.lost_key = Some(*key);
            }
            Event::Retired => self.retired = Some(at),
            Event::Revived => self.retired = None,
            Event::Pruned { generation } => {
                self.generations.remove(generation);
                self.aimed.remove(generation);
            }
            Event::PreIntended => (self.pre_done, self.post_due) = (false, true),
            Event::PreDone => self.pre_done = true,
            Event::PostDone => {
                (self.pre_done, self.post_due) = (false, false);
                self.post.clear();
            }
            Event::PostFailed { failure } => self.post.attempt(at, failure),
            Event::PreparationFailed { failure, spec_digest, settings } => {
                self.issue.attempt(at, failure);
                self.attempted = spec_digest.or(self.attempted);
                self.attempted_with = settings.or(self.attempted_with);
                self.unspent = true;
            }
            Event::ChallengesDown { attempt } => {
                self.left_up.remove(attempt);
                self.cleanup.clear();
            }
            Event::CleanupFailed { failure, .. } => self.cleanup.attempt(at, failure),
            Event::Told { notifier, alert, recovered } => self.told(notifier, alert, *recovered, at),
            Event::TellFailed { notifier, failure, .. } => {
                self.tell.entry(notifier.clone()).or_default().attempt(at, failure);
            }
            _ => return self.apply_order_event(entry),
        }
        Ok(())
    }

    fn rebuild(&mut self, generations: &[About], note: &Printable, at: Timestamp) {
        *self = Self { seq: self.seq, newest: self.newest, ..Self::default() };
        self.rebuilt = Some(at);
        for about in generations {
            let gate = about.accepted.map_or(Gate::Pending, |at| Gate::Accepted { notes: Vec::new(), at });
            self.last_number = self.last_number.max(about.generation.number());
            self.generations.insert(about.generation, Held { about: about.clone(), gate, early_window: false });
        }
        self.epoch = first_epoch(at);
        if let Some(newest) = self.newest_accepted().map(|held| held.about.generation) {
            let aim = Aim {
                epoch: self.epoch,
                generation: newest,
                rollback: false,
                at,
                why: "the journal was rebuilt".into(),
            };
            self.aim(None, aim);
        }
        let failure = Failure::new(Class::Retry, "state:rebuilt", "journal", note.as_str()).wait(Some(AFTER_REBUILD));
        self.issue.attempt(at, &failure);
        // Our own caution, not the CA's: a forced renewal skips it.
        if let Some(hold) = &mut self.issue.hold {
            hold.demanded = false;
        }
    }

    fn asked(&mut self, id: &RequestId, ask: &Ask, by: &Printable, entry: &Entry<Event>) {
        self.asks.insert(id.clone(), Asked { ask: ask.clone(), by: by.clone(), at: entry.at, seq: entry.seq });
        if matches!(ask, Ask::Renew { .. }) {
            self.issue.skip_backoff();
            if let Some(order) = &mut self.order {
                order.step.skip_backoff();
            }
            self.cleanup.skip_backoff();
        }
        self.post.skip_backoff();
        for rolled in self.nodes.values_mut() {
            for trouble in [&mut rolled.deploy, &mut rolled.reload, &mut rolled.serve] {
                trouble.skip_backoff();
            }
        }
    }

    /// Who asked for an order while one was open has got what it brought; who wants a new key has not.
    pub(super) fn settle_forces(&mut self) {
        let got = |asked: &Asked| matches!(asked.ask, Ask::Renew { force: true, new_key: false, .. });
        let ids: Vec<RequestId> = self.asks.iter().filter(|(_, asked)| got(asked)).map(|(id, _)| id.clone()).collect();
        for id in &ids {
            self.settle(id);
        }
    }

    pub(super) fn settle(&mut self, id: &RequestId) {
        if self.asks.remove(id).is_some() {
            self.settled.push(id.clone());
            let superfluous = self.settled.len().saturating_sub(MOST_SETTLED);
            self.settled.drain(..superfluous);
        }
    }

    fn told(&mut self, notifier: &NotifierName, alert: &Alert, recovered: bool, at: Timestamp) {
        self.tell.remove(notifier);
        let told = self.told.entry(notifier.clone()).or_default();
        if recovered {
            told.remove(alert);
        } else {
            told.insert(alert.clone(), at);
        }
        if told.is_empty() {
            self.told.remove(notifier);
        }
    }

    /// The epoch of the next decision.
    #[must_use]
    pub fn next_epoch(&self, now: Timestamp) -> Epoch {
        if self.epoch == Epoch(0) { first_epoch(now) } else { self.epoch.next() }
    }

    /// Whether a request was journaled before, settled or not.
    #[must_use]
    pub fn knows_request(&self, id: &RequestId) -> bool {
        self.asks.contains_key(id) || self.settled.contains(id)
    }

    /// The issuer of the open order, if `event` ends it before anything can have been issued.
    #[must_use]
    pub fn ends_unissued(&self, event: &Event) -> Option<&IssuerName> {
        let ends = matches!(event, Event::OrderFailed { .. } | Event::OrderAbandoned { lost: false, .. });
        self.order.as_ref().filter(|order| ends && !order.may_have_issued()).map(|order| &order.issuer)
    }

    /// What this machine's disk refused last, where trying again costs nothing: the next run does, whatever the hold.
    #[must_use]
    pub fn refused_by_the_disk(&self) -> Option<&Trouble> {
        let trouble = self.order.as_ref().map(|order| &order.step).or_else(|| self.unspent.then_some(&self.issue))?;
        trouble.last.as_ref().is_some_and(Failure::is_of_the_disk).then_some(trouble)
    }

    /// The newest accepted generation.
    #[must_use]
    pub fn newest_accepted(&self) -> Option<&Held> {
        self.accepted().next_back()
    }

    /// The accepted generations, oldest first.
    pub fn accepted(&self) -> impl DoubleEndedIterator<Item = &Held> {
        self.generations.values().filter(|held| matches!(held.gate, Gate::Accepted { .. }))
    }

    /// What is known of a node; nothing yet for one never dealt with.
    #[must_use]
    pub fn rolled(&self, node: &NodeName) -> &Rolled {
        self.nodes.get(node).unwrap_or(&NEVER)
    }

    /// The generations that a node may have: all that were wanted anywhere since it was last known what it has. Files can be
    /// there that no record speaks of, because a run ended first, and a hook that succeeded can have done nothing.
    pub fn perhaps_on(&self, node: &NodeName, proves: bool) -> impl Iterator<Item = GenId> {
        let rolled = self.rolled(node);
        let known = if proves { &rolled.confirmed } else { &rolled.deployed };
        let since = known.as_ref().map_or(Epoch(0), |known| known.epoch);
        self.aimed.iter().filter(move |(_, epoch)| **epoch >= since).map(|(generation, _)| *generation)
    }

    /// The oldest request of a kind.
    pub fn asked_for(&self, kind: impl Fn(&Ask) -> bool) -> Option<(&RequestId, &Asked)> {
        self.asks.iter().filter(|(_, asked)| kind(&asked.ask)).min_by_key(|(_, asked)| asked.seq)
    }
}

/// Old epochs may be lost with a journal or a whole state; nodes refuse a lower one, so begin above all they can have seen.
fn first_epoch(at: Timestamp) -> Epoch {
    Epoch(u64::try_from(at.as_secs()).unwrap_or(0).max(1))
}

/// A map as a list of pairs: a number that is a key in JSON is text, which a tagged event does not read back as a number.
mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub(super) fn serialize<S: Serializer, K: Serialize, V: Serialize>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, K: Deserialize<'de> + Ord, V: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}
