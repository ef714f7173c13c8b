//! Trust anchors: the machine's own, or a PEM file. The one place in `pki` that reads files.

use super::parse::{Certificate, certificates};
use super::pem;
use crate::config::spec::Roots;
use crate::types::{Class, Failure};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use std::cell::OnceCell;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

/// What is read of a roots file; the largest public bundles have a third of it.
const MAX_ROOTS_BYTES: usize = 1024 * 1024;
/// Certificates in a roots file; the public stores have about 150.
const MAX_ROOTS: usize = 1024;

/// What a chain may end at.
#[derive(Debug, Clone, Default)]
pub struct Anchors {
    certificates: Vec<CertificateDer<'static>>,
    /// What webpki needs of them, in the same order.
    extracted: Vec<TrustAnchor<'static>>,
    unchecked: bool,
}

impl Anchors {
    /// Nothing is known, and trust is reported as not checked.
    #[must_use]
    pub fn unchecked() -> Self {
        Self { unchecked: true, ..Self::default() }
    }

    /// The certificates of a PEM text; at least one.
    ///
    /// # Errors
    /// Class `Spec`, code `roots:unreadable`, with `place` in it.
    pub fn from_pem(text: &[u8], place: &str) -> Result<Self, Failure> {
        let certificates = certificates(text, MAX_ROOTS_BYTES, MAX_ROOTS).map_err(|why| unreadable(place, &why))?;
        let mut anchors = Self::default();
        for root in certificates {
            anchors.add(root.der().clone()).map_err(|why| unreadable(place, &format!("{}: {why}", root.subject())))?;
        }
        Ok(anchors)
    }

    /// The machine's own store. Single entries that cannot be read are left out, as other programs do.
    ///
    /// # Errors
    /// Class `Operator`, code `roots:none`, when nothing usable is found.
    pub fn system() -> Result<Self, Failure> {
        let found = rustls_native_certs::load_native_certs();
        let mut anchors = Self::default();
        for root in found.certs {
            // What webpki cannot read no chain can end at.
            let _unreadable = anchors.add(root).is_err();
        }
        if anchors.extracted.is_empty() {
            let why = found.errors.first().map_or_else(|| "no certificate is in it".to_owned(), ToString::to_string);
            return Err(Failure::new(
                Class::Operator,
                "roots:none",
                "the system's trust store",
                format!("it gives no roots: {why}"),
            )
            .advise("Install ca-certificates, or name a PEM file with the issuer's `roots:`."));
        }
        Ok(anchors)
    }

    /// The certificates as a PEM text, for a machine that has them not.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.certificates.iter().map(|root| pem::encode(pem::CERTIFICATE, root)).collect()
    }

    /// Mozilla's store as it was when this program was built.
    ///
    /// # Errors
    /// Class `Spec`, code `roots:unreadable`, when webpki cannot read one of its roots.
    pub fn mozilla() -> Result<Self, Failure> {
        let mut anchors = Self::default();
        for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
            anchors.add(root.clone()).map_err(|why| unreadable("Mozilla's trust store", &why.to_string()))?;
        }
        Ok(anchors)
    }

    fn add(&mut self, root: CertificateDer<'static>) -> Result<(), webpki::Error> {
        let anchor = webpki::anchor_from_trusted_cert(&root)?.to_owned();
        self.extracted.push(anchor);
        self.certificates.push(root);
        Ok(())
    }

    /// For webpki.
    pub(crate) fn as_slice(&self) -> &[TrustAnchor<'static>] {
        &self.extracted
    }

    /// Whether nothing is known.
    pub const fn is_unchecked(&self) -> bool {
        self.unchecked
    }

    /// The roots that carry the name of `certificate`'s issuer.
    pub(crate) fn issuers<'a>(&'a self, certificate: &'a Certificate) -> impl Iterator<Item = Certificate> + 'a {
        let same = |anchor: &TrustAnchor<'_>| certificate.issuer_der.ends_with(&anchor.subject);
        self.extracted
            .iter()
            .zip(&self.certificates)
            .filter(move |(anchor, _)| same(anchor))
            .filter_map(|(_, root)| Certificate::from_der(root).ok())
            .filter(|root| root.subject_der == certificate.issuer_der)
    }

    /// Whether `certificate` itself is one of them.
    pub(crate) fn contains(&self, certificate: &Certificate) -> bool {
        self.certificates.contains(certificate.der())
    }
}

/// Loads anchors as a specification names them; the system's once in its life.
#[derive(Debug, Default)]
pub struct RootStore {
    system: OnceCell<Rc<Anchors>>,
}

impl RootStore {
    /// The anchors that `roots` names. A file is read each time, so that a replaced one counts.
    ///
    /// # Errors
    /// As [`Anchors::system`] and [`Anchors::from_pem`]; code `roots:unreadable` also when the file cannot be read.
    pub fn load(&self, roots: &Roots) -> Result<Rc<Anchors>, Failure> {
        match roots {
            Roots::Unchecked => Ok(Rc::new(Anchors::unchecked())),
            Roots::File(path) => read(path).map(Rc::new),
            Roots::System => {
                if let Some(loaded) = self.system.get() {
                    return Ok(Rc::clone(loaded));
                }
                let loaded = Rc::new(Anchors::system()?);
                Ok(Rc::clone(self.system.get_or_init(|| loaded)))
            }
        }
    }
}

fn read(path: &Path) -> Result<Anchors, Failure> {
    let place = path.display().to_string();
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_ROOTS_BYTES as u64 + 1).read_to_end(&mut text))
        .map_err(|error| unreadable(&place, &error.to_string()))?;
    Anchors::from_pem(&text, &place)
}

fn unreadable(place: &str, why: &str) -> Failure {
    Failure::new(Class::Spec, "roots:unreadable", place, format!("no roots can be read from it: {why}"))
        .advise("The issuer's `roots:` must name a PEM file with the CA's root certificates.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_come_from_a_file_and_a_bad_file_is_named() {
        let key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roots.pem");
        let store = RootStore::default();
        let missing = store.load(&Roots::File(path.clone())).unwrap_err();
        assert!(missing.code == "roots:unreadable" && missing.place.as_str().ends_with("roots.pem"));
        std::fs::write(&path, "").unwrap();
        assert!(store.load(&Roots::File(path.clone())).unwrap_err().message.as_str().contains("empty"));
        std::fs::write(&path, root.pem()).unwrap();
        let loaded = store.load(&Roots::File(path)).unwrap();
        assert!(loaded.contains(&Certificate::from_der(root.der()).unwrap()) && !loaded.is_unchecked());
    }
}
