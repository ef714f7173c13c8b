//! Whether sessions are resumed, everywhere alike, and whether requests may be replayed.

use super::{Case, View};
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::probe::survey::resumption::{Early, Round};
use std::net::SocketAddr;

/// "Too Early": the application wants the request again, after the handshake (RFC 8470 §5.2).
const TOO_EARLY: u16 = 425;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = case.views.iter().flat_map(here).collect();
    found.extend(not_shared(case));
    found
}

/// What one address does with its own tickets.
fn here(view: &View<'_>) -> Vec<Finding> {
    let rounds = &view.sight.rounds;
    let mut found = Vec::new();
    if !rounds.is_empty() && rounds.iter().all(|round| round.own.taken == 0) {
        let tried: Vec<String> = rounds.iter().map(refused).collect();
        found.push(Finding::new(Label::ResumptionOff, tried.join("; ")));
    }
    for round in rounds.iter().filter(|round| round.own.taken > 0 && round.own.taken < round.own.offered) {
        let own = round.own;
        let seen = format!(
            "of {} {} tickets offered back to this address, {} was taken: behind it are several servers, each with a \
             ticket key of its own",
            own.offered, round.version, own.taken
        );
        found.push(Finding::new(Label::TicketsNotShared, seen));
    }
    found.extend(rounds.iter().filter_map(|round| round.early.as_ref()).filter_map(early));
    found.into_iter().map(|finding| view.found(finding)).collect()
}

fn refused(round: &Round) -> String {
    match round.own.offered {
        0 => format!("in {} no session is given to resume", round.version),
        offered => format!("in {} sessions were offered back {offered} times, and none was taken", round.version),
    }
}

fn early(early: &Early) -> Option<Finding> {
    if !early.taken {
        return None;
    }
    Some(match early.status {
        Some(TOO_EARLY) => {
            let seen = "a request in TLS 1.3 early data (0-RTT) is answered 425 Too Early";
            Finding::new(Label::EarlyDataGuarded, seen)
        }
        status => {
            let answer = status.map_or_else(|| "taken".to_owned(), |status| format!("taken and answered {status}"));
            let seen = format!(
                "a request in TLS 1.3 early data (0-RTT, up to {} bytes) is {answer}: whoever recorded it can send it \
                 again, and the server cannot tell",
                early.allowed
            );
            Finding::new(Label::EarlyDataOn, seen)
        }
    })
}

/// Tickets that work where they come from and nowhere else. Who resumes nothing at all is told of by itself, and where clients
/// fail anyway nobody resumes.
fn not_shared(case: &Case<'_>) -> Option<Finding> {
    let rounds = || case.views.iter().filter(|view| view.is_fine()).flat_map(|view| &view.sight.rounds);
    let resumes = |address: SocketAddr, version: &str| {
        rounds().any(|round| round.from == address && round.version == version && round.own.taken > 0)
    };
    let refused = rounds().flat_map(|round| {
        let others = round.others.iter().filter(|(other, taken)| !taken && resumes(*other, round.version));
        others.map(move |(other, _)| (round.version, round.from, *other))
    });
    let mut refused: Vec<(&str, SocketAddr, SocketAddr)> = refused.collect();
    refused.sort_unstable();
    let (version, from, to) = *refused.first()?;
    let more = match refused.len() {
        1 => String::new(),
        count => format!(", nor are {} other pairs", count - 1),
    };
    let seen = format!("a {version} ticket of {from}, which takes it back, is not taken by {to}{more}");
    Some(Finding::new(Label::TicketsNotShared, seen))
}
