//! Nodes and what each of their endpoints serves: those that are not as they should be first, the others counted.

use super::page::{Page, ago, columns, cut};
use super::status::{CertificateStatus, EndpointStatus, MilestoneStatus, NodeStatus};
use crate::ports::Shown;
use crate::types::{NodeName, Timestamp, runs};
use std::collections::BTreeMap;

/// Up to so many nodes, each has its row, well or not.
const EACH: usize = 8;
/// The widest a node's name and an endpoint are shown.
const NODE: usize = 20;
const PLACE: usize = 32;
/// How much of a serial number is shown: enough to tell two apart.
const SERIAL: usize = 8;

/// One endpoint of a node, for all the certificates it serves.
#[derive(Debug, Default)]
struct Row {
    /// How many certificates it serves how, the words in the order of [`Word`].
    words: BTreeMap<Word, usize>,
    /// When it was last seen.
    seen: Option<Timestamp>,
}

/// What one endpoint has of one certificate; the worst first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Unreachable,
    FailsHandshake,
    BrokenChain,
    /// With the serial number seen.
    Old(String),
    Before,
    NotPublished,
    NotReloaded,
    NotLooked,
    /// Its turn in the roll-out has not come.
    Waiting,
    NotProven,
    Live,
}

impl Word {
    fn text(&self) -> String {
        match self {
            Self::Unreachable => "unreachable".to_owned(),
            Self::FailsHandshake => "fails its handshake".to_owned(),
            Self::BrokenChain => "broken chain".to_owned(),
            Self::Old(serial) => format!("serial {serial}"),
            Self::Before => "the one before".to_owned(),
            Self::NotPublished => "not published".to_owned(),
            Self::NotReloaded => "not reloaded".to_owned(),
            Self::NotLooked => "not looked at".to_owned(),
            Self::Waiting => "waiting its turn".to_owned(),
            Self::NotProven => "not proven".to_owned(),
            Self::Live => "live".to_owned(),
        }
    }
}

/// Adds the grid of `rows`, unless none of them is on several nodes. `whole` shows every node.
pub(super) fn grid(page: &mut Page, rows: &[&CertificateStatus], now: Timestamp, whole: bool) {
    if rows.iter().all(|it| it.nodes.len() < 2) {
        return;
    }
    let nodes = gathered(rows);
    let well = |rows: &BTreeMap<String, Row>| rows.values().all(|row| row.words.keys().all(|word| *word == Word::Live));
    let (good, bad): (Vec<_>, Vec<_>) = nodes.iter().partition(|(_, rows)| well(rows));
    let shown: Vec<_> =
        if whole || nodes.len() <= EACH { bad.iter().chain(&good).collect() } else { bad.iter().collect() };
    if nodes.is_empty() {
        return;
    }
    page.gap();
    if !shown.is_empty() {
        table(page, &shown, now);
    }
    if shown.len() < nodes.len() {
        let names: Vec<&NodeName> = good.iter().map(|(name, _)| **name).collect();
        let count = format!("{} nodes live: ", names.len());
        let line = cut(&runs(&names), page.width().saturating_sub(columns(&count)));
        page.line(&format!("{}{line}", page.paint.good(&count)));
    }
}

/// What each node has at each of its endpoints.
fn gathered<'a>(rows: &[&'a CertificateStatus]) -> BTreeMap<&'a NodeName, BTreeMap<String, Row>> {
    let mut nodes: BTreeMap<&NodeName, BTreeMap<String, Row>> = BTreeMap::new();
    for certificate in rows {
        // Where nothing was issued yet, nothing is wanted of a node.
        for node in certificate.nodes.iter().filter(|node| node.wanted.is_some()) {
            let places = nodes.entry(&node.node).or_default();
            let mut watched = false;
            for endpoint in certificate.endpoints.iter().filter(|it| it.node.as_ref() == Some(&node.node)) {
                watched = true;
                let row = places.entry(place(endpoint)).or_default();
                *row.words.entry(word(certificate, node, endpoint)).or_default() += 1;
                row.seen = row.seen.max(endpoint.at);
            }
            if !watched {
                let row = places.entry("-".to_owned()).or_default();
                *row.words.entry(unwatched(certificate, node)).or_default() += 1;
                row.seen = row.seen.max(node.reloaded.as_ref().map(|at| at.at));
            }
        }
    }
    nodes
}

/// The address, without the name asked for.
fn place(endpoint: &EndpointStatus) -> String {
    let text = endpoint.endpoint.as_str();
    let written = text.split(' ').next().unwrap_or(text);
    endpoint.address.map_or_else(|| written.to_owned(), |address| address.to_string())
}

fn word(certificate: &CertificateStatus, node: &NodeStatus, endpoint: &EndpointStatus) -> Word {
    match &endpoint.shown {
        Some(Shown::Wanted) if endpoint.current => Word::Live,
        Some(Shown::Unreachable { .. }) => Word::Unreachable,
        Some(Shown::HandshakeFailed { .. }) => Word::FailsHandshake,
        Some(Shown::BrokenChain { .. }) => Word::BrokenChain,
        Some(Shown::Other { serial, .. }) => Word::Old(cut(&serial.to_string(), SERIAL)),
        _ if waits(certificate, node) => Word::Waiting,
        _ if node.failure.is_some() && !reached(node, node.deployed.as_ref()) => Word::NotPublished,
        _ if node.failure.is_some() && !reached(node, node.reloaded.as_ref()) => Word::NotReloaded,
        Some(Shown::Wanted) => Word::Before,
        Some(Shown::NotLooked { .. }) | None => Word::NotLooked,
    }
}

fn unwatched(certificate: &CertificateStatus, node: &NodeStatus) -> Word {
    match () {
        () if node.settled(!certificate.unproven) => Word::Live,
        () if waits(certificate, node) => Word::Waiting,
        () => Word::NotProven,
    }
}

/// Whether a node has not begun with what is wanted, and nothing failed there.
fn waits(certificate: &CertificateStatus, node: &NodeStatus) -> bool {
    !reached(node, node.deployed.as_ref())
        && node.failure.is_none()
        && certificate.nodes.iter().any(|it| it.node != node.node)
}

/// Whether what is wanted of a node has come so far there.
fn reached(node: &NodeStatus, milestone: Option<&MilestoneStatus>) -> bool {
    node.wanted.as_ref().is_none_or(|wanted| milestone.is_some_and(|at| at.epoch >= wanted.epoch))
}

fn table(page: &mut Page, nodes: &[&(&&NodeName, &BTreeMap<String, Row>)], now: Timestamp) {
    let mut lines: Vec<([String; 4], bool)> = Vec::new();
    for (name, places) in nodes {
        for (number, (place, row)) in places.iter().enumerate() {
            let name = if number == 0 { name.to_string() } else { String::new() };
            let seen = row.seen.map_or_else(|| "never".to_owned(), |at| ago(at, now));
            lines.push(([name, place.clone(), said(row), seen], row.words.keys().all(|word| *word == Word::Live)));
        }
    }
    let head = ["NODE", "ENDPOINT", "SERVES", "LAST SEEN"].map(str::to_owned);
    let wide =
        |column: usize| lines.iter().map(|(line, _)| line).chain([&head]).map(|line| columns(&line[column])).max();
    let (node, place, seen) = (wide(0).unwrap_or(0).min(NODE), wide(1).unwrap_or(0).min(PLACE), wide(3).unwrap_or(0));
    let serves = wide(2).unwrap_or(0).min(page.width().saturating_sub(node + place + seen + 6)).max(8);
    let line = |cells: &[String; 4], paint: &dyn Fn(&str) -> String| {
        let cell = |text: &str, width: usize| format!("{:<width$}", cut(text, width));
        let [a, b, c, d] = cells;
        format!("{}  {}  {}  {d}", cell(a, node), cell(b, place), paint(&cell(c, serves)))
    };
    let heading = line(&head, &|text| text.to_owned());
    page.line(&page.paint.head(&heading));
    for (cells, well) in &lines {
        let paint = page.paint;
        page.line(&line(cells, &|text| if *well { paint.good(text) } else { paint.warn(text) }));
    }
}

/// `live`, or how many certificates are served how.
fn said(row: &Row) -> String {
    let parts: Vec<(String, usize)> = match row.words.iter().filter(|(word, _)| matches!(word, Word::Old(_))).count() {
        // Each certificate has a serial number of its own.
        2.. => {
            let old = row.words.iter().filter(|(word, _)| matches!(word, Word::Old(_))).map(|(_, count)| count).sum();
            let rest = row.words.iter().filter(|(word, _)| !matches!(word, Word::Old(_)));
            [("other serials".to_owned(), old)]
                .into_iter()
                .chain(rest.map(|(word, count)| (word.text(), *count)))
                .collect()
        }
        _ => row.words.iter().map(|(word, count)| (word.text(), *count)).collect(),
    };
    match parts.as_slice() {
        [(only, _)] if row.words.values().sum::<usize>() == 1 => only.clone(),
        parts => parts.iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::Paint;
    use super::super::status::samples;
    use super::*;
    use crate::types::{Class, Failure};

    /// `shop` on fifty nodes, of which edge07 was not reached, edge08 serves the one before, edge09 refuses connections and edge50 has
    /// not begun.
    fn fleet() -> CertificateStatus {
        let mut shop = samples::live("shop");
        let (node, endpoint) = (shop.nodes[0].clone(), shop.endpoints[0].clone());
        let name = |number: u8| format!("edge{number:02}").parse().expect("a name");
        shop.nodes = (1..=50).map(|number| NodeStatus { node: name(number), ..node.clone() }).collect();
        shop.endpoints = (1..=50)
            .map(|number| EndpointStatus {
                node: Some(name(number)),
                endpoint: format!("10.0.0.{number}:443 (shop.example.com)").into(),
                address: format!("10.0.0.{number}:443").parse().ok(),
                ..endpoint.clone()
            })
            .collect();
        let failure = Failure::new(Class::Retry, "ssh:unreachable", "node edge07", "it cannot be reached");
        (shop.nodes[6].deployed, shop.nodes[6].failure) = (None, Some(failure.clone()));
        (shop.endpoints[6].shown, shop.endpoints[6].at) = (None, None);
        shop.endpoints[7].shown = samples::lagging().endpoints[1].shown.clone();
        shop.endpoints[8].shown = Some(Shown::Unreachable { failure });
        shop.nodes[49].deployed = None;
        shop.endpoints[49].current = false;
        shop
    }

    fn drawn(rows: &[&CertificateStatus], width: usize, whole: bool) -> String {
        let mut page = Page::new(width, Paint { colour: false });
        grid(&mut page, rows, samples::now(), whole);
        page.finish()
    }

    #[test]
    fn fifty_nodes_are_those_that_are_amiss_and_a_number() {
        let shop = fleet();
        let expected = "\
NODE    ENDPOINT       SERVES            LAST SEEN
edge07  10.0.0.7:443   not published     never
edge08  10.0.0.8:443   serial 00ab34     5m ago
edge09  10.0.0.9:443   unreachable       5m ago
edge50  10.0.0.50:443  waiting its turn  5m ago
46 nodes live: edge01..06, edge10..49
";
        assert_eq!(drawn(&[&shop], 80, false), expected);
        assert_eq!(drawn(&[&shop], 80, true).lines().count(), 51, "all of them when asked for");
        let two = drawn(&[&shop, &fleet()], 60, false);
        assert!(two.contains("edge08  10.0.0.8:443   2 serial 00ab34"), "{two}");
        assert!(two.lines().all(|line| columns(line) <= 60), "{two}");
    }

    #[test]
    fn one_machine_needs_no_grid() {
        let mut shop = samples::live("shop");
        shop.nodes.truncate(1);
        assert_eq!(drawn(&[&shop], 80, true), "");
        let mut unwatched = samples::live("shop");
        (unwatched.endpoints, unwatched.unproven) = (Vec::new(), true);
        let said = drawn(&[&unwatched], 80, false);
        assert!(said.contains("edge1  -         live") && said.contains("edge2"), "{said}");
    }
}
