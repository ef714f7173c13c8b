//! Names below a target's, looked at before a policy is recommended that would bind them too (RFC 6797 §6.1.2).

use super::targets::Look;
use crate::probe::Severity;
use crate::probe::checks::{Case, hsts};
use crate::probe::survey::{Below, Survey, Surveyor};
use crate::probe::target::Query;
use crate::types::Identifier;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};

/// The most names that are looked at for one target.
const MOST: usize = 512;

/// How to look at each name that is below one of `looks`: as it is looked at itself, or as `configured`.
pub(super) fn below(looks: &[Look], configured: impl IntoIterator<Item = Query>) -> Vec<Query> {
    let bases: BTreeSet<&str> = looks.iter().filter_map(|look| host(&look.query.name)).collect();
    let above = |name: &str| name.match_indices('.').any(|(at, _)| bases.contains(&name[at + 1..]));
    let own = looks.iter().map(|look| look.query.clone());
    let mut found: BTreeMap<Identifier, Query> = BTreeMap::new();
    for query in own.chain(configured).filter(|query| host(&query.name).is_some_and(above)) {
        // What it takes to be held to HTTPS is seen in one handshake.
        found.entry(query.name.clone()).or_insert(Query { quick: true, ..query });
    }
    found.into_values().collect()
}

fn host(name: &Identifier) -> Option<&str> {
    match name {
        Identifier::Dns(host) if !name.is_wildcard() => Some(host),
        _ => None,
    }
}

fn is_below(name: &Identifier, base: &Identifier) -> bool {
    let (Some(name), Some(base)) = (host(name), host(base)) else { return false };
    name.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether each of `names` that is below what was surveyed is well, where its policy makes that matter.
pub(super) async fn look(surveyor: &Surveyor, survey: &Survey, names: &[Query]) -> Vec<Below> {
    if !hsts::is_long(survey) {
        return Vec::new();
    }
    let under = names.iter().filter(|query| is_below(&query.name, &survey.query.name)).take(MOST);
    let looks = under.map(async |query| {
        let seen = surveyor.survey(query.clone()).await.ok()?;
        let verdict = Case::new(&seen).verdict();
        let worst = verdict.findings().first().filter(|worst| worst.label.severity() == Severity::Fail);
        Some(Below { name: query.name.clone(), fault: worst.map(|worst| worst.label) })
    });
    join_all(looks).await.into_iter().flatten().collect()
}
