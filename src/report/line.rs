//! One line for what begins and what happened, for people who watch.

use crate::core::event::{Alert, Event};
use crate::core::{Effect, Work};
use crate::types::{CertName, Failure};

/// What the planner says of a request that asked for nothing but a look.
pub const LOOKED: &str = "looked";

/// What happened, when it is worth seeing.
#[must_use]
pub fn happened(name: &CertName, event: &Event) -> Option<String> {
    let text = match event {
        Event::Asked { by, .. } => format!("{by} asked"),
        Event::AskClosed { why, .. } if why.as_str() == LOOKED => return None,
        Event::AskClosed { why, .. } => format!("refused: {why}"),
        Event::Rebuilt { note, .. } => format!("journal rebuilt: {note}"),
        Event::KeyMade { key, .. } => format!("made key {}", key.short()),
        Event::Accepted { generation, notes, .. } => {
            let notes: Vec<String> = notes.iter().map(|note| format!("; {note}")).collect();
            format!("accepted {generation}{}", notes.concat())
        }
        Event::Rejected { generation, violations } => {
            let first = violations.first().map_or_else(String::new, |it| format!(": {}", it.message));
            format!("refused {generation}{first}")
        }
        Event::WantSet { generation, node, rollback, .. } => {
            let place = node.as_ref().map_or_else(|| "everywhere".to_owned(), |node| format!("on {node}"));
            let verb = if *rollback { "goes back to" } else { "aims at" };
            format!("{verb} {generation} {place}")
        }
        Event::PlaceholderPublished { node } => format!("{node}: published a self-signed placeholder"),
        Event::Deployed { node, generation, notes, .. } => {
            let notes: Vec<String> = notes.iter().map(|note| format!("; {note}")).collect();
            format!("{node}: published {generation}{}", notes.concat())
        }
        Event::Reloaded { node, .. } => format!("{node}: reloaded"),
        Event::NodeConfirmed { node, generation, .. } => format!("{node}: proven to serve {generation}"),
        Event::WaveBegun { nodes, .. } => format!("{} of its nodes begin", nodes.len()),
        Event::WaveEnded { .. } => "the nodes that began are through; the roll-out pauses".to_owned(),
        Event::WentLive { generation, .. } => format!("live: every endpoint serves {generation}"),
        Event::Told { notifier, recovered: true, .. } => format!("told {notifier} that it is over"),
        Event::Told { notifier, alert, .. } => format!("told {notifier} ({})", alert_word(alert)),
        Event::Pruned { generation } => format!("removed {generation}"),
        Event::Retired => "no longer configured".to_owned(),
        Event::Revived => "configured again".to_owned(),
        Event::PreDone => "the pre hook is done".to_owned(),
        Event::PostDone => "the post hook is done".to_owned(),
        _ => return ordering(name, event).or_else(|| failed(name, event)),
    };
    Some(format!("{name}: {text}"))
}

fn ordering(name: &CertName, event: &Event) -> Option<String> {
    let text = match event {
        Event::OrderIntended { issuer, why, .. } => format!("orders from {issuer}: {why}"),
        Event::OrderOpened { ready: true, .. } => "order opened, every name is authorized already".to_owned(),
        Event::OrderOpened { .. } => "order opened".to_owned(),
        Event::ChallengesUp { warnings, .. } => {
            let warnings: Vec<String> =
                warnings.iter().map(|warning| format!("\n{name}: warning: {warning}")).collect();
            format!("challenges are up{}", warnings.concat())
        }
        Event::OrderReady { .. } => "every name is authorized".to_owned(),
        Event::OrderValid { .. } => "issued".to_owned(),
        Event::ChainStaged { about, .. } => format!("downloaded {}, serial {}", about.generation, about.serial),
        Event::OrderAbandoned { why, .. } => format!("order given up: {why}"),
        Event::ChallengesDown { .. } => "challenges are down".to_owned(),
        _ => return None,
    };
    Some(format!("{name}: {text}"))
}

/// What failed, in a line; what to do about it is said once, at the end.
pub(super) fn failed(name: &CertName, event: &Event) -> Option<String> {
    let (who, failure) = failure_of(event)?;
    let who = who.map_or_else(|| name.to_string(), |who| format!("{name}: {who}"));
    Some(format!("{who}: {failure}"))
}

/// The failure that an event tells of, and whose it is when not the certificate's own: a node's, a notifier's.
pub(super) fn failure_of(event: &Event) -> Option<(Option<&str>, &Failure)> {
    Some(match event {
        Event::StepFailed { failure, .. }
        | Event::OrderFailed { failure, .. }
        | Event::PreparationFailed { failure, .. }
        | Event::CleanupFailed { failure, .. }
        | Event::PostFailed { failure } => (None, failure),
        Event::DeployFailed { node, failure, .. }
        | Event::ReloadFailed { node, failure, .. }
        | Event::Lagging { node, failure, .. } => (Some(node.as_str()), failure),
        Event::TellFailed { notifier, failure, .. } => (Some(notifier.as_str()), failure),
        _ => return None,
    })
}

fn alert_word(alert: &Alert) -> String {
    match alert {
        Alert::Issue => "cannot be issued".to_owned(),
        Alert::Node(node) => format!("not as it should be on {node}"),
        Alert::Rollout => "its roll-out stopped".to_owned(),
        Alert::Cleanup => "a challenge is left up".to_owned(),
        Alert::Post => "the post hook fails".to_owned(),
        Alert::Danger => "in danger".to_owned(),
    }
}

/// What begins, for a line that is written over.
#[must_use]
pub fn doing(work: &Work) -> Option<String> {
    let (name, _) = work.parts.first()?;
    let more = work.parts.len() - 1;
    let who = if more == 0 { name.to_string() } else { format!("{name} and {more} more") };
    let text = match work.effect()? {
        Effect::Record(_) => return None,
        Effect::MakeKey { .. } => "making a key".to_owned(),
        Effect::RunPre => "running the pre hook".to_owned(),
        Effect::RunPost => "running the post hook".to_owned(),
        Effect::AskTime { issuer } => format!("asking {issuer} what time it is"),
        Effect::OpenOrder { issuer, .. } => format!("opening an order at {issuer}"),
        Effect::FetchAuthorizations { .. } => "fetching authorizations".to_owned(),
        Effect::PutUp { proofs, .. } => format!("putting up {} challenges", proofs.len()),
        Effect::Answer { .. } => "telling the CA to look".to_owned(),
        Effect::LookAtOrder { .. } => "waiting for the CA".to_owned(),
        Effect::SubmitCsr { .. } => "submitting the CSR".to_owned(),
        Effect::FetchChain { .. } => "fetching the certificate".to_owned(),
        Effect::Judge { .. } => "judging the certificate".to_owned(),
        Effect::TakeDown { .. } => "taking challenges down".to_owned(),
        Effect::PollAri { .. } => "asking for the renewal window".to_owned(),
        Effect::Arm { .. } => "arming a timer".to_owned(),
        Effect::Placeholder { node } => format!("{node}: publishing a placeholder"),
        Effect::Deploy { node, .. } => format!("{node}: publishing"),
        Effect::Inspect { node, .. } => format!("{node}: looking what lies there"),
        Effect::Reload { node, .. } => format!("{node}: reloading"),
        Effect::Look { endpoint, .. } => format!("looking at {endpoint}"),
        Effect::Tell { notifier, .. } => format!("telling {notifier}"),
        Effect::Prune { generation } => format!("removing {generation}"),
    };
    Some(format!("{who}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Class, Epoch, GenId, sha256};

    #[test]
    fn lines_name_the_certificate_the_node_and_the_generation() {
        let name = "shop".parse().expect("name");
        let generation = GenId::new(7, &sha256(&[b"leaf"]));
        let deployed = Event::Deployed {
            node: "edge2".parse().expect("name"),
            epoch: Epoch(1),
            generation,
            notes: Vec::new(),
            placement: None,
        };
        assert_eq!(happened(&name, &deployed), Some(format!("shop: edge2: published {generation}")));
        let failure =
            Failure::new(Class::Retry, "hook:exit", "reload of edge2", "exited with 1").advise("run it by hand");
        let lagging = Event::Lagging { node: "edge2".parse().expect("name"), epoch: Epoch(1), drift: false, failure };
        let line = happened(&name, &lagging).expect("worth seeing");
        assert_eq!(line, "shop: edge2: reload of edge2: exited with 1");
    }
}
