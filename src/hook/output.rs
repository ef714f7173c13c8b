//! What a hook prints: cut, cleaned, logged line by line.

use crate::types::{MAX_FOREIGN_TEXT, Printable};
use std::cell::RefCell;
use std::collections::VecDeque;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What is logged of one hook, and kept of its standard output. More says nothing that the end does not say better.
const MAX_OUTPUT: usize = 64 * 1024;
/// The last lines kept for a failure's details: enough for `nginx -t` or a stack of ssh messages.
const LAST_LINES: usize = 20;
/// One read from a pipe.
const CHUNK: usize = 16 * 1024;

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What was printed, both streams in the order they were read. Bounded, however much that is.
#[derive(Debug, Default)]
pub struct Output {
    /// The beginning of standard output, at most 64 KiB; an answer up to its limit.
    pub stdout: Vec<u8>,
    /// The last lines of both streams; beside an answer, of standard error.
    pub last: VecDeque<Printable>,
    /// Whether an answer was longer than it may be.
    pub too_long: bool,
    answer: Option<usize>,
    place: String,
    partial: [Vec<u8>; 2],
    logged: usize,
    dropped_lines: u64,
}

impl Output {
    /// Nothing yet, of a hook at `place`.
    #[must_use]
    pub fn new(place: &str) -> Self {
        Self { place: place.to_owned(), ..Self::default() }
    }

    /// Nothing yet, of a program whose standard output is an answer of at most `most` bytes, and none of anybody's business.
    #[must_use]
    pub fn of_an_answer(most: usize) -> Self {
        Self { answer: Some(most), ..Self::default() }
    }

    /// Takes the unfinished last lines too, and says how much was not logged.
    pub fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.partial[stream as usize].is_empty() {
                self.end_of_line(stream);
            }
        }
        if self.dropped_lines > 0 {
            tracing::info!(place = %self.place, "{} more lines are not logged", self.dropped_lines);
        }
    }

    /// Takes what was read from a stream: whole lines are logged, the rest waits for its end.
    pub fn feed(&mut self, stream: Stream, bytes: &[u8]) {
        if matches!(stream, Stream::Stdout) {
            let room = self.answer.unwrap_or(MAX_OUTPUT) - self.stdout.len();
            self.stdout.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if self.answer.is_some() {
                self.too_long |= bytes.len() > room;
                return;
            }
        }
        for (index, piece) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                self.end_of_line(stream);
            }
            let partial = &mut self.partial[stream as usize];
            let room = MAX_FOREIGN_TEXT - partial.len();
            partial.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    fn end_of_line(&mut self, stream: Stream) {
        let line = std::mem::take(&mut self.partial[stream as usize]);
        let line = Printable::new(String::from_utf8_lossy(&line).trim_end());
        if line.is_empty() {
            return;
        }
        // Each line of the log names the place too: many short ones must not fill it either.
        self.logged += line.as_str().len() + self.place.len();
        let inspected = matches!(stream, Stream::Stdout) && line.as_str().starts_with('{');
        if inspected || self.answer.is_some() {
            // An answer to everleaf, such as an inspection's, is no talk.
            tracing::debug!(place = %self.place, "{line}");
        } else if self.logged <= MAX_OUTPUT {
            tracing::info!(place = %self.place, "{line}");
        } else {
            self.dropped_lines += 1;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// Reads `pipe` to its end, whatever its length: a hook must not block because nobody reads. Who answers more than was asked for
/// is no longer heard, and meets a closed pipe.
pub(super) async fn drain(pipe: Option<impl AsyncRead + Unpin>, stream: Stream, output: &RefCell<Output>) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        output.borrow_mut().feed(stream, &chunk[..count]);
        if output.borrow().too_long {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_across_reads_and_bounded() {
        let mut output = Output::new("here");
        output.feed(Stream::Stdout, b"one\ntw");
        output.feed(Stream::Stderr, b"\x1b[31mwarn\n");
        output.feed(Stream::Stdout, b"o\n\n");
        output.feed(Stream::Stdout, &b"x".repeat(1 << 20));
        output.finish();
        let last: Vec<_> = output.last.iter().map(Printable::as_str).collect();
        assert_eq!(last[..3], ["one", "[31mwarn", "two"]);
        assert!(last[3].len() <= MAX_FOREIGN_TEXT && last[3].starts_with("xxx"));
        assert_eq!(output.stdout.len(), MAX_OUTPUT);
    }

    #[test]
    fn an_answer_is_kept_whole_or_said_to_be_too_long() {
        let mut output = Output::of_an_answer(8);
        output.feed(Stream::Stdout, b"12\n45");
        output.feed(Stream::Stderr, b"why\n");
        output.feed(Stream::Stdout, b"678");
        assert_eq!((output.stdout.as_slice(), output.too_long), (&b"12\n45678"[..], false));
        output.feed(Stream::Stdout, b"9");
        output.finish();
        assert!(output.too_long && output.stdout.len() == 8);
        assert_eq!(output.last.iter().map(Printable::as_str).collect::<Vec<_>>(), ["why"], "an answer is no talk");
    }

    #[test]
    fn a_flood_is_not_logged_and_its_end_is_kept() {
        let mut output = Output::new("here");
        for line in 0..100_000 {
            output.feed(Stream::Stdout, format!("line {line}\n").as_bytes());
        }
        output.finish();
        assert_eq!(output.last.len(), LAST_LINES);
        assert_eq!(output.last.back().map(Printable::as_str), Some("line 99999"));
        assert!(output.dropped_lines > 90_000);
    }
}
