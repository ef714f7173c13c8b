//! How commands that work say what came of it.

use super::screen::Screen;
use crate::report::{self, CertificateStatus, Page, failure_lines, headline};
use crate::types::{CertName, Failure, Printable, humane};
use crate::wire::{App, Came};
use serde::Serialize;

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
pub(super) fn failure(screen: Screen, who: &str, failure: &Failure) {
    if screen.log_json {
        tracing::error!(certificate = who, code = failure.code, advice = %failure.advice, "{failure}");
        return;
    }
    if screen.volume <= 0 && !screen.watched {
        return screen.say(&format!("everleaf: {}", report::failure(who, failure)));
    }
    let mut page = Page::new(screen.width, screen.talk_paint);
    let who = if who.is_empty() { "everleaf" } else { who };
    failure_lines(&mut page, &format!("{who}: "), failure, screen.volume > 0);
    screen.say(page.finish().trim_end());
}

/// The certificates that one and the same failure stands in the way of: a CA that is down is told of once.
fn causes<'a>(certificates: impl Iterator<Item = &'a CertificateStatus>) -> Vec<(Vec<&'a CertName>, &'a Failure)> {
    let mut causes: Vec<(Vec<&CertName>, &Failure)> = Vec::new();
    for certificate in certificates {
        for trouble in &certificate.troubles {
            match causes.iter_mut().find(|(_, known)| *known == trouble) {
                Some((names, _)) => names.push(&certificate.name),
                None => causes.push((vec![&certificate.name], trouble)),
            }
        }
    }
    causes
}

/// A few names, and how many more.
fn names_of(names: &[&CertName]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What stands in the way of each certificate, who was in the way, what was refused.
pub(super) fn troubles(screen: Screen, app: &App, came: &Came) {
    // What stands in the way of one that somebody else is at may be gone in a moment.
    let busy = |name: &CertName| came.locked.iter().any(|(locked, _)| locked == name);
    let mine = came.certificates.iter().filter(|it| !busy(&it.name));
    for (names, trouble) in causes(mine) {
        failure(screen, &names_of(&names), trouble);
    }
    let now = app.now();
    for (name, holder) in &came.locked {
        let since = now.since(holder.since);
        let who =
            format!("{name}: process {} ({}) is at work on it since {}", holder.pid, holder.command, humane(since));
        if since > app.spec().limits.run {
            screen
                .say(&format!("everleaf: {who}, longer than a run may take; if it hangs, end it: kill {}", holder.pid));
        } else {
            screen.say(&who);
        }
    }
    for (name, why) in &came.refused {
        screen.say(&format!("everleaf: {name}: refused: {why}"));
    }
}

/// All in one line, for whoever watches.
pub(super) fn closing(screen: Screen, certificates: &[CertificateStatus]) {
    screen.chat(&headline(certificates, screen.talk_paint));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_a_few_and_a_number() {
        let names: Vec<CertName> = ["a", "b", "c", "d", "e"].map(|it| it.parse().expect("a name")).into();
        let names: Vec<&CertName> = names.iter().collect();
        assert_eq!(names_of(&names[..1]), "a");
        assert_eq!(names_of(&names[..3]), "a, b, c");
        assert_eq!(names_of(&names), "a, b, c and 2 more");
    }
}
