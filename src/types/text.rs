//! Text from a CA, a peer or a hook: cut and cleaned before it is stored or shown.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How much of a foreign text is kept, in bytes.
pub const MAX_FOREIGN_TEXT: usize = 4096;

/// Foreign text made safe to print: no control characters, no bidirectional overrides, at most 4 KiB.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Printable(String);

impl Printable {
    /// Cleans and cuts `text`. Line breaks and tabs become spaces; other control characters are dropped.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut clean = String::with_capacity(text.len().min(MAX_FOREIGN_TEXT));
        for c in text.chars().filter_map(printable) {
            if clean.len() + c.len_utf8() > MAX_FOREIGN_TEXT - '…'.len_utf8() {
                clean.push('…');
                break;
            }
            clean.push(c);
        }
        Self(clean)
    }

    /// The cleaned text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether `c` can make a terminal show another text than is there: bidirectional controls, line and paragraph separators.
#[must_use]
pub const fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn printable(c: char) -> Option<char> {
    match c {
        '\n' | '\r' | '\t' => Some(' '),
        c if is_deceptive(c) || c.is_control() => None,
        c => Some(c),
    }
}

impl From<String> for Printable {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<&str> for Printable {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_codes_and_length_are_cut() {
        assert_eq!(Printable::new("a\u{1b}[31mb\nc\u{202e}d").as_str(), "a[31mb cd");
        let long = Printable::new(&"\u{1b}é".repeat(1_000_000));
        assert!(long.as_str().len() <= MAX_FOREIGN_TEXT && long.as_str().ends_with('…'));
        assert_eq!(Printable::new(long.as_str()), long, "cleaning twice changes nothing");
    }
}
