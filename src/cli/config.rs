//! `config check`: everything that is wrong, at once.

use super::Stop;
use super::context::Context;
use crate::config::{self, ConfigErrors, Problem, Report, Severity};
use crate::report::CONFIG;
use serde::Serialize;

/// What `config check` says. Schema `everleaf.config/1`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: &'static str,
    usable: bool,
    certificates: usize,
    problems: Vec<Told<'a>>,
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    severity: &'static str,
    file: String,
    line: usize,
    column: usize,
    key: &'a str,
    message: &'a str,
    help: &'a str,
}

pub(super) fn check(context: &Context) -> Result<u8, Stop> {
    let (usable, certificates, report) = match config::load(&context.config) {
        Ok(loaded) => (true, loaded.spec.certificates.len(), loaded.warnings),
        Err(ConfigErrors(report)) => (false, 0, report),
    };
    let screen = context.screen;
    let exit = if usable { 0 } else { CONFIG };
    if screen.json {
        let problems = report.problems().iter().map(|problem| told(&report, problem)).collect();
        screen.json(&Document { schema: "everleaf.config/1", usable, certificates, problems })?;
        return Ok(exit);
    }
    if !report.is_empty() {
        screen.say(&report.render(screen.talk_paint.colour));
    }
    if usable && screen.volume >= 0 {
        let noun = if certificates == 1 { "certificate" } else { "certificates" };
        screen.data(&format!("{} can be used: {certificates} {noun}\n", context.config.display()))?;
    }
    Ok(exit)
}

fn told<'a>(report: &Report, problem: &'a Problem) -> Told<'a> {
    let (file, line, column) = report.place(problem);
    Told {
        severity: if problem.severity == Severity::Error { "error" } else { "warning" },
        file: file.display().to_string(),
        line,
        column,
        key: &problem.key,
        message: &problem.message,
        help: &problem.help,
    }
}
