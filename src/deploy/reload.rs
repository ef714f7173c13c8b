//! Check, then reload: once for however many certificates.

use super::haproxy::Runtime;
use super::{Nodes, at, pair, pid_file};
use crate::config::spec::{Hook, Node, NodeKind, Reload};
use crate::hook::{Answer, Call};
use crate::ports::HookContext;
use crate::types::{Class, Failure};
use std::time::Duration;

/// For a unit's reload job: `TimeoutStartSec=` is 90 s unless the unit says otherwise.
pub(super) const UNIT_RELOAD: Duration = Duration::from_secs(120);

impl Nodes {
    /// The whole of a reload: what lies there loads, the check agrees, the verb is carried out.
    pub(super) async fn check_and_reload(&self, node: &Node, contexts: &[HookContext]) -> Result<(), Failure> {
        if matches!(node.kind, NodeKind::Local) {
            contexts.iter().try_for_each(|context| pair::loads(&node.live, context))?;
        }
        if let NodeKind::Ssh(ssh) = &node.kind {
            if let Some(receive) = &ssh.receive {
                return self.reload_bundled((ssh, receive), node, contexts).await;
            }
            if let Some(check) = &node.check {
                self.check_over(ssh, node, check).await?;
            }
            return match &node.reload {
                Reload::HaProxy { socket, list } => {
                    self.update(Runtime { node, socket, list: list.as_deref() }, contexts).await
                }
                _ => self.reload_over(ssh, node, contexts).await,
            };
        }
        if let Some(hook) = checker(node) {
            self.check(self.call(hook, "check", &at(&node.name)).about(contexts)).await?;
        }
        self.carry_out(node, contexts).await
    }

    /// The check alone, in a rehearsal.
    pub(super) async fn check_alone(&self, node: &Node) -> Result<(), Failure> {
        if let NodeKind::Ssh(ssh) = &node.kind
            && let Some(receive) = &ssh.receive
        {
            // It may have a check of its own that is not known here.
            return self.check_bundled((ssh, receive), node).await;
        }
        let Some(hook) = checker(node) else { return Ok(()) };
        if let NodeKind::Ssh(ssh) = &node.kind {
            return self.check_over(ssh, node, hook).await;
        }
        let call = self.call(hook, "check", &at(&node.name));
        self.check(call.variable("EVERLEAF_NODE", node.name.as_str()).variable("EVERLEAF_DRY_RUN", "1")).await
    }

    async fn check(&self, call: Call<'_>) -> Result<(), Failure> {
        match call.run().await {
            Ok(_) => Ok(()),
            // It ran and disagreed. One that never ran keeps its own code and advice.
            Err(failure) if matches!(failure.code.as_str(), "hook:exit" | "hook:signal") => Err(disagreed(failure)),
            Err(failure) => Err(failure),
        }
    }

    async fn carry_out(&self, node: &Node, contexts: &[HookContext]) -> Result<(), Failure> {
        let place = at(&node.name);
        match (&node.reload, &node.kind) {
            (Reload::None, _) => Ok(()),
            (Reload::Systemd { unit }, _) => {
                self.systemd.reload(unit, UNIT_RELOAD, &format!("{place}, unit {unit}")).await
            }
            (Reload::HaProxy { socket, list }, _) => {
                self.update(Runtime { node, socket, list: list.as_deref() }, contexts).await
            }
            (Reload::Signal { signal, pid_file: file }, _) => pid_file::signal(signal, file, &place),
            (Reload::Exec(hook), _) | (Reload::Hook, NodeKind::Exec(hook)) => {
                if self.call(hook, "reload", &place).about(contexts).run().await? == Answer::NotForMe {
                    tracing::info!(node = %node.name, "its hook has nothing to reload there (exit 42)");
                }
                Ok(())
            }
            (Reload::Hook, NodeKind::Local | NodeKind::Ssh(_)) => {
                let message = "`reload: hook` needs a node with a hook, and this one has none";
                Err(Failure::new(Class::Spec, "reload:no-hook", place, message))
            }
        }
    }
}

/// A check that ran and was not content.
pub(super) fn disagreed(failure: Failure) -> Failure {
    Failure {
        code: "check:failed".to_owned(),
        advice: "nothing was reloaded; mend what the check names, then `everleaf run`".into(),
        ..failure
    }
}

/// The node's own `check:`, or the hook that carries files to it.
fn checker(node: &Node) -> Option<&Hook> {
    match (&node.check, &node.kind) {
        (Some(hook), _) | (None, NodeKind::Exec(hook)) => Some(hook),
        (None, NodeKind::Local | NodeKind::Ssh(_)) => None,
    }
}
