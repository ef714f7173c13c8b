//! Bytes that nobody sane would send, to every function that reads what others wrote: the corpus of the fuzz targets, what can
//! be made of it, and anything at all. What must hold of each answer is written beside the targets, in `fuzz/src`.

use super::rig::repository;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "public in the fuzzer's crate")]
mod fuzz;

use fuzz::TARGETS;

/// No call takes longer, on a busy machine and without optimisation; most take microseconds.
const LIMIT: Duration = Duration::from_secs(20);
/// A corpus is read by people: its files stay small.
const LARGEST_ENTRY: usize = 8 * 1024;
/// Entries are broken several times over; repeating a piece must not double them without end.
const LARGEST_BROKEN: usize = 32 * 1024;
/// What is put into a corpus entry to break it.
const POISON: [&[u8]; 36] = [
    b"\0",
    b"\r\n",
    b"\n",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\x1b[2J\x1b]0;owned\x07",
    b"\xc2\x9b31m",
    "\u{202e}gnp.exe".as_bytes(),
    "\u{2028}".as_bytes(),
    b"\\ud800",
    b"\\u0000",
    b"\\u001b[31m",
    b"%n%s",
    b"../../etc/passwd",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"1e400",
    b"-0.0",
    b"0x7fffffff",
    b"99999999999999999999999999999999",
    b"0000-01-01T00:00:00Z",
    b"9999-12-31T23:59:60Z",
    b"+275760-09-13T00:00:00Z",
    b"-009999-01-01T00:00:00Z",
    b"Sun, 06 Nov 9999 23:59:60 +2359",
    b"<<: *a",
    b"&a [*a, *a]",
    b"!!binary ",
    b"null",
    b"[]",
    b"{}",
    b"\"\"",
    b"=",
    b"-----BEGIN CERTIFICATE-----\n",
];
/// What is repeated fifty thousand times: parsers that call themselves run out of stack.
const NESTS: [&str; 8] = ["[", "{\"a\":", "- ", "{a: ", "(", "<", "? ", "[{\"subproblems\":"];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = repository().join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file")).collect()
}

/// Calls a target, and fails when that takes too long, or with what was sent when it panics.
fn call(target: &str, bytes: &[u8]) {
    let begun = Instant::now();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| fuzz::call(target, bytes))) {
        let why = panic.downcast_ref::<String>().map_or("it panicked", String::as_str);
        let sent = String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
        panic!("{target}: {why}; it was given {} bytes: {sent:?}", bytes.len());
    }
    assert!(begun.elapsed() < LIMIT, "{target} took {:?} for {} bytes", begun.elapsed(), bytes.len());
}

fn names(dir: &Path, ending: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).expect("it can be listed").map(|entry| entry.expect("an entry"));
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(ending).map(str::to_owned));
    names.collect()
}

#[test]
fn every_fuzz_target_is_called_here_and_has_a_corpus() {
    let root = repository().join("fuzz");
    let called: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&root.join("fuzz_targets"), ".rs"), called, "files of fuzz targets");
    assert_eq!(names(&root.join("corpus"), ""), called, "directories of corpora");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
    for name in &called {
        let expected = format!(
            "#![no_main]\n\nlibfuzzer_sys::fuzz_target!(|bytes: &[u8]| everleaf_fuzz::call(\"{name}\", bytes));\n"
        );
        let target = root.join(format!("fuzz_targets/{name}.rs"));
        assert_eq!(fs::read_to_string(target).expect("a target"), expected, "{name} does only what is tested here");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "cargo-fuzz does not know {name}");
        let sizes: Vec<usize> = corpus(name).iter().map(Vec::len).collect();
        assert!(sizes.len() >= 2, "{name} has {} corpus entries", sizes.len());
        assert!(sizes.iter().all(|size| *size <= LARGEST_ENTRY), "{name} has a corpus entry of {sizes:?} bytes");
    }
}

#[test]
fn the_corpus_is_read_as_it_must_be() {
    for (target, _) in TARGETS {
        for entry in corpus(target) {
            call(target, &entry);
        }
    }
    // What the project's own files hold is read by the same functions.
    let files = |dir: &str| {
        let dir = repository().join(dir);
        names(&dir, "").into_iter().map(|name| dir.join(name)).filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    for (target, dir) in [("journal", "tests/data/journals"), ("yaml", "examples")] {
        for path in files(dir) {
            call(target, &fs::read(path).expect("a file"));
        }
    }
    call("status", &fs::read(repository().join("tests/data/status-1.json")).expect("a file"));
}

/// One way to break an entry. Places and lengths are of the entry as it then is.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    CutOff(Index),
    Without(Index, Index),
    Poison(Index, Index),
    /// A piece of another entry.
    Splice(Index, Index, Index),
    Repeat(Index, Index, u8),
    /// Every run of digits from there is this poison.
    Number(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(place, bits)| Damage::Flip(place, bits | 1)),
        at().prop_map(Damage::CutOff),
        (at(), at()).prop_map(|(from, to)| Damage::Without(from, to)),
        (at(), at()).prop_map(|(place, which)| Damage::Poison(place, which)),
        (at(), at(), at()).prop_map(|(place, which, from)| Damage::Splice(place, which, from)),
        (at(), at(), any::<u8>()).prop_map(|(from, to, times)| Damage::Repeat(from, to, times)),
        (at(), at()).prop_map(|(from, which)| Damage::Number(from, which)),
    ]
}

impl Damage {
    fn done_to(&self, mut bytes: Vec<u8>, corpus: &[Vec<u8>]) -> Vec<u8> {
        if bytes.is_empty() {
            bytes.push(b'\n');
        }
        let range = |one: &Index, other: &Index, length: usize| {
            let (one, other) = (one.index(length), other.index(length));
            one.min(other)..one.max(other)
        };
        match self {
            Self::Flip(place, bits) => *place.get_mut(&mut bytes) ^= bits,
            Self::CutOff(place) => bytes.truncate(place.index(bytes.len())),
            Self::Without(from, to) => drop(bytes.drain(range(from, to, bytes.len()))),
            Self::Poison(place, which) => insert(&mut bytes, *place, which.get::<&[u8]>(&POISON)),
            Self::Splice(place, which, from) => {
                let other = which.get(corpus);
                let piece = if other.is_empty() { &[][..] } else { &other[from.index(other.len())..] };
                insert(&mut bytes, *place, piece);
            }
            Self::Repeat(from, to, times) => {
                let piece = bytes[range(from, to, bytes.len())].repeat(usize::from(*times));
                insert(&mut bytes, *from, &piece[..piece.len().min(LARGEST_BROKEN)]);
            }
            Self::Number(from, which) => {
                let from = from.index(bytes.len());
                let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit) else { return bytes };
                let start = from + start;
                let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                bytes.splice(start..start + length, which.get::<&[u8]>(&POISON).iter().copied());
            }
        }
        bytes
    }
}

fn insert(bytes: &mut Vec<u8>, place: Index, piece: &[u8]) {
    let at = place.index(bytes.len());
    bytes.splice(at..at, piece.iter().copied());
}

/// How often each target is called by a property: `PROPTEST_CASES` says, else it is 256.
fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, max_shrink_iters: 4096, ..ProptestConfig::default() }
}

#[test]
fn a_damaged_corpus_breaks_no_promise() {
    for (target, _) in TARGETS {
        let corpus = corpus(target);
        proptest!(cases(), |(which in any::<Index>(), damages in prop::collection::vec(damage(), 1..6))| {
            let whole = which.get(&corpus).clone();
            let broken = damages.iter().fold(whole, |mut bytes, damage| {
                bytes.truncate(LARGEST_BROKEN);
                damage.done_to(bytes, &corpus)
            });
            call(target, &broken);
        });
    }
}

#[test]
fn any_bytes_break_no_promise() {
    for (target, _) in TARGETS {
        proptest!(cases(), |(bytes in prop::collection::vec(any::<u8>(), 0..600), text in "\\PC{0,200}")| {
            call(target, &bytes);
            call(target, text.as_bytes());
        });
    }
}

#[test]
fn what_nests_without_end_runs_no_stack_over() {
    for (target, _) in TARGETS {
        let corpus = corpus(target);
        for nest in NESTS {
            let deep = nest.repeat(50_000);
            call(target, deep.as_bytes());
            // Also where a value stands in an entry that is else as it should be.
            for entry in &corpus {
                let text = String::from_utf8_lossy(entry);
                let places = text.match_indices([':', '[', '\n']).map(|(at, _)| at + 1);
                for at in places.step_by(7).take(4) {
                    call(target, format!("{}{deep}{}", &text[..at], &text[at..]).as_bytes());
                }
            }
        }
    }
}

#[test]
fn megabytes_take_bounded_time() {
    let size = if std::env::var_os("EVERLEAF_FULL").is_some() { 2 << 20 } else { 256 << 10 };
    let fillers: [&[u8]; 9] = [
        b"\0",
        b"a",
        b"\n",
        b" ",
        b"[]\n",
        b"\x1b[31mx",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n",
        b"<a>;rel=help,",
        b"- a: 1\n",
    ];
    for (target, _) in TARGETS {
        for filler in fillers {
            let large = filler.repeat(size / filler.len());
            call(target, &large);
            let first = corpus(target).swap_remove(0);
            call(target, &[first, large].concat());
        }
    }
}
