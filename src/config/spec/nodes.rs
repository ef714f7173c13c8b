//! The machines that terminate TLS: how files get there, and what makes their servers read them.

use super::Roots;
use crate::types::{NodeName, SshHost};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A machine that terminates TLS.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// How a bundle gets there.
    pub kind: NodeKind,
    /// Where its live directories are.
    pub live: PathBuf,
    /// Asked before a reload, such as `nginx -t`; a failure means no reload.
    pub check: Option<Hook>,
    /// What makes its servers read the new files.
    pub reload: Reload,
}

/// How a bundle gets to a node.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// This machine.
    Local,
    /// A hook carries it; called with the events deploy, inspect, and (unless overridden) check and reload.
    Exec(Hook),
    /// Another machine, through this machine's OpenSSH; `check` and `reload` run there.
    Ssh(Ssh),
}

/// How another machine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// Whom ssh connects to; ssh's own configuration says the rest.
    pub host: SshHost,
    /// Another configuration of ssh than the user's and the system's.
    pub config: Option<PathBuf>,
    /// Whether everything there runs through `sudo -n`.
    pub sudo: bool,
    /// Where the machine has everleaf, which receives what is carried there; a POSIX sh does otherwise.
    pub receive: Option<Receive>,
}

/// What is said to `everleaf receive` beside what the node's entry says anyway. A forced command there says it in its own way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receive {
    /// Where the node looks at its own servers after a reload.
    pub probe: Vec<SocketAddr>,
    /// What the node holds chains against; the sender's judgement counts where nothing is said.
    pub roots: Option<Roots>,
}

/// What makes a node's servers read the new files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    /// Nothing to do: the servers watch their files.
    None,
    /// `systemctl reload UNIT`, the job's result awaited.
    Systemd {
        /// The unit.
        unit: String,
    },
    /// A signal to the process in a pid file.
    Signal {
        /// `HUP`, `USR1`, …
        signal: String,
        /// Where the pid stands.
        pid_file: PathBuf,
    },
    /// The running HAProxy is given what was published, by its runtime API: no reload, no connection lost.
    HaProxy {
        /// Its `stats socket`, of level `admin`.
        socket: PathBuf,
        /// The crt-list that new certificates are added to.
        list: Option<PathBuf>,
    },
    /// A command of one's own.
    Exec(Hook),
    /// The node's own hook, called with the event `reload`.
    Hook,
}

/// A command to run, never through a shell unless asked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hook {
    /// Program and arguments. With `shell`, one element: the script for `sh -c`.
    pub argv: Vec<String>,
    /// Whether `sh -c` was asked for.
    pub shell: bool,
    /// Its time limit.
    pub timeout: Duration,
    /// Run as a certbot deploy hook is run.
    pub certbot: bool,
    /// Start this systemd unit instead of a process of our own.
    pub unit: Option<String>,
}
