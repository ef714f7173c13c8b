//! `renew`, `deploy`, `rollback`: requests, worked on at once.

use super::Stop;
use super::args::{Deploy, Renew, Rollback};
use super::context::{Context, known, unknown};
use super::said::{self, Document};
use crate::config::spec::Spec;
use crate::core::event::Ask;
use crate::report::CertificateStatus;
use crate::types::{CertName, NodeName};
use crate::wire::{App, block_on};

pub(super) fn renew(context: &Context, typed: &Renew) -> Result<u8, Stop> {
    let app = context.open()?;
    let names = chosen(app.spec(), typed)?;
    // A new key is made for a new order: without one it would stay a wish.
    let force = typed.force || typed.new_key;
    if force {
        for (name, cost) in app.cost(&names)? {
            context.screen.say(&format!("{name}: {cost}"));
        }
    }
    let ask = Ask::Renew { force, new_key: typed.new_key, yes: typed.yes };
    request(context, &app, &names, &ask, !typed.no_wait)
}

pub(super) fn deploy(context: &Context, typed: Deploy) -> Result<u8, Stop> {
    let app = context.open()?;
    let names = known(&[typed.name], app.spec().certificates.keys())?;
    on_node(app.spec(), &names, typed.to.as_ref())?;
    request(context, &app, &names, &Ask::Deploy { node: typed.to }, !typed.no_wait)
}

pub(super) fn rollback(context: &Context, typed: Rollback) -> Result<u8, Stop> {
    let app = context.open()?;
    let names = known(&[typed.name], app.spec().certificates.keys())?;
    on_node(app.spec(), &names, typed.node.as_ref())?;
    request(context, &app, &names, &Ask::Rollback { to: typed.to, node: typed.node }, !typed.no_wait)
}

/// The certificates meant by `renew`.
pub(super) fn chosen(spec: &Spec, typed: &Renew) -> Result<Vec<CertName>, Stop> {
    if typed.all {
        return Ok(spec.certificates.keys().cloned().collect());
    }
    known(&typed.names, spec.certificates.keys())
}

fn on_node(spec: &Spec, names: &[CertName], node: Option<&NodeName>) -> Result<(), Stop> {
    let Some(node) = node else { return Ok(()) };
    for certificate in names.iter().filter_map(|name| spec.certificates.get(name)) {
        if !certificate.nodes.contains(node) {
            let text = unknown("node", node.as_str(), &certificate.nodes);
            return Err(Stop::Usage(format!("{}: {text}", certificate.name)));
        }
    }
    Ok(())
}

fn request(context: &Context, app: &App, names: &[CertName], ask: &Ask, wait: bool) -> Result<u8, Stop> {
    let screen = context.screen;
    let came = block_on(app.ask(names, ask, wait, &context.watch()))?;
    let exit = came.exit();
    said::troubles(screen, app, &came, &came.certificates);
    let silent = |it: &&CertificateStatus| it.troubles.is_empty() && !came.busy(&it.name);
    said::held(screen, app, came.certificates.iter().filter(silent));
    if !came.locked.is_empty() {
        screen.say("the request is kept: whoever is at work does it, or the next run");
    }
    said::closing(screen, &came.certificates);
    if screen.json {
        screen.json(&Document::new(&came, &came.certificates, exit))?;
    }
    Ok(exit)
}
