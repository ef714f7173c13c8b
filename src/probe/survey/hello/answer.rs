//! What comes back: records, messages, and what they say in the clear. Reads any bytes, in pieces of any size, and keeps little.

use super::offer::{is_dhe, named};
use crate::probe::label::{Label, Trouble};
use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme};

/// What is read of one answer, several times what common clients take of certificates.
const MOST_RECEIVED: usize = 512 * 1024;
/// Fragments may be a little longer than 2^14 when encrypted (RFC 5246 §6.2.3).
const LONGEST_FRAGMENT: usize = (1 << 14) + 2048;
/// What is kept of something that is not TLS.
const QUOTED: usize = 64;
/// The random of a `HelloRetryRequest`, SHA-256 of those words (RFC 8446 §4.1.3).
pub(in crate::probe::survey) const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All was said that is said in the clear.
    Said,
    /// The server sent a fatal alert.
    Alert(AlertDescription),
    /// The connection did not come about, broke, stayed silent, or carried something else.
    Broken(Trouble),
}

/// What a server chose and showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The version it chose; none when it chose nothing.
    pub version: Option<ProtocolVersion>,
    /// The suite it chose.
    pub suite: Option<CipherSuite>,
    /// The group it chose, or asked for by `HelloRetryRequest`.
    pub group: Option<NamedGroup>,
    /// How long the prime of its own finite-field group is, in bits.
    pub dh_bits: Option<usize>,
    /// What it signed its key exchange with; from TLS 1.2 on.
    pub signature: Option<SignatureScheme>,
    /// The certificates as sent, leaf first; TLS 1.3 hides them.
    pub chain: Vec<CertificateDer<'static>>,
    /// How long its Certificate message is, in bytes; known also where it is too long to be read.
    pub certificate_bytes: Option<usize>,
    /// Whether it asked for a client certificate; TLS 1.3 hides that.
    pub client_certificate_asked: bool,
    /// How it ended.
    pub end: End,
}

impl Answer {
    /// The fatal alert it ended with.
    #[must_use]
    pub fn alert(&self) -> Option<AlertDescription> {
        if let End::Alert(alert) = self.end { Some(alert) } else { None }
    }
}

/// Reads an answer, piece by piece.
#[derive(Debug)]
pub struct Reader {
    received: usize,
    /// What is not yet a whole record.
    record: Vec<u8>,
    /// What is not yet a whole handshake message.
    message: Vec<u8>,
    answer: Answer,
}

impl Default for Reader {
    fn default() -> Self {
        let answer = Answer {
            version: None,
            suite: None,
            group: None,
            dh_bits: None,
            signature: None,
            chain: Vec::new(),
            certificate_bytes: None,
            client_certificate_asked: false,
            end: End::Said,
        };
        Self { received: 0, record: Vec::new(), message: Vec::new(), answer }
    }
}

impl Reader {
    /// Takes what was received; answers how it ended once that is known. Nothing may be fed after that.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<End> {
        let room = MOST_RECEIVED - self.received;
        let bytes = &bytes[..bytes.len().min(room)];
        self.received += bytes.len();
        self.record.extend_from_slice(bytes);
        self.records().or_else(|| (self.received == MOST_RECEIVED).then(|| garbled("it is too long")))
    }

    /// What was read, which ended as told.
    #[must_use]
    pub fn ended(mut self, end: End) -> Answer {
        self.answer.end = end;
        self.answer
    }

    fn records(&mut self) -> Option<End> {
        let mut done = 0;
        let mut end = None;
        while end.is_none() {
            let record = &self.record[done..];
            if !matches!(record, [] | [20..=23] | [20..=23, 3, ..]) {
                end = Some(if record.len() == self.received {
                    not_tls(record)
                } else {
                    garbled("no record follows the first")
                });
                break;
            }
            let [kind, _, _, high, low, rest @ ..] = record else { break };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length > LONGEST_FRAGMENT || length == 0 {
                end = Some(garbled("a record has an impossible length"));
                break;
            }
            let Some(body) = rest.get(..length) else { break };
            end = match kind {
                // A warning is followed by the answer.
                21 => alert(body),
                22 => {
                    self.message.extend_from_slice(body);
                    messages(&mut self.message, &mut self.answer)
                }
                _ => Some(garbled("what is encrypted comes before the server's hello")),
            };
            done += 5 + length;
        }
        self.record.drain(..done);
        end
    }
}

fn not_tls(bytes: &[u8]) -> End {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTED)]).into_owned();
    let message = format!("the peer answers with something that is not TLS: {text:?}");
    End::Broken(Trouble::answered(Label::NotTls, message))
}

fn garbled(why: &str) -> End {
    End::Broken(Trouble::answered(Label::HandshakeRefused, format!("the server's answer cannot be read: {why}")))
}

fn alert(body: &[u8]) -> Option<End> {
    match body {
        [1, code] if *code != 0 => None,
        [_, code] => Some(End::Alert(AlertDescription::from(*code))),
        _ => Some(garbled("an alert has another length than two")),
    }
}

fn messages(pending: &mut Vec<u8>, answer: &mut Answer) -> Option<End> {
    let mut done = 0;
    let mut end = None;
    while let [kind, length @ ..] = &pending[done..] {
        let Some((length, rest)) = length.split_at_checked(3) else { break };
        let length = usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
        if *kind == 11 {
            answer.certificate_bytes = Some(length);
        }
        if length > MOST_RECEIVED {
            end = Some(garbled("a message is too long"));
            break;
        }
        let Some(body) = rest.get(..length) else { break };
        let read = match kind {
            2 if answer.version.is_none() => server_hello(body, answer),
            11 => certificates(body, answer),
            12 => key_exchange(body, answer),
            13 => {
                answer.client_certificate_asked = true;
                Some(())
            }
            _ => Some(()),
        };
        done += 4 + length;
        end = match read {
            None => Some(garbled(&format!("message {kind} breaks its own lengths"))),
            Some(()) if answer.version.is_none() => Some(garbled("it does not begin with the server's hello")),
            // In TLS 1.3 all that follows is encrypted.
            Some(()) if *kind == 14 || answer.version == Some(ProtocolVersion::TLSv1_3) => Some(End::Said),
            Some(()) => None,
        };
        if end.is_some() {
            break;
        }
    }
    pending.drain(..done);
    end
}

fn server_hello(body: &[u8], answer: &mut Answer) -> Option<()> {
    let mut rest = body;
    let mut version = u16(&mut rest)?;
    let retry = take(&mut rest, 32)? == RETRY;
    let session = u8(&mut rest)?;
    take(&mut rest, session.into())?;
    let suite = u16(&mut rest)?;
    u8(&mut rest)?;
    // Before TLS 1.2 there may be none at all.
    if !rest.is_empty() {
        let mut extensions = vector(&mut rest)?;
        while !extensions.is_empty() {
            let kind = u16(&mut extensions)?;
            let mut body = vector(&mut extensions)?;
            match kind {
                43 => version = u16(&mut body)?,
                51 => answer.group = Some(NamedGroup::from(u16(&mut body)?)),
                _ => {}
            }
        }
    }
    if retry {
        version = u16::from(ProtocolVersion::TLSv1_3);
    }
    answer.version = Some(ProtocolVersion::from(version));
    answer.suite = Some(CipherSuite::from(suite));
    Some(())
}

fn certificates(body: &[u8], answer: &mut Answer) -> Option<()> {
    let mut rest = body;
    let length = u24(&mut rest)?;
    let mut list = take(&mut rest, length)?;
    let mut chain = Vec::new();
    while !list.is_empty() {
        let length = u24(&mut list)?;
        chain.push(CertificateDer::from(take(&mut list, length)?.to_vec()));
    }
    answer.chain = chain;
    Some(())
}

/// The server's half of the key exchange, as far as it depends on the suite (RFC 5246 §7.4.3, RFC 8422 §5.4).
fn key_exchange(body: &[u8], answer: &mut Answer) -> Option<()> {
    let mut rest = body;
    let suite = answer.suite?;
    let name = named(suite);
    if is_dhe(suite) {
        let prime = vector(&mut rest)?;
        let zeros = prime.iter().take_while(|octet| **octet == 0).count();
        let first = prime.get(zeros).map_or(8, |octet| octet.leading_zeros() as usize);
        answer.dh_bits = Some((prime.len() - zeros) * 8 - if zeros == prime.len() { 0 } else { first });
        vector(&mut rest)?;
        vector(&mut rest)?;
    } else if name.starts_with("TLS_ECDHE_") || name.starts_with("TLS_ECDH_anon_") {
        // Curves of the server's own making have no name, and no client takes them.
        if u8(&mut rest)? != 3 {
            return Some(());
        }
        answer.group = Some(NamedGroup::from(u16(&mut rest)?));
        let length = u8(&mut rest)?;
        take(&mut rest, length.into())?;
    } else {
        return Some(());
    }
    if answer.version == Some(ProtocolVersion::TLSv1_2) && !rest.is_empty() {
        answer.signature = Some(SignatureScheme::from(u16(&mut rest)?));
    }
    Some(())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn u8(rest: &mut &[u8]) -> Option<u8> {
    take(rest, 1).map(|taken| taken[0])
}

fn u16(rest: &mut &[u8]) -> Option<u16> {
    take(rest, 2).map(|taken| u16::from_be_bytes([taken[0], taken[1]]))
}

fn u24(rest: &mut &[u8]) -> Option<usize> {
    take(rest, 3).map(|taken| usize::from(taken[0]) << 16 | usize::from(taken[1]) << 8 | usize::from(taken[2]))
}

/// What stands behind its length in two octets.
fn vector<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16(rest)?;
    take(rest, length.into())
}
