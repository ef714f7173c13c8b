//! Addresses with the same certificate that do not speak alike: TLS versions, application protocol, HSTS.

use super::super::hsts::{self, Hsts};
use super::super::{Case, View};
use crate::pki::Certificate;
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::probe::survey::Sight;
use crate::probe::survey::hello::End;
use crate::types::Identifier;
use rustls::{AlertDescription, ProtocolVersion};
use std::cmp::Reverse;

/// How an address does one thing: among as many of each, the greater is taken for what is meant; and how that is told.
type Way = (u64, String);

/// Each address that does not do as most do. Addresses with another certificate are other servers, and not compared; what an
/// address shows of a virtual host that is not the name's is nothing of the name's.
pub(super) fn differs(case: &Case<'_>) -> Vec<Finding> {
    let mut groups: Vec<Vec<&View<'_>>> = Vec::new();
    for view in case.views.iter().filter(|view| meant(case, view)) {
        let print = |view: &View<'_>| view.leaf().map(Certificate::fingerprint);
        match groups.iter_mut().find(|group| print(group[0]) == print(view)) {
            Some(group) => group.push(view),
            None => groups.push(vec![view]),
        }
    }
    groups.iter().flat_map(|group| among(case, group)).collect()
}

fn meant(case: &Case<'_>, view: &View<'_>) -> bool {
    let asked = &case.survey.query.name;
    let right =
        |leaf: &Certificate| leaf.validity().contains(case.at) && leaf.names().iter().any(|name| name.covers(asked));
    view.sight.telling().agreed.is_some() && view.leaf().is_some_and(right)
}

fn among(case: &Case<'_>, group: &[&View<'_>]) -> Vec<Finding> {
    let policy = |sight: &Sight| match &case.survey.query.name {
        Identifier::Dns(_) => strict(sight),
        Identifier::Ip(_) => None,
    };
    let mut told: Vec<Vec<String>> = vec![Vec::new(); group.len()];
    for aspect in [&new as &dyn Fn(&Sight) -> Option<Way>, &old, &protocol, &policy] {
        let ways: Vec<Option<Way>> = group.iter().map(|view| aspect(view.sight)).collect();
        let count = |way: &Way| ways.iter().flatten().filter(|it| *it == way).count();
        let Some(usual) = ways.iter().flatten().max_by_key(|way| (count(way), way.0, Reverse(&way.1))) else {
            continue;
        };
        for (told, (_, here)) in told.iter_mut().zip(&ways).filter_map(|(told, way)| Some((told, way.as_ref()?))) {
            if *here != usual.1 {
                told.push(format!("here {here}, elsewhere {}", usual.1));
            }
        }
    }
    let odd = group.iter().zip(told).filter(|(_, told)| !told.is_empty());
    odd.map(|(view, told)| view.found(Finding::new(Label::NodePolicyDiffers, told.join("; ")))).collect()
}

/// TLS 1.2 and 1.3, as far as both were tried.
fn new(sight: &Sight) -> Option<Way> {
    let agreed = sight.telling().agreed.as_ref()?;
    if agreed.version != "TLS 1.3" {
        return Some((1, format!("no TLS 1.3 ({})", agreed.version)));
    }
    match sight.old.as_ref().map(|old| &old.end) {
        Some(Ok(())) => Some((2, "TLS 1.2 and 1.3".to_owned())),
        Some(Err(trouble)) if trouble.label == Label::ProtocolTooOld => Some((1, "TLS 1.3 only".to_owned())),
        // Not tried, or for another reason in vain.
        _ => Some((2, "TLS 1.3".to_owned())).filter(|_| sight.old.is_none()),
    }
}

/// TLS 1.0 and 1.1. That they are off is what is meant.
fn old(sight: &Sight) -> Option<Way> {
    let answer = sight.legacy.as_ref()?;
    match (answer.version, &answer.end) {
        (Some(ProtocolVersion::TLSv1_0), _) => Some((0, "TLS 1.0 too".to_owned())),
        (Some(ProtocolVersion::TLSv1_1), _) => Some((0, "TLS 1.1 too".to_owned())),
        (None, End::Alert(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure)) => {
            Some((1, "nothing older than TLS 1.2".to_owned()))
        }
        _ => None,
    }
}

/// The application protocol. Whoever names none speaks HTTP/1.1 as well.
fn protocol(sight: &Sight) -> Option<Way> {
    let named = sight.telling().agreed.as_ref()?.alpn.as_deref().unwrap_or("http/1.1");
    Some((u64::from(named == "h2"), named.to_owned()))
}

/// The HSTS policy, where the page itself was answered. What is wrong with the header alone is told by labels of its own.
fn strict(sight: &Sight) -> Option<Way> {
    let head = &sight.http.as_ref()?.as_ref().ok()?.first.head;
    let plain = sight.plain.as_ref().and_then(|(_, plain)| plain.as_ref().ok());
    match hsts::first(&head.headers) {
        None if head.status >= 400 || plain.is_some_and(|it| hsts::first(&it.first.head.headers).is_some()) => None,
        None => Some((0, "no Strict-Transport-Security".to_owned())),
        Some(Ok(Hsts { max_age: 0, .. }) | Err(_)) => None,
        Some(Ok(read)) if read.preload && hsts::amiss(read) => None,
        Some(Ok(read)) => {
            let more = [(read.subdomains, "; includeSubDomains"), (read.preload, "; preload")];
            let more: String = more.into_iter().filter(|(said, _)| *said).map(|(_, text)| text).collect();
            Some((read.max_age.saturating_add(1), format!("HSTS with max-age={}{more}", read.max_age)))
        }
    }
}
