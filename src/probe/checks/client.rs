//! Client certificates: whether one is asked for, and whether it goes on without.

use super::Case;
use crate::probe::finding::Finding;
use crate::probe::label::Label;
use crate::probe::survey::Sight;

/// Issuers listed in one message.
const LISTED: usize = 4;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let asked = case.views.iter().filter(|view| view.sight.telling().client_certificate_asked);
    let said = asked.filter_map(|view| {
        let sight = view.sight;
        let issuers = issuers(sight);
        let finding = match &sight.telling().end {
            Err(trouble) if wanted(sight) => {
                let seen = format!("a client certificate is asked for{issuers}; without one, {}", trouble.message);
                Finding::new(Label::ClientCertRequired, seen)
            }
            Err(_) => return None,
            Ok(()) => {
                let seen = format!("a client certificate is asked for{issuers}; the handshake ends well without one");
                Finding::new(Label::ClientCertOptional, seen)
            }
        };
        Some(view.found(finding))
    });
    said.collect()
}

/// Whether the server refused for want of a client certificate: it proved its own key, asked, and broke off (in TLS 1.3 after the
/// handshake, RFC 8446 §4.4.2.4).
pub(super) fn wanted(sight: &Sight) -> bool {
    let shake = sight.telling();
    let ended = [Label::HandshakeRefused, Label::ConnClosed, Label::ConnReset];
    let refused = shake.end.as_ref().is_err_and(|trouble| ended.contains(&trouble.label));
    refused && shake.proved && shake.client_certificate_asked
}

fn issuers(sight: &Sight) -> String {
    let names = crate::pki::parse::names_of(&sight.telling().client_authorities);
    match names.as_slice() {
        [] => ", of no particular issuer".to_owned(),
        names => {
            let listed: Vec<String> = names.iter().take(LISTED).map(ToString::to_string).collect();
            let more = match names.len().saturating_sub(LISTED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!(", issued by {}{more}", listed.join(" or "))
        }
    }
}
