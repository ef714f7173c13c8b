//! `probe`: what clients would say of endpoints.

mod grid;
mod page;
mod tally;
mod targets;

use super::Stop;
use super::args::Probe;
use super::context::Context;
use crate::wire;
use futures_util::stream::{StreamExt as _, iter};
use tally::{Form, Tally};

/// Targets under way at once. What they connect to is bounded by open files besides.
const AT_ONCE: usize = 2048;

/// Looks, also when there is nothing to judge: that is an answer of its own.
pub(super) fn probe(context: &Context, typed: &Probe) -> Result<u8, Stop> {
    let screen = context.screen;
    let targets::Asked { queries, unusable } = targets::asked(context, typed)?;
    let resolvers = if typed.resolver.is_empty() { context.resolvers() } else { typed.resolver.clone() };
    let form = match () {
        () if typed.nagios => Form::Nagios,
        () if screen.json => Form::Json,
        () => Form::Page,
    };
    let mut tally = Tally::new(screen, form, queries.len());
    let shown = wire::block_on(async {
        let surveyor = &wire::surveyor(&resolvers)?;
        let looks =
            queries.into_iter().enumerate().map(|(at, query)| async move { (at, surveyor.survey(query).await) });
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
