//! The hellos of the client that can be asked later.

use crate::probe::survey::hello::answer::RETRY;
use crate::probe::survey::hello::offer::{extension, list, put, sized};
use aws_lc_rs::rand;
use rustls::pki_types::ServerName;

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;
/// `TLS_AES_128_GCM_SHA256`, which every implementation has (RFC 8446 §9.1).
const SUITE: u16 = 0x1301;
const X25519: u16 = 0x001d;
/// ECDSA, `EdDSA`, RSA-PSS and PKCS #1.
const SIGNATURES: [u16; 11] = [0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0809, 0x0401, 0x0501, 0x0601];
const KEY_SHARE: u16 = 51;
const POST_HANDSHAKE_AUTH: u16 = 49;

/// The client's message.
pub(super) fn client(name: &ServerName<'_>, share: &[u8]) -> Vec<u8> {
    // Nothing here is secret: without random octets it is a ClientHello all the same.
    let mut random = [0; 64];
    let _same_for_all = rand::fill(&mut random).is_err();
    let mut out = vec![1];
    sized(&mut out, 3, |out| {
        put(out, TLS12);
        out.extend(&random[..32]);
        // A session that looks resumed, for boxes in between (RFC 8446 §D.4).
        sized(out, 1, |out| out.extend(&random[32..]));
        sized(out, 2, |out| put(out, SUITE));
        out.extend([1, 0]);
        sized(out, 2, |out| extensions(out, name, share));
    });
    out
}

fn extensions(out: &mut Vec<u8>, name: &ServerName<'_>, share: &[u8]) {
    if let ServerName::DnsName(name) = name {
        extension(out, 0, |out| {
            sized(out, 2, |out| {
                out.push(0);
                sized(out, 2, |out| out.extend(name.as_ref().bytes()));
            });
        });
    }
    extension(out, 10, |out| list(out, &[X25519]));
    extension(out, 13, |out| list(out, &SIGNATURES));
    extension(out, 16, |out| sized(out, 2, |out| sized(out, 1, |out| out.extend(b"http/1.1"))));
    extension(out, 43, |out| sized(out, 1, |out| put(out, TLS13)));
    extension(out, POST_HANDSHAKE_AUTH, |_| ());
    extension(out, KEY_SHARE, |out| {
        sized(out, 2, |out| {
            put(out, X25519);
            sized(out, 2, |out| out.extend(share));
        });
    });
}

/// The server's share of the key, in its message; none where it chose something else than was offered. Total.
pub(super) fn share(message: &[u8]) -> Option<Vec<u8>> {
    let rest = message.get(4 + 2..)?;
    let (random, rest) = rest.split_at_checked(RETRY.len())?;
    let (session, rest) = rest.split_first()?;
    // The suite, no compression, the length of the extensions.
    let (fixed, mut rest) = rest.get(usize::from(*session)..)?.split_at_checked(5)?;
    if random == RETRY || u16::from_be_bytes([fixed[0], fixed[1]]) != SUITE {
        return None;
    }
    while let [kind_high, kind_low, high, low, body @ ..] = rest {
        let (body, after) = body.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        if u16::from_be_bytes([*kind_high, *kind_low]) == KEY_SHARE {
            let [group_high, group_low, _, _, share @ ..] = body else { return None };
            return (u16::from_be_bytes([*group_high, *group_low]) == X25519).then(|| share.to_vec());
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::server::Acceptor;

    #[test]
    fn a_server_reads_what_was_meant() {
        let message = client(&ServerName::try_from("a.example").unwrap(), &[9; 32]);
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        let record = [&[22, 3, 1][..], &length, &message].concat();
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut &record[..]).unwrap();
        let accepted = acceptor.accept().map_err(|(error, _)| error).unwrap().unwrap();
        let hello = accepted.client_hello();
        assert_eq!((hello.server_name(), hello.cipher_suites().len()), (Some("a.example"), 1));
        assert!(hello.alpn().unwrap().eq([b"http/1.1"]));
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200), tls: bool) {
            let begin = [&[2, 0, 0, 0, 3, 3][..], &[5; 32], &[0, 0x13, 1, 0, 0, 0]].concat();
            let _any = share(&if tls { [begin, bytes].concat() } else { bytes });
        }
    }
}
