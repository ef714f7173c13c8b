//! Reading certificates: from PEM as a CA sends it, or from DER as a TLS peer does. Total: any input gives an answer.

use super::constraints::Constraints;
use super::pem;
use crate::types::{
    Class, Failure, Fingerprint, Identifier, KeyFamily, KeyId, Printable, Serial, Timestamp, Window, sha256,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::SectionKind;
use std::net::IpAddr;
use std::time::Duration;
use x509_parser::der_parser::asn1_rs::{Oid, oid};
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name, X509Version};

/// What is read of a chain.
pub const MAX_CHAIN_BYTES: usize = 256 * 1024;
/// Certificates in a chain: public ones have four at most; path building grows with the number.
pub const MAX_CERTIFICATES: usize = 16;

/// The certificates of a PEM text, in the order they stand there; at least one.
///
/// # Errors
/// Class `Operator`, code `gate:unreadable`: too long, empty, not PEM, cut short, a private key in it, or a block that is no
/// certificate.
pub fn chain(text: &[u8]) -> Result<Vec<Certificate>, Failure> {
    certificates(text, MAX_CHAIN_BYTES, MAX_CERTIFICATES).map_err(|why| {
        Failure::new(Class::Operator, "gate:unreadable", "certificate chain", why)
            .advise("Ask the CA, or look at what stands between: a proxy or a wrong URL.")
    })
}

/// The certificates of a PEM text within bounds; the error is a sentence.
pub(crate) fn certificates(text: &[u8], most_bytes: usize, most: usize) -> Result<Vec<Certificate>, String> {
    if text.len() > most_bytes {
        return Err(format!("it is {} bytes long; at most {most_bytes} are read", text.len()));
    }
    let mut found = Vec::new();
    for section in pem::sections(text) {
        let section = section?;
        match section.kind {
            SectionKind::Certificate if found.len() == most => {
                return Err(format!("it holds more than {most} certificates"));
            }
            SectionKind::Certificate => {
                let number = found.len() + 1;
                found.push(
                    Certificate::from_der(&section.der).map_err(|why| format!("certificate {number} in it: {why}"))?,
                );
            }
            SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey => {
                return Err("a private key is in it".into());
            }
            _ => {}
        }
    }
    if found.is_empty() { Err(not_pem(text)) } else { Ok(found) }
}

/// How much of a text that is not PEM is quoted.
const QUOTED: usize = 60;

/// What a text without a certificate is instead.
pub(crate) fn not_pem(text: &[u8]) -> String {
    let start = text.trim_ascii_start();
    if start.is_empty() {
        "it is empty".into()
    } else if start.starts_with(&[0x30]) && start.get(1).is_some_and(|length| length & 0x80 != 0) {
        "it is DER, not PEM".into()
    } else if start.starts_with(b"<") {
        "it is HTML or XML, not PEM: an error page?".into()
    } else {
        let quoted = String::from_utf8_lossy(&start[..start.len().min(QUOTED)]).into_owned();
        if quoted.matches(char::REPLACEMENT_CHARACTER).count() > 1 {
            return "no certificate is in it, and no text either".into();
        }
        format!("no certificate is in it; it begins with {:?}", Printable::new(&quoted))
    }
}

/// The names of issuers as TLS asks for them (`CertificateRequest`, DER, RFC 8446 §4.2.4); what is none is left out.
pub(crate) fn names_of(ders: &[Vec<u8>]) -> Vec<Printable> {
    let read = |der: &Vec<u8>| X509Name::from_der(der).ok().map(|(_, name)| Printable::new(&name.to_string()));
    ders.iter().filter_map(read).collect()
}

/// CA/Browser Forum baseline: RSA keys below this are refused by clients.
pub(crate) const LEAST_RSA_BITS: usize = 2048;

/// A DER text that is not what it should be: a certificate, an OCSP response, a CRL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Unreadable {
    /// For the reason that `why` tells.
    pub(crate) fn new(why: &impl ToString) -> Self {
        Self(why.to_string())
    }
}

/// What a certificate's key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on a NIST curve, by its size in bits.
    Ecdsa(usize),
    /// RSA, by its modulus in bits.
    Rsa(usize),
    /// Anything else.
    Other,
}

impl KeyKind {
    /// The family servers choose by, when it has one.
    #[must_use]
    pub const fn family(self) -> Option<KeyFamily> {
        match self {
            Self::Ecdsa(_) => Some(KeyFamily::Ecdsa),
            Self::Rsa(_) => Some(KeyFamily::Rsa),
            Self::Other => None,
        }
    }
}

/// What a certificate may be used for (RFC 5280 §4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usages {
    /// TLS servers.
    pub server: bool,
    /// TLS clients.
    pub client: bool,
}

/// The CA fields of a certificate (RFC 5280 §4.2.1.3 and §4.2.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority {
    /// It is of version 1, which has no extensions to say so: accepted of roots.
    pub(crate) first_version: bool,
    /// basicConstraints says CA.
    pub(crate) ca: bool,
    /// How many CA certificates may stand between it and the leaf.
    pub(crate) path_len: Option<u32>,
    /// `keyUsage`, when there, lets it sign certificates.
    pub(crate) may_sign: bool,
}

/// What a certificate's key may sign that says which certificates are revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signs {
    /// OCSP responses, for its issuer (RFC 6960 §4.2.2.2).
    pub(crate) ocsp: bool,
    /// CRLs: `keyUsage`, when there, says so.
    pub(crate) crls: bool,
}

/// One parsed certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    der: CertificateDer<'static>,
    fingerprint: Fingerprint,
    serial: Serial,
    not_before: Timestamp,
    not_after: Timestamp,
    names: Vec<Identifier>,
    other_names: Vec<Printable>,
    subject: Printable,
    issuer: Printable,
    pub(crate) subject_der: Vec<u8>,
    pub(crate) issuer_der: Vec<u8>,
    key: KeyId,
    kind: KeyKind,
    authority_key: Option<Vec<u8>>,
    pub(crate) subject_key: Option<Vec<u8>>,
    pub(crate) authority: Authority,
    /// Which names it may issue for.
    pub(crate) constraints: Constraints,
    usages: Option<Usages>,
    /// What keyUsage lets its key do in TLS (RFC 5280 §4.2.1.3, as OpenSSL reads it).
    pub(crate) key_usages: Usages,
    weak_signature: Option<&'static str>,
    /// The family of the key that signed it, when it has one.
    pub(crate) signed_by: Option<KeyFamily>,
    /// The first common name of its subject.
    pub(crate) common_name: Option<Printable>,
    /// Where its issuer's certificate can be fetched (RFC 5280 §4.2.2.1).
    pub(crate) issuer_url: Option<Printable>,
    /// It carries a policy that only publicly trusted CAs issue under (CA/Browser Forum baseline §7.1.6.1).
    pub(crate) public_policy: bool,
    /// It demands that its server staples an OCSP response (TLS feature `status_request`, RFC 7633).
    pub(crate) must_staple: bool,
    /// What else than certificates it may sign.
    pub(crate) signs: Signs,
    /// Where its issuer publishes CRLs (RFC 5280 §4.2.1.13).
    pub(crate) crl_urls: Vec<Printable>,
    ari_serial: Vec<u8>,
}

impl Certificate {
    /// Parses one certificate.
    ///
    /// # Errors
    /// [`Unreadable`], also when something follows the certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, Unreadable> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|error| {
            Unreadable(format!("not an X.509 certificate ({})", Printable::new(&error.to_string())))
        })?;
        if !rest.is_empty() {
            return Err(Unreadable(format!("{} bytes follow the certificate", rest.len())));
        }
        let mut certificate = Self::plain(der, &parsed);
        for extension in parsed.extensions() {
            certificate.extend(extension.parsed_extension());
            if extension.oid == TLS_FEATURES {
                certificate.must_staple = features(extension.value).contains(&STATUS_REQUEST);
            }
        }
        Ok(certificate)
    }

    fn plain(der: &[u8], parsed: &X509Certificate<'_>) -> Self {
        Self {
            der: CertificateDer::from(der.to_vec()),
            fingerprint: sha256(&[der]),
            serial: Serial::from_der_content(parsed.raw_serial()),
            not_before: timestamp(parsed.validity().not_before),
            not_after: timestamp(parsed.validity().not_after),
            names: Vec::new(),
            other_names: Vec::new(),
            subject: Printable::new(&parsed.subject().to_string()),
            issuer: Printable::new(&parsed.issuer().to_string()),
            subject_der: parsed.subject().as_raw().to_vec(),
            issuer_der: parsed.issuer().as_raw().to_vec(),
            key: sha256(&[parsed.public_key().raw]),
            kind: kind(parsed.public_key()),
            authority_key: None,
            subject_key: None,
            authority: Authority {
                first_version: parsed.version() == X509Version::V1,
                ca: false,
                path_len: None,
                may_sign: true,
            },
            constraints: Constraints::default(),
            usages: None,
            key_usages: Usages { server: true, client: true },
            weak_signature: weak(&parsed.signature_algorithm.algorithm),
            signed_by: signed_by(&parsed.signature_algorithm.algorithm),
            common_name: parsed.subject().iter_common_name().find_map(|name| name.as_str().ok()).map(Printable::new),
            issuer_url: None,
            public_policy: false,
            must_staple: false,
            signs: Signs { ocsp: false, crls: true },
            crl_urls: Vec::new(),
            ari_serial: parsed.raw_serial().to_vec(),
        }
    }

    fn extend(&mut self, extension: &ParsedExtension<'_>) {
        match extension {
            ParsedExtension::AuthorityKeyIdentifier(found) => {
                self.authority_key = found.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::SubjectKeyIdentifier(found) => self.subject_key = Some(found.0.to_vec()),
            ParsedExtension::BasicConstraints(found) => {
                self.authority.ca = found.ca;
                self.authority.path_len = found.path_len_constraint;
            }
            ParsedExtension::KeyUsage(found) => {
                self.authority.may_sign = found.key_cert_sign();
                self.signs.crls = found.crl_sign();
                let signs = found.digital_signature() || found.key_agreement();
                self.key_usages = Usages { server: signs || found.key_encipherment(), client: signs };
            }
            // anyExtendedKeyUsage does not count: neither webpki nor OpenSSL takes it for TLS.
            ParsedExtension::ExtendedKeyUsage(found) => {
                self.usages = Some(Usages { server: found.server_auth, client: found.client_auth });
                self.signs.ocsp = found.ocsp_signing;
            }
            ParsedExtension::NameConstraints(found) => self.constraints = Constraints::new(found),
            ParsedExtension::AuthorityInfoAccess(found) => {
                let mut issuers = found.iter().filter(|access| access.access_method == CA_ISSUERS);
                self.issuer_url = issuers.find_map(|access| url(&access.access_location));
            }
            ParsedExtension::CRLDistributionPoints(found) => {
                let names = found.iter().filter_map(|point| match &point.distribution_point {
                    Some(DistributionPointName::FullName(names)) => Some(names),
                    _ => None,
                });
                self.crl_urls = names.flatten().filter_map(url).take(MAX_CRL_URLS).collect();
            }
            ParsedExtension::CertificatePolicies(found) => {
                self.public_policy = found.iter().any(|policy| PUBLIC_POLICIES.contains(&policy.policy_id));
            }
            ParsedExtension::SubjectAlternativeName(found) => found.general_names.iter().for_each(|n| self.name(n)),
            _ => {}
        }
    }

    fn name(&mut self, name: &GeneralName<'_>) {
        let identifier = match name {
            // An address written as a DNS name matches nothing (RFC 6125 §6.4), so it is not one of the names.
            GeneralName::DNSName(host) => {
                host.parse().ok().filter(|identifier| matches!(identifier, Identifier::Dns(_)))
            }
            GeneralName::IPAddress(octets) => address(octets).map(Identifier::Ip),
            _ => None,
        };
        match identifier {
            Some(identifier) => self.names.push(identifier),
            None => self.other_names.push(Printable::new(&name.to_string())),
        }
    }

    /// The certificate's bytes.
    pub const fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The certificate as one PEM block.
    pub fn pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.der)
    }

    /// The SHA-256 of its bytes.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Its serial number.
    pub const fn serial(&self) -> &Serial {
        &self.serial
    }

    /// From notBefore to notAfter. Ends just after it begins when it is the wrong way round.
    pub fn validity(&self) -> Window {
        Window { start: self.not_before, end: self.not_after.max(self.not_before + Duration::from_millis(1)) }
    }

    /// The DNS names and addresses of its subjectAltName, in order.
    pub fn names(&self) -> &[Identifier] {
        &self.names
    }

    /// What else its subjectAltName holds: mail addresses, URIs, names that are no host names.
    pub fn other_names(&self) -> &[Printable] {
        &self.other_names
    }

    /// Its subject, for people.
    pub const fn subject(&self) -> &Printable {
        &self.subject
    }

    /// Its subject, or its first name where the subject is empty, as it is in many leaves.
    pub(crate) fn subject_or_names(&self) -> String {
        match self.names.first() {
            Some(name) if self.subject.is_empty() => name.to_string(),
            _ => self.subject.to_string(),
        }
    }

    /// Its issuer's subject, for people.
    pub const fn issuer(&self) -> &Printable {
        &self.issuer
    }

    /// Which key it certifies.
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// What that key is.
    pub const fn key_kind(&self) -> KeyKind {
        self.kind
    }

    /// What it may be used for; `None` when it does not say, which allows everything.
    pub const fn usages(&self) -> Option<Usages> {
        self.usages
    }

    /// The name of the broken hash it is signed with, if it is.
    pub const fn weak_signature(&self) -> Option<&'static str> {
        self.weak_signature
    }

    /// The issuer's key identifier that it carries.
    pub fn authority_key(&self) -> Option<&[u8]> {
        self.authority_key.as_deref()
    }

    /// Whether subject and issuer are the same name: a root, as far as can be told without its key.
    pub fn is_self_issued(&self) -> bool {
        self.subject_der == self.issuer_der
    }

    /// ARI certificate id (RFC 9773 §4.1); `None` without an authority key identifier.
    pub fn ari_id(&self) -> Option<String> {
        let encode = |octets: &[u8]| data_encoding::BASE64URL_NOPAD.encode(octets);
        self.authority_key.as_deref().map(|key| format!("{}.{}", encode(key), encode(&self.ari_serial)))
    }
}

/// An address from the octets of an iPAddress name.
pub(crate) fn address(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn url(name: &GeneralName<'_>) -> Option<Printable> {
    match name {
        GeneralName::URI(url) => Some(Printable::new(url)),
        _ => None,
    }
}

/// The TLS extensions that a certificate demands of its server, by number; none where they cannot be read.
fn features(value: &[u8]) -> Vec<u32> {
    Vec::<u32>::from_der(value).map_or_else(|_| Vec::new(), |(_, features)| features)
}

fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp::from_secs(time.timestamp())
}

/// Where a CRL can be had; more places than this are not read.
const MAX_CRL_URLS: usize = 8;
const TLS_FEATURES: Oid<'static> = oid!(1.3.6.1.5.5.7.1.24);
/// The TLS extension that asks for a stapled OCSP response (RFC 6066 §8).
const STATUS_REQUEST: u32 = 5;
const CA_ISSUERS: Oid<'static> = oid!(1.3.6.1.5.5.7.48.2);
/// Domain, organisation, individual and extended validation.
const PUBLIC_POLICIES: [Oid<'static>; 4] =
    [oid!(2.23.140.1.2.1), oid!(2.23.140.1.2.2), oid!(2.23.140.1.2.3), oid!(2.23.140.1.1)];

const P256: Oid<'static> = oid!(1.2.840.10045.3.1.7);
const P384: Oid<'static> = oid!(1.3.132.0.34);
const P521: Oid<'static> = oid!(1.3.132.0.35);

fn kind(spki: &SubjectPublicKeyInfo<'_>) -> KeyKind {
    match spki.parsed() {
        Ok(PublicKey::RSA(key)) => KeyKind::Rsa(key.key_size()),
        Ok(PublicKey::EC(_)) => {
            let curve = spki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            match curve {
                Some(curve) if curve == P256 => KeyKind::Ecdsa(256),
                Some(curve) if curve == P384 => KeyKind::Ecdsa(384),
                Some(curve) if curve == P521 => KeyKind::Ecdsa(521),
                _ => KeyKind::Other,
            }
        }
        _ => KeyKind::Other,
    }
}

const RSA_SIGNATURES: Oid<'static> = oid!(1.2.840.113549.1.1);
const ECDSA_SIGNATURES: Oid<'static> = oid!(1.2.840.10045.4);

fn signed_by(algorithm: &Oid<'_>) -> Option<KeyFamily> {
    let below = |base: &Oid<'_>| algorithm.as_bytes().starts_with(base.as_bytes());
    match () {
        () if below(&RSA_SIGNATURES) => Some(KeyFamily::Rsa),
        () if below(&ECDSA_SIGNATURES) => Some(KeyFamily::Ecdsa),
        () => None,
    }
}

/// Signature algorithms over a hash for which collisions can be made.
const WEAK: [(Oid<'static>, &str); 6] = [
    (oid!(1.2.840.113549.1.1.2), "MD2"),
    (oid!(1.2.840.113549.1.1.4), "MD5"),
    (oid!(1.2.840.113549.1.1.5), "SHA-1"),
    (oid!(1.3.14.3.2.29), "SHA-1"),
    (oid!(1.2.840.10040.4.3), "SHA-1"),
    (oid!(1.2.840.10045.4.1), "SHA-1"),
];

fn weak(algorithm: &Oid<'_>) -> Option<&'static str> {
    WEAK.iter().find(|(oid, _)| oid == algorithm).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 9773, appendix A.
    const RFC_9773: &str = "-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
";

    #[test]
    fn the_ari_id_of_the_rfc() {
        let found = chain(RFC_9773.as_bytes()).unwrap();
        assert_eq!(found[0].ari_id().as_deref(), Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"));
        assert_eq!(found[0].serial().as_str(), "0087654321");
        assert_eq!(found[0].key_kind(), KeyKind::Ecdsa(256));
        assert!(found[0].validity().start < found[0].validity().end, "notBefore is notAfter in it");
    }

    #[test]
    fn blank_lines_and_windows_line_ends_do_no_harm() {
        let text = format!("\r\n\r\nsubject=x\n{}\n\n{}", RFC_9773.replace('\n', "\r\n"), RFC_9773);
        assert_eq!(chain(text.as_bytes()).map(|found| found.len()), Ok(2));
    }

    #[test]
    fn what_is_no_chain_is_refused_with_words() {
        let der = chain(RFC_9773.as_bytes()).unwrap()[0].der().to_vec();
        let cut = &RFC_9773[..RFC_9773.len() - 40];
        let key = format!("{RFC_9773}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        let followed = pem::encode(pem::CERTIFICATE, &[der.as_slice(), b"x"].concat());
        for (text, word) in [
            (&b""[..], "empty"),
            (b" \r\n", "empty"),
            (&der, "DER"),
            (b"<html><body>503</body></html>", "HTML"),
            (b"upstream timed out", "begins with \"upstream"),
            (cut.as_bytes(), "cut short"),
            (key.as_bytes(), "private key"),
            (followed.as_bytes(), "1 bytes follow"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not an X.509 certificate"),
            (b"-----BEGIN CERTIFICATE-----\n\xff\xff\n-----END CERTIFICATE-----\n", "not base64"),
            (&vec![b'\n'; MAX_CHAIN_BYTES + 1], "bytes long"),
            (RFC_9773.repeat(MAX_CERTIFICATES + 1).as_bytes(), "more than 16"),
        ] {
            let failure = chain(text).unwrap_err();
            assert_eq!(failure.code, "gate:unreadable");
            assert!(failure.message.as_str().contains(word), "{word}: {failure}");
        }
    }

    proptest! {
        #[test]
        fn any_damage_to_a_certificate_gives_an_answer(at in 0usize..327, to: u8, cut in 0usize..400) {
            let mut der = chain(RFC_9773.as_bytes()).unwrap()[0].der().to_vec();
            if let Some(octet) = der.get_mut(at) {
                *octet = to;
            }
            der.truncate(cut);
            drop(Certificate::from_der(&der));
            drop(chain(&pem::encode(pem::CERTIFICATE, &der).into_bytes()));
        }

        #[test]
        fn any_text_gives_an_answer(text in "(-----(BEGIN|END) (CERTIFICATE|X)-----|[A-Za-z0-9+/=]{0,9}|\\PC|[\r\n]){0,40}") {
            drop(chain(text.as_bytes()));
        }
    }
}
