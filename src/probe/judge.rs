//! What a handshake means for the certificate that should be served. Pure: it reads observations and nothing else.

use super::checks::SLOW;
use super::checks::staple::staple;
use super::handshake::Handshake;
use super::label::{Label, Severity, Trouble};
use crate::config::spec::{Expect, Usage};
use crate::pki::gate::{Expected, Origin, judge};
use crate::pki::{Anchors, Certificate};
use crate::ports::{Look, Shown};
use crate::types::{Fingerprint, Printable, Timestamp, humane, sha256};
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;

/// Where and against what a handshake is judged.
pub(super) struct Bench<'a> {
    /// What was asked.
    pub(super) look: &'a Look<'a>,
    /// The address connected to.
    pub(super) address: SocketAddr,
    /// The roots, for `expect: valid` only.
    pub(super) anchors: Option<&'a Anchors>,
    /// The time to judge validity at.
    pub(super) now: Timestamp,
}

/// What one handshake showed, with findings that do not block.
pub(super) fn shown(handshake: &Handshake, bench: &Bench<'_>) -> (Shown, Vec<Printable>) {
    let mut notes = Vec::new();
    if handshake.end.is_ok() && handshake.took >= SLOW {
        note(&mut notes, Label::HandshakeSlow, &format!("the handshake took {}", humane(handshake.took)));
    }
    let Some(leaf) = handshake.chain.first() else { return (failed(handshake, bench), notes) };
    if bench.look.endpoint.expect == Expect::Leaf && sha256(&[leaf]) != bench.look.leaf {
        return (other(leaf, handshake, bench), notes);
    }
    if handshake.end.is_err() && !refused_for_client_certificate(handshake) {
        return (failed(handshake, bench), notes);
    }
    if handshake.end.is_err() {
        let message = "the leaf was shown, then the connection refused for want of a client certificate";
        note(&mut notes, Label::ClientCertRequired, message);
    } else if handshake.client_certificate_asked {
        notes.push(Printable::new("a client certificate is asked for; whether it is required was not looked at"));
    }
    let shown = match bench.look.endpoint.expect {
        Expect::Leaf => complete(&handshake.chain, bench.look.chain, &mut notes),
        Expect::Valid => valid(handshake, bench, &mut notes),
    };
    if shown == Shown::Wanted {
        stapled(handshake, bench.now, &mut notes);
    }
    (shown, notes)
}

/// What is wrong with the staple. That none is there yet is not: servers fetch theirs when the first client asks.
fn stapled(handshake: &Handshake, now: Timestamp, notes: &mut Vec<Printable>) {
    if handshake.staple.is_empty() {
        return;
    }
    let sent: Vec<Certificate> = handshake.chain.iter().filter_map(|it| Certificate::from_der(it).ok()).collect();
    let found = staple(&sent, &[], &handshake.staple, now);
    for finding in found.iter().filter(|finding| finding.label.severity() >= Severity::Warn) {
        note(notes, finding.label, finding.seen.as_str());
    }
}

fn note(notes: &mut Vec<Printable>, label: Label, message: &str) {
    notes.push(Printable::new(&format!("{}: {message}", label.as_str())));
}

fn failed(handshake: &Handshake, bench: &Bench<'_>) -> Shown {
    let unshown = Trouble::answered(Label::HandshakeRefused, "the handshake ended without a certificate");
    let trouble = handshake.end.as_ref().err().unwrap_or(&unshown);
    let failure = trouble.failure(Some(bench.address), &bench.look.endpoint.sni.to_string());
    if trouble.answered { Shown::HandshakeFailed { failure } } else { Shown::Unreachable { failure } }
}

/// In TLS 1.2 a server that requires a client certificate refuses during the handshake, after it proved its own key.
fn refused_for_client_certificate(handshake: &Handshake) -> bool {
    let refused = handshake.end.as_ref().is_err_and(|trouble| trouble.label == Label::HandshakeRefused);
    refused && handshake.proved && handshake.client_certificate_asked
}

fn other(leaf: &CertificateDer<'_>, handshake: &Handshake, bench: &Bench<'_>) -> Shown {
    match Certificate::from_der(leaf) {
        Ok(leaf) => {
            Shown::Other { leaf: leaf.fingerprint(), serial: leaf.serial().clone(), not_after: leaf.validity().end }
        }
        Err(why) => {
            let message = format!("the leaf sent cannot be read: {why}");
            let end = Err(Trouble::answered(Label::HandshakeRefused, message));
            failed(&Handshake { end, ..handshake.clone() }, bench)
        }
    }
}

/// Whether `sent` holds all of `wanted` in order. More than that is noted.
fn complete(sent: &[CertificateDer<'_>], wanted: &[Fingerprint], notes: &mut Vec<Printable>) -> Shown {
    let prints: Vec<Fingerprint> = sent.iter().map(|certificate| sha256(&[certificate])).collect();
    if prints == wanted {
        return Shown::Wanted;
    }
    let places: Vec<Option<usize>> = wanted.iter().map(|want| prints.iter().position(|print| print == want)).collect();
    if let Some(missing) = places.iter().position(Option::is_none) {
        return broken(missing_link(sent, &prints, wanted, missing));
    }
    if !places.is_sorted() {
        return broken((Label::ChainOutOfOrder, "all certificates are sent, not in signing order".to_owned()));
    }
    for (at, print) in prints.iter().enumerate() {
        let twice = prints[..at].contains(print);
        if twice || !wanted.contains(print) {
            let parsed = Certificate::from_der(&sent[at]).ok();
            let label = match &parsed {
                _ if twice => Label::DuplicateInChain,
                Some(certificate) if certificate.is_self_issued() => Label::RootIncluded,
                _ => Label::ExtraInChain,
            };
            let name = parsed.map_or_else(|| print.short(), |certificate| certificate.subject().to_string());
            note(notes, label, &format!("certificate {} sent is {name}", at + 1));
        }
    }
    Shown::Wanted
}

/// `wanted[missing]` is not among `sent`: is nothing sent in its place, or something else?
fn missing_link(
    sent: &[CertificateDer<'_>],
    prints: &[Fingerprint],
    wanted: &[Fingerprint],
    missing: usize,
) -> (Label, String) {
    let needed = missing
        .checked_sub(1)
        .and_then(|below| prints.iter().position(|print| *print == wanted[below]))
        .and_then(|below| Certificate::from_der(&sent[below]).ok())
        .map_or_else(|| wanted[missing].short(), |below| below.issuer().to_string());
    let instead = sent
        .iter()
        .zip(prints)
        .filter(|(_, print)| !wanted.contains(print))
        .filter_map(|(certificate, _)| Certificate::from_der(certificate).ok())
        .find(|certificate| !certificate.is_self_issued());
    match instead {
        Some(instead) => (
            Label::WrongIntermediate,
            format!("needed is {needed}; sent is {}, fingerprint {}", instead.subject(), instead.fingerprint().short()),
        ),
        None => (Label::MissingIntermediate, format!("{needed} is not sent")),
    }
}

fn broken((label, message): (Label, String)) -> Shown {
    Shown::BrokenChain { message: Printable::new(&format!("{}: {message}", label.as_str())) }
}

/// `expect: valid`: any certificate that clients accept for the name. The gate's rules apply, its order's do not.
fn valid(handshake: &Handshake, bench: &Bench<'_>, notes: &mut Vec<Printable>) -> Shown {
    let Some(leaf) = handshake.chain.first() else { return failed(handshake, bench) };
    let parsed: Result<Vec<Certificate>, _> = handshake.chain.iter().map(|sent| Certificate::from_der(sent)).collect();
    let Ok(chain) = parsed else { return other(leaf, handshake, bench) };
    let asked = &bench.look.endpoint.sni;
    let unchecked = Anchors::unchecked();
    let origin = Origin { directory: "", rehearsal: false };
    let judgement = judge(
        &chain,
        &Expected {
            key: chain[0].key(),
            names: chain[0].names(),
            usage: Usage::Server,
            origin,
            came_from: origin,
            old_serials: &[],
            previous_issuer: None,
            anchors: bench.anchors.unwrap_or(&unchecked),
            now: bench.now,
        },
    );
    notes.extend(judgement.notes);
    // Names beside the one asked for are the other side's business.
    let mut violations = judgement.violations.into_iter().filter(|violation| violation.code != "san_extra").peekable();
    if !chain[0].names().iter().any(|name| name.covers(asked)) {
        note(notes, Label::NameMismatch, &format!("the certificate does not cover {asked}"));
        return other(leaf, handshake, bench);
    }
    let Some(first) = violations.peek() else { return Shown::Wanted };
    let message = Printable::new(&format!("{}: {}", first.code, first.message));
    let of_chain = ["missing_intermediate", "wrong_intermediate", "chain_out_of_order"].contains(&first.code);
    notes.extend(violations.map(|violation| Printable::new(&format!("{}: {}", violation.code, violation.message))));
    if of_chain { Shown::BrokenChain { message } } else { other(leaf, handshake, bench) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::{Endpoint, Roots, StartTls, Target};
    use crate::pki::testing::{Authority, in_2026};
    use crate::types::{KeyFamily, Vantage};
    use proptest::prelude::*;
    use std::time::Duration;

    /// The wanted chain is the first three; then what a server may send besides.
    struct Certificates([Certificate; 6]);

    const WANTED: usize = 3;

    impl Certificates {
        fn new() -> Self {
            let root = Authority::root("Root");
            let upper = root.intermediate("Upper");
            let lower = upper.intermediate("Lower");
            let foreign = upper.intermediate("Lower").certificate;
            let (leaf, old) = (lower.leaf(&["a.example"]), lower.leaf(&["a.example"]));
            Self([leaf, lower.certificate, upper.certificate, root.certificate, foreign, old])
        }

        fn sent(&self, which: &[usize]) -> Handshake {
            Handshake {
                chain: which.iter().map(|at| self.0[*at].der().clone()).collect(),
                proved: true,
                took: Duration::from_millis(5),
                end: Ok(()),
                ..Handshake::failed(Trouble::silent(Label::HandshakeTimeout, ""))
            }
        }

        fn shown(&self, handshake: &Handshake) -> (Shown, Vec<Printable>) {
            let chain: Vec<Fingerprint> = self.0[..WANTED].iter().map(Certificate::fingerprint).collect();
            let address = SocketAddr::from(([127, 0, 0, 1], 443));
            let endpoint = Endpoint {
                target: Target::Address(address),
                sni: "a.example".parse().unwrap(),
                node: None,
                starttls: StartTls::No,
                expect: Expect::Leaf,
                from: Vantage::Here,
            };
            let look = Look {
                endpoint: &endpoint,
                leaf: chain[0],
                chain: &chain,
                family: KeyFamily::Ecdsa,
                roots: &Roots::Unchecked,
                handshakes: 1,
                over: Duration::ZERO,
                revocation: false,
            };
            shown(handshake, &Bench { look: &look, address, anchors: None, now: in_2026() })
        }
    }

    fn label(shown: &Shown) -> &str {
        match shown {
            Shown::Wanted => "wanted",
            Shown::Other { .. } => "other",
            Shown::BrokenChain { message } => message.as_str().split(':').next().unwrap_or_default(),
            Shown::HandshakeFailed { failure } | Shown::Unreachable { failure } | Shown::NotLooked { failure } => {
                &failure.code
            }
        }
    }

    proptest! {
        #[test]
        fn any_list_is_live_only_when_the_chain_is_there_in_order(
            which in proptest::collection::vec(0usize..6, 0..7)
        ) {
            let certificates = Certificates::new();
            let (shown, notes) = certificates.shown(&certificates.sent(&which));
            let first = |wanted: usize| which.iter().position(|at| *at == wanted);
            let expected = match (which.first(), first(1), first(2)) {
                (None, _, _) => "probe:handshake_refused",
                (Some(1..), _, _) => "other",
                (Some(_), Some(lower), Some(upper)) if lower < upper => "wanted",
                (Some(_), Some(_), Some(_)) => "chain_out_of_order",
                _ if which.contains(&4) || which.contains(&5) => "wrong_intermediate",
                _ => "missing_intermediate",
            };
            prop_assert_eq!(label(&shown), expected, "{:?}", which);
            let surplus = if expected == "wanted" { which.len() - WANTED } else { 0 };
            prop_assert_eq!(notes.len(), surplus, "{:?}", notes);
        }
    }

    #[test]
    fn a_handshake_that_ended_badly_is_not_live_even_with_the_right_leaf() {
        let certificates = Certificates::new();
        let good = certificates.sent(&[0, 1, 2]);
        let end = |trouble| Handshake { end: Err(trouble), ..good.clone() };
        let refusal = Trouble::answered(Label::HandshakeRefused, "alert");
        let asked = Handshake { client_certificate_asked: true, ..end(refusal.clone()) };
        let unproved = Handshake { proved: false, ..asked.clone() };
        let timeout = Handshake { client_certificate_asked: true, ..end(Trouble::silent(Label::HandshakeTimeout, "")) };
        for (handshake, expected) in [
            (&good, "wanted"),
            (&asked, "wanted"),
            (&end(refusal), "probe:handshake_refused"),
            (&unproved, "probe:handshake_refused"),
            (&timeout, "probe:handshake_timeout"),
        ] {
            assert_eq!(label(&certificates.shown(handshake).0), expected, "{handshake:?}");
        }
        assert!(matches!(certificates.shown(&timeout).0, Shown::Unreachable { .. }));
    }

    #[test]
    fn a_slow_handshake_is_noted_and_an_unreadable_leaf_is_a_failure() {
        let certificates = Certificates::new();
        let slow = Handshake { took: Duration::from_secs(4), ..certificates.sent(&[0, 1, 2]) };
        let (shown, notes) = certificates.shown(&slow);
        assert_eq!((label(&shown), notes.len()), ("wanted", 1));
        assert!(notes[0].as_str().starts_with("handshake_slow"));
        let noise = Handshake { chain: vec![CertificateDer::from(vec![0x30, 1, 2])], ..slow };
        assert_eq!(label(&certificates.shown(&noise).0), "probe:handshake_refused");
    }
}
