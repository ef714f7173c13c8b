//! Several addresses of one name in a grid: what each serves, until when, whether its chain is good, what it speaks.

use crate::cli::verdict::painted;
use crate::probe::Severity;
use crate::probe::checks::View;
use crate::report::{Page, ago, columns, cut, in_time};
use crate::types::{NodeName, Timestamp};

/// Addresses that are shown; more are counted.
const MOST: usize = 64;
/// Of a chain that no client refuses.
pub(super) const GOOD: &str = "good";
/// The columns' heads.
const HEADS: [&str; 5] = ["address", "serves", "until", "chain", "speaks"];

/// One address: what stands in each column, and whether it is fine.
pub(super) struct Row {
    pub(super) cells: [String; 5],
    pub(super) fine: bool,
}

/// One line an address.
pub(super) fn grid(page: &mut Page, all: &[Row]) {
    let rows = &all[..all.len().min(MOST)];
    let width =
        |at: usize| rows.iter().map(|row| columns(&row.cells[at])).chain([columns(HEADS[at])]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cut(padded.collect::<Vec<_>>().join("  ").trim_end(), page.width())
    };
    let head = line(&HEADS);
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let text = line(&row.cells.each_ref().map(String::as_str));
            if row.fine { text } else { painted(page.paint, Severity::Fail, &text) }
        })
        .collect();
    page.line(&page.paint.faint(&head));
    for line in lines {
        page.line(&line);
    }
    if all.len() > MOST {
        page.line(&format!("and {} more addresses", all.len() - MOST));
    }
}

/// What one address showed.
pub(super) fn row(view: &View<'_>, now: Timestamp) -> Row {
    let sight = view.sight;
    let address = address(&sight.address.to_string(), sight.node.as_ref().map(NodeName::as_str));
    let fine = view.is_fine();
    let Some(leaf) = view.leaf() else {
        let why = sight.telling().end.as_ref().err().map_or("", |trouble| trouble.label.as_str());
        return Row { cells: silent(address, why), fine };
    };
    let spoken = view.shaken().agreed.as_ref().map_or("", |agreed| agreed.version.as_str());
    let chain = view.presented.worst().map_or(GOOD, |label| label.as_str());
    let until = until(leaf.validity().end, now);
    Row { cells: [address, leaf.fingerprint().short(), until, chain.to_owned(), spoken.to_owned()], fine }
}

/// An address, and the node behind it.
pub(super) fn address(address: &str, node: Option<&str>) -> String {
    node.map_or_else(|| address.to_owned(), |node| format!("{address} {node}"))
}

/// One that showed no certificate.
pub(super) fn silent(address: String, why: &str) -> [String; 5] {
    [address, why.to_owned(), String::new(), String::new(), String::new()]
}

/// How long it lasts.
pub(super) fn until(ends: Timestamp, now: Timestamp) -> String {
    if ends > now { in_time(ends, now) } else { ago(ends, now) }
}
