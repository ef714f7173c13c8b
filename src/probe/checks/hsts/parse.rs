//! The value of a Strict-Transport-Security field, read as RFC 6797 §6.1 writes it. Pure and total.

use crate::types::Printable;

/// How much of a directive is quoted in a message.
const QUOTED: usize = 80;

/// A policy that a browser would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hsts {
    /// Seconds that the policy lasts.
    pub max_age: u64,
    /// Whether it counts for all names below.
    pub subdomains: bool,
    /// Whether it asks for a place on browsers' preload lists, which the RFC does not know.
    pub preload: bool,
}

/// Reads a field's value.
///
/// # Errors
/// Why browsers ignore it, as a part of a sentence.
pub fn parse(value: &[u8]) -> Result<Hsts, String> {
    let mut read = Hsts { max_age: 0, subdomains: false, preload: false };
    let mut names: Vec<String> = Vec::new();
    let mut max_age = None;
    for directive in directives(value)? {
        let name = directive.name.to_ascii_lowercase();
        if names.contains(&name) {
            return Err(format!("{} stands in it twice", quoted(name.as_bytes())));
        }
        match (name.as_str(), directive.value) {
            ("max-age", None) => return Err("max-age has no value".into()),
            ("max-age", Some(value)) => max_age = Some(seconds(&value)?),
            ("includesubdomains", None) => read.subdomains = true,
            ("includesubdomains", Some(_)) => return Err("includeSubDomains has a value, and takes none".into()),
            ("preload", None) => read.preload = true,
            // What nobody knows is ignored (§6.1, rule 5).
            _ => {}
        }
        names.push(name);
    }
    read.max_age = max_age.ok_or("it has no max-age")?;
    Ok(read)
}

/// `delta-seconds`: digits and nothing else. What is too large to count lasts for ever.
fn seconds(value: &[u8]) -> Result<u64, String> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(format!("max-age is {}, and not a number of seconds", quoted(value)));
    }
    let digit = |sum: u64, byte: &u8| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
    Ok(value.iter().fold(0, digit))
}

struct Directive {
    name: String,
    value: Option<Vec<u8>>,
}

/// `[ directive ] *( ";" [ directive ] )`, with white space allowed around everything.
fn directives(value: &[u8]) -> Result<Vec<Directive>, String> {
    let mut found = Vec::new();
    let mut rest = blank(value);
    loop {
        if !rest.is_empty() && rest[0] != b';' {
            let (directive, after) = directive(rest)?;
            found.push(directive);
            rest = after;
        }
        match rest {
            [] => return Ok(found),
            [b';', after @ ..] => rest = blank(after),
            other => return Err(format!("a semicolon is missing before {}", quoted(other))),
        }
    }
}

fn directive(text: &[u8]) -> Result<(Directive, &[u8]), String> {
    let (name, rest) = token(text);
    if name.is_empty() {
        return Err(format!("{} is no directive", quoted(text)));
    }
    let name = String::from_utf8_lossy(name).into_owned();
    let rest = blank(rest);
    let Some(rest) = rest.strip_prefix(b"=") else { return Ok((Directive { name, value: None }, rest)) };
    let rest = blank(rest);
    let (value, rest) = if let Some(inside) = rest.strip_prefix(b"\"") {
        let shown = name.get(..QUOTED).unwrap_or(&name);
        quoted_string(inside).ok_or_else(|| format!("the quotes after {shown} do not end"))?
    } else {
        let (value, rest) = token(rest);
        (value.to_vec(), rest)
    };
    Ok((Directive { name, value: Some(value) }, blank(rest)))
}

/// A `quoted-string` whose first quote is behind us (RFC 2616 §2.2), and what follows.
fn quoted_string(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some((value, &text[at + 1..])),
            b'\\' => {
                at += 1;
                value.push(*text.get(at)?);
            }
            byte => value.push(*byte),
        }
        at += 1;
    }
}

fn token(text: &[u8]) -> (&[u8], &[u8]) {
    let is = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    text.split_at(text.iter().take_while(|byte| is(byte)).count())
}

fn blank(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()..]
}

fn quoted(text: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&text[..text.len().min(QUOTED)]).into_owned();
    format!("{:?}", Printable::new(&shown).as_str())
}
