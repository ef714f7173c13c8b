//! `endpoints:` and `confirm:` — where a certificate must be served, and what proves it.

use super::fleet::Fleet;
use super::groups::few;
use super::problem::{At, Problem};
use super::read::{DAY, Fields, Reader, suggestion};
use super::solvers::Placed;
use super::spec::{Confirm, Endpoint, Expect, Handshakes, StartTls, Target};
use super::yaml::{Node, Value, shortened};
use crate::types::{Identifier, NodeName, Vantage};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

const HTTPS: u16 = 443;
const MAX_HANDSHAKES: u32 = 1000;
const OVER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);
const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const EVERY: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(30 * 86_400);
/// Several fresh handshakes, since one may meet a worker that is about to go.
const DEFAULT_HANDSHAKES: Handshakes = Handshakes {
    count: 8,
    over: Duration::from_secs(3),
    drain: Duration::from_secs(60),
    every: Duration::from_secs(3600),
};

/// What of the certificate its endpoints depend on.
pub(super) struct Served<'a> {
    pub(super) names: &'a [Placed],
    pub(super) nodes: &'a [NodeName],
    pub(super) fleet: &'a Fleet,
}

impl Served<'_> {
    /// The names a peer can ask for: no wildcards, and addresses only where there is no name.
    fn askable(&self) -> Vec<Identifier> {
        let plain = || self.names.iter().map(|(name, _)| name).filter(|name| !name.is_wildcard());
        let dns: Vec<Identifier> = plain().filter(|name| matches!(name, Identifier::Dns(_))).cloned().collect();
        if dns.is_empty() { plain().cloned().collect() } else { dns }
    }
}

/// What an endpoint entry says besides its address.
struct Manner {
    node: Option<NodeName>,
    starttls: StartTls,
    expect: Expect,
    /// From where it is looked at; from each of them.
    from: Vec<Vantage>,
}

impl Reader<'_> {
    /// A node that nothing looks at counts as live as soon as it was reloaded, which proves nothing.
    pub(super) fn unwatched(&self, at: At, nodes: &[NodeName], endpoints: &[(Endpoint, At)]) {
        let looks: HashSet<Option<&NodeName>> = endpoints
            .iter()
            .filter(|(endpoint, _)| endpoint.expect == Expect::Leaf)
            .map(|(endpoint, _)| endpoint.node.as_ref())
            .collect();
        let watched = |node: &NodeName| looks.contains(&None) || looks.contains(&Some(node));
        let unwatched: Vec<&NodeName> = nodes.iter().filter(|node| !watched(node)).collect();
        if !unwatched.is_empty() && !endpoints.is_empty() {
            let listed = few(&unwatched);
            let message = format!("no endpoint is on {listed}: what is served there is never looked at");
            let help = format!("add {{ address: \"IP:PORT\", node: {} }} to its endpoints", unwatched[0]);
            self.sink.push(Problem::warning(at, message).help(help));
        }
    }

    /// One endpoint, or one for each name and vantage.
    pub(super) fn endpoint(&self, node: &Node, served: &Served<'_>) -> Vec<Endpoint> {
        let only = match served.nodes {
            [only] => Some(only.clone()),
            _ => None,
        };
        if let Some(text) = node.scalar() {
            let from = vec![Vantage::Here];
            let manner = Manner { node: only, starttls: StartTls::No, expect: Expect::Leaf, from };
            if text == "public" {
                return self.public(node.at, served, HTTPS, None, &manner);
            }
            let Some(target) = self.target(node) else { return Vec::new() };
            return joined(&target, &self.asked(None, node.at, served), &manner);
        }
        let Some(mut fields) = Fields::open(self, node, "an endpoint, a mapping with address or resolve,") else {
            return Vec::new();
        };
        let (address, resolve, port) = (fields.take("address"), fields.take("resolve"), fields.take("port"));
        let sni = fields.take("sni");
        let manner = self.manner(&mut fields, served, only);
        let (at, known) = (fields.at, fields.all_known());
        fields.close(self);
        match (address, resolve) {
            (Some(address), None) => {
                if let Some(port) = port {
                    self.error(
                        port.at,
                        "`port` goes with `resolve`",
                        "write the port behind the address: \"192.0.2.1:443\"",
                    );
                }
                let Some(target) = self.target(address) else { return Vec::new() };
                self.covered(sni, served, &manner);
                joined(&target, &self.asked(sni, at, served), &manner)
            }
            (None, Some(resolve)) => {
                self.word(resolve, &[("public", ())]);
                self.covered(sni, served, &manner);
                let port = port.map_or(Some(HTTPS), |port| self.port(port));
                port.map(|port| self.public(at, served, port, sni, &manner)).unwrap_or_default()
            }
            (None, None) if !known => Vec::new(),
            _ => {
                self.error(
                    at,
                    "an endpoint is one place",
                    "write address: \"IP:PORT\", or resolve: public for every address of each name",
                );
                Vec::new()
            }
        }
    }

    fn manner(&self, fields: &mut Fields<'_>, served: &Served<'_>, only: Option<NodeName>) -> Manner {
        let starttls = fields.take("starttls").and_then(|node| self.word(node, &StartTls::WORDS)).unwrap_or_default();
        let expect =
            fields.take("expect").and_then(|node| self.word(node, &[("leaf", Expect::Leaf), ("valid", Expect::Valid)]));
        let expect = expect.unwrap_or_default();
        let node = match fields.take("node") {
            Some(node) => self.members(node, served.nodes, served.fleet).into_iter().next(),
            // What a CDN serves says nothing about the node behind it.
            None => only.filter(|_| expect == Expect::Leaf),
        };
        let from = fields.take("from").map(|node| self.vantages(node)).unwrap_or_default();
        Manner { node, starttls, expect, from: if from.is_empty() { vec![Vantage::Here] } else { from } }
    }

    /// From where it is looked at: `here`, machines that ssh reaches, or several of them.
    fn vantages(&self, node: &Node) -> Vec<Vantage> {
        let items = self.one_or_more(node, "where to look from");
        let mut found: Vec<Vantage> = Vec::new();
        for item in items {
            let Some(text) = self.text(item, "where to look from") else { continue };
            match text.parse::<Vantage>() {
                Ok(vantage) if found.contains(&vantage) => {
                    self.error(item.at, format!("`{vantage}` is named twice"), "name each vantage once");
                }
                Ok(vantage) => found.push(vantage),
                Err(_) => self.error(
                    item.at,
                    format!("`{}` is no place to look from", shortened(text)),
                    "write here, or ssh://[USER@]HOST[:PORT] for a machine that has everleaf",
                ),
            }
        }
        found
    }

    /// Every address of each name, or of the host names in `sni`.
    fn public(&self, at: At, served: &Served<'_>, port: u16, sni: Option<&Node>, manner: &Manner) -> Vec<Endpoint> {
        let asked = self.asked(sni, at, served);
        let target = |name: &Identifier| match name {
            Identifier::Dns(host) => Target::Host { host: host.clone(), port },
            Identifier::Ip(ip) => Target::Address(SocketAddr::new(*ip, port)),
        };
        asked.into_iter().flat_map(|name| joined(&target(&name), std::slice::from_ref(&name), manner)).collect()
    }

    /// The names to ask for: those written, else all that can be asked for.
    fn asked(&self, sni: Option<&Node>, at: At, served: &Served<'_>) -> Vec<Identifier> {
        let Some(node) = sni else {
            let askable = served.askable();
            if askable.is_empty() && !served.names.is_empty() {
                let name = served.names.iter().map(|(name, _)| name.base()).next().unwrap_or_default();
                self.error(
                    at,
                    "a wildcard is no name that can be asked for",
                    format!("say which name to try: sni: www.{name}"),
                );
            }
            return askable;
        };
        let items = self.one_or_more(node, "a name to ask for");
        let names = items.iter().filter_map(|item| {
            let name = self.identifier(item)?;
            if name.is_wildcard() {
                self.error(
                    item.at,
                    "a wildcard is no name that can be asked for",
                    format!("such as sni: www.{}", name.base()),
                );
                return None;
            }
            Some(name)
        });
        names.collect()
    }

    /// A name that the certificate does not cover would never be confirmed.
    fn covered(&self, sni: Option<&Node>, served: &Served<'_>, manner: &Manner) {
        let Some(node) = sni.filter(|_| manner.expect == Expect::Leaf && !served.names.is_empty()) else { return };
        let items = if let Value::List(items) = &node.value { items.as_slice() } else { std::slice::from_ref(node) };
        for item in items {
            let name =
                item.scalar().and_then(|text| text.parse::<Identifier>().ok()).filter(|name| !name.is_wildcard());
            if let Some(name) = name.filter(|name| !served.names.iter().any(|(have, _)| have.covers(name))) {
                self.error(
                    item.at,
                    format!("`{name}` is not covered by this certificate's names"),
                    "add it to `names:`, or ask for a name that is there",
                );
            }
        }
    }

    fn target(&self, node: &Node) -> Option<Target> {
        let text = self.text(node, "an address with a port")?;
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.port() != 0 {
                return Some(Target::Address(address));
            }
        } else if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            let help = format!("write \"{}\"", SocketAddr::new(ip, HTTPS));
            self.error(node.at, format!("`{text}` has no port"), help);
            return None;
        } else if let Some((host, port)) = text.rsplit_once(':') {
            let port = port.parse::<u16>().ok().filter(|port| *port != 0);
            if let (Ok(Identifier::Dns(host)), Some(port)) = (host.parse(), port)
                && !host.starts_with("*.")
            {
                return Some(Target::Host { host, port });
            }
        } else if text.parse::<Identifier>().is_ok() {
            self.error(
                node.at,
                format!("`{}` has no port", shortened(text)),
                format!("{}write \"{text}:{HTTPS}\"", suggestion(text, &["public"])),
            );
            return None;
        }
        let help = if text.contains('{') {
            "write \"{address}:443\" or \"{node}.example.com:443\": a node's address or name is put in there"
        } else {
            "write \"192.0.2.1:443\", \"[2001:db8::1]:443\" or \"host.example.com:443\""
        };
        self.error(node.at, format!("`{}` is no address with a port", shortened(text)), help);
        None
    }

    pub(super) fn confirm(&self, node: &Node) -> Option<Confirm> {
        if node.scalar() == Some("none") {
            return Some(Confirm::None);
        }
        let mut fields = Fields::open(self, node, "`none` or a mapping with handshakes, over, drain and every")?;
        let default = DEFAULT_HANDSHAKES;
        let count = fields.take("handshakes").and_then(|node| self.handshakes(node)).unwrap_or(default.count);
        let mut span =
            |key, range, default| fields.take(key).and_then(|node| self.span(node, range)).unwrap_or(default);
        let over = span("over", OVER, default.over);
        let drain = span("drain", DRAIN, default.drain);
        let every = span("every", EVERY, default.every.min(DAY));
        fields.close(self);
        Some(Confirm::Handshakes(Handshakes { count, over, drain, every }))
    }

    fn handshakes(&self, node: &Node) -> Option<u32> {
        if node.scalar() == Some("0") {
            self.error(
                node.at,
                "no handshake proves nothing",
                "write confirm: none if nothing shall prove that the certificate is served",
            );
            return None;
        }
        self.whole(node, 1..=MAX_HANDSHAKES)
    }
}

pub(super) fn default_confirm() -> Confirm {
    Confirm::Handshakes(DEFAULT_HANDSHAKES)
}

fn joined(target: &Target, names: &[Identifier], manner: &Manner) -> Vec<Endpoint> {
    let endpoint = |sni: &Identifier, from: &Vantage| Endpoint {
        target: target.clone(),
        sni: sni.clone(),
        node: manner.node.clone(),
        starttls: manner.starttls,
        expect: manner.expect,
        from: from.clone(),
    };
    names.iter().flat_map(|name| manner.from.iter().map(move |from| endpoint(name, from))).collect()
}
