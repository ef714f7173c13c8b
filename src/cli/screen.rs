//! Standard output is data, standard error is talk. A reader that goes away is no failure.

use super::Stop;
use super::args::{Colour, Everleaf, LogFormat};
use crate::report::Paint;
use crate::types::{Class, Failure};
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal as _, Write};
use terminal_size::{Width, terminal_size_of};

/// How wide text is when nobody says.
const WIDTH: usize = 80;

/// Where a command speaks, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// Whether data is wanted as JSON.
    pub(super) json: bool,
    /// Whether logs are wanted as JSON.
    pub(super) log_json: bool,
    /// How much is said: below zero only failures, above zero more.
    pub(super) volume: i16,
    /// Whether somebody watches standard error.
    pub(super) watched: bool,
    /// How wide text may be.
    pub(super) width: usize,
    /// The colours of data.
    pub(super) paint: Paint,
    /// The colours of talk.
    pub(super) talk_paint: Paint,
}

impl Screen {
    pub(super) fn new(typed: &Everleaf) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let paint = |terminal: bool| Paint {
            colour: match typed.color {
                Colour::Always => true,
                Colour::Never => false,
                Colour::Auto => terminal && !unwanted,
            },
        };
        let watched = std::io::stderr().is_terminal();
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let terminal = || terminal_size_of(std::io::stdout()).or_else(|| terminal_size_of(std::io::stderr()));
        Self {
            json: typed.json,
            log_json: typed.log_format == LogFormat::Json,
            volume: if typed.quiet { -1 } else { i16::from(typed.verbose) },
            watched,
            width: columns.or_else(|| terminal().map(|(Width(columns), _)| usize::from(columns))).unwrap_or(WIDTH),
            paint: paint(std::io::stdout().is_terminal()),
            talk_paint: paint(watched),
        }
    }

    /// Writes data.
    #[expect(clippy::unused_self, reason = "what may be written where is the screen's business")]
    pub(super) fn data(self, text: &str) -> Result<(), Stop> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::new(Class::Retry, "output", "standard output", error.to_string()).into())
            }
            _ => Ok(()),
        }
    }

    /// Writes data as JSON.
    pub(super) fn json<T: Serialize>(self, data: &T) -> Result<(), Stop> {
        let text = serde_json::to_string_pretty(data);
        let text = text.map_err(|error| Failure::new(Class::Retry, "internal", "JSON", error.to_string()))?;
        self.data(&format!("{text}\n"))
    }

    /// Data as one line of JSON (JSON Lines), to be written later.
    #[expect(clippy::unused_self, reason = "how data is written is the screen's business")]
    pub(super) fn json_text<T: Serialize>(self, data: &T) -> Result<String, Stop> {
        let text = serde_json::to_string(data);
        let text = text.map_err(|error| Failure::new(Class::Retry, "internal", "JSON", error.to_string()))?;
        Ok(format!("{text}\n"))
    }

    /// Says something. Nobody listening is no failure.
    #[expect(clippy::unused_self, reason = "what may be said where is the screen's business")]
    pub(super) fn say(self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Says what only somebody who watches, or who asked for more, wants to know.
    pub(super) fn chat(self, text: &str) {
        if self.volume > 0 || (self.volume == 0 && self.watched) {
            self.say(text);
        }
    }
}
