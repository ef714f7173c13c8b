//! Walking over DER where x509-parser has no type for it, or none that does without a copy of everything. Allocates nothing.

use crate::types::Timestamp;
use x509_parser::der_parser::asn1_rs::{Any, Class, FromDer, Tag};
use x509_parser::time::ASN1Time;

/// DER that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its {0} cannot be read")]
pub(super) struct Malformed(&'static str);

impl Malformed {
    /// What `what` names is not as it should be.
    pub(super) const fn of(what: &'static str) -> Self {
        Self(what)
    }
}

/// The elements of a constructed value, one after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The elements in `content`.
    pub(super) const fn new(content: &'a [u8]) -> Self {
        Self(content)
    }

    /// Whether there are no more.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, which `what` names: its head, and its bytes with the head.
    pub(super) fn element(&mut self, what: &'static str) -> Result<(Any<'a>, &'a [u8]), Malformed> {
        let (rest, any) = Any::from_der(self.0).map_err(|_| Malformed(what))?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Ok((any, whole))
    }

    /// The content of the next element, which must be of the universal type `tag`.
    pub(super) fn content(&mut self, tag: Tag, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (any, _) = self.element(what)?;
        if any.class() == Class::Universal && any.tag() == tag { Ok(any.data) } else { Err(Malformed(what)) }
    }

    /// The elements of the next element, which must be a sequence.
    pub(super) fn sequence(&mut self, what: &'static str) -> Result<Self, Malformed> {
        self.content(Tag::Sequence, what).map(Self)
    }

    /// The content of the next element if it has the context-specific `number`; else nothing, and it stays the next.
    pub(super) fn tagged(&mut self, number: u32, what: &'static str) -> Result<Option<&'a [u8]>, Malformed> {
        self.if_it_is(Class::ContextSpecific, Tag(number), what)
    }

    /// The content of the next element if it is of the universal type `tag`; else nothing, and it stays the next.
    pub(super) fn optional(&mut self, tag: Tag, what: &'static str) -> Result<Option<&'a [u8]>, Malformed> {
        self.if_it_is(Class::Universal, tag, what)
    }

    fn if_it_is(&mut self, class: Class, tag: Tag, what: &'static str) -> Result<Option<&'a [u8]>, Malformed> {
        let mut ahead = *self;
        if self.is_empty() {
            return Ok(None);
        }
        let (any, _) = ahead.element(what)?;
        if any.class() != class || any.tag() != tag {
            return Ok(None);
        }
        *self = ahead;
        Ok(Some(any.data))
    }

    /// The next element as x509-parser reads it.
    pub(super) fn parsed<T, E>(&mut self, what: &'static str) -> Result<T, Malformed>
    where
        T: FromDer<'a, E>,
    {
        let (rest, parsed) = T::from_der(self.0).map_err(|_| Malformed(what))?;
        self.0 = rest;
        Ok(parsed)
    }

    /// The next element, a `UTCTime` or a `GeneralizedTime`.
    pub(super) fn time(&mut self, what: &'static str) -> Result<Timestamp, Malformed> {
        self.parsed::<ASN1Time, _>(what).map(|time| Timestamp::from_secs(time.timestamp()))
    }

    /// Nothing more may come.
    pub(super) fn end(self, what: &'static str) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed(what)) }
    }
}
