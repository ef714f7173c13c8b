//! One target for people.

use super::grid;
use crate::cli::screen::Screen;
use crate::cli::verdict;
use crate::probe::checks::{Case, Presented};
use crate::probe::{Severity, Verdict};
use crate::report::Page;

/// The verdict line, the findings, the drawing of the chain, and the grid. Beside other targets, one that is well takes a line or two.
pub(super) fn page(screen: Screen, target: &str, verdict: &Verdict, case: &Case<'_>, alone: bool) -> String {
    let mut page = Page::new(screen.width, screen.paint);
    if !alone && verdict.severity() < Severity::Warn {
        verdict::headline(&mut page, target, verdict);
        return page.finish();
    }
    verdict::opening(&mut page, target, verdict);
    page.gap();
    if let Some(presented) = drawn(case) {
        verdict::drawing(&mut page, &presented.judged.steps, case.at);
        page.gap();
    }
    lists(&mut page, case);
    if case.views.len() > 1 {
        grid::grid(&mut page, case);
    }
    format!("{}\n{}", page.finish().trim_end(), if alone { "" } else { "\n" })
}

/// The certificates that are drawn: of the first address that sent any, and such that fail before all others.
pub(super) fn drawn<'a>(case: &'a Case<'_>) -> Option<&'a Presented> {
    let shown = || case.views.iter().map(|view| view.presented.as_ref()).filter(|it| !it.judged.steps.is_empty());
    shown().find(|it| it.fails()).or_else(|| shown().next())
}

/// What the CRLs came to, where they were asked for; each once.
fn lists(page: &mut Page, case: &Case<'_>) {
    let looked = case.views.iter().flat_map(|view| &view.looked);
    let mut lines: Vec<String> =
        looked.map(|it| format!("certificate {}, {}: {}", it.position + 1, it.url, it.outcome)).collect();
    lines.sort();
    lines.dedup();
    for line in &lines {
        page.hang("CRL  ", line);
    }
    if !lines.is_empty() {
        page.gap();
    }
}
