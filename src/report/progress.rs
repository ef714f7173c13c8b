//! Progress for people who watch: one line an event, and on a terminal a line below that says what is under way.

use super::crowd::Crowd;
use super::line::{doing, happened};
use crate::core::{Event, Work};
use crate::types::CertName;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::io::Write as _;
use std::time::Duration;

/// How often the moving line moves.
const TICK: Duration = Duration::from_millis(120);

/// Shows what happens, on standard error.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    /// Many at once are counted, and not told of one by one.
    crowd: Option<(RefCell<Crowd>, usize)>,
}

impl Progress {
    /// For a terminal: event lines, and a moving line that names what is under way.
    #[must_use]
    pub fn terminal() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar: Some(bar), lines: true, crowd: None }
    }

    /// For many certificates: a line for each that is issued or live and for each cause of trouble, and on a terminal a block of a
    /// few lines below, `width` columns wide. `all` is how many were asked for, where that is known.
    #[must_use]
    pub fn many(all: Option<usize>, terminal: bool, width: usize) -> Self {
        let bar = terminal.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar, lines: true, crowd: Some((RefCell::new(Crowd::new(all)), width.saturating_sub(2))) }
    }

    /// Event lines only: verbose, and no terminal.
    #[must_use]
    pub const fn lines() -> Self {
        Self { bar: None, lines: true, crowd: None }
    }

    /// Nothing: cron.
    #[must_use]
    pub const fn quiet() -> Self {
        Self { bar: None, lines: false, crowd: None }
    }

    /// Work begins.
    pub fn began(&self, work: &Work) {
        if let (Some(bar), None, Some(text)) = (&self.bar, &self.crowd, doing(work)) {
            bar.set_message(text);
        }
    }

    /// Something happened.
    pub fn happened(&self, name: &CertName, event: &Event) {
        if !self.lines {
            return;
        }
        let text = match &self.crowd {
            None => happened(name, event),
            Some((crowd, width)) => {
                let text = crowd.borrow_mut().happened(name, event);
                if let Some(bar) = &self.bar {
                    bar.set_message(crowd.borrow().block(bar.elapsed(), *width));
                }
                text
            }
        };
        let Some(text) = text else { return };
        match &self.bar {
            Some(bar) => bar.println(text),
            // Nobody reads any more: what happens still happens.
            None => drop(writeln!(std::io::stderr().lock(), "{text}")),
        }
    }

    /// How many stand how, where many are counted.
    #[must_use]
    pub fn counts(&self) -> Option<String> {
        self.crowd.as_ref().map(|(crowd, _)| crowd.borrow().counts())
    }

    /// Takes the moving line away.
    pub fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line below that counts, for people who watch many alike being done.
#[derive(Debug)]
pub struct Count {
    bar: Option<ProgressBar>,
}

impl Count {
    /// For a terminal: of `all`.
    #[must_use]
    pub fn terminal(all: usize) -> Self {
        let bar = ProgressBar::new(all as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar: Some(bar) }
    }

    /// Nothing.
    #[must_use]
    pub const fn quiet() -> Self {
        Self { bar: None }
    }

    /// So many are done, and so many of them are bad.
    pub fn at(&self, done: usize, bad: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(if bad > 0 { format!("{bad} FAIL") } else { String::new() });
        }
    }

    /// Does what writes to the same terminal, with the line out of its way.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(work),
            None => work(),
        }
    }

    /// Takes the line away.
    pub fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
