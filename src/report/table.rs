//! `status`: every certificate on one line, and below it what stands in the way.

use super::causes::{Cause, causes, names_of};
use super::grid::grid;
use super::page::{Page, Paint, ago, columns, cut};
use super::status::{CertificateStatus, EndpointStatus, NextStatus, Said, Snapshot};
use super::summary::failure_lines;
use crate::core::outcome::Stage;
use crate::types::{CertName, Failure, Printable, Timestamp, humane};

/// The widest column of names: what is longer is cut, `status --json` has it whole.
const NAMES: usize = 24;
/// Causes told of the same certificates in the overview; `why` tells all.
const CAUSES: usize = 4;
/// The lines that a hook printed last, shown of each failure.
const PRINTED: usize = 3;
/// More certificates than this, and those that are well are counted.
const EACH: usize = 20;

/// The overview of `names`, or of all certificates when there are none. `whole` shows each certificate and node that is well,
/// too, however many there are.
#[must_use]
pub fn table(
    snapshot: &Snapshot,
    names: &[CertName],
    now: Timestamp,
    width: usize,
    paint: Paint,
    whole: bool,
) -> String {
    let chosen = |it: &&CertificateStatus| names.is_empty() || names.contains(&it.name);
    let rows: Vec<&CertificateStatus> = snapshot.certificates.iter().filter(chosen).collect();
    let mut page = Page::new(width, paint);
    if rows.is_empty() {
        page.line("no certificates are configured");
    } else {
        certificates(&mut page, &rows, now, whole || !names.is_empty());
    }
    grid(&mut page, &rows, now, whole);
    let troubles = rows.iter().flat_map(|it| it.troubles.iter().map(move |failure| (*it, failure)));
    told(&mut page, &causes(troubles));
    page.gap();
    let line = last_run(snapshot, now);
    page.line(&page.paint.faint(&line));
    page.finish()
}

/// What stands in the way, each cause once, those of the same certificates together.
fn told(page: &mut Page, causes: &[Cause<'_>]) {
    let mut groups: Vec<(&[&CertName], Vec<&Failure>)> = Vec::new();
    for cause in causes {
        match groups.iter_mut().find(|(names, _)| *names == cause.names) {
            Some((_, failures)) => failures.push(cause.failure),
            None => groups.push((&cause.names, vec![cause.failure])),
        }
    }
    for (names, failures) in groups {
        page.gap();
        page.line(&page.paint.head(&names_of(names)));
        for failure in failures.iter().take(CAUSES) {
            failure_lines(page, "  ", failure, false);
            printed(page, failure);
        }
        let more = failures.len().saturating_sub(CAUSES);
        let more = if more > 0 { format!("{more} more; ") } else { String::new() };
        if let Some(first) = names.first() {
            page.line(&format!("  {more}the whole story: everleaf why {first}"));
        }
    }
}

/// What a hook printed last, but for the line that the message ends with.
fn printed(page: &mut Page, failure: &Failure) {
    if !failure.code.starts_with("hook:") {
        return;
    }
    let lines: Vec<&str> = failure.details.iter().map(Printable::as_str).collect();
    for line in &lines[lines.len().saturating_sub(PRINTED)..] {
        if !failure.message.as_str().ends_with(line) {
            let line = cut(&format!("    | {line}"), page.width());
            page.line(&line);
        }
    }
}

/// The certificates, one a row; of many, those that are well are counted, and those that are amiss in one manner share a row.
fn certificates(page: &mut Page, rows: &[&CertificateStatus], now: Timestamp, whole: bool) {
    if whole || rows.len() <= EACH {
        return listed(page, rows.iter().map(|row| (row.name.to_string(), *row)).collect(), now);
    }
    let (well, amiss): (Vec<&CertificateStatus>, Vec<&CertificateStatus>) =
        rows.iter().copied().partition(|it| it.exit == 0 && it.troubles.is_empty());
    let mut alike: Vec<([String; 4], Vec<&CertificateStatus>)> = Vec::new();
    for row in amiss {
        let cells = cells(row, now);
        match alike.iter_mut().find(|(known, _)| *known == cells) {
            Some((_, rows)) => rows.push(row),
            None => alike.push((cells, vec![row])),
        }
    }
    if !alike.is_empty() {
        let names = |rows: &[&CertificateStatus]| names_of(&rows.iter().map(|it| &it.name).collect::<Vec<_>>());
        listed(page, alike.iter().filter_map(|(_, rows)| Some((names(rows), *rows.first()?))).collect(), now);
        page.gap();
    }
    if well.is_empty() {
        return;
    }
    let first = well.iter().filter_map(|it| it.served).map(|validity| validity.end).min();
    let first = first.map_or_else(String::new, |end| format!("; the first ends in {}", ends(end, now)));
    let count = format!("{} certificates are well", well.len());
    page.line(&format!("{}{first}. All: everleaf status -v", page.paint.good(&count)));
}

fn listed(page: &mut Page, rows: Vec<(String, &CertificateStatus)>, now: Timestamp) {
    let cells = rows.into_iter().map(|(name, row)| {
        let [state, served, ends, next] = cells(row, now);
        ([name, state, served, ends, next], row)
    });
    let cells: Vec<([String; 5], &CertificateStatus)> = cells.collect();
    let head = ["NAME", "STATE", "SERVED", "ENDS IN", "NEXT"].map(str::to_owned);
    let wide = |column: usize| {
        let all = cells.iter().map(|(row, _)| row).chain([&head]).map(|row| columns(&row[column]));
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
    for (cells, row) in &cells {
        let mut parts = line(cells);
        parts[1] = painted(page.paint, row, &parts[1]);
        page.line(&parts.join("  "));
    }
}

fn cells(row: &CertificateStatus, now: Timestamp) -> [String; 4] {
    let ends = row.served.map_or_else(|| "-".to_owned(), |validity| ends(validity.end, now));
    [state(row), served(row), ends, next(row, now)]
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
    let soon = |next: &NextStatus| {
        if next.at <= now { "now".to_owned() } else { format!("in {}", humane(next.at.since(now))) }
    };
    match (&row.order, &row.next, &row.renewal) {
        (Some(order), ..) => format!("order {}", order.phase),
        (_, Some(next), _) if next.held => format!("tried again {}", soon(next)),
        (_, _, Some(renewal)) => format!("renewed {}", soon(renewal)),
        (_, Some(next), _) => format!("looked at {}", soon(next)),
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
        let text = table(&snapshot, &[], samples::now(), 80, Paint { colour: false }, false);
        assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
        let expected = "\
NAME  STATE       SERVED  ENDS IN  NEXT
api   confirming  1/2     80d      tried again in 10m
shop  live        2/2     80d      renewed in 50d

NODE   ENDPOINT      SERVES                   LAST SEEN
edge2  10.0.0.2:443  1 serial 00ab34, 1 live  5m ago
edge1  10.0.0.1:443  2 live                   5m ago

api
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("10.0.0.2:443 (api.example.com): still serves serial 00ab"), "{text}");
        assert!(text.contains("everleaf why api") && !text.contains("everleaf why shop"), "{text}");
        assert!(text.ends_with("last run 5m ago, exit 20; one is expected every 1h\n"), "{text}");
    }

    #[test]
    fn two_hundred_certificates_are_those_that_are_amiss_and_a_number() {
        let mut snapshot = samples::snapshot();
        let named = |name: String, mut it: CertificateStatus| {
            it.name = name.parse().expect("a name");
            it
        };
        let well = (0..150).map(|number| named(format!("shop{number}"), samples::live("shop")));
        let amiss = (0..50).map(|number| named(format!("api{number:02}"), samples::lagging()));
        snapshot.certificates = amiss.chain(well).collect();
        let text = table(&snapshot, &[], samples::now(), 80, Paint { colour: false }, false);
        let expected = "\
NAME       STATE       SERVED  ENDS IN  NEXT
api00..49  confirming  1/2     80d      tried again in 10m

150 certificates are well; the first ends in 80d. All: everleaf status -v

NODE   ENDPOINT      SERVES                      LAST SEEN
edge2  10.0.0.2:443  50 serial 00ab34, 150 live  5m ago
edge1  10.0.0.1:443  200 live                    5m ago

api00..49
  10.0.0.2:443 (api.example.com): still serves serial 00ab34, not 04ab12
    do: look at the reload command of edge2
  the whole story: everleaf why api00

last run 5m ago, exit 20; one is expected every 1h
";
        assert_eq!(text, expected);
        let all = table(&snapshot, &[], samples::now(), 80, Paint { colour: false }, true);
        assert!(all.lines().count() > 200, "{all}");
    }

    #[test]
    fn only_what_was_asked_for() {
        let text = table(
            &samples::snapshot(),
            &["shop".parse().expect("name")],
            samples::now(),
            80,
            Paint { colour: false },
            false,
        );
        assert!(text.contains("shop") && !text.contains("api"), "{text}");
    }

    #[test]
    fn colours_add_nothing_but_colours() {
        let snapshot = samples::snapshot();
        let plain = table(&snapshot, &[], samples::now(), 80, Paint { colour: false }, false);
        let mut coloured = table(&snapshot, &[], samples::now(), 80, Paint { colour: true }, false);
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[1;31m"] {
            coloured = coloured.replace(code, "");
        }
        // Colour codes stand around padding, which a plain line sheds at its end.
        let trimmed: Vec<&str> = coloured.lines().map(str::trim_end).collect();
        assert_eq!(trimmed, plain.lines().collect::<Vec<_>>());
    }
}
