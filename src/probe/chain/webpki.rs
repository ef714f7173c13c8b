//! The verdict of webpki, which is what Rust clients do.

use super::Question;
use super::route::View;
use crate::config::spec::Usage;
use crate::pki::Certificate;
use crate::pki::proven::with_algorithms;
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};

/// Why webpki refuses, when it does. What other labels name explains it.
pub(super) fn refusal(sent: &[Certificate], view: &View<'_>, question: &Question<'_>) -> Option<Finding> {
    let leaf = sent.first()?;
    // A leaf that is its own trusted root is accepted by most clients even where it says CA, which webpki does not like.
    if view.leaf_is_anchor(leaf) {
        return None;
    }
    let usages = match question.usage {
        Usage::Server => vec![KeyUsage::server_auth()],
        Usage::Client => vec![KeyUsage::client_auth()],
        Usage::Both => vec![KeyUsage::server_auth(), KeyUsage::client_auth()],
    };
    let refused = |usage| verify(sent, view, question, usage).err();
    let error = usages.into_iter().find_map(refused);
    error.map(|error| Finding::new(Label::Unverifiable, format!("webpki refuses the chain: {error}")))
}

/// As a Rust client verifies, names apart.
pub(super) fn verify(
    sent: &[Certificate],
    view: &View<'_>,
    question: &Question<'_>,
    usage: KeyUsage,
) -> Result<(), webpki::Error> {
    let [leaf, others @ ..] = sent else { return Err(webpki::Error::UnknownIssuer) };
    let intermediates: Vec<CertificateDer<'_>> = others.iter().map(|it| it.der().clone()).collect();
    let now = Duration::from_secs(u64::try_from(question.now.as_secs()).unwrap_or(0));
    let anchors = view.store.anchors.as_slice();
    let leaf = EndEntityCert::try_from(leaf.der())?;
    let now = UnixTime::since_unix_epoch(now);
    with_algorithms(|known| leaf.verify_for_usage(known, anchors, &intermediates, now, usage, None, None).map(|_| ()))
}
