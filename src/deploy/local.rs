//! Nodes that are this machine.

use super::{Nodes, at};
use crate::config::spec::{Certificate, Node};
use crate::hook::Answer;
use crate::ports::{Generation, HookContext, Production, Published, Rescued};
use crate::publish::{self, Files, Target};
use crate::types::{Epoch, Failure, Printable, Timestamp};

impl Nodes {
    /// Publishes, writes the extra files, then runs the certificate's own hooks. Any of them failing fails the deploy, which is
    /// repeated whole: each step that is done already does nothing, and hooks are made to be run again.
    pub(super) async fn deploy_here(
        &self,
        node: &Node,
        certificate: &Certificate,
        generation: &Generation<Production>,
        epoch: Epoch,
        context: &HookContext,
    ) -> Result<Vec<Printable>, Failure> {
        let files = files(generation);
        let mut notes = publish::publish(&target(node, certificate), &files, epoch)?.notes;
        for extra in &certificate.files {
            notes.extend(publish::extra(extra, &files)?);
        }
        let live_dir = node.live.join(certificate.name.as_str());
        let told = [HookContext {
            node: Some(node.name.clone()),
            generation: Some(generation.about.generation),
            epoch: Some(epoch),
            // What servers read, the bundle among it: that is what a hook on this machine is about.
            files: Some(live_dir.clone()),
            live_dir,
            ..context.clone()
        }];
        let place = format!("certificate {} on {}", certificate.name, at(&node.name));
        for hook in &certificate.hooks.deploy {
            if self.call(hook, "deploy", &place).about(&told).run().await? == Answer::NotForMe {
                tracing::debug!(certificate = %certificate.name, "a deploy hook says that it is not for it (exit 42)");
            }
        }
        Ok(notes)
    }
}

/// A self-signed pair where nothing lies yet.
pub(super) fn placeholder(node: &Node, certificate: &Certificate, now: Timestamp) -> Result<(), Failure> {
    let family = certificate.key.family();
    publish::placeholder(&target(node, certificate), &certificate.names, family, now).map(|_| ())
}

/// What lies there, extra files too, held against `generation`.
pub(super) fn inspect(
    node: &Node,
    certificate: &Certificate,
    generation: &Generation<Production>,
) -> Result<Published, Failure> {
    let files = files(generation);
    let found = publish::inspect(&target(node, certificate), &files)?;
    let mut intact = found.intact;
    for extra in &certificate.files {
        intact = intact && publish::extra_holds(extra, &files)?;
    }
    Ok(Published { generation: found.generation, epoch: found.epoch, intact })
}

/// The files that lie there.
pub(super) fn read_back(node: &Node, certificate: &Certificate) -> Option<Rescued> {
    let publish::Shown { cert, chain, privkey } = publish::read_back(&node.live.join(certificate.name.as_str()))?;
    Some(Rescued { cert, chain, privkey })
}

fn target<'a>(node: &'a Node, certificate: &'a Certificate) -> Target<'a> {
    Target { live: &node.live, name: &certificate.name, access: &certificate.access }
}

fn files(generation: &Generation<Production>) -> Files<'_> {
    Files {
        generation: generation.about.generation,
        cert: &generation.cert,
        chain: &generation.chain,
        privkey: &generation.privkey,
    }
}
