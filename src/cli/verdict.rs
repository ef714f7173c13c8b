//! A verdict as a page of 80 columns.

use crate::pki::Certificate;
use crate::probe::chain::{Origin, Step};
use crate::probe::{Finding, Label, Severity, Verdict};
use crate::report::{Page, Paint, ago, columns, cut, in_time};
use crate::types::Timestamp;

/// The verdict line and the findings.
pub(super) fn opening(page: &mut Page, target: &str, verdict: &Verdict) {
    headline(page, target, verdict);
    for finding in verdict.findings().iter().filter(|finding| finding.label != Label::Ok) {
        page.gap();
        told(page, finding);
    }
}

pub(super) fn painted(paint: Paint, severity: Severity, text: &str) -> String {
    match severity {
        Severity::Ok => paint.good(text),
        Severity::Info => paint.head(text),
        Severity::Warn => paint.warn(text),
        Severity::Fail => paint.bad(text),
    }
}

pub(super) const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Info => "info",
        Severity::Warn => "warn",
        Severity::Fail => "FAIL",
    }
}

pub(super) fn headline(page: &mut Page, target: &str, verdict: &Verdict) {
    let severity = verdict.severity();
    let head = format!("{:<4}  {}", word(severity), cut(target, page.width().saturating_sub(6)));
    page.line(&painted(page.paint, severity, &head));
    let labels = verdict.findings().iter().map(|it| it.label.as_str()).collect::<Vec<_>>().join(", ");
    let well = verdict.findings().iter().find(|it| it.label == Label::Ok);
    let well = well.map_or(Label::Ok.meaning(), |it| it.seen.as_str());
    page.hang("      ", if severity == Severity::Ok { well } else { labels.as_str() });
}

fn told(page: &mut Page, finding: &Finding) {
    let severity = finding.label.severity();
    let head = format!("{:<4}  {}", word(severity), finding.label.as_str());
    page.line(&painted(page.paint, severity, &head));
    page.hang("      ", finding.label.meaning());
    if let Some(address) = finding.address {
        let node = finding.node.as_ref().map_or_else(String::new, |node| format!(" (node {node})"));
        page.hang("      at:    ", &format!("{address}{node}"));
    }
    page.hang("      seen:  ", finding.seen.as_str());
    page.hang("      check: ", finding.check.as_str());
}

/// How far a subject may reach before what is known of it, at least.
const NAME: usize = 24;

/// Who signed whom, the leaf first, each one step further in than what it signed.
pub(super) fn drawing(page: &mut Page, steps: &[Step], now: Timestamp) {
    let facts: Vec<String> = steps.iter().map(|step| fact(step, now)).collect();
    let widest = facts.iter().map(|fact| columns(fact)).max().unwrap_or(0);
    let room = page.width().saturating_sub(widest + 2).max(NAME);
    let names: Vec<String> = steps.iter().enumerate().map(|(at, step)| cut(&name(at, step), room)).collect();
    let column = names.iter().map(|name| columns(name)).max().unwrap_or(0);
    for ((name, fact), step) in names.iter().zip(&facts).zip(steps) {
        let padded = format!("{name}{}", " ".repeat(column - columns(name)));
        let out_of_date = step.certificate.as_ref().is_some_and(|it| !it.validity().contains(now));
        let fact = match step.origin {
            Origin::Missing | Origin::Foreign(_) => page.paint.bad(fact),
            _ if out_of_date => page.paint.bad(fact),
            Origin::Store(_) => page.paint.good(fact),
            Origin::Sent(_) => page.paint.faint(fact),
        };
        page.line(&format!("{padded}  {fact}"));
    }
}

fn name(at: usize, step: &Step) -> String {
    let known = step.certificate.as_ref().and_then(|it| {
        let first = it.names().first().filter(|_| at == 0).map(ToString::to_string);
        first.or_else(|| it.common_name.as_ref().map(ToString::to_string))
    });
    let who = known.unwrap_or_else(|| step.who.clone());
    if at == 0 { who } else { format!("{}└─ {who}", "   ".repeat(at - 1)) }
}

fn fact(step: &Step, now: Timestamp) -> String {
    let life = |certificate: &Certificate| {
        let validity = certificate.validity();
        match () {
            () if now < validity.start => format!("begins {}", in_time(validity.start, now)),
            () if now < validity.end => format!("ends {}", in_time(validity.end, now)),
            () => format!("ended {}", ago(validity.end, now)),
        }
    };
    let life = step.certificate.as_ref().map(life).unwrap_or_default();
    match &step.origin {
        Origin::Sent(at) => format!("certificate {}, {life}", at + 1),
        Origin::Foreign(at) => format!("certificate {}, not trusted, {life}", at + 1),
        Origin::Store(store) => format!("trusted ({store}), {life}"),
        Origin::Missing => "not sent, not trusted".to_owned(),
    }
}
