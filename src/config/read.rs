//! Readers of single values. Each says what is wrong with its value and goes on.

use super::outside::Outside;
use super::problem::{At, Problem, Sink};
use super::yaml::{Node, Value, shortened};
use crate::types::{Identifier, InvalidName};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// The longest path Linux takes (`PATH_MAX`).
const MAX_PATH: usize = 4096;
/// Where CAs ask under http-01 (RFC 8555 §8.3).
pub(super) const HTTP_PORT: u16 = 80;
pub(super) const TLS_PORT: u16 = 443;
/// A day.
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// A year: no wait of everleaf's is meant to be longer.
pub(super) const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// What every reader has at hand: where problems go, and the world outside the YAML.
pub(super) struct Reader<'a> {
    pub(super) sink: &'a Sink,
    pub(super) outside: &'a dyn Outside,
}

impl Reader<'_> {
    pub(super) fn error(&self, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.sink.push(Problem::error(at, message).help(help));
    }

    fn wrong_type(&self, node: &Node, wanted: &str) {
        if !matches!(node.value, Value::Broken) {
            let found = node.described();
            let help = if node.is_null() { "write a value, or take the key out" } else { "" };
            self.error(node.at, format!("{wanted} is wanted here, and {found} is written"), help);
        }
    }

    /// Any text. Numbers and words like `no` are text as well: nothing in this configuration is guessed from how it looks.
    pub(super) fn text<'t>(&self, node: &'t Node, wanted: &str) -> Option<&'t str> {
        let text = node.scalar().filter(|text| !text.is_empty() && !text.contains('\0'));
        if text.is_none() {
            self.wrong_type(node, wanted);
        }
        text
    }

    pub(super) fn flag(&self, node: &Node) -> Option<bool> {
        match self.text(node, "`true` or `false`")? {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.wrong_type(node, "`true` or `false`");
                None
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn whole(&self, node: &Node, range: RangeInclusive<u32>) -> Option<u32> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.text(node, &wanted)?.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong_type(node, &wanted);
        }
        number
    }

    /// A TCP port.
    pub(super) fn port(&self, node: &Node) -> Option<u16> {
        self.whole(node, 1..=u32::from(u16::MAX)).and_then(|port| u16::try_from(port).ok())
    }

    /// A span such as `90s`, `30m`, `12h`, `30d`, `2w`.
    pub(super) fn span(&self, node: &Node, range: RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.text(node, "a span of time such as 90s, 30m, 12h or 30d")?;
        if text.bytes().all(|b| b.is_ascii_digit()) {
            self.error(
                node.at,
                format!("`{}` has no unit", shortened(text)),
                format!("write {text}s, {text}m, {text}h or {text}d"),
            );
            return None;
        }
        // In humantime's language `M` is a month; who writes it here means minutes, and months have no fixed length.
        if text.contains('M') || text.contains("month") || text.contains('y') && !text.contains("day") {
            let help = "use s, m (minutes), h, d or w: months and years have no fixed length";
            self.error(node.at, format!("`{}` is no span of fixed length", shortened(text)), help);
            return None;
        }
        let Ok(span) = humantime::parse_duration(text) else {
            self.error(
                node.at,
                format!("`{}` is no span of time", shortened(text)),
                "write it like 90s, 30m, 12h, 30d, 2w or `1h 30m`",
            );
            return None;
        };
        if range.contains(&span) {
            return Some(span);
        }
        let (least, most) = (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
        self.error(
            node.at,
            format!("`{}` is out of range", shortened(text)),
            format!("write a span from {least} to {most}"),
        );
        None
    }

    /// An absolute path.
    pub(super) fn path(&self, node: &Node) -> Option<PathBuf> {
        let text = self.text(node, "an absolute path")?;
        self.absolute(node.at, text)
    }

    pub(super) fn absolute(&self, at: At, text: &str) -> Option<PathBuf> {
        let path = Path::new(text);
        if text.len() > MAX_PATH || text.chars().any(char::is_control) {
            self.error(at, format!("`{}` cannot be a path", shortened(text).escape_debug()), "");
        } else if !path.is_absolute() {
            let help = "write the whole path, from the first / on";
            self.error(
                at,
                format!(
                    "`{}` is a relative path, and everleaf has no directory it could be relative to",
                    shortened(text)
                ),
                help,
            );
        } else if path.components().any(|part| part == Component::ParentDir) {
            self.error(at, format!("`{}` goes through `..`", shortened(text)), "write the path it leads to");
        } else {
            return Some(path.to_owned());
        }
        None
    }

    /// A file that must be there when the configuration is used.
    pub(super) fn file(&self, node: &Node) -> Option<PathBuf> {
        let path = self.path(node)?;
        if let Err(trouble) = self.outside.readable(&path) {
            self.error(node.at, trouble.message, trouble.help);
        }
        Some(path)
    }

    /// A file mode as `chmod` takes it, at most `allowed`.
    pub(super) fn mode(&self, node: &Node, allowed: u32, why: &str) -> Option<u32> {
        let text = self.text(node, "a file mode such as \"0640\"")?;
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
        let mode = u32::from_str_radix(digits, 8).ok().filter(|_| octal);
        let Some(mode) = mode else {
            self.error(
                node.at,
                format!("`{}` is no file mode", shortened(text)),
                "write three or four octal digits in quotes, such as \"0640\"",
            );
            return None;
        };
        if mode & !allowed != 0 {
            self.error(
                node.at,
                format!("mode {mode:04o} is refused: {why}"),
                format!("write at most \"{allowed:04o}\""),
            );
            return None;
        }
        Some(mode)
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let text = self.text(node, &format!("one of {}", listed(&names)))?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let one_of = if names.len() > 1 { "one of " } else { "" };
            let help = format!("{}write {one_of}{}", suggestion(text, &names), listed(&names));
            self.error(node.at, format!("`{}` is not known here", shortened(text)), help);
        }
        found
    }

    /// A name that people choose.
    pub(super) fn name<T: FromStr<Err = InvalidName>>(&self, node: &Node) -> Option<T> {
        let text = self.text(node, "a name")?;
        let parsed: Result<T, _> = text.parse();
        let told = |error: InvalidName| {
            let lower = text.to_lowercase().replace([' ', '/'], "-");
            let help = if lower.parse::<T>().is_ok() { format!("write {lower}") } else { String::new() };
            self.error(node.at, error.to_string(), help);
        };
        parsed.map_err(told).ok()
    }

    /// A DNS name or IP address; an internationalised name becomes A-labels.
    pub(super) fn identifier(&self, node: &Node) -> Option<Identifier> {
        let text = self.text(node, "a DNS name or an IP address")?;
        let parsed: Result<Identifier, _> = text.parse();
        parsed.map_err(|error| self.error(node.at, error.to_string(), name_help(text))).ok()
    }

    /// A list, perhaps empty.
    pub(super) fn list<'t>(&self, node: &'t Node, wanted: &str) -> &'t [Node] {
        if let Value::List(items) = &node.value {
            return items;
        }
        self.wrong_type(node, wanted);
        &[]
    }

    /// A list of at least one, or a single value in its place.
    pub(super) fn one_or_more<'t>(&self, node: &'t Node, wanted: &str) -> &'t [Node] {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                self.error(node.at, format!("the list is empty: {wanted} is wanted"), "");
                &[]
            }
            Value::List(items) => items,
            Value::Broken => &[],
            _ if node.is_null() => {
                self.wrong_type(node, wanted);
                &[]
            }
            _ => std::slice::from_ref(node),
        }
    }

    /// An address with a port; without one, `port` where there is a usual one.
    pub(super) fn address(&self, node: &Node, port: Option<u16>) -> Option<SocketAddr> {
        let text = self.text(node, "an IP address and a port")?;
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() else {
            let usual = port.unwrap_or(HTTP_PORT);
            let help = format!(
                "write it like \"192.0.2.1:{usual}\" or \"[2001:db8::1]:{usual}\"; host names are not looked up here"
            );
            self.error(node.at, format!("`{}` is no IP address with a port", shortened(text)), help);
            return None;
        };
        if port.is_none() {
            self.error(
                node.at,
                format!("`{text}` has no port"),
                format!("write \"{}\"", SocketAddr::new(ip, HTTP_PORT)),
            );
        }
        port.map(|port| SocketAddr::new(ip, port))
    }
}

fn name_help(text: &str) -> String {
    let bare = text.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare.split(['/', ':']).next().unwrap_or_default().trim().trim_end_matches('.');
    if bare != text && bare.parse::<Identifier>().is_ok() { format!("write {bare}") } else { String::new() }
}

/// The keys of one mapping, each taken once.
pub(super) struct Fields<'t> {
    pub(super) at: At,
    entries: &'t [(Node, Node)],
    defaults: &'t [(Node, Node)],
    asked: Vec<&'static str>,
    missing: Vec<(&'static str, String)>,
}

impl<'t> Fields<'t> {
    /// Opens a mapping, or says that `wanted` is not what is written.
    pub(super) fn open(reader: &Reader<'_>, node: &'t Node, wanted: &str) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            reader.wrong_type(node, wanted);
            return None;
        };
        Some(Self { at: node.at, entries, defaults: &[], asked: Vec::with_capacity(24), missing: Vec::new() })
    }

    /// Opens a mapping that holds secrets or names where they are. Whatever may be a secret is masked, even under a wrong
    /// key: a message must not show it.
    pub(super) fn confidential(reader: &Reader<'_>, node: &'t Node, wanted: &str, public: &[&str]) -> Option<Self> {
        if node.scalar().is_some() {
            reader.sink.mask(node.at);
            reader.error(node.at, format!("{wanted} is wanted here, and a text is written"), "");
            return None;
        }
        let fields = Self::open(reader, node, wanted)?;
        for (key, value) in fields.entries {
            let harmless = value.scalar().is_none_or(|text| text.starts_with('/'));
            if !harmless && !key.scalar().is_some_and(|key| public.contains(&key)) {
                reader.sink.mask(value.at);
            }
        }
        Some(fields)
    }

    /// Where a key is not written, takes it from `defaults`.
    pub(super) fn with_defaults(mut self, defaults: Option<&'t Node>) -> Self {
        if let Some(Node { value: Value::Map(entries), .. }) = defaults {
            self.defaults = entries;
        }
        self
    }

    /// The value of `key`, if written.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'t Node> {
        let own = self.own(key);
        own.or_else(|| find(self.defaults, key))
    }

    /// The value of `key`, never from the defaults.
    pub(super) fn own(&mut self, key: &'static str) -> Option<&'t Node> {
        self.asked.push(key);
        find(self.entries, key)
    }

    /// The value of `key`, which must be written.
    pub(super) fn required(&mut self, key: &'static str, help: &str) -> Option<&'t Node> {
        let value = self.take(key);
        if value.is_none() {
            self.missing(key, help);
        }
        value
    }

    /// Notes that `key` is missing. It is said at the end, unless a misspelt key turns out to be the one.
    pub(super) fn missing(&mut self, key: &'static str, help: impl Into<String>) {
        self.missing.push((key, help.into()));
    }

    /// Whether `key` is written here.
    pub(super) fn has(&self, key: &str) -> bool {
        find(self.entries, key).is_some()
    }

    /// Whether every key written was asked for; where one was not, it may be the very one that is missed.
    pub(super) fn all_known(&self) -> bool {
        self.entries.iter().all(|(key, _)| key.scalar().is_some_and(|name| self.asked.contains(&name)))
    }

    /// Reports every key nobody asked for, and every key that is missing.
    pub(super) fn close(mut self, reader: &Reader<'_>) {
        for (key, _) in self.entries {
            let name = key.scalar().unwrap_or_default();
            if reader.sink.is_full() {
                return;
            }
            if !self.asked.contains(&name) {
                unknown_key(reader, key.at, name, &self.asked);
                let meant = nearest(name, &self.asked);
                self.missing.retain(|(missing, _)| Some(*missing) != meant);
            }
        }
        for (key, help) in self.missing {
            reader.error(self.at, format!("`{key}` is missing"), help);
        }
    }

    /// The entries of a mapping whose keys people choose.
    pub(super) fn entries(&self) -> &'t [(Node, Node)] {
        self.entries
    }
}

fn find<'t>(entries: &'t [(Node, Node)], key: &str) -> Option<&'t Node> {
    entries.iter().find(|(name, _)| name.scalar() == Some(key)).map(|(_, value)| value)
}

pub(super) fn unknown_key(reader: &Reader<'_>, at: At, name: &str, known: &[&str]) {
    let help = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", listed(known)),
    };
    reader.error(at, format!("unknown key `{}`", shortened(name)), help);
}

/// `a, b or c`.
pub(super) fn listed(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// `did you mean …? `, or nothing.
pub(super) fn suggestion(word: &str, known: &[&str]) -> String {
    nearest(word, known).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default()
}

/// The known word that was probably meant: at most a third of its letters apart.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    // `edge3` is no slip for `edge1`.
    let same_but_number = |known: &str| {
        let letters = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        word != known && letters(word) == letters(known)
    };
    let candidates = known.iter().filter(|known| !same_but_number(known));
    let (distance, near) = candidates.map(|known| (distance(word, known), *known)).min()?;
    (distance <= (near.chars().count() / 3).max(1)).then_some(near)
}

/// Letters to add, drop, change or swap (optimal string alignment); case and `-` for `_` cost nothing.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.to_lowercase().replace('-', "_").chars().collect::<Vec<char>>();
    let (a, b) = (letters(a), letters(b));
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_hand_are_recognised_and_other_words_are_not() {
        let known = ["issuer", "names", "endpoints", "reuse_key", "use"];
        for (word, near) in [
            ("isuer", "issuer"),
            ("nmaes", "names"),
            ("endpoint", "endpoints"),
            ("reuse-key", "reuse_key"),
            ("Names", "names"),
        ] {
            assert_eq!(nearest(word, &known), Some(near), "{word}");
        }
        for word in ["", "solver", "x", "names2", &"n".repeat(500)] {
            assert_eq!(nearest(word, &known), None, "{word}");
        }
    }
}
