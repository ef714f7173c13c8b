//! What is said before TLS: SMTP (RFC 3207), IMAP (RFC 9051 §6.2.1) and POP3 (RFC 2595 §4) in text; `binary` has the others.
//!
//! Replies are read whole, within bounds, and nothing may follow one before the next command is sent: what a man in the middle
//! adds to a reply in plain text must not be taken for the server's after the handshake.

mod binary;

use super::label::{Label, Trouble};
use crate::config::spec::StartTls;
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What is read of one reply: real ones have a few hundred bytes.
const MAX_REPLY: usize = 16 * 1024;

/// Brings `stream` to where TLS begins. `own` is this end's address.
///
/// # Errors
/// [`Label::StarttlsRefused`] when the server speaks, but not of TLS; what broke the connection otherwise.
pub async fn negotiate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    kind: StartTls,
    own: Option<IpAddr>,
) -> Result<(), Trouble> {
    match kind {
        StartTls::No => Ok(()),
        StartTls::Smtp => smtp(stream, own).await,
        StartTls::Imap => imap(stream).await,
        StartTls::Pop3 => pop3(stream).await,
        StartTls::Postgres => binary::postgres(stream).await,
        StartTls::Mysql => binary::mysql(stream).await,
        StartTls::Ldap => binary::ldap(stream).await,
    }
}

async fn smtp<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, own: Option<IpAddr>) -> Result<(), Trouble> {
    let greeting = reply(stream, smtp_complete).await?;
    if !greeting.starts_with("220") {
        // Busy, or no mail server: that says nothing about its certificate.
        return Err(Trouble::silent(Label::StarttlsRefused, format!("the SMTP greeting is {}", quoted(&greeting))));
    }
    let hello = match own {
        Some(IpAddr::V6(address)) => format!("EHLO [IPv6:{address}]\r\n"),
        Some(IpAddr::V4(address)) => format!("EHLO [{address}]\r\n"),
        None => "EHLO localhost\r\n".to_owned(),
    };
    let offers = ask(stream, &hello, smtp_complete).await?;
    let offered = offers.lines().any(|line| line.get(4..).is_some_and(|verb| verb.eq_ignore_ascii_case("STARTTLS")));
    if !offers.starts_with("250") || !offered {
        return Err(refused(format!("EHLO is answered without STARTTLS: {}", quoted(&offers))));
    }
    let answer = ask(stream, "STARTTLS\r\n", smtp_complete).await?;
    if answer.starts_with("220") { Ok(()) } else { Err(refused(format!("STARTTLS is answered {}", quoted(&answer)))) }
}

async fn imap<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Trouble> {
    let greeting = reply(stream, |text| text.ends_with('\n')).await?;
    if !greeting.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("* OK")) {
        return Err(Trouble::silent(Label::StarttlsRefused, format!("the IMAP greeting is {}", quoted(&greeting))));
    }
    let answer = ask(stream, "a1 STARTTLS\r\n", imap_complete).await?;
    match answer.lines().last() {
        Some(last) if last.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("a1 OK")) => Ok(()),
        _ => Err(refused(format!("STARTTLS is answered {}", quoted(&answer)))),
    }
}

async fn pop3<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Trouble> {
    let greeting = reply(stream, pop3_complete).await?;
    if !greeting.starts_with("+OK") {
        return Err(Trouble::silent(Label::StarttlsRefused, format!("the POP3 greeting is {}", quoted(&greeting))));
    }
    let answer = ask(stream, "STLS\r\n", pop3_complete).await?;
    if answer.starts_with("+OK") { Ok(()) } else { Err(refused(format!("STLS is answered {}", quoted(&answer)))) }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    command: &str,
    complete: impl Fn(&str) -> bool,
) -> Result<String, Trouble> {
    stream.write_all(command.as_bytes()).await.map_err(|error| super::dial::broken(&error))?;
    stream.flush().await.map_err(|error| super::dial::broken(&error))?;
    reply(stream, complete).await
}

/// One whole reply. What follows its last line in the same packet makes it incomplete to `complete`, and is refused.
async fn reply<S: AsyncRead + Unpin>(stream: &mut S, complete: impl Fn(&str) -> bool) -> Result<String, Trouble> {
    let mut bytes = Vec::with_capacity(512);
    loop {
        let mut chunk = [0; 512];
        match stream.read(&mut chunk).await {
            Ok(0) => return Err(Trouble::answered(Label::ConnClosed, "the connection is closed before STARTTLS")),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) => return Err(super::dial::broken(&error)),
        }
        let text = String::from_utf8_lossy(&bytes);
        if complete(&text) {
            return Ok(text.into_owned());
        }
        if bytes.len() > MAX_REPLY {
            return Err(refused(format!("a reply of more than {MAX_REPLY} bytes: {}", quoted(&text))));
        }
        if text.lines().rev().skip(1).any(final_line) {
            return Err(refused(format!("something follows the reply in plain text: {}", quoted(&text))));
        }
    }
}

/// `220 text` ends a reply, `220-text` does not (RFC 5321 §4.2.1).
fn smtp_complete(text: &str) -> bool {
    let mut lines = text.lines();
    text.ends_with('\n') && lines.next_back().is_some_and(smtp_final) && !lines.any(smtp_final)
}

fn imap_complete(text: &str) -> bool {
    let mut lines = text.lines();
    text.ends_with('\n') && lines.next_back().is_some_and(imap_final) && !lines.any(imap_final)
}

/// One line (RFC 1939 §3).
fn pop3_complete(text: &str) -> bool {
    text.ends_with('\n') && text.lines().count() == 1
}

fn final_line(line: &str) -> bool {
    smtp_final(line) || imap_final(line) || pop3_final(line)
}

fn smtp_final(line: &str) -> bool {
    let bytes = line.as_bytes();
    bytes.len() >= 3 && bytes[..3].iter().all(u8::is_ascii_digit) && matches!(bytes.get(3), None | Some(b' '))
}

fn imap_final(line: &str) -> bool {
    line.get(..3).is_some_and(|tag| tag.eq_ignore_ascii_case("a1 "))
}

fn pop3_final(line: &str) -> bool {
    line.starts_with("+OK") || line.starts_with("-ERR")
}

fn refused(message: String) -> Trouble {
    Trouble::answered(Label::StarttlsRefused, message)
}

/// How much of a reply is quoted.
const QUOTED: usize = 200;

fn quoted(text: &str) -> String {
    format!("{:?}", text.trim_end().chars().take(QUOTED).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Plays a server that says `script[0]`, and after each command the next line.
    fn talk(kind: StartTls, script: &'static [&'static str]) -> Result<(), Trouble> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut near, mut far) = tokio::io::duplex(64 * 1024);
            let server = async {
                for line in script {
                    let _ = far.write_all(line.as_bytes()).await;
                    let mut command = [0; 256];
                    if !matches!(far.read(&mut command).await, Ok(count) if count > 0) {
                        return;
                    }
                }
            };
            let client = async {
                let limit = Duration::from_secs(5);
                tokio::time::timeout(limit, negotiate(&mut near, kind, None)).await.expect("it ends")
            };
            tokio::select! { result = client => result, () = async { server.await; std::future::pending().await } => unreachable!() }
        })
    }

    #[test]
    fn starttls_is_reached_over_several_lines() {
        assert_eq!(
            talk(StartTls::Smtp, &["220-a\r\n220 b\r\n", "250-x\r\n250-starttls\r\n250 OK\r\n", "220 go\r\n"]),
            Ok(())
        );
        assert_eq!(talk(StartTls::Imap, &["* OK hi\r\n", "* CAPABILITY X\r\na1 OK go\r\n"]), Ok(()));
        assert_eq!(talk(StartTls::Pop3, &["+OK hi\r\n", "+OK go\r\n"]), Ok(()));
    }

    #[test]
    fn a_refusal_is_quoted_and_a_busy_greeting_is_no_answer() {
        for (kind, script, answered, word) in [
            (StartTls::Smtp, &["421 busy\r\n"][..], false, "421 busy"),
            (StartTls::Smtp, &["220 a\r\n", "250 nothing\r\n"], true, "without STARTTLS"),
            (StartTls::Smtp, &["220 a\r\n", "250 STARTTLS\r\n", "454 no certificate\r\n"], true, "454"),
            (StartTls::Imap, &["* BYE\r\n"], false, "BYE"),
            (StartTls::Imap, &["* OK\r\n", "a1 BAD no\r\n"], true, "BAD"),
            (StartTls::Pop3, &["-ERR busy\r\n"], false, "busy"),
            (StartTls::Pop3, &["+OK\r\n", "-ERR command not permitted\r\n"], true, "not permitted"),
        ] {
            let trouble = talk(kind, script).unwrap_err();
            assert_eq!((trouble.label, trouble.answered), (Label::StarttlsRefused, answered), "{trouble:?}");
            assert!(trouble.message.contains(word), "{trouble:?}");
        }
    }

    #[test]
    fn plain_text_behind_a_reply_is_refused() {
        for (kind, script) in [
            (StartTls::Smtp, &["220 a\r\n", "250 STARTTLS\r\n", "220 go\r\n250 injected\r\n"][..]),
            (StartTls::Smtp, &["220 a\r\n", "250 STARTTLS\r\n", "220 go\r\ninjected"]),
            (StartTls::Imap, &["* OK\r\n", "a1 OK go\r\n* injected\r\n"]),
            (StartTls::Pop3, &["+OK\r\n", "+OK go\r\n+OK injected\r\n"]),
        ] {
            assert_eq!(talk(kind, script).unwrap_err().label, Label::StarttlsRefused, "{script:?}");
        }
    }

    #[test]
    fn a_reply_without_end_is_cut() {
        let endless: &'static str = Box::leak("220-x\r\n".repeat(MAX_REPLY / 5).into_boxed_str());
        let script: &'static [&'static str] = Box::leak(Box::new([endless]));
        assert!(talk(StartTls::Smtp, script).unwrap_err().message.contains("more than"));
    }
}
