//! `config check`: everything that is wrong, at once.

use super::Stop;
use super::context::Context;
use crate::config::spec::{NodeKind, Spec};
use crate::config::{self, ConfigErrors, Problem, Report, Severity};
use crate::report::{CONFIG, Page, Paint};
use crate::types::{CertName, NodeName, runs};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What `config check` says. Schema `everleaf.config/1`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: &'static str,
    usable: bool,
    certificates: usize,
    problems: Vec<Told<'a>>,
    /// What the nodes and groups came to, where the configuration can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<Fleet<'a>>,
}

/// Nodes, groups and endpoints, ranges and placeholders written out.
#[derive(Debug, Serialize)]
struct Fleet<'a> {
    nodes: Vec<Machine<'a>>,
    groups: &'a BTreeMap<NodeName, Vec<NodeName>>,
    certificates: Vec<Served<'a>>,
}

#[derive(Debug, Serialize)]
struct Machine<'a> {
    name: &'a NodeName,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    live: &'a Path,
}

#[derive(Debug, Serialize)]
struct Served<'a> {
    name: &'a CertName,
    nodes: &'a [NodeName],
    canaries: &'a [NodeName],
    endpoints: Vec<At<'a>>,
}

#[derive(Debug, Serialize)]
struct At<'a> {
    endpoint: String,
    node: Option<&'a NodeName>,
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    severity: &'static str,
    file: String,
    line: usize,
    column: usize,
    key: &'a str,
    message: &'a str,
    help: &'a str,
}

pub(super) fn check(context: &Context) -> Result<u8, Stop> {
    let (spec, report) = match config::load(&context.config) {
        Ok(loaded) => (Some(loaded.spec), loaded.warnings),
        Err(ConfigErrors(report)) => (None, report),
    };
    let screen = context.screen;
    let exit = if spec.is_some() { 0 } else { CONFIG };
    let certificates = spec.as_ref().map_or(0, |spec| spec.certificates.len());
    if screen.json {
        let problems = report.problems().iter().map(|problem| told(&report, problem)).collect();
        let (schema, usable, fleet) = ("everleaf.config/1", spec.is_some(), spec.as_ref().map(fleet));
        screen.json(&Document { schema, usable, certificates, problems, fleet })?;
        return Ok(exit);
    }
    if !report.is_empty() {
        screen.say(&report.render(screen.talk_paint.colour));
    }
    if let Some(spec) = spec.filter(|_| screen.volume >= 0) {
        let noun = if certificates == 1 { "certificate" } else { "certificates" };
        screen.data(&format!("{} can be used: {certificates} {noun}\n", context.config.display()))?;
        screen.data(&expansion(&spec, screen.width, screen.volume > 0))?;
    }
    Ok(exit)
}

fn fleet(spec: &Spec) -> Fleet<'_> {
    let nodes = spec.nodes.values().map(|node| {
        let (kind, host) = match &node.kind {
            NodeKind::Local => ("local", None),
            NodeKind::Exec(_) => ("exec", None),
            NodeKind::Ssh(ssh) => ("ssh", Some(ssh.host.to_string())),
        };
        Machine { name: &node.name, kind, host, live: &node.live }
    });
    let certificates = spec.certificates.values().map(|it| Served {
        name: &it.name,
        nodes: &it.nodes,
        canaries: &it.rollout.canaries,
        endpoints: it.endpoints.iter().map(|at| At { endpoint: at.to_string(), node: at.node.as_ref() }).collect(),
    });
    Fleet { nodes: nodes.collect(), groups: &spec.groups, certificates: certificates.collect() }
}

/// What groups came to, and with `whole` also every certificate's nodes and endpoints.
fn expansion(spec: &Spec, width: usize, whole: bool) -> String {
    let mut page = Page::new(width, Paint { colour: false });
    for (group, nodes) in &spec.groups {
        page.hang(&format!("  group {group}: "), &counted("node", &nodes.iter().collect::<Vec<_>>()));
    }
    for certificate in spec.certificates.values().filter(|_| whole) {
        let nodes: Vec<&NodeName> = certificate.nodes.iter().collect();
        page.hang(&format!("  {}: ", certificate.name), &counted("node", &nodes));
        let canaries: Vec<&NodeName> = certificate.rollout.canaries.iter().collect();
        if !canaries.is_empty() {
            page.hang("    first ", &runs(&canaries));
        }
        for endpoint in &certificate.endpoints {
            let node = endpoint.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
            page.line(&format!("    {endpoint}{node}"));
        }
    }
    page.finish()
}

fn counted(noun: &str, nodes: &[&NodeName]) -> String {
    let plural = if nodes.len() == 1 { "" } else { "s" };
    format!("{} {noun}{plural}: {}", nodes.len(), runs(nodes))
}

fn told<'a>(report: &Report, problem: &'a Problem) -> Told<'a> {
    let (file, line, column) = report.place(problem);
    Told {
        severity: if problem.severity == Severity::Error { "error" } else { "warning" },
        file: file.display().to_string(),
        line,
        column,
        key: &problem.key,
        message: &problem.message,
        help: &problem.help,
    }
}
