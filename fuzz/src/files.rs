//! What lies on disks, where others, failing hardware and other versions write too.

use super::{ca, said};
use everleaf::config;
use everleaf::core::{Ask, Entry, Event, Ledger, Sightings};
use everleaf::ports::Request;
use everleaf::report::{Paint, Snapshot, Threshold, check, metrics, story, table};
use everleaf::state::line::{Tail, scan};
use everleaf::types::Timestamp;
use everleaf::{deploy, state, wire};
use std::path::PathBuf;

/// The longest page about a configuration: its mistakes are told up to a number, each with its lines cut.
const LONGEST_REPORT: usize = 4 << 20;

pub(crate) fn journal(bytes: &[u8]) {
    let whole = scan(bytes, None);
    assert!(whole.sound <= bytes.len());
    assert_eq!(whole.tail == Tail::Whole, whole.sound == bytes.len(), "{:?} at {}", whole.tail, whole.sound);
    let sound = scan(&bytes[..whole.sound], None);
    assert_eq!(
        (&sound.records, sound.tail),
        (&whole.records, Tail::Whole),
        "what is sound stays so when the rest is cut off"
    );
    let follows = |pair: &[everleaf::ports::Record]| pair[1].seq == pair[0].seq.next();
    assert!(whole.records.windows(2).all(follows), "numbers follow each other");
}

/// Events, one JSON object a line, as if a journal held them with the right checksum.
pub(crate) fn replay(lines: &[u8]) {
    let mut ledger = Ledger::default();
    for (number, line) in lines.split(|byte| *byte == b'\n').enumerate() {
        let Ok(event) = serde_json::from_slice::<Event>(line) else { continue };
        let before = ledger.clone();
        let at = Timestamp::from_secs(1_795_341_600 + i64::try_from(number).unwrap_or(0));
        let entry = Entry { seq: before.seq.next(), at, event };
        match ledger.apply(&entry) {
            Ok(()) => said::again(&ledger),
            Err(why) => {
                said::line(&why.to_string());
                assert_eq!(ledger, before, "what is refused changes nothing");
            }
        }
    }
}

pub(crate) fn seen(json: &[u8]) {
    if let Ok(seen) = serde_json::from_slice::<Sightings>(json) {
        said::again(&seen);
        assert!(seen.ari.as_ref().is_none_or(|ari| ari.next() >= ari.at), "asked again before it was asked");
    }
}

pub(crate) fn index(json: &[u8]) {
    let index = wire::Index::of(serde_json::from_slice(json).unwrap_or_default());
    said::again(&index);
}

pub(crate) fn request(json: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Request>(json) else { return };
    said::printable(&request.by);
    said::again(&request);
    // The id is part of a file's name.
    let id = request.id.to_string();
    assert!(!id.is_empty() && id.len() < 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id:?}");
    if let Ok(ask) = serde_json::from_value::<Ask>(request.ask) {
        said::again(&ask);
    }
}

pub(crate) fn status(json: &[u8]) {
    let Ok(snapshot) = serde_json::from_slice::<Snapshot>(json) else { return };
    said::again(&snapshot);
    let plain = Paint { colour: false };
    for now in [Timestamp::from_secs(1_795_341_600), Timestamp::MAX, Timestamp::from_secs(i64::MIN)] {
        said::page(&table(&snapshot, &[], now, 80, plain, false));
        snapshot.certificates.iter().for_each(|it| said::page(&story(it, now, 80, plain)));
        let threshold = || "25%".parse::<Threshold>().expect("a threshold");
        let _ = check(&snapshot, threshold(), threshold(), now);
    }
    if let Ok(text) = metrics(&snapshot) {
        said::page(&text);
    }
}

pub(crate) fn account(json: &[u8]) {
    if let Err(failure) = state::credentials("accounts/ca/credentials.json", json.to_vec()) {
        said::failure(&failure);
        ca::no_secret(&failure, &String::from_utf8_lossy(json));
    }
}

pub(crate) fn key(pem: &[u8]) {
    ca::key(&String::from_utf8_lossy(pem));
}

pub(crate) fn pid_file(text: &[u8]) {
    match deploy::pid_in(&String::from_utf8_lossy(text)) {
        Ok(pid) => assert!(pid.as_raw() > 1, "{pid} would be a group, or init"),
        Err(why) => said::line(&why),
    }
}

pub(crate) fn yaml(text: &[u8]) {
    let file = (PathBuf::from("everleaf.yaml"), String::from_utf8_lossy(text).into_owned());
    let told = match config::parse(&[file]) {
        Ok(loaded) => {
            said::page(&format!("{:?}", loaded.spec));
            loaded.warnings.render(false)
        }
        Err(errors) => {
            assert!(!errors.0.is_empty(), "it is refused without a reason");
            errors.0.render(false)
        }
    };
    assert!(told.len() <= LONGEST_REPORT, "{} bytes are told", told.len());
    said::page(&told);
}
