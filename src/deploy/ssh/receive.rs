//! Nodes that have everleaf: a bundle on the standard input of `everleaf receive` there.
//!
//! What the node's entry in the configuration says of commands, paths, owners and addresses is sent as arguments; of an entry that says
//! nothing the command is just `everleaf receive`. Where a forced command of `authorized_keys` stands in between, sshd drops them all and the
//! node's own count: the bundle has none to put in their place.

use super::{CARRY, LOOK, commands, forbidden};
use crate::config::spec::{Access, Certificate, Hook, Limits, Node, Paths, Receive, Reload, Roots, Ssh};
use crate::deploy::bundle::{Asked, Lies, Named, Outcome, Received, Served, Sums, bundled};
use crate::deploy::{Nodes, at, refused};
use crate::hook::{Errand, Said};
use crate::ports::{Generation, HookContext, Production, Published};
use crate::types::{CertName, Class, Epoch, Failure, Printable, Secret};
use std::time::Duration;

/// The command, before its arguments.
const COMMAND: [&str; 2] = ["everleaf", "receive"];
/// What an answer may hold, in bytes: what a thousand addresses show after a reload.
const MOST: usize = 512 * 1024;
/// What a program exits with that does not understand its arguments.
const USAGE: i32 = 64;

/// One errand to a node that has everleaf.
struct Trip<'a> {
    ssh: &'a Ssh,
    node: &'a Node,
    receive: &'a Receive,
    access: Option<&'a Access>,
}

impl Nodes {
    /// Publishes there.
    pub(in crate::deploy) async fn deploy_bundled(
        &self,
        (ssh, receive): (&Ssh, &Receive),
        node: &Node,
        certificate: &Certificate,
        generation: &Generation<Production>,
        epoch: Epoch,
    ) -> Result<Vec<Printable>, Failure> {
        let trip = Trip { ssh, node, receive, access: Some(&certificate.access) };
        let (name, id) = (certificate.name.clone(), generation.about.generation);
        let asked = Asked::Deploy { name, generation: id, epoch, files: Sums::of(generation) };
        let stdin = bundled(&node.name, asked, Some(generation))?;
        let received = self.bring(&trip, stdin, CARRY, Some(epoch)).await?;
        let lies = trip.about(&received, &certificate.name)?;
        if lies.generation == Some(id) && lies.epoch == Some(epoch) && lies.intact {
            return Ok(received.notes);
        }
        let message = "it says that it published, and shows something else";
        Err(Failure::new(Class::Retry, "receive:answer", trip.place(), message)
            .advise("look who else writes into that directory there"))
    }

    /// What lies there, held against `generation`.
    pub(in crate::deploy) async fn inspect_bundled(
        &self,
        (ssh, receive): (&Ssh, &Receive),
        node: &Node,
        certificate: &Certificate,
        generation: &Generation<Production>,
    ) -> Result<Published, Failure> {
        let trip = Trip { ssh, node, receive, access: Some(&certificate.access) };
        let (name, id) = (certificate.name.clone(), generation.about.generation);
        let asked = Asked::Inspect { name, generation: id, files: Sums::of(generation) };
        let received = self.bring(&trip, bundled(&node.name, asked, None)?, LOOK, None).await?;
        let Lies { generation, epoch, intact, .. } = *trip.about(&received, &certificate.name)?;
        Ok(Published { generation, epoch, intact })
    }

    /// Has the node run its own check.
    pub(in crate::deploy) async fn check_bundled(
        &self,
        (ssh, receive): (&Ssh, &Receive),
        node: &Node,
    ) -> Result<(), Failure> {
        let trip = Trip { ssh, node, receive, access: None };
        let stdin = bundled(&node.name, Asked::Check, None)?;
        self.bring(&trip, stdin, LOOK + limit(node), None).await.map(|_| ())
    }

    /// Has the node check and reload, if what lies there for all `contexts` is whole.
    pub(in crate::deploy) async fn reload_bundled(
        &self,
        (ssh, receive): (&Ssh, &Receive),
        node: &Node,
        contexts: &[HookContext],
    ) -> Result<(), Failure> {
        let trip = Trip { ssh, node, receive, access: None };
        let named = |it: &HookContext| Named { name: it.name.clone(), generation: it.generation };
        let asked = Asked::Reload { certificates: contexts.iter().map(named).collect() };
        let received = self.bring(&trip, bundled(&node.name, asked, None)?, LOOK + 2 * limit(node), None).await?;
        if received.outcome == Outcome::NoReload && node.reload != Reload::None {
            let message = "its own command has no --reload, and what is written here is not carried out there";
            return Err(Failure::new(Class::Operator, "receive:no-reload", trip.place(), message)
                .advise("write --reload COMMAND into the forced command of authorized_keys there"));
        }
        for served in received.served.iter().filter(|it| !it.wanted) {
            let Served { name, address, serial, seen, .. } = served;
            let shown = serial.as_ref().map_or_else(|| seen.to_string(), |serial| format!("serial {serial} {seen}"));
            tracing::warn!(node = %node.name, "after its reload, {address} there shows for {name}: {}", shown.trim_end());
        }
        Ok(())
    }

    async fn bring(
        &self,
        trip: &Trip<'_>,
        stdin: Secret,
        limit: Duration,
        epoch: Option<Epoch>,
    ) -> Result<Received, Failure> {
        let (ssh, place) = (trip.ssh, trip.place());
        let words = trip.words();
        let errand = Errand {
            host: &ssh.host,
            words: &words.iter().map(String::as_str).collect::<Vec<_>>(),
            stdin,
            config: ssh.config.as_deref(),
            shared: self.connections.as_deref(),
            limit,
            most: MOST,
        };
        let said = errand.run().await.map_err(|failure| Failure { place: place.as_str().into(), ..failure })?;
        if said.stdout.trim_ascii().is_empty() {
            return Err(silent(&said, &place, &words));
        }
        let received = Received::read(&said.stdout).map_err(|why| why.failure(&place))?;
        match &received.failure {
            Some(failure) => Err(told(failure, trip.node, &place, epoch)),
            None => Ok(received),
        }
    }
}

impl Trip<'_> {
    fn place(&self) -> String {
        format!("{} ({})", at(&self.node.name), self.ssh.host)
    }

    /// What an answer says of the certificate it was asked about.
    fn about<'r>(&self, received: &'r Received, name: &CertName) -> Result<&'r Lies, Failure> {
        received.published.as_ref().filter(|lies| lies.name == *name).ok_or_else(|| {
            let message = format!("its answer does not say what lies there of {name}");
            Failure::new(Class::Operator, "receive:answer", self.place(), message)
                .advise("let both machines have the same everleaf")
        })
    }

    /// The command with what the node's entry says. What is usual is not said, so that sudoers can name the command as it is.
    fn words(&self) -> Vec<String> {
        let before = if self.ssh.sudo { &["sudo", "-n"][..] } else { &[] };
        let mut words: Vec<String> = before.iter().chain(&COMMAND).map(|word| (*word).to_owned()).collect();
        let mut say = |option: &str, value: Option<String>| {
            words.extend(value.into_iter().flat_map(|it| [option.to_owned(), it]));
        };
        let node = self.node;
        say("--live", (node.live != Paths::default().live).then(|| node.live.to_string_lossy().into_owned()));
        if let Some(access) = self.access {
            let usual = Access::of(access.owner.clone(), access.group.clone(), [None; 3]);
            let mode = |mode: u32, usual: u32| (mode != usual).then(|| format!("{mode:04o}"));
            say("--owner", access.owner.clone());
            say("--group", access.group.clone());
            say("--key-mode", mode(access.key_mode, usual.key_mode));
            say("--cert-mode", mode(access.cert_mode, usual.cert_mode));
            say("--dir-mode", mode(access.dir_mode, usual.dir_mode));
        }
        say("--check", node.check.as_ref().map(commands::of_hook));
        match &node.reload {
            Reload::None | Reload::Hook => {}
            Reload::Systemd { unit } => say("--reload-unit", Some(unit.clone())),
            Reload::HaProxy { socket, list } => {
                say("--haproxy", Some(socket.to_string_lossy().into_owned()));
                say("--crt-list", list.as_ref().map(|list| list.to_string_lossy().into_owned()));
            }
            Reload::Signal { .. } | Reload::Exec(_) => {
                say("--reload", commands::of_reload(&node.reload).map(|(line, _)| line));
            }
        }
        let (limit, usual) = (limit(node), Limits::default().hook);
        say("--limit", (limit != usual).then(|| humantime::format_duration(limit).to_string().replace(' ', "")));
        for address in &self.receive.probe {
            say("--probe", Some(address.to_string()));
        }
        say(
            "--roots",
            self.receive.roots.as_ref().and_then(|roots| match roots {
                Roots::System => Some("system".to_owned()),
                Roots::File(path) => Some(path.to_string_lossy().into_owned()),
                Roots::Unchecked => None,
            }),
        );
        words
    }
}

/// How long the node's check, and then its reload, may take there.
fn limit(node: &Node) -> Duration {
    let of_reload = match &node.reload {
        Reload::Exec(hook) => Some(hook),
        _ => None,
    };
    let written = [node.check.as_ref(), of_reload].into_iter().flatten().map(|hook: &Hook| hook.timeout).max();
    written.unwrap_or(Limits::default().hook)
}

/// It ended without an answer.
fn silent(said: &Said, place: &str, words: &[String]) -> Failure {
    let last = said.last.last().map_or("it says nothing", |line| line.as_str());
    // Behind what is wrong with its arguments it says where there is help.
    let error = said.last.iter().find_map(|line| line.as_str().strip_prefix("error: "));
    let why = error.unwrap_or(last).trim_start_matches("everleaf: ");
    let failure = match said.code {
        _ if last.contains("a password is required") => {
            let allowed = words.iter().skip_while(|word| *word != COMMAND[0]).map(String::as_str);
            forbidden(place, last, &format!("/usr/bin/{}", allowed.collect::<Vec<_>>().join(" ")))
        }
        USAGE => {
            let message = format!("everleaf there does not understand how it is called: {why}");
            Failure::new(Class::Operator, "receive:usage", place, message).advise(format!(
                "install everleaf {} there; if authorized_keys forces a command, look at its arguments",
                env!("CARGO_PKG_VERSION")
            ))
        }
        code => {
            let message = format!("everleaf there ended without an answer (exit {code}): {why}");
            Failure::new(Class::Retry, "receive:silent", place, message)
                .advise("log in there and look at its log; what was published there stays")
        }
    };
    said.last.iter().fold(failure, |failure, line| failure.detail(line.as_str()))
}

/// What failed there, with the place that it names there in its message.
fn told(failure: &Failure, node: &Node, place: &str, epoch: Option<Epoch>) -> Failure {
    let whole = match failure.place.as_str() {
        // The node calls itself as it was told to, and the bundle is known to come in by standard input.
        "" | "standard input" => failure.message.to_string(),
        there => match there.strip_prefix(&at(&node.name)).map(|rest| rest.trim_start_matches([',', ' '])) {
            Some("") => failure.message.to_string(),
            Some(rest) => format!("{rest}: {}", failure.message),
            None => format!("{there}: {}", failure.message),
        },
    };
    let told = match epoch.filter(|_| failure.code == "publish:epoch") {
        Some(epoch) => refused(place, epoch).detail(whole),
        None => {
            Failure { place: place.into(), message: Printable::new(&whole), details: Vec::new(), ..failure.clone() }
        }
    };
    failure.details.iter().fold(told, |told, line| told.detail(line.as_str()))
}
