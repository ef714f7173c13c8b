//! What another everleaf answered, read as a stranger's: its text cut and cleaned, its words held against each other. Labels that are
//! not known here are shown as they are.

use super::grid::{self, Row};
use super::page::{Shown, list};
use crate::cli::verdict::{Rung, Sheet, Told, placed};
use crate::probe::chain::Origin;
use crate::probe::relay::{Misread, noise};
use crate::probe::{Label, Severity};
use crate::types::{Fingerprint, Printable, Timestamp};
use serde::Deserialize;
use serde_json::Value;

/// The answers that are understood.
const SCHEMA: &str = "everleaf.probe/1";
/// The longest label.
const MAX_LABEL: usize = 64;

/// One target, as seen from elsewhere.
pub(super) struct Answer {
    read: Document,
    /// The same with everything in it that this everleaf does not know, cleaned, and with the vantage's name.
    whole: Value,
}

#[derive(Debug, Deserialize)]
struct Document {
    target: Printable,
    verdict: Severity,
    findings: Vec<Found>,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
    #[serde(default)]
    chain: Vec<Link>,
}

#[derive(Debug, Deserialize)]
struct Found {
    label: Printable,
    severity: Severity,
    node: Option<Printable>,
    address: Option<Printable>,
    seen: Printable,
    check: Printable,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    address: Printable,
    node: Option<Printable>,
    ok: bool,
    error: Option<Trouble>,
    protocol: Option<Printable>,
    refused: Option<Printable>,
    #[serde(default)]
    crls: Vec<Listed>,
    #[serde(default)]
    certificates: Vec<Sent>,
}

#[derive(Debug, Deserialize)]
struct Trouble {
    label: Printable,
}

#[derive(Debug, Deserialize)]
struct Listed {
    certificate: usize,
    url: Printable,
    seen: Printable,
}

#[derive(Debug, Deserialize)]
struct Sent {
    fingerprint: Fingerprint,
    not_after: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Link {
    origin: Came,
    position: Option<usize>,
    store: Option<Printable>,
    subject: Printable,
    name: Option<Printable>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Came {
    Sent,
    Untrusted,
    Store,
    Missing,
}

impl Answer {
    /// Reads a line of what `vantage` answers.
    ///
    /// # Errors
    /// Why it is no answer.
    pub(super) fn read(line: &[u8], vantage: &str) -> Result<Self, Misread> {
        let mut whole: Value = serde_json::from_slice(line).map_err(|_| noise(line))?;
        let schema = whole["schema"].as_str().unwrap_or("none");
        if schema != SCHEMA {
            let schema = Printable::new(schema);
            let why = format!("it answers in the schema {schema}, and this everleaf understands {SCHEMA}");
            return Err(Misread::Foreign(why));
        }
        let read: Document = Document::deserialize(&whole)
            .map_err(|why| Misread::Foreign(format!("its answer is not one of {SCHEMA}: {why}")))?;
        read.agrees().map_err(Misread::Foreign)?;
        clean(&mut whole);
        whole["vantage"] = vantage.into();
        for finding in whole["findings"].as_array_mut().into_iter().flatten() {
            finding["vantage"] = vantage.into();
        }
        Ok(Self { read, whole })
    }

    /// Which target it is about.
    pub(super) fn target(&self) -> &str {
        self.read.target.as_str()
    }

    /// From where it was looked.
    pub(super) fn vantage(&self) -> &str {
        self.whole["vantage"].as_str().unwrap_or_default()
    }

    /// The worst severity.
    pub(super) const fn severity(&self) -> Severity {
        self.read.verdict
    }

    /// As it came, for scripts.
    pub(super) const fn document(&self) -> &Value {
        &self.whole
    }

    /// For people. `now` is what spans are told from.
    pub(super) fn shown(&self, target: String, now: Timestamp) -> Shown {
        let read = &self.read;
        let looked = read.endpoints.iter().flat_map(|it| &it.crls);
        Shown {
            sheet: Sheet { target, severity: read.verdict, told: read.findings.iter().map(Found::told).collect() },
            rungs: read.chain.iter().map(Link::rung).collect(),
            lists: looked.map(|it| list(it.certificate, it.url.as_str(), it.seen.as_str())).collect(),
            client: Vec::new(),
            rows: read.endpoints.iter().map(|it| it.row(now)).collect(),
            at: now,
        }
    }
}

impl Document {
    /// Whether its words agree with each other.
    fn agrees(&self) -> Result<(), String> {
        let word = |label: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            !label.is_empty() && label.len() <= MAX_LABEL && label.chars().all(plain)
        };
        if let Some(found) = self.findings.iter().find(|it| !word(it.label.as_str())) {
            return Err(format!("its answer has a label that is none: {:?}", found.label.as_str()));
        }
        match self.findings.iter().map(|it| it.severity).max() {
            Some(worst) if worst == self.verdict => Ok(()),
            Some(_) => Err("its answer contradicts itself: the verdict is not that of the findings".to_owned()),
            None => Err("its answer has no finding, not even that all is well".to_owned()),
        }
    }
}

impl Found {
    fn told(&self) -> Told {
        let known = Label::ALL.iter().find(|it| it.as_str() == self.label.as_str());
        let node = self.node.as_ref().map(Printable::as_str);
        Told {
            label: self.label.to_string(),
            severity: self.severity,
            meaning: known.map_or("", |it| it.meaning()),
            place: self.address.as_ref().map(|it| placed(it.as_str(), node)),
            seen: self.seen.to_string(),
            check: self.check.to_string(),
        }
    }
}

impl Endpoint {
    fn row(&self, now: Timestamp) -> Row {
        let address = grid::address(self.address.as_str(), self.node.as_ref().map(Printable::as_str));
        let word = |it: &Option<Printable>, otherwise: &str| {
            it.as_ref().map_or_else(|| otherwise.to_owned(), Printable::to_string)
        };
        let cells = match self.certificates.first() {
            None => grid::silent(address, self.error.as_ref().map_or("", |it| it.label.as_str())),
            Some(leaf) => [
                address,
                leaf.fingerprint.short(),
                grid::until(leaf.not_after, now),
                word(&self.refused, grid::GOOD),
                word(&self.protocol, ""),
            ],
        };
        Row { cells, fine: self.ok }
    }
}

impl Link {
    fn rung(&self) -> Rung {
        let at = self.position.unwrap_or(1).saturating_sub(1);
        let store = || self.store.as_ref().map(Printable::to_string).unwrap_or_default();
        Rung {
            name: self.name.as_ref().unwrap_or(&self.subject).to_string(),
            origin: match self.origin {
                Came::Sent => Origin::Sent(at),
                Came::Untrusted => Origin::Foreign(at),
                Came::Store => Origin::Store(store()),
                Came::Missing => Origin::Missing,
            },
            life: self.not_before.zip(self.not_after),
        }
    }
}

/// Cuts and cleans every text in it.
fn clean(value: &mut Value) {
    match value {
        Value::String(text) => *text = Printable::new(text).to_string(),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({ "schema": SCHEMA, "target": "a.example:443", "verdict": "fail", "findings": [
            { "label": "from_the_future", "severity": "fail", "node": null, "address": "192.0.2.1:443", "sni": null,
              "vantage": "elsewhere", "seen": "\u{1b}[31mred", "check": "it" }], "endpoints": [], "files": [], "chain": [],
            "novelty": { "deep": ["\u{202e}x"] } })
    }

    fn read(document: &Value) -> Result<Answer, Misread> {
        Answer::read(document.to_string().as_bytes(), "ssh://edge")
    }

    #[test]
    fn what_is_not_known_here_survives_as_text_and_is_clean() {
        let answer = read(&document()).unwrap();
        let whole = answer.document();
        assert_eq!((&whole["vantage"], &whole["findings"][0]["vantage"]), (&"ssh://edge".into(), &"ssh://edge".into()));
        assert_eq!((&whole["findings"][0]["seen"], &whole["novelty"]["deep"][0]), (&"[31mred".into(), &"x".into()));
        let shown = answer.shown("a".into(), Timestamp::from_secs(0));
        assert_eq!((shown.sheet.told[0].label.as_str(), shown.sheet.told[0].meaning), ("from_the_future", ""));
    }

    #[test]
    fn what_is_no_answer_is_refused_with_why() {
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut changed = document();
            change(&mut changed);
            let Err(Misread::Foreign(why)) = read(&changed) else { return String::new() };
            why
        };
        let no_json = Answer::read(b"Welcome to \x1b[1medge!", "ssh://edge").err().unwrap();
        let said = "it answers something that is no JSON: \"Welcome to [1medge!\"";
        assert_eq!(no_json, Misread::Noise(said.into()));
        assert!(changed(&|it| it["schema"] = "everleaf.probe/2".into()).contains("everleaf.probe/2"));
        assert!(changed(&|it| it["verdict"] = "ok".into()).contains("contradicts"));
        assert!(changed(&|it| it["verdict"] = "terrible".into()).contains("terrible"));
        assert!(changed(&|it| it["findings"] = json!([])).contains("no finding"));
        assert!(changed(&|it| it["findings"][0]["label"] = "No Label".into()).contains("label"));
        assert!(changed(&|it| it["chain"] = json!([{ "origin": "moon" }])).contains("moon"));
        assert!(matches!(Answer::read(b"[[[[", "x"), Err(Misread::Noise(_))));
    }
}
