//! Key material in every form in which it could stand somewhere.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use std::collections::BTreeMap;

/// A secret's name, and the byte strings of which none may be found.
#[derive(Debug, Default)]
pub(crate) struct Needles(BTreeMap<String, Vec<Vec<u8>>>);

impl Needles {
    /// A word, such as a token or a password, as it stands and encoded.
    pub(crate) fn add_word(&mut self, name: &str, word: &str) {
        assert!(word.len() >= 12, "{name} is too short to be told from chance");
        self.0.insert(name.to_owned(), forms(word.as_bytes()));
    }

    /// A key in PEM or as the base64 of its DER: its lines, its octets, and an ECDSA key's scalar alone.
    pub(crate) fn add_key(&mut self, name: &str, text: &str) {
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = data_encoding::BASE64
            .decode(body.as_bytes())
            .or_else(|_| BASE64URL_NOPAD.decode(body.as_bytes()))
            .unwrap_or_else(|error| panic!("{name} is no key: {error}"));
        let mut all = Vec::new();
        if let Some(scalar) = scalar(&der) {
            all.extend(forms(scalar));
        } else {
            // An RSA key: any stretch of it tells, so its last primes' bytes stand for it.
            all.extend(forms(&der[der.len() - 64..]));
        }
        self.0.insert(name.to_owned(), all);
    }

    /// Which secrets stand in `text`.
    pub(crate) fn found_in(&self, text: &[u8]) -> Vec<&str> {
        let holds = |needle: &Vec<u8>| text.windows(needle.len()).any(|window| window == needle.as_slice());
        self.0.iter().filter(|(_, needles)| needles.iter().any(holds)).map(|(name, _)| name.as_str()).collect()
    }

    /// How many secrets are looked for.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Every form of every secret.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().flat_map(|(name, forms)| forms.iter().map(move |form| (name.as_str(), form.as_slice())))
    }
}

/// The private scalar of an ECDSA key in PKCS#8: `ECPrivateKey ::= SEQUENCE { 1, OCTET STRING, … }` (RFC 5915 §3).
fn scalar(der: &[u8]) -> Option<&[u8]> {
    let start =
        |size: u8| der.windows(5).position(|window| window == [2, 1, 1, 4, size]).map(|at| (at + 5, usize::from(size)));
    let (from, size) = start(32).or_else(|| start(48))?;
    der.get(from..from + size)
}

/// `octets` as they stand, in hexadecimal, as strace and Rust's `{:?}` print them, and the part of their base64 that does not
/// depend on what stands before and after.
fn forms(octets: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![octets.to_vec(), HEXLOWER.encode(octets).into_bytes(), HEXUPPER.encode(octets).into_bytes()];
    forms.push(format!("{octets:?}").trim_matches(['[', ']']).as_bytes().to_vec());
    for before in 0..3 {
        let mut shifted = vec![0; before];
        shifted.extend_from_slice(octets);
        shifted.truncate(shifted.len() / 3 * 3);
        for encoding in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
            // The first four characters also depend on what stands before.
            forms.push(encoding.encode(&shifted).into_bytes().split_off(if before == 0 { 0 } else { 4 }));
        }
    }
    // A line break of PEM may stand in the middle: any eighteen characters in a row tell.
    let pieces: Vec<Vec<u8>> = forms[4..]
        .iter()
        .flat_map(|form| [form[..18.min(form.len())].to_vec(), form[form.len() - 18.min(form.len())..].to_vec()])
        .collect();
    forms.extend(pieces.into_iter().filter(|piece| piece.len() >= 16));
    forms.sort();
    forms.dedup();
    forms
}

#[test]
fn every_form_of_a_planted_secret_is_found_and_nothing_else() {
    let mut needles = Needles::default();
    let pair = rcgen::KeyPair::generate().expect("a key");
    let pem = pair.serialize_pem();
    needles.add_key("key", &pem);
    needles.add_word("token", "correct horse battery");
    assert_eq!(needles.count(), 2);
    for (name, form) in needles.all() {
        let planted = [b"log line before: ", form, b" and after\n"].concat();
        assert_eq!(needles.found_in(&planted), [name]);
    }
    let der = pair.serialize_der();
    let whole = [
        pem.clone().into_bytes(),
        pem.replace('\n', "\\n").into_bytes(),
        der.clone(),
        format!("{der:?}").into_bytes(),
        BASE64URL_NOPAD.encode(&der).into_bytes(),
        HEXLOWER.encode(&der).into_bytes(),
        data_encoding::BASE64.encode(format!("user:{pem}").as_bytes()).into_bytes(),
    ];
    for (number, text) in whole[..6].iter().enumerate() {
        assert_eq!(needles.found_in(text), ["key"], "form {number}");
    }
    assert_eq!(needles.found_in(&BASE64_NOPAD.encode(b"user:correct horse battery").into_bytes()), ["token"]);
    let public = pair.public_key_pem();
    let other = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    for harmless in [public.as_str(), &other, "", "a correct horse, and a battery"] {
        assert_eq!(needles.found_in(harmless.as_bytes()), [] as [&str; 0], "{harmless}");
    }
}
