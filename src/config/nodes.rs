//! `nodes:`

use super::problem::At;
use super::read::{Fields, Reader};
use super::spec::{Hook, Node as Machine, NodeKind, Paths, Receive, Reload, Roots, Ssh};
use super::yaml::{Node, Value, shortened};
use crate::types::{NodeName, SshHost};
use std::path::Path;
use std::time::Duration;

/// Signals that servers take for "read your files again".
const SIGNALS: [&str; 4] = ["HUP", "USR1", "USR2", "WINCH"];
const RELOAD_FORMS: &str = "write none, hook, { systemd: UNIT }, { signal: HUP, pid_file: FILE }, { haproxy: SOCKET } or { exec: [PROGRAM, …] }";

/// What is written of a node that ssh reaches.
struct SshFields<'a> {
    host: Option<&'a Node>,
    config: Option<&'a Node>,
    sudo: Option<&'a Node>,
    receive: Option<&'a Node>,
}

/// Settings of nodes that ssh reaches, and of no others.
pub(super) const SSH_ONLY: [&str; 4] = ["host", "ssh_config", "sudo", "receive"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Local,
    Exec,
    Ssh,
}

impl Kind {
    pub(super) const WORDS: [(&str, Self); 3] = [("local", Self::Local), ("exec", Self::Exec), ("ssh", Self::Ssh)];
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
        let ssh = SshFields {
            host: fields.take("host"),
            config: fields.take("ssh_config"),
            sudo: fields.take("sudo"),
            receive: fields.take("receive"),
        };
        let kind = match fields.take("type") {
            Some(node) => self.word(node, &Kind::WORDS).map(|kind| (kind, node.at)),
            None if hook.is_some() => Some((Kind::Exec, fields.at)),
            None => Some((if ssh.host.is_some() { Kind::Ssh } else { Kind::Local }, fields.at)),
        };
        let live = fields.take("live").and_then(|node| self.path(node)).unwrap_or_else(|| live.to_owned());
        let check = fields.take("check").and_then(|node| self.hook(node, hook_time));
        let by_hook = kind.is_some_and(|(kind, _)| kind == Kind::Exec);
        let reload = match fields.take("reload") {
            Some(node) => self.reload(node, hook_time, by_hook),
            None if by_hook => Some(Reload::Hook),
            None => Some(Reload::None),
        };
        // Where clients find it was read with the fleet.
        fields.take("address");
        let carrier = hook.and_then(|node| self.hook(node, hook_time));
        let at = fields.at;
        fields.close(self);
        let (kind, _) = kind?;
        if kind != Kind::Ssh {
            self.only_for_ssh(&ssh)?;
        }
        let kind = match (kind, hook) {
            (Kind::Local, None) => NodeKind::Local,
            (Kind::Local | Kind::Ssh, Some(hook)) => {
                self.error(
                    hook.at,
                    "only a node of type exec has a hook that carries files to it",
                    "write type: exec, or take the hook out",
                );
                return None;
            }
            (Kind::Exec | Kind::Ssh, _) if name == NodeName::local() => {
                self.error(at, "the node `local` is this machine and cannot be another", "give the node another name");
                return None;
            }
            (Kind::Exec, Some(_)) => NodeKind::Exec(carrier?),
            (Kind::Exec, None) => {
                self.error(
                    at,
                    "`hook` is missing: it carries the files to the node",
                    "such as hook: [/usr/local/bin/carry-to, edge1.example.com]; or write type: ssh",
                );
                return None;
            }
            (Kind::Ssh, None) => NodeKind::Ssh(self.ssh(&name, &ssh)?),
        };
        if matches!(kind, NodeKind::Ssh(_)) {
            self.runs_elsewhere(at, check.as_ref(), reload.as_ref())?;
        }
        Some(Machine { name, kind, live, check, reload: reload? })
    }

    /// How a machine is reached; by its node's name where nothing is said.
    fn ssh(&self, name: &NodeName, fields: &SshFields<'_>) -> Option<Ssh> {
        let host = match fields.host {
            None => Some(format!("ssh://{name}").parse().ok()?),
            Some(node) => self.text(node, "a host, as ssh knows it").and_then(|text| {
                let whole = if text.starts_with("ssh://") { text.to_owned() } else { format!("ssh://{text}") };
                let told = |_| {
                    let help = "write HOST, USER@HOST, ssh://USER@HOST:PORT, or a name of ssh_config";
                    self.error(node.at, format!("`{}` is no host for ssh", shortened(text)), help);
                };
                whole.parse::<SshHost>().map_err(told).ok()
            }),
        };
        let config = fields.config.map(|node| self.path(node));
        let sudo = fields.sudo.map(|node| self.flag(node));
        let receive = match fields.receive {
            None => Some(None),
            Some(node) if matches!(node.value, Value::Map(_)) => self.receive(node).map(Some),
            Some(node) => self.flag(node).map(|receives| receives.then(Receive::default)),
        };
        Some(Ssh {
            host: host?,
            config: config.map_or(Some(None), |it| it.map(Some))?,
            sudo: sudo.map_or(Some(false), |it| it)?,
            receive: receive?,
        })
    }

    /// What everleaf there is told beside what the entry says.
    fn receive(&self, node: &Node) -> Option<Receive> {
        let mut fields = Fields::open(self, node, "yes, no, or what everleaf there is told")?;
        let probe = fields.take("probe").map(|node| self.one_or_more(node, "an address of the node's own servers"));
        let probe = probe.unwrap_or_default().iter().filter_map(|item| self.address(item, None)).collect();
        let roots = fields.take("roots").map(|node| match node.scalar() {
            Some("system") => Some(Roots::System),
            _ => self.path(node).map(Roots::File),
        });
        fields.close(self);
        Some(Receive { probe, roots: roots.map_or(Some(None), |it| it.map(Some))? })
    }

    fn only_for_ssh(&self, fields: &SshFields<'_>) -> Option<()> {
        let named =
            [("host", fields.host), ("ssh_config", fields.config), ("sudo", fields.sudo), ("receive", fields.receive)];
        let stray = named.iter().find_map(|(key, node)| node.map(|node| (key, node)));
        stray.is_none().then_some(()).or_else(|| {
            let (key, node) = stray?;
            self.error(node.at, format!("`{key}` goes with type: ssh"), "write type: ssh, or take it out");
            None
        })
    }

    /// What a command on another machine cannot be.
    fn runs_elsewhere(&self, at: At, check: Option<&Hook>, reload: Option<&Reload>) -> Option<()> {
        let commands = check.into_iter().chain(reload.and_then(|reload| match reload {
            Reload::Exec(hook) => Some(hook),
            _ => None,
        }));
        for hook in commands {
            if hook.unit.is_some() || hook.certbot {
                let help = "write a list of words, or { systemd: UNIT } to reload";
                self.error(at, "`unit` and `compat` are for commands on this machine", help);
                return None;
            }
        }
        Some(())
    }

    fn reload(&self, node: &Node, hook_time: Duration, by_hook: bool) -> Option<Reload> {
        match (&node.value, node.scalar()) {
            (_, Some("none")) => return Some(Reload::None),
            (_, Some("hook")) if by_hook => return Some(Reload::Hook),
            (_, Some("hook")) => {
                self.error(
                    node.at,
                    "only a node of type exec has a hook to call",
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
        let (pid_file, haproxy, list) = (fields.take("pid_file"), fields.take("haproxy"), fields.take("crt_list"));
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
        if let (Some(list), None) = (list, haproxy) {
            self.error(list.at, "`crt_list` goes with `haproxy`", "such as { haproxy: /run/haproxy/admin.sock }");
            return None;
        }
        match (systemd, signal, exec, haproxy) {
            (Some(unit), None, None, None) => Some(Reload::Systemd { unit: self.unit(unit)? }),
            (None, Some(signal), None, None) => self.signal(signal, pid_file),
            (None, None, Some(hook), None) => Some(Reload::Exec(self.hook(hook, hook_time)?)),
            (None, None, None, Some(socket)) => {
                let list = list.map(|node| self.path(node));
                Some(Reload::HaProxy { socket: self.path(socket)?, list: list.map_or(Some(None), |it| it.map(Some))? })
            }
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
