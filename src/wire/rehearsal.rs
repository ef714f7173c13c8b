//! `--dry-run`: the same path against another directory, with another state and a scratch live tree, up to the gate.

use super::pass::Came;
use super::{App, Watch};
use crate::config::spec::{NodeKind, Spec};
use crate::core::event::Ask;
use crate::ports::{AnyGeneration, Generations};
use crate::types::{CertName, Class, Failure, GenId, IssuerName, NodeName};
use std::collections::BTreeSet;
use std::rc::Rc;

/// What a rehearsal came to.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// What the orders came to.
    pub came: Came,
    /// Certificates without a directory to rehearse at, and their issuers.
    pub skipped: Vec<(CertName, IssuerName)>,
    /// What was tried on each node, and how it went.
    pub nodes: Vec<Tried>,
    issued: BTreeSet<CertName>,
    /// What was not exercised.
    pub untried: Vec<String>,
}

impl Rehearsal {
    /// Whether this rehearsal issued a certificate for `name` that passed the gate.
    #[must_use]
    pub fn issued(&self, name: &CertName) -> bool {
        self.issued.contains(name)
    }
}

/// What was tried on a node.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Where.
    pub node: NodeName,
    /// What, in a few words.
    pub what: &'static str,
    /// How it went.
    pub result: Result<(), Failure>,
}

/// Rehearses the renewal of `names`, or of all.
///
/// # Errors
/// When nothing can be rehearsed, or the rehearsal's state cannot be used.
pub async fn rehearse(spec: &Spec, names: &[CertName], watch: &Rc<Watch>) -> Result<Rehearsal, Failure> {
    let rehearsed = spec
        .rehearse()
        .map_err(|error| Failure::new(Class::Spec, "rehearsal:nowhere", "dry_run", error.to_string()))?;
    let chosen = |name: &CertName| names.is_empty() || names.contains(name);
    let able: Vec<CertName> = rehearsed.spec.certificates.keys().filter(|name| chosen(name)).cloned().collect();
    let skipped = rehearsed.skipped.into_iter().filter(|(name, _)| chosen(name)).collect();
    // Opened first, for the rehearsal's state lies inside: its parent must be private from its first instant.
    let production = App::open(spec.clone(), Vec::new())?;
    // The timer of a rehearsal is never armed: it stops at the gate.
    let app = App::open_as(rehearsed.spec, Vec::new(), true)?;
    let before: Vec<usize> = able.iter().map(|name| app.accepted(name)).collect();
    let ask = Ask::Renew { force: true, new_key: false, yes: true };
    let came = app.ask(&able, &[ask], true, watch).await?;
    let grew = able.iter().zip(before).filter(|(name, before)| app.accepted(name) > *before);
    let issued = grew.map(|(name, _)| name.clone()).collect();
    let (nodes, mut untried) = production.try_nodes(&able).await?;
    untried.extend(unchecked_trust(&app, &able));
    untried.push("publishing to any node, reloading any server, and looking at any endpoint".to_owned());
    Ok(Rehearsal { came, skipped, nodes, issued, untried })
}

fn unchecked_trust(app: &App, names: &[CertName]) -> Option<String> {
    let unchecked = |name: &&CertName| {
        let issuer = app.spec.certificates.get(*name).and_then(|it| app.spec.issuers.get(&it.issuer));
        issuer.is_some_and(|issuer| issuer.roots == crate::config::spec::Roots::Unchecked)
    };
    let some = names.iter().any(|name| unchecked(&name));
    some.then(|| {
        "whether the chain is trusted: write `dry_run: { roots: FILE }` under the issuer to check it".to_owned()
    })
}

impl App {
    /// Reaches every node of these certificates and runs its `check:`.
    async fn try_nodes(&self, names: &[CertName]) -> Result<(Vec<Tried>, Vec<String>), Failure> {
        let ports = self.ports()?;
        let (mut tried, mut untried, mut done) = (Vec::new(), Vec::new(), BTreeSet::new());
        for name in names {
            let Some(certificate) = self.spec.certificates.get(name) else { continue };
            for node in certificate.nodes.iter().filter_map(|node| self.spec.nodes.get(node)) {
                if !done.insert(node.name.clone()) {
                    continue;
                }
                match (&node.kind, self.newest(name)) {
                    (NodeKind::Local, _) => {}
                    (NodeKind::Exec(_) | NodeKind::Ssh(_), Some(AnyGeneration::Production(generation))) => {
                        let reached = ports.deployer.inspect(node, certificate, &generation).await;
                        tried.push(Tried { node: node.name.clone(), what: "reached", result: reached.map(|_| ()) });
                    }
                    (NodeKind::Exec(_) | NodeKind::Ssh(_), _) => {
                        untried.push(format!("reaching {}: there is no certificate yet to look for there", node.name));
                    }
                }
                if node.check.is_some() {
                    let result = ports.reloader.check(node).await;
                    tried.push(Tried { node: node.name.clone(), what: "its `check:` command", result });
                } else {
                    untried.push(format!("a check on {}: it has no `check:` command", node.name));
                }
            }
        }
        Ok((tried, untried))
    }

    fn accepted(&self, name: &CertName) -> usize {
        // Numbers only grow, also when old generations are pruned.
        let list = self.state.list(name).unwrap_or_default();
        let accepted = list.iter().filter(|about| about.accepted.is_some()).map(|about| about.generation.number());
        accepted.max().and_then(|number| usize::try_from(number).ok()).unwrap_or(0)
    }

    fn newest(&self, name: &CertName) -> Option<AnyGeneration> {
        let list = self.state.list(name).ok()?;
        let newest: GenId = list.iter().rfind(|about| about.accepted.is_some())?.generation;
        self.state.read(name, newest).ok()
    }
}
