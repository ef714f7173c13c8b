//! A CA that asks to wait, in every form, and one that wants something of people.

use super::{Case, Then, always, play};
use crate::rig::{Answer, Fault, FaultyCa, Kind, Times};
use jiff::{SignedDuration, Timestamp};

/// This answer to every order, with this `Retry-After`.
fn wait(answer: Answer, retry_after: &str) -> impl Fn(&FaultyCa) + Send + Sync + use<> {
    always(Kind::NewOrder, Fault::Answer(answer.with("Retry-After", retry_after)))
}

fn too_many() -> Answer {
    let detail = "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s";
    Answer::problem(429, "rateLimited", detail).with("Link", "<https://ca.test/rate-limits>;rel=\"help\"")
}

fn busy() -> Answer {
    Answer::html(503, "Service busy; retry later")
}

/// An instant in one of HTTP's three forms (RFC 9110 §5.6.7).
fn date(form: &str, at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::UTC).strftime(form).to_string()
}

const IMF: &str = "%a, %d %b %Y %H:%M:%S GMT";
const RFC_850: &str = "%A, %d-%b-%y %H:%M:%S GMT";
const ASCTIME: &str = "%a %b %e %H:%M:%S %Y";

#[test]
fn a_ca_that_asks_to_wait() {
    const SAYS: &[&str] = &["/order-plz", "not tried again before TIME", "exact set", "https://ca.test/rate-limits"];
    const BUSY: &[&str] = &["/order-plz", "503", "not tried again before TIME"];
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    let until = |form| date(form, later);
    play(
        "limits",
        &[
            Case::limit("429 in seconds", SAYS, wait(too_many(), "3600")),
            Case::limit("429 until a date", SAYS, wait(too_many(), &until(IMF))),
            Case::limit("429 until a date in RFC 850's form", SAYS, wait(too_many(), &until(RFC_850))),
            Case::limit("429 until a date in asctime's form", SAYS, wait(too_many(), &until(ASCTIME))),
            Case::limit("429 for a century", SAYS, wait(too_many(), "3153600000")),
            Case::limit("429 until the end of time", SAYS, wait(too_many(), "Fri, 31 Dec 9999 23:59:59 GMT")),
            Case::limit("503 in seconds", BUSY, wait(busy(), "7200")),
            Case::limit("503 until a date", BUSY, wait(busy(), &until(IMF))),
            Case::limit("503 for the directory", &["/dir", "503"], {
                always(Kind::Directory, Fault::Answer(busy().with("Retry-After", "7200")))
            }),
            without_time("429 without a time", 21, Fault::Answer(too_many())),
            without_time("429 with a negative time", 21, Fault::Answer(too_many().with("Retry-After", "-5"))),
            without_time("429 with garbage for a time", 21, Fault::Answer(too_many().with("Retry-After", "soon"))),
            without_time("429 until yesterday", 21, {
                Fault::Answer(too_many().with("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT"))
            }),
            without_time("503 with garbage for a time", 75, Fault::Answer(busy().with("Retry-After", "1e9"))),
            Case::harmless("429 for two seconds at the challenge", |ca| {
                ca.on(Kind::Challenge, Times::of(2), Fault::Answer(too_many().with("Retry-After", "2")));
            })
            .asks(24),
        ],
    );
}

/// A limit that names no time that could be kept: our own backoff, which a person may skip.
fn without_time(name: &'static str, exit: i32, fault: Fault) -> Case {
    let case = Case::limit(name, &["/order-plz", "tried again by the first run after"], always(Kind::NewOrder, fault));
    Case { then: Then::GoesOn, ..case }.exits(exit)
}

#[test]
fn a_ca_that_wants_something_of_people() {
    const PORTAL: &str = "https://portal.ca.test/sfe/v1/unpause?jwt=eyJhbGciOiJIUzI1NiJ9.abc";
    const UNKNOWN: &str = "The CA has run out of prime numbers";
    const TERMS: &str = "https://ca.test/terms-2027.pdf";
    let paused = format!(
        "Your account is temporarily prevented from requesting certificates for shop.example.com and possibly others. \
         Please visit: {PORTAL}"
    );
    let terms = Answer::problem(403, "userActionRequired", "Terms of service have changed")
        .with("Link", format!("<{TERMS}>;rel=\"terms-of-service\""))
        .json(|it| it["instance"] = "https://ca.test/agree/12345".into());
    let refused = |kind: &str, detail: &str| Fault::Answer(Answer::problem(403, kind, detail));
    let colours = "\u{1b}[31;1mPAY\u{7} HERE\u{1b}[0m\r\n\u{202e}gnp.exe ".repeat(16_000);
    play(
        "people",
        &[
            Case::operator("a paused account", &[PORTAL, "paused"], {
                always(Kind::NewOrder, Fault::Answer(Answer::problem(429, "rateLimited", &paused)))
            }),
            Case::operator("new terms", &["https://ca.test/agree/12345", TERMS], {
                always(Kind::NewOrder, Fault::Answer(terms))
            }),
            Case::operator("a refused name", &["policy"], {
                always(Kind::NewOrder, refused("rejectedIdentifier", "shop.example.com is on our list"))
            }),
            Case::operator("an unknown account", &["account"], {
                always(Kind::NewOrder, refused("accountDoesNotExist", "unknown key"))
            }),
            Case::operator("a problem nobody knows", &[UNKNOWN], {
                always(Kind::NewOrder, refused("outOfPrimes", UNKNOWN))
            }),
            Case::operator("a megabyte of escape codes", &["PAY HERE"], {
                always(Kind::NewOrder, refused("rejectedIdentifier", &colours))
            }),
            Case::passing("a problem inside the CA", &["/order-plz", "database"], {
                always(Kind::NewOrder, Fault::Answer(Answer::problem(500, "serverInternal", "database is down")))
            }),
        ],
    );
}
