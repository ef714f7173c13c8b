//! What a file holds: PEM blocks or one DER value. Pure and total.

use crate::pki::key::id_of_any;
use crate::pki::parse::not_pem;
use crate::pki::{Certificate, KeyKind, pem};
use crate::types::KeyId;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::SectionKind;

/// Certificates in a chain that is judged; public ones have four at most.
pub(super) const MAX_CERTIFICATES: usize = 100;

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    /// The certificates, in order.
    pub(super) certificates: Vec<Certificate>,
    /// The private keys; without an identity where the kind is none we load.
    pub(super) keys: Vec<Option<KeyId>>,
}

impl Contents {
    /// The keys whose identity is known.
    pub(super) fn known_keys(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.iter().copied().flatten()
    }

    /// What the file was taken for, in a few words.
    pub(super) fn describe(&self, leaf: &Certificate) -> String {
        let mut parts = Vec::new();
        for key in &self.keys {
            parts.push(match key {
                Some(key) if *key == leaf.key() => format!("the leaf's key ({})", kind(leaf.key_kind())),
                Some(_) => "another key".to_owned(),
                None => "a key of a kind that is not compared".to_owned(),
            });
        }
        let leaves = self.certificates.iter().filter(|it| it.der() == leaf.der()).count();
        let others = self.certificates.len() - leaves;
        parts.extend((leaves > 0).then(|| "the leaf".to_owned()));
        parts.extend((others > 0).then(|| counted(others, leaves > 0)));
        parts.join(", ")
    }
}

fn counted(certificates: usize, more: bool) -> String {
    let other = if more { "other " } else { "" };
    match certificates {
        1 => format!("1 {other}certificate"),
        count => format!("{count} {other}certificates"),
    }
}

fn kind(kind: KeyKind) -> String {
    match kind {
        KeyKind::Ecdsa(bits) => format!("ECDSA P-{bits}"),
        KeyKind::Rsa(bits) => format!("RSA {bits}"),
        KeyKind::Other => "of another kind".to_owned(),
    }
}

/// What `text` holds; the error is a sentence.
pub(super) fn read(text: &[u8]) -> Result<Contents, String> {
    if text.first() == Some(&0x30) {
        return der(text);
    }
    let mut found = Contents::default();
    for section in pem::sections(text) {
        let section = section?;
        let key = |key: Result<PrivateKeyDer<'_>, &str>| Some(key.ok().and_then(|key| id_of_any(&key)));
        match section.kind {
            SectionKind::Certificate => {
                let number = found.certificates.len() + 1;
                let certificate = Certificate::from_der(&section.der);
                found.certificates.push(certificate.map_err(|why| format!("certificate {number} in it: {why}"))?);
            }
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                found.keys.extend(key(PrivateKeyDer::try_from(section.der.as_slice())));
            }
            _ => {}
        }
    }
    if found.certificates.is_empty() && found.keys.is_empty() {
        if contains(text, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            found.keys.push(None);
            return Ok(found);
        }
        return Err(not_pem(text));
    }
    Ok(found)
}

pub(super) fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// A file that is one DER value.
fn der(text: &[u8]) -> Result<Contents, String> {
    let why = match Certificate::from_der(text) {
        Ok(certificate) => return Ok(Contents { certificates: vec![certificate], keys: Vec::new() }),
        Err(why) => why,
    };
    match PrivateKeyDer::try_from(text) {
        Ok(key) => Ok(Contents { certificates: Vec::new(), keys: vec![id_of_any(&key)] }),
        Err(_) => Err(format!("it begins like DER, and is no certificate or key: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::Authority;
    use proptest::prelude::*;

    #[test]
    fn keys_and_certificates_are_found_in_every_dress() {
        let leaf = Authority::root("Root").leaf(&["a.example"]);
        let key = rcgen::KeyPair::generate().unwrap();
        let bundle = format!("{}{}", key.serialize_pem(), leaf.pem());
        for (text, certificates, keys) in [
            (leaf.pem().as_bytes(), 1, 0),
            (leaf.der().as_ref(), 1, 0),
            (key.serialize_pem().as_bytes(), 0, 1),
            (key.serialized_der(), 0, 1),
            (bundle.as_bytes(), 1, 1),
            (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", 0, 1),
        ] {
            let found = read(text).unwrap();
            assert_eq!((found.certificates.len(), found.keys.len()), (certificates, keys));
        }
    }

    #[test]
    fn anything_else_is_told_in_a_sentence() {
        let leaf = Authority::root("Root").leaf(&["a.example"]);
        let pem = leaf.pem();
        for (text, word) in [
            (&b""[..], "empty"),
            (&pem.as_bytes()[..pem.len() / 2], "cut short"),
            (&leaf.der()[..100], "begins like DER"),
            (b"<html>", "HTML"),
            (b"\0\0\0\0", "no certificate is in it"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(word), "{word}: {why}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(text in proptest::collection::vec(any::<u8>(), 0..600), der: bool) {
            let text = if der { [&[0x30, 0x82][..], &text].concat() } else { text };
            drop(read(&text));
        }
    }
}
