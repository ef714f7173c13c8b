//! `nodes:`, `groups:` and `node_defaults:` — a fleet in few lines, written out into nodes that each say all of themselves.
//!
//! A key under `nodes:` or a word in a list of nodes may be a range, `edge01..50`. A setting is taken from the node's own entry,
//! else from the range that names it, else from its groups, else from `node_defaults:`; a value is taken whole, never merged.
//! `{node}` in any of them is the node's name.

use super::groups::{Groups, span};
use super::nodes::{Kind, SSH_ONLY};
use super::problem::{At, Problem};
use super::read::{Fields, Reader};
use super::spec::Node as Machine;
use super::yaml::{Node, Value};
use crate::types::{Identifier, NodeName, SshHost};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

/// What stands for a node's name in its settings and in endpoints.
pub(super) const NODE: &str = "{node}";
/// The list of a group that also has settings.
pub(super) const NODES: &str = "nodes";
const ADDRESS: &str = "address";

/// The nodes and groups that are declared, broken ones included: a reference to one is no second mistake.
pub(super) struct Fleet {
    /// What is written of each node, all in one mapping, in the order of the file; without `local`, unless it is written.
    members: Vec<(NodeName, Node)>,
    groups: Groups,
    addresses: HashMap<NodeName, Vec<String>>,
}

/// The sections that a fleet is read from.
pub(super) struct Written<'s, 't> {
    pub(super) nodes: &'s [(&'t Node, &'t Node)],
    pub(super) groups: &'s [(&'t Node, &'t Node)],
    pub(super) defaults: Option<&'t Node>,
}

/// Where a node is named, and what is written there.
struct Entry<'t> {
    name: NodeName,
    at: At,
    /// Its own entry.
    own: Option<&'t Node>,
    /// The entry of the range that names it.
    ranged: Option<&'t Node>,
}

impl Fleet {
    pub(super) fn read(reader: &Reader<'_>, written: &Written<'_, '_>) -> Self {
        let entries = entries(reader, written.nodes);
        let names: Vec<NodeName> = entries.iter().map(|entry| entry.name.clone()).collect();
        let groups = Groups::read(reader, written.groups, names);
        let defaults = written
            .defaults
            .and_then(|node| Some((Fields::open(reader, node, "a node's settings, a mapping,")?, node)));
        let defaults = defaults.map(|(_, node)| node);
        let members: Vec<(NodeName, Node)> = entries
            .iter()
            .map(|entry| (entry.name.clone(), whole(reader, entry, &groups, written.groups, defaults)))
            .collect();
        let addresses = members.iter().map(|(name, node)| (name.clone(), reader.addresses_of(name, node))).collect();
        Self { members, groups, addresses }
    }

    /// The nodes, checked.
    pub(super) fn nodes(&self, reader: &Reader<'_>, live: &Path, hook_time: Duration) -> BTreeMap<NodeName, Machine> {
        let read = self.members.iter().filter_map(|(name, node)| reader.node(name.clone(), node, live, hook_time));
        read.map(|node| (node.name.clone(), node)).collect()
    }

    /// The groups and what they come to.
    pub(super) const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Nodes of which nobody said how their servers come to read new files.
    pub(super) fn without_reload(&self) -> HashSet<&str> {
        let silent =
            self.members.iter().filter(|(_, node)| node.child("reload").is_none() && node.child("hook").is_none());
        let local = (!self.members.iter().any(|(name, _)| *name == NodeName::local())).then_some("local");
        silent.map(|(name, _)| name.as_str()).chain(local).collect()
    }

    /// Whether a node's address was written and is none, which has been told.
    pub(super) fn is_broken(&self, node: &NodeName) -> bool {
        let member = self.members.iter().find(|(name, _)| name == node);
        member.is_some_and(|(_, node)| node.child(ADDRESS).is_some() || node.child("host").is_some())
    }

    /// Where clients find a node: as written, or where ssh finds it.
    pub(super) fn addresses(&self, node: &NodeName) -> &[String] {
        self.addresses.get(node).map(Vec::as_slice).unwrap_or_default()
    }
}

/// One entry a node, ranges written out.
fn entries<'t>(reader: &Reader<'_>, written: &[(&'t Node, &'t Node)]) -> Vec<Entry<'t>> {
    let mut entries: Vec<Entry<'t>> = Vec::new();
    let mut places: HashMap<NodeName, usize> = HashMap::new();
    for (key, value) in written {
        let text = key.scalar().unwrap_or_default();
        let range = span(reader, key.at, text);
        let names = match &range {
            Some(names) => names.clone(),
            // What is under a bad name is read as well, so that its own mistakes are told.
            None => reader.name::<NodeName>(key).or_else(|| "unnamed".parse().ok()).into_iter().collect(),
        };
        for name in names {
            let at = *places.entry(name.clone()).or_insert_with(|| {
                entries.push(Entry { name: name.clone(), at: key.at, own: None, ranged: None });
                entries.len() - 1
            });
            let Some(entry) = entries.get_mut(at) else { continue };
            let place = if range.is_some() { &mut entry.ranged } else { &mut entry.own };
            if place.is_some() && range.is_some() {
                let problem = Problem::error(key.at, format!("`{name}` is in two ranges")).also(entry.at, "first here");
                reader.sink.push(problem.help("let one of them end sooner, or begin later"));
                break;
            }
            *place = Some(*value);
        }
    }
    entries
}

/// All that holds for a node, in one mapping.
fn whole(
    reader: &Reader<'_>,
    entry: &Entry<'_>,
    groups: &Groups,
    written: &[(&Node, &Node)],
    defaults: Option<&Node>,
) -> Node {
    let (at, place) = entry.own.or(entry.ranged).map_or((entry.at, entry.at), |node| (node.at, node.at));
    // `edge1:` with nothing under it is a node that is like the others.
    let own = [entry.own, entry.ranged].into_iter().flatten().find(|node| !node.is_null());
    if let Some(own) = own.filter(|own| !matches!(own.value, Value::Map(_))) {
        return own.clone();
    }
    let mut layers: Vec<(&Node, Option<usize>)> = Vec::new();
    layers.extend(entry.own.map(|node| (node, None)));
    layers.extend(entry.ranged.map(|node| (node, None)));
    let of = groups.of(&entry.name);
    layers.extend(of.iter().filter_map(|group| written.get(*group).map(|(_, node)| (*node, Some(*group)))));
    layers.extend(defaults.map(|node| (node, None)));
    let kind = kind(entry, &layers);
    let mut entries: Vec<(Node, Node)> = Vec::new();
    let mut from: HashMap<&str, Option<usize>> = HashMap::new();
    for (layer, (node, group)) in layers.iter().enumerate() {
        let Value::Map(settings) = &node.value else { continue };
        let inherited = layer > 0 || entry.own.is_none();
        for (key, value) in settings {
            let name = key.scalar().unwrap_or_default();
            if group.is_some() && name == NODES || inherited && !fits(name, value, kind) {
                continue;
            }
            match (from.get(name), group) {
                (None, _) => {
                    from.insert(name, *group);
                    entries.push((key.clone(), filled(reader, value, &entry.name)));
                }
                (Some(Some(first)), Some(group)) if first != group && !groups.contains(*group, *first) => {
                    let (one, other) = (groups.name(*first), groups.name(*group));
                    let message = format!("`{}` gets `{name}` from two groups, {one} and {other}", entry.name);
                    let help = format!("write `{name}` under nodes: {}, or in one of the groups only", entry.name);
                    reader.sink.push(Problem::error(key.at, message).help(help));
                }
                _ => {}
            }
        }
    }
    let at = if own.is_some() { at } else { place };
    Node { at, value: Value::Map(entries) }
}

/// What kind of a node it is, by the first that says so: settings for other kinds are then not taken over.
fn kind(entry: &Entry<'_>, layers: &[(&Node, Option<usize>)]) -> Option<Kind> {
    let said = |node: &Node| match node.child("type").and_then(Node::scalar) {
        Some(word) => Some(Kind::WORDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind)),
        None if node.child("hook").is_some() => Some(Some(Kind::Exec)),
        None if node.child("host").is_some() => Some(Some(Kind::Ssh)),
        None => None,
    };
    let own = entry.own.and_then(said);
    let this_machine = (entry.name == NodeName::local()).then_some(Some(Kind::Local));
    let found = own.or(this_machine).or_else(|| layers.iter().find_map(|(node, _)| said(node)));
    found.unwrap_or(Some(Kind::Local))
}

/// Whether a setting that others share is one for a node of this kind.
fn fits(key: &str, value: &Node, kind: Option<Kind>) -> bool {
    let Some(kind) = kind else { return true };
    match key {
        "hook" => kind == Kind::Exec,
        "reload" if value.scalar() == Some("hook") => kind == Kind::Exec,
        "type" => Kind::WORDS.iter().any(|(word, it)| value.scalar() == Some(*word) && *it == kind),
        key if SSH_ONLY.contains(&key) => kind == Kind::Ssh,
        _ => true,
    }
}

/// The value with the node's name where [`NODE`] stands; a shell's `${node}` stays.
fn filled(reader: &Reader<'_>, node: &Node, name: &NodeName) -> Node {
    let value = match &node.value {
        Value::Scalar { text, plain } if text.contains(NODE) => {
            reader.sink.repeats(node.at);
            let text =
                text.replace(&format!("${NODE}"), "\0").replace(NODE, name.as_str()).replace('\0', &format!("${NODE}"));
            Value::Scalar { text, plain: *plain }
        }
        Value::List(items) => Value::List(items.iter().map(|item| filled(reader, item, name)).collect()),
        Value::Map(entries) => {
            Value::Map(entries.iter().map(|(key, value)| (key.clone(), filled(reader, value, name))).collect())
        }
        other => other.clone(),
    };
    Node { at: node.at, value }
}

impl Reader<'_> {
    /// Where clients find a node, IPv6 addresses without brackets.
    fn addresses_of(&self, name: &NodeName, node: &Node) -> Vec<String> {
        let Some(written) = node.child(ADDRESS) else {
            let ssh = node.child("type").and_then(Node::scalar) == Some("ssh");
            let host = node.child("host").and_then(Node::scalar);
            let host = host.map(|text| text.strip_prefix("ssh://").unwrap_or(text));
            let host = host.or_else(|| ssh.then_some(name.as_str()));
            let parsed = host.and_then(|host| format!("ssh://{host}").parse::<SshHost>().ok());
            return parsed.map(|host| host.host().to_owned()).into_iter().collect();
        };
        let items = self.one_or_more(written, "an address or a host name");
        let good = items.iter().filter_map(|item| {
            let text = self.text(item, "an address or a host name")?;
            let bare = text.trim_matches(['[', ']']);
            let help = "write it without a port; an endpoint says the port: \"{address}:443\"";
            match bare.parse::<Identifier>() {
                Ok(identifier) if !identifier.is_wildcard() => Some(bare.to_owned()),
                _ => {
                    self.error(item.at, format!("`{text}` is no address and no host name"), help);
                    None
                }
            }
        });
        good.collect()
    }
}
