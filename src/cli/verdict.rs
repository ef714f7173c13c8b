//! A verdict as a page of 80 columns.

use crate::pki::Certificate;
use crate::probe::chain::{Origin, Step};
use crate::probe::{Finding, Label, Severity, Verdict};
use crate::report::{Page, Paint, ago, columns, cut, in_time};
use crate::types::{NodeName, Timestamp};

/// What a page says of one target.
#[derive(Debug)]
pub(super) struct Sheet {
    /// What was asked for.
    pub(super) target: String,
    /// The worst severity.
    pub(super) severity: Severity,
    /// The findings, the worst first.
    pub(super) told: Vec<Told>,
}

/// A finding, in words.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) label: String,
    pub(super) severity: Severity,
    /// What the label means; nothing for one that this everleaf does not know.
    pub(super) meaning: &'static str,
    /// Where, and which node that is.
    pub(super) place: Option<String>,
    pub(super) seen: String,
    pub(super) check: String,
}

impl Sheet {
    pub(super) fn new(target: &str, verdict: &Verdict) -> Self {
        let told = verdict.findings().iter().map(Told::new).collect();
        Self { target: target.to_owned(), severity: verdict.severity(), told }
    }

    /// What is well, where nothing is wrong.
    pub(super) fn well(&self) -> Option<&Told> {
        self.told.iter().find(|it| it.is_ok())
    }
}

impl Told {
    fn new(finding: &Finding) -> Self {
        Self {
            label: finding.label.as_str().to_owned(),
            severity: finding.label.severity(),
            meaning: finding.label.meaning(),
            place: finding.address.map(|it| placed(&it.to_string(), finding.node.as_ref().map(NodeName::as_str))),
            seen: finding.seen.to_string(),
            check: finding.check.to_string(),
        }
    }

    fn is_ok(&self) -> bool {
        self.label == Label::Ok.as_str()
    }
}

/// An address, and the node behind it.
pub(super) fn placed(address: &str, node: Option<&str>) -> String {
    let node = node.map_or_else(String::new, |node| format!(" (node {node})"));
    format!("{address}{node}")
}

/// The verdict line and the findings.
pub(super) fn opening(page: &mut Page, sheet: &Sheet) {
    headline(page, sheet);
    for told in sheet.told.iter().filter(|it| !it.is_ok()) {
        page.gap();
        tell(page, told);
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

/// What came of it in a word, and below it what is well, or what is wrong.
pub(super) fn headline(page: &mut Page, sheet: &Sheet) {
    let severity = sheet.well().map_or(sheet.severity, |_| Severity::Ok);
    let head = format!("{:<4}  {}", word(severity), cut(&sheet.target, page.width().saturating_sub(6)));
    page.line(&painted(page.paint, severity, &head));
    let labels = sheet.told.iter().filter(|it| !it.is_ok()).map(|it| it.label.as_str());
    let labels = labels.collect::<Vec<_>>().join(", ");
    let told = match sheet.well() {
        None => labels,
        Some(well) if labels.is_empty() => well.seen.clone(),
        Some(well) => format!("{}; {labels}", well.seen),
    };
    page.hang("      ", &told);
}

fn tell(page: &mut Page, told: &Told) {
    let head = format!("{:<4}  {}", word(told.severity), told.label);
    page.line(&painted(page.paint, told.severity, &head));
    if !told.meaning.is_empty() {
        page.hang("      ", told.meaning);
    }
    if let Some(place) = &told.place {
        page.hang("      at:    ", place);
    }
    page.hang("      seen:  ", &told.seen);
    page.hang("      check: ", &told.check);
}

/// A step of the drawn path.
#[derive(Debug)]
pub(super) struct Rung {
    /// Who it is, for people.
    pub(super) name: String,
    /// Where it came from.
    pub(super) origin: Origin,
    /// From when until when it counts, where it is at hand.
    pub(super) life: Option<(Timestamp, Timestamp)>,
}

/// The steps of a path, the leaf first.
pub(super) fn rungs(steps: &[Step]) -> Vec<Rung> {
    let life = |certificate: &Certificate| (certificate.validity().start, certificate.validity().end);
    let rung = |(at, step): (usize, &Step)| Rung {
        name: name(at, step),
        origin: step.origin.clone(),
        life: step.certificate.as_ref().map(life),
    };
    steps.iter().enumerate().map(rung).collect()
}

/// What people call a step.
pub(super) fn name(at: usize, step: &Step) -> String {
    let known = step.certificate.as_ref().and_then(|it| {
        let first = it.names().first().filter(|_| at == 0).map(ToString::to_string);
        first.or_else(|| it.common_name.as_ref().map(ToString::to_string))
    });
    known.unwrap_or_else(|| step.who.clone())
}

/// How far a subject may reach before what is known of it, at least.
const NAME: usize = 24;

/// Who signed whom, the leaf first, each one step further in than what it signed.
pub(super) fn drawing(page: &mut Page, rungs: &[Rung], now: Timestamp) {
    let facts: Vec<String> = rungs.iter().map(|rung| fact(rung, now)).collect();
    let widest = facts.iter().map(|fact| columns(fact)).max().unwrap_or(0);
    let room = page.width().saturating_sub(widest + 2).max(NAME);
    let names: Vec<String> = rungs.iter().enumerate().map(|(at, rung)| cut(&indented(at, &rung.name), room)).collect();
    let column = names.iter().map(|name| columns(name)).max().unwrap_or(0);
    for ((name, fact), rung) in names.iter().zip(&facts).zip(rungs) {
        let padded = format!("{name}{}", " ".repeat(column - columns(name)));
        let out_of_date = rung.life.is_some_and(|(start, end)| now < start || now >= end);
        let fact = match rung.origin {
            Origin::Missing | Origin::Foreign(_) => page.paint.bad(fact),
            _ if out_of_date => page.paint.bad(fact),
            Origin::Store(_) => page.paint.good(fact),
            Origin::Sent(_) => page.paint.faint(fact),
        };
        page.line(&format!("{padded}  {fact}"));
    }
}

fn indented(at: usize, who: &str) -> String {
    if at == 0 { who.to_owned() } else { format!("{}└─ {who}", "   ".repeat(at - 1)) }
}

fn fact(rung: &Rung, now: Timestamp) -> String {
    let life = rung.life.map(|(start, end)| match () {
        () if now < start => format!("begins {}", in_time(start, now)),
        () if now < end => format!("ends {}", in_time(end, now)),
        () => format!("ended {}", ago(end, now)),
    });
    let life = life.unwrap_or_default();
    match &rung.origin {
        Origin::Sent(at) => format!("certificate {}, {life}", at + 1),
        Origin::Foreign(at) => format!("certificate {}, not trusted, {life}", at + 1),
        Origin::Store(store) => format!("trusted ({store}), {life}"),
        Origin::Missing => "not sent, not trusted".to_owned(),
    }
}
