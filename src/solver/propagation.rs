//! Waits until every authoritative server of a zone serves given TXT values, and names the one that does not.

use crate::net::dns::Resolver;
use crate::types::{Class, Failure, Printable, humane};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The pause after the first round; most servers are done by then.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between rounds: short against any limit, long enough not to be a burden.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The values shown of one answer.
const SHOWN_VALUES: usize = 4;

/// A server that has not yet served every value.
struct Laggard {
    host: String,
    address: SocketAddr,
    answered: String,
}

/// Waits until every authoritative server of `target`'s zone has served all `values` there.
///
/// # Errors
/// `dns:propagation` with the server, its address and what it answered last; what the zone's lookup failed with, when no
/// server was found before `limit`.
pub(super) async fn wait(
    resolver: &Resolver,
    fqdn: &str,
    target: &str,
    values: &BTreeSet<String>,
    limit: Duration,
) -> Result<(), Failure> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut laggards = find(resolver, target, start, limit).await?;
    loop {
        let rounds = laggards.into_iter().map(|laggard| ask(resolver, target, values, laggard));
        laggards = join_all(rounds).await.into_iter().flatten().collect();
        if laggards.is_empty() {
            return Ok(());
        }
        if start.elapsed() + pause > limit {
            return Err(failure(fqdn, target, &laggards, limit));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The zone's servers. Trouble that may pass is waited out like a server that lags.
async fn find(resolver: &Resolver, target: &str, start: Instant, limit: Duration) -> Result<Vec<Laggard>, Failure> {
    let mut pause = FIRST_PAUSE;
    loop {
        match resolver.authoritative(target).await {
            Ok(servers) => {
                let laggard = |(host, address)| Laggard { host, address, answered: String::new() };
                return Ok(servers.into_iter().map(laggard).collect());
            }
            Err(failure) if failure.class != Class::Retry || start.elapsed() + pause > limit => return Err(failure),
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Asks one server; answers it with what it said when something is still missing there.
async fn ask(resolver: &Resolver, target: &str, values: &BTreeSet<String>, laggard: Laggard) -> Option<Laggard> {
    let answered = match resolver.txt_at(laggard.address, target).await {
        Ok(served) if values.iter().all(|value| served.contains(value)) => return None,
        Ok(served) if served.is_empty() => "no TXT record there".to_owned(),
        Ok(served) => {
            let missing = values.iter().filter(|value| !served.contains(value)).count();
            let shown: Vec<_> = served.iter().take(SHOWN_VALUES).map(|text| Printable::new(text).to_string()).collect();
            format!("{missing} of {} values missing, it has {shown:?}", values.len())
        }
        Err(failure) => failure.message.to_string(),
    };
    Some(Laggard { answered, ..laggard })
}

fn failure(fqdn: &str, target: &str, laggards: &[Laggard], limit: Duration) -> Failure {
    let line = |it: &Laggard| format!("{} ({}) answered: {}", it.host, it.address, it.answered);
    let first = laggards.first().map(line).unwrap_or_default();
    let others = laggards.len().saturating_sub(1);
    let more = if others == 0 { String::new() } else { format!(" (and {others} more)") };
    let at = if fqdn == target { String::new() } else { format!(" at {target}, where its CNAME leads") };
    let message =
        format!("not every authoritative server serves its TXT values{at} after {}: {first}{more}", humane(limit));
    let failure = Failure::new(Class::Retry, "dns:propagation", fqdn, message).advise(
        "See whether the hook changes the zone these servers serve, and whether its transfers to them work; a slow \
         provider needs a longer `propagation:`.",
    );
    laggards.iter().fold(failure, |failure, laggard| failure.detail(line(laggard)))
}
