//! What hooks, servers and strangers say.

use super::said;
use everleaf::config::spec::StartTls;
use everleaf::deploy;
use everleaf::hook::{Output, Stream};
use everleaf::probe::negotiate;
use everleaf::solver::{Asked, asked};
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
