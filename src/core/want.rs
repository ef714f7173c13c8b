//! What should be served where, and how far each node has come.

use super::hold::Trouble;
use crate::types::{Digest, Epoch, GenId, NodeName, Printable, Seq, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
}
