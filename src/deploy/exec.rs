//! Nodes that a hook of their own carries files to.

use super::{Nodes, at, refused};
use crate::config::spec::{Certificate, Hook, Node};
use crate::hook::Answer;
use crate::ports::{Generation, HookContext, Production, Published};
use crate::types::{Class, Epoch, Failure, Printable};

/// What an inspection's line may hold: three short fields.
const MAX_LINE: usize = 4096;

impl Nodes {
    /// Calls the node's hook with `deploy`.
    pub(super) async fn deploy_by(
        &self,
        hook: &Hook,
        node: &Node,
        generation: &Generation<Production>,
        epoch: Epoch,
        context: &HookContext,
    ) -> Result<Vec<Printable>, Failure> {
        let told = HookContext {
            node: Some(node.name.clone()),
            generation: Some(generation.about.generation),
            epoch: Some(epoch),
            live_dir: node.live.join(context.name.as_str()),
            files: Some(generation.dir.clone()),
            ..context.clone()
        };
        let place = at(&node.name);
        match self.call(hook, "deploy", &place).about(&[told]).run().await {
            Ok(Answer::Done { .. }) => Ok(Vec::new()),
            Ok(Answer::NotForMe) => {
                let message = "its hook says that it does not deploy (exit 42), so nothing carries files there";
                Err(Failure::new(Class::Operator, "deploy:not-for-me", place, message)
                    .advise("name a hook that answers the event deploy, such as deploy-ssh"))
            }
            Err(failure) if failure.code == "hook:refused" => {
                Err(failure.details.iter().fold(refused(&place, epoch), |refused, line| refused.detail(line.as_str())))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Calls the node's hook with `inspect`; it answers one line of JSON, or 42 when it cannot look.
    pub(super) async fn inspect_by(
        &self,
        hook: &Hook,
        node: &Node,
        certificate: &Certificate,
        generation: &Generation<Production>,
    ) -> Result<Option<Published>, Failure> {
        let place = at(&node.name);
        let told = [looking(node, certificate, generation)];
        match self.call(hook, "inspect", &place).about(&told).run().await? {
            Answer::NotForMe => Ok(None),
            Answer::Done { stdout } => inspection(&stdout).map(Some).map_err(|why| {
                Failure::new(Class::Retry, "hook:answer", &place, format!("its hook's answer to inspect {why}")).advise(
                    "its first line is JSON such as {\"generation\":\"0007-3fa94c1b\",\"epoch\":3,\"intact\":true}",
                )
            }),
        }
    }
}

/// What a look is about; there is no attempt and no reason.
fn looking(node: &Node, certificate: &Certificate, generation: &Generation<Production>) -> HookContext {
    HookContext {
        name: certificate.name.clone(),
        domains: certificate.names.clone(),
        node: Some(node.name.clone()),
        generation: Some(generation.about.generation),
        epoch: None,
        live_dir: node.live.join(certificate.name.as_str()),
        files: Some(generation.dir.clone()),
        serial: Some(generation.about.serial.clone()),
        not_after: Some(generation.about.validity.end),
        prev_serial: None,
        reason: Printable::default(),
        dry_run: false,
        attempt: 0,
    }
}

/// What a hook's answer to `inspect` says: the first line of its standard output, JSON.
///
/// # Errors
/// Why it cannot be used, to follow "its answer".
pub fn inspection(stdout: &[u8]) -> Result<Published, String> {
    let line = stdout.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.is_empty() || line.len() > MAX_LINE {
        return Err(format!("has a first line of {} bytes", line.len()));
    }
    serde_json::from_slice(line).map_err(|error| format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_line_of_json() {
        let published =
            inspection(b"{\"generation\":\"0007-3fa94c1b\",\"epoch\":3,\"intact\":true}\nmore\n").expect("read");
        assert_eq!(published.generation.map(|id| id.to_string()), Some("0007-3fa94c1b".to_owned()));
        assert_eq!((published.epoch, published.intact), (Some(Epoch(3)), true));
        let nothing = inspection(b"{\"generation\":null,\"epoch\":null,\"intact\":false}").expect("read");
        assert_eq!((nothing.generation, nothing.epoch), (None, None));
        for bad in ["", "\n{}", "yes", "{\"generation\":\"../x\",\"epoch\":1,\"intact\":true}", "{}"] {
            assert!(inspection(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
