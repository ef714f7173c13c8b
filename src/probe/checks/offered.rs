//! Why a handshake was refused, told from what the server answers to hellos that offer more than rustls can.

use crate::probe::alert;
use crate::probe::finding::Finding;
use crate::probe::label::{Label, Trouble};
use crate::probe::survey::hello::{Answer, End, Hellos, Offer, named};
use rustls::{AlertDescription, CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme};

/// Clients refuse Diffie-Hellman below this, in bits.
const LEAST_DH: usize = 2048;

/// Why the handshake ended as `refusal` says. Where the hellos tell nothing more, that is what was seen.
#[must_use]
pub fn refused(refusal: &Trouble, hellos: &Hellos) -> Vec<Finding> {
    let answers = [&hellos.everything, &hellos.without_dhe, &hellos.tls12, &hellos.old];
    let best = answers.into_iter().find(|answer| answer.version.is_some());
    if let (Label::CertTooLarge, Some(bytes)) = (refusal.label, best.and_then(|best| best.certificate_bytes)) {
        let seen = format!("the Certificate message has {bytes} bytes; rustls and others read 65536");
        return vec![Finding::new(Label::CertTooLarge, seen)];
    }
    let weak_dh = best.and_then(|best| weak_dh(best, hellos));
    let mut found = Vec::new();
    match best {
        Some(best) if newest(best) < u16::from(ProtocolVersion::TLSv1_2) => found.push(too_old(best, &hellos.tls12)),
        Some(best) if weak_dh.is_none() => found.extend(uncommon(best)),
        Some(_) => {}
        None if refusal.label == Label::ProtocolTooOld => found.push(unheard_of(refusal, hellos)),
        None => found.extend(nothing_in_common(hellos)),
    }
    found.extend(weak_dh);
    if found.is_empty() {
        found.push(Finding::new(refusal.label, everything_refused(refusal, hellos)));
    }
    found
}

/// What TLS 1.2 is worth beside a TLS 1.3 that works, after rustls could not have it: nothing where only what is legacy is to be had
/// but OpenSSL's clients still take it, and where it is not refused after all.
#[must_use]
pub fn beside(refusal: &Trouble, tls12: &Answer) -> Option<Finding> {
    let only = |why: &str| Finding::new(Label::Tls13Only, format!("TLS 1.2 is on, and cannot be had: {why}"));
    if tls12.alert().is_some() {
        return Some(only(&format!("{}; to all suites there are {}", refusal.message, told(tls12))));
    }
    if let Some(bits) = tls12.dh_bits.filter(|bits| *bits < LEAST_DH) {
        return Some(only(&format!("its Diffie-Hellman group has {bits} bits ({})", suite(tls12))));
    }
    if tls12.dh_bits.is_some() && !suite(tls12).contains("_CBC_") {
        return None;
    }
    let found = uncommon(tls12)?;
    if found.label == Label::WeakCipher {
        return Some(found.with(". TLS 1.3 works"));
    }
    Some(only(found.seen.as_str()))
}

/// Whether hellos could tell more of how the handshake ended: it was refused, or broken off, without a cause.
pub(in crate::probe) fn is_open(end: &Trouble) -> bool {
    use Label::{CertTooLarge, ConnClosed, ConnReset, HandshakeRefused, ProtocolTooOld};
    [CertTooLarge, ConnClosed, ConnReset, HandshakeRefused, ProtocolTooOld].contains(&end.label)
}

fn newest(answer: &Answer) -> u16 {
    answer.version.map_or(0, u16::from)
}

fn too_old(best: &Answer, tls12: &Answer) -> Finding {
    let version = best.version.map_or_else(String::new, version);
    Finding::new(
        Label::ProtocolTooOld,
        format!("the newest version that the server takes is {version}; to TLS 1.2 {}", told(tls12)),
    )
}

/// A group that is too small, where nothing else is to be had.
fn weak_dh(best: &Answer, hellos: &Hellos) -> Option<Finding> {
    let bits = best.dh_bits.filter(|bits| *bits < LEAST_DH)?;
    hellos.without_dhe.alert()?;
    let suite = suite(best);
    let seen = format!(
        "the server agrees on keys by finite-field Diffie-Hellman alone, in a group of {bits} bits ({suite}); \
         without that {}",
        told(&hellos.without_dhe)
    );
    Some(Finding::new(Label::WeakDh, seen))
}

/// Why a server that chose TLS 1.2 or 1.3 has nothing in common with current clients.
fn uncommon(best: &Answer) -> Option<Finding> {
    let name = suite(best);
    let version = best.version.map_or_else(String::new, version);
    let chosen = format!("of all there is, the server chooses {name} in {version}");
    if let Some(why) = legacy(&name, best.dh_bits) {
        return Some(Finding::new(Label::WeakCipher, format!("{chosen}: {why}; current clients do not offer it")));
    }
    if !best.suite.is_some_and(is_current) {
        return Some(Finding::new(Label::NoCommonCipher, format!("{chosen}, which clients do not offer")));
    }
    if let Some(group) = best.group.filter(|group| !is_common(*group)) {
        let seen = format!("the server wants the group {group:?} for its key exchange, which few clients offer");
        return Some(
            Finding::new(Label::NoCommonCipher, seen)
                .check("Which groups (curves) is the server limited to? Add X25519 and P-256."),
        );
    }
    let signature = best.signature.filter(|scheme| !is_accepted(*scheme))?;
    let seen = format!("the server signs its key exchange with {signature:?}, which current clients do not take");
    Some(Finding::new(Label::NoCommonCipher, seen).check("Which signature algorithms is the server limited to?"))
}

/// Neither TLS 1.2 nor 1.3, and with what is older it does not come to a choice either.
fn unheard_of(refusal: &Trouble, hellos: &Hellos) -> Finding {
    let seen = format!("TLS 1.2 and 1.3 are refused: {}; to TLS 1.0 and 1.1 {}", refusal.message, told(&hellos.old));
    Finding::new(Label::ProtocolTooOld, seen)
}

/// Versions are told apart, and none of the suites is taken.
fn nothing_in_common(hellos: &Hellos) -> Option<Finding> {
    use AlertDescription::{HandshakeFailure, InsufficientSecurity, ProtocolVersion};
    let of_version = [&hellos.unheard, &hellos.old].into_iter().find(|it| it.alert() == Some(ProtocolVersion))?;
    if !matches!(hellos.everything.alert()?, HandshakeFailure | InsufficientSecurity) {
        return None;
    }
    let seen = format!(
        "the server speaks a version that was offered, and takes none of {} cipher suites with it: {}; to a version \
         that it does not speak {}",
        Offer::Everything.suites(),
        told(&hellos.everything),
        told(of_version)
    );
    Some(Finding::new(Label::NoCommonCipher, seen))
}

fn everything_refused(refusal: &Trouble, hellos: &Hellos) -> String {
    let all = [&hellos.everything, &hellos.tls12, &hellos.old, &hellos.unheard];
    if all.iter().all(|answer| answer.alert().is_some() && answer.alert() == hellos.everything.alert()) {
        return format!("{}; to any version with any suite it says the same", refusal.message);
    }
    refusal.message.clone()
}

/// What the server said to an offer, as a clause.
fn told(answer: &Answer) -> String {
    match (&answer.end, answer.version) {
        (End::Alert(alert), _) => format!("it sends the fatal alert {}", alert::named(*alert)),
        (_, Some(chosen)) => format!("it chooses {}", version(chosen)),
        (End::Broken(trouble), None) => trouble.message.clone(),
        (End::Said, None) => "it says nothing".to_owned(),
    }
}

fn version(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::SSLv2 => "SSL 2.0".to_owned(),
        ProtocolVersion::SSLv3 => "SSL 3.0".to_owned(),
        ProtocolVersion::TLSv1_0 => "TLS 1.0".to_owned(),
        ProtocolVersion::TLSv1_1 => "TLS 1.1".to_owned(),
        ProtocolVersion::TLSv1_2 => "TLS 1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLS 1.3".to_owned(),
        other => format!("{other:?}"),
    }
}

fn suite(answer: &Answer) -> String {
    answer.suite.map_or_else(|| "no suite".to_owned(), named)
}

/// What is wrong with a suite, by its name in the registry; none where it is only uncommon.
fn legacy(name: &str, dh_bits: Option<usize>) -> Option<String> {
    let group = dh_bits.map_or_else(String::new, |bits| format!(" of {bits} bits"));
    let faults: Vec<String> = [
        (name.contains("_WITH_NULL"), "nothing is encrypted"),
        (name.contains("_anon_"), "the server is not authenticated"),
        (name.contains("EXPORT"), "a key made short for export"),
        (name.contains("_RC4_") || name.contains("_DES_") || name.contains("_RC2_"), "a broken cipher"),
        (name.contains("3DES"), "3DES"),
        (name.contains("_CBC_"), "CBC"),
        (name.ends_with("_SHA"), "SHA-1"),
        (name.ends_with("_MD5"), "MD5"),
        (name.starts_with("TLS_RSA_") || name.starts_with("TLS_ECDH_"), "no forward secrecy (static key)"),
        (name.starts_with("TLS_DHE_"), "finite-field Diffie-Hellman"),
    ]
    .into_iter()
    .filter(|(applies, _)| *applies)
    .map(|(_, fault)| if fault.starts_with("finite") { format!("{fault}{group}") } else { fault.to_owned() })
    .collect();
    (!faults.is_empty()).then(|| faults.join(", "))
}

fn is_current(suite: CipherSuite) -> bool {
    let name = named(suite);
    let cipher = ["AES_128_GCM", "AES_256_GCM", "CHACHA20"].iter().any(|cipher| name.contains(cipher));
    // TLS 1.3 names no key exchange in its suites.
    cipher && (name.starts_with("TLS_ECDHE_") || !name.contains("_WITH_"))
}

/// What every client offers for its key exchange.
fn is_common(group: NamedGroup) -> bool {
    matches!(group, NamedGroup::X25519 | NamedGroup::secp256r1 | NamedGroup::secp384r1)
}

/// What current clients accept of a server's signature.
fn is_accepted(scheme: SignatureScheme) -> bool {
    !matches!(
        scheme,
        SignatureScheme::RSA_PKCS1_SHA1
            | SignatureScheme::ECDSA_SHA1_Legacy
            | SignatureScheme::ED448
            | SignatureScheme::Unknown(_)
    )
}
