//! The lines of a journal: how an event is written, and how a file is read that a crash, a full disk or a bad sector may have touched.
//!
//! A line is one JSON object and a line feed:
//!
//! ```text
//! {"v":1,"seq":7,"at":"2026-11-22T10:00:00Z","batch":[1,2],"event":{…},"crc":"0a1b2c3d"}
//! ```
//!
//! `crc` is the CRC-32 (IEEE 802.3) of every byte of the line before `,"crc":`, in eight lower-case hexadecimal digits, and it stands last.
//! `batch` is `[which, of how many]` for events that were appended together and hold together; a single event leaves it out. Sequence
//! numbers grow by one.

use crate::ports::Record;
use crate::types::{Seq, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the lines written here. A line of a newer one makes the journal read-only.
pub(super) const VERSION: u32 = 1;
/// The longest line. A snapshot of a certificate with every generation and node it ever had is some tens of kilobytes.
pub const MAX_LINE: usize = 4 * 1024 * 1024;
/// What stands before the checksum.
const CRC_KEY: &[u8] = b",\"crc\":\"";
/// The key, eight digits, `"}`.
const CRC_SUFFIX: usize = CRC_KEY.len() + 8 + 2;

/// What a journal file, or the rest of one, holds.
#[derive(Debug, Default, PartialEq)]
pub struct Scan {
    /// Its records up to the first thing wrong.
    pub records: Vec<Record>,
    /// How many bytes those take.
    pub sound: usize,
    /// What follows them.
    pub tail: Tail,
}

/// How a journal ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Tail {
    /// As it should.
    #[default]
    Whole,
    /// With an append that was never finished.
    Torn,
    /// With something that no crash of ours can have left.
    Damaged,
    /// With a record of this newer version.
    Newer(u32),
}

/// The lines for `events`, numbered after `last`.
///
/// # Errors
/// The length of a line that would be longer than [`MAX_LINE`].
pub fn encode(last: Seq, at: Timestamp, events: &[Value]) -> Result<Vec<u8>, usize> {
    let mut lines = Vec::new();
    let mut seq = last;
    for (index, event) in events.iter().enumerate() {
        seq = seq.next();
        let batch = (events.len() > 1).then_some((index + 1, events.len()));
        let start = lines.len();
        lines.extend_from_slice(line(&Head { v: VERSION, seq, at, batch }, event).as_bytes());
        if lines.len() - start > MAX_LINE {
            return Err(lines.len() - start);
        }
    }
    Ok(lines)
}

/// One record under its own number, which replaces all before it.
///
/// # Errors
/// The length of a line that would be longer than [`MAX_LINE`].
pub(super) fn encode_snapshot(seq: Seq, at: Timestamp, event: &Value) -> Result<Vec<u8>, usize> {
    let line = line(&Head { v: VERSION, seq, at, batch: None }, event);
    if line.len() > MAX_LINE { Err(line.len()) } else { Ok(line.into_bytes()) }
}

/// Reads lines that follow the record `last`, or a file from its beginning.
#[must_use]
pub fn scan(bytes: &[u8], last: Option<Seq>) -> Scan {
    let mut scan = Scan::default();
    let mut last = last;
    let mut pending = Vec::new();
    let mut read = 0;
    while let Some(length) = bytes[read..].iter().position(|byte| *byte == b'\n') {
        let follows = last.map(|last: Seq| last.0.saturating_add(pending.len() as u64 + 1));
        let (which, of, record) = match decode(&bytes[read..read + length]) {
            Line::Whole { which, of, record }
                if which == pending.len() + 1 && follows.is_none_or(|seq| seq == record.seq.0) =>
            {
                (which, of, record)
            }
            Line::Newer(version) => {
                scan.tail = Tail::Newer(version);
                return scan;
            }
            _ => {
                scan.tail = unfinished(&bytes[scan.sound..], last);
                return scan;
            }
        };
        read += length + 1;
        if pending.is_empty() && last.is_none() {
            last = Some(Seq(record.seq.0.saturating_sub(1)));
        }
        pending.push(record);
        if which == of {
            last = pending.last().map(|record| record.seq);
            scan.records.append(&mut pending);
            scan.sound = read;
        }
    }
    if scan.sound < bytes.len() {
        scan.tail = Tail::Torn;
    }
    scan
}

/// Whether what follows the record `last` can be one unfinished append. Blocks of a write may reach the disk in any order, so a power cut
/// leaves a missing end, or holes of zeros; every whole line among them belongs to the batch that began right after `last`.
fn unfinished(bytes: &[u8], last: Option<Seq>) -> Tail {
    let begins = last.unwrap_or_default().next();
    let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        if lines.peek().is_none() {
            break;
        }
        match decode(line) {
            Line::Whole { which, record, .. } if record.seq.0.checked_sub(begins.0) == Some(which as u64 - 1) => {}
            Line::Hole => {}
            Line::Newer(version) => return Tail::Newer(version),
            Line::Whole { .. } | Line::Bad => return Tail::Damaged,
        }
    }
    Tail::Torn
}

#[derive(Serialize)]
struct Head {
    v: u32,
    seq: Seq,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<(usize, usize)>,
}

#[derive(Deserialize)]
struct Body {
    seq: Seq,
    at: Timestamp,
    #[serde(default = "alone")]
    batch: (usize, usize),
    event: Value,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

const fn alone() -> (usize, usize) {
    (1, 1)
}

enum Line {
    Whole { which: usize, of: usize, record: Record },
    Newer(u32),
    Hole,
    Bad,
}

fn line(head: &Head, event: &Value) -> String {
    // Serialising plain numbers, strings and a JSON value into a string cannot fail.
    let head = serde_json::to_string(head).unwrap_or_default();
    let head = head.strip_suffix('}').unwrap_or(&head);
    let checked = format!("{head},\"event\":{event}");
    let crc = crc32fast::hash(checked.as_bytes());
    format!("{checked},\"crc\":\"{crc:08x}\"}}\n")
}

fn decode(line: &[u8]) -> Line {
    let version = || serde_json::from_slice::<Version>(line).ok().map(|line| line.v);
    if !crc_holds(line) {
        // A newer version may check its lines in another way; it must not be taken for damage.
        return match version() {
            Some(v) if v > VERSION => Line::Newer(v),
            _ if line.contains(&0) => Line::Hole,
            _ => Line::Bad,
        };
    }
    match (version(), serde_json::from_slice::<Body>(line)) {
        (Some(v), _) if v > VERSION => Line::Newer(v),
        (Some(_), Ok(Body { seq, at, batch: (which, of), event })) if 1 <= which && which <= of && seq > Seq(0) => {
            Line::Whole { which, of, record: Record { seq, at, event } }
        }
        _ => Line::Bad,
    }
}

fn crc_holds(line: &[u8]) -> bool {
    let Some(end) = line.len().checked_sub(CRC_SUFFIX) else { return false };
    let (checked, suffix) = line.split_at(end);
    let digits = format!("{:08x}", crc32fast::hash(checked));
    suffix.strip_prefix(CRC_KEY).and_then(|rest| rest.strip_suffix(b"\"}")) == Some(digits.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at() -> Timestamp {
        Timestamp::from_secs(1_795_341_600)
    }

    fn events(count: usize) -> Vec<Value> {
        (0..count).map(|n| json!({"kind": "thing", "n": n, "text": "ä\n\u{0}"})).collect()
    }

    /// A journal of three appends: one event, three events together, one event.
    fn journal() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        let mut last = 0;
        for count in [1, 3, 1] {
            bytes.extend(encode(Seq(last), at(), &events(count)).unwrap());
            last += count as u64;
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn a_line_is_written_as_documented() {
        let line = encode(Seq(6), at(), &[json!({"kind": "x"})]).unwrap();
        let text = r#"{"v":1,"seq":7,"at":"2026-11-22T10:00:00Z","event":{"kind":"x"},"crc":"4bbbe2d6"}"#;
        assert_eq!(String::from_utf8(line).unwrap(), format!("{text}\n"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let scan = scan(&journal().0, None);
        assert_eq!(scan.tail, Tail::Whole);
        assert_eq!(scan.records.iter().map(|record| record.seq.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(scan.records[3].event, events(3)[2]);
    }

    #[test]
    fn a_batch_is_there_whole_or_not_at_all() {
        let (bytes, ends) = journal();
        for length in 0..=bytes.len() {
            let scan = scan(&bytes[..length], None);
            let sound = *ends.iter().rev().find(|end| **end <= length).unwrap();
            assert_eq!(scan.sound, sound, "cut at {length}");
            assert_eq!(scan.tail, if sound == length { Tail::Whole } else { Tail::Torn }, "cut at {length}");
        }
    }

    #[test]
    fn a_hole_in_the_last_append_is_torn_and_elsewhere_is_damage() {
        let whole = encode(Seq(0), at(), &events(4)).unwrap();
        for start in 0..whole.len() - 1 {
            let mut holed = whole.clone();
            holed[start..whole.len() - 1].fill(0);
            assert_eq!(scan(&holed, None).tail, Tail::Torn, "zeros from {start}");
        }
        let (mut bytes, ends) = journal();
        bytes[ends[1] + 5..ends[1] + 9].fill(0);
        assert_eq!(scan(&bytes, None).tail, Tail::Damaged, "another append was synced after it");
    }

    #[test]
    fn numbers_must_follow_each_other() {
        let line = |seq| encode(Seq(seq), at(), &events(1)).unwrap();
        assert_eq!(scan(&[line(4), line(6)].concat(), None).tail, Tail::Damaged);
        assert_eq!(scan(&[line(4), line(4)].concat(), None).tail, Tail::Damaged);
        assert_eq!(scan(&line(4), Some(Seq(3))).tail, Tail::Damaged);
        assert_eq!(scan(&line(4), None).records[0].seq, Seq(5), "a compacted journal begins anywhere");
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let (mut bytes, _) = journal();
        bytes.extend_from_slice(b"{\"v\":2,\"seq\":6,\"sum\":\"another way\"}\n");
        assert_eq!(scan(&bytes, None).tail, Tail::Newer(2));
    }

    #[test]
    fn an_overlong_line_is_refused() {
        assert!(encode(Seq(0), at(), &[Value::String("x".repeat(MAX_LINE))]).is_err());
        assert!(encode_snapshot(Seq(1), at(), &Value::String("x".repeat(MAX_LINE))).is_err());
    }

    proptest! {
        #[test]
        fn any_single_flipped_bit_is_noticed(place in 0_usize..10_000, bit in 0_u32..8) {
            let (mut bytes, _) = journal();
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
            let read = scan(&bytes, None);
            let whole = scan(&journal().0, None);
            prop_assert!(read.tail != Tail::Whole);
            prop_assert!(whole.records.starts_with(&read.records));
        }

        #[test]
        fn any_bytes_are_read_without_panicking(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let read = scan(&bytes, None);
            prop_assert!(read.sound <= bytes.len());
        }
    }
}
