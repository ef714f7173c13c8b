//! Services whose words before TLS are no text: PostgreSQL, MySQL, LDAP. Each message is read to exactly its end, so that what
//! follows in plain text meets the TLS library, which refuses it.

use super::{MAX_REPLY, quoted, refused};
use crate::probe::dial::broken;
use crate::probe::label::{Label, Trouble};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// `SSLRequest`: its length and the number that stands where the protocol's version would be.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// PostgreSQL answers an `SSLRequest` with one octet.
pub(super) async fn postgres<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Trouble> {
    send(stream, &SSL_REQUEST).await?;
    let mut answer = [0];
    read(stream, &mut answer).await?;
    match answer {
        [b'S'] => Ok(()),
        [b'N'] => Err(refused("the server answers N to an SSLRequest: it has no TLS".to_owned())),
        [b'E'] => {
            let mut more = vec![0; MAX_REPLY];
            let count = stream.read(&mut more).await.map_err(|error| broken(&error))?;
            Err(refused(format!("the server answers an error to an SSLRequest: {}", shown(&more[..count]))))
        }
        [other] => Err(refused(format!("an SSLRequest is answered {:?}: this is no PostgreSQL", char::from(other)))),
    }
}

/// What a client says it can do: TLS, the protocol of MySQL 4.1, and its way to log in.
const CAN: u32 = CAN_TLS | 0x0200 | 0x8000;
const CAN_TLS: u32 = 0x0800;
/// `utf8mb4_general_ci`, which every version knows.
const CHARACTERS: u8 = 45;
/// What a client's packet that asks for TLS holds.
const TLS_REQUEST: u8 = 32;
/// Where the lower half of what the server can do stands, behind its version.
const CAN_AT: usize = 4 + 8 + 1;

/// MySQL and MariaDB greet with what they can do.
pub(super) async fn mysql<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Trouble> {
    let mut head = [0; 4];
    read(stream, &mut head).await?;
    let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
    if head[3] != 0 || length == 0 || length > MAX_REPLY {
        return Err(no_greeting("MySQL", &head));
    }
    let mut greeting = vec![0; length];
    read(stream, &mut greeting).await?;
    match greeting.as_slice() {
        // Too many connections, or a host that is blocked: that says nothing about its certificate.
        [0xff, _, _, why @ ..] => {
            let message = format!("MySQL greets with an error: {}", shown(why));
            Err(Trouble::silent(Label::StarttlsRefused, message))
        }
        [10, rest @ ..] => {
            let version = rest.split(|byte| *byte == 0).next().unwrap_or_default();
            let can = rest.get(version.len() + 1..).and_then(|fixed| fixed.get(CAN_AT..CAN_AT + 2));
            let Some([low, high]) = can else { return Err(no_greeting("MySQL", &greeting)) };
            if u32::from(u16::from_le_bytes([*low, *high])) & CAN_TLS == 0 {
                return Err(refused(format!("MySQL {} does not offer TLS", shown(version))));
            }
            let mut request = vec![TLS_REQUEST, 0, 0, 1];
            request.extend(CAN.to_le_bytes());
            request.extend(u32::MAX.to_le_bytes());
            request.push(CHARACTERS);
            request.resize(4 + usize::from(TLS_REQUEST), 0);
            send(stream, &request).await
        }
        other => Err(no_greeting("MySQL", other)),
    }
}

/// The extended request `StartTLS`, message 1 (RFC 4511 §4.14.1).
const START_TLS: &[u8; 31] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// LDAP answers an extended request with a result code.
pub(super) async fn ldap<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Trouble> {
    send(stream, START_TLS).await?;
    let mut head = [0; 2];
    read(stream, &mut head).await?;
    let length = match head {
        [0x30, short @ ..=0x7f] => usize::from(short),
        [0x30, long @ 0x81..=0x84] => {
            let mut octets = vec![0; usize::from(long & 0x7f)];
            read(stream, &mut octets).await?;
            octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet))
        }
        _ => return Err(no_answer(&head)),
    };
    if length > MAX_REPLY {
        return Err(refused(format!("LDAP announces an answer of {length} bytes; at most {MAX_REPLY} are read")));
    }
    let mut answer = vec![0; length];
    read(stream, &mut answer).await?;
    // Message 1, the response to an extended request (0x78) with a length of any form, and its result code.
    let response = answer.strip_prefix(&[2, 1, 1, 0x78]).ok_or_else(|| no_answer(&answer))?;
    let skip = match response {
        [..=0x7f, ..] => 1,
        [long, ..] => 1 + usize::from(long & 0x7f),
        [] => 0,
    };
    match response.get(skip..) {
        Some([10, 1, 0, ..]) => Ok(()),
        Some([10, 1, code, rest @ ..]) => {
            Err(refused(format!("StartTLS is answered with result code {code}: {}", shown(rest))))
        }
        _ => Err(no_answer(&answer)),
    }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), Trouble> {
    stream.write_all(bytes).await.map_err(|error| broken(&error))?;
    stream.flush().await.map_err(|error| broken(&error))
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S, into: &mut [u8]) -> Result<(), Trouble> {
    stream.read_exact(into).await.map(drop).map_err(|error| broken(&error))
}

fn no_greeting(service: &str, bytes: &[u8]) -> Trouble {
    refused(format!("this is no greeting of {service}: {}", shown(bytes)))
}

fn no_answer(bytes: &[u8]) -> Trouble {
    refused(format!("this is no answer of LDAP: {}", shown(bytes)))
}

/// What can be read in `bytes`.
fn shown(bytes: &[u8]) -> String {
    let text =
        String::from_utf8_lossy(bytes).replace(|it: char| it.is_control() || it == char::REPLACEMENT_CHARACTER, " ");
    quoted(text.trim())
}

#[cfg(test)]
mod tests {
    use crate::config::spec::StartTls;
    use crate::probe::label::{Label, Trouble};
    use crate::probe::starttls::negotiate;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A server that says `greeting`, waits a little for one message, says `answer`, and hangs up. Gives what it was told, too.
    fn talk(kind: StartTls, greeting: &[u8], answer: &[u8]) -> (Result<(), Trouble>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut near, mut far) = tokio::io::duplex(64 * 1024);
            let server = async move {
                let _ = far.write_all(greeting).await;
                let mut heard = vec![0; 256];
                let asked = tokio::time::timeout(Duration::from_millis(200), far.read(&mut heard)).await;
                let count = asked.map_or(0, |asked| asked.unwrap_or(0));
                let _ = far.write_all(answer).await;
                heard.truncate(count);
                heard
            };
            let client = async move {
                let limit = Duration::from_secs(5);
                let said = tokio::time::timeout(limit, negotiate(&mut near, kind, None)).await.expect("it ends");
                drop(near);
                said
            };
            tokio::join!(client, server)
        })
    }

    /// MySQL's first packet, offering TLS or not.
    fn greeting(version: &str, can: u16) -> Vec<u8> {
        let mut body = vec![10];
        body.extend(version.bytes());
        body.extend([0, 1, 0, 0, 0]);
        body.extend(*b"12345678\0");
        body.extend(can.to_le_bytes());
        body.extend([45, 2, 0, 0xff, 0x81, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut packet = vec![u8::try_from(body.len()).unwrap(), 0, 0, 0];
        packet.extend(body);
        packet
    }

    #[test]
    fn each_service_is_asked_in_its_own_words() {
        let (said, heard) = talk(StartTls::Postgres, b"", b"S");
        assert_eq!((said, heard.as_slice()), (Ok(()), &b"\0\0\0\x08\x04\xd2\x16\x2f"[..]));
        let (said, heard) = talk(StartTls::Mysql, &greeting("8.4.3", 0xffff), b"");
        assert_eq!((said, heard.len(), &heard[..5]), (Ok(()), 36, &[32, 0, 0, 1, 0][..]));
        assert_eq!(heard[5] & 0x8a, 0x8a, "TLS, 4.1 and its login");
        let (said, heard) = talk(StartTls::Ldap, b"", b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00");
        assert_eq!((said, heard.len()), (Ok(()), 31));
        let long = b"\x30\x84\0\0\0\x10\x02\x01\x01\x78\x84\0\0\0\x07\x0a\x01\x00\x04\x00\x04\x00";
        assert_eq!(talk(StartTls::Ldap, b"", long).0, Ok(()), "as Active Directory writes lengths");
    }

    #[test]
    fn refusals_and_foreign_tongues_are_quoted() {
        let without = greeting("8.4.3", 0xf7ff);
        let blocked = b"\x1c\0\0\0\xff\x69\x04Host 'a' is not allowed to";
        for (kind, greeting, answer, word) in [
            (StartTls::Postgres, &b""[..], &b"N"[..], "has no TLS"),
            (StartTls::Postgres, b"", b"Eunsupported frontend protocol\0", "unsupported frontend"),
            (StartTls::Postgres, b"", b"HTTP/1.1 400", "no PostgreSQL"),
            (StartTls::Mysql, &without, b"", "8.4.3"),
            (StartTls::Mysql, blocked, b"", "not allowed"),
            (StartTls::Mysql, b"SSH-2.0-OpenSSH_9.2\r\n", b"", "no greeting"),
            (StartTls::Mysql, b"\x02\0\0\0\x0a\x00", b"", "no greeting"),
            (StartTls::Mysql, b"\xff\xff\xff\0", b"", "no greeting"),
            (StartTls::Ldap, b"", b"\x30\x0e\x02\x01\x01\x78\x09\x0a\x01\x02\x04\x00\x04\x02no", "code 2"),
            (StartTls::Ldap, b"", b"\x30\x05\x02\x01\x02\x78\x00", "no answer"),
            (StartTls::Ldap, b"", b"\x30\x04\x02\x01\x01\x78", "no answer"),
            (StartTls::Ldap, b"", b"\x30\x05\x02\x01\x01\x78\xff", "no answer"),
            (StartTls::Ldap, b"", b"220 mail\r\n", "no answer"),
            (StartTls::Ldap, b"", b"\x30\x84\x7f\xff\xff\xff", "at most"),
        ] {
            let trouble = talk(kind, greeting, answer).0.unwrap_err();
            assert_eq!(trouble.label, Label::StarttlsRefused, "{trouble:?}");
            assert!(trouble.message.contains(word), "{trouble:?}");
        }
    }

    #[test]
    fn who_hangs_up_is_said_to() {
        for kind in [StartTls::Postgres, StartTls::Mysql, StartTls::Ldap, StartTls::Pop3] {
            for greeting in [&b""[..], b"\x30", b"\x4a\0\0\0\x0a8"] {
                let label = talk(kind, greeting, b"").0.unwrap_err().label;
                assert!(matches!(label, Label::ConnClosed | Label::StarttlsRefused), "{kind:?} {greeting:?} {label:?}");
            }
        }
    }
}
