//! A failure in words, and a run in one line.

use super::exit::OK;
use super::page::{Page, Paint, clock, in_time};
use super::status::{CertificateStatus, NextStatus, Said};
use crate::types::{CertName, Class, Failure, Printable, Timestamp, humane};

/// A failure on one line: what, where, why, what to do, and `next`, when it is tried again.
#[must_use]
pub fn failure(who: &str, failure: &Failure, next: Option<&str>) -> String {
    let who = if who.is_empty() || who == failure.place.as_str() { String::new() } else { format!("{who}: ") };
    let advice = if failure.advice.is_empty() { String::new() } else { format!("; {}", failure.advice) };
    let said = format!("{who}{failure}{advice}");
    match next {
        None => format!("{said} [{}]", failure.code),
        Some(next) => format!("{}; {next} [{}]", said.trim_end_matches('.'), failure.code),
    }
}

/// When the certificates that `failure` stands in the way of are tried again: after their first `hold`, or sooner when a
/// person who has mended what the CA or the network refused asks for it.
#[must_use]
pub fn next_try(failure: &Failure, hold: &NextStatus, names: &[&CertName]) -> String {
    let for_people = matches!(failure.class, Class::Operator | Class::Spec);
    let asked_for = ["acme:", "net:"].iter().any(|prefix| failure.code.starts_with(prefix));
    let sooner = match names {
        _ if hold.firm.is_some() => String::new(),
        [name] if for_people && asked_for => format!(", or at once by `everleaf renew {name}`"),
        [_, ..] if for_people && asked_for => ", or at once by `everleaf renew NAME`".to_owned(),
        _ => String::new(),
    };
    match failure.retry_after {
        _ if failure.is_mended_here() => "tried again by every run".to_owned(),
        Some(wait) if !wait.is_zero() => format!("not tried again before {}, as the other side asks", hold.at),
        _ => format!("tried again by the first run after {}{sooner}", hold.at),
    }
}

/// A failure on a page: the place and what happened after `lead`, then what to do, then, when `whole`, its particulars.
pub fn failure_lines(page: &mut Page, lead: &str, failure: &Failure, whole: bool) {
    page.hang(lead, &failure.to_string());
    if !failure.advice.is_empty() {
        page.hang("    do: ", failure.advice.as_str());
    }
    if whole {
        // Of several places, one may be the one that the message is about.
        let said = |detail: &&Printable| !detail.as_str().ends_with(failure.message.as_str());
        for detail in failure.details.iter().filter(said) {
            page.hang("    - ", detail.as_str());
        }
        if let Some(wait) = failure.retry_after {
            page.line(&format!("    the other side asked to wait {}", humane(wait)));
        }
        let code = format!("    code {}", failure.code);
        page.line(&page.paint.faint(&code));
    }
}

/// What is waited for although nothing failed, and until when: a budget, a clock; nothing where nothing is amiss.
#[must_use]
pub fn waits(certificate: &CertificateStatus, now: Timestamp) -> Option<String> {
    let hold = certificate.hold.as_ref().filter(|hold| certificate.exit != OK && hold.at > now)?;
    Some(format!("nothing is done until {} ({}): {}", clock(hold.at), in_time(hold.at, now), hold.why))
}

/// A run in one line: how many stand how.
#[must_use]
pub fn headline(certificates: &[CertificateStatus], paint: Paint) -> String {
    let count = |which: &[Said]| certificates.iter().filter(|it| which.contains(&it.outcome)).count();
    let mut parts = Vec::new();
    let mut say = |count: usize, text: &str, painter: fn(Paint, &str) -> String| {
        if count > 0 {
            parts.push(painter(paint, &format!("{count} {text}")));
        }
    };
    say(count(&[Said::Danger]), "in danger", Paint::bad);
    say(count(&[Said::Operator]), "stuck until somebody acts", Paint::bad);
    say(count(&[Said::DeployIncomplete]), "not served everywhere", Paint::warn);
    say(count(&[Said::CaLimit]), "waiting for a limit", Paint::warn);
    say(count(&[Said::Temporary]), "tried again later", Paint::warn);
    say(count(&[Said::Live]), "live now", Paint::good);
    say(count(&[Said::Installed]), "installed, unproven", Paint::good);
    say(count(&[Said::NothingDue]), "with nothing due", |_, text| text.to_owned());
    let total = certificates.iter().filter(|it| it.outcome != Said::Retired).count();
    let noun = if total == 1 { "certificate" } else { "certificates" };
    if parts.is_empty() { format!("{total} {noun}") } else { format!("{total} {noun}: {}", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::status::samples;
    use super::*;
    use crate::types::Timestamp;
    use std::time::Duration;

    #[test]
    fn one_line_says_what_where_why_and_what_to_do() {
        let broken = Failure::new(Class::Retry, "hook:exit", "edge2", "the reload command exited with 1")
            .advise("run it by hand");
        assert_eq!(
            failure("shop", &broken, None),
            "shop: edge2: the reload command exited with 1; run it by hand [hook:exit]"
        );
        let next = NextStatus {
            at: Timestamp::from_secs(1_795_341_600),
            held: true,
            why: Printable::default(),
            firm: None,
            forceable: false,
        };
        assert_eq!(
            failure("shop", &broken, Some(&next_try(&broken, &next, &[]))),
            "shop: edge2: the reload command exited with 1; run it by hand; tried again by the first run after \
             2026-11-22T10:00:00Z [hook:exit]"
        );
        let asked = broken.wait(Some(Duration::from_secs(9)));
        assert_eq!(next_try(&asked, &next, &[]), "not tried again before 2026-11-22T10:00:00Z, as the other side asks");
    }

    #[test]
    fn a_run_in_one_line() {
        let snapshot = samples::snapshot();
        let text = headline(&snapshot.certificates, Paint { colour: false });
        assert_eq!(text, "2 certificates: 1 not served everywhere, 1 with nothing due");
        assert_eq!(headline(&[], Paint { colour: false }), "0 certificates");
    }
}
