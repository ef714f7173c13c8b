//! The key schedule and the record protection of TLS 1.3 (RFC 8446 §5.2, §7) for `TLS_AES_128_GCM_SHA256`.

use crate::types::sha256;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::hmac;

const HASH: usize = 32;
const KEY: usize = 16;
const IV: usize = 12;
const TAG: usize = 16;

type Secret = [u8; HASH];

/// The secrets of one connection.
pub(super) struct Schedule {
    /// Of the handshake.
    handshake: Secret,
    /// What was said up to the server's hello.
    hellos: Secret,
}

/// One side's keys.
pub(super) struct Keys {
    secret: Secret,
    key: LessSafeKey,
    iv: [u8; IV],
    /// Of the next record.
    sequence: u64,
}

impl Schedule {
    /// After the hellos; none where the server's share is none.
    pub(super) fn new(private: EphemeralPrivateKey, share: &[u8], transcript: &[u8]) -> Option<Self> {
        let shared = agree_ephemeral(private, UnparsedPublicKey::new(&X25519, share), (), |it| Ok(it.to_vec())).ok()?;
        let early = extract(&[0; HASH], &[0; HASH]);
        let handshake = extract(&derive(&early, "derived", &hash(&[])), &shared);
        Some(Self { handshake, hellos: hash(transcript) })
    }

    /// For the rest of the handshake: the server's keys and ours.
    pub(super) fn handshake(&self) -> Option<(Keys, Keys)> {
        let of = |label| Keys::new(derive(&self.handshake, label, &self.hellos));
        Some((of("s hs traffic")?, of("c hs traffic")?))
    }

    /// For what follows the server's Finished.
    pub(super) fn application(&self, transcript: &[u8]) -> Option<(Keys, Keys)> {
        let master = extract(&derive(&self.handshake, "derived", &hash(&[])), &[0; HASH]);
        let of = |label| Keys::new(derive(&master, label, &hash(transcript)));
        Some((of("s ap traffic")?, of("c ap traffic")?))
    }
}

impl Keys {
    fn new(secret: Secret) -> Option<Self> {
        let mut iv = [0; IV];
        iv.copy_from_slice(&expand(&secret, "iv", &[], IV)[..IV]);
        let key = UnboundKey::new(&AES_128_GCM, &expand(&secret, "key", &[], KEY)[..KEY]).ok()?;
        Some(Self { secret, key: LessSafeKey::new(key), iv, sequence: 0 })
    }

    /// Our Finished (RFC 8446 §4.4.4).
    pub(super) fn finished(&self, transcript: &[u8]) -> Vec<u8> {
        let proof = extract(&expand(&self.secret, "finished", &[], HASH), &hash(transcript));
        [&[super::FINISHED, 0, 0, 32][..], &proof].concat()
    }

    /// What a record holds, and of which type it is; none where it was not made with these keys.
    pub(super) fn open(&mut self, header: [u8; 5], mut body: Vec<u8>) -> Option<(u8, Vec<u8>)> {
        let nonce = self.nonce()?;
        let length = self.key.open_in_place(nonce, Aad::from(header), &mut body).ok()?.len();
        body.truncate(length);
        // The type stands before the padding.
        let end = body.iter().rposition(|octet| *octet != 0)?;
        let kind = body[end];
        body.truncate(end);
        Some((kind, body))
    }

    /// The body of a record with `text`, which is short.
    pub(super) fn seal(&mut self, kind: u8, text: &[u8]) -> Option<Vec<u8>> {
        let mut body = [text, &[kind]].concat();
        let [high, low] = u16::try_from(body.len() + TAG).ok()?.to_be_bytes();
        let nonce = self.nonce()?;
        self.key
            .seal_in_place_append_tag(nonce, Aad::from([super::APPLICATION_DATA, 3, 3, high, low]), &mut body)
            .ok()?;
        Some(body)
    }

    fn nonce(&mut self) -> Option<Nonce> {
        let mut nonce = self.iv;
        for (octet, number) in nonce[IV - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *octet ^= number;
        }
        self.sequence = self.sequence.checked_add(1)?;
        Some(Nonce::assume_unique_for_key(nonce))
    }
}

fn hash(bytes: &[u8]) -> Secret {
    *sha256(&[bytes]).as_bytes()
}

/// HKDF-Extract (RFC 5869 §2.2), which is HMAC.
fn extract(salt: &[u8], input: &[u8]) -> Secret {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), input);
    let mut secret = [0; HASH];
    secret.copy_from_slice(tag.as_ref());
    secret
}

/// HKDF-Expand-Label (RFC 8446 §7.1) of at most one block; what is longer than `length` is not to be used.
fn expand(secret: &Secret, label: &str, context: &[u8], length: usize) -> Secret {
    let octet = |length: usize| u8::try_from(length).unwrap_or(u8::MAX);
    let label = format!("tls13 {label}");
    let lengths = [0, octet(length), octet(label.len())];
    extract(secret, &[&lengths[..], label.as_bytes(), &[octet(context.len())], context, &[1]].concat())
}

/// Derive-Secret (RFC 8446 §7.1).
fn derive(secret: &Secret, label: &str, hash: &Secret) -> Secret {
    expand(secret, label, hash, HASH)
}
