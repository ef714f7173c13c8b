//! Digests that a node can compare with whatever tool it has.

use crate::types::sha256;

/// The polynomial of POSIX cksum(1).
const POLYNOMIAL: u32 = 0x04c1_1db7;

/// `sum NAME SHA256 CRC:LENGTH` of a file that is made of `parts`.
pub(super) fn line(name: &str, parts: &[&str]) -> String {
    let bytes: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    let length: usize = parts.iter().map(|part| part.len()).sum();
    format!(
        "sum {name} {} {}:{length}\n",
        sha256(&bytes),
        cksum(bytes.iter().flat_map(|part| part.iter().copied()), length)
    )
}

/// As cksum(1) of POSIX: a CRC over the bytes and then over their number, the lowest octet first, inverted.
fn cksum(bytes: impl Iterator<Item = u8>, length: usize) -> u32 {
    let octets = length.to_le_bytes();
    let used = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
    let step = |crc: u32, byte: u8| {
        (0..8).fold(crc ^ (u32::from(byte) << 24), |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL }
        })
    };
    !bytes.chain(octets.into_iter().take(used)).fold(0, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn tool(program: &str, text: &str) -> String {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
        String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("text")
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
        #[test]
        fn both_digests_are_those_of_the_usual_tools(head in ".{0,300}", tail in "[a-z\n]{0,5000}") {
            let whole = format!("{head}{tail}");
            let sha256 = tool("sha256sum", &whole);
            let cksum = tool("cksum", &whole).trim().replace(' ', ":");
            let wanted = format!("sum x {} {cksum}\n", sha256.split(' ').next().unwrap_or_default());
            prop_assert_eq!(line("x", &[&head, &tail]), wanted);
        }
    }
}
