//! `status`: every certificate on one line, and below it what stands in the way.

use super::page::{Page, Paint, ago, columns, cut};
use super::status::{CertificateStatus, EndpointStatus, NextStatus, Said, Snapshot};
use super::summary::failure_lines;
use crate::core::outcome::Stage;
use crate::types::{CertName, Timestamp, humane};

/// The widest column of names: what is longer is cut, `status --json` has it whole.
const NAMES: usize = 24;
/// Troubles told of one certificate in the overview; `why` tells all.
const TROUBLES: usize = 2;

/// The overview of `names`, or of all certificates when there are none.
#[must_use]
pub fn table(snapshot: &Snapshot, names: &[CertName], now: Timestamp, width: usize, paint: Paint) -> String {
    let chosen = |it: &&CertificateStatus| names.is_empty() || names.contains(&it.name);
    let rows: Vec<&CertificateStatus> = snapshot.certificates.iter().filter(chosen).collect();
    let mut page = Page::new(width, paint);
    if rows.is_empty() {
        page.line("no certificates are configured");
    } else {
        grid(&mut page, &rows, now);
    }
    let troubled: Vec<_> = rows.iter().filter(|it| !it.troubles.is_empty()).collect();
    for certificate in troubled {
        page.gap();
        page.line(&page.paint.head(&certificate.name.to_string()));
        for failure in certificate.troubles.iter().take(TROUBLES) {
            failure_lines(&mut page, "  ", failure, false);
        }
        let more = certificate.troubles.len().saturating_sub(TROUBLES);
        let more = if more > 0 { format!("{more} more; ") } else { String::new() };
        page.line(&format!("  {more}the whole story: everleaf why {}", certificate.name));
    }
    page.gap();
    let line = last_run(snapshot, now);
    page.line(&page.paint.faint(&line));
    page.finish()
}

fn grid(page: &mut Page, rows: &[&CertificateStatus], now: Timestamp) {
    let cells: Vec<[String; 5]> = rows.iter().map(|row| cells(row, now)).collect();
    let head = ["NAME", "STATE", "SERVED", "ENDS IN", "NEXT"].map(str::to_owned);
    let wide = |column: usize| {
        let all = cells.iter().chain([&head]).map(|row| columns(&row[column]));
        all.max().unwrap_or(0)
    };
    let widths = [wide(0).min(NAMES), wide(1), wide(2), wide(3)];
    let taken: usize = widths.iter().map(|width| width + 2).sum();
    let rest = page.width().saturating_sub(taken).max(8);
    let line = |row: &[String; 5]| {
        let mut parts: Vec<String> = Vec::with_capacity(5);
        for (cell, width) in row.iter().zip(widths) {
            parts.push(format!("{:<width$}", cut(cell, width)));
        }
        parts.push(cut(&row[4], rest));
        parts
    };
    let heading = line(&head).join("  ");
    page.line(&page.paint.head(&heading));
    for (row, cells) in rows.iter().zip(&cells) {
        let mut parts = line(cells);
        parts[1] = painted(page.paint, row, &parts[1]);
        page.line(&parts.join("  "));
    }
}

fn cells(row: &CertificateStatus, now: Timestamp) -> [String; 5] {
    let ends = row.served.map_or_else(|| "-".to_owned(), |validity| ends(validity.end, now));
    [row.name.to_string(), state(row), served(row), ends, next(row, now)]
}

/// The stage, and in words what a colour would say.
pub(super) fn state(row: &CertificateStatus) -> String {
    let stage = row.stage.to_string();
    match row.outcome {
        Said::Danger => format!("{stage}, in danger"),
        Said::Operator => format!("{stage}, stuck"),
        Said::CaLimit | Said::Temporary if row.stage == Stage::Live => format!("{stage}, waits"),
        _ => stage,
    }
}

/// `text` in the colour of the certificate's state.
pub(super) fn painted(paint: Paint, row: &CertificateStatus, text: &str) -> String {
    match row.outcome {
        Said::Danger | Said::Operator => paint.bad(text),
        Said::DeployIncomplete | Said::CaLimit | Said::Temporary => paint.warn(text),
        Said::Retired => paint.faint(text),
        Said::NothingDue | Said::Live | Said::Installed => paint.good(text),
    }
}

/// On how many of the endpoints it is served, or on how many nodes it lies when nothing proves it.
fn served(row: &CertificateStatus) -> String {
    if row.unproven || row.endpoints.is_empty() {
        let settled = row.nodes.iter().filter(|node| node.settled(!row.unproven)).count();
        return if row.nodes.is_empty() { "-".to_owned() } else { format!("{settled}/{} nodes", row.nodes.len()) };
    }
    let live = row.endpoints.iter().filter(|endpoint| EndpointStatus::live(endpoint)).count();
    format!("{live}/{}", row.endpoints.len())
}

fn ends(end: Timestamp, now: Timestamp) -> String {
    if end <= now { "ENDED".to_owned() } else { humane(end.since(now)) }
}

fn next(row: &CertificateStatus, now: Timestamp) -> String {
    let soon = |next: &NextStatus| if next.at <= now { "now".to_owned() } else { humane(next.at.since(now)) };
    match (&row.order, &row.next, &row.renewal) {
        (Some(order), ..) => format!("order {}", order.phase),
        (_, Some(next), _) if next.held => format!("tried again in {}", soon(next)),
        (_, _, Some(renewal)) => format!("renewed in {}", soon(renewal)),
        (_, Some(next), _) => format!("looked at in {}", soon(next)),
        _ => "-".to_owned(),
    }
}

fn last_run(snapshot: &Snapshot, now: Timestamp) -> String {
    match &snapshot.run {
        None => format!("no run has completed yet; written {}", ago(snapshot.written, now)),
        Some(run) => {
            let every = humane(std::time::Duration::from_secs(run.interval));
            format!("last run {}, exit {}; one is expected every {every}", ago(run.ended, now), run.exit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::samples;
    use super::*;

    #[test]
    fn the_overview_fits_80_columns_and_names_what_stands_in_the_way() {
        let snapshot = samples::snapshot();
        let text = table(&snapshot, &[], samples::now(), 80, Paint { colour: false });
        assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
        let expected = "\
NAME  STATE       SERVED  ENDS IN  NEXT
api   confirming  1/2     80d      tried again in 10m
shop  live        2/2     80d      renewed in 50d
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("10.0.0.2:443 (api.example.com): still serves serial 00ab"), "{text}");
        assert!(text.contains("everleaf why api") && !text.contains("everleaf why shop"), "{text}");
        assert!(text.ends_with("last run 5m ago, exit 20; one is expected every 1h\n"), "{text}");
    }

    #[test]
    fn only_what_was_asked_for() {
        let text =
            table(&samples::snapshot(), &["shop".parse().expect("name")], samples::now(), 80, Paint { colour: false });
        assert!(text.contains("shop") && !text.contains("api"), "{text}");
    }

    #[test]
    fn colours_add_nothing_but_colours() {
        let snapshot = samples::snapshot();
        let plain = table(&snapshot, &[], samples::now(), 80, Paint { colour: false });
        let mut coloured = table(&snapshot, &[], samples::now(), 80, Paint { colour: true });
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[1;31m"] {
            coloured = coloured.replace(code, "");
        }
        // Colour codes stand around padding, which a plain line sheds at its end.
        let trimmed: Vec<&str> = coloured.lines().map(str::trim_end).collect();
        assert_eq!(trimmed, plain.lines().collect::<Vec<_>>());
    }
}
