//! One cause, one entry: what stands in the way of many certificates in the same manner is told of once.

use super::status::{CertificateStatus, NextStatus};
use crate::types::{CertName, Failure, runs};
use std::collections::HashMap;

/// A failure, what it stands in the way of, and the first wait it led to.
#[derive(Debug, Clone)]
pub struct Cause<'a> {
    /// The certificates, in their order.
    pub names: Vec<&'a CertName>,
    /// What failed, as it was for the first of them.
    pub failure: &'a Failure,
    /// The wait that ends first.
    pub hold: Option<&'a NextStatus>,
}

/// The causes of what stands in the way of each, in the order they are met. Failures that differ in nothing but the names and
/// serial numbers of their certificates have one cause.
pub fn causes<'a>(troubles: impl Iterator<Item = (&'a CertificateStatus, &'a Failure)>) -> Vec<Cause<'a>> {
    let mut causes: Vec<Cause<'a>> = Vec::new();
    let mut known: HashMap<(String, String, String), usize> = HashMap::new();
    for (certificate, failure) in troubles {
        let (name, hold) = (&certificate.name, certificate.hold.as_ref());
        let own = |word: &str| {
            word == name.as_str() || certificate.names.iter().any(|it| word.eq_ignore_ascii_case(&it.to_string()))
        };
        let key = (failure.code.clone(), common(failure.place.as_str(), own), common(failure.message.as_str(), own));
        let at = *known.entry(key).or_insert(causes.len());
        match causes.get_mut(at) {
            // Two of its failures may be alike but for a serial number.
            Some(cause) if cause.names.last() == Some(&name) => {}
            Some(cause) => {
                cause.names.push(name);
                cause.hold = cause.hold.into_iter().chain(hold).min_by_key(|hold| hold.at);
            }
            None => causes.push(Cause { names: vec![name], failure, hold }),
        }
    }
    causes
}

/// `text` without the words that are a certificate's `own`, its numbers of serial and generation, and times.
pub(super) fn common(text: &str, own: impl Fn(&str) -> bool) -> String {
    let part_of_a_word = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let inside = part_of_a_word(first);
        let end = rest.find(|c| part_of_a_word(c) != inside).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let trimmed = word.trim_end_matches('.');
        let beside_a_colon = plain.ends_with(':') || after.starts_with(':');
        let differs = own(trimmed) || is_number(trimmed) || beside_a_colon && is_of_a_clock(trimmed);
        plain.push_str(if inside && differs { "*" } else { word });
        rest = after;
    }
    plain
}

/// Whether a word may be the hour, minute or second of a time.
fn is_of_a_clock(word: &str) -> bool {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    // An IPv4 address before its port is none.
    let (whole, part) = word.trim_end_matches('Z').split_once('.').unwrap_or((word.trim_end_matches('Z'), ""));
    whole.len() == 2 && number(whole) && number(part)
}

/// Whether a word is a serial number, a digest, a generation or a time.
fn is_number(word: &str) -> bool {
    const SHORTEST: usize = 6;
    let hex = word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let time = word.len() > 4 && word.as_bytes().get(4) == Some(&b'-') && word.starts_with("20");
    time || (hex && word.len() >= SHORTEST && word.bytes().any(|b| b.is_ascii_digit()))
}

/// A few names, those that count on as a range, and how many more.
#[must_use]
pub fn names_of(names: &[&CertName]) -> String {
    const SHOWN: usize = 3;
    let said = runs(names);
    let parts: Vec<&str> = said.split(", ").collect();
    if parts.len() <= SHOWN {
        return said;
    }
    let shown: Vec<CertName> = names.iter().map(|name| (*name).clone()).take(SHOWN).collect();
    let apart = runs(&shown).split(", ").count() == SHOWN;
    if apart {
        return format!("{} and {} more", parts[..SHOWN].join(", "), names.len() - SHOWN);
    }
    format!("{} and others, {} in all", parts[..SHOWN].join(", "), names.len())
}

#[cfg(test)]
mod tests {
    use super::super::status::samples;
    use super::*;
    use crate::types::Class;

    #[test]
    fn many_names_are_a_few_and_a_number() {
        let names: Vec<CertName> = ["a", "b", "c", "d", "e"].map(|it| it.parse().expect("a name")).into();
        let names: Vec<&CertName> = names.iter().collect();
        assert_eq!(names_of(&names[..1]), "a");
        assert_eq!(names_of(&names[..3]), "a, b, c");
        assert_eq!(names_of(&names), "a, b, c and 2 more");
        let counted: Vec<CertName> = ["c1", "c2", "c3", "c5", "d", "e"].map(|it| it.parse().expect("a name")).into();
        let counted: Vec<&CertName> = counted.iter().collect();
        assert_eq!(names_of(&counted[..4]), "c1..3, c5");
        assert_eq!(names_of(&counted), "c1..3, c5, d and others, 6 in all");
    }

    #[test]
    fn what_differs_in_names_and_serial_numbers_alone_is_one_cause() {
        let all: Vec<CertificateStatus> = ["shop", "api"].map(samples::live).into();
        let old = |name: &str, serial: &str, node: &str| {
            let place = format!("10.0.0.{node}:443 ({name}.example.com)");
            Failure::new(Class::Retry, "serve:other", place, format!("still serves serial {serial}, not 04ab1234"))
        };
        let (one, two) = (old("shop", "00ab34cd", "1"), old("api", "0077ef12", "1"));
        let elsewhere = old("api", "0077ef12", "2");
        let troubles = [(&all[0], &one), (&all[1], &two), (&all[1], &elsewhere)];
        let found = causes(troubles.into_iter());
        let names: Vec<String> = found.iter().map(|cause| names_of(&cause.names)).collect();
        assert_eq!(names, ["shop, api", "api"]);
        assert_eq!(common("at 2026-11-22T10:00:00Z of x.", |word| word == "x"), "at *:*:* of *");
    }
}
