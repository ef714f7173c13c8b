//! `solver:` — which name is proved how.

use super::read::{Fields, Reader};
use super::spec::{Dns01, Http01, Solver};
use super::yaml::{Node, Value};
use crate::types::Identifier;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::problem::At;

/// How long authoritative servers may take, unless told otherwise.
const DEFAULT_PROPAGATION: Duration = Duration::from_secs(120);
const PROPAGATIONS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const FORMS: &str = "write http-01: { listen: \"0.0.0.0:80\" }, http-01: { webroot: DIR }, tls-alpn-01: { listen: \"0.0.0.0:443\" } or \
                     dns-01: { hook: [PROGRAM, …] }";

/// A name and where it is written.
pub(super) type Placed = (Identifier, At);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http01,
    TlsAlpn01,
    Dns01,
}

impl Kind {
    /// Why this cannot prove a name, and what can.
    fn refusal(self, name: &Identifier) -> Option<(&'static str, String)> {
        match self {
            Self::Http01 | Self::TlsAlpn01 if name.is_wildcard() => Some((
                "a wildcard can only be proved through DNS",
                format!("give it a solver of its own: `- {{ names: [\"{name}\"], dns-01: {{ hook: [PROGRAM, …] }} }}`"),
            )),
            Self::Dns01 if matches!(name, Identifier::Ip(_)) => Some((
                "an IP address cannot be proved by dns-01: it has no DNS zone",
                format!(
                    "give it a solver of its own: `- {{ names: [\"{name}\"], http-01: {{ listen: \"0.0.0.0:80\" }} }}`"
                ),
            )),
            _ => None,
        }
    }
}

/// One entry of `solver:`. `solver` is missing when it was reported as wrong.
struct Rule {
    kind: Kind,
    solver: Option<Solver>,
    names: Option<Vec<Placed>>,
}

impl Reader<'_> {
    /// Assigns a solver to each name. Names listed in an entry go to it; the others to the first entry without a list
    /// that can prove them. `inherited` entries may list names that this certificate does not have.
    pub(super) fn solvers(
        &self,
        node: &Node,
        inherited: bool,
        names: &[Placed],
        hook_time: Duration,
    ) -> BTreeMap<Identifier, Solver> {
        let items = match &node.value {
            Value::Scalar { .. } => {
                self.error(node.at, format!("a solver is wanted here, and {} is written", node.described()), FORMS);
                return BTreeMap::new();
            }
            _ => self.one_or_more(node, "a solver"),
        };
        let rules: Vec<Rule> = items.iter().filter_map(|item| self.rule(item, hook_time)).collect();
        // An entry that could not be read might have been the one meant for a name: nothing is said of names then.
        let complete = rules.len() == items.len() && !items.is_empty();
        if !inherited && !names.is_empty() {
            self.names_of_rules(&rules, names);
        }
        let mut solvers = BTreeMap::new();
        for (name, at) in names {
            match choose(&rules, name) {
                Ok(Some(solver)) => {
                    solvers.insert(name.clone(), solver.clone());
                }
                Ok(None) => {}
                Err(_) if !complete => {}
                Err(Some((why, help))) => self.error(*at, why, help),
                Err(None) => {
                    let help =
                        "list it under the `names` of a solver, or let one solver have no `names`: it takes all others";
                    self.error(*at, format!("no solver proves `{name}`"), help);
                }
            }
        }
        solvers
    }

    fn names_of_rules(&self, rules: &[Rule], names: &[Placed]) {
        let mut seen: BTreeMap<&Identifier, At> = BTreeMap::new();
        for (name, at) in rules.iter().flat_map(|rule| rule.names.iter().flatten()) {
            if !names.iter().any(|(have, _)| have == name) {
                self.error(
                    *at,
                    format!("`{name}` is not among the certificate's names"),
                    "list names exactly as under `names:`",
                );
            } else if let Some(first) = seen.insert(name, *at) {
                let problem = super::problem::Problem::error(*at, format!("`{name}` is given to two solvers"));
                self.sink.push(problem.also(first, "first here").help("keep one"));
            }
        }
    }

    fn rule(&self, node: &Node, hook_time: Duration) -> Option<Rule> {
        let mut fields = Fields::open(self, node, "a solver, a mapping,")?;
        let names = fields.take("names").map(|node| {
            let items = self.one_or_more(node, "a name");
            items.iter().filter_map(|item| Some((self.identifier(item)?, item.at))).collect()
        });
        let ways = [
            fields.take("http-01").map(|node| (Kind::Http01, self.http01(node).map(Solver::Http01))),
            fields.take("tls-alpn-01").map(|node| (Kind::TlsAlpn01, self.tls_alpn01(node))),
            fields.take("dns-01").map(|node| (Kind::Dns01, self.dns01(node, hook_time).map(Solver::Dns01))),
        ];
        let (at, known) = (fields.at, fields.all_known());
        fields.close(self);
        let mut ways = ways.into_iter().flatten();
        match (ways.next(), ways.next()) {
            (Some((kind, solver)), None) => Some(Rule { kind, solver, names }),
            (None, _) if !known => None,
            (None, _) => {
                self.error(at, "this solver proves nothing", FORMS);
                None
            }
            (Some(_), Some(_)) => {
                let help = "write a list with one entry for each way, each with its `names`";
                self.error(at, "this solver is several at once", help);
                None
            }
        }
    }

    fn http01(&self, node: &Node) -> Option<Http01> {
        let mut fields = Fields::open(self, node, "where to answer, a mapping with listen, webroot or stateless,")?;
        let (listen, webroot, stateless) = (fields.take("listen"), fields.take("webroot"), fields.take("stateless"));
        let (at, known) = (fields.at, fields.all_known());
        fields.close(self);
        let forms = [
            listen.map(|node| self.listen(node).map(Http01::Listen)),
            webroot.map(|node| self.path(node).map(Http01::Webroot)),
            stateless.map(|node| self.stateless(node)),
        ];
        let mut written = forms.into_iter().flatten();
        match (written.next(), written.next()) {
            (Some(only), None) => only,
            (None, _) if !known => None,
            _ => {
                let help = "write exactly one of listen: \"0.0.0.0:80\", webroot: DIR or stateless: true";
                self.error(at, "http-01 is answered in exactly one way", help);
                None
            }
        }
    }

    fn tls_alpn01(&self, node: &Node) -> Option<Solver> {
        let mut fields = Fields::open(self, node, "where to answer, a mapping with listen,")?;
        let help = "write listen: \"0.0.0.0:443\", or the address that a server at port 443 passes acme-tls/1 on to";
        let listen = fields.required("listen", help).and_then(|node| self.listen(node));
        fields.close(self);
        Some(Solver::TlsAlpn01 { listen: listen? })
    }

    fn listen(&self, node: &Node) -> Option<Vec<SocketAddr>> {
        let items = self.one_or_more(node, "an address");
        let addresses: Vec<_> = items.iter().filter_map(|item| self.address(item, None)).collect();
        (!items.is_empty() && addresses.len() == items.len()).then_some(addresses)
    }

    fn stateless(&self, node: &Node) -> Option<Http01> {
        let stateless = self.flag(node)?;
        if !stateless {
            self.error(node.at, "stateless: false says nothing about who answers", "write listen or webroot");
        }
        stateless.then_some(Http01::Stateless)
    }

    fn dns01(&self, node: &Node, hook_time: Duration) -> Option<Dns01> {
        let mut fields = Fields::open(self, node, "a DNS hook, a mapping with hook,")?;
        let hook = fields
            .required("hook", "write hook: [PROGRAM, …]; it is called with present and cleanup")
            .and_then(|node| self.hook(node, hook_time));
        let propagation = fields.take("propagation").and_then(|node| self.span(node, PROPAGATIONS));
        fields.close(self);
        Some(Dns01 { hook: hook?, propagation: propagation.unwrap_or(DEFAULT_PROPAGATION) })
    }
}

type Refusal = (&'static str, String);

/// The solver of a name: `Ok(None)` when its rule was reported as wrong, an error when none proves it.
fn choose<'r>(rules: &'r [Rule], name: &Identifier) -> Result<Option<&'r Solver>, Option<Refusal>> {
    let lists = |rule: &&Rule| rule.names.iter().flatten().any(|(listed, _)| listed == name);
    if let Some(rule) = rules.iter().find(lists) {
        return match rule.kind.refusal(name) {
            Some(refusal) => Err(Some(refusal)),
            None => Ok(rule.solver.as_ref()),
        };
    }
    let mut refused = None;
    for rule in rules.iter().filter(|rule| rule.names.is_none()) {
        match rule.kind.refusal(name) {
            None => return Ok(rule.solver.as_ref()),
            Some(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    Err(refused)
}
