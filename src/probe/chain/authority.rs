//! Who may do what: usages, CA marks, path lengths.

use crate::config::spec::Usage;
use crate::pki::{Certificate, Usages};
use crate::probe::finding::Finding;
use crate::probe::label::Label;

/// What the leaf may be used for.
pub(super) fn leaf(leaf: &Certificate, usage: Usage) -> Vec<Finding> {
    let said = |allowed: Usages, why: &str| usages(leaf, allowed, usage, why);
    let extended = leaf.usages().map(|allowed| said(allowed, "extendedKeyUsage"));
    // One cause is enough: the extended usages say more.
    extended.filter(|found| !found.is_empty()).unwrap_or_else(|| said(leaf.key_usages, "keyUsage"))
}

fn usages(certificate: &Certificate, allowed: Usages, wanted: Usage, why: &str) -> Vec<Finding> {
    let who = certificate.subject_or_names();
    let mut found = Vec::new();
    if wanted != Usage::Client && !allowed.server {
        found.push(Finding::new(Label::EkuNotServer, format!("{who} is not for TLS servers ({why})")));
    }
    if wanted != Usage::Server && !allowed.client {
        found.push(Finding::new(Label::ClientCertWrongUsage, format!("{who} is not for TLS clients ({why})")));
    }
    found
}

/// Whether those who issued may issue: `members` from the leaf on, then the trusted root.
pub(super) fn issuers(members: &[&Certificate], root: Option<&Certificate>, wanted: Usage) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut below = 0u32;
    for (issuer, trusted) in members.iter().skip(1).map(|it| (*it, false)).chain(root.map(|root| (root, true))) {
        let who = issuer.subject_or_names();
        let authority = issuer.authority;
        // A root of version 1 cannot say that it is a CA.
        let ca = authority.ca || (trusted && authority.first_version);
        if !ca || !authority.may_sign {
            let why = if ca { "keyUsage lacks keyCertSign" } else { "basicConstraints lack CA:TRUE" };
            found.push(Finding::new(Label::IssuerNotCa, format!("{who} has signed a certificate and is no CA: {why}")));
        }
        if let Some(most) = authority.path_len.filter(|most| *most < below) {
            let seen = format!("{who} allows {most} CAs below it, and there are {below}");
            found.push(Finding::new(Label::PathLength, seen));
        }
        if let Some(allowed) = issuer.usages() {
            found.extend(usages(issuer, allowed, wanted, "extendedKeyUsage of the CA"));
        }
        below += u32::from(!issuer.is_self_issued());
    }
    found
}
