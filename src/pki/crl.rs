//! Reading CRLs (RFC 5280 §5). Entries are walked over and not kept, so that half a million of them cost no memory. Total: any
//! input gives an answer.

use super::der::{Malformed, Reader};
use super::parse::{Certificate, Unreadable};
use super::pem;
use super::revocation::{Reason, Revocation};
use super::signed::{Signature, Signed};
use crate::types::{Serial, Timestamp};
use data_encoding::HEXLOWER;
use rustls_pki_types::pem::SectionKind;
use std::borrow::Cow;
use x509_parser::der_parser::asn1_rs::{Class, Oid, Tag, oid};

const REASON: Oid<'static> = oid!(2.5.29.21);
const DELTA: Oid<'static> = oid!(2.5.29.27);
const ISSUING_POINT: Oid<'static> = oid!(2.5.29.28);
/// What may be marked critical without changing what an entry means: the names and keys of the issuer, the number, where
/// deltas are.
const HARMLESS: [Oid<'static>; 4] = [oid!(2.5.29.18), oid!(2.5.29.20), oid!(2.5.29.35), oid!(2.5.29.46)];

/// A list of revoked certificates.
#[derive(Debug, Clone)]
pub struct Crl<'a> {
    signed: Signed<'a>,
    issuer: &'a [u8],
    /// When it was made.
    pub this_update: Timestamp,
    /// Until when it counts, where that is said.
    pub next_update: Option<Timestamp>,
    entries: &'a [u8],
    other: Option<String>,
}

/// The DER of a CRL, which some servers send as PEM, against RFC 5280 §4.2.1.13.
///
/// # Errors
/// [`Unreadable`] for PEM without a whole CRL in it.
pub fn der(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Unreadable> {
    if !bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Ok(Cow::Borrowed(bytes));
    }
    for section in pem::sections(bytes) {
        let mut section = section.map_err(|why| Unreadable::new(&why))?;
        if section.kind == SectionKind::Crl {
            return Ok(Cow::Owned(std::mem::take(&mut *section.der)));
        }
    }
    Err(Unreadable::new(&"it is PEM, and holds no CRL"))
}

impl<'a> Crl<'a> {
    /// Parses all but the entries.
    ///
    /// # Errors
    /// [`Unreadable`], also when something follows the CRL.
    pub fn from_der(der: &'a [u8]) -> Result<Self, Unreadable> {
        Self::read(Reader::new(der)).map_err(|why| Unreadable::new(&why))
    }

    fn read(mut outer: Reader<'a>) -> Result<Self, Malformed> {
        let mut list = outer.sequence("beginning")?;
        outer.end("end")?;
        let signed = Signed::read(&mut list)?;
        let mut body = Reader::new(signed.whole).sequence("list")?;
        body.optional(Tag::Integer, "version")?;
        body.sequence("signature algorithm")?;
        let (_, issuer) = body.element("issuer")?;
        let this_update = body.time("thisUpdate")?;
        let mut ahead = body;
        let next_update = match ahead.element("list") {
            Ok((any, _)) if any.class() == Class::Universal && any.tag() != Tag::Sequence => {
                Some(body.time("nextUpdate")?)
            }
            _ => None,
        };
        let entries = body.optional(Tag::Sequence, "entries")?.unwrap_or_default();
        let extensions = body.tagged(0, "extensions")?;
        let other = extensions.map(|all| other(Reader::new(all))).transpose()?.flatten();
        Ok(Self { signed, issuer, this_update, next_update, entries, other })
    }

    /// Why it says nothing of certificates of its own issuer, where it does not.
    #[must_use]
    pub fn is_other(&self) -> Option<&str> {
        self.other.as_deref()
    }

    /// Whether it is the word of `issuer`. A signature of a kind that the library does not check counts as good.
    ///
    /// # Errors
    /// Why it is not.
    pub fn word_of(&self, issuer: &Certificate) -> Result<(), Unreadable> {
        let who = issuer.subject();
        if self.issuer != issuer.subject_der {
            return Err(Unreadable::new(&format!("it is not of {who}, but of another issuer")));
        }
        if !issuer.signs.crls {
            return Err(Unreadable::new(&format!("{who} may not sign CRLs (keyUsage lacks cRLSign)")));
        }
        match self.signed.by(issuer) {
            Signature::Bad => Err(Unreadable::new(&format!("its signature is not by the key of {who}"))),
            Signature::Good | Signature::Unchecked => Ok(()),
        }
    }

    /// What it says of the certificate with this serial number; nothing when it is not listed.
    ///
    /// # Errors
    /// [`Unreadable`] when an entry before it, or its own, is.
    pub fn listed(&self, serial: &Serial) -> Result<Option<Revocation>, Unreadable> {
        self.find(&HEXLOWER.decode(serial.as_str().as_bytes()).unwrap_or_default()).map_err(|why| Unreadable::new(&why))
    }

    /// The same list with other entries, for tests of many.
    #[cfg(test)]
    pub(crate) fn with_entries(&self, entries: &'a [u8]) -> Self {
        Self { entries, ..self.clone() }
    }

    fn find(&self, wanted: &[u8]) -> Result<Option<Revocation>, Malformed> {
        let mut entries = Reader::new(self.entries);
        while !entries.is_empty() {
            let mut entry = entries.sequence("entries")?;
            if number(entry.content(Tag::Integer, "serial number")?) != number(wanted) {
                continue;
            }
            let at = entry.time("revocation date")?;
            let reason = reason(entry)?;
            // In a delta CRL only, which has been set aside already; a whole CRL that says it lists nothing by that.
            return Ok((reason != Some(Reason::REMOVED)).then_some(Revocation { at, reason }));
        }
        Ok(None)
    }
}

/// A number's octets without those that only say its sign.
fn number(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    &octets[zeros..]
}

/// An extension: what it is, whether it is critical, its value.
fn extension<'a>(all: &mut Reader<'a>) -> Result<(Oid<'a>, bool, &'a [u8]), Malformed> {
    let mut one = all.sequence("extensions")?;
    let oid = one.parsed("extensions")?;
    let critical = one.optional(Tag::Boolean, "extensions")?.is_some_and(truth);
    Ok((oid, critical, one.content(Tag::OctetString, "extensions")?))
}

fn truth(octets: &[u8]) -> bool {
    octets.iter().any(|octet| *octet != 0)
}

fn reason(mut entry: Reader<'_>) -> Result<Option<Reason>, Malformed> {
    let Some(all) = entry.optional(Tag::Sequence, "extensions")? else { return Ok(None) };
    let mut all = Reader::new(all);
    while !all.is_empty() {
        let (oid, _, value) = extension(&mut all)?;
        if oid == REASON {
            let octets = Reader::new(value).content(Tag::Enumerated, "reason")?;
            return Ok(Reason::from_der_content(octets));
        }
    }
    Ok(None)
}

/// What makes a list one that says nothing by itself of the certificates of who signed it.
fn other(mut all: Reader<'_>) -> Result<Option<String>, Malformed> {
    let mut all = all.sequence("extensions")?;
    while !all.is_empty() {
        let (oid, critical, value) = extension(&mut all)?;
        let why = match () {
            () if oid == DELTA => Some("it is a delta CRL, which says nothing without its base".to_owned()),
            () if oid == ISSUING_POINT => elsewhere(value)?.map(str::to_owned),
            () if critical && !HARMLESS.contains(&oid) => Some(format!("its critical extension {oid} is not known")),
            () => None,
        };
        if why.is_some() {
            return Ok(why);
        }
    }
    Ok(None)
}

/// Whether an issuing distribution point (RFC 5280 §5.2.5) says that the list is of other certificates.
fn elsewhere(value: &[u8]) -> Result<Option<&'static str>, Malformed> {
    let mut point = Reader::new(value).sequence("issuing distribution point")?;
    let (mut indirect, mut attributes) = (false, false);
    for number in 0..=5 {
        let said = point.tagged(number, "issuing distribution point")?;
        match number {
            4 => indirect = said.is_some_and(truth),
            5 => attributes = said.is_some_and(truth),
            _ => {}
        }
    }
    Ok(match (indirect, attributes) {
        (true, _) => Some("it is an indirect CRL, which lists the certificates of several issuers"),
        (_, true) => Some("it is for attribute certificates only"),
        _ => None,
    })
}
