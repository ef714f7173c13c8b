//! Probing from another machine: the questions go there through ssh, the answers come back as JSON Lines.

use super::answer::Answer;
use crate::hook::{Errand, Said};
use crate::probe::relay::{Ask, COMMAND, Misread, last, understood};
use crate::probe::target::Query;
use crate::types::{Class, Failure, SshHost};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the answer to one question may take, the connection included, and how much longer each further one.
const LIMIT: Duration = Duration::from_secs(90);
const LIMIT_EACH: Duration = Duration::from_millis(100);
/// How long the answer to one question may be, in bytes, how much longer for each further one, and at most.
const MOST: usize = 4 << 20;
const MOST_EACH: usize = 64 << 10;
const MOST_OF_ALL: usize = 64 << 20;
/// The highest exit code of a probe that did its work.
const UNKNOWN: i32 = 3;

/// What each of `queries` looks like from `host`.
pub(super) async fn ask(
    host: &SshHost,
    queries: &[Query],
    resolvers: &[SocketAddr],
    limit: Option<Duration>,
) -> Vec<Result<Answer, Failure>> {
    let answered = match send(host, queries, resolvers, limit).await {
        Ok(said) => sorted(host, queries, &said),
        Err(failure) => Err(failure),
    };
    answered.unwrap_or_else(|failure| queries.iter().map(|_| Err(failure.clone())).collect())
}

async fn send(
    host: &SshHost,
    queries: &[Query],
    resolvers: &[SocketAddr],
    limit: Option<Duration>,
) -> Result<Said, Failure> {
    if queries.iter().any(|query| query.client.is_some()) {
        let why = "a client certificate is to be given, and its key does not travel";
        return Err(Failure::new(Class::Operator, "vantage:key", host.to_string(), why)
            .advise("probe without --cert, or on that machine"));
    }
    let further = queries.len().saturating_sub(1);
    let usual = || LIMIT + LIMIT_EACH * u32::try_from(further).unwrap_or(u32::MAX);
    let errand = Errand {
        host,
        words: &COMMAND,
        stdin: Ask::of_queries(queries.iter(), resolvers.to_vec()).line()?,
        config: None,
        shared: None,
        limit: limit.unwrap_or_else(usual),
        most: MOST_EACH.saturating_mul(further).saturating_add(MOST).min(MOST_OF_ALL),
    };
    errand.run().await.map_err(|failure| Failure {
        message: format!("nothing can be seen from there: {}", failure.message).as_str().into(),
        ..failure
    })
}

/// The answers in the order of the questions, which is the order they come in; what is left out is said why on standard error.
fn sorted(host: &SshHost, queries: &[Query], said: &Said) -> Result<Vec<Result<Answer, Failure>>, Failure> {
    let place = host.to_string();
    understood(said, &place)?;
    let last = last(said);
    let mut answers: Vec<Option<Answer>> = queries.iter().map(|_| None).collect();
    let mut from = 0;
    for line in said.stdout.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        let answer = Answer::read(line, &place).map_err(|why| why.failure(&place))?;
        let meant = (from..queries.len()).find(|at| queries[*at].to_string() == answer.target());
        let Some(at) = meant else {
            let why = format!("it answers for {}, which nobody asked for", answer.target());
            return Err(Misread::Foreign(why).failure(&place));
        };
        answers[at] = Some(answer);
        from = at + 1;
    }
    let why = match last {
        _ if !(0..=UNKNOWN).contains(&said.code) => {
            format!("everleaf there fails with exit code {}: {}", said.code, last.unwrap_or("it says nothing"))
        }
        Some(last) => last.to_owned(),
        None => "everleaf there says nothing".to_owned(),
    };
    let none = answers.iter().all(Option::is_none);
    let missing = |query: &Query| {
        let message = if none { why.clone() } else { format!("no answer for {query}: {why}") };
        Failure::new(Class::Retry, "vantage:silent", &place, message)
            .advise(format!("see what it says there: ssh {} everleaf probe {query}", host.host()))
    };
    let each = answers.into_iter().zip(queries);
    Ok(each.map(|(answer, query)| answer.ok_or_else(|| missing(if none { &queries[0] } else { query }))).collect())
}
