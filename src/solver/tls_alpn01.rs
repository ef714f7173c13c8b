//! tls-alpn-01 (RFC 8737) by a listener of everleaf's own: whoever speaks `acme-tls/1` is shown a self-signed certificate for the name it asks
//! for, with the digest of what proves the account in it. Everybody else is let go unheard.

use super::listener::{Desk, Listeners, lock};
use crate::ports::Proof;
use crate::types::{CertName, Class, Failure, Identifier, sha256};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::Acceptor;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DEFAULT_VERSIONS, ServerConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

/// What a validating server speaks (RFC 8737 §6.2).
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";
/// How long another order for the same name is waited for: a name can show one certificate at a time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether that one has ended.
const RETRY: Duration = Duration::from_millis(250);

/// The name asked for → what is shown, and the certificates that need it.
#[derive(Default)]
pub(super) struct Faces {
    by_name: BTreeMap<String, Face>,
}

struct Face {
    key_authorization: String,
    shown: Arc<CertifiedKey>,
    owners: BTreeSet<CertName>,
}

impl Listeners<Faces> {
    /// Shows a certificate for each of `proofs` at their `addresses`, bound if they are not yet: for all of them or for none.
    pub(super) async fn put_up(&self, name: &CertName, proofs: &[(&Proof, &[SocketAddr])]) -> Result<(), Failure> {
        let faces: Vec<_> = proofs.iter().map(|(proof, _)| face(proof)).collect::<Result<_, _>>()?;
        for (_, addresses) in proofs {
            self.open_all(addresses).await?;
        }
        let start = Instant::now();
        while let Some(other) = self.taken(proofs) {
            if start.elapsed() > PATIENCE {
                let message = format!("another order of {other} for this name is still being validated");
                return Err(Failure::new(Class::Retry, "solver:busy", Faces::KIND, message)
                    .advise("one name can show one certificate at a time; it is tried again"));
            }
            tokio::time::sleep(RETRY).await;
            // Whoever had the name may have closed what was open.
            for (_, addresses) in proofs {
                self.open_all(addresses).await?;
            }
        }
        for ((proof, addresses), shown) in proofs.iter().zip(faces) {
            self.at(addresses, |faces| {
                let face = faces.by_name.entry(asked_for(&proof.identifier)).or_insert_with(|| Face {
                    key_authorization: proof.key_authorization.clone(),
                    shown: Arc::clone(&shown),
                    owners: BTreeSet::new(),
                });
                face.owners.insert(name.clone());
            });
        }
        Ok(())
    }

    /// Who shows another certificate for one of these names.
    fn taken(&self, proofs: &[(&Proof, &[SocketAddr])]) -> Option<CertName> {
        let mut other = None;
        for (proof, addresses) in proofs {
            self.at(addresses, |faces| {
                let face = faces.by_name.get(&asked_for(&proof.identifier));
                let face = face.filter(|face| face.key_authorization != proof.key_authorization);
                other = other.take().or_else(|| face?.owners.first().cloned());
            });
        }
        other
    }

    /// Shows it no longer, and closes listeners that have nothing left to show.
    pub(super) fn take_down(&self, name: &CertName, proof: &Proof, addresses: &[SocketAddr]) {
        self.at(addresses, |faces| {
            faces.by_name.retain(|_, face| {
                if face.key_authorization == proof.key_authorization {
                    face.owners.remove(name);
                }
                !face.owners.is_empty()
            });
        });
        self.close_idle();
    }
}

impl Desk for Faces {
    const KIND: &'static str = "tls-alpn-01";
    const SHARE: &'static str = "Let that server pass connections that speak acme-tls/1 on to a `listen:` address of its own \
                                 (examples/edges/ has the rules for nginx and HAProxy), or use http-01 or dns-01.";

    fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    async fn serve(desk: Arc<Mutex<Self>>, stream: TcpStream) -> io::Result<String> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let hello = start.client_hello();
        let speaks = hello.alpn().is_some_and(|mut protocols| protocols.any(|it| it == PROTOCOL));
        let Some(name) = hello.server_name().filter(|_| speaks).map(str::to_ascii_lowercase) else {
            return Ok("no validation: let go".to_owned());
        };
        let shown = lock(&desk).by_name.get(&name).map(|face| Arc::clone(&face.shown));
        let Some(shown) = shown else { return Ok(format!("{name:?} is not being validated")) };
        let config = config(shown).map_err(io::Error::other)?;
        // The handshake is all there is (RFC 8737 §3).
        start.into_stream(Arc::new(config)).await?.shutdown().await?;
        Ok(format!("{name} shown"))
    }
}

fn config(shown: Arc<CertifiedKey>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(DEFAULT_VERSIONS)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::unwrap_or_clone(shown))));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The name in the SNI: an IP address is asked for by its name in the reverse zone (RFC 8738 §6).
pub(super) fn asked_for(identifier: &Identifier) -> String {
    match identifier {
        Identifier::Ip(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Identifier::Ip(IpAddr::V6(ip)) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).chain(["ip6.arpa".to_owned()]).collect()
        }
        name @ Identifier::Dns(_) => name.base(),
    }
}

/// RFC 8737 §3: one name, and a critical acmeIdentifier with the digest of the key authorization.
fn face(proof: &Proof) -> Result<Arc<CertifiedKey>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        let message = format!("cannot make the certificate that proves {}: {error}", proof.identifier);
        Failure::new(Class::Operator, "solver:certificate", Faces::KIND, message)
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![match &proof.identifier {
        Identifier::Ip(ip) => SanType::IpAddress(*ip),
        name @ Identifier::Dns(_) => {
            SanType::DnsName(name.base().try_into().map_err(|error: rcgen::Error| failed(&error))?)
        }
    }];
    let digest = sha256(&[proof.key_authorization.as_bytes()]);
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_bytes())];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| failed(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| failed(&error))?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signer = aws_lc_rs::sign::any_supported_type(&der).map_err(|error| failed(&error))?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_for_by_its_name_in_the_reverse_zone() {
        let asked = |text: &str| asked_for(&text.parse().unwrap());
        assert_eq!(asked("192.0.2.10"), "10.2.0.192.in-addr.arpa");
        assert_eq!(asked("2001:db8::1"), "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
        assert_eq!(asked("Shop.Example.com"), "shop.example.com");
    }
}
