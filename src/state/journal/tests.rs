use super::*;
use crate::state::tests::{Scratch, at, cert};
use serde_json::json;
use std::fs;

fn scope() -> Scope {
    Scope::Certificate(cert("shop"))
}

fn events(from: u64, count: u64) -> Vec<Value> {
    (from..from + count).map(|n| json!({ "n": n })).collect()
}

fn numbers(loaded: &Loaded) -> Vec<u64> {
    loaded.records.iter().map(|record| record.seq.0).collect()
}

/// A state directory with a journal of two appends: one event, then two together.
fn filled() -> (Scratch, StateRoot, PathBuf) {
    let scratch = Scratch::new();
    let state = scratch.open();
    state.append(&scope(), Seq(0), at(1), &events(1, 1)).unwrap();
    state.append(&scope(), Seq(1), at(2), &events(2, 2)).unwrap();
    let path = scratch.paths.state.join("certs/shop/journal.jsonl");
    (scratch, state, path)
}

#[test]
fn what_was_appended_is_loaded_by_any_process() {
    let (scratch, state, _) = filled();
    for reader in [&state, &scratch.open()] {
        assert_eq!(numbers(&reader.load(&scope(), Seq(0)).unwrap()), [1, 2, 3]);
        assert_eq!(numbers(&reader.load(&scope(), Seq(2)).unwrap()), [3]);
        assert_eq!(reader.load(&scope(), Seq(3)).unwrap(), Loaded::default());
    }
    assert_eq!(scratch.open().load(&Scope::Certificate(cert("other")), Seq(0)).unwrap(), Loaded::default());
    assert_eq!(scratch.open().certificates().unwrap(), [cert("shop")]);
}

#[test]
fn a_reader_follows_another_process() {
    let (scratch, state, _) = filled();
    let reader = scratch.open();
    assert_eq!(numbers(&reader.load(&scope(), Seq(0)).unwrap()), [1, 2, 3]);
    state.append(&scope(), Seq(3), at(3), &events(4, 1)).unwrap();
    assert_eq!(numbers(&reader.load(&scope(), Seq(3)).unwrap()), [4]);
    assert_eq!(reader.append(&scope(), Seq(3), at(4), &events(4, 1)), Err(AppendError::Stale(Seq(4))));
    assert_eq!(reader.append(&scope(), Seq(4), at(4), &events(5, 1)), Ok(Seq(5)));
    assert_eq!(state.append(&scope(), Seq(4), at(5), &events(5, 1)), Err(AppendError::Stale(Seq(5))));
}

#[test]
fn a_torn_last_append_is_cut_off_at_every_length() {
    let (_scratch, state, path) = filled();
    let whole = fs::read(&path).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for length in first..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(numbers(&state.load(&scope(), Seq(0)).unwrap()), [1], "cut at {length}");
        assert_eq!(fs::read(&path).unwrap(), whole[..first], "cut at {length}");
    }
    assert_eq!(state.append(&scope(), Seq(1), at(2), &events(2, 2)), Ok(Seq(3)));
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn an_append_after_a_torn_one_does_not_stick_to_it() {
    let (scratch, _, path) = filled();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"v\":1,\"seq\":4,");
    fs::write(&path, bytes).unwrap();
    let state = scratch.open();
    assert_eq!(state.append(&scope(), Seq(3), at(3), &events(4, 1)), Ok(Seq(4)));
    assert_eq!(numbers(&scratch.open().load(&scope(), Seq(0)).unwrap()), [1, 2, 3, 4]);
}

#[test]
fn a_damaged_journal_is_set_aside_and_stays_known_until_a_new_one_is_begun() {
    let (scratch, state, path) = filled();
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let aside = scratch.paths.state.join("certs/shop/journal.damaged-1.jsonl");
    for reader in [&state, &scratch.open()] {
        let loaded = reader.load(&scope(), Seq(0)).unwrap();
        assert_eq!((loaded.set_aside.as_ref(), numbers(&loaded)), (Some(&aside), vec![]));
    }
    assert_eq!(fs::read(&aside).unwrap(), bytes, "nothing of it is lost");
    assert_eq!(state.certificates().unwrap(), [cert("shop")]);
    assert_eq!(state.append(&scope(), Seq(3), at(3), &events(1, 1)), Err(AppendError::Stale(Seq(0))));
    assert_eq!(state.append(&scope(), Seq(0), at(3), &events(1, 1)), Ok(Seq(1)));
    assert_eq!(state.load(&scope(), Seq(0)).unwrap().set_aside, None);
}

#[test]
fn a_newer_journal_is_left_untouched() {
    let (scratch, state, path) = filled();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"v\":2,\"seq\":4,\"crc\":\"another\"}\n{\"torn");
    fs::write(&path, &bytes).unwrap();
    for reader in [&state, &scratch.open()] {
        let failure = reader.load(&scope(), Seq(0)).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.class), ("state:newer", Class::Operator));
        let refused = reader.append(&scope(), Seq(3), at(3), &events(4, 1));
        assert!(matches!(refused, Err(AppendError::Failed(failure)) if failure.code == "state:newer"));
    }
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn compaction_keeps_the_number_and_tells_readers_behind_it() {
    let (scratch, state, path) = filled();
    let [behind, level] = [scratch.open(), scratch.open()];
    behind.load(&scope(), Seq(0)).unwrap();
    level.load(&scope(), Seq(0)).unwrap();
    let snapshot = json!({"kind": "snapshot"});
    assert_eq!(state.compact(&scope(), Seq(2), at(3), &snapshot), Err(AppendError::Stale(Seq(3))));
    state.compact(&scope(), Seq(3), at(3), &snapshot).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert_eq!(state.append(&scope(), Seq(3), at(4), &events(4, 1)), Ok(Seq(4)));
    let loaded = behind.load(&scope(), Seq(2)).unwrap();
    assert!(loaded.restarted && loaded.records.is_empty());
    assert_eq!(numbers(&behind.load(&scope(), Seq(0)).unwrap()), [3, 4]);
    let loaded = level.load(&scope(), Seq(3)).unwrap();
    assert!(!loaded.restarted && numbers(&loaded) == [4]);
}

#[test]
fn a_writer_that_waited_for_a_lock_on_the_replaced_file_finds_the_new_one() {
    let (scratch, state, _) = filled();
    let other = scratch.open();
    other.load(&scope(), Seq(0)).unwrap();
    state.compact(&scope(), Seq(3), at(3), &json!({"kind": "snapshot"})).unwrap();
    assert_eq!(other.append(&scope(), Seq(3), at(4), &events(4, 1)), Ok(Seq(4)));
    assert_eq!(numbers(&state.load(&scope(), Seq(0)).unwrap()), [3, 4]);
}

#[test]
fn many_writers_never_overwrite_each_other() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 25;
    let scratch = Scratch::new();
    std::thread::scope(|threads| {
        for writer in 0..WRITERS {
            let paths = scratch.paths.clone();
            threads.spawn(move || {
                let state = crate::state::tests::open(&paths);
                let mut last = Seq(0);
                for n in 0..EACH {
                    loop {
                        match state.append(&scope(), last, at(1), &[json!({"writer": writer, "n": n})]) {
                            Ok(seq) => break last = seq,
                            Err(AppendError::Stale(seq)) => last = seq,
                            Err(AppendError::Failed(failure)) => panic!("{failure}"),
                        }
                    }
                }
            });
        }
    });
    let loaded = scratch.open().load(&scope(), Seq(0)).unwrap();
    assert_eq!(numbers(&loaded), (1..=WRITERS * EACH).collect::<Vec<_>>());
    for writer in 0..WRITERS {
        let own: Vec<_> = loaded.records.iter().filter(|record| record.event["writer"] == writer).collect();
        assert!(own.iter().enumerate().all(|(n, record)| record.event["n"] == n) && own.len() as u64 == EACH);
    }
}

#[test]
fn a_file_that_cannot_be_ours_is_refused_and_kept() {
    let (_scratch, state, path) = filled();
    File::options().write(true).open(&path).unwrap().set_len(MAX_JOURNAL + 1).unwrap();
    assert_eq!(state.load(&scope(), Seq(0)).unwrap_err().code, "state:efbig");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(state.load(&scope(), Seq(0)).is_err());
    assert!(state.append(&scope(), Seq(0), at(1), &events(1, 1)).is_err());
}
