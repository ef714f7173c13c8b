//! What is wrong with a configuration: collected without stopping, shown with its place.

use crate::types::is_deceptive;
use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Problems kept of one configuration. Nobody reads more, and a damaged file must not fill a log.
const MAX_PROBLEMS: usize = 200;

/// A stretch of one file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct At {
    /// Which of the files.
    pub(super) file: usize,
    /// The first byte.
    pub(super) start: usize,
    /// The byte after the last.
    pub(super) end: usize,
}

/// One file that was read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// What it holds; secrets written into it are masked before anything is shown.
    pub(super) text: String,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Nothing is done before it is mended.
    Error,
    /// Probably not what was meant.
    Warning,
}

/// One thing that is wrong, and what to do about it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, one sentence without the place.
    pub message: String,
    /// The keys that lead there, such as `certificates[shop].names[1]`; empty for a whole file.
    pub key: String,
    /// What to write instead; empty when the message says it.
    pub help: String,
    label: String,
    at: Option<At>,
    file: Option<PathBuf>,
    also: Option<(At, String)>,
}

impl Problem {
    pub(super) fn error(at: At, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            key: String::new(),
            help: String::new(),
            label: String::new(),
            at: Some(at),
            file: None,
            also: None,
        }
    }

    pub(super) fn warning(at: At, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(at, message) }
    }

    /// A problem with a file as a whole.
    pub(super) fn of_file(path: &Path, message: impl Into<String>) -> Self {
        let nowhere = At { file: 0, start: 0, end: 0 };
        Self { at: None, file: Some(path.to_owned()), ..Self::error(nowhere, message) }
    }

    /// A word or two beside the caret.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// A second place that has to do with it.
    pub(super) fn also(mut self, at: At, label: impl Into<String>) -> Self {
        self.also = Some((at, label.into()));
        self
    }
}

/// Where readers put what they find. Shared by reference, so that no reader has to hand problems upwards.
#[derive(Debug, Default)]
pub(super) struct Sink {
    problems: RefCell<Vec<Problem>>,
    /// Values under `defaults:` are read once a certificate; their problems are told once.
    told: RefCell<HashSet<(Option<At>, String)>>,
    /// Values that are read for several nodes, with other words in them each time.
    repeated: RefCell<HashSet<At>>,
    secrets: RefCell<Vec<At>>,
}

impl Sink {
    pub(super) fn push(&self, problem: Problem) {
        let repeated = problem.at.is_some_and(|at| self.repeated.borrow().contains(&at));
        let words = if repeated { String::new() } else { problem.message.clone() };
        if !self.is_full() && self.told.borrow_mut().insert((problem.at, words)) {
            self.problems.borrow_mut().push(problem);
        }
    }

    /// Notes a value that is read for several nodes: one problem of it is told, of the first.
    pub(super) fn repeats(&self, at: At) {
        self.repeated.borrow_mut().insert(at);
    }

    /// Whether nothing more would be kept.
    pub(super) fn is_full(&self) -> bool {
        self.problems.borrow().len() >= MAX_PROBLEMS
    }

    /// Whether anything was found that must be mended.
    pub(super) fn has_errors(&self) -> bool {
        self.problems.borrow().iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Marks a stretch that must not be shown.
    pub(super) fn mask(&self, at: At) {
        self.secrets.borrow_mut().push(at);
    }

    pub(super) fn into_report(self, mut sources: Vec<Source>, key_of: impl Fn(At) -> String) -> Report {
        for secret in self.secrets.into_inner() {
            if let Some(source) = sources.get_mut(secret.file) {
                mask(&mut source.text, secret.start..secret.end);
            }
        }
        let mut problems = self.problems.into_inner();
        for problem in &mut problems {
            if let Some(at) = problem.at {
                problem.key = key_of(at);
            }
        }
        problems.sort_by_key(|problem| problem.at.map(|at| (at.file, at.start)));
        Report { sources, problems }
    }
}

/// Overwrites a stretch with asterisks of the same length, so that every other place stays where it is.
fn mask(text: &mut String, range: Range<usize>) {
    let masked: String = match text.get(range.clone()) {
        Some(secret) => secret.bytes().map(|byte| if byte == b'\n' { '\n' } else { '*' }).collect(),
        None => return,
    };
    text.replace_range(range, &masked);
}

/// Everything that was found, in the order of the files.
#[derive(Debug, Clone, Default)]
pub struct Report {
    sources: Vec<Source>,
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn of_files(problems: Vec<Problem>) -> Self {
        Self { sources: Vec::new(), problems }
    }

    /// The problems, by file and place.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// File, line and column of a problem, the latter two from 1 and 0 for a whole file.
    #[must_use]
    pub fn place(&self, problem: &Problem) -> (PathBuf, usize, usize) {
        let Some((at, source)) = problem.at.and_then(|at| Some((at, self.sources.get(at.file)?))) else {
            return (problem.file.clone().unwrap_or_default(), 0, 0);
        };
        let before = source.text.get(..at.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (source.path.clone(), line, column)
    }

    /// The whole report for people, with snippets and carets; with colours for a terminal that wants them.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let shown: Vec<String> = self.problems.iter().map(|problem| self.render_one(&renderer, problem)).collect();
        harmless(&shown.join("\n\n"))
    }

    fn render_one(&self, renderer: &Renderer, problem: &Problem) -> String {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = match problem.key.as_str() {
            "" => problem.message.clone(),
            key => format!("{key}: {}", problem.message),
        };
        let mut group = level.primary_title(title).elements(None::<Origin<'_>>);
        match problem.at.and_then(|at| Some((at, self.sources.get(at.file)?))) {
            Some((at, source)) => {
                let inline = problem.also.as_ref().filter(|(other, _)| other.file == at.file);
                group = group.element(snippet(source, at, &problem.label, inline));
                if let Some((other, label)) = problem.also.as_ref().filter(|(other, _)| other.file != at.file)
                    && let Some(source) = self.sources.get(other.file)
                {
                    group = group.element(snippet(source, *other, label, None));
                }
            }
            None => {
                if let Some(file) = &problem.file {
                    group = group.element(Origin::path(file.display().to_string()));
                }
            }
        }
        if !problem.help.is_empty() {
            group = group.element(Level::HELP.message(problem.help.as_str()));
        }
        renderer.render(&[group])
    }
}

fn snippet<'a>(
    source: &'a Source,
    at: At,
    label: &'a str,
    also: Option<&'a (At, String)>,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let spans = [Some(at), also.map(|(other, _)| *other)].map(|at| at.map(|at| first_line(&source.text, at)));
    let from = spans.iter().flatten().map(|span| span.start).min().unwrap_or(0);
    let to = spans.iter().flatten().map(|span| span.end).max().unwrap_or(0);
    let start = source.text[..from].rfind('\n').map_or(0, |line| line + 1);
    let end = source.text[to..].find('\n').map_or(source.text.len(), |line| to + line);
    let relative = |span: &Range<usize>| span.start - start..span.end - start;
    let [here, there] = &spans;
    let primary = here.as_ref().map(|span| {
        let mark = AnnotationKind::Primary.span(relative(span));
        if label.is_empty() { mark } else { mark.label(label) }
    });
    let context =
        there.as_ref().zip(also).map(|(span, (_, label))| AnnotationKind::Context.span(relative(span)).label(label));
    Snippet::source(&source.text[start..end])
        .line_start(source.text[..start].matches('\n').count() + 1)
        .path(source.path.display().to_string())
        .annotations(primary)
        .annotations(context)
}

/// `page` without what a terminal obeys: the renderer makes the C0 controls of a file visible, but not what came after ASCII.
fn harmless(page: &str) -> String {
    let kept = |c: char| matches!(c, '\n' | '\u{1b}') || !(c.is_control() || is_deceptive(c));
    page.chars().map(|c| if kept(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// The part of a stretch on its first line, on character boundaries: a caret under forty lines says nothing.
fn first_line(text: &str, at: At) -> Range<usize> {
    let start = boundary(text, at.start);
    let rest = &text[start..];
    let line = rest.find(['\n', '\r']).map_or(text.len(), |line| start + line);
    let end = boundary(text, at.end.min(line)).max(start);
    start..end
}

/// The last character boundary at or before `byte`.
pub(super) fn boundary(text: &str, byte: usize) -> usize {
    (0..=byte.min(text.len())).rev().find(|byte| text.is_char_boundary(*byte)).unwrap_or(0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// A configuration that cannot be used: at least one error, and whatever else was found.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ConfigErrors(pub Report);

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, problem: Problem, secret: Option<At>) -> String {
        let sink = Sink::default();
        sink.push(problem);
        if let Some(at) = secret {
            sink.mask(at);
        }
        let sources = vec![Source { path: "/etc/a.yaml".into(), text: text.into() }];
        sink.into_report(sources, |_| "k".into()).to_string()
    }

    #[test]
    fn a_secret_is_masked_and_nothing_moves() {
        let text = "kid: x\nhmac: hünter2 # no\n";
        let at = At { file: 0, start: 13, end: 21 };
        let shown = report(text, Problem::error(at, "a secret is written here"), Some(at));
        assert!(!shown.contains("nter2") && shown.contains("hmac: ******** # no"), "{shown}");
        assert!(shown.contains("/etc/a.yaml:2:7"), "{shown}");
    }

    #[test]
    fn a_place_outside_the_text_is_shown_without_a_panic() {
        for (start, end) in [(0, 0), (5, 99), (99, 3), (3, 2), (1, 2)] {
            let shown = report("ä\nb", Problem::error(At { file: 0, start, end }, "m"), None);
            assert!(shown.contains("k: m"), "{shown}");
        }
    }

    #[test]
    fn the_same_problem_is_told_once() {
        let sink = Sink::default();
        for _ in 0..3 {
            sink.push(Problem::error(At { file: 0, start: 0, end: 1 }, "m"));
        }
        assert_eq!(sink.into_report(Vec::new(), |_| String::new()).problems().len(), 1);
    }
}
