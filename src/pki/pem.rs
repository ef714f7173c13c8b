//! Textual encoding (RFC 7468).

use rustls_pki_types::pem::{Error, PemObject, SectionKind};
use zeroize::Zeroizing;

/// The label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// The label of a PKCS#8 key.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";

/// RFC 7468 §2: lines of 64 characters.
const LINE: usize = 64;
const BYTES_PER_LINE: usize = LINE / 4 * 3;

/// `der` as one PEM block. The buffer never moves while it grows, so that a key leaves no copy behind.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let lines = der.len().div_ceil(BYTES_PER_LINE);
    let mut text = String::with_capacity(lines * (LINE + 1) + 2 * (label.len() + "-----BEGIN -----\n".len()));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for chunk in der.chunks(BYTES_PER_LINE) {
        data_encoding::BASE64.encode_append(chunk, &mut text);
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// A block of a PEM text. Its bytes are wiped on drop, since it may be a key.
pub(crate) struct Section {
    /// What it holds.
    pub(crate) kind: SectionKind,
    /// Its bytes.
    pub(crate) der: Zeroizing<Vec<u8>>,
}

/// The blocks of `text`, one after another. Blank lines, text around blocks, and blocks of unknown kinds are skipped; an error
/// is a sentence for people.
pub(crate) fn sections(text: &[u8]) -> impl Iterator<Item = Result<Section, String>> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text).map(|item| match item {
        Ok((kind, der)) => Ok(Section { kind, der: Zeroizing::new(der) }),
        Err(error) => Err(describe(&error)),
    })
}

fn describe(error: &Error) -> String {
    match error {
        Error::MissingSectionEnd { .. } => "a PEM block is cut short: its END line is missing".into(),
        Error::IllegalSectionStart { .. } => "a BEGIN line is not well formed".into(),
        Error::Base64Decode(_) => "a PEM block holds something that is not base64".into(),
        other => format!("the PEM text cannot be read: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_reads_back_and_never_reallocates() {
        for len in [0, 1, 47, 48, 49, 1200, 2400] {
            let der: Vec<u8> = (0..len).map(|n: usize| u8::try_from(n % 251).unwrap_or(0)).collect();
            let text = encode(PRIVATE_KEY, &der);
            assert!(text.lines().all(|line| line.len() <= LINE) && text.ends_with("-----END PRIVATE KEY-----\n"));
            let back: Vec<_> = sections(text.as_bytes()).map(Result::unwrap).collect();
            assert_eq!((back.len(), &*back[0].der), (1, &der));
            assert!(text.capacity() < text.len() + LINE, "grown to {} for {}", text.capacity(), text.len());
        }
    }
}
