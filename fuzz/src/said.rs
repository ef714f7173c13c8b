//! What must hold of everything that is told to people or stored.

use everleaf::types::{Failure, MAX_FOREIGN_TEXT, Printable};

/// The longest code: `acme:` with a problem's type.
const LONGEST_CODE: usize = 64;
/// The particulars kept of one failure.
const MOST_DETAILS: usize = 32;

/// Text that a terminal shows as it stands: no control characters, nothing that turns its direction, not too long.
#[track_caller]
pub(crate) fn line(text: &str) {
    assert!(
        text.len() <= MAX_FOREIGN_TEXT,
        "{} bytes are told: {}…",
        text.len(),
        &text[..text.floor_char_boundary(200)]
    );
    harmless(text.trim_end_matches('\n'));
}

/// Text of several lines and any length, without anything that a terminal would obey.
#[track_caller]
pub(crate) fn page(text: &str) {
    text.lines().for_each(harmless);
}

#[track_caller]
fn harmless(line: &str) {
    let obeyed = |c: &char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if let Some(c) = line.chars().find(obeyed) {
        panic!("{:?} is told, in {:?}", c, line.chars().take(300).collect::<String>());
    }
}

/// A failure is short, harmless, has a code that scripts can match, and survives being stored.
#[track_caller]
pub(crate) fn failure(failure: &Failure) {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-' | '.');
    assert!(failure.code.len() <= LONGEST_CODE && failure.code.chars().all(word), "the code is {:?}", failure.code);
    assert!(failure.details.len() <= MOST_DETAILS, "{} details", failure.details.len());
    assert!(!failure.message.is_empty(), "a failure without a word: {failure:?}");
    for text in [&failure.place, &failure.message, &failure.advice].into_iter().chain(&failure.details) {
        line(text.as_str());
    }
    again(failure);
}

/// A text that is stored reads back as it was.
#[track_caller]
pub(crate) fn printable(text: &Printable) {
    line(text.as_str());
    assert_eq!(&Printable::new(text.as_str()), text, "cleaning twice changes it");
}

/// What is stored reads back as it was.
#[track_caller]
pub(crate) fn again<T>(thing: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let stored = serde_json::to_vec(thing).expect("it can be stored");
    let back: T = serde_json::from_slice(&stored).expect("what was stored can be read");
    assert_eq!(&back, thing, "it reads back as it was stored");
}
