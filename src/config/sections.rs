//! The top level: sections of several files become one specification.

use super::certificates::{Certificates, Declared};
use super::fleet::{Fleet, Written};
use super::nodes;
use super::problem::Problem;
use super::read::{Fields, HTTP_PORT, Reader, TLS_PORT, unknown_key};
use super::spec::{Limits, Paths, Spec};
use super::yaml::Node;
use crate::types::{InvalidName, NodeName};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The only version of this format so far.
const VERSION: &str = "1";
/// DNS over UDP and TCP.
const DNS_PORT: u16 = 53;
/// Sections that hold named entries, merged over all files.
const NAMED: [&str; 4] = ["issuers", "nodes", "groups", "notifiers"];
const KEYS: [&str; 16] = [
    "version",
    "paths",
    "resolvers",
    "http_port",
    "tls_port",
    "every",
    "issuers",
    "nodes",
    "node_defaults",
    "groups",
    "notifiers",
    "certificates",
    "defaults",
    "ping",
    "metrics",
    "limits",
];
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The sections of all files, not yet looked into.
#[derive(Default)]
struct Sections<'t> {
    single: HashMap<&'static str, &'t Node>,
    named: HashMap<&'static str, Vec<(&'t Node, &'t Node)>>,
    certificates: Vec<&'t Node>,
}

/// Reads the specification. `None` only when nothing at all is there; problems are in the reader's sink.
pub(super) fn read(reader: &Reader<'_>, roots: &[Option<Node>]) -> Option<Spec> {
    let mut sections = Sections::default();
    for root in roots.iter().flatten() {
        sections.gather(reader, root);
    }
    if let Some(first) = roots.first().and_then(Option::as_ref) {
        version(reader, first, &sections);
    } else if roots.iter().all(Option::is_none) {
        return None;
    }
    let paths = sections.one("paths").and_then(|node| reader.paths(node)).unwrap_or_default();
    let limits = sections.one("limits").and_then(|node| reader.limits(node)).unwrap_or_default();
    let issuers = sections.map(reader, "issuers", |name, node| reader.issuer(name, node));
    let written = Written {
        nodes: sections.entries("nodes"),
        groups: sections.entries("groups"),
        defaults: sections.one("node_defaults"),
    };
    let fleet = Fleet::read(reader, &written);
    let mut all_nodes = fleet.nodes(reader, &paths.live, limits.hook);
    all_nodes.entry(NodeName::local()).or_insert_with(|| nodes::local(&paths));
    let notifiers = sections.map(reader, "notifiers", |name, node| reader.notifier(name, node, limits.hook));
    let certificates = {
        let declared = Declared {
            unmoved: fleet.without_reload(),
            issuers: sections.names("issuers"),
            fleet: &fleet,
            notifiers: sections.names("notifiers"),
            read_issuers: &issuers,
            paths: &paths,
            hook_time: limits.hook,
            defaults: sections.one("defaults"),
        };
        if let Some(defaults) = declared.defaults {
            reader.default_keys(defaults);
        }
        let mut certificates = Certificates::default();
        for node in &sections.certificates {
            certificates.add(reader, node, &declared);
        }
        certificates.finish(reader);
        certificates.read
    };
    Some(Spec {
        resolvers: sections.one("resolvers").map(|node| reader.resolvers(node)).unwrap_or_default(),
        http_port: sections.one("http_port").and_then(|node| reader.port(node)).unwrap_or(HTTP_PORT),
        tls_port: sections.one("tls_port").and_then(|node| reader.port(node)).unwrap_or(TLS_PORT),
        every: sections.one("every").and_then(|node| reader.span(node, SECOND..=HOUR * 24 * 7)),
        ping: sections.one("ping").and_then(|node| reader.ping(node)),
        metrics: sections.one("metrics").and_then(|node| reader.path(node)),
        paths,
        issuers,
        nodes: all_nodes,
        groups: fleet.groups().all(),
        certificates,
        notifiers,
        limits,
    })
}

impl<'t> Sections<'t> {
    /// Takes the sections of one file.
    fn gather(&mut self, reader: &Reader<'_>, root: &'t Node) {
        let Some(fields) =
            Fields::open(reader, root, "a configuration, a mapping with version, issuers and certificates,")
        else {
            return;
        };
        for (key, value) in fields.entries() {
            let name = key.scalar().unwrap_or_default();
            match KEYS.iter().find(|known| **known == name) {
                None if reader.sink.is_full() => return,
                None => unknown_key(reader, key.at, name, &KEYS),
                // A section with nothing under it is one that was not written.
                Some(_) if value.is_null() => {}
                Some(&"certificates") => {
                    self.certificates.extend(reader.list(value, "a list of certificates, each with `- name:`,"));
                }
                Some(section) if NAMED.contains(section) => self.gather_named(reader, section, value),
                // Every file may say which version it is written for.
                Some(&"version") if self.single.contains_key("version") => {
                    known_version(reader, value);
                }
                Some(section) => {
                    if let Some(first) = self.single.get(section) {
                        let message = format!("`{section}` is written in two files");
                        let problem = Problem::error(key.at, message).also(first.at, "first here");
                        reader.sink.push(problem.help("keep it in one: such sections are not merged"));
                    } else {
                        self.single.insert(section, value);
                    }
                }
            }
        }
    }

    fn gather_named(&mut self, reader: &Reader<'_>, section: &'static str, value: &'t Node) {
        let Some(fields) = Fields::open(reader, value, "a mapping of names") else { return };
        let known = self.named.entry(section).or_default();
        let places: HashMap<_, _> = known.iter().map(|(key, _)| (key.scalar().unwrap_or_default(), key.at)).collect();
        for (key, value) in fields.entries() {
            if let Some(first) = key.scalar().and_then(|name| places.get(name)) {
                let message = format!("`{}` is defined twice under {section}", key.scalar().unwrap_or_default());
                let problem = Problem::error(key.at, message).also(*first, "first here");
                reader.sink.push(problem.help("give one of them another name"));
            } else {
                known.push((key, value));
            }
        }
    }

    fn one(&self, section: &str) -> Option<&'t Node> {
        self.single.get(section).copied()
    }

    fn names(&self, section: &str) -> Vec<&'t str> {
        self.named.get(section).into_iter().flatten().filter_map(|(key, _)| key.scalar()).collect()
    }

    fn entries(&self, section: &str) -> &[(&'t Node, &'t Node)] {
        self.named.get(section).map(Vec::as_slice).unwrap_or_default()
    }

    fn map<N, T>(&self, reader: &Reader<'_>, section: &str, read: impl Fn(N, &'t Node) -> Option<T>) -> BTreeMap<N, T>
    where
        N: FromStr<Err = InvalidName> + Ord + Clone,
    {
        let entries = self.named.get(section).into_iter().flatten();
        let read = entries.filter_map(|(key, value)| {
            let name = reader.name::<N>(key);
            // What is under a bad name is read as well, so that its own mistakes are told.
            let entry = read(name.clone().or_else(|| "unnamed".parse().ok())?, value)?;
            Some((name?, entry))
        });
        read.collect()
    }
}

fn version(reader: &Reader<'_>, root: &Node, sections: &Sections<'_>) {
    match sections.one("version") {
        Some(node) => known_version(reader, node),
        None => reader.error(root.at, "`version` is missing", "write version: 1 at the top"),
    }
}

fn known_version(reader: &Reader<'_>, node: &Node) {
    if reader.text(node, "`1`").is_some_and(|text| text != VERSION) {
        reader.error(
            node.at,
            format!("this everleaf reads version 1 of the configuration, and {} is written", node.described()),
            "write version: 1",
        );
    }
}

impl Reader<'_> {
    fn paths(&self, node: &Node) -> Option<Paths> {
        let mut fields = Fields::open(self, node, "paths, a mapping with state, live and run,")?;
        let default = Paths::default();
        let mut path = |key, default: PathBuf| {
            let node = fields.take(key)?;
            Some((self.path(node).unwrap_or(default), node.at))
        };
        let (state, live, run) = (
            path("state", default.state.clone()),
            path("live", default.live.clone()),
            path("run", default.run.clone()),
        );
        fields.close(self);
        let place = live.as_ref().or(state.as_ref()).or(run.as_ref()).map_or(node.at, |(_, at)| *at);
        let or = |found: Option<(PathBuf, _)>, default| found.map_or(default, |(path, _)| path);
        let paths = Paths { state: or(state, default.state), live: or(live, default.live), run: or(run, default.run) };
        if paths.state == paths.live || paths.live == paths.run || paths.state == paths.run {
            self.error(
                place,
                "state, live and run must be three directories",
                "keep the defaults, or give each its own",
            );
        }
        Some(paths)
    }

    fn limits(&self, node: &Node) -> Option<Limits> {
        let mut fields = Fields::open(self, node, "limits, a mapping with connect, request, order, run and hook,")?;
        let default = Limits::default();
        let mut span = |key, range: RangeInclusive<Duration>, default| {
            fields.take(key).and_then(|node| self.span(node, range)).unwrap_or(default)
        };
        let limits = Limits {
            connect: span("connect", SECOND..=SECOND * 120, default.connect),
            request: span("request", SECOND..=SECOND * 600, default.request),
            order: span("order", SECOND * 10..=HOUR * 24, default.order),
            run: span("run", SECOND * 5..=HOUR * 24, default.run),
            hook: span("hook", SECOND..=HOUR, default.hook),
        };
        fields.close(self);
        Some(limits)
    }

    fn resolvers(&self, node: &Node) -> Vec<SocketAddr> {
        self.one_or_more(node, "a resolver's address")
            .iter()
            .filter_map(|item| self.address(item, Some(DNS_PORT)))
            .collect()
    }
}
