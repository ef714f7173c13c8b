//! `groups:` — names for several nodes, usable wherever nodes are listed.

use super::fleet::NODES;
use super::problem::{At, Problem};
use super::read::{Fields, Reader, listed, nearest};
use super::yaml::{Node, Value, shortened};
use crate::types::{NodeName, runs};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;

/// Nodes in one range, and in one fleet more than anybody has.
const MOST: u32 = 10_000;
/// Groups within groups within groups.
const DEEP: usize = 16;
/// Names shown in a message.
const SHOWN: usize = 12;

/// The groups, and which nodes there are to be in them.
pub(super) struct Groups {
    /// Every node that may be listed; `local` is always there.
    known: HashSet<NodeName>,
    /// As written: how a message lists them.
    order: Vec<NodeName>,
    names: Vec<NodeName>,
    index: BTreeMap<String, usize>,
    /// What each comes to, in its own order.
    nodes: Vec<Vec<NodeName>>,
    /// The groups inside each, however deep.
    inside: Vec<HashSet<usize>>,
    /// The groups of each node, inner ones first.
    of: HashMap<NodeName, Vec<usize>>,
}

/// The groups while they are looked into.
struct Search<'s, 't, 'r> {
    reader: &'s Reader<'r>,
    written: &'s [(&'t Node, &'t Node)],
    done: Vec<bool>,
    path: Vec<usize>,
}

impl Groups {
    pub(super) fn read(reader: &Reader<'_>, written: &[(&Node, &Node)], mut order: Vec<NodeName>) -> Self {
        if !order.contains(&NodeName::local()) {
            order.push(NodeName::local());
        }
        let mut groups = Self {
            known: order.iter().cloned().collect(),
            order,
            names: Vec::new(),
            index: BTreeMap::new(),
            nodes: vec![Vec::new(); written.len()],
            inside: vec![HashSet::new(); written.len()],
            of: HashMap::new(),
        };
        for (at, (key, _)) in written.iter().enumerate() {
            let name = reader.name::<NodeName>(key);
            if let Some(name) = name.as_ref().filter(|name| groups.known.contains(name)) {
                let message = format!("`{name}` is a node, and cannot be a group as well");
                reader.error(key.at, message, "give the group another name");
            }
            groups.index.insert(key.scalar().unwrap_or_default().to_owned(), at);
            groups.names.push(name.unwrap_or_else(NodeName::local));
        }
        let mut search = Search { reader, written, done: vec![false; written.len()], path: Vec::new() };
        for at in 0..written.len() {
            search.resolve(&mut groups, at);
        }
        groups.sort_by_depth();
        groups
    }

    /// Which groups each node is in: a group before those it is in itself.
    fn sort_by_depth(&mut self) {
        let mut inner_first: Vec<usize> = (0..self.nodes.len()).collect();
        inner_first.sort_by_key(|at| self.inside[*at].len());
        for at in inner_first {
            for node in &self.nodes[at] {
                self.of.entry(node.clone()).or_default().push(at);
            }
        }
    }

    /// The groups that a node is in, by their number; a group before those that contain it.
    pub(super) fn of(&self, node: &NodeName) -> &[usize] {
        self.of.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn name(&self, group: usize) -> &str {
        self.names.get(group).map_or("", NodeName::as_str)
    }

    /// Whether `outer` contains `inner`.
    pub(super) fn contains(&self, outer: usize, inner: usize) -> bool {
        self.inside.get(outer).is_some_and(|inside| inside.contains(&inner))
    }

    /// What a group comes to.
    pub(super) fn get(&self, name: &str) -> Option<&[NodeName]> {
        self.index.get(name).and_then(|at| self.nodes.get(*at)).map(Vec::as_slice)
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeMap<NodeName, Vec<NodeName>> {
        self.names.iter().cloned().zip(self.nodes.iter().cloned()).collect()
    }

    /// The nodes that a list of nodes, ranges and groups comes to, each once.
    pub(super) fn selected(&self, reader: &Reader<'_>, node: &Node) -> Vec<NodeName> {
        self.listed(reader, node, |groups, at, _| groups.nodes.get(at).cloned())
    }

    fn listed(
        &self,
        reader: &Reader<'_>,
        node: &Node,
        mut group: impl FnMut(&Self, usize, At) -> Option<Vec<NodeName>>,
    ) -> Vec<NodeName> {
        let mut words: HashSet<&str> = HashSet::new();
        let mut seen: HashSet<NodeName> = HashSet::new();
        let mut found: Vec<NodeName> = Vec::new();
        for item in reader.one_or_more(node, "the name of a node or of a group") {
            let Some(text) = reader.text(item, "the name of a node or of a group") else { continue };
            let names = match self.index.get(text) {
                Some(at) => group(self, *at, item.at),
                None => self.named(reader, item.at, text),
            };
            let Some(names) = names else { continue };
            if !words.insert(text) {
                reader.error(item.at, format!("`{}` is listed twice", shortened(text)), "keep one");
            }
            // A node in two of the groups listed is one node.
            found.extend(names.into_iter().filter(|name| seen.insert(name.clone())));
        }
        found
    }

    /// The node or the range called `text`.
    fn named(&self, reader: &Reader<'_>, at: At, text: &str) -> Option<Vec<NodeName>> {
        let names = span(reader, at, text);
        let whole = names.is_some();
        let names = names.or_else(|| Some(vec![text.parse().ok()?])).unwrap_or_default();
        let missing = names.iter().find(|name| !self.known.contains(*name)).map(NodeName::as_str);
        match missing {
            None if !names.is_empty() => Some(names),
            None if whole => None,
            missing => {
                reader.error(
                    at,
                    format!("there is no node `{}`", shortened(missing.unwrap_or(text))),
                    self.instead(text),
                );
                None
            }
        }
    }

    /// What may be written where `text` is.
    fn instead(&self, text: &str) -> String {
        let groups: Vec<&str> = self.index.keys().map(String::as_str).collect();
        let all: Vec<&str> = self.order.iter().map(NodeName::as_str).chain(groups.iter().copied()).collect();
        match nearest(text, &all) {
            Some(near) => format!("did you mean `{near}`?"),
            None if all.len() <= SHOWN => format!("declare it under `nodes:`, or write {}", listed(&all)),
            None => {
                let groups = if groups.is_empty() { String::new() } else { format!("; groups: {}", few(&groups)) };
                format!("declare it under `nodes:`; there are: {}{groups}", few(&self.order))
            }
        }
    }
}

/// A few names, ranges as such, and how many more.
pub(super) fn few<T: Display>(names: &[T]) -> String {
    let said = runs(names);
    let parts: Vec<&str> = said.split(", ").collect();
    match parts.len().saturating_sub(SHOWN) {
        0 => said,
        more => format!("{} and {more} more", parts[..SHOWN].join(", ")),
    }
}

impl Search<'_, '_, '_> {
    /// Finds out what one group comes to, and before it what those in it come to.
    fn resolve(&mut self, groups: &mut Groups, at: usize) {
        if std::mem::replace(&mut self.done[at], true) {
            return;
        }
        let (_, value) = self.written[at];
        let reader = self.reader;
        let list = match &value.value {
            Value::Map(_) => {
                let Some(mut fields) = Fields::open(reader, value, "a group, a list of nodes,") else { return };
                let list = fields.own(NODES);
                if list.is_none() {
                    let help = "write nodes: [edge1, edge2] beside the settings they share";
                    reader.error(value.at, "`nodes` is missing: a group is made of nodes", help);
                }
                list
            }
            _ => Some(value),
        };
        let Some(list) = list else { return };
        self.path.push(at);
        // First those within: what they come to is then there to be read.
        let words = if let Value::List(items) = &list.value { items.as_slice() } else { std::slice::from_ref(list) };
        let mut refused: HashSet<usize> = HashSet::new();
        for item in words {
            let Some(inner) = item.scalar().and_then(|text| groups.index.get(text)).copied() else { continue };
            if let Some(from) = self.path.iter().position(|it| *it == inner) {
                self.circle(groups, from, item.at);
                refused.insert(inner);
            } else if self.path.len() >= DEEP {
                reader.error(item.at, format!("groups nest deeper than {DEEP} levels"), "list the nodes themselves");
                refused.insert(inner);
            } else {
                self.resolve(groups, inner);
                let deeper = groups.inside[inner].clone();
                groups.inside[at].extend(deeper);
                groups.inside[at].insert(inner);
            }
        }
        self.path.pop();
        groups.nodes[at] = groups
            .listed(reader, list, |groups, inner, _| (!refused.contains(&inner)).then(|| groups.nodes[inner].clone()));
    }

    fn circle(&self, groups: &Groups, from: usize, at: At) {
        let around: Vec<&str> = self.path[from..].iter().map(|it| groups.name(*it)).collect();
        let message = match around.as_slice() {
            [one] => format!("the group `{one}` is in itself"),
            several => format!("these groups are in each other: {}", several.join(", ")),
        };
        self.reader.sink.push(Problem::error(at, message).help("take this one out"));
    }
}

/// The names that a range such as `edge01..50` stands for; `None` for what is no range. A range that cannot be is told, and is empty.
pub(super) fn span(reader: &Reader<'_>, at: At, text: &str) -> Option<Vec<NodeName>> {
    let (head, tail) = text.split_once("..")?;
    let prefix = head.trim_end_matches(|c: char| c.is_ascii_digit());
    let first = &head[prefix.len()..];
    // `edge01..edge50` says the same.
    let tail = if prefix.is_empty() { tail } else { tail.strip_prefix(prefix).unwrap_or(tail) };
    let suffix = tail.trim_start_matches(|c: char| c.is_ascii_digit());
    let last = &tail[..tail.len() - suffix.len()];
    if first.is_empty() || last.is_empty() {
        return None;
    }
    let wrong = |message: String, help: String| {
        reader.error(at, message, help);
        Some(Vec::new())
    };
    let (Ok(from), Ok(to)) = (first.parse::<u32>(), last.parse::<u32>()) else {
        return wrong(format!("`{}` counts too far", shortened(text)), format!("a range has {MOST} nodes at most"));
    };
    if to < from {
        return wrong(
            format!("`{}` ends before it begins", shortened(text)),
            format!("write {prefix}{last}..{first}{suffix}"),
        );
    }
    if to - from >= MOST {
        return wrong(format!("`{}` counts too far", shortened(text)), format!("a range has {MOST} nodes at most"));
    }
    let padded = first.starts_with('0') && first.len() > 1;
    if padded && first.len() != last.len() {
        let help = format!("write {prefix}{from:0width$}..{last}{suffix}", width = last.len());
        return wrong(format!("`{}` has numbers of different lengths", shortened(text)), help);
    }
    let width = if padded { first.len() } else { 0 };
    let mut names = Vec::new();
    for number in from..=to {
        match format!("{prefix}{number:0width$}{suffix}").parse::<NodeName>() {
            Ok(name) => names.push(name),
            Err(error) => return wrong(error.to_string(), String::new()),
        }
    }
    Some(names)
}
