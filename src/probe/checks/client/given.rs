//! What a server makes of the client certificate that it is given. Servers tell the cause poorly: the alert, or the status, is
//! held against what the certificate itself shows.

use super::{is_web, listed};
use crate::config::spec::Usage;
use crate::pki::Certificate;
use crate::probe::alert;
use crate::probe::chain::by_itself;
use crate::probe::files::Identity;
use crate::probe::finding::Finding;
use crate::probe::label::{Label, Severity, Trouble};
use crate::probe::survey::Sight;
use crate::probe::survey::client::{Tried, denies};
use crate::probe::survey::http::Mute;
use crate::types::Timestamp;
use rustls::AlertDescription;

/// The given certificate, and what one address makes of it.
#[derive(Debug, Clone)]
pub struct Given<'a> {
    /// What is given.
    pub identity: &'a Identity,
    /// What became of it in each version; nothing where no certificate is asked for.
    pub attempts: Vec<Attempt>,
    /// Whether one of its issuers is among those asked for; none where no issuers are named.
    pub named: Option<bool>,
    /// The issuers that are asked for, for people.
    wanted: Option<String>,
}

/// What became of it in one version.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The version.
    pub version: &'static str,
    /// What was seen, half a sentence.
    pub seen: String,
    /// Why it was refused, where it was.
    pub refused: Option<Refused>,
}

/// How a certificate was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// With an alert that may tell the cause.
    Alert(AlertDescription),
    /// In HTTP, with this status.
    Status(u16),
    /// Otherwise; the label says how.
    Otherwise(Label),
}

impl<'a> Given<'a> {
    /// What `sight` makes of `identity`.
    pub(in crate::probe::checks) fn new(identity: &'a Identity, sight: &Sight) -> Self {
        let attempts = sight.given.iter().map(attempt).collect();
        let authorities = sight.given.iter().map(|tried| &tried.shake.client_authorities).find(|it| !it.is_empty());
        let issued = |it: &Certificate| {
            authorities.is_some_and(|names| names.contains(&it.issuer_der) || names.contains(&it.subject_der))
        };
        let named = authorities.map(|_| identity.chain.iter().any(issued));
        Self { identity, attempts, named, wanted: authorities.and_then(|names| listed(names)) }
    }

    /// Whether the server takes it, in every version that it speaks.
    #[must_use]
    pub fn accepted(&self) -> bool {
        !self.attempts.is_empty() && self.attempts.iter().all(|it| it.refused.is_none())
    }

    /// What is wrong with the certificate itself, whoever verifies it.
    #[must_use]
    pub fn own(&self, now: Timestamp) -> Vec<Finding> {
        let bad = |it: &Finding| it.label.severity() == Severity::Fail;
        by_itself(&self.identity.chain, Usage::Client, now).into_iter().filter(bad).collect()
    }

    /// Why it is refused, where it is.
    pub(super) fn faults(&self, now: Timestamp) -> Vec<Finding> {
        let refused: Vec<Refused> = self.attempts.iter().filter_map(|it| it.refused).collect();
        if refused.is_empty() {
            return Vec::new();
        }
        let how = self.how();
        let own = self.own(now);
        let mut found: Vec<Finding> = own.iter().map(|it| it.with(&format!("; given it, {how}"))).collect();
        let told = refused.iter().find_map(|it| told(*it)).filter(|label| !own.iter().any(|it| same(it.label, *label)));
        let foreign = (self.named == Some(false)).then_some(Label::ClientCertUntrusted);
        match told.into_iter().chain(foreign.filter(|label| told != Some(*label))).collect::<Vec<_>>() {
            labels if labels.is_empty() && own.is_empty() => found.push(self.open(&refused, &how)),
            labels => found.extend(labels.into_iter().map(|label| self.fault(label, &how))),
        }
        found
    }

    /// What was seen of a refusal, versions with the same together.
    fn how(&self) -> String {
        let mut seen: Vec<(&str, Vec<&str>)> = Vec::new();
        for attempt in self.attempts.iter().filter(|it| it.refused.is_some()) {
            match seen.iter_mut().find(|(text, _)| *text == attempt.seen) {
                Some((_, versions)) => versions.push(attempt.version),
                None => seen.push((&attempt.seen, vec![attempt.version])),
            }
        }
        let told: Vec<String> =
            seen.iter().map(|(text, versions)| format!("in {} {text}", versions.join(" and "))).collect();
        told.join(", ")
    }

    fn fault(&self, label: Label, how: &str) -> Finding {
        let leaf = self.identity.leaf();
        let who = leaf.subject_or_names();
        match label {
            Label::ClientCertUntrusted => self.untrusted(how),
            Label::ClientCertExpired => {
                let seen = format!("given {who}, {how}; it ends on {}", leaf.validity().end);
                Finding::new(label, seen)
                    .check("By its own dates it is good: is the server's clock right, or has its CA's certificate or CRL expired?")
            }
            Label::ClientCertWrongUsage => {
                let seen = format!("given {who}, {how}; by its own usages it is for TLS clients");
                Finding::new(label, seen)
                    .check("Read the server's log: are the issuing CA's usages, or the key's kind, what it refuses?")
            }
            Label::Revoked => Finding::new(label, format!("given {who}, {how}"))
                .check("Its CA lists this client certificate as revoked: give the client another one."),
            _ => Finding::new(label, format!("given {who}, {how}")),
        }
    }

    fn untrusted(&self, how: &str) -> Finding {
        let leaf = self.identity.leaf();
        let who = leaf.subject_or_names();
        let last = self.identity.chain.last().unwrap_or(leaf);
        let wanted = match (&self.wanted, self.named) {
            (Some(wanted), Some(false)) => format!("asked for are certificates issued by {wanted}"),
            (Some(_), _) => "which is among the issuers asked for".to_owned(),
            (None, _) => "and the server names no issuers that it takes".to_owned(),
        };
        let issuer = if last.issuer() == leaf.issuer() {
            leaf.issuer().to_string()
        } else {
            format!("{}, below {}", leaf.issuer(), last.issuer())
        };
        let finding =
            Finding::new(Label::ClientCertUntrusted, format!("{who} is issued by {issuer}, {wanted}; given it, {how}"));
        let alone = self.identity.chain.len() == 1 && !leaf.is_self_issued();
        match self.named {
            Some(true) => finding.check(
                "The CA's name is right: has the CA got a new key, does the server hold the certificate to a CRL, or is the chain \
                 longer than it takes (nginx: ssl_verify_depth)?",
            ),
            _ if alone => {
                let file = self.identity.path.display();
                finding.check(format!(
                    "Is this the CA that the server trusts for clients? If it is below that one, its certificate must stand in {file} as well."
                ))
            }
            _ => finding,
        }
    }

    /// A refusal whose cause cannot be known: what was seen, and what it is not.
    fn open(&self, refused: &[Refused], how: &str) -> Finding {
        let who = self.identity.leaf().subject_or_names();
        let fine = match self.named {
            Some(true) => "it is in date, for TLS clients, and issued as asked for",
            _ => "it is in date and for TLS clients",
        };
        let seen = format!("given {who}, {how}; {fine}");
        match refused.first() {
            // What verifies a certificate refuses with 400; of its causes only this one is left.
            Some(Refused::Status(400 | 495 | 496)) => self.untrusted(how),
            Some(Refused::Status(_)) => Finding::new(Label::HttpError, seen).check(
                "Which identities does the application let in? TLS takes the certificate; read the application's log.",
            ),
            Some(Refused::Otherwise(label)) => Finding::new(*label, seen),
            _ => Finding::new(Label::HandshakeRefused, seen)
                .check("Read the server's log for this time: its certificate verification says there what it refuses."),
        }
    }
}

/// Whether a cause that the certificate shows is what an alert tells.
fn same(own: Label, told: Label) -> bool {
    // Verifiers have one alert for all dates, the CA's too.
    let dates = [Label::ClientCertExpired, Label::NotYetValid, Label::ExpiredIntermediate];
    own == told || (told == Label::ClientCertExpired && dates.contains(&own))
}

/// The cause that an alert names. OpenSSL sends the first three as `x509_err2alert` says; where a CA of the right name has another key, it
/// is a signature that does not verify.
fn told(refused: Refused) -> Option<Label> {
    let Refused::Alert(alert) = refused else { return None };
    match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => Some(Label::ClientCertUntrusted),
        AlertDescription::CertificateExpired => Some(Label::ClientCertExpired),
        AlertDescription::UnsupportedCertificate => Some(Label::ClientCertWrongUsage),
        AlertDescription::CertificateRevoked => Some(Label::Revoked),
        _ => None,
    }
}

fn attempt(tried: &Tried) -> Attempt {
    let (seen, refused) = match (&tried.shake.end, &tried.http) {
        _ if tried.shake.client_certificate_asked && !tried.shake.client_certificate_sent => (
            "its key fits none of the signatures that the server takes".to_owned(),
            Some(Refused::Otherwise(Label::NoCommonCipher)),
        ),
        (Err(trouble), _) | (Ok(()), Some(Err(Mute::Unopened(trouble)))) => broken_off(trouble),
        (Ok(()), Some(Ok(spoken))) => {
            let status = spoken.first.head.status;
            // A path that nobody has is answered otherwise: what refuses is the page, not who looks at the certificate.
            let refused = denies(status) && tried.elsewhere.is_none_or(denies);
            let seen = format!("{} is answered {status}", spoken.first.path);
            (seen, refused.then_some(Refused::Status(status)))
        }
        (Ok(()), Some(Err(Mute::Alert(alert)))) => {
            (format!("the request gets the fatal alert {}", alert::named(*alert)), Some(Refused::Alert(*alert)))
        }
        (Ok(()), Some(Err(Mute::Broken(why)))) if is_web(&tried.shake) => {
            (format!("the request gets no answer: {why}"), Some(Refused::Otherwise(Label::ConnClosed)))
        }
        (Ok(()), Some(Err(mute))) => (mute.to_string(), None),
        (Ok(()), None) => ("the handshake ends well".to_owned(), None),
    };
    Attempt { version: tried.version, seen, refused }
}

fn broken_off(trouble: &Trouble) -> (String, Option<Refused>) {
    let refused = trouble.alert.map_or(Refused::Otherwise(trouble.label), Refused::Alert);
    (trouble.message.clone(), Some(refused))
}
