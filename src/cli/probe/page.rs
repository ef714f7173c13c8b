//! One target for people.

use super::client;
use super::grid::{self, Row};
use crate::cli::screen::Screen;
use crate::cli::verdict::{self, Rung, Sheet};
use crate::probe::checks::{Case, Presented};
use crate::probe::{Severity, Verdict};
use crate::report::Page;
use crate::types::Timestamp;

/// Everything that a page shows of one target, wherever it was looked from.
pub(super) struct Shown {
    /// The verdict and the findings.
    pub(super) sheet: Sheet,
    /// The path that is drawn.
    pub(super) rungs: Vec<Rung>,
    /// What the CRLs came to, each once.
    pub(super) lists: Vec<String>,
    /// The client certificate and what became of it, where one was given.
    pub(super) client: Vec<String>,
    /// The addresses.
    pub(super) rows: Vec<Row>,
    /// The time that spans are told from.
    pub(super) at: Timestamp,
}

impl Shown {
    /// What was seen from here.
    pub(super) fn new(target: &str, verdict: &Verdict, case: &Case<'_>) -> Self {
        let rungs = drawn(case).map(|presented| verdict::rungs(&presented.judged.steps));
        let looked = case.views.iter().flat_map(|view| &view.looked);
        let lists = looked.map(|it| list(it.position + 1, it.url.as_str(), &it.outcome.to_string())).collect();
        let rows = case.views.iter().map(|view| grid::row(view, case.at)).collect();
        let (sheet, rungs) = (Sheet::new(target, verdict), rungs.unwrap_or_default());
        Self { sheet, rungs, lists, client: client::told(case), rows, at: case.at }
    }
}

/// What a CRL said of a certificate, which are counted from 1.
pub(super) fn list(certificate: usize, url: &str, outcome: &str) -> String {
    format!("certificate {certificate}, {url}: {outcome}")
}

/// The verdict line, the findings, the drawing of the chain, and the grid. Beside other targets, one that is well takes a line or two.
pub(super) fn page(screen: Screen, shown: &Shown, alone: bool) -> String {
    let mut page = Page::new(screen.width, screen.paint);
    if !alone && shown.sheet.severity < Severity::Warn {
        verdict::headline(&mut page, &shown.sheet);
        return page.finish();
    }
    verdict::opening(&mut page, &shown.sheet);
    page.gap();
    if !shown.rungs.is_empty() {
        verdict::drawing(&mut page, &shown.rungs, shown.at);
        page.gap();
    }
    lists(&mut page, shown.lists.clone());
    if let Some((who, fate)) = shown.client.split_first() {
        page.hang("client certificate ", who);
        for line in fate {
            page.hang("    ", line);
        }
        page.gap();
    }
    if shown.rows.len() > 1 {
        grid::grid(&mut page, &shown.rows);
    }
    format!("{}\n{}", page.finish().trim_end(), if alone { "" } else { "\n" })
}

/// The findings alone, where nothing was looked at.
pub(super) fn findings(screen: Screen, sheet: &Sheet, alone: bool) -> String {
    let mut page = Page::new(screen.width, screen.paint);
    verdict::opening(&mut page, sheet);
    format!("{}\n{}", page.finish().trim_end(), if alone { "" } else { "\n" })
}

/// The certificates that are drawn: of the first address that sent any, and such that fail before all others.
pub(super) fn drawn<'a>(case: &'a Case<'_>) -> Option<&'a Presented> {
    let shown = || case.views.iter().map(|view| view.presented.as_ref()).filter(|it| !it.judged.steps.is_empty());
    shown().find(|it| it.fails()).or_else(|| shown().next())
}

/// What the CRLs came to, where they were asked for; each once.
fn lists(page: &mut Page, mut lines: Vec<String>) {
    lines.sort();
    lines.dedup();
    for line in &lines {
        page.hang("CRL  ", line);
    }
    if !lines.is_empty() {
        page.gap();
    }
}
