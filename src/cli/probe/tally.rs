//! What many looks come to: shown in the order they were asked for, counted, and summed up in one line.

use super::answer::Answer;
use super::page::{self, Shown};
use crate::cli::Stop;
use crate::cli::document::Document;
use crate::cli::screen::Screen;
use crate::cli::verdict::Sheet;
use crate::probe::checks::Case;
use crate::probe::survey::Survey;
use crate::probe::{Finding, Severity, Verdict};
use crate::report::{Checked, Count, Level};
use crate::types::{Failure, Vantage};
use crate::wire;
use std::collections::{BTreeMap, BTreeSet};

/// How a command shows what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Pages for people.
    Page,
    /// JSON Lines, one document a target.
    Json,
    /// One line for a monitoring system.
    Nagios,
}

/// What was seen of a target.
pub(super) enum Seen {
    /// From here.
    Here(Box<Survey>),
    /// From elsewhere.
    There(Box<Answer>),
}

/// Takes what was found as it comes.
pub(super) struct Tally {
    screen: Screen,
    form: Form,
    alone: bool,
    /// Whether vantages were named, and are told.
    named: bool,
    count: Count,
    /// What waits for those before it to be done.
    waiting: BTreeMap<usize, String>,
    shown: usize,
    severities: Vec<Severity>,
    failed: Vec<Failure>,
    lines: Vec<(Level, String)>,
}

impl Tally {
    /// Of `all` looks, with the vantage of each where those were `named`.
    pub(super) fn new(screen: Screen, form: Form, all: usize, named: bool) -> Self {
        let count = if screen.watched && screen.volume >= 0 && all > 1 { Count::terminal(all) } else { Count::quiet() };
        Self {
            screen,
            form,
            alone: all == 1,
            named,
            count,
            waiting: BTreeMap::new(),
            shown: 0,
            severities: Vec::new(),
            failed: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// The look at place `at` in the order is done.
    pub(super) fn done(&mut self, at: usize, seen: Result<Seen, Failure>) -> Result<(), Stop> {
        let text = match seen {
            Ok(Seen::Here(survey)) => self.judged(&survey)?,
            Ok(Seen::There(answer)) => self.answered(&answer)?,
            Err(failure) => {
                self.failed.push(failure);
                String::new()
            }
        };
        self.show(at, text)
    }

    /// The look at place `at` is not taken, for a fault on this side.
    pub(super) fn unasked(&mut self, at: usize, target: &str, fault: &Finding) -> Result<(), Stop> {
        let verdict = Verdict::new(vec![fault.clone()], String::new);
        self.severities.push(verdict.severity());
        let text = match self.form {
            Form::Page => page::findings(self.screen, &Sheet::new(target, &verdict), self.alone),
            Form::Json => self.screen.json_text(&Document::new(target, &verdict, &[]))?,
            Form::Nagios => {
                self.lines.extend(line(&Sheet::new(target, &verdict)));
                String::new()
            }
        };
        self.show(at, text)
    }

    fn show(&mut self, at: usize, text: String) -> Result<(), Stop> {
        self.waiting.insert(at, text);
        while let Some(text) = self.waiting.remove(&self.shown) {
            self.shown += 1;
            let screen = self.screen;
            self.count.aside(|| screen.data(&text))?;
        }
        let bad = self.severities.iter().filter(|it| **it == Severity::Fail).count() + self.failed.len();
        self.count.at(self.severities.len() + self.failed.len(), bad);
        Ok(())
    }

    fn judged(&mut self, survey: &Survey) -> Result<String, Stop> {
        let case = Case::new(survey);
        let verdict = case.verdict();
        let target = survey.query.to_string();
        let title = if self.named { format!("{target} from {}", Vantage::Here) } else { target.clone() };
        self.severities.push(verdict.severity());
        match self.form {
            Form::Page => Ok(page::page(self.screen, &Shown::new(&title, &verdict, &case), self.alone)),
            Form::Json => {
                let drawn = page::drawn(&case);
                let steps = drawn.map_or(&[][..], |presented| &presented.judged.steps);
                self.screen.json_text(&Document::new(&target, &verdict, steps).endpoints(&case))
            }
            Form::Nagios => {
                self.lines.extend(line(&Sheet::new(&title, &verdict)));
                Ok(String::new())
            }
        }
    }

    fn answered(&mut self, answer: &Answer) -> Result<String, Stop> {
        let title = format!("{} from {}", answer.target(), answer.vantage());
        self.severities.push(answer.severity());
        match self.form {
            Form::Page => Ok(page::page(self.screen, &answer.shown(title, wire::now()), self.alone)),
            Form::Json => self.screen.json_text(answer.document()),
            Form::Nagios => {
                self.lines.extend(line(&answer.shown(title, wire::now()).sheet));
                Ok(String::new())
            }
        }
    }

    /// The end: the summary, and the exit code.
    pub(super) fn finish(self, unusable: Vec<Failure>) -> Result<u8, Stop> {
        self.count.done();
        let failed: Vec<Failure> = unusable.into_iter().chain(self.failed).collect();
        // What stands in the way of all looks from one vantage is one cause.
        let mut known = BTreeSet::new();
        let causes: Vec<&Failure> = failed.iter().filter(|it| known.insert(it.to_string())).collect();
        let worst = self.severities.iter().max().map(|it| level(*it));
        let worst = worst.into_iter().chain(failed.first().map(|_| Level::Unknown)).max().unwrap_or(Level::Ok);
        if self.form != Form::Nagios {
            for failure in &causes {
                crate::cli::said::failure(self.screen, "", failure, None);
            }
        }
        let summary = summary(&self.severities, failed.len(), if self.named { "look" } else { "target" });
        match self.form {
            Form::Page if !self.alone && !self.severities.is_empty() => self.screen.data(&format!("{summary}\n"))?,
            Form::Nagios => {
                let mut lines = self.lines;
                lines.extend(causes.iter().map(|failure| (Level::Unknown, failure.to_string())));
                lines.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
                // One line says it all where there is one thing to say.
                let summary = if lines.len() == 1 { lines.remove(0).1 } else { summary };
                let checked = Checked { level: worst, summary, perfdata: String::new(), lines };
                self.screen.data(&format!("{checked}\n"))?;
            }
            _ => {}
        }
        Ok(worst.exit_code())
    }
}

/// A target for a monitoring system; nothing where nobody says anything.
fn line(sheet: &Sheet) -> Option<(Level, String)> {
    let worst = sheet.well().or(sheet.told.first())?;
    let alike = sheet.told.iter().filter(|it| it.severity == worst.severity);
    let labels: Vec<&str> = alike.map(|it| it.label.as_str()).collect();
    Some((level(sheet.severity), format!("{}: {}: {}", sheet.target, labels.join(", "), worst.seen)))
}

const fn level(severity: Severity) -> Level {
    match severity {
        Severity::Ok | Severity::Info => Level::Ok,
        Severity::Warn => Level::Warning,
        Severity::Fail => Level::Critical,
    }
}

/// `3 targets: 1 FAIL, 2 ok`.
fn summary(severities: &[Severity], unknown: usize, what: &str) -> String {
    let of = |wanted: &[Severity]| severities.iter().filter(|it| wanted.contains(it)).count();
    let counts = [
        (of(&[Severity::Fail]), "FAIL"),
        (unknown, "not judged"),
        (of(&[Severity::Warn]), "warn"),
        (of(&[Severity::Ok, Severity::Info]), "ok"),
    ];
    let told: Vec<String> =
        counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let all = severities.len() + unknown;
    format!("{all} {what}{}: {}", if all == 1 { "" } else { "s" }, told.join(", "))
}
