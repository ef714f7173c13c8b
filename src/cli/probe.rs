//! `probe`: what clients would say of endpoints.

use super::Stop;
use super::args::Probe;
use super::context::Context;
use super::document::Document;
use super::screen::Screen;
use super::stores::stores;
use super::verify::UNKNOWN;
use super::{grid, said, verdict};
use crate::config::spec::StartTls;
use crate::probe::Verdict;
use crate::probe::checks::{Case, Presented};
use crate::probe::survey::{Survey, Surveyor};
use crate::probe::target::{Place, Query, Target, Via};
use crate::report::Page;
use crate::types::{Failure, Identifier};
use crate::wire;
use futures_util::stream::{StreamExt as _, iter};
use std::rc::Rc;

/// Targets under way at once.
const AT_ONCE: usize = 512;

/// Looks, also when there is nothing to judge: that is an answer of its own.
pub(super) fn probe(context: &Context, typed: &Probe) -> Result<u8, Stop> {
    let screen = context.screen;
    let queries = match queries(typed) {
        Ok(queries) => queries,
        Err(failure) => {
            said::failure(screen, "", &failure, None);
            return Ok(UNKNOWN);
        }
    };
    let resolvers = if typed.resolver.is_empty() { context.resolvers() } else { typed.resolver.clone() };
    let mut codes = Vec::new();
    let alone = queries.len() == 1;
    wire::block_on(async {
        let surveyor = wire::surveyor(&resolvers)?;
        let mut surveys = iter(queries).map(|query| surveyed(&surveyor, query)).buffered(AT_ONCE);
        while let Some(survey) = surveys.next().await {
            codes.push(match survey {
                Ok(survey) => told(screen, &survey, alone),
                Err(failure) => {
                    said::failure(screen, "", &failure, None);
                    Ok(UNKNOWN)
                }
            });
        }
        Ok(())
    })?;
    let codes: Vec<u8> = codes.into_iter().collect::<Result<_, Stop>>()?;
    Ok(worst(&codes))
}

async fn surveyed(surveyor: &Surveyor, query: Query) -> Result<Survey, Failure> {
    surveyor.survey(query).await
}

/// A failure is worse than not knowing, and that is worse than a warning.
fn worst(codes: &[u8]) -> u8 {
    [2, UNKNOWN, 1].into_iter().find(|code| codes.contains(code)).unwrap_or(0)
}

fn queries(typed: &Probe) -> Result<Vec<Query>, Failure> {
    let starttls = typed.starttls.unwrap_or(StartTls::No);
    let stores: Rc<[_]> = stores(&typed.stores)?.into();
    let pins: Rc<[_]> = typed.pins.as_slice().into();
    let connect: Vec<Via> = typed.connect.iter().map(|place| Via { place: place.clone(), node: None }).collect();
    let vantage = wire::host();
    let query = |place: &Place, name: Identifier| Query {
        target: Target::new(place.clone(), starttls),
        connect: connect.clone(),
        name,
        send_name: !typed.no_sni,
        starttls,
        stores: Rc::clone(&stores),
        pins: Rc::clone(&pins),
        quick: typed.quick,
        crl: typed.crl,
        vantage: vantage.clone(),
    };
    let each = |place: &Place| {
        let names = if typed.sni.is_empty() { vec![place.host.clone()] } else { typed.sni.clone() };
        names.into_iter().map(|name| query(place, name)).collect::<Vec<_>>()
    };
    Ok(typed.targets.iter().flat_map(each).collect())
}

/// Shows what was found, and gives the exit code.
fn told(screen: Screen, survey: &Survey, alone: bool) -> Result<u8, Stop> {
    let case = Case::new(survey);
    let verdict = case.verdict();
    let query = &survey.query;
    let target = match &query.name {
        name if *name == query.target.host => query.target.to_string(),
        name => format!("{} ({name})", query.target),
    };
    let first = drawn(&case);
    let steps = first.map_or(&[][..], |presented| &presented.judged.steps);
    if screen.json {
        let document = Document::new(&target, &verdict, steps).endpoints(&case);
        screen.json_line(&document)?;
    } else {
        screen.data(&page(screen, &target, &verdict, &case, alone))?;
    }
    Ok(verdict.exit_code())
}

/// What the CRLs came to, where they were asked for; each once.
fn lists(page: &mut Page, case: &Case<'_>) {
    let looked = case.views.iter().flat_map(|view| &view.looked);
    let mut lines: Vec<String> =
        looked.map(|it| format!("certificate {}, {}: {}", it.position + 1, it.url, it.outcome)).collect();
    lines.sort();
    lines.dedup();
    for line in &lines {
        page.hang("CRL  ", line);
    }
    if !lines.is_empty() {
        page.gap();
    }
}

/// The certificates that are drawn: of the first address that sent any, and one that fails before all others.
fn drawn<'a>(case: &'a Case<'_>) -> Option<&'a Presented> {
    let shown = || case.views.iter().map(|view| view.presented.as_ref()).filter(|it| !it.judged.steps.is_empty());
    shown().find(|it| it.fails()).or_else(|| shown().next())
}

fn page(screen: Screen, target: &str, verdict: &Verdict, case: &Case<'_>, alone: bool) -> String {
    let mut page = Page::new(screen.width, screen.paint);
    verdict::opening(&mut page, target, verdict);
    page.gap();
    if let Some(presented) = drawn(case) {
        verdict::drawing(&mut page, &presented.judged.steps, case.survey.at);
        page.gap();
    }
    lists(&mut page, case);
    if case.views.len() > 1 {
        grid::grid(&mut page, case);
    }
    format!("{}\n{}", page.finish().trim_end(), if alone { "" } else { "\n" })
}
