//! `renew`, `deploy`, `rollback`: requests, worked on at once.

use super::Stop;
use super::args::{Deploy, Renew, Rollback};
use super::context::{Context, MANY, known, unknown};
use super::process::interruptible;
use super::said::{self, Document};
use crate::config::spec::Spec;
use crate::core::event::Ask;
use crate::report::CertificateStatus;
use crate::types::{CertName, NodeName, runs};
use crate::wire::{App, block_on};

pub(super) fn renew(context: &Context, typed: &Renew) -> Result<u8, Stop> {
    let app = context.open()?;
    let names = chosen(app.spec(), typed)?;
    // A new key is made for a new order: without one it would stay a wish.
    let force = typed.force || typed.new_key;
    if force {
        said::costs(context.screen, &app.cost(&names)?);
    }
    let ask = Ask::Renew { force, new_key: typed.new_key, yes: typed.yes };
    request(context, &app, &names, &[ask], !typed.no_wait)
}

pub(super) fn deploy(context: &Context, typed: Deploy) -> Result<u8, Stop> {
    let app = context.open()?;
    let names = known(&[typed.name], app.spec().certificates.keys())?;
    let asks: Vec<Ask> =
        places(app.spec(), &names, typed.to.as_ref())?.into_iter().map(|node| Ask::Deploy { node }).collect();
    request(context, &app, &names, &asks, !typed.no_wait)
}

pub(super) fn rollback(context: &Context, typed: Rollback) -> Result<u8, Stop> {
    let app = context.open()?;
    let names = known(&[typed.name], app.spec().certificates.keys())?;
    let places = places(app.spec(), &names, typed.node.as_ref())?;
    let asks: Vec<Ask> = places.into_iter().map(|node| Ask::Rollback { to: typed.to, node }).collect();
    request(context, &app, &names, &asks, !typed.no_wait)
}

/// The certificates meant by `renew`.
pub(super) fn chosen(spec: &Spec, typed: &Renew) -> Result<Vec<CertName>, Stop> {
    if typed.all {
        return Ok(spec.certificates.keys().cloned().collect());
    }
    known(&typed.names, spec.certificates.keys())
}

/// Where it is asked for: everywhere, on one node, or on those of the certificates' nodes that are in a group.
fn places(spec: &Spec, names: &[CertName], typed: Option<&NodeName>) -> Result<Vec<Option<NodeName>>, Stop> {
    let Some(typed) = typed else { return Ok(vec![None]) };
    let mut places: Vec<Option<NodeName>> = Vec::new();
    for certificate in names.iter().filter_map(|name| spec.certificates.get(name)) {
        let meant = |node: &&NodeName| *node == typed || spec.groups.get(typed).is_some_and(|it| it.contains(node));
        let found: Vec<&NodeName> = certificate.nodes.iter().filter(meant).collect();
        if found.is_empty() && spec.groups.contains_key(typed) {
            let (name, nodes) = (&certificate.name, runs(&certificate.nodes));
            return Err(Stop::Usage(format!("{name} goes to no node of the group {typed}; its nodes are {nodes}")));
        }
        if found.is_empty() {
            let groups = spec.groups.iter().filter(|(_, nodes)| nodes.iter().any(|it| certificate.nodes.contains(it)));
            let known: Vec<&NodeName> = certificate.nodes.iter().chain(groups.map(|(group, _)| group)).collect();
            let text = unknown("node", typed.as_str(), &known);
            return Err(Stop::Usage(format!("{}: {text}", certificate.name)));
        }
        places.extend(found.into_iter().cloned().map(Some));
    }
    Ok(places)
}

fn request(context: &Context, app: &App, names: &[CertName], asks: &[Ask], wait: bool) -> Result<u8, Stop> {
    let screen = context.screen;
    let watch = context.watch_many(names.len());
    let Some(came) = block_on(interruptible(app.ask(names, asks, wait, &watch)))? else {
        return Ok(said::interrupted(screen, &watch));
    };
    let exit = came.exit();
    said::troubles(screen, app, &came, &came.certificates);
    let silent = |it: &&CertificateStatus| it.troubles.is_empty() && !came.busy(&it.name);
    said::held(screen, app, came.certificates.iter().filter(silent));
    if !came.locked.is_empty() {
        screen.say("the request is kept: whoever is at work does it, or the next run");
    }
    if names.len() < MANY {
        said::closing(screen, &came.certificates);
    } else {
        said::closing_of_many(screen, &came.certificates);
    }
    if screen.json {
        screen.json(&Document::new(&came, &came.certificates, exit))?;
    }
    Ok(exit)
}
