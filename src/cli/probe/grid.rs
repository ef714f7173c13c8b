//! Several addresses of one name in a grid: what each serves, until when, whether its chain is good, what it speaks.

use crate::cli::verdict::painted;
use crate::probe::Severity;
use crate::probe::checks::{Case, View};
use crate::report::{Page, ago, columns, cut, in_time};
use crate::types::Timestamp;

/// Addresses that are shown; more are counted.
const MOST: usize = 64;
/// The columns' heads.
const HEADS: [&str; 5] = ["address", "serves", "until", "chain", "speaks"];

/// One line an address.
pub(super) fn grid(page: &mut Page, case: &Case<'_>) {
    let now = case.at;
    let rows: Vec<([String; 5], bool)> =
        case.views.iter().take(MOST).map(|view| (row(view, now), view.is_fine())).collect();
    let width =
        |at: usize| rows.iter().map(|(row, _)| columns(&row[at])).chain([columns(HEADS[at])]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cut(padded.collect::<Vec<_>>().join("  ").trim_end(), page.width())
    };
    let head = line(&HEADS);
    let lines: Vec<String> = rows
        .iter()
        .map(|(row, fine)| {
            let text = line(&row.each_ref().map(String::as_str));
            if *fine { text } else { painted(page.paint, Severity::Fail, &text) }
        })
        .collect();
    page.line(&page.paint.faint(&head));
    for line in lines {
        page.line(&line);
    }
    if case.views.len() > MOST {
        page.line(&format!("and {} more addresses", case.views.len() - MOST));
    }
}

fn row(view: &View<'_>, now: Timestamp) -> [String; 5] {
    let sight = view.sight;
    let node = sight.node.as_ref().map_or_else(String::new, |node| format!(" {node}"));
    let address = format!("{}{node}", sight.address);
    let Some(leaf) = view.leaf() else {
        let why = sight.telling().end.as_ref().err().map_or("", |trouble| trouble.label.as_str());
        return [address, why.to_owned(), String::new(), String::new(), String::new()];
    };
    let ends = leaf.validity().end;
    let until = if ends > now { in_time(ends, now) } else { ago(ends, now) };
    let worst = view.presented.judged.findings.iter().filter(|it| it.label.severity() == Severity::Fail);
    let chain = worst.map(|it| it.label).min().map_or("good", |label| label.as_str());
    let spoken = sight.telling().agreed.as_ref().map_or("", |agreed| agreed.version.as_str());
    [address, leaf.fingerprint().short(), until, chain.to_owned(), spoken.to_owned()]
}
