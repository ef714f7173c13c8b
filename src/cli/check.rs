//! `check`: for Nagios and its descendants.

use super::Stop;
use super::args::Check;
use super::context::Context;
use crate::report::{self, Checked, Level};
use crate::wire::now;
use serde::Serialize;
use std::time::Duration;

/// How often runs come when nobody says.
const DAY: Duration = Duration::from_secs(86_400);
/// Longer than any kernel has been up, in seconds.
const MAX_UPTIME: f64 = 1e10;

/// What `check` says. Schema `everleaf.check/1`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: &'static str,
    level: Level,
    summary: &'a str,
    lines: Vec<Line<'a>>,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    level: Level,
    text: &'a str,
}

/// Answers in the plugins' terms, also when it cannot look.
pub(super) fn check(context: &Context, typed: &Check) -> Result<u8, Stop> {
    let said = match context.snapshot() {
        Ok(Some(snapshot)) => report::check(&snapshot, typed.warning, typed.critical, now()),
        Ok(None) => report::unknown(uptime(), context.whereabouts().every.unwrap_or(DAY)),
        Err(Stop::Failed(failure)) => Checked {
            level: Level::Unknown,
            summary: report::failure("", &failure, None),
            perfdata: String::new(),
            lines: Vec::new(),
        },
        Err(other) => return Err(other),
    };
    if context.screen.json {
        let lines = said.lines.iter().map(|(level, text)| Line { level: *level, text }).collect();
        let document = Document { schema: "everleaf.check/1", level: said.level, summary: &said.summary, lines };
        context.screen.json(&document)?;
    } else {
        context.screen.data(&format!("{said}\n"))?;
    }
    Ok(said.level.exit_code())
}

/// How long the machine is up, when it says.
fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let secs: f64 = text.split_whitespace().next()?.parse().ok()?;
    (0.0..MAX_UPTIME).contains(&secs).then(|| Duration::from_secs_f64(secs))
}
