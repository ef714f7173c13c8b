//! How commands that work say what came of it.

use super::screen::Screen;
use crate::report::{self, Cause, CertificateStatus, Page, TEMPORARY, causes, failure_lines, headline, names_of};
use crate::types::{CertName, Failure, Printable, humane};
use crate::wire::{App, Came, Watch};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a command came to. Schema `everleaf.run/1`.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    exit: u8,
    changed: bool,
    certificates: &'a [CertificateStatus],
    refused: Vec<Refused<'a>>,
    locked: Vec<&'a CertName>,
}

/// A request that was refused.
#[derive(Debug, Serialize)]
struct Refused<'a> {
    name: &'a CertName,
    why: &'a Printable,
}

impl<'a> Document<'a> {
    pub(super) fn new(came: &'a Came, certificates: &'a [CertificateStatus], exit: u8) -> Self {
        Self {
            schema: "everleaf.run/1",
            exit,
            changed: came.changed,
            certificates,
            refused: came.refused.iter().map(|(name, why)| Refused { name, why }).collect(),
            locked: came.locked.iter().map(|(name, _)| name).collect(),
        }
    }
}

/// A failure: one line for a log, a paragraph for whoever watches, everything when more was asked for.
/// `next` says when it is tried again.
pub(super) fn failure(screen: Screen, who: &str, failure: &Failure, next: Option<&str>) {
    if screen.log_json {
        tracing::error!(certificate = who, code = failure.code, advice = %failure.advice, next, "{failure}");
        return;
    }
    if screen.volume <= 0 && !screen.watched {
        return screen.say(&format!("everleaf: {}", report::failure(who, failure, next)));
    }
    let mut page = Page::new(screen.width, screen.talk_paint);
    let who = if who.is_empty() { "everleaf" } else { who };
    failure_lines(&mut page, &format!("{who}: "), failure, screen.volume > 0);
    if let Some(next) = next {
        page.hang("    ", next);
    }
    screen.say(page.finish().trim_end());
}

/// What stands in the way of each certificate.
fn each<'a>(
    certificates: impl Iterator<Item = &'a CertificateStatus>,
) -> impl Iterator<Item = (&'a CertificateStatus, &'a Failure)> {
    certificates.flat_map(|certificate| certificate.troubles.iter().map(move |trouble| (certificate, trouble)))
}

fn say(screen: Screen, cause: &Cause<'_>) {
    let next = cause.hold.map(|hold| report::next_try(cause.failure, hold, &cause.names));
    failure(screen, &names_of(&cause.names), cause.failure, next.as_deref());
}

/// What orders cost in rate limits; alike ones together.
pub(super) fn costs(screen: Screen, costs: &[(CertName, String)]) {
    let mut alike: Vec<(&str, Vec<&CertName>)> = Vec::new();
    for (name, cost) in costs {
        match alike.iter_mut().find(|(known, _)| known == cost) {
            Some((_, names)) => names.push(name),
            None => alike.push((cost, vec![name])),
        }
    }
    for (cost, names) in alike {
        let each = if names.len() > 1 { format!(": {} certificates, each", names.len()) } else { ":".to_owned() };
        screen.say(&format!("{}{each} {cost}", names_of(&names)));
    }
}

/// What was found held and left so: one line a cause, with until when.
pub(super) fn held<'a>(screen: Screen, app: &App, certificates: impl Iterator<Item = &'a CertificateStatus>) {
    let mut lines: Vec<(Vec<&CertName>, String)> = Vec::new();
    for certificate in certificates {
        let Some(line) = report::waits(certificate, app.now()) else { continue };
        match lines.iter_mut().find(|(_, known)| *known == line) {
            Some((names, _)) => names.push(&certificate.name),
            None => lines.push((vec![&certificate.name], line)),
        }
    }
    for (names, line) in lines {
        screen.say(&format!("everleaf: {}: {line}", names_of(&names)));
    }
}

/// What was said lately, so that a daemon does not say it each minute.
#[derive(Debug, Default)]
pub(super) struct Once {
    said: BTreeMap<String, Instant>,
}

/// What lasts is said again after this.
const SAY_AGAIN: Duration = Duration::from_secs(3_600);
/// More than this is not remembered: then something is said once too often.
const MOST_REMEMBERED: usize = 10_000;

impl Once {
    /// Whether this was not said within the last hour.
    pub(super) fn is_news(&mut self, what: &str) -> bool {
        self.said.retain(|_, at| at.elapsed() < SAY_AGAIN);
        if self.said.contains_key(what) {
            return false;
        }
        if self.said.len() >= MOST_REMEMBERED {
            self.said.clear();
        }
        self.said.insert(what.to_owned(), Instant::now());
        true
    }
}

/// What stands in the way of these and was not said lately.
pub(super) fn news(screen: Screen, once: &mut Once, fresh: &[CertificateStatus]) {
    let mut is_news = |(certificate, trouble): &(&CertificateStatus, &Failure)| {
        once.is_news(&format!("{} {} {} {}", certificate.name, trouble.code, trouble.place, trouble.message))
    };
    let troubles: Vec<_> = each(fresh.iter()).filter(|it| is_news(it)).collect();
    for cause in causes(troubles.into_iter()) {
        say(screen, &cause);
    }
}

/// What stands in the way of each of `certificates`, who was in the way, what was refused.
pub(super) fn troubles(screen: Screen, app: &App, came: &Came, certificates: &[CertificateStatus]) {
    // What stands in the way of one that somebody else is at may be gone in a moment.
    let busy = |name: &CertName| came.locked.iter().any(|(locked, _)| locked == name);
    // What is held back was not looked at again, and has its part in the exit code all the same.
    let looked = |name: &CertName| came.certificates.iter().any(|it| it.name == *name);
    let mine = certificates.iter().filter(|it| !busy(&it.name) && (it.exit != 0 || looked(&it.name)));
    for cause in causes(each(mine)) {
        say(screen, &cause);
    }
    let now = app.now();
    for (name, holder) in &came.locked {
        let since = now.since(holder.since);
        let who =
            format!("{name}: process {} ({}) is at work on it since {}", holder.pid, holder.command, humane(since));
        if app.is_stuck(holder) {
            screen
                .say(&format!("everleaf: {who}, longer than a run may take; if it hangs, end it: kill {}", holder.pid));
        } else {
            screen.say(&who);
        }
    }
    let mut refused: BTreeMap<&Printable, Vec<&CertName>> = BTreeMap::new();
    for (name, why) in &came.refused {
        let names = refused.entry(why).or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for (why, names) in refused {
        screen.say(&format!("everleaf: {}: refused: {why}", names_of(&names)));
    }
}

/// What is said when somebody ended it at the keyboard; the exit code.
pub(super) fn interrupted(screen: Screen, watch: &Watch) -> u8 {
    watch.done();
    let counts = watch.counts().map(|counts| format!(" ({counts})")).unwrap_or_default();
    screen.say(&format!(
        "everleaf: interrupted{counts}; what is done is kept, and so is what was asked for: the next run goes on with it. To go \
         on now: everleaf run. To see with what: everleaf plan"
    ));
    TEMPORARY
}

/// All in one line, for whoever watches; and where many were worked on, what to type next.
pub(super) fn closing(screen: Screen, certificates: &[CertificateStatus]) {
    screen.chat(&headline(certificates, screen.talk_paint));
    if certificates.len() > 1
        && let Some(left) = report::left_to_do(certificates, screen.width, screen.talk_paint)
    {
        screen.chat(left.trim_end());
    }
}

/// The same of many that somebody asked for at once, who may have only a log of it.
pub(super) fn closing_of_many(screen: Screen, certificates: &[CertificateStatus]) {
    let screen = Screen { volume: if screen.volume == 0 { 1 } else { screen.volume }, ..screen };
    closing(screen, certificates);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_said_once() {
        let mut once = Once::default();
        assert!(once.is_news("a") && once.is_news("b") && !once.is_news("a"));
        for number in 0..2 * MOST_REMEMBERED {
            once.is_news(&number.to_string());
        }
        assert!(once.said.len() <= MOST_REMEMBERED);
    }
}
