//! Journals as every version wrote them, replayed. A file of `tests/data/journals` is never changed; a new version adds its own.

use crate::site::{Site, scope};
use everleaf::core::{Entry, Event, Ledger};
use everleaf::ports::{AppendError, Journal, Loaded};
use everleaf::types::{Failure, GenId, Seq, Timestamp};
use serde_json::json;
use std::fs;
use std::path::Path;

/// A site with the corpus's journal `name`, loaded.
fn load(name: &str) -> (Site, Result<Loaded, Failure>) {
    let site = Site::new();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/journals").join(name);
    drop(site.state());
    fs::create_dir_all(site.journal().parent().expect("a directory")).expect("made");
    fs::copy(corpus, site.journal()).expect("copied");
    let loaded = site.state().load(&scope(), Seq(0));
    (site, loaded)
}

fn replay(loaded: &Loaded) -> Ledger {
    let mut ledger = Ledger::default();
    for record in &loaded.records {
        let event = serde_json::from_value::<Event>(record.event.clone()).expect("a known event");
        ledger.apply(&Entry { seq: record.seq, at: record.at, event }).expect("it follows those before it");
    }
    ledger
}

#[test]
fn whole_journals_replay_to_a_live_certificate() {
    for name in ["v1-issued.jsonl", "v1-torn-line.jsonl", "v1-torn-batch.jsonl", "v1-compacted.jsonl"] {
        let (site, loaded) = load(name);
        let ledger = replay(&loaded.expect(name));
        let live = ledger.live.as_ref().map(|live| live.generation);
        let generation: GenId = "0001-9f91161f".parse().expect("a generation");
        assert_eq!(live, Some(generation), "{name}");
        assert_eq!(ledger.newest_accepted().map(|held| held.about.generation), Some(generation), "{name}");
        let next = site.state().append(&scope(), ledger.seq, Timestamp::from_secs(0), &[json!({"kind": "retired"})]);
        assert_eq!(next, Ok(ledger.seq.next()), "{name} can be continued");
    }
}

#[test]
fn a_damaged_journal_is_set_aside_as_it_was() {
    let (site, loaded) = load("v1-damaged.jsonl");
    let loaded = loaded.expect("damage is no error");
    assert_eq!(loaded.records, []);
    assert!(loaded.set_aside.is_some_and(|path| path.exists()) && !site.journal().exists());
}

#[test]
fn a_newer_journal_is_read_only() {
    let (site, loaded) = load("v2-newer.jsonl");
    let before = fs::read(site.journal()).expect("a journal");
    assert_eq!(loaded.expect_err("it is newer").code, "state:newer");
    let refused = site.state().append(&scope(), Seq(23), Timestamp::from_secs(0), &[json!({"kind": "retired"})]);
    assert!(matches!(refused, Err(AppendError::Failed(failure)) if failure.code == "state:newer"));
    assert_eq!(fs::read(site.journal()).expect("a journal"), before);
}
