//! What a bundle's files must be before they are published: the gate again, on the node, which believes no sender.

use crate::config::spec::Usage;
use crate::deploy::bundle::Parcel;
use crate::pki::gate::{self, Expected, Origin};
use crate::pki::{self, Anchors, Certificate};
use crate::types::{CertName, Class, Failure, GenId, Timestamp};

/// The same on both sides: where it came from is the sender's to know.
const SENDER: Origin<'_> = Origin { directory: "", rehearsal: false };

/// Succeeds when the pair parses, belongs together, is in date and leads to `anchors` without a gap.
///
/// # Errors
/// Code `receive:refused`, class `Operator`, with everything that is wrong among its details.
pub(super) fn judge(
    name: &CertName,
    generation: GenId,
    parcel: &Parcel,
    anchors: &Anchors,
    now: Timestamp,
) -> Result<(), Failure> {
    let place = format!("certificate {name}");
    let refused = |why: &str| {
        let message = format!("the node refuses it: {why}; what was published there stays");
        Failure::new(Class::Operator, "receive:refused", &place, message)
            .advise(format!("look at what is stored where it is issued: everleaf why {name}"))
    };
    let Parcel { cert, chain, privkey } = parcel;
    let whole = |text: &str| text.is_empty() || text.ends_with('\n');
    if !whole(cert) || !whole(chain) || !whole(privkey.reveal()) {
        return Err(refused("a file does not end with a line feed"));
    }
    let unread = |what: &str, failure: &Failure| refused(&format!("{what} cannot be read: {}", failure.message));
    let one = pki::parse::chain(cert.as_bytes()).map_err(|failure| unread("cert.pem", &failure))?;
    let [leaf] = one.as_slice() else { return Err(refused("cert.pem holds more than the leaf")) };
    let sent = pki::parse::chain([cert.as_str(), chain].concat().as_bytes());
    let sent = sent.map_err(|failure| unread("chain.pem", &failure))?;
    let key = pki::key::id_of(privkey).map_err(|failure| unread("privkey.pem", &failure))?;
    if leaf.key() != key {
        return Err(refused("privkey.pem is not the key that cert.pem certifies"));
    }
    if GenId::new(generation.number(), &leaf.fingerprint()) != generation {
        return Err(refused(&format!("the leaf is not that of generation {generation}")));
    }
    let judgement = gate::judge(
        &sent,
        &Expected {
            key,
            names: leaf.names(),
            usage: usage(leaf),
            origin: SENDER,
            came_from: SENDER,
            old_serials: &[],
            previous_issuer: None,
            anchors,
            now,
        },
    );
    // What its gate notes beside that, the sender has told its people already.
    let Some(first) = judgement.violations.first() else { return Ok(()) };
    let dated = ["expired", "expired_intermediate", "not_yet_valid"];
    let clock = if dated.contains(&first.code) { format!(" (its clock says {now})") } else { String::new() };
    let failure = refused(&format!("{}{clock}", first.message));
    let failure = match advice(first.code, name) {
        Some(advice) => failure.advise(advice),
        None => failure,
    };
    let each = judgement.violations.iter();
    Err(each.fold(failure, |failure, it| failure.detail(format!("{}: {}", it.code, it.message))))
}

/// What it is good for, by its own word.
fn usage(leaf: &Certificate) -> Usage {
    match leaf.usages() {
        Some(usages) if usages.client && !usages.server => Usage::Client,
        _ => Usage::Server,
    }
}

/// What to do where there is more to say than what always holds.
fn advice(code: &str, name: &CertName) -> Option<String> {
    Some(match code {
        "expired" | "expired_intermediate" => {
            format!("renew it where it is issued: everleaf renew {name}; or set the node's clock, if that is wrong")
        }
        "not_yet_valid" => "set the node's clock, if that is wrong".to_owned(),
        "missing_intermediate" => {
            "where the CA issues from its root itself, name that root in the node's own command: --roots FILE; else look at \
             chain.pem where it is issued"
                .to_owned()
        }
        "untrusted_root" => {
            "is it the right CA? Whom the node trusts stands behind --roots in its own command".to_owned()
        }
        _ => return None,
    })
}
