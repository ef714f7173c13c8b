//! Names that count on, written as people write them: `edge01..50`.

use std::fmt::Display;

/// `names` in their order, those that count on from one to the next as a range: `edge01..12, edge14, db`. Two are no range.
#[must_use]
pub fn runs<T: Display>(names: &[T]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut parts: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(first) = names.get(at) {
        let more = names[at..].windows(2).take_while(|pair| follows(&pair[0], &pair[1])).count();
        if more < 2 {
            parts.push(first.clone());
            at += 1;
            continue;
        }
        let (prefix, _) = counter(first);
        parts.push(format!("{first}..{}", &names[at + more][prefix.len()..]));
        at += more + 1;
    }
    parts.join(", ")
}

/// A name without the digits it ends in, and those digits.
fn counter(name: &str) -> (&str, &str) {
    let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (prefix, &name[prefix.len()..])
}

/// Whether `next` is what counting on from `name` gives, with as many leading zeros.
fn follows(name: &str, next: &str) -> bool {
    let ((prefix, digits), (same, more)) = (counter(name), counter(next));
    let width = if digits.starts_with('0') { digits.len() } else { 0 };
    prefix == same && digits.parse::<u32>().is_ok_and(|number| format!("{:0width$}", u64::from(number) + 1) == more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_on_is_a_range() {
        for (names, said) in [
            (&["edge1", "edge2", "edge3"][..], "edge1..3"),
            (&["edge08", "edge09", "edge10", "db", "edge12"], "edge08..10, db, edge12"),
            (&["edge8", "edge9", "edge10"], "edge8..10"),
            (&["a1", "a2", "b3"], "a1, a2, b3"),
            (&["edge09", "edge10", "edge011", "x"], "edge09, edge10, edge011, x"),
            (&["a", "b"], "a, b"),
            (&[], ""),
        ] {
            assert_eq!(runs(names), said);
        }
    }
}
