//! Carries generations to nodes, and makes their servers read them.
//!
//! A local node gets the AtomicWriter layout from [`crate::publish`] and then the certificate's own hooks; an `ssh` node gets the same
//! layout over one connection, by a script or by the everleaf there; an `exec` node's hook carries the files itself. Nothing here believes that a server serves what was published: only a probe does.

pub mod bundle;
mod exec;
mod haproxy;
mod local;
mod pair;
mod pid_file;
pub mod receive;
mod reload;
mod ssh;

pub use exec::inspection;
pub use pid_file::pid_in;

use crate::config::spec::{Certificate, Hook, Node, NodeKind};
use crate::hook::{Call, Systemd};
use crate::ports::{
    CertHooks, Clock, Deployer, Generation, HookContext, Pending, Production, Published, Reloader, Rescued,
};
use crate::types::{Class, Epoch, Failure, NodeName, Printable};
use std::path::PathBuf;
use std::rc::Rc;

/// The nodes, as the agent sees them.
#[derive(Clone)]
pub struct Nodes {
    systemd: Systemd,
    clock: Rc<dyn Clock>,
    /// Where the sockets of shared ssh connections lie.
    connections: Option<PathBuf>,
}

impl Nodes {
    /// Nodes whose units are this `systemd`'s; `clock` dates placeholders.
    #[must_use]
    pub fn new(systemd: Systemd, clock: Rc<dyn Clock>) -> Self {
        Self { systemd, clock, connections: None }
    }

    /// One ssh connection a node for all that is done there in a while, by sockets in `dir`, which only this user may enter.
    #[must_use]
    pub fn sharing(self, dir: PathBuf) -> Self {
        Self { connections: Some(dir), ..self }
    }

    fn call<'a>(&self, hook: &'a Hook, event: &'static str, place: &str) -> Call<'a> {
        Call::new(hook, event, place).systemd(self.systemd.clone())
    }
}

impl Deployer for Nodes {
    fn deploy<'a>(
        &'a self,
        node: &'a Node,
        certificate: &'a Certificate,
        generation: &'a Generation<Production>,
        epoch: Epoch,
        context: &'a HookContext,
    ) -> Pending<'a, Result<Vec<Printable>, Failure>> {
        Box::pin(async move {
            match &node.kind {
                NodeKind::Local => self.deploy_here(node, certificate, generation, epoch, context).await,
                NodeKind::Exec(hook) => self.deploy_by(hook, node, generation, epoch, context).await,
                NodeKind::Ssh(ssh) => match &ssh.receive {
                    Some(receive) => self.deploy_bundled((ssh, receive), node, certificate, generation, epoch).await,
                    None => self.deploy_over(ssh, node, certificate, generation, epoch).await,
                },
            }
        })
    }

    fn placeholder<'a>(&'a self, node: &'a Node, certificate: &'a Certificate) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            match &node.kind {
                NodeKind::Local => local::placeholder(node, certificate, self.clock.now()),
                NodeKind::Exec(_) | NodeKind::Ssh(_) => Err(no_placeholder(node)),
            }
        })
    }

    fn inspect<'a>(
        &'a self,
        node: &'a Node,
        certificate: &'a Certificate,
        generation: &'a Generation<Production>,
    ) -> Pending<'a, Result<Option<Published>, Failure>> {
        Box::pin(async move {
            match &node.kind {
                NodeKind::Local => local::inspect(node, certificate, generation).map(Some),
                NodeKind::Exec(hook) => self.inspect_by(hook, node, certificate, generation).await,
                NodeKind::Ssh(ssh) => match &ssh.receive {
                    Some(receive) => {
                        self.inspect_bundled((ssh, receive), node, certificate, generation).await.map(Some)
                    }
                    None => self.inspect_over(ssh, node, certificate, generation).await.map(Some),
                },
            }
        })
    }

    fn read_back(&self, node: &Node, certificate: &Certificate) -> Option<Rescued> {
        match &node.kind {
            NodeKind::Local => local::read_back(node, certificate),
            NodeKind::Exec(_) | NodeKind::Ssh(_) => None,
        }
    }
}

impl Reloader for Nodes {
    fn reload<'a>(&'a self, node: &'a Node, contexts: &'a [HookContext]) -> Pending<'a, Result<(), Failure>> {
        Box::pin(self.check_and_reload(node, contexts))
    }

    fn check<'a>(&'a self, node: &'a Node) -> Pending<'a, Result<(), Failure>> {
        Box::pin(self.check_alone(node))
    }
}

impl CertHooks for Nodes {
    fn run<'a>(
        &'a self,
        event: &'static str,
        hook: &'a Hook,
        context: &'a HookContext,
    ) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let place = format!("certificate {}", context.name);
            // 42 says that this event is none of the hook's business, which is no failure.
            self.call(hook, event, &place).about(std::slice::from_ref(context)).run().await.map(|_| ())
        })
    }
}

/// There is no way to carry a pair of no generation elsewhere.
fn no_placeholder(node: &Node) -> Failure {
    let message = "a placeholder is published on local nodes only";
    Failure::new(Class::Spec, "deploy:placeholder", at(&node.name), message)
        .advise("take `placeholder:` out, or put a self-signed pair there once by hand")
}

/// What was brought to `place` is of a lower epoch than what it has.
fn refused(place: &str, epoch: Epoch) -> Failure {
    let message = format!("the node has a newer epoch than {epoch}, so it refused what was brought");
    Failure::new(Class::Operator, "publish:epoch", place, message)
        .advise("another everleaf deploys to it, or this state is a restored backup: deploy where the newest state is")
}

/// How a node is called in failures.
fn at(node: &NodeName) -> String {
    format!("node {node}")
}
