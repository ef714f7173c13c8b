//! Certificate signing requests and the self-signed placeholder.

use super::key::Private;
use crate::types::{Class, Failure, Identifier, Secret, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, SanType, string::Ia5String};
use std::time::Duration;

/// A CSR (DER, RFC 2986) for exactly `names`, with an empty subject: CAs take names from the subjectAltName alone.
///
/// # Errors
/// Code `key:unreadable` when the key cannot be used; class `Spec`, code `csr:name`, when a name cannot be written.
pub fn request(key_pem: &Secret, names: &[Identifier]) -> Result<Vec<u8>, Failure> {
    let key = Private::read(key_pem)?;
    let params = params(names, DistinguishedName::new())?;
    let request = params.serialize_request(&key).map_err(|error| refused(&error))?;
    Ok(request.der().to_vec())
}

/// The common name of a placeholder, for whoever meets one in a browser.
pub const PLACEHOLDER_NAME: &str = "everleaf placeholder";
/// A placeholder must never be taken for a certificate to keep.
const PLACEHOLDER_LIFE: Duration = Duration::from_secs(7 * 86_400);
/// For servers whose clock is behind.
const PLACEHOLDER_BACKDATE: Duration = Duration::from_secs(3_600);

/// A self-signed certificate (PEM) for `names`, so that a server can start before the first one is issued. Valid for a week.
///
/// # Errors
/// As [`request`].
pub fn self_signed(key_pem: &Secret, names: &[Identifier], now: Timestamp) -> Result<String, Failure> {
    let key = Private::read(key_pem)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, PLACEHOLDER_NAME);
    let mut params = params(names, subject)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(u64::try_from(now.as_secs()).unwrap_or(0));
    params.not_before = epoch + now.saturating_sub(PLACEHOLDER_BACKDATE);
    params.not_after = epoch + now + PLACEHOLDER_LIFE;
    let certificate = params.self_signed(&key).map_err(|error| refused(&error))?;
    Ok(super::pem::encode(super::pem::CERTIFICATE, certificate.der()))
}

fn params(names: &[Identifier], subject: DistinguishedName) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.subject_alt_names = names.iter().map(san).collect::<Result<_, _>>()?;
    Ok(params)
}

fn san(name: &Identifier) -> Result<SanType, Failure> {
    match name {
        Identifier::Ip(address) => Ok(SanType::IpAddress(*address)),
        Identifier::Dns(host) => Ia5String::try_from(host.as_str())
            .map(SanType::DnsName)
            .map_err(|_| Failure::new(Class::Spec, "csr:name", host, "the name cannot be written into a request")),
    }
}

fn refused(error: &rcgen::Error) -> Failure {
    Failure::new(Class::Retry, "csr:sign", "certificate request", format!("the request could not be made: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::KeyAlgorithm;
    use crate::pki::{key, parse};
    use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509CertificationRequest};

    fn names() -> Vec<Identifier> {
        ["*.b.example", "a.example", "192.0.2.7", "2001:db8::7"].iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_request_names_what_was_asked_in_order_and_nothing_else() {
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384, KeyAlgorithm::Rsa2048] {
            let key = key::generate(algorithm).unwrap();
            let der = request(&key.pem, &names()).unwrap();
            let (rest, csr) = X509CertificationRequest::from_der(&der).unwrap();
            assert!(rest.is_empty());
            csr.verify_signature().expect("signed with its own key");
            let info = &csr.certification_request_info;
            assert_eq!(info.subject.iter().count(), 0);
            assert_eq!(crate::types::sha256(&[info.subject_pki.raw]), key.id);
            let sans: Vec<String> = csr
                .requested_extensions()
                .into_iter()
                .flatten()
                .filter_map(|extension| match extension {
                    ParsedExtension::SubjectAlternativeName(san) => Some(&san.general_names),
                    _ => None,
                })
                .flatten()
                .map(|name| match name {
                    GeneralName::DNSName(name) => (*name).to_owned(),
                    GeneralName::IPAddress(octets) => parse::address(octets).unwrap().to_string(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(sans, ["*.b.example", "a.example", "192.0.2.7", "2001:db8::7"]);
        }
    }

    #[test]
    fn a_placeholder_says_what_it_is_and_ends_soon() {
        let key = key::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let now = Timestamp::from_secs(1_795_341_600);
        let pem = self_signed(&key.pem, &names(), now).unwrap();
        let chain = parse::chain(pem.as_bytes()).unwrap();
        let leaf = &chain[0];
        assert_eq!((leaf.key(), leaf.subject().as_str()), (key.id, "CN=everleaf placeholder"));
        assert_eq!(leaf.names(), names());
        assert!(leaf.validity().contains(now) && leaf.validity().width() < Duration::from_secs(8 * 86_400));
    }
}
