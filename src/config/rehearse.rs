//! `--dry-run`: the same specification against other directories, with other state and a scratch live tree.

use super::known::known;
use super::spec::{Issuer, Paths, Rehearsal, Roots, Spec};
use crate::types::{CertName, IssuerName};
use std::collections::BTreeMap;

/// The directory below the state where a rehearsal keeps everything.
const REHEARSAL: &str = "rehearsal";

/// What a rehearsal can do.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    /// The specification to plan from. Its nodes and hooks stay as they are, and nothing is published to them.
    pub spec: Spec,
    /// Certificates left out, each with its issuer, which has nothing to rehearse against.
    pub skipped: Vec<(CertName, IssuerName)>,
}

/// No certificate can be rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "nothing can be rehearsed: {} has no `dry_run:` directory; write `dry_run: {{ directory: URL }}` under the issuer",
    issuers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
)]
pub struct NotRehearsable {
    /// The issuers without a directory to rehearse against.
    pub issuers: Vec<IssuerName>,
}

impl Spec {
    /// This specification for a rehearsal: each issuer becomes its `dry_run` directory, or the known staging directory of
    /// a known production one; everything everleaf writes goes below `STATE/rehearsal`.
    ///
    /// # Errors
    /// [`NotRehearsable`] when there are certificates, and no issuer of theirs has anything to rehearse against.
    pub fn rehearse(&self) -> Result<Rehearsed, NotRehearsable> {
        let issuers: BTreeMap<IssuerName, Issuer> =
            self.issuers.values().filter_map(rehearsed).map(|issuer| (issuer.name.clone(), issuer)).collect();
        let (can, cannot): (BTreeMap<_, _>, BTreeMap<_, _>) = self
            .certificates
            .clone()
            .into_iter()
            .partition(|(_, certificate)| issuers.contains_key(&certificate.issuer));
        let skipped: Vec<(CertName, IssuerName)> = cannot.into_iter().map(|(name, cert)| (name, cert.issuer)).collect();
        if can.is_empty() && !skipped.is_empty() {
            let mut missing: Vec<IssuerName> = skipped.into_iter().map(|(_, issuer)| issuer).collect();
            missing.sort();
            missing.dedup();
            return Err(NotRehearsable { issuers: missing });
        }
        let state = self.paths.state.join(REHEARSAL);
        let paths = Paths { live: state.join("live"), run: self.paths.run.join(REHEARSAL), state };
        let mut spec = Self { paths, issuers, certificates: can, metrics: None, ping: None, ..self.clone() };
        for certificate in spec.certificates.values_mut() {
            let Some(issuer) = spec.issuers.get(&certificate.issuer) else { continue };
            let asked_by_issuer = self.issuers.get(&certificate.issuer).and_then(|issuer| issuer.profile.as_ref());
            // A profile of the certificate's own is kept: staging directories mostly offer what production does.
            if certificate.profile.as_ref() == asked_by_issuer || issuer.dry_run_profile_written() {
                certificate.profile.clone_from(&issuer.profile);
            }
        }
        Ok(Rehearsed { spec, skipped })
    }
}

impl Issuer {
    fn dry_run_profile_written(&self) -> bool {
        self.dry_run.as_ref().is_some_and(|rehearsal| rehearsal.profile.is_some())
    }
}

fn rehearsed(issuer: &Issuer) -> Option<Issuer> {
    let rehearsal = issuer.dry_run.clone().or_else(|| staging(issuer))?;
    // A binding belongs to one directory: the staging one would refuse it.
    let external_account = issuer.external_account.clone().filter(|_| rehearsal.directory == issuer.directory);
    Some(Issuer {
        budget: known(&rehearsal.directory).map(super::known::Known::budget).unwrap_or_default(),
        profile: rehearsal.profile.clone().or_else(|| issuer.profile.clone()),
        directory: rehearsal.directory.clone(),
        roots: rehearsal.roots.clone(),
        ca_bundle: rehearsal.ca_bundle.clone(),
        external_account,
        dry_run: Some(rehearsal),
        ..issuer.clone()
    })
}

fn staging(issuer: &Issuer) -> Option<Rehearsal> {
    let directory = known(&issuer.directory)?.staging?.to_owned();
    Some(Rehearsal { directory, roots: Roots::Unchecked, ca_bundle: None, profile: None })
}
