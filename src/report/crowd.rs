//! Many certificates at once: how many stand how, and each cause of trouble once, as it is met.

use super::causes::common;
use super::line::{failed, failure_of};
use super::page::cut;
use crate::core::Event;
use crate::types::{CertName, humane};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Causes shown below the counts, those that most certificates met first.
const SHOWN: usize = 5;
/// Causes told of as they are met; the summary has all.
const TOLD: usize = 100;
/// So many have to be issued before their pace says anything.
const PACE: u64 = 3;

/// How far a certificate has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ordered,
    RollingOut,
    Live,
    Failed,
}

/// Certificates that are worked on together.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// How many were asked for; `None` where only some are due.
    all: Option<usize>,
    stages: BTreeMap<CertName, Stage>,
    issued: usize,
    causes: HashMap<String, usize>,
    /// What was met, and by whom.
    met: Vec<(String, BTreeSet<CertName>)>,
}

impl Crowd {
    pub(super) fn new(all: Option<usize>) -> Self {
        Self { all, ..Self::default() }
    }

    /// Takes in what happened; gives a line where it is worth one: a certificate issued or live, a cause not met before.
    pub(super) fn happened(&mut self, name: &CertName, event: &Event) -> Option<String> {
        let line = failed(name, event).filter(|line| self.is_new(name, event, line));
        let of = self.all.map(|all| format!(" of {all}")).unwrap_or_default();
        let stage = match event {
            Event::OrderIntended { .. } => Stage::Ordered,
            Event::Rejected { .. } | Event::OrderFailed { .. } => Stage::Failed,
            Event::Accepted { .. } | Event::WantSet { .. } | Event::Deployed { .. } | Event::DeployFailed { .. } => {
                Stage::RollingOut
            }
            Event::WentLive { .. } => Stage::Live,
            _ => return line,
        };
        self.stages.insert(name.clone(), stage);
        match event {
            Event::Accepted { .. } => {
                self.issued += 1;
                Some(format!("{name}: issued, {}{of}", self.issued))
            }
            Event::WentLive { .. } => Some(format!("{name}: live, {}{of}", self.count(Stage::Live))),
            _ => line,
        }
    }

    /// Whether nobody met this cause before.
    fn is_new(&mut self, name: &CertName, event: &Event, line: &str) -> bool {
        let Some((node, failure)) = failure_of(event) else { return false };
        // The names in a certificate are not known here; they look like host names.
        let own =
            |word: &str| word == name.as_str() || (word.contains('.') && word.contains(|c: char| c.is_alphabetic()));
        let key = format!("{} {} {}", node.unwrap_or_default(), failure.code, common(failure.message.as_str(), own));
        let next = self.met.len();
        let at = *self.causes.entry(key).or_insert(next);
        if let Some((_, names)) = self.met.get_mut(at) {
            names.insert(name.clone());
            return false;
        }
        let text = line.strip_prefix(&format!("{name}: ")).unwrap_or(line);
        self.met.push((text.to_owned(), BTreeSet::from([name.clone()])));
        self.met.len() <= TOLD
    }

    fn count(&self, stage: Stage) -> usize {
        self.stages.values().filter(|it| **it == stage).count()
    }

    /// How many stand how.
    pub(super) fn counts(&self) -> String {
        let named = [
            (Stage::Live, "live"),
            (Stage::RollingOut, "rolling out"),
            (Stage::Ordered, "at the CA"),
            (Stage::Failed, "not issued"),
        ];
        let counted = named.into_iter().map(|(stage, word)| (self.count(stage), word));
        let waiting = self.all.map(|all| (all.saturating_sub(self.stages.len()), "to come"));
        let parts = counted.chain(waiting).filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts.map(|(count, word)| format!("{count} {word}")).collect();
        if parts.is_empty() { "nothing has happened yet".to_owned() } else { parts.join(", ") }
    }

    /// A block of a few lines: the counts, how long it takes, and the causes that most have met.
    pub(super) fn block(&self, elapsed: Duration, width: usize) -> String {
        let left = self.all.map_or(0, |all| all.saturating_sub(self.issued + self.count(Stage::Failed)));
        let pace = |issued: u64| Duration::from_secs(elapsed.as_secs() * left as u64 / issued);
        let more = match self.issued as u64 {
            issued if left > 0 && issued >= PACE => format!(", about {} more at the CA's pace", humane(pace(issued))),
            _ => String::new(),
        };
        let head = format!("{}; {}{more}", self.counts(), humane(Duration::from_secs(elapsed.as_secs())));
        let mut lines = vec![cut(&head, width)];
        let mut worst: Vec<&(String, BTreeSet<CertName>)> = self.met.iter().collect();
        worst.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
        lines.extend(
            worst.iter().take(SHOWN).map(|(text, names)| cut(&format!("  {:>4} × {text}", names.len()), width)),
        );
        if let Some(more) = worst.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            lines.push(format!("  and {more} other causes"));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Class, Epoch, Failure, GenId, sha256};

    fn name(number: usize) -> CertName {
        format!("c{number}").parse().expect("a name")
    }

    fn lagging(number: usize, node: &str) -> Event {
        let place = format!("10.0.0.1:443 (c{number}.example.com)");
        let failure = Failure::new(Class::Retry, "tcp:refused", place, "the connection is refused");
        Event::Lagging { node: node.parse().expect("a name"), epoch: Epoch(1), drift: false, failure }
    }

    #[test]
    fn two_hundred_certificates_and_fifty_nodes_are_a_few_lines() {
        let mut crowd = Crowd::new(Some(200));
        let mut lines = Vec::new();
        for number in 0..150 {
            let generation = GenId::new(1, &sha256(&[&[u8::try_from(number).expect("small")]]));
            lines.extend(
                crowd.happened(&name(number), &Event::Accepted { generation, epoch: Epoch(1), notes: Vec::new() }),
            );
            for node in ["edge1", "edge2"] {
                lines.extend(crowd.happened(&name(number), &lagging(number, node)));
            }
        }
        assert_eq!(lines.len(), 152, "{lines:#?}");
        assert_eq!(lines[0], "c0: issued, 1 of 200");
        assert_eq!(lines[1], "c0: edge1: 10.0.0.1:443 (c0.example.com): the connection is refused");
        let block = crowd.block(Duration::from_secs(300), 80);
        assert_eq!(
            block,
            "150 rolling out, 50 to come; 5m, about 1m 40s more at the CA's pace\n   150 × edge1: 10.0.0.1:443 \
             (c0.example.com): the connection is refused\n   150 × edge2: 10.0.0.1:443 (c0.example.com): the connection is refused"
        );
        assert!(crowd.block(Duration::from_secs(300), 40).lines().all(|line| line.chars().count() <= 40));
    }
}
