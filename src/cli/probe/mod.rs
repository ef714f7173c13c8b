//! `probe`: what clients would say of endpoints.

mod answer;
mod below;
mod client;
mod grid;
mod page;
mod relayed;
mod service;
mod tally;
mod targets;
mod via;

use super::Stop;
use super::args::Probe;
use super::context::Context;
use crate::probe::files::Refusal;
use crate::probe::survey::{Survey, Surveyor};
use crate::probe::target::Query;
use crate::types::{Failure, SshHost, Vantage};
use crate::wire;
use futures_util::stream::{LocalBoxStream, StreamExt as _, iter, once, select_all};
use std::net::SocketAddr;
use std::time::Duration;
use tally::{Form, Seen, Tally};
use targets::{Against, Asked, Look};

/// Targets under way at once. What they connect to is bounded by open files besides.
const AT_ONCE: usize = 2048;

/// Looks, also when there is nothing to judge: that is an answer of its own.
pub(super) fn probe(context: &Context, typed: &Probe) -> Result<u8, Stop> {
    let screen = context.screen;
    if !typed.relayed {
        let client = client::identity(typed);
        let identity = client.as_ref().ok().cloned().flatten();
        return look(context, typed, targets::asked(context, typed, identity)?, client.err());
    }
    match relayed::ask() {
        Ok(ask) if !ask.looks().is_empty() => relayed::looks(screen, &ask, &context.resolvers()),
        Ok(ask) => look(context, typed, relayed::asked(&ask), None),
        Err(failure) => Tally::new(screen, Form::Json, 0, false).finish(vec![failure]),
    }
}

fn look(context: &Context, typed: &Probe, asked: Asked, refused: Option<Refusal>) -> Result<u8, Stop> {
    let screen = context.screen;
    let Asked { mut looks, mut unusable, resolvers, below } = asked;
    if let Some(Refusal::Unusable(failure)) = &refused {
        looks.clear();
        unusable = vec![failure.clone()];
    }
    let form = match () {
        () if typed.nagios => Form::Nagios,
        () if screen.json || typed.relayed => Form::Json,
        () => Form::Page,
    };
    let parts = parts(looks, &typed.via);
    let count = parts.iter().map(|part| part.places.len()).sum();
    let named = !typed.via.is_empty() || parts.iter().any(|part| part.from != Vantage::Here);
    let mut tally = Tally::new(screen, form, count, named);
    if let Some(Refusal::Mismatch(finding)) = refused {
        for (at, look) in parts.iter().flat_map(|part| part.places.iter().zip(&part.looks)) {
            tally.unasked(*at, &look.query.to_string(), &finding)?;
        }
        return tally.finish(unusable);
    }
    let shown = wire::block_on(async {
        // Those who look from elsewhere ask the resolvers there, unless others were typed.
        let asked = if resolvers.is_empty() { context.resolvers() } else { resolvers.clone() };
        let surveyor = wire::surveyor(&asked)?;
        let seen = parts.into_iter().map(|part| {
            let seen = match part.from {
                Vantage::Here => here(&surveyor, part.looks, &below),
                Vantage::Ssh(host) => there(host, part.looks, &resolvers, typed.via_limit),
            };
            let places = part.places;
            seen.map(move |(at, seen)| (places[at], seen)).boxed_local()
        });
        let mut all = select_all(seen.collect::<Vec<_>>());
        while let Some((at, seen)) = all.next().await {
            if let Err(stop) = tally.done(at, seen) {
                return Ok(Err(stop));
            }
        }
        Ok(Ok(()))
    })?;
    shown?;
    tally.finish(unusable)
}

/// What is looked at from one vantage, and where each look stands among all.
struct Part {
    from: Vantage,
    looks: Vec<Look>,
    places: Vec<usize>,
}

/// Everything from each of the vantages that were typed, or from where the configuration says.
fn parts(looks: Vec<Look>, typed: &[Vantage]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut add = |from: &Vantage, look: Look, place: usize| {
        let known = parts.iter().position(|part| part.from == *from);
        let at = known.unwrap_or_else(|| {
            parts.push(Part { from: from.clone(), looks: Vec::new(), places: Vec::new() });
            parts.len() - 1
        });
        parts[at].looks.push(look);
        parts[at].places.push(place);
    };
    let mut vantages: Vec<&Vantage> = Vec::new();
    for vantage in typed {
        if !vantages.contains(&vantage) {
            vantages.push(vantage);
        }
    }
    for (at, look) in looks.into_iter().enumerate() {
        if vantages.is_empty() {
            let from = look.from.clone();
            add(&from, look, at);
            continue;
        }
        for (number, vantage) in vantages.iter().enumerate() {
            add(vantage, look.clone(), at * vantages.len() + number);
        }
    }
    parts
}

/// All targets from this machine, as they are done.
fn here<'a>(
    surveyor: &'a Surveyor,
    looks: Vec<Look>,
    names: &'a [Query],
) -> LocalBoxStream<'a, (usize, Result<Seen, Failure>)> {
    let looks = looks.into_iter().enumerate().map(move |(at, look)| async move {
        (at, surveyed(surveyor, look, names).await.map(|survey| Seen::Here(Box::new(survey))))
    });
    iter(looks).buffer_unordered(AT_ONCE).boxed_local()
}

/// All targets from another machine.
fn there(
    host: SshHost,
    looks: Vec<Look>,
    resolvers: &[SocketAddr],
    limit: Option<Duration>,
) -> LocalBoxStream<'_, (usize, Result<Seen, Failure>)> {
    let queries: Vec<Query> = looks.into_iter().map(|look| look.query).collect();
    let answers = async move { iter(via::ask(&host, &queries, resolvers, limit).await) };
    let seen = once(answers).flatten().enumerate();
    seen.map(|(at, answer)| (at, answer.map(|answer| Seen::There(Box::new(answer))))).boxed_local()
}

async fn surveyed(surveyor: &Surveyor, look: Look, names: &[Query]) -> Result<Survey, Failure> {
    let mut survey = surveyor.survey(look.query).await?;
    survey.below = below::look(surveyor, &survey, names).await;
    let addresses: Vec<_> = survey.sights.iter().map(|sight| sight.address).collect();
    survey.disk = match look.against {
        Against::Nothing => None,
        Against::Typed(service) => Some(service.read(&survey.query.name, &addresses)?),
        Against::Configured(service) => service.read(&survey.query.name, &addresses).ok(),
    };
    Ok(survey)
}
