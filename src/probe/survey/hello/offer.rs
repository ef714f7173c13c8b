//! What is offered, and how it is written down (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2).

use rustls::CipherSuite;

const TLS10: u16 = 0x0301;
const TLS11: u16 = 0x0302;
const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;
/// A version that will never be (RFC 8701).
const NEVER: u16 = 0x7a7a;

/// The suites of TLS 1.3.
const SUITES_13: [u16; 5] = [0x1301, 0x1302, 0x1303, 0x1304, 0x1305];
/// All others that servers are known to have, the better first: a server that follows the client's order shows its best.
#[rustfmt::skip]
const SUITES: [u16; 115] = [
    // ECDHE with an AEAD: what current clients have.
    0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
    // ECDHE with CCM, ARIA or Camellia: AEADs that clients do not have.
    0xc0ac, 0xc0ad, 0xc0ae, 0xc0af, 0xc05c, 0xc05d, 0xc060, 0xc061, 0xc086, 0xc087, 0xc08a, 0xc08b,
    // DHE with an AEAD.
    0x009e, 0x009f, 0xccaa, 0x00a2, 0x00a3, 0xc09e, 0xc09f, 0xc0a2, 0xc0a3, 0xc052, 0xc053, 0xc07c, 0xc07d,
    // ECDHE, then DHE, with CBC.
    0xc023, 0xc024, 0xc027, 0xc028, 0xc009, 0xc00a, 0xc013, 0xc014, 0xc072, 0xc073, 0xc076, 0xc077,
    0x0067, 0x006b, 0x0033, 0x0039, 0x0040, 0x006a, 0x0032, 0x0038, 0x0045, 0x0088, 0x00be, 0x00c4,
    // Static keys: ECDH, RSA.
    0xc02d, 0xc02e, 0xc031, 0xc032, 0xc025, 0xc026, 0xc029, 0xc02a, 0xc004, 0xc005, 0xc00e, 0xc00f,
    0x009c, 0x009d, 0xc09c, 0xc09d, 0xc0a0, 0xc0a1, 0xc050, 0xc051, 0xc07a, 0xc07b,
    0x003c, 0x003d, 0x002f, 0x0035, 0x0041, 0x0084, 0x00ba, 0x00c0, 0x0096, 0x0007,
    // 3DES, RC4, DES.
    0xc008, 0xc012, 0x0016, 0x0013, 0x000a, 0xc007, 0xc011, 0x0005, 0x0004, 0x0015, 0x0009,
    // For export, without encryption, without a certificate.
    0x0014, 0x0008, 0x0006, 0x0003, 0xc006, 0xc010, 0x003b, 0x0002, 0x0001,
    0x00a6, 0x00a7, 0x006c, 0x006d, 0xc018, 0xc019, 0x0034, 0x003a,
];
/// "Secure renegotiation is understood" (RFC 5746 §3.3), which some servers insist on.
const RENEGOTIATION_INFO: u16 = 0x00ff;

/// X25519, the P curves, X448, the post-quantum hybrid.
const CURVES: [u16; 6] = [0x001d, 0x0017, 0x0018, 0x0019, 0x001e, 0x11ec];
/// The finite-field groups of RFC 7919. To a server with a group of its own they would say that it is not wanted, so only
/// TLS 1.3 is asked with them.
const FINITE_FIELDS: [u16; 5] = [0x0100, 0x0101, 0x0102, 0x0103, 0x0104];
/// ECDSA, `EdDSA`, RSA-PSS (both kinds of key), PKCS #1, SHA-1, DSA.
const SIGNATURES: [u16; 20] = [
    0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0809, 0x080a, 0x080b, 0x0401, 0x0501, 0x0601,
    0x0303, 0x0301, 0x0203, 0x0201, 0x0402, 0x0202,
];
/// The base point of X25519: a share that is valid, and of which nothing is ever made.
const SHARE: [u8; 32] = {
    let mut share = [0; 32];
    share[0] = 9;
    share
};
/// Some old load balancers hang on a hello of 256 to 511 bytes (RFC 7685).
const UNLUCKY: std::ops::Range<usize> = 256..512;

/// What a `ClientHello` offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// TLS 1.0 to 1.3 with all suites, groups and signatures.
    Everything,
    /// The same without ephemeral finite-field Diffie-Hellman.
    WithoutDhe,
    /// TLS 1.2 alone, as it was offered before TLS 1.3 came.
    Tls12,
    /// TLS 1.0 and 1.1 alone.
    Old,
    /// A version that there is not, which nobody should take.
    Unheard,
}

impl Offer {
    /// How many suites it offers.
    #[must_use]
    pub fn suites(self) -> usize {
        self.codes().len()
    }

    fn codes(self) -> Vec<u16> {
        let new: &[u16] = if self.newest() == TLS13 { &SUITES_13 } else { &[] };
        let all = new.iter().chain(&SUITES).copied();
        all.filter(|code| self != Self::WithoutDhe || !is_dhe(CipherSuite::from(*code))).collect()
    }

    const fn newest(self) -> u16 {
        match self {
            Self::Everything | Self::WithoutDhe | Self::Unheard => TLS13,
            Self::Tls12 => TLS12,
            Self::Old => TLS11,
        }
    }

    /// The record to send, for `name` and with these random octets.
    pub(super) fn encode(self, name: Option<&str>, random: &[u8; 64]) -> Vec<u8> {
        let mut hello = self.hello(name, random, None);
        if UNLUCKY.contains(&hello.len()) {
            // Four bytes of it are the padding's own header.
            let room = UNLUCKY.end - hello.len();
            hello = self.hello(name, random, Some(room.saturating_sub(4)));
        }
        let mut record = vec![22];
        put(&mut record, TLS10);
        sized(&mut record, 2, |record| record.extend(hello));
        record
    }

    fn hello(self, name: Option<&str>, random: &[u8; 64], padding: Option<usize>) -> Vec<u8> {
        let mut out = vec![1];
        sized(&mut out, 3, |out| {
            put(out, self.newest().min(TLS12));
            let (random, session) = random.split_at(32);
            out.extend(random);
            // TLS 1.3 hides behind a session that looks resumed (RFC 8446 §D.4).
            sized(out, 1, |out| out.extend(if self.newest() == TLS13 { session } else { &[] }));
            sized(out, 2, |out| self.codes().into_iter().chain([RENEGOTIATION_INFO]).for_each(|code| put(out, code)));
            // No compression.
            out.extend([1, 0]);
            sized(out, 2, |out| self.extensions(out, name, padding));
        });
        out
    }

    fn extensions(self, out: &mut Vec<u8>, name: Option<&str>, padding: Option<usize>) {
        if let Some(name) = name {
            extension(out, 0, |out| {
                sized(out, 2, |out| {
                    out.push(0);
                    sized(out, 2, |out| out.extend(name.bytes()));
                });
            });
        }
        let finite: &[u16] = if self == Self::Everything { &FINITE_FIELDS } else { &[] };
        extension(out, 10, |out| list(out, CURVES.iter().chain(finite)));
        // Points uncompressed.
        extension(out, 11, |out| out.extend([1, 0]));
        // The extended master secret.
        extension(out, 23, |_| ());
        if self.newest() >= TLS12 {
            extension(out, 13, |out| list(out, &SIGNATURES));
        }
        if self.newest() == TLS13 {
            let versions = if self == Self::Unheard { &[NEVER][..] } else { &[TLS13, TLS12, TLS11, TLS10] };
            extension(out, 43, |out| sized(out, 1, |out| versions.iter().for_each(|version| put(out, *version))));
            extension(out, 51, |out| {
                sized(out, 2, |out| {
                    put(out, CURVES[0]);
                    sized(out, 2, |out| out.extend(SHARE));
                });
            });
        }
        if let Some(length) = padding {
            extension(out, 21, |out| out.resize(out.len() + length, 0));
        }
    }
}

/// A suite by its name in the registry.
pub(crate) fn named(suite: CipherSuite) -> String {
    match suite.as_str() {
        Some(name) => name.replacen("TLS13_", "TLS_", 1),
        None => format!("{:#06x}", u16::from(suite)),
    }
}

/// Whether the key is agreed on by ephemeral finite-field Diffie-Hellman.
pub(super) fn is_dhe(suite: CipherSuite) -> bool {
    let name = named(suite);
    name.starts_with("TLS_DHE_") || name.starts_with("TLS_DH_anon_")
}

pub(in crate::probe::survey) fn extension(out: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    put(out, kind);
    sized(out, 2, body);
}

pub(in crate::probe::survey) fn list<'a>(out: &mut Vec<u8>, codes: impl IntoIterator<Item = &'a u16>) {
    sized(out, 2, |out| codes.into_iter().for_each(|code| put(out, *code)));
}

pub(in crate::probe::survey) fn put(out: &mut Vec<u8>, number: u16) {
    out.extend(number.to_be_bytes());
}

/// What `body` writes, behind its length in `width` octets.
pub(in crate::probe::survey) fn sized(out: &mut Vec<u8>, width: usize, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    body(out);
    let length = (out.len() - begin).to_be_bytes();
    out.splice(begin..begin, length[length.len() - width..].iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::server::Acceptor;

    #[test]
    fn a_server_reads_what_was_meant() {
        for (offer, dhe) in [(Offer::Everything, true), (Offer::WithoutDhe, false), (Offer::Tls12, true)] {
            for name in [Some("a.example"), None] {
                let record = offer.encode(name, &[7; 64]);
                assert!(!UNLUCKY.contains(&(record.len() - 5)), "{offer:?}: {}", record.len());
                let mut acceptor = Acceptor::default();
                acceptor.read_tls(&mut &record[..]).unwrap();
                let accepted = acceptor.accept().map_err(|(error, _)| error).unwrap().unwrap();
                let hello = accepted.client_hello();
                assert_eq!(hello.server_name(), name);
                let suites = hello.cipher_suites();
                assert_eq!(suites.len(), offer.suites() + 1);
                assert_eq!(suites.iter().any(|suite| is_dhe(*suite)), dhe);
                assert!(suites.iter().all(|suite| suite.as_str().is_some()), "{suites:?}");
                assert_eq!(hello.signature_schemes().len(), SIGNATURES.len());
            }
        }
    }

    #[test]
    fn no_suite_is_offered_twice() {
        let mut sorted = SUITES.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), SUITES.len());
    }
}
