//! `nodes:`

use super::read::{Fields, Reader};
use super::spec::{Node as Machine, NodeKind, Paths, Reload};
use super::yaml::{Node, Value, shortened};
use crate::types::NodeName;
use std::path::Path;
use std::time::Duration;

/// Signals that servers take for "read your files again".
const SIGNALS: [&str; 4] = ["HUP", "USR1", "USR2", "WINCH"];
const RELOAD_FORMS: &str =
    "write none, hook, { systemd: UNIT }, { signal: HUP, pid_file: FILE } or { exec: [PROGRAM, …] }";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    Exec,
    Ssh,
}

/// The machine everleaf runs on, where nothing is said of it.
pub(super) fn local(paths: &Paths) -> Machine {
    Machine {
        name: NodeName::local(),
        kind: NodeKind::Local,
        live: paths.live.clone(),
        check: None,
        reload: Reload::None,
    }
}

impl Reader<'_> {
    pub(super) fn node(&self, name: NodeName, node: &Node, live: &Path, hook_time: Duration) -> Option<Machine> {
        let mut fields = Fields::open(self, node, "a node, a mapping,")?;
        let hook = fields.take("hook");
        let kind = match fields.take("type") {
            Some(node) => self
                .word(node, &[("local", Kind::Local), ("exec", Kind::Exec), ("ssh", Kind::Ssh)])
                .map(|kind| (kind, node.at)),
            None => Some((if hook.is_some() { Kind::Exec } else { Kind::Local }, fields.at)),
        };
        let live = fields.take("live").and_then(|node| self.path(node)).unwrap_or_else(|| live.to_owned());
        let check = fields.take("check").and_then(|node| self.hook(node, hook_time));
        let remote = kind.is_some_and(|(kind, _)| kind != Kind::Local);
        let reload = match fields.take("reload") {
            Some(node) => self.reload(node, hook_time, remote),
            None if remote => Some(Reload::Hook),
            None => Some(Reload::None),
        };
        let carrier = hook.and_then(|node| self.hook(node, hook_time));
        let at = fields.at;
        fields.close(self);
        let (kind, kind_at) = kind?;
        let kind = match (kind, hook) {
            (Kind::Local, None) => NodeKind::Local,
            (Kind::Local, Some(hook)) => {
                self.error(
                    hook.at,
                    "a local node needs no hook to carry files to it",
                    "write type: exec, or take the hook out",
                );
                return None;
            }
            (Kind::Exec, _) if name == NodeName::local() => {
                self.error(at, "the node `local` is this machine and cannot be another", "give the node another name");
                return None;
            }
            (Kind::Exec, Some(_)) => NodeKind::Exec(carrier?),
            (Kind::Exec, None) => {
                self.error(
                    at,
                    "`hook` is missing: it carries the files to the node",
                    "such as hook: [/usr/share/everleaf/hooks/deploy-ssh, edge1.example.com]",
                );
                return None;
            }
            (Kind::Ssh, _) => {
                let help = "write type: exec and hook: [/usr/share/everleaf/hooks/deploy-ssh, HOST], which uses this machine's ssh";
                self.error(kind_at, "everleaf has no node type ssh of its own", help);
                return None;
            }
        };
        Some(Machine { name, kind, live, check, reload: reload? })
    }

    fn reload(&self, node: &Node, hook_time: Duration, remote: bool) -> Option<Reload> {
        match (&node.value, node.scalar()) {
            (_, Some("none")) => return Some(Reload::None),
            (_, Some("hook")) if remote => return Some(Reload::Hook),
            (_, Some("hook")) => {
                self.error(
                    node.at,
                    "a local node has no hook to call",
                    "write { exec: [PROGRAM, …] } or { systemd: UNIT }",
                );
                return None;
            }
            (Value::Map(_), _) => {}
            (Value::Broken, _) => return None,
            _ => {
                self.error(
                    node.at,
                    format!("how to reload is wanted here, and {} is written", node.described()),
                    RELOAD_FORMS,
                );
                return None;
            }
        }
        let mut fields = Fields::open(self, node, "a reload")?;
        let (systemd, signal, exec) = (fields.take("systemd"), fields.take("signal"), fields.take("exec"));
        let pid_file = fields.take("pid_file");
        let at = fields.at;
        fields.close(self);
        if let (Some(pid_file), None) = (pid_file, signal) {
            self.error(
                pid_file.at,
                "`pid_file` goes with `signal`",
                "such as { signal: HUP, pid_file: /run/haproxy.pid }",
            );
            return None;
        }
        match (systemd, signal, exec) {
            (Some(unit), None, None) => Some(Reload::Systemd { unit: self.unit(unit)? }),
            (None, Some(signal), None) => self.signal(signal, pid_file),
            (None, None, Some(hook)) => Some(Reload::Exec(self.hook(hook, hook_time)?)),
            _ => {
                self.error(at, "a reload is exactly one thing", RELOAD_FORMS);
                None
            }
        }
    }

    fn signal(&self, node: &Node, pid_file: Option<&Node>) -> Option<Reload> {
        let text = self.text(node, "a signal")?;
        let bare = text.strip_prefix("SIG").unwrap_or(text);
        let known = SIGNALS.contains(&bare);
        if !known {
            self.error(
                node.at,
                format!("`{}` is no signal for a reload", shortened(text)),
                format!("write one of {}", super::read::listed(&SIGNALS)),
            );
        }
        let Some(pid_file) = pid_file else {
            self.error(node.at, "`pid_file` is missing: it says whom to signal", "such as pid_file: /run/haproxy.pid");
            return None;
        };
        let pid_file = self.path(pid_file)?;
        known.then(|| Reload::Signal { signal: bare.to_owned(), pid_file })
    }
}
