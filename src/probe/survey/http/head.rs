//! The head of an HTTP/1 response (RFC 9112 §4, §5): read within bounds, taken apart leniently, as browsers do.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The longest head that is read; servers' own limits for what they pass on are 8 to 16 KiB.
pub const MAX_HEAD: usize = 32 * 1024;
/// The most header fields that are read.
const MAX_FIELDS: usize = 128;
/// The most interim responses that are skipped.
const MAX_INTERIM: usize = 8;
/// How every response begins.
const BEGIN: &[u8] = b"HTTP/1.";

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The header fields, those of one name in the order they were sent.
    pub headers: HeaderMap,
}

/// What bytes read so far come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// The final response's head is there.
    Head(Head),
    /// It may still become one.
    Partial,
    /// This is no HTTP/1 response.
    NotHttp,
}

/// Takes apart what was read so far, interim responses (1xx) skipped. Pure and total.
#[must_use]
pub fn parse(mut bytes: &[u8]) -> Parsed {
    for _ in 0..=MAX_INTERIM {
        let common = bytes.len().min(BEGIN.len());
        if bytes[..common] != BEGIN[..common] {
            return Parsed::NotHttp;
        }
        let Some(end) = end(bytes) else { return Parsed::Partial };
        match one(&bytes[..end]) {
            // 101 is an answer to an upgrade, and none was asked for.
            Some(head) if (100..200).contains(&head.status) && head.status != 101 => bytes = &bytes[end..],
            Some(head) => return Parsed::Head(head),
            None => return Parsed::NotHttp,
        }
    }
    Parsed::NotHttp
}

/// After the empty line that ends a head; some servers end lines with LF alone (RFC 9112 §2.2).
fn end(bytes: &[u8]) -> Option<usize> {
    let ends = |at: &usize| bytes[*at..].starts_with(b"\n\n") || bytes[*at..].starts_with(b"\n\r\n");
    let at = (0..bytes.len()).find(ends)?;
    Some(at + if bytes[at + 1] == b'\n' { 2 } else { 3 })
}

fn one(bytes: &[u8]) -> Option<Head> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let read = httparse::ParserConfig::default()
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .parse_response(&mut response, bytes);
    if !read.is_ok_and(|status| status.is_complete()) {
        return None;
    }
    let mut headers = HeaderMap::new();
    for field in response.headers.iter() {
        // A folded line counts as spaces (RFC 9112 §5.2).
        let value: Vec<u8> =
            field.value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(&value))
        {
            headers.append(name, value);
        }
    }
    Some(Head { status: response.code?, headers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> Head {
        match parse(text.as_bytes()) {
            Parsed::Head(head) => head,
            other => panic!("{other:?} of {text:?}"),
        }
    }

    fn values(head: &Head, name: &str) -> Vec<String> {
        head.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    #[test]
    fn heads_are_read_as_browsers_read_them() {
        let plain = head("HTTP/1.1 200 OK\r\nServer: x\r\nVia: 1\r\nvia: 2\r\n\r\nbody");
        assert_eq!((plain.status, values(&plain, "via")), (200, vec!["1".to_owned(), "2".to_owned()]));
        assert_eq!(head("HTTP/1.0 404\r\n\r\n").status, 404);
        assert_eq!(values(&head("HTTP/1.1 200 OK\nA: 1\nB: 2\n\n"), "b"), ["2"], "LF alone");
        assert_eq!(values(&head("HTTP/1.1 200 OK\r\nA: 1\r\n  2\r\n\r\n"), "a"), ["1    2"], "folded");
        assert_eq!(values(&head("HTTP/1.1 200 OK\r\nA : 1\r\nbad line\r\nB: 2\r\n\r\n"), "b"), ["2"]);
        let hinted =
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 301 M\r\nA: 1\r\n\r\n";
        assert_eq!((head(hinted).status, values(&head(hinted), "link").len()), (301, 0));
    }

    #[test]
    fn what_is_no_head_is_known_at_once() {
        for text in ["SSH-2.0-x", "* OK IMAP4", "220 smtp", "<html>", "HTTP/2", "HTTPS", "HTTP/1.1 xyz\r\n\r\n", "\0"] {
            assert_eq!(parse(text.as_bytes()), Parsed::NotHttp, "{text:?}");
        }
        for text in
            ["", "H", "HTTP/1.", "HTTP/1.1 200 OK\r\nA: b\r\n", "HTTP/1.1 100 C\r\n\r\n", "HTTP/1.1 100 C\r\n\r\nHT"]
        {
            assert_eq!(parse(text.as_bytes()), Parsed::Partial, "{text:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(parse(many.as_bytes()), Parsed::NotHttp, "more fields than anybody sends");
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(noise in proptest::collection::vec(any::<u8>(), 0..300), http: bool) {
            let bytes = if http { [b"HTTP/1.1 200 OK\r\nStrict-Transport-Security:", &noise[..], b"\r\n\r\n"].concat() } else { noise };
            let _any = parse(&bytes);
        }
    }
}
