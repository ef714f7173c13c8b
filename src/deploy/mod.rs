//! Makes nodes' servers read what was published, and runs certificates' own hooks.
//!
//! Nothing here believes that a server serves what was published: only a probe does.

mod pair;
mod pid_file;
mod reload;

use crate::config::spec::{Hook, Node};
use crate::hook::{Call, Systemd};
use crate::ports::{CertHooks, HookContext, Pending, Reloader};
use crate::types::{Failure, NodeName};

/// The nodes, as the agent sees them.
#[derive(Debug, Clone)]
pub struct Nodes {
    systemd: Systemd,
}

impl Nodes {
    /// Nodes whose units are this `systemd`'s.
    #[must_use]
    pub const fn new(systemd: Systemd) -> Self {
        Self { systemd }
    }

    fn call<'a>(&self, hook: &'a Hook, event: &'static str, place: &str) -> Call<'a> {
        Call::new(hook, event, place).systemd(self.systemd.clone())
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

/// How a node is called in failures.
fn at(node: &NodeName) -> String {
    format!("node {node}")
}
