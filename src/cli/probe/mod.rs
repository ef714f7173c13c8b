//! `probe`: what clients would say of endpoints.

mod grid;
mod page;
mod service;
mod tally;
mod targets;

use super::Stop;
use super::args::Probe;
use super::context::Context;
use crate::probe::files::Service;
use crate::probe::survey::{Survey, Surveyor};
use crate::probe::target::Query;
use crate::types::Failure;
use crate::wire;
use futures_util::stream::{StreamExt as _, iter};
use tally::{Form, Tally};

/// Targets under way at once. What they connect to is bounded by open files besides.
const AT_ONCE: usize = 2048;

/// Looks, also when there is nothing to judge: that is an answer of its own.
pub(super) fn probe(context: &Context, typed: &Probe) -> Result<u8, Stop> {
    let screen = context.screen;
    let targets::Asked { mut queries, mut unusable } = targets::asked(context, typed)?;
    let service = service::service(typed).unwrap_or_else(|failure| {
        queries.clear();
        unusable = vec![failure];
        None
    });
    let resolvers = if typed.resolver.is_empty() { context.resolvers() } else { typed.resolver.clone() };
    let form = match () {
        () if typed.nagios => Form::Nagios,
        () if screen.json => Form::Json,
        () => Form::Page,
    };
    let service = &service;
    let mut tally = Tally::new(screen, form, queries.len());
    let shown = wire::block_on(async {
        let surveyor = &wire::surveyor(&resolvers)?;
        let looks = queries
            .into_iter()
            .enumerate()
            .map(|(at, query)| async move { (at, surveyed(surveyor, query, service.as_ref()).await) });
        let mut looks = iter(looks).buffer_unordered(AT_ONCE);
        while let Some((at, survey)) = looks.next().await {
            if let Err(stop) = tally.done(at, survey) {
                return Ok(Err(stop));
            }
        }
        Ok(Ok(()))
    })?;
    shown?;
    tally.finish(unusable)
}

async fn surveyed(surveyor: &Surveyor, query: Query, service: Option<&Service>) -> Result<Survey, Failure> {
    let mut survey = surveyor.survey(query).await?;
    if let Some(service) = service {
        let addresses: Vec<_> = survey.sights.iter().map(|sight| sight.address).collect();
        survey.disk = Some(service.read(&survey.query.name, &addresses)?);
    }
    Ok(survey)
}
