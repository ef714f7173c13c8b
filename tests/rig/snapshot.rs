//! Words that people read, kept as files that were reviewed.
#![cfg_attr(test, allow(dead_code, reason = "a test binary may use only a part of it"))]

use std::fs;
use std::path::Path;

/// Compares `said` with the file `tests/PLACE.txt`.
///
/// After a change of words, the same test with `EVERLEAF_WRITE_EXPECTED=1` in its environment writes the new text: read it
/// as a tired operator would before committing it.
///
/// # Panics
/// When they differ, with both.
#[track_caller]
pub(crate) fn snapshot(place: &str, said: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(place).with_extension("txt");
    if std::env::var_os("EVERLEAF_WRITE_EXPECTED").is_some() {
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        fs::write(&file, said).expect("expected text");
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(said == expected, "{place}: these words are expected:\n{expected}\nand these were said:\n{said}");
}

/// `text` without what differs from run to run: loopback addresses, times, tokens in URLs, long digests,
/// process ids.
pub(crate) fn without_chance(text: &str) -> String {
    const CHANCES: [(&str, &str); 7] = [
        (r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?( ?Z| UTC|[+-]\d{2}:\d{2})?", "TIME"),
        (r"/[A-Za-z0-9_-]{43}\b", "/TOKEN"),
        (r"\b127(\.\d{1,3}){3}:\d+\b", "HERE:PORT"),
        (r"\b127(\.\d{1,3}){3}\b", "HERE"),
        (r"\blocalhost:\d+\b", "localhost:PORT"),
        (r"\b[0-9a-fA-F]{16,}\b", "DIGEST"),
        (r"\b(pid|process) \d+\b", "$1 PID"),
    ];
    CHANCES.iter().fold(text.to_owned(), |text, (chance, plain)| {
        let expression = regex::Regex::new(chance).expect("a valid expression");
        expression.replace_all(&text, *plain).into_owned()
    })
}
