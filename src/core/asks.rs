//! What people ask of a roll-out: to deploy, to go back.

use super::effect::Slot;
use super::event::{Ask, Event};
use super::ledger::{Asked, Want};
use super::plan::{Draft, View};
use super::reason::Reason;
use crate::types::{GenId, NodeName, RequestId};

/// Where nothing was ever accepted there is nothing to deploy.
pub(super) fn refuse(view: &View<'_>, draft: &mut Draft) {
    if let Some((id, asked)) = view.ledger().asked_for(|ask| !matches!(ask, Ask::Renew { .. })) {
        let why = Reason::Asked { id: id.clone(), by: asked.by.clone() };
        let event = Event::AskClosed { id: id.clone(), why: "no certificate was ever accepted".into() };
        draft.record(Slot::Want, event, why);
    }
}

/// Turns a request to deploy or to go back into what is wanted. Says whether one was turned.
pub(super) fn answered(view: &View<'_>, want: &Want, draft: &mut Draft) -> bool {
    let Some((id, asked)) = view.ledger().asked_for(|ask| !matches!(ask, Ask::Renew { .. })) else { return false };
    let why = Reason::Asked { id: id.clone(), by: asked.by.clone() };
    draft.record(Slot::Want, answer(view, want, id, asked), why);
    true
}

fn answer(view: &View<'_>, want: &Want, id: &RequestId, asked: &Asked) -> Event {
    let set = |generation, node: &Option<NodeName>, rollback| Event::WantSet {
        epoch: view.ledger().epoch.next(),
        generation,
        node: node.clone(),
        rollback,
        asked: Some(id.clone()),
        why: format!("{} asked for it", asked.by).into(),
    };
    let refused = |why: String| Event::AskClosed { id: id.clone(), why: why.into() };
    match &asked.ask {
        Ask::Deploy { node } | Ask::Rollback { node, .. }
            if node.as_ref().is_some_and(|node| !view.certificate.nodes.contains(node)) =>
        {
            refused("that node is not one of the certificate's nodes".into())
        }
        Ask::Deploy { node } => {
            let aim = node.as_ref().map_or(&want.default, |node| want.on(node));
            set(aim.generation, node, aim.rollback)
        }
        Ask::Rollback { to, node } => {
            let from = node.as_ref().map_or(&want.default, |node| want.on(node)).generation;
            match (earlier(view, from, *to), to) {
                (Some(generation), _) if expired(view, generation) => {
                    refused(format!("generation {generation} has expired; `everleaf renew` is what helps"))
                }
                (Some(generation), _) => set(generation, node, true),
                (None, Some(to)) => refused(format!("generation {to} is not an accepted one on this machine")),
                (None, None) => refused(format!("there is no accepted generation before {from}")),
            }
        }
        Ask::Renew { .. } => refused("not a request of the roll-out".into()),
    }
}

fn expired(view: &View<'_>, generation: GenId) -> bool {
    view.ledger().generations.get(&generation).is_none_or(|held| held.about.validity.end <= view.now)
}

fn earlier(view: &View<'_>, from: GenId, to: Option<GenId>) -> Option<GenId> {
    let mut accepted = view.ledger().accepted().map(|held| held.about.generation);
    match to {
        Some(to) => accepted.find(|generation| *generation == to),
        None => accepted.rfind(|generation| *generation < from),
    }
}
