//! Certificates without cryptography: the world knows what is true of each.

use everleaf::types::{Fingerprint, Identifier, KeyId, Serial, Window, sha256};
use serde::{Deserialize, Serialize};

/// A certificate that only the world can read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FakeCertificate {
    pub(crate) number: u64,
    pub(crate) key: KeyId,
    pub(crate) names: Vec<Identifier>,
    pub(crate) validity: Window,
}

impl FakeCertificate {
    pub(crate) fn der(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has only plain fields")
    }

    pub(crate) fn leaf(&self) -> Fingerprint {
        sha256(&[&self.der()])
    }

    pub(crate) fn serial(&self) -> Serial {
        Serial::from_der_content(&self.number.to_be_bytes())
    }

    pub(crate) fn ari(&self) -> String {
        format!("sim.{}", self.number)
    }

    /// The leaf, and its intermediate unless that is left out.
    pub(crate) fn pem(&self, complete: bool) -> Vec<u8> {
        let encode = |der: &[u8]| format!("{}\n", data_encoding::BASE64.encode(der));
        let mut pem = encode(&self.der());
        if complete {
            pem.push_str(&encode(b"sim intermediate"));
        }
        pem.into_bytes()
    }
}

/// The certificates in what [`FakeCertificate::pem`] wrote.
pub(crate) fn read_pem(pem: &[u8]) -> Vec<Vec<u8>> {
    let lines = pem.split(|octet| *octet == b'\n').filter(|line| !line.is_empty());
    lines.filter_map(|line| data_encoding::BASE64.decode(line).ok()).collect()
}
