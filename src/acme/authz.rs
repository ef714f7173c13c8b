//! Authorizations and challenges, side by side: instant-acme walks them one after the other on one handle, so they are
//! fetched and answered with our own signature.

use super::account::Session;
use super::order::{Live, RawIdentifier};
use super::problem::{Problem, Refusal};
use super::wire::Exchange;
use super::{AcmeCa, order};
use crate::ports::{Authorization, Challenge};
use crate::types::{Class, Failure, Identifier};
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};

/// How many requests of one order are under way at once: enough to hide the round trips, kind to the CA.
const SIDE_BY_SIDE: usize = 8;
/// The longest token: CAs use 43 characters, RFC 8555 §8.1 wants at least 22.
const LONGEST_TOKEN: usize = 256;
/// The longest name of a challenge type: the longest registered one has 18 characters.
const LONGEST_KIND: usize = 32;
/// The challenges read of one authorization: there are six registered types.
const MAX_CHALLENGES: usize = 16;

#[derive(Deserialize)]
struct RawAuthorization {
    identifier: RawIdentifier,
    status: String,
    #[serde(default)]
    wildcard: bool,
    #[serde(default)]
    challenges: Vec<RawChallenge>,
}

#[derive(Deserialize)]
struct RawChallenge {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    token: String,
    error: Option<Value>,
}

/// The order's authorizations, each checked to be for one of its identifiers.
pub(super) async fn fetch(ca: &AcmeCa, url: &str) -> Result<Vec<Authorization>, Failure> {
    let session = ca.session().await?;
    let live = order::known(ca, &session, url).await?;
    let body = live.body.clone();
    ca.orders.keep(live);
    let fetched = side_by_side(ca, &body.authorizations, async |url| get(ca, &session, url).await).await;
    let names: Vec<Identifier> = body.identifiers.iter().filter_map(|raw| raw.read(false)).collect();
    let thumbprint = session.key.thumbprint();
    fetched
        .into_iter()
        .map(|(url, fetched)| {
            let raw: RawAuthorization = fetched.map_err(Failure::from)?;
            read(ca, url, &raw, &names, &thumbprint)
        })
        .collect()
}

/// Tells the CA that challenges can be checked.
pub(super) async fn answer(ca: &AcmeCa, challenges: &[String]) -> Result<(), Failure> {
    let session = ca.session().await?;
    // All are told before one failure is: the others need not wait for its next try.
    let told = side_by_side(ca, challenges, async |url| tell(ca, &session, url).await).await;
    told.into_iter().try_for_each(|(_, told)| told.map_err(Failure::from))
}

/// Asks for each of `urls`, several at once. A passing failure ends it, and the next time one is asked for alone first: a CA in
/// trouble is not asked for hundreds of names in vain.
async fn side_by_side<'u, T>(
    ca: &AcmeCa,
    urls: &'u [String],
    ask: impl AsyncFn(&'u String) -> Result<T, Refusal>,
) -> Vec<(&'u String, Result<T, Refusal>)> {
    let passing = |asked: &Result<T, Refusal>| {
        asked.as_ref().is_err_and(|refusal| matches!(refusal.failure.class, Class::Retry | Class::HoldUntil))
    };
    let (first, rest) = urls.split_at(usize::from(ca.cautious.get()).min(urls.len()));
    let mut done = Vec::with_capacity(urls.len());
    for url in first {
        done.push((url, ask(url).await));
    }
    let met = |done: &[(&String, Result<T, Refusal>)]| done.last().is_some_and(|(_, asked)| passing(asked));
    if !met(&done) {
        let mut answers = stream::iter(rest).map(async |url| (url, ask(url).await)).buffered(SIDE_BY_SIDE);
        while let Some(answer) = answers.next().await {
            done.push(answer);
            if met(&done) {
                break;
            }
        }
    }
    ca.cautious.set(met(&done));
    done
}

/// Why an order is invalid: its challenges' errors, each with its identifier, else its own.
pub(super) async fn why_invalid(ca: &AcmeCa, session: &Session, live: &Live, own: Option<Problem>) -> Failure {
    let fetched = side_by_side(ca, &live.body.authorizations, async |url| get(ca, session, url).await).await;
    let fetched: Vec<Result<RawAuthorization, Refusal>> = fetched.into_iter().map(|(_, fetched)| fetched).collect();
    let problems: Vec<Problem> = fetched.iter().flatten().filter_map(RawAuthorization::problem).collect();
    let of = live.body.identifiers.len();
    let Some(worst) = problems.iter().max_by_key(|problem| problem.sorted(0).0) else {
        let unread = fetched.into_iter().find_map(Result::err).map(|refusal| refusal.failure);
        return own.map_or_else(|| unexplained(live.url(), unread), |own| own.failure(live.url(), 0));
    };
    let message = match problems.as_slice() {
        [only] => only.line(),
        many => format!("{} of {of} names could not be validated; first: {}", many.len(), worst.line()),
    };
    let failure = worst.failure(live.url(), 0);
    let (class, code, advice) = (failure.class, failure.code, failure.advice);
    let told = Failure::new(class, code, live.url(), message).advise(advice.as_str());
    problems.iter().fold(told, |told, problem| told.detail(problem.line()))
}

impl RawAuthorization {
    /// What it is for, in words.
    fn named(&self) -> String {
        format!("{}{}", if self.wildcard { "*." } else { "" }, self.identifier.named())
    }

    /// What was wrong with its challenge, with the identifier it is for.
    fn problem(&self) -> Option<Problem> {
        let found = self.challenges.iter().find_map(|challenge| challenge.error.as_ref().and_then(Problem::read))?;
        Some(Problem { identifier: Some(self.named()), ..found })
    }
}

async fn get(ca: &AcmeCa, session: &Session, url: &str) -> Result<RawAuthorization, Refusal> {
    session.post(&ca.wire, url, None).await?.json()
}

async fn tell(ca: &AcmeCa, session: &Session, url: &str) -> Result<(), Refusal> {
    let Err(refusal) = session.post(&ca.wire, url, Some(&json!({}))).await else { return Ok(()) };
    // A challenge that is no longer pending refuses to be told again, each CA in its own words: its status decides.
    if matches!(refusal.status, 400..=499) && refusal.status != 429 && refusal.kind != "badNonce" {
        let now =
            session.post(&ca.wire, url, None).await.and_then(|exchange: Exchange| exchange.json::<RawChallenge>());
        if now.is_ok_and(|challenge| !matches!(challenge.status.as_str(), "pending" | "")) {
            return Ok(());
        }
    }
    Err(refusal)
}

fn read(
    ca: &AcmeCa,
    url: &str,
    raw: &RawAuthorization,
    names: &[Identifier],
    thumbprint: &str,
) -> Result<Authorization, Failure> {
    let refused = |code: &str, message: String| {
        Failure::new(Class::Operator, code, url, message).advise("Nothing was done with it. Report it to the CA.")
    };
    let identifier =
        raw.identifier.read(raw.wildcard).filter(|identifier| names.contains(identifier)).ok_or_else(|| {
            let name = raw.named();
            refused("acme:foreignIdentifiers", format!("an authorization is for {name}, which the order is not for"))
        })?;
    let valid = raw.status == "valid";
    if !valid && raw.status != "pending" {
        let failure = raw.problem().map(|problem| problem.failure(url, 0));
        return Err(failure.unwrap_or_else(|| {
            Failure::new(
                Class::Retry,
                "acme:authorizationGone",
                url,
                format!("the authorization for {identifier} is {}, so its order is lost", raw.status),
            )
            .advise("The next try opens a new order.")
        }));
    }
    let challenges = raw.challenges.iter().filter(|challenge| is_kind(&challenge.kind)).take(MAX_CHALLENGES);
    let challenges: Result<Vec<Challenge>, Failure> = challenges
        .map(|challenge| {
            ca.wire.check_ordered(&challenge.url, url)?;
            let known = matches!(challenge.kind.as_str(), "http-01" | "dns-01" | "tls-alpn-01");
            if !is_token(&challenge.token) && (known || !challenge.token.is_empty()) {
                let kind = &challenge.kind;
                let token = shown(&challenge.token);
                let message = format!(
                    "the {kind} token for {identifier} is not base64url of 1 to {LONGEST_TOKEN} characters: {token}"
                );
                return Err(refused("acme:badToken", message));
            }
            Ok(Challenge {
                kind: challenge.kind.clone(),
                url: challenge.url.clone(),
                token: challenge.token.clone(),
                key_authorization: format!("{}.{thumbprint}", challenge.token),
            })
        })
        .collect();
    Ok(Authorization { identifier, valid, challenges: challenges? })
}

/// An order may end without any problem of its own, by expiring; or what could explain it could not be read.
fn unexplained(url: &str, unread: Option<Failure>) -> Failure {
    let failure = Failure::new(Class::Retry, "acme:invalid", url, "the order is invalid and the CA gives no reason");
    match unread {
        Some(why) => failure.detail(format!("its authorizations could not be read: {why}")),
        None => failure.advise("It may have expired; the next one is a new order."),
    }
}

/// base64url (RFC 8555 §8.1): a token becomes a path and a file name.
fn is_token(text: &str) -> bool {
    (1..=LONGEST_TOKEN).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// The beginning of what should be a token, quoted.
fn shown(token: &str) -> String {
    const ENOUGH: usize = 40;
    let begin: String = token.chars().take(ENOUGH).collect();
    let more = token.len().saturating_sub(begin.len());
    if more == 0 { format!("{begin:?}") } else { format!("{begin:?} and {more} octets more") }
}

fn is_kind(text: &str) -> bool {
    (1..=LONGEST_KIND).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_base64url_and_nothing_else() {
        assert!(is_token("LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"));
        for bad in ["", "../../etc/passwd", "a/b", "a b", "a\n", "a=", "%2e", "é", &"a".repeat(LONGEST_TOKEN + 1)] {
            assert!(!is_token(bad), "{bad:?}");
        }
    }
}
