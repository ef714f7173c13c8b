//! A dead-man's switch in the manner of healthchecks: silence raises the alarm.

use super::{http, webhook};
use crate::config::spec::Ping;
use crate::net::http::Request;
use crate::types::{Class, Failure};
use http::Method;
use std::time::Duration;

/// For one ping: a run must not wait for whoever watches it.
const LIMIT: Duration = Duration::from_secs(5);
/// A lost ping is a false alarm, so it is sent once more.
const TRIES: usize = 2;

/// What is told of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It starts: `URL/start`.
    Started,
    /// It ended well: `URL`.
    Succeeded,
    /// It ended, and not well: `URL/fail`.
    Failed,
}

/// Tells the switch. A ping that fails is logged and never fails a run: the switch itself will raise the alarm.
pub async fn ping(ping: &Ping, outcome: Outcome) {
    let client = http(LIMIT);
    let url = url(ping.url.reveal(), outcome);
    for attempt in 1..=TRIES {
        let failure = match client.send(Request::new(Method::GET, url.as_str())).await {
            Ok(reply) if (200..300).contains(&reply.status) => return,
            Ok(reply) => {
                Failure::new(Class::Retry, "ping:status", "ping", format!("answered with status {}", reply.status))
            }
            Err(failure) => webhook::anonymous(&failure, &ping.url, "ping"),
        };
        if attempt == TRIES {
            tracing::warn!(?outcome, "the dead-man's switch was not told: {failure}");
        }
    }
}

/// The URL with the outcome's segment before its query.
fn url(base: &str, outcome: Outcome) -> String {
    let (path, query) = base.find('?').map_or((base, ""), |at| base.split_at(at));
    let path = path.trim_end_matches('/');
    match outcome {
        Outcome::Started => format!("{path}/start{query}"),
        Outcome::Succeeded => base.to_owned(),
        Outcome::Failed => format!("{path}/fail{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_stands_before_the_query() {
        assert_eq!(url("https://hc.example/uuid", Outcome::Started), "https://hc.example/uuid/start");
        assert_eq!(url("https://hc.example/uuid/?a=b", Outcome::Failed), "https://hc.example/uuid/fail?a=b");
        assert_eq!(url("https://hc.example/uuid?a=b", Outcome::Succeeded), "https://hc.example/uuid?a=b");
    }
}
