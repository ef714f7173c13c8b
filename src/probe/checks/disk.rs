//! What is served against what lies on the disk.

use super::{Case, View};
use crate::config::spec::Usage;
use crate::pki::Certificate;
use crate::probe::chain::{self, Question};
use crate::probe::files::Disk;
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::types::Identifier;

/// What one address served.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// The certificates, the leaf first.
    pub chain: &'a [Certificate],
    /// The leaf of the other key family, where the server has two.
    pub other: Option<&'a Certificate>,
    /// Whether the server was asked for the other family: without that, a leaf of another family says nothing.
    pub families: bool,
}

impl<'a> Served<'a> {
    /// The leaf that belongs beside `disk`: of the same key family, where there is one.
    fn leaf(&self, disk: &Certificate) -> Option<&'a Certificate> {
        let leaf = self.chain.first();
        let alike = |it: &&Certificate| it.key_kind().family() == disk.key_kind().family();
        leaf.filter(alike).or(self.other.filter(alike)).or(leaf.filter(|_| self.families))
    }
}

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(disk) = &case.survey.disk else { return Vec::new() };
    let query = &case.survey.query;
    let question = Question {
        names: std::slice::from_ref(&query.name),
        stores: &query.stores,
        usage: Usage::Server,
        now: case.at,
        pins: &[],
        published: true,
    };
    let served = |view: &'_ View<'_>| -> Option<Finding> {
        let served = shown(view);
        compare(disk, &served, &query.name).map(|finding| view.found(finding))
    };
    let all: Vec<Served<'_>> = case.views.iter().map(shown).collect();
    let mut found = files(disk, &all, &question);
    found.extend(case.views.iter().filter_map(served));
    found
}

fn shown<'a>(view: &'a View<'_>) -> Served<'a> {
    let chain = view.leaf().map_or(&[][..], |_| &view.presented.certificates);
    let other = view.other.as_ref().and_then(|it| it.leaf());
    Served { chain, other, families: view.sight.other_family.is_some() }
}

/// What is wrong with the files themselves, whatever is served: what the next reload would meet.
///
/// A fault that `served`, all that is shown anywhere, has as well from the same certificates is told there.
#[must_use]
pub fn files(disk: &Disk, served: &[Served<'_>], question: &Question<'_>) -> Vec<Finding> {
    let presented = &disk.presented;
    let mut found = presented.findings.clone();
    if let Some(elsewhere) = &disk.elsewhere {
        found.push(Finding::new(Label::ConfigPointsElsewhere, format!("{} {}", elsewhere.place, elsewhere.what)));
    }
    let same = |it: &Served<'_>| {
        !it.chain.is_empty() && it.chain.iter().map(Certificate::der).eq(presented.sent.iter().map(Certificate::der))
    };
    if served.iter().any(same) {
        return found;
    }
    let judged = chain::judge(&presented.sent, &Question { published: true, ..*question });
    found.extend(judged.findings.into_iter().filter_map(|finding| {
        let label = match finding.label {
            Label::DiskChainIncomplete | Label::MissingIntermediate | Label::WrongIntermediate => {
                Label::DiskChainIncomplete
            }
            Label::DiskNamesMissing => Label::DiskNamesMissing,
            _ => return None,
        };
        Some(Finding::new(label, finding.seen.as_str()))
    }));
    found
}

/// Whether one address serves what lies on the disk. Where it serves no certificate for `name`, or its configuration loads
/// other files, that is the cause, and nothing is told here.
#[must_use]
pub fn compare(disk: &Disk, served: &Served<'_>, name: &Identifier) -> Option<Finding> {
    let own = disk.presented.sent.first()?;
    let leaf = served.leaf(own)?;
    let covers = |it: &Certificate| it.names().iter().any(|have| have.covers(name));
    if disk.elsewhere.is_some() || leaf.der() == own.der() || !covers(leaf) || !covers(own) {
        return None;
    }
    let life = |it: &Certificate| (it.validity().start, it.validity().end);
    // Two of the same second: what lies on the disk was put there, and is not served.
    let older = life(leaf) <= life(own);
    let alike = if leaf.key() == own.key() { ", the same key under another serial" } else { "" };
    let tell = |it: &Certificate| format!("serial {} from {}", it.serial(), it.validity().start);
    let seen = format!("served is {}, and on disk lies {}{alike}", tell(leaf), tell(own));
    Some(Finding::new(if older { Label::ServedOlderThanDisk } else { Label::ServedNewerThanDisk }, seen))
}
