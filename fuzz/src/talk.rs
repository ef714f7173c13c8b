//! What hooks, servers and strangers say.

use super::said;
use everleaf::config::spec::StartTls;
use everleaf::deploy;
use everleaf::hook::{Output, Stream};
use everleaf::probe::checks::http::{Policy, judge};
use everleaf::probe::checks::{clock, hsts};
use everleaf::probe::configured::{haproxy, nginx};
use everleaf::probe::negotiate;
use everleaf::probe::survey::hello::{Answer, End, Reader};
use everleaf::probe::survey::http::{Parsed, Reply, Spoken, parse};
use everleaf::solver::{Asked, asked};
use everleaf::types::Timestamp;
use futures_util::FutureExt as _;

/// What is kept of a hook's standard output.
const MOST_KEPT: usize = 64 * 1024;
/// The last lines of it that are told.
const MOST_LINES: usize = 20;

/// What a hook prints, read in pieces as pipes give them.
pub(crate) fn hook_output(bytes: &[u8]) {
    let mut output = Output::new("node edge1, deploy hook /usr/local/bin/hook");
    // The first byte says how large the pieces are.
    let size = usize::from(bytes.first().copied().unwrap_or(1)).max(1) * 64;
    for (number, piece) in bytes.chunks(size).enumerate() {
        output.feed(if number % 3 == 2 { Stream::Stderr } else { Stream::Stdout }, piece);
    }
    output.finish();
    assert!(output.stdout.len() <= MOST_KEPT, "{} bytes are kept", output.stdout.len());
    assert!(output.last.len() <= MOST_LINES, "{} lines are kept", output.last.len());
    output.last.iter().for_each(said::printable);
}

pub(crate) fn hook_answer(stdout: &[u8]) {
    match deploy::inspection(stdout) {
        Ok(published) => said::again(&published),
        Err(why) => said::line(&why),
    }
}

pub(crate) fn http_head(bytes: &[u8]) {
    let head = String::from_utf8_lossy(bytes);
    if let Asked::Path { path, .. } = asked(&head) {
        assert!(
            !path.contains('?') && path.bytes().all(|byte| byte.is_ascii_graphic()) && head.contains(path),
            "{path:?}"
        );
    }
}

/// A mail server's side of a conversation, all of it sent at once.
pub(crate) fn starttls(bytes: &[u8]) {
    for kind in [StartTls::Smtp, StartTls::Imap] {
        let mut stream = tokio::io::join(bytes, tokio::io::sink());
        let ended = negotiate(&mut stream, kind, None).now_or_never().expect("nothing is waited for");
        if let Err(trouble) = ended {
            said::failure(&trouble.failure(None, "mail.example.com"));
        }
    }
}

/// The head of a response, and all that is said of it: as what HTTPS and what port 80 answered.
pub(crate) fn http_reply(bytes: &[u8]) {
    let Parsed::Head(head) = parse(bytes) else { return };
    let first = Reply { path: "/".into(), head, at: Timestamp::from_secs(0) };
    let seen = clock::read(&first).map(clock::server);
    let spoken = Ok(Spoken { first, onward: Vec::new() });
    let host = "shop.example.com".parse().expect("a name");
    let policy = Policy {
        host: &host,
        port: 443,
        secure: &spoken,
        plain: Some(&spoken),
        plain_port: 80,
        certificate_good: true,
        client_certificate_asked: false,
        below: &[],
    };
    for found in judge(&policy).iter().chain(&seen) {
        said::printable(&found.seen);
        said::printable(&found.check);
    }
}

/// The value of a Strict-Transport-Security field.
pub(crate) fn hsts(bytes: &[u8]) {
    match hsts::parse(bytes) {
        Ok(_) => assert!(bytes.to_ascii_lowercase().windows(7).any(|word| word == b"max-age"), "a policy from nothing"),
        Err(why) => said::line(&why),
    }
}

/// What a TLS server answers to a hello. In pieces of any size it says the same, and no more is kept of it than was sent.
pub(crate) fn server_hello(bytes: &[u8]) {
    let whole = answered(bytes, bytes.len().max(1));
    let mut in_pieces = answered(bytes, usize::from(bytes.len().to_le_bytes()[0]) + 1);
    if let (End::Broken(one), End::Broken(other)) = (&whole.end, &mut in_pieces.end) {
        // As much is quoted as had come.
        assert_eq!(one.label, other.label);
        other.message.clone_from(&one.message);
    }
    assert_eq!(in_pieces, whole, "it depends on how it is cut");
    assert!(whole.chain.iter().map(|it| it.len() + 3).sum::<usize>() <= bytes.len(), "more certificates than bytes");
    assert!(whole.version.is_some() || whole.chain.is_empty() && whole.dh_bits.is_none(), "{whole:?}");
    if let End::Broken(trouble) = &whole.end {
        said::failure(&trouble.failure(None, "www.example.com"));
    }
}

fn answered(bytes: &[u8], piece: usize) -> Answer {
    let mut reader = Reader::default();
    let end = bytes.chunks(piece).find_map(|piece| reader.feed(piece));
    reader.ended(end.unwrap_or(End::Said))
}

/// A server's configuration, or what it lists as loaded.
pub(crate) fn configured(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let name = "shop.example.com".parse().expect("a name");
    let address = "127.0.0.1:443".parse().expect("an address");
    let found = [nginx::loads(&text, Some(&name), address), haproxy::loads(&text, 443), haproxy::listed(&text)];
    for loads in found.into_iter().flatten() {
        assert!(!loads.certificates.is_empty() || !loads.lists.is_empty(), "{loads:?}");
        assert!(loads.certificates.iter().chain(&loads.keys).all(|path| path.is_absolute()), "{loads:?}");
    }
    assert!(haproxy::list(&text).len() <= text.lines().count());
}
