//! `rollout:`

use super::fleet::Fleet;
use super::read::{Fields, Reader};
use super::spec::Rollout;
use super::yaml::{Node, Value};
use crate::types::NodeName;
use std::time::Duration;

/// Nodes that get a new generation at the same time, after the canaries.
const DEFAULT_PARALLEL: usize = 4;
const MAX_PARALLEL: u32 = 256;
/// More nodes than any certificate has.
const MAX_NODES: u32 = 10_000;
/// A longer pause than this would not end before the next renewal of most certificates.
const MAX_PAUSE: Duration = Duration::from_secs(7 * 86_400);

impl Reader<'_> {
    pub(super) fn rollout(&self, node: &Node, nodes: &[NodeName], fleet: &Fleet) -> Option<Rollout> {
        let mut fields = Fields::open(self, node, "a roll-out, a mapping,")?;
        let canaries = fields.take("canary").map(|node| self.canaries(node, nodes, fleet)).unwrap_or_default();
        let parallel = fields.take("parallel").and_then(|node| self.whole(node, 1..=MAX_PARALLEL)).and_then(count);
        let pause = fields.take("pause").and_then(|node| self.span(node, Duration::from_secs(1)..=MAX_PAUSE));
        let max_failures = fields.take("max_failures").and_then(|node| self.whole(node, 0..=MAX_NODES)).and_then(count);
        let roll_back = fields.take("roll_back").and_then(|node| self.flag(node));
        fields.close(self);
        let default = default_rollout();
        Some(Rollout {
            canaries,
            parallel: parallel.unwrap_or(default.parallel),
            pause: pause.unwrap_or(default.pause),
            max_failures,
            roll_back: roll_back.unwrap_or(default.roll_back),
        })
    }

    /// So many of the certificate's nodes, the first ones; or those named.
    fn canaries(&self, node: &Node, nodes: &[NodeName], fleet: &Fleet) -> Vec<NodeName> {
        let written = node.scalar().filter(|_| !matches!(node.value, Value::List(_)));
        let counted = written.is_some_and(|text| text.bytes().all(|b| b.is_ascii_digit()));
        if counted && !written.is_some_and(|text| nodes.iter().any(|name| name.as_str() == text)) {
            let many = self.whole(node, 1..=MAX_NODES).and_then(count).unwrap_or(0);
            return nodes.iter().take(many).cloned().collect();
        }
        let wanted = "the name of a node or a group, a list of names, or how many nodes go first";
        let mut named: Vec<NodeName> = Vec::new();
        for item in self.one_or_more(node, wanted) {
            for name in self.members(item, nodes, fleet) {
                if !named.contains(&name) {
                    named.push(name);
                }
            }
        }
        named
    }
}

fn count(number: u32) -> Option<usize> {
    usize::try_from(number).ok()
}

pub(super) const fn default_rollout() -> Rollout {
    Rollout {
        canaries: Vec::new(),
        parallel: DEFAULT_PARALLEL,
        pause: Duration::ZERO,
        max_failures: None,
        roll_back: true,
    }
}
