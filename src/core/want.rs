//! What should be served where, how far each node has come, and what the roll-out's events make of the ledger.

use super::event::{Entry, Event};
use super::hold::Trouble;
use super::ledger::{Applied, Gate, Ledger};
use super::rollout;
use crate::types::{Digest, Epoch, GenId, NodeName, Printable, Seq, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What should be served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Want {
    /// Everywhere, but for the overrides.
    pub default: Aim,
    /// On single nodes.
    #[serde(default)]
    pub overrides: BTreeMap<NodeName, Aim>,
}

/// A generation that should be served, and since which decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aim {
    /// The decision's number.
    pub epoch: Epoch,
    /// The generation.
    pub generation: GenId,
    /// Whether it goes back.
    pub rollback: bool,
    /// When it was decided.
    pub at: Timestamp,
    /// Why.
    pub why: Printable,
}

impl Want {
    /// What a node should serve.
    #[must_use]
    pub fn on(&self, node: &NodeName) -> &Aim {
        self.overrides.get(node).unwrap_or(&self.default)
    }
}

/// A generation reached at an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestone {
    /// The epoch.
    pub epoch: Epoch,
    /// The generation.
    pub generation: GenId,
    /// The record that says so.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
}

/// What is known of a node, for one certificate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rolled {
    /// A self-signed pair stands in.
    pub placeholder: bool,
    /// What was published there last.
    pub deployed: Option<Milestone>,
    /// The digest of where and how that was.
    pub placement: Option<Digest>,
    /// When its servers were last told to read.
    pub reloaded: Option<Milestone>,
    /// When it last served all it should.
    pub confirmed: Option<Milestone>,
    /// What it last served in full before the present aim: where a rollback goes.
    pub served_before: Option<GenId>,
    /// The last record that says that it does not serve what it should.
    pub lagging: Option<Seq>,
    /// Trouble with publishing there.
    pub deploy: Trouble,
    /// Trouble with reloading it, and the digest of the command that failed.
    pub reload: Trouble,
    /// The last record of a reload that failed.
    pub reload_failed: Option<Seq>,
    /// The digest of the reload command the trouble is about.
    pub reload_verb: Option<Digest>,
    /// Trouble with what it serves.
    pub serve: Trouble,
    /// The last epoch at which anything of this failed.
    pub failed: Option<Epoch>,
}

/// The nodes of a roll-out that began last together, where the next ones are given a pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// The roll-out's epoch.
    pub epoch: Epoch,
    /// Which nodes.
    pub nodes: BTreeSet<NodeName>,
    /// When all of them had come through, or had failed: the pause counts from here.
    pub ended: Option<Timestamp>,
}

impl Ledger {
    /// Replays what happened on nodes.
    pub(super) fn apply_rollout_event(&mut self, entry: &Entry<Event>) -> Applied {
        let (at, seq) = (entry.at, entry.seq);
        let milestone = |epoch: Epoch, generation: GenId| Milestone { epoch, generation, seq, at };
        match &entry.event {
            Event::WantSet { .. } => return self.set_want(entry),
            Event::PlaceholderPublished { node } => {
                let rolled = self.node(node);
                rolled.placeholder = true;
                rolled.deploy.clear();
            }
            Event::Deployed { node, epoch, generation, placement, .. } => {
                let rolled = self.node(node);
                rolled.placement = *placement;
                rolled.placeholder = false;
                rolled.deployed = Some(milestone(*epoch, *generation));
                rolled.deploy.clear();
                rolled.lagging = None;
            }
            Event::DeployFailed { node, epoch, failure } => {
                let rolled = self.node(node);
                rolled.deploy.attempt(at, failure);
                rolled.failed = Some(*epoch);
            }
            Event::Reloaded { node, epoch, verb } => {
                let deployed = self.nodes.get(node).and_then(|rolled| rolled.deployed.as_ref());
                let Some(generation) = deployed.map(|deployed| deployed.generation) else {
                    return Err(("Reloaded", format!("nothing was published on {node}")));
                };
                let rolled = self.node(node);
                rolled.reloaded = Some(milestone(*epoch, generation));
                rolled.reload.clear();
                rolled.reload_verb = Some(*verb);
                rolled.lagging = None;
            }
            Event::ReloadFailed { node, epoch, verb, failure } => {
                let rolled = self.node(node);
                rolled.failed = Some(*epoch);
                rolled.reload_verb = Some(*verb);
                rolled.reload_failed = Some(seq);
                // What was damaged is published anew at once; what is damaged again waits.
                let at_once = rolled.reload.failures == 0 && rollout::found_damaged(failure);
                if at_once { rolled.reload.note(at, failure) } else { rolled.reload.attempt(at, failure) }
            }
            Event::Lagging { node, epoch, drift, failure } => {
                let rolled = self.node(node);
                rolled.failed = Some(*epoch);
                rolled.lagging = Some(seq);
                // Drift is mended at once, but only once: what drifts again waits, or it would be reloaded without end.
                let at_once = *drift && rolled.serve.failures == 0;
                if at_once { rolled.serve.note(at, failure) } else { rolled.serve.attempt(at, failure) }
            }
            Event::NodeConfirmed { node, epoch, generation } => {
                let rolled = self.node(node);
                rolled.confirmed = Some(milestone(*epoch, *generation));
                rolled.lagging = None;
                rolled.serve.clear();
            }
            Event::WaveBegun { epoch, nodes } => {
                self.wave = Some(Wave { epoch: *epoch, nodes: nodes.iter().cloned().collect(), ended: None });
            }
            Event::WaveEnded { epoch } => {
                let wave = self.wave.as_mut().filter(|wave| wave.epoch == *epoch);
                let wave = wave.ok_or_else(|| ("WaveEnded", format!("no wave of epoch {epoch} was begun")))?;
                wave.ended = Some(at);
            }
            Event::WentLive { epoch, generation } => self.live = Some(milestone(*epoch, *generation)),
            // Every other kind is applied before this point.
            _ => return Err(("record", "its kind is not known here".into())),
        }
        Ok(())
    }

    fn set_want(&mut self, entry: &Entry<Event>) -> Applied {
        let Event::WantSet { epoch, generation, node, rollback, asked, why } = &entry.event else {
            return Ok(());
        };
        if *epoch <= self.epoch {
            return Err(("WantSet", format!("epoch {epoch} is not above {}", self.epoch)));
        }
        if !matches!(self.generations.get(generation).map(|held| &held.gate), Some(Gate::Accepted { .. })) {
            return Err(("WantSet", format!("generation {generation} was not accepted")));
        }
        if let Some(id) = asked {
            self.settle(id);
        }
        let aim = Aim { epoch: *epoch, generation: *generation, rollback: *rollback, at: entry.at, why: why.clone() };
        self.aim(node.as_ref(), aim);
        Ok(())
    }

    /// Decides what a node, or every one, should serve. What each is known to serve until now is where it can go back to; old
    /// trouble with publishing is not trouble with this aim.
    pub(super) fn aim(&mut self, node: Option<&NodeName>, aim: Aim) {
        for (name, rolled) in &mut self.nodes {
            if let Some(confirmed) = &rolled.confirmed {
                rolled.served_before = Some(confirmed.generation);
            }
            if node.is_none_or(|node| node == name) {
                rolled.deploy.skip_backoff();
                rolled.reload.skip_backoff();
                rolled.serve.skip_backoff();
                rolled.lagging = None;
            }
        }
        self.epoch = aim.epoch;
        self.aimed.insert(aim.generation, aim.epoch);
        match (node, &mut self.want) {
            (Some(node), Some(want)) => drop(want.overrides.insert(node.clone(), aim)),
            _ => self.want = Some(Want { default: aim, overrides: BTreeMap::new() }),
        }
    }

    fn node(&mut self, name: &NodeName) -> &mut Rolled {
        self.nodes.entry(name.clone()).or_default()
    }
}
