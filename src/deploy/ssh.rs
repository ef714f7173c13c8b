//! Nodes that this machine's OpenSSH reaches. A node needs a POSIX sh and the usual file tools, nothing of everleaf's.
//!
//! Each errand is one command there: the node's part of `hooks/deploy-ssh`, of which there is one copy. Files travel on standard
//! input, never in an argument. The node builds the layout of a live directory aside, compares every file's digest, and only
//! then switches by one rename; a connection that dies before changes nothing.

mod commands;
mod receive;
mod sums;

use super::bundle::Received;
use super::{Nodes, at, inspection, refused};
use crate::config::spec::{Access, Certificate, Hook, Node, Ssh};
use crate::hook::{Errand, Said};
use crate::ports::{Generation, HookContext, Production, Published};
use crate::types::{Class, Epoch, Failure, GenId, NodeName, Printable, Secret};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// The hook whose middle is what runs on the node.
const HOOK: &str = include_str!("../../hooks/deploy-ssh");
/// Between these lines of it.
const SCRIPT: [&str; 2] = ["<<'NODE'\n", "\nNODE\n"];
/// For carrying files there, which also waits for somebody else who is publishing there.
const CARRY: Duration = Duration::from_secs(120);
/// For looking what lies there.
const LOOK: Duration = Duration::from_secs(60);
/// What a node may answer, in bytes: one line of JSON, or what a command prints.
const MOST: usize = 64 * 1024;
/// For reaching the node and coming back, and for ending there what does not end by itself: beside what its own command may take.
const BESIDE: Duration = Duration::from_secs(25);
/// What the node's part ends with: refused, something damaged lies there, its command did not end in time, try later.
const REFUSED: i32 = 43;
const DAMAGED: i32 = 44;
const ENDLESS: i32 = 46;
const LATER: i32 = 75;

/// What the node is asked to do.
struct Wish<'a> {
    event: &'static str,
    dir: &'a Path,
    generation: Option<GenId>,
    epoch: Epoch,
    access: Option<&'a Access>,
    /// Of the certificates it is about, with a space between them.
    names: String,
    command: String,
    /// What that may take there, before it is ended there.
    patience: Option<Duration>,
    stdin: Secret,
    limit: Duration,
}

impl Nodes {
    /// Publishes there.
    pub(super) async fn deploy_over(
        &self,
        ssh: &Ssh,
        node: &Node,
        certificate: &Certificate,
        generation: &Generation<Production>,
        epoch: Epoch,
    ) -> Result<Vec<Printable>, Failure> {
        let stdin = upload(generation);
        let wish = Wish { epoch, stdin, limit: CARRY, ..wish("deploy", node, certificate, generation) };
        let wish = Wish { dir: &node.live.join(certificate.name.as_str()), ..wish };
        let answer = self.ask(ssh, &node.name, wish).await?;
        let published = read(&answer, &node.name)?;
        if published.generation == Some(generation.about.generation) && published.intact {
            return Ok(Vec::new());
        }
        let message = "it says that it published, and shows something else";
        Err(Failure::new(Class::Retry, "ssh:answer", at(&node.name), message)
            .advise("look who else writes into that directory there"))
    }

    /// What lies there, held against `generation`.
    pub(super) async fn inspect_over(
        &self,
        ssh: &Ssh,
        node: &Node,
        certificate: &Certificate,
        generation: &Generation<Production>,
    ) -> Result<Published, Failure> {
        let wish = wish("inspect", node, certificate, generation);
        let wish = Wish { dir: &node.live.join(certificate.name.as_str()), ..wish };
        read(&self.ask(ssh, &node.name, wish).await?, &node.name)
    }

    /// Runs the node's `check:` there.
    pub(super) async fn check_over(&self, ssh: &Ssh, node: &Node, check: &Hook) -> Result<(), Failure> {
        let wish = command("check", node, commands::of_hook(check), check.timeout);
        match self.ask(ssh, &node.name, wish).await {
            Err(failure) if failure.code == "ssh:exit" => Err(super::reload::disagreed(failure)),
            other => other.map(|_| ()),
        }
    }

    /// Reloads there, if what lies there for all `contexts` is whole.
    pub(super) async fn reload_over(&self, ssh: &Ssh, node: &Node, contexts: &[HookContext]) -> Result<(), Failure> {
        let Some((words, limit)) = commands::of_reload(&node.reload) else { return Ok(()) };
        let names: Vec<&str> = contexts.iter().map(|context| context.name.as_str()).collect();
        let wish = Wish { names: names.join(" "), ..command("reload", node, words, limit) };
        self.ask(ssh, &node.name, wish).await.map(|_| ())
    }

    async fn ask(&self, ssh: &Ssh, node: &NodeName, wish: Wish<'_>) -> Result<Vec<u8>, Failure> {
        let place = format!("{} ({})", at(node), ssh.host);
        let (event, epoch) = (wish.event, wish.epoch);
        let words = wish.words(ssh.sudo);
        let errand = Errand {
            host: &ssh.host,
            words: &words.iter().map(String::as_str).collect::<Vec<_>>(),
            stdin: wish.stdin,
            config: ssh.config.as_deref(),
            shared: self.connections.as_deref(),
            limit: wish.limit,
            most: MOST,
        };
        let said = errand.run().await.map_err(|failure| Failure { place: place.as_str().into(), ..failure })?;
        match said.code {
            0 => Ok(said.stdout),
            _ if Received::read(&said.stdout).is_ok() => Err(receives(&place)),
            _ => Err(failed(&said, event, epoch, &place)),
        }
    }
}

impl Wish<'_> {
    fn words(&self, sudo: bool) -> Vec<String> {
        let owner = |pick: fn(&Access) -> &Option<String>| self.access.and_then(|access| pick(access).clone());
        let mode = |pick: fn(&Access) -> u32| self.access.map(|access| format!("{:04o}", pick(access)));
        let arguments = [
            Some(self.event.to_owned()),
            Some(self.dir.to_string_lossy().into_owned()),
            self.generation.map(|generation| generation.to_string()),
            Some(self.epoch.to_string()),
            owner(|access| &access.owner),
            owner(|access| &access.group),
            mode(|access| access.key_mode),
            Some(self.names.clone()),
            Some(self.command.clone()),
            mode(|access| access.cert_mode),
            mode(|access| access.dir_mode),
            self.patience.map(|patience| patience.as_millis().div_ceil(1000).to_string()),
        ];
        let before = if sudo { &["sudo", "-n", "sh", "-c"][..] } else { &["sh", "-c"] };
        let before = before.iter().copied().chain([script(), "everleaf"]).map(str::to_owned);
        before.chain(arguments.into_iter().map(Option::unwrap_or_default)).collect()
    }
}

/// What runs on the node.
fn script() -> &'static str {
    let [begin, end] = SCRIPT;
    let inner = HOOK.split_once(begin).and_then(|(_, rest)| rest.split_once(end));
    inner.map_or("echo 'everleaf was built without what runs on nodes' >&2; exit 70", |(script, _)| script)
}

/// What all errands about one generation share; the directory is its caller's.
fn wish<'a>(
    event: &'static str,
    node: &'a Node,
    certificate: &'a Certificate,
    generation: &Generation<Production>,
) -> Wish<'a> {
    Wish {
        event,
        dir: &node.live,
        generation: Some(generation.about.generation),
        epoch: Epoch(0),
        access: Some(&certificate.access),
        names: certificate.name.to_string(),
        command: String::new(),
        patience: None,
        stdin: digests(generation),
        limit: LOOK,
    }
}

/// A command of the node's own, and how long it may take there.
fn command<'a>(event: &'static str, node: &'a Node, command: String, patience: Duration) -> Wish<'a> {
    Wish {
        event,
        dir: &node.live,
        generation: None,
        epoch: Epoch(0),
        access: None,
        names: String::new(),
        command,
        patience: Some(patience),
        stdin: Secret::default(),
        limit: patience + BESIDE,
    }
}

/// The digests of all files, an empty line.
fn digests(generation: &Generation<Production>) -> Secret {
    let (cert, chain, key) = (&generation.cert, &generation.chain, generation.privkey.reveal());
    let files: [(&str, &[&str]); 5] = [
        ("cert.pem", &[cert]),
        ("chain.pem", &[chain]),
        ("fullchain.pem", &[cert, chain]),
        ("privkey.pem", &[key]),
        ("bundle.pem", &[key, cert, chain]),
    ];
    let mut lines: String = files.iter().map(|(name, parts)| sums::line(name, parts)).collect();
    lines.push('\n');
    Secret::new(lines)
}

/// The digests, the three files that the others are made of, and a last line without which nothing counts.
fn upload(generation: &Generation<Production>) -> Secret {
    let (digests, key) = (digests(generation), generation.privkey.reveal());
    let parts = [("cert.pem", generation.cert.as_str()), ("chain.pem", &generation.chain), ("privkey.pem", key)];
    let length: usize = parts.iter().map(|(_, text)| text.len() + 32).sum();
    // Long enough from the beginning: a text that grows leaves copies of the key behind.
    let mut text = String::with_capacity(digests.reveal().len() + length + 64);
    text.push_str(digests.reveal());
    for (name, part) in parts {
        let _infallible = writeln!(text, "file {name}");
        text.push_str(part);
    }
    let _infallible = writeln!(text, "end {}", generation.about.generation);
    Secret::new(text)
}

fn read(answer: &[u8], node: &NodeName) -> Result<Published, Failure> {
    inspection(answer).map_err(|why| {
        Failure::new(Class::Retry, "ssh:answer", at(node), format!("its answer {why}"))
            .advise("nothing may print to standard output at a login without a terminal: look at the shell's start-up files there")
    })
}

/// What a node's part that did not end well means.
fn failed(said: &Said, event: &'static str, epoch: Epoch, place: &str) -> Failure {
    let mut lines = said.last.iter().rev().map(|line| line.as_str().trim_start_matches("on the node: "));
    let (last, before) = (lines.next().unwrap_or("it says nothing"), lines.next().unwrap_or_default());
    let failure = match said.code {
        REFUSED => refused(place, epoch),
        DAMAGED => Failure::new(Class::Retry, "reload:pair", place, last).advise("it is published there anew"),
        LATER => Failure::new(Class::Retry, "ssh:busy", place, last),
        ENDLESS => Failure::new(Class::Retry, "hook:timeout", place, format!("{last}{}", after(before)))
            .advise("let it end sooner, or raise its `timeout:`"),
        _ if last.contains("a password is required") => forbidden(place, last, "/bin/sh"),
        // The command's own last line mostly says why.
        _ if last.contains(" ended with exit status ") => {
            Failure::new(Class::Retry, "ssh:exit", place, format!("{last}{}", after(before)))
                .advise("read the lines it printed; `everleaf why NAME` shows when it is tried again")
        }
        code => Failure::new(Class::Retry, "ssh:exit", place, format!("{event} failed there (exit {code}): {last}"))
            .advise("read the lines it printed; `everleaf why NAME` shows when it is tried again"),
    };
    said.last.iter().fold(failure, |failure, line| failure.detail(line.as_str()))
}

/// A forced command has everleaf answer there, which takes no script.
fn receives(place: &str) -> Failure {
    Failure::new(
        Class::Operator,
        "ssh:receives",
        place,
        "everleaf itself answers there (everleaf receive), and takes no script",
    )
    .advise("write `receive: true` into the node's entry")
}

/// A command's own last line, behind what became of it.
fn after(line: &str) -> String {
    if line.is_empty() { String::new() } else { format!(": {line}") }
}

/// sudo asks for what nobody can type, where it should allow a command.
pub(super) fn forbidden(place: &str, why: &str, command: &str) -> Failure {
    Failure::new(Class::Operator, "ssh:sudo", place, format!("sudo there wants a password: {why}"))
        .advise(format!("allow it in sudoers there, such as: deploy ALL=(root) NOPASSWD: {command}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_on_the_node_is_the_middle_of_the_hook() {
        assert!(script().starts_with("set -eu\n") && script().ends_with("esac"), "{}", script());
        assert!(!script().contains("everleaf sets it; this is a hook"), "not this machine's part");
    }
}
