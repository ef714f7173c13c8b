//! TLS records as they go by (RFC 5246 §6.2): their headers are in the clear, whatever is in them.

use std::cell::Cell;
use std::rc::Rc;

/// Type, version and length.
const HEADER: usize = 5;
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

/// Reads headers and skips the rest. Total: any bytes will do.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: Vec<u8>,
    /// Bytes of the record that are still to come.
    rest: usize,
    /// The peer speaks encrypted from here on. In TLS 1.3 everything after that is application data from outside.
    changed: bool,
    /// Its Finished has come.
    finished: bool,
    again: Rc<Cell<bool>>,
}

impl Records {
    /// Takes what was received next.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            let (head, tail) = bytes.split_at(bytes.len().min(HEADER - self.header.len()));
            self.header.extend_from_slice(head);
            bytes = tail;
            if let [kind, _, _, high, low] = self.header[..] {
                self.rest = usize::from(u16::from_be_bytes([high, low]));
                self.header.clear();
                self.record(kind);
            }
        }
    }

    fn record(&mut self, kind: u8) {
        match kind {
            CHANGE_CIPHER_SPEC => self.changed = true,
            HANDSHAKE if self.finished => self.again.set(true),
            HANDSHAKE if self.changed => self.finished = true,
            _ => {}
        }
    }

    /// Becomes true once the peer of TLS 1.2 asks for another handshake (`HelloRequest`, RFC 5246 §7.4.1.1): the only handshake record
    /// that may follow its Finished.
    pub(super) fn again(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u8, length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        [vec![kind, 3, 3, high, low], vec![kind; usize::from(length)]].concat()
    }

    fn again(kinds: &[u8], at_once: usize) -> bool {
        let bytes: Vec<u8> = kinds.iter().flat_map(|kind| record(*kind, 22)).collect();
        let mut records = Records::default();
        for part in bytes.chunks(at_once) {
            records.feed(part);
        }
        records.again().get()
    }

    #[test]
    fn only_a_handshake_after_the_finished_is_another() {
        for at_once in [1, 3, 5, 27, 28, 1000] {
            assert!(!again(&[22, 22, 22, 20, 22, 23, 23], at_once));
            assert!(!again(&[22, 20, 23, 23, 23, 21], at_once), "TLS 1.3");
            assert!(again(&[22, 22, 20, 22, 22], at_once));
            assert!(again(&[22, 20, 22, 23, 22, 21], at_once), "a resumed session");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_will_do(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            Records::default().feed(&bytes);
        }
    }
}
