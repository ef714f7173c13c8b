//! `probe`: what clients would say of endpoints.

mod answer;
mod client;
mod grid;
mod page;
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
    let client = client::identity(typed);
    let identity = client.as_ref().ok().cloned().flatten();
    let asked = if typed.relayed { targets::relayed() } else { targets::asked(context, typed, identity)? };
    let Asked { mut looks, mut unusable, resolvers } = asked;
    if let Err(Refusal::Unusable(failure)) = &client {
        looks.clear();
        unusable = vec![failure.clone()];
    }
    let form = match () {
        () if typed.nagios => Form::Nagios,
        () if screen.json || typed.relayed => Form::Json,
        () => Form::Page,
    };
    let vantages = vantages(&typed.via);
    let named = !typed.via.is_empty();
    let mut tally = Tally::new(screen, form, looks.len() * vantages.len(), named);
    if let Err(Refusal::Mismatch(finding)) = client {
        for (at, look) in looks.iter().enumerate() {
            tally.unasked(at, &look.query.to_string(), &finding)?;
        }
        return tally.finish(unusable);
    }
    let shown = wire::block_on(async {
        // Those who look from elsewhere ask the resolvers there, unless others were typed.
        let asked = if resolvers.is_empty() { context.resolvers() } else { resolvers.clone() };
        let surveyor = wire::surveyor(&asked)?;
        let count = vantages.len();
        let seen = vantages.into_iter().enumerate().map(|(number, vantage)| {
            let looks = if number + 1 == count { std::mem::take(&mut looks) } else { looks.clone() };
            let seen = match vantage {
                Vantage::Here => here(&surveyor, looks),
                Vantage::Ssh(host) => there(host, looks, &resolvers, typed.via_limit),
            };
            seen.map(move |(at, seen)| (at * count + number, seen)).boxed_local()
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

/// From where it is looked, each once.
fn vantages(typed: &[Vantage]) -> Vec<Vantage> {
    let mut vantages: Vec<Vantage> = Vec::new();
    for vantage in typed {
        if !vantages.contains(vantage) {
            vantages.push(vantage.clone());
        }
    }
    if vantages.is_empty() { vec![Vantage::Here] } else { vantages }
}

/// All targets from this machine, as they are done.
fn here(surveyor: &Surveyor, looks: Vec<Look>) -> LocalBoxStream<'_, (usize, Result<Seen, Failure>)> {
    let looks = looks.into_iter().enumerate().map(move |(at, look)| async move {
        (at, surveyed(surveyor, look).await.map(|survey| Seen::Here(Box::new(survey))))
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

async fn surveyed(surveyor: &Surveyor, look: Look) -> Result<Survey, Failure> {
    let mut survey = surveyor.survey(look.query).await?;
    let addresses: Vec<_> = survey.sights.iter().map(|sight| sight.address).collect();
    survey.disk = match look.against {
        Against::Nothing => None,
        Against::Typed(service) => Some(service.read(&survey.query.name, &addresses)?),
        Against::Configured(service) => service.read(&survey.query.name, &addresses).ok(),
    };
    Ok(survey)
}
