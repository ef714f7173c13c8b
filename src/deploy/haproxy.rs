//! HAProxy's runtime API (management guide, "show ssl cert" and what follows): certificates change in the running process, no reload, no
//! connection lost. The published files hold the same, so that a restart keeps it.
//!
//! The conversation is one on this machine and on others; there `socat` brings each command to the socket, on its standard input.

use super::{Nodes, at};
use crate::config::spec::{Node, NodeKind, Ssh};
use crate::hook::Errand;
use crate::ports::HookContext;
use crate::types::{Class, Failure, Secret, Serial};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// For one command and its answer.
const LIMIT: Duration = Duration::from_secs(20);
/// What an answer may hold: a list of thousands of certificates.
const MOST: usize = 1024 * 1024;
/// A chain or a key in PEM.
const MAX_PEM: u64 = 256 * 1024;
/// Certificates that are named in a message.
const NAMED: usize = 4;
/// What it says where it did as it was told.
const SUCCESS: &str = "Success!";

/// HAProxy's socket on a node, and the list that new certificates are added to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runtime<'a> {
    pub(super) node: &'a Node,
    pub(super) socket: &'a Path,
    pub(super) list: Option<&'a Path>,
}

/// A certificate as it shows it.
struct Shown {
    serial: Option<Serial>,
    /// Whether anything is served with it.
    used: bool,
}

impl Nodes {
    /// Gives the running HAProxy what is published for all `contexts`. Done already is done.
    pub(super) async fn update(&self, runtime: Runtime<'_>, contexts: &[HookContext]) -> Result<(), Failure> {
        for context in contexts {
            let bundle = runtime.node.live.join(context.name.as_str()).join("bundle.pem");
            let path = word(&bundle).ok_or_else(|| {
                runtime.failure(Class::Operator, "haproxy:path", "its commands cannot name a path with a space in it")
            })?;
            let setting = setting(path, context).map_err(|error| {
                runtime.failure(
                    Class::Retry,
                    "haproxy:files",
                    &format!("what is to be given to it cannot be read: {error}"),
                )
            })?;
            self.update_one(runtime, path, &setting, context.serial.as_ref()).await?;
        }
        Ok(())
    }

    async fn update_one(
        &self,
        runtime: Runtime<'_>,
        path: &str,
        setting: &Secret,
        wanted: Option<&Serial>,
    ) -> Result<(), Failure> {
        if !self.known(runtime, path).await? {
            self.told(runtime, &format!("new ssl cert {path}"), "New empty certificate store").await?;
        }
        if wanted.is_none() || self.shown(runtime, path).await?.serial.as_ref() != wanted {
            self.give(runtime, path, setting).await?;
        }
        if let Some(list) = runtime.list.and_then(word)
            && !self.shown(runtime, path).await?.used
        {
            self.told(runtime, &format!("add ssl crt-list {list} {path}"), SUCCESS).await?;
            let node = &runtime.node.name;
            tracing::warn!(%node, "HAProxy serves {path} now; write it into {list} as well, or a restart forgets it");
        }
        let Shown { serial, used } = self.shown(runtime, path).await?;
        let message = match serial {
            _ if !used => format!("it took {path}, and no bind line uses it"),
            serial if wanted.is_none() || serial.as_ref() == wanted => return Ok(()),
            Some(serial) => format!("it took {path}, and shows serial {serial}"),
            None => format!("it took {path}, and shows no certificate"),
        };
        Err(runtime.failure(Class::Retry, "haproxy:not-taken", &message).advise("look who else gives it certificates"))
    }

    async fn give(&self, runtime: Runtime<'_>, path: &str, setting: &Secret) -> Result<(), Failure> {
        let answer = self.tell(runtime, setting.clone()).await?;
        if !answer.contains("Transaction") {
            return Err(runtime.refusal(&format!("set ssl cert {path}"), &answer));
        }
        let committed = self.told(runtime, &format!("commit ssl cert {path}"), SUCCESS).await;
        if committed.is_err() {
            // A transaction that stays open would keep others from theirs.
            let _answer = self.tell(runtime, Secret::new(format!("abort ssl cert {path}\n"))).await;
        }
        committed
    }

    /// Whether it has a certificate of that name. One that it has not can only be given to it with a list to add it to.
    async fn known(&self, runtime: Runtime<'_>, path: &str) -> Result<bool, Failure> {
        let answer = self.tell(runtime, Secret::new("show ssl cert\n".to_owned())).await?;
        let listed = answer.split_once("# filename").map(|(_, listed)| listed);
        let Some(listed) = listed else { return Err(runtime.refusal("show ssl cert", &answer)) };
        let names: Vec<&str> = listed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if names.contains(&path) || runtime.list.is_some() {
            return Ok(names.contains(&path));
        }
        let some = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let message = format!("it does not load {path}, but {}", if some.is_empty() { "nothing" } else { &some });
        Err(runtime.failure(Class::Operator, "haproxy:unknown", &message).advise(format!(
            "write `crt {path}` into its bind line, or its crt-list into `crt_list:` so that new certificates can be added"
        )))
    }

    /// What it has under that name.
    async fn shown(&self, runtime: Runtime<'_>, path: &str) -> Result<Shown, Failure> {
        let answer = self.tell(runtime, Secret::new(format!("show ssl cert {path}\n"))).await?;
        let field = |name| answer.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
        let serial = field("Serial:").and_then(|text| padded(text).parse().ok());
        Ok(Shown { serial, used: field("Status:") == Some("Used") })
    }

    async fn told(&self, runtime: Runtime<'_>, command: &str, wanted: &str) -> Result<(), Failure> {
        let answer = self.tell(runtime, Secret::new(format!("{command}\n"))).await?;
        if answer.contains(wanted) { Ok(()) } else { Err(runtime.refusal(command, &answer)) }
    }

    async fn tell(&self, runtime: Runtime<'_>, command: Secret) -> Result<String, Failure> {
        let answer = match &runtime.node.kind {
            NodeKind::Ssh(ssh) => self.tell_there(runtime, ssh, command).await?,
            NodeKind::Local | NodeKind::Exec(_) => tell_here(runtime, &command).await?,
        };
        let answer = String::from_utf8_lossy(&answer).into_owned();
        if answer.contains("Permission denied") {
            let message = "its socket is not for administrators";
            return Err(runtime
                .failure(Class::Operator, "haproxy:level", message)
                .advise("write `level admin` on the line `stats socket` of its configuration"));
        }
        Ok(answer)
    }

    async fn tell_there(&self, runtime: Runtime<'_>, ssh: &Ssh, command: Secret) -> Result<Vec<u8>, Failure> {
        let place = format!("{} ({})", at(&runtime.node.name), ssh.host);
        let address = format!("UNIX-CONNECT:{}", runtime.socket.display());
        // By a shell, as everything else there: that is what sudo allows.
        let before = if ssh.sudo { &["sudo", "-n"][..] } else { &[] };
        let patience = format!("-t{}", LIMIT.as_secs());
        let words = [before, &["sh", "-c", "exec socat \"$@\"", "everleaf", &patience, "-", &address]].concat();
        let errand = Errand {
            host: &ssh.host,
            words: &words,
            stdin: command,
            config: ssh.config.as_deref(),
            shared: self.connections.as_deref(),
            limit: LIMIT * 2,
            most: MOST,
        };
        let said = errand.run().await.map_err(|failure| Failure { place: place.as_str().into(), ..failure })?;
        if said.code == 0 {
            return Ok(said.stdout);
        }
        let why = said.last.last().map_or("socat says nothing", |line| line.as_str());
        if why.contains("a password is required") {
            return Err(super::ssh::forbidden(&place, why, "/bin/sh"));
        }
        if why.contains("not found") {
            let failure = Failure::new(Class::Operator, "haproxy:socat", &place, "there is no socat on that machine");
            return Err(failure.advise("install socat there: it brings commands to HAProxy's socket"));
        }
        Err(unheard(runtime, why))
    }
}

async fn tell_here(runtime: Runtime<'_>, command: &Secret) -> Result<Vec<u8>, Failure> {
    let talk = async {
        let mut stream = UnixStream::connect(runtime.socket).await?;
        stream.write_all(command.reveal().as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.take(MOST as u64).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    match tokio::time::timeout(LIMIT, talk).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(unheard(runtime, &error.to_string())),
        Err(_) => Err(unheard(runtime, &format!("no answer within {} s", LIMIT.as_secs()))),
    }
}

impl Runtime<'_> {
    fn failure(&self, class: Class, code: &str, message: &str) -> Failure {
        Failure::new(class, code, format!("{}, HAProxy at {}", at(&self.node.name), self.socket.display()), message)
    }

    /// It answered, and not as it should.
    fn refusal(&self, command: &str, answer: &str) -> Failure {
        let said = answer.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
        self.failure(Class::Retry, "haproxy:refused", &format!("to `{command}` it answers: {}", said.trim()))
            .advise("see what HAProxy's log says; what it served it goes on serving")
    }
}

/// Nobody answered.
fn unheard(runtime: Runtime<'_>, why: &str) -> Failure {
    runtime
        .failure(Class::Retry, "haproxy:unheard", &format!("its socket does not answer: {why}"))
        .advise("is HAProxy running, and does `stats socket` in its configuration name this path?")
}

/// A path as a word of its commands, which end at spaces.
fn word(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ';' || c == '\\'))
}

/// The command that brings key, leaf and intermediates; an empty line ends it. Text that grows would leave copies of the key behind.
fn setting(path: &str, context: &HookContext) -> io::Result<Secret> {
    let dir = context.files.as_ref().ok_or_else(|| io::Error::other("no generation is named"))?;
    let [key, chain] = [read(&dir.join("privkey.pem"))?, read(&dir.join("fullchain.pem"))?];
    let head = ["set ssl cert ", path, " <<\n"];
    let mut command = String::with_capacity(head.concat().len() + key.reveal().len() + chain.reveal().len() + 4);
    command.extend(head);
    let lines = key.reveal().lines().chain(chain.reveal().lines()).map(str::trim_end);
    command.extend(lines.filter(|line| !line.is_empty()).flat_map(|line| [line, "\n"]));
    command.push('\n');
    Ok(Secret::new(command))
}

fn read(path: &Path) -> io::Result<Secret> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_PEM {
        return Err(io::Error::other(format!("{} has {length} bytes", path.display())));
    }
    let mut text = String::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    file.take(MAX_PEM).read_to_string(&mut text)?;
    Ok(Secret::new(text))
}

/// As we write serial numbers: lower case, whole octets, a zero before a first bit that is set.
fn padded(hex: &str) -> String {
    let digits = hex.trim_start_matches('0').to_ascii_lowercase();
    let even = if digits.len().is_multiple_of(2) { digits } else { format!("0{digits}") };
    if even.starts_with(|c: char| c >= '8') { format!("00{even}") } else { even }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_compared_as_we_write_them() {
        for (theirs, ours) in
            [("0A1B", "0a1b"), ("A1B2", "00a1b2"), ("1", "01"), ("7FFF", "7fff"), ("00A1B2", "00a1b2")]
        {
            assert_eq!(padded(theirs), ours);
        }
    }

    #[test]
    fn what_would_end_a_command_is_no_word_of_it() {
        assert_eq!(word(Path::new("/etc/haproxy/live/shop/bundle.pem")), Some("/etc/haproxy/live/shop/bundle.pem"));
        for path in ["/a b", "/a\nb", "/a;b", "/a\\b"] {
            assert_eq!(word(Path::new(path)), None, "{path:?}");
        }
    }
}
