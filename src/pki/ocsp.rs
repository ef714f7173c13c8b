//! Reading OCSP responses (RFC 6960 §4.2), as servers staple them, and saying whose word they are. Total: any input gives an
//! answer.

use super::chain::{Link, link};
use super::der::{Malformed, Reader};
use super::parse::{Certificate, Unreadable};
use super::revocation::{Reason, Revocation};
use super::signed::{Signature, Signed};
use crate::types::{Serial, Timestamp};
use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use std::time::Duration;
use x509_parser::der_parser::asn1_rs::{Oid, Tag, oid};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::AlgorithmIdentifier;

/// Certificates read of one response; real ones carry at most a responder's own and its issuer.
const MAX_CERTIFICATES: usize = 8;
/// Answers read of one response; stapled ones hold one.
const MAX_ANSWERS: usize = 256;
/// The responder's own refusals (RFC 6960 §4.2.1), by number.
const REFUSALS: [(u8, &str); 5] =
    [(1, "malformedRequest"), (2, "internalError"), (3, "tryLater"), (5, "sigRequired"), (6, "unauthorized")];

const BASIC: Oid<'static> = oid!(1.3.6.1.5.5.7.48.1.1);
const HASHES: [(Oid<'static>, &digest::Algorithm); 4] = [
    (oid!(1.3.14.3.2.26), &SHA1_FOR_LEGACY_USE_ONLY),
    (oid!(2.16.840.1.101.3.4.2.1), &SHA256),
    (oid!(2.16.840.1.101.3.4.2.2), &SHA384),
    (oid!(2.16.840.1.101.3.4.2.3), &SHA512),
];

/// A response that holds answers.
#[derive(Debug, Clone)]
pub struct Response<'a> {
    signed: Signed<'a>,
    by: Signer<'a>,
    /// What it says, of one certificate each.
    pub answers: Vec<Answer<'a>>,
    certificates: Vec<Certificate>,
}

/// Whom a response names as its signer.
#[derive(Debug, Clone, Copy)]
enum Signer<'a> {
    /// The subject.
    Name(&'a [u8]),
    /// The SHA-1 of the key's bits.
    Key(&'a [u8]),
}

/// What is said of one certificate.
#[derive(Debug, Clone)]
pub struct Answer<'a> {
    hash: Option<&'static digest::Algorithm>,
    issuer_name: &'a [u8],
    issuer_key: &'a [u8],
    /// The certificate's serial number.
    pub serial: Serial,
    /// What it says.
    pub status: Status,
    /// When that was known to be so.
    pub this_update: Timestamp,
    /// Until when it counts, where that is said.
    pub next_update: Option<Timestamp>,
}

/// What a responder says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is not revoked.
    Good,
    /// It is revoked.
    Revoked(Revocation),
    /// The responder does not know it.
    Unknown,
}

/// Why a response is not the issuer's word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// The certificate of the signer that it names is not known.
    #[error("it is signed by neither the issuer nor a responder whose certificate is in it")]
    Nobody,
    /// The key of the signer that it names did not sign.
    #[error("its signature is not by the key of {0}, whom it names as its signer")]
    Forged(String),
    /// The responder was not certified by the certificate's issuer.
    #[error("its signer {0} was not certified by the certificate's issuer")]
    Stranger(String),
    /// The responder's certificate lacks the usage `OCSPSigning`.
    #[error("its signer {0} may not sign OCSP responses (no extended key usage OCSPSigning)")]
    Unqualified(String),
    /// The responder's certificate is not in date.
    #[error("the certificate of its signer {0} is valid from {1} to {2}")]
    OutOfDate(String, Timestamp, Timestamp),
}

impl<'a> Response<'a> {
    /// Parses a response.
    ///
    /// # Errors
    /// [`Unreadable`], also for a responder's refusal, which holds no answer.
    pub fn from_der(der: &'a [u8]) -> Result<Self, Unreadable> {
        let mut outer = Reader::new(der);
        let response = outer.sequence("beginning").and_then(|response| outer.end("end").map(|()| response));
        let mut response = response.map_err(|why| Unreadable::new(&why))?;
        let status = response.content(Tag::Enumerated, "response status").map_err(|why| Unreadable::new(&why))?;
        if status != [0] {
            let named = REFUSALS.iter().find(|(number, _)| status == [*number]).map(|(_, name)| *name);
            return Err(Unreadable::new(&format!(
                "it is the responder's refusal {}, and says nothing of any certificate",
                named.unwrap_or("of an unknown kind")
            )));
        }
        Self::successful(response).map_err(|why| Unreadable::new(&why))
    }

    fn successful(mut response: Reader<'a>) -> Result<Self, Malformed> {
        let bytes = response.tagged(0, "response")?.unwrap_or_default();
        let mut bytes = Reader::new(bytes).sequence("response")?;
        let kind: Oid<'a> = bytes.parsed("response type")?;
        if kind != BASIC {
            return Err(Malformed::of("response type"));
        }
        let mut basic = Reader::new(bytes.content(Tag::OctetString, "response")?).sequence("response")?;
        let signed = Signed::read(&mut basic)?;
        let mut certificates = Vec::new();
        if let Some(sent) = basic.tagged(0, "certificates")? {
            let mut sent = Reader::new(sent).sequence("certificates")?;
            while !sent.is_empty() && certificates.len() < MAX_CERTIFICATES {
                let (_, whole) = sent.element("certificates")?;
                certificates.extend(Certificate::from_der(whole));
            }
        }
        let mut data = Reader::new(signed.whole).sequence("response data")?;
        data.tagged(0, "version")?;
        let by = match (data.tagged(1, "responder")?, data.tagged(2, "responder")?) {
            (Some(name), None) => Signer::Name(name),
            (None, Some(key)) => Signer::Key(Reader::new(key).content(Tag::OctetString, "responder")?),
            _ => return Err(Malformed::of("responder")),
        };
        data.time("time of production")?;
        let mut list = data.sequence("answers")?;
        let mut answers = Vec::new();
        while !list.is_empty() && answers.len() < MAX_ANSWERS {
            answers.push(Answer::read(list.sequence("answers")?)?);
        }
        Ok(Self { signed, by, answers, certificates })
    }

    /// The answer about `leaf`, when one of `issuers` has issued it; without any, that of the issuer it names.
    #[must_use]
    pub fn about(&self, leaf: &Certificate, issuers: &[&Certificate]) -> Option<&Answer<'a>> {
        self.answers.iter().find(|answer| {
            answer.serial == *leaf.serial()
                && answer.issuer_name == answer.hashed(&leaf.issuer_der)
                && (issuers.is_empty() || issuers.iter().any(|issuer| answer.is_of_key(issuer)))
        })
    }

    /// Whether it is the word of `issuer`, or of a responder that `issuer` made for this (RFC 6960 §4.2.2.2), at `now`, give
    /// or take `skew`. A signature of a kind that the library does not check counts as good.
    ///
    /// # Errors
    /// Why it is not.
    pub fn word_of(&self, issuer: &Certificate, now: Timestamp, skew: Duration) -> Result<(), Unsigned> {
        if self.names(issuer) && self.signed.by(issuer) != Signature::Bad {
            return Ok(());
        }
        let named: Vec<&Certificate> = self.certificates.iter().filter(|it| self.names(it)).collect();
        let who = |it: &Certificate| it.subject().to_string();
        let Some(signer) = named.iter().find(|it| self.signed.by(it) != Signature::Bad) else {
            let candidate = named.first().copied().or_else(|| self.names(issuer).then_some(issuer));
            return Err(candidate.map_or(Unsigned::Nobody, |it| Unsigned::Forged(who(it))));
        };
        let validity = signer.validity();
        if signer.key() != issuer.key() && link(signer, issuer) != Link::Issued {
            Err(Unsigned::Stranger(who(signer)))
        } else if signer.key() != issuer.key() && !signer.signs.ocsp {
            Err(Unsigned::Unqualified(who(signer)))
        } else if now + skew < validity.start || now >= validity.end + skew {
            Err(Unsigned::OutOfDate(who(signer), validity.start, validity.end))
        } else {
            Ok(())
        }
    }

    fn names(&self, signer: &Certificate) -> bool {
        match self.by {
            Signer::Name(name) => name == signer.subject_der,
            Signer::Key(key) => hash_of_key(&SHA1_FOR_LEGACY_USE_ONLY, signer).is_some_and(|hash| hash == key),
        }
    }
}

impl<'a> Answer<'a> {
    fn read(mut answer: Reader<'a>) -> Result<Self, Malformed> {
        let mut of = answer.sequence("certificate id")?;
        let algorithm: AlgorithmIdentifier<'a> = of.parsed("hash algorithm")?;
        let issuer_name = of.content(Tag::OctetString, "issuer's name")?;
        let issuer_key = of.content(Tag::OctetString, "issuer's key")?;
        let serial = of.content(Tag::Integer, "serial number")?;
        let status = match (answer.tagged(0, "status")?, answer.tagged(1, "status")?) {
            (Some(_), _) => Status::Good,
            (None, Some(info)) => Status::Revoked(revoked(Reader::new(info))?),
            (None, None) => answer.tagged(2, "status")?.map(|_| Status::Unknown).ok_or(Malformed::of("status"))?,
        };
        let this_update = answer.time("thisUpdate")?;
        let next = answer.tagged(0, "nextUpdate")?;
        Ok(Self {
            hash: HASHES.iter().find(|(oid, _)| *oid == algorithm.algorithm).map(|(_, hash)| *hash),
            issuer_name,
            issuer_key,
            serial: Serial::from_der_content(serial),
            status,
            this_update,
            next_update: next.map(|next| Reader::new(next).time("nextUpdate")).transpose()?,
        })
    }

    /// Nothing has the hash of an algorithm that is not known.
    fn hashed(&self, what: &[u8]) -> Vec<u8> {
        self.hash.map_or_else(Vec::new, |hash| digest::digest(hash, what).as_ref().to_vec())
    }

    fn is_of_key(&self, issuer: &Certificate) -> bool {
        self.hash.and_then(|hash| hash_of_key(hash, issuer)).is_some_and(|hash| hash == self.issuer_key)
    }
}

fn revoked(mut info: Reader<'_>) -> Result<Revocation, Malformed> {
    let at = info.time("revocation time")?;
    let reason = info.tagged(0, "revocation reason")?;
    let reason = reason.map(|reason| Reader::new(reason).content(Tag::Enumerated, "revocation reason")).transpose()?;
    Ok(Revocation { at, reason: reason.and_then(Reason::from_der_content) })
}

/// The hash of the bits of a certificate's key, without what says of which kind it is.
fn hash_of_key(hash: &'static digest::Algorithm, certificate: &Certificate) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate.der()).ok()?;
    Some(digest::digest(hash, &parsed.public_key().subject_public_key.data).as_ref().to_vec())
}
