//! Lines for a page of 80 columns: wrapping, columns, colours that never carry a meaning of their own.

use crate::types::{Timestamp, humane};

/// Colours, or none. Whatever is coloured also says it in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    /// Whether to use any.
    pub colour: bool,
}

impl Paint {
    /// All is well.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Something is under way or passing.
    #[must_use]
    pub fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Somebody must act.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// A heading.
    #[must_use]
    pub fn head(self, text: &str) -> String {
        self.with("1", text)
    }

    /// Of less interest.
    #[must_use]
    pub fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Text in the making.
#[derive(Debug, Clone)]
pub struct Page {
    text: String,
    width: usize,
    /// The colours of its parts.
    pub paint: Paint,
}

/// Narrower than this, wrapping makes text harder to read, not easier.
const LEAST_WIDTH: usize = 40;
/// Wider than this, lines are hard to follow.
const MOST_WIDTH: usize = 120;

impl Page {
    /// An empty page of `width` columns.
    #[must_use]
    pub fn new(width: usize, paint: Paint) -> Self {
        Self { text: String::new(), width: width.clamp(LEAST_WIDTH, MOST_WIDTH), paint }
    }

    /// How many columns it has.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Adds a line as it is.
    pub fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Adds an empty line, unless the page is empty or ends with one.
    pub fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// Adds `text` after `lead`, wrapped; the lines after the first are indented to the end of `lead`.
    pub fn hang(&mut self, lead: &str, text: &str) {
        let indent = columns(lead).min(self.width / 2);
        let mut line = lead.to_owned();
        let mut fresh = true;
        for word in text.split_whitespace() {
            if !fresh && columns(&line) + 1 + columns(word) > self.width {
                self.line(&line);
                line = " ".repeat(indent);
                fresh = true;
            }
            if !fresh {
                line.push(' ');
            }
            line.push_str(word);
            fresh = false;
        }
        self.line(&line);
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

/// How many columns a text takes: its characters. Names are ASCII; a wide character in a CA's message costs a ragged edge.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.chars().count()
}

/// `text` cut to `width` columns, with an ellipsis where something is missing.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// An instant for people, to the minute: `2026-11-22 10:00 UTC`.
#[must_use]
pub fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(date), Some(time)) => format!("{date} {time} UTC"),
        _ => text,
    }
}

/// How long ago: `12m 5s ago`.
#[must_use]
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let span = now.since(at);
    if span.as_secs() == 0 { "just now".to_owned() } else { format!("{} ago", humane(span)) }
}

/// How soon: `in 3d 4h`.
#[must_use]
pub fn in_time(at: Timestamp, now: Timestamp) -> String {
    let span = at.since(now);
    if span.as_secs() == 0 { "now".to_owned() } else { format!("in {}", humane(span)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn text_hangs_under_its_lead_and_keeps_the_width() {
        let mut page = Page::new(40, Paint { colour: false });
        page.hang("  why: ", "one two three four five six seven eight nine ten eleven twelve");
        let text = page.finish();
        assert!(text.lines().all(|line| columns(line) <= 40), "{text}");
        assert!(
            text.starts_with("  why: one two") && text.lines().nth(1).is_some_and(|line| line.starts_with("       "))
        );
    }

    #[test]
    fn a_word_longer_than_the_page_stands_alone() {
        let mut page = Page::new(40, Paint { colour: false });
        page.hang("> ", &format!("a {} b", "x".repeat(60)));
        assert_eq!(page.finish(), format!("> a\n  {}\n  b\n", "x".repeat(60)));
    }

    #[test]
    fn times_for_people() {
        let now = Timestamp::from_secs(1_795_341_600);
        assert_eq!(clock(now), "2026-11-22 10:00 UTC");
        assert_eq!(ago(now - Duration::from_secs(125), now), "2m 5s ago");
        assert_eq!(in_time(now + Duration::from_secs(90_000), now), "in 1d 1h");
        assert_eq!(in_time(now, now), "now");
    }

    #[test]
    fn without_colours_nothing_is_added() {
        assert_eq!(Paint { colour: false }.bad("x"), "x");
        assert_eq!(Paint { colour: true }.good("x"), "\x1b[32mx\x1b[0m");
    }
}
