//! From what a CA says went wrong (RFC 8555 §6.7, RFC 9457) to what to do next.

use super::wire::Exchange;
use crate::net::header;
use crate::types::{Class, Failure, Identifier, Printable};
use serde_json::Value;

/// The prefix of ACME's own problem types (RFC 8555 §9.7.4).
const URN: &str = "urn:ietf:params:acme:error:";
/// How much of a body that is no problem document is shown.
const SNIPPET: usize = 200;
/// The longest problem type that becomes part of a code.
const LONGEST_KIND: usize = 48;
/// How many subproblems are read: a certificate has at most 100 names at any CA.
const MAX_SUBPROBLEMS: usize = 100;

/// A problem document, read leniently: whatever is missing or malformed is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Problem {
    /// Its type without the ACME prefix; empty when it has none.
    pub(super) kind: String,
    /// What the CA says.
    pub(super) detail: String,
    /// For which identifier, when it says so.
    pub(super) identifier: Option<String>,
    /// The page that a person should open (RFC 8555 §7.3.3), when it names one.
    pub(super) instance: Option<String>,
    /// Its parts, one level deep.
    pub(super) subproblems: Vec<Problem>,
}

/// A request that the CA refused, or an answer that cannot be used.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    /// What to do about it.
    pub(super) failure: Failure,
    /// The problem's type, such as `badNonce`; empty for anything but a problem document.
    pub(super) kind: String,
    /// The status; 0 when no reply came.
    pub(super) status: u16,
    /// The problem document, when there was one.
    pub(super) problem: Option<Box<Problem>>,
    /// `Location` of a reply that was a success, but could not be used: the object exists.
    pub(super) location: Option<String>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { failure, kind: String::new(), status: 0, problem: None, location: None }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.failure
    }
}

/// What a reply with an error status asks to be done. Never fails: whatever the CA, or somebody in its place, has sent.
#[must_use]
pub fn refusal(exchange: &Exchange) -> Failure {
    Refusal::read(exchange).failure
}

impl Refusal {
    /// From a reply with an error status.
    pub(super) fn read(exchange: &Exchange) -> Self {
        let problem = serde_json::from_slice::<Value>(&exchange.body).ok().and_then(|value| Problem::read(&value));
        let failure = match &problem {
            Some(problem) => problem.failure(&exchange.url, exchange.status),
            None => no_problem(exchange),
        };
        let mut failure = failure.wait(exchange.retry_after());
        let links = ["help", "terms-of-service"].map(|relation| header::links(&exchange.headers, relation));
        for link in links.iter().flatten() {
            failure = failure.detail(format!("see {link}"));
        }
        // What there is to read belongs to what is said first.
        let page = problem.as_ref().and_then(|problem| problem.instance.as_ref());
        let pages: Vec<&str> = page.into_iter().chain(links.iter().flatten()).map(String::as_str).collect();
        if !pages.is_empty() {
            let advice = format!("{} See {}", failure.advice, pages.join(" and "));
            failure = failure.advise(advice.trim_start());
        }
        // A 503 or 429 that names a time is a minimum, whatever stands in its body.
        if failure.retry_after.is_some() && failure.class == Class::Retry && matches!(exchange.status, 429 | 503) {
            failure.class = Class::HoldUntil;
        }
        let kind = problem.as_ref().map(|problem| problem.kind.clone()).unwrap_or_default();
        Self { failure, kind, status: exchange.status, problem: problem.map(Box::new), location: None }
    }

    /// Whether it is a limit that every other order for other names would meet too.
    pub(super) fn limits_all_but(&self, names: &[Identifier]) -> bool {
        let limit = self.kind == "rateLimited" && self.failure.class == Class::HoldUntil;
        limit && self.problem.as_ref().is_none_or(|problem| !problem.is_about(names))
    }

    /// A success whose JSON cannot be read.
    pub(super) fn bad_json(exchange: &Exchange, error: &serde_json::Error) -> Self {
        Self::no_json(exchange, &format!("its JSON cannot be read ({error})"))
    }

    /// A success whose body is not the JSON object that should be there.
    pub(super) fn no_json(exchange: &Exchange, why: &str) -> Self {
        Self::unreadable(exchange, &instead_of_json(&exchange.body, why))
    }

    /// A success that cannot be read.
    pub(super) fn unreadable(exchange: &Exchange, why: &str) -> Self {
        let failure = Failure::new(
            Class::Retry,
            "acme:unreadable",
            &exchange.url,
            format!("the reply (HTTP {}) is not what ACME sends here: {why}", exchange.status),
        )
        .advise("Check that this is the CA's directory and that no proxy or portal answers in its place.")
        .detail(snippet(&exchange.body));
        let location = exchange.location();
        Self { failure, kind: String::new(), status: exchange.status, problem: None, location }
    }
}

impl Problem {
    /// Reads a problem document; `None` when it is no JSON object with at least a type or a detail.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        let (kind, detail) = (text("type"), text("detail"));
        if kind.is_empty() && detail.is_empty() {
            return None;
        }
        let subproblems = object.get("subproblems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            kind: clean_kind(kind),
            detail: detail.to_owned(),
            identifier: value.pointer("/identifier/value").and_then(Value::as_str).map(str::to_owned),
            instance: Some(text("instance")).filter(|url| url.starts_with("https://")).map(str::to_owned),
            subproblems: subproblems
                .iter()
                .take(MAX_SUBPROBLEMS)
                .filter_map(|sub| Self::read(sub).map(|sub| Self { subproblems: Vec::new(), ..sub }))
                .collect(),
        })
    }

    /// The failure this problem is, met at `place`. `status` is the reply's, 0 for a problem inside an object.
    pub(super) fn failure(&self, place: &str, status: u16) -> Failure {
        let own = self.sorted(status);
        // A compound problem is as bad as the worst of its parts.
        let worst = self.subproblems.iter().map(|sub| (sub.sorted(0), sub)).max_by_key(|((class, _), _)| *class);
        let (class, advice) = match &worst {
            Some((sub, _)) if self.kind == "compound" || sub.0 > own.0 => *sub,
            _ => own,
        };
        let code = match &worst {
            Some((_, sub)) if self.kind == "compound" && !sub.kind.is_empty() => format!("acme:{}", sub.kind),
            _ if self.is_pause() => "acme:paused".to_owned(),
            _ if self.kind.is_empty() => format!("acme:http{status}"),
            _ => format!("acme:{}", self.kind),
        };
        // What a log shows is this line alone.
        let message = match (&worst, self.subproblems.len()) {
            (Some((_, sub)), 1) => format!("{}: {}", self.words(), sub.line()),
            (Some((_, sub)), _) => format!("{}; first: {}", self.words(), sub.line()),
            (None, _) => self.words().to_owned(),
        };
        let mut failure = Failure::new(class, code, place, message).advise(advice);
        for sub in &self.subproblems {
            failure = failure.detail(sub.line());
        }
        if self.is_pause() {
            for url in self.detail.split_whitespace().filter(|word| word.starts_with("https://")) {
                failure = failure.detail(format!("open {}", url.trim_end_matches(['.', ',', ')'])));
            }
        }
        failure
    }

    /// Whether it is about these names, and not about the account or the address that asks: it names one of them or a domain
    /// above one, or says that it is about their exact set. In doubt it is about everything.
    pub(super) fn is_about(&self, names: &[Identifier]) -> bool {
        let mentioned = |text: &str| {
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':')));
            let mut words = words.map(|word| word.trim_matches(['.', ':', '-']).to_ascii_lowercase());
            words.any(|word| names.iter().any(|name| is_name_or_above(&word, &name.base())))
        };
        let set = self.detail.contains("exact set");
        let here = self.identifier.iter().any(|name| mentioned(name)) || mentioned(&self.detail);
        set || here || self.subproblems.iter().any(|sub| sub.is_about(names))
    }

    /// One line for a list: identifier, what the CA says, type.
    pub(super) fn line(&self) -> String {
        let whom = self.identifier.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        let kind = if self.kind.is_empty() { String::new() } else { format!(" ({})", self.kind) };
        format!("{whom}{}{kind}", self.words())
    }

    /// What to do next about a problem of this type, and what a person should do.
    pub(super) fn sorted(&self, status: u16) -> (Class, &'static str) {
        if self.is_pause() {
            return (
                Class::Operator,
                "The CA has paused this account for these names: open the page it names and resume.",
            );
        }
        match self.kind.as_str() {
            "badNonce" | "orderNotReady" | "alreadyReplaced" => (Class::Retry, ""),
            "serverInternal" => (Class::Retry, "The CA itself failed; see its status page if this lasts."),
            "rateLimited" => {
                (Class::HoldUntil, "A limit of the CA is used up; it is tried again when the CA allows it.")
            }
            "connection" | "incorrectResponse" => (
                Class::Operator,
                "The CA could not fetch the challenge: check that every A and AAAA of the name reaches this server from \
                 outside, on port 80 for http-01.",
            ),
            "dns" => (Class::Operator, "The CA could not resolve the name: check its records and its zone's DNSSEC."),
            "caa" => (Class::Operator, "A CAA record forbids this CA: add the CA to it, or choose another issuer."),
            "tls" => {
                (Class::Operator, "The CA's TLS connection for the challenge failed: check who answers on port 443.")
            }
            "unauthorized" => (
                Class::Operator,
                "The CA saw another answer than the one put up: check that the name points to this server and that \
                 nothing in front of it answers or redirects the challenge.",
            ),
            "accountDoesNotExist" => (
                Class::Operator,
                "The CA does not know this account. Check that `directory` is the one it was made at; if the CA has really \
                 forgotten it, `everleaf account register` registers its key anew.",
            ),
            "externalAccountRequired" => (
                Class::Spec,
                "This CA wants an external account: set `external_account` with the key id and MAC key it gave you.",
            ),
            "userActionRequired" => {
                (Class::Operator, "The CA wants something of you first, such as agreeing to new terms.")
            }
            "rejectedIdentifier" => (Class::Operator, "The CA does not issue for this name by its policy."),
            "unsupportedIdentifier" => (Class::Spec, "This CA, or this profile, does not issue for this kind of name."),
            "invalidProfile" => (Class::Spec, "Choose a profile that the CA offers."),
            "badCSR" | "badPublicKey" => (
                Class::Spec,
                "The CA does not accept this key or request: try another `key`, such as ecdsa-p256 or rsa-2048.",
            ),
            "invalidContact" | "unsupportedContact" => (Class::Spec, "Correct the issuer's `contact`."),
            "compound" => (Class::Retry, "See the details."),
            _ if status >= 500 || status == 429 => (Class::Retry, ""),
            _ => (Class::Operator, ""),
        }
    }

    /// Let's Encrypt pauses an account for names that failed too often, and says so under `rateLimited` with a portal's URL.
    fn is_pause(&self) -> bool {
        self.kind == "rateLimited"
            && (self.detail.contains("paused")
                || self.detail.contains("unpause")
                || self.detail.contains("temporarily prevented"))
    }

    fn words(&self) -> &str {
        if self.detail.is_empty() { &self.kind } else { &self.detail }
    }
}

/// An error status without a problem document: a proxy, a load balancer, a portal.
fn no_problem(exchange: &Exchange) -> Failure {
    let status = exchange.status;
    if matches!(status, 300..=399) {
        return redirect(exchange);
    }
    let class = if status >= 500 || matches!(status, 408 | 425 | 429) { Class::Retry } else { Class::Operator };
    Failure::new(
        class,
        format!("acme:http{status}"),
        &exchange.url,
        format!("HTTP {status} without an ACME problem document: something before the CA answered, or the CA is down"),
    )
    .advise("Check the directory's URL and any proxy on the way.")
    .detail(snippet(&exchange.body))
}

/// A redirect of a signed request: the signature is for one URL (RFC 8555 §6.4).
fn redirect(exchange: &Exchange) -> Failure {
    let status = exchange.status;
    let class = if matches!(status, 302 | 303 | 307) { Class::Retry } else { Class::Operator };
    let to = exchange.location().unwrap_or_else(|| "nowhere".to_owned());
    Failure::new(
        class,
        format!("acme:http{status}"),
        &exchange.url,
        format!("HTTP {status} redirects to {to}, and what is signed for one URL is sent to no other"),
    )
    .advise("If the CA has moved, set `directory` to its new URL; else something before the CA answered.")
    .detail(snippet(&exchange.body))
}

/// What stands where a JSON object should be.
fn instead_of_json(body: &[u8], why: &str) -> String {
    match body.trim_ascii_start() {
        [] => "it is empty".to_owned(),
        [b'<', ..] => "it is a web page".to_owned(),
        _ => why.to_owned(),
    }
}

/// Whether `word` is `name` or a domain above it; a top-level domain alone is no domain of anybody's.
fn is_name_or_above(word: &str, name: &str) -> bool {
    word == name || (word.contains('.') && name.strip_suffix(word).is_some_and(|rest| rest.ends_with('.')))
}

fn snippet(body: &[u8]) -> String {
    let text = Printable::new(&String::from_utf8_lossy(body.get(..SNIPPET).unwrap_or(body)));
    format!("it begins: {text}")
}

/// A type that is safe in a code: ACME's own without their prefix, others by their last word.
fn clean_kind(kind: &str) -> String {
    let last = kind.strip_prefix(URN).unwrap_or_else(|| kind.rsplit(['/', ':', '#']).next().unwrap_or_default());
    last.chars().filter(char::is_ascii_alphanumeric).take(LONGEST_KIND).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use serde_json::json;
    use std::time::Duration;

    fn refusal(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Refusal {
        let headers =
            headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        let (headers, body) = (headers.collect::<HeaderMap>(), Bytes::copy_from_slice(body.as_bytes()));
        Refusal::read(&Exchange { url: "https://ca.test/order".into(), status, headers, body })
    }

    fn typed(status: u16, kind: &str) -> Failure {
        refusal(status, &[], &json!({"type": format!("{URN}{kind}"), "detail": "so it is"}).to_string()).failure
    }

    #[test]
    fn each_type_asks_for_what_helps() {
        for (kind, class) in [
            ("badNonce", Class::Retry),
            ("serverInternal", Class::Retry),
            ("orderNotReady", Class::Retry),
            ("rateLimited", Class::HoldUntil),
            ("connection", Class::Operator),
            ("dns", Class::Operator),
            ("caa", Class::Operator),
            ("tls", Class::Operator),
            ("unauthorized", Class::Operator),
            ("incorrectResponse", Class::Operator),
            ("rejectedIdentifier", Class::Operator),
            ("accountDoesNotExist", Class::Operator),
            ("userActionRequired", Class::Operator),
            ("malformed", Class::Operator),
            ("unsupportedIdentifier", Class::Spec),
            ("externalAccountRequired", Class::Spec),
            ("invalidProfile", Class::Spec),
            ("badCSR", Class::Spec),
            ("badPublicKey", Class::Spec),
            ("unsupportedContact", Class::Spec),
        ] {
            let failure = typed(400, kind);
            assert_eq!((failure.class, failure.code), (class, format!("acme:{kind}")));
            assert_eq!(failure.message.as_str(), "so it is");
        }
        assert_eq!(typed(500, "somethingNew").class, Class::Retry);
        assert_eq!(typed(400, "somethingNew").class, Class::Operator);
    }

    #[test]
    fn subproblems_name_their_identifiers_and_the_worst_decides() {
        let sub = |kind: &str, name: &str| json!({"type": format!("{URN}{kind}"), "detail": "no", "identifier": {"type": "dns", "value": name}});
        let body = |kind: &str| {
            let subs = [sub("rateLimited", "a.example"), sub("caa", "b.example"), json!("no object"), json!({})];
            json!({"type": format!("{URN}{kind}"), "detail": "some failed", "subproblems": subs}).to_string()
        };
        let failure = refusal(403, &[], &body("compound")).failure;
        assert_eq!((failure.class, failure.code.as_str()), (Class::Operator, "acme:caa"));
        let details: Vec<&str> = failure.details.iter().map(Printable::as_str).collect();
        assert_eq!(details, ["a.example: no (rateLimited)", "b.example: no (caa)"]);
        let failure = refusal(429, &[], &body("rateLimited")).failure;
        assert_eq!((failure.class, failure.code.as_str()), (Class::Operator, "acme:rateLimited"));
    }

    #[test]
    fn a_time_that_is_named_is_held_to() {
        let body = json!({"type": format!("{URN}serverInternal"), "detail": "maintenance"}).to_string();
        let failure = refusal(503, &[("retry-after", "600")], &body).failure;
        assert_eq!((failure.class, failure.retry_after), (Class::HoldUntil, Some(Duration::from_secs(600))));
        let failure = refusal(500, &[("retry-after", "600")], &body).failure;
        assert_eq!((failure.class, failure.retry_after), (Class::Retry, Some(Duration::from_secs(600))));
    }

    #[test]
    fn a_limit_is_on_the_names_it_tells_of_and_else_on_everything() {
        let names = ["www.shop.example.co.uk", "*.example.org", "192.0.2.7"].map(|name| name.parse().expect("a name"));
        let of = |detail: &str, subproblems: Value| {
            let body = json!({"type": format!("{URN}rateLimited"), "detail": detail, "subproblems": subproblems});
            refusal(429, &[("retry-after", "60")], &body.to_string()).limits_all_but(&names)
        };
        let none = || json!([]);
        // What Boulder says; ratelimits/limiter.go.
        for (everything, detail) in [
            (true, "too many new registrations (10) from this IP address in the last 3h0m0s, retry after 2026-11-22"),
            (
                true,
                "too many new orders (300) from this account in the last 3h0m0s, retry after 2026-11-22 12:00:00 UTC",
            ),
            (true, "Service busy; retry later. See https://status.letsencrypt.org/"),
            (true, ""),
            (true, "too many certificates for \"co.uk.example.net\""),
            (false, "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s"),
            (
                false,
                "too many certificates (50) already issued for \"example.co.uk\" in the last 168h0m0s, retry after",
            ),
            (false, "too many failed authorizations (5) for \"www.shop.example.co.uk\" in the last 1h0m0s"),
            (false, "Limit for Example.ORG."),
            (false, "too many certificates already issued for 192.0.2.7"),
        ] {
            assert_eq!(of(detail, none()), everything, "{detail}");
        }
        let sub = json!([{"type": format!("{URN}rateLimited"), "detail": "no",
                          "identifier": {"type": "dns", "value": "example.org"}}]);
        assert!(!of("too many", sub));
        let other = refusal(500, &[], &json!({"type": format!("{URN}serverInternal"), "detail": "x"}).to_string());
        assert!(!other.limits_all_but(&names));
    }

    #[test]
    fn a_type_becomes_part_of_a_code_only_when_it_is_harmless() {
        let kind = |text: &str| Problem::read(&json!({"type": text, "detail": "d"})).expect("a problem").kind;
        assert_eq!(kind("urn:ietf:params:acme:error:caa"), "caa");
        assert_eq!(kind("https://ca.test/problems#too_many"), "toomany");
        assert_eq!(kind("about:blank\u{1b}[31m"), "blank31m");
        assert!(kind(&"x".repeat(10_000)).len() <= LONGEST_KIND);
        assert_eq!(refusal(418, &[], r#"{"detail":"short and stout"}"#).failure.code, "acme:http418");
        for none in ["", "[]", "{}", "null", r#"{"type":7}"#, "<html>"] {
            assert_eq!(refusal(404, &[], none).kind, "", "{none}");
        }
    }
}
