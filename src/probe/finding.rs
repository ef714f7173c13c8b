//! What a check found, and what all findings come to.

use super::label::{Label, Severity};
use crate::types::{Identifier, NodeName, Printable};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::cmp::Reverse;
use std::net::SocketAddr;

/// One cause, seen in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its label, which also says how bad it is.
    pub label: Label,
    /// The node it was seen on, when it is one of the configuration's.
    pub node: Option<NodeName>,
    /// The address it was seen at; none for files.
    pub address: Option<SocketAddr>,
    /// The name that was asked for.
    pub sni: Option<Identifier>,
    /// From where it was seen; none for files.
    pub vantage: Option<Printable>,
    /// What was seen: one sentence with the names, dates and fingerprints that prove it.
    pub seen: Printable,
    /// What to check first.
    pub check: Printable,
}

impl Finding {
    /// Seen in no place yet, with the label's own advice.
    pub(crate) fn new(label: Label, seen: impl AsRef<str>) -> Self {
        let check = Printable::new(label.advice());
        Self { label, node: None, address: None, sni: None, vantage: None, seen: Printable::new(seen.as_ref()), check }
    }

    /// With advice that knows more than the label's.
    #[must_use]
    pub(crate) fn check(mut self, advice: impl AsRef<str>) -> Self {
        self.check = Printable::new(advice.as_ref());
        self
    }

    /// The same with `more` behind what was seen.
    #[must_use]
    pub(crate) fn with(&self, more: &str) -> Self {
        Self { seen: Printable::new(&format!("{}{more}", self.seen.as_str())), ..self.clone() }
    }

    /// Whether it follows from `other`.
    fn follows_from(&self, other: &Self) -> bool {
        let place = |it: &Self| (it.node.clone(), it.address, it.sni.clone());
        place(self) == place(other) && other.label.explains().contains(&self.label)
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Finding", 8)?;
        fields.serialize_field("label", self.label.as_str())?;
        fields.serialize_field("severity", &self.label.severity())?;
        fields.serialize_field("node", &self.node)?;
        fields.serialize_field("address", &self.address)?;
        fields.serialize_field("sni", &self.sni)?;
        fields.serialize_field("vantage", &self.vantage)?;
        fields.serialize_field("seen", &self.seen)?;
        fields.serialize_field("check", &self.check)?;
        fields.end()
    }
}

/// All findings about one target: what follows from another is left out, the worst and most telling stands first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    findings: Vec<Finding>,
}

impl Verdict {
    /// Settles what the checks found. Where nothing is wrong, `well` says what is well.
    #[must_use]
    pub fn new(mut found: Vec<Finding>, well: impl FnOnce() -> String) -> Self {
        let all = found.clone();
        found.retain(|finding| !all.iter().any(|other| finding.follows_from(other)));
        let mut findings: Vec<Finding> = Vec::with_capacity(found.len() + 1);
        for finding in found {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        if findings.iter().all(|finding| finding.label.severity() < Severity::Warn) {
            findings.push(Finding::new(Label::Ok, well()));
        }
        findings.sort_by_key(|finding| (Reverse(finding.label.severity()), finding.label));
        Self { findings }
    }

    /// Says of each finding which name was asked for, and from where.
    #[must_use]
    pub(crate) fn seen_from(mut self, vantage: &Printable, sni: Option<&Identifier>) -> Self {
        for finding in &mut self.findings {
            (finding.vantage, finding.sni) = (Some(vantage.clone()), sni.cloned());
        }
        self
    }

    /// What was seen alike at several of `all` addresses becomes one finding that names them, or none of them where it is all.
    #[must_use]
    pub(crate) fn merged(self, all: usize) -> Self {
        let mut findings: Vec<Finding> = Vec::with_capacity(self.findings.len());
        let mut places: Vec<Vec<SocketAddr>> = Vec::with_capacity(self.findings.len());
        for finding in self.findings {
            let alike =
                |it: &Finding| (it.label, &it.seen, &it.check) == (finding.label, &finding.seen, &finding.check);
            if let Some(at) = findings.iter().position(alike) {
                places[at].extend(finding.address);
            } else {
                places.push(finding.address.into_iter().collect());
                findings.push(finding);
            }
        }
        for (finding, places) in findings.iter_mut().zip(places).filter(|(_, places)| places.len() > 1) {
            (finding.address, finding.node) = (None, None);
            if places.len() < all {
                let places: Vec<String> = places.iter().map(ToString::to_string).collect();
                *finding = finding.with(&format!(" (at {})", places.join(", ")));
            }
        }
        Self { findings }
    }

    /// The findings, at least one.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The worst severity.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.findings.first().map_or(Severity::Ok, |worst| worst.label.severity())
    }

    /// What a command exits with: 0 ok or info, 1 warn, 2 fail. 3, could not judge, is not a verdict.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.severity() {
            Severity::Ok | Severity::Info => 0,
            Severity::Warn => 1,
            Severity::Fail => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(found: &[Label]) -> Vec<Label> {
        let found = found.iter().map(|label| Finding::new(*label, "x")).collect();
        Verdict::new(found, || "well".into()).findings().iter().map(|finding| finding.label).collect()
    }

    #[test]
    fn consequences_go_and_the_worst_comes_first() {
        use Label::{Expired, ExtraInChain, MissingIntermediate, Ok, RootIncluded, Unverifiable, ValidityTooLong};
        assert_eq!(labels(&[]), [Ok]);
        assert_eq!(labels(&[RootIncluded]), [RootIncluded, Ok]);
        assert_eq!(labels(&[Unverifiable]), [Unverifiable]);
        assert_eq!(
            labels(&[ExtraInChain, ValidityTooLong, Unverifiable, Expired, MissingIntermediate, Expired]),
            [MissingIntermediate, Expired, ValidityTooLong, ExtraInChain]
        );
    }

    #[test]
    fn what_was_seen_elsewhere_explains_nothing_here() {
        let here = Finding::new(Label::UntrustedRoot, "x");
        let there = Finding { address: Some(([127, 0, 0, 1], 443).into()), ..Finding::new(Label::SelfSigned, "x") };
        assert_eq!(Verdict::new(vec![here, there], String::new).findings().len(), 2);
    }

    #[test]
    fn exit_codes_follow_the_worst() {
        for (label, code) in [(Label::Ok, 0), (Label::RootIncluded, 0), (Label::ExpiringSoon, 1), (Label::Expired, 2)] {
            assert_eq!(Verdict::new(vec![Finding::new(label, "x")], String::new).exit_code(), code);
        }
    }
}
