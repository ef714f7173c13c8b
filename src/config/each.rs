//! Endpoints written once for many nodes: `{node}` and `{address}` in them, or a group as their node.

use super::endpoints::Served;
use super::fleet::{Fleet, NODE};
use super::groups::few;
use super::problem::At;
use super::read::{Reader, suggestion};
use super::spec::Endpoint;
use super::yaml::{Node, Value, shortened};
use crate::types::NodeName;
use std::collections::HashSet;

/// What stands for where clients find a node.
const ADDRESS: &str = "{address}";
/// Where names may stand for what differs from node to node.
const PLACES: [&str; 2] = ["address", "sni"];

impl Reader<'_> {
    pub(super) fn endpoints(&self, node: &Node, served: &Served<'_>) -> Vec<(Endpoint, At)> {
        let items = self.one_or_more(node, "an endpoint");
        let read = items.iter().flat_map(|item| {
            let found = if is_for_each(item, served) { self.each(item, served) } else { self.endpoint(item, served) };
            found.into_iter().map(|endpoint| (endpoint, item.at))
        });
        read.collect()
    }

    /// The endpoints of an entry that stands for one on each node: of its `node`, or of all the certificate goes to.
    fn each(&self, item: &Node, served: &Served<'_>) -> Vec<Endpoint> {
        let nodes = match item.child("node") {
            Some(node) => self.one_or_more(node, "the name of a node or of a group"),
            None => &[],
        };
        let named: Vec<NodeName> =
            nodes.iter().flat_map(|node| self.members(node, served.nodes, served.fleet)).collect();
        let behind = if item.child("node").is_some() { named.as_slice() } else { served.nodes };
        let address = item.child("address").unwrap_or(item);
        if behind.len() > 1 && !has_braces(address) {
            let message = format!("{} nodes cannot all be at one address", behind.len());
            self.error(address.at, message, "write \"{address}:443\": each node's own `address`, or its `host`");
            return Vec::new();
        }
        let asks = |it: &Node| it.scalar().is_some_and(|text| text.contains(ADDRESS));
        let wanted = asks(item) || PLACES.iter().any(|key| item.child(key).is_some_and(asks));
        let unknown = |node: &&NodeName| served.fleet.addresses(node).is_empty() && !served.fleet.is_broken(node);
        let lost: Vec<&NodeName> = behind.iter().filter(|node| wanted && unknown(node)).collect();
        if let Some(first) = lost.first() {
            let message = format!("nothing says at which address clients find {}", few(&lost));
            let help =
                format!("write its address under `nodes:`, as in nodes: {{ {first}: {{ address: 192.0.2.1 }} }}");
            self.error(address.at, message, help);
        }
        behind.iter().flat_map(|node| self.on(item, node, served, wanted)).collect()
    }

    /// The endpoints of the entry on one node: at each of its addresses, where `wanted`.
    fn on(&self, item: &Node, node: &NodeName, served: &Served<'_>, wanted: bool) -> Vec<Endpoint> {
        let nobody = [String::new()];
        let addresses = if wanted { served.fleet.addresses(node) } else { &nobody };
        let alone = Served { nodes: std::slice::from_ref(node), ..*served };
        addresses.iter().flat_map(|address| self.endpoint(&self.placed(item, node, address), &alone)).collect()
    }

    /// The entry with a node's name and address in it.
    fn placed(&self, item: &Node, node: &NodeName, address: &str) -> Node {
        let value = match &item.value {
            Value::Scalar { .. } => self.written_out(item, node, address).value,
            Value::Map(entries) => Value::Map(
                entries
                    .iter()
                    .filter_map(|(key, value)| {
                        let name = key.scalar().unwrap_or_default();
                        match name {
                            // There is but one now.
                            "node" => None,
                            _ if PLACES.contains(&name) => Some((key.clone(), self.written_out(value, node, address))),
                            _ => Some((key.clone(), value.clone())),
                        }
                    })
                    .collect(),
            ),
            other => other.clone(),
        };
        Node { at: item.at, value }
    }

    fn written_out(&self, value: &Node, node: &NodeName, address: &str) -> Node {
        let filled = match &value.value {
            Value::Scalar { text, plain } if text.contains('{') => {
                self.sink.repeats(value.at);
                // Brackets tell an IPv6 address from the port that follows it.
                let place = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
                Value::Scalar { text: text.replace(NODE, node.as_str()).replace(ADDRESS, &place), plain: *plain }
            }
            Value::List(items) => Value::List(items.iter().map(|item| self.written_out(item, node, address)).collect()),
            other => other.clone(),
        };
        Node { at: value.at, value: filled }
    }

    /// One of the certificate's nodes, or those of them that are in a group.
    pub(super) fn members(&self, node: &Node, nodes: &[NodeName], fleet: &Fleet) -> Vec<NodeName> {
        let Some(text) = self.text(node, "the name of a node or of a group") else { return Vec::new() };
        let Some(group) = fleet.groups().get(text) else {
            return self.member(node, text, nodes).into_iter().collect();
        };
        let here: HashSet<&NodeName> = nodes.iter().collect();
        let found: Vec<NodeName> = group.iter().filter(|name| here.contains(name)).cloned().collect();
        if found.is_empty() && !nodes.is_empty() && !group.is_empty() {
            let help = format!("its nodes are {}", few(nodes));
            self.error(node.at, format!("this certificate goes to no node of the group `{text}`"), help);
        }
        found
    }

    fn member(&self, node: &Node, text: &str, nodes: &[NodeName]) -> Option<NodeName> {
        let found = nodes.iter().find(|have| have.as_str() == text);
        if found.is_none() && !nodes.is_empty() {
            let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
            let help = format!("{}its nodes are {}", suggestion(text, &names), few(nodes));
            self.error(node.at, format!("this certificate does not go to a node `{}`", shortened(text)), help);
        }
        found.cloned()
    }
}

/// Whether an entry stands for one endpoint a node.
fn is_for_each(item: &Node, served: &Served<'_>) -> bool {
    let group = |node: &Node| node.scalar().is_some_and(|text| served.fleet.groups().get(text).is_some());
    let several = |node: &Node| matches!(node.value, Value::List(_)) || group(node);
    has_braces(item)
        || PLACES.iter().any(|key| item.child(key).is_some_and(has_braces))
        || item.child("node").is_some_and(several)
}

fn has_braces(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => items.iter().any(has_braces),
        _ => node.scalar().is_some_and(|text| text.contains('{')),
    }
}
