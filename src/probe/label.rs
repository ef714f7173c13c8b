//! The words findings are told in: one table of labels, each with its severity, its meaning, what to check first, and which
//! other labels it explains. Within a severity the more telling stands first.

use crate::types::{Class, Failure};
use rustls::AlertDescription;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; no client fails.
    Info,
    /// Some clients fail, or all will before long.
    Warn,
    /// Some ordinary client cannot connect, or must not trust what it sees.
    Fail,
}

macro_rules! labels {
    ($($name:ident $text:literal $severity:ident $meaning:literal $check:literal $(explains $($explained:ident)*)?;)*) => {
        /// A stable label. Scripts and alerts match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Label {
            $(#[doc = $meaning] $name,)*
        }

        impl Label {
            /// All of them, the more telling first.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The label as written everywhere.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How bad it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// What it means, one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// What to check first.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $check,)* }
            }

            /// Labels that follow from this one and are not told beside it.
            #[must_use]
            pub const fn explains(self) -> &'static [Self] {
                match self { $(Self::$name => &[$($(Self::$explained,)*)?],)* }
            }
        }
    };
}

labels! {
    // Several addresses of one name.
    NodeDown "node_down" Fail
        "One address does not answer, others are fine."
        "Is the server behind this address running? Take the address out of DNS or the load balancer until it is."
        explains TcpRefused TcpTimeout Unreachable HandshakeTimeout StarttlsRefused;
    StaleNode "stale_node" Fail
        "One address serves an older certificate than the others for the same name."
        "Was the new certificate copied to this node, and its server reloaded after that?"
        explains Expired ExpiringSoon;
    NodeSniBroken "node_sni_broken" Fail
        "One address answers the name with another certificate, others are fine."
        "Is the SNI lost in front of this node (a proxy, a health check), or the virtual host missing on it?"
        explains SniMisroute NameMismatch SelfSigned UntrustedRoot MissingIntermediate WrongIntermediate Expired ExpiringSoon NotYetValid
            ValidityTooLong Unverifiable;
    NodeChainBroken "node_chain_broken" Fail
        "One address sends an incomplete or different chain, others are fine."
        "Copy the fullchain.pem of a good node to this one, and reload its server."
        explains MissingIntermediate WrongIntermediate ExpiredIntermediate PathClientDependent UntrustedRoot ChainOutOfOrder
            ExtraInChain Unverifiable;

    // Reaching it.
    TcpRefused "tcp_refused" Fail
        "Nothing listens: the connection is refused."
        "Is the server running, and does it listen on this address and port?";
    TcpTimeout "tcp_timeout" Fail
        "No answer to the connection attempt at all."
        "Is the host up, and does a firewall let this machine through?";
    Unreachable "unreachable" Fail
        "No route, or the network refuses."
        "Has this machine a route to the address (IPv6?), and a local resource left?";
    DnsNoAddress "dns_no_address" Fail
        "The name has neither A nor AAAA."
        "Publish an address for the name, or correct it.";
    DnsFailed "dns_failed" Fail
        "The name could not be resolved."
        "Ask the named resolver for the name by hand.";
    HandshakeTimeout "handshake_timeout" Fail
        "TCP connects, and the TLS handshake gets no answer."
        "Is the server overloaded, or is something else listening there?";
    ConnReset "conn_reset" Fail
        "The peer resets the connection after the client's first message, without a TLS alert."
        "Read the server's log: did its TLS process crash, or does a middlebox cut the connection?";
    ConnClosed "conn_closed" Fail
        "The peer closes the connection after the client's first message, without a TLS alert."
        "Read the server's log: is TLS configured on this port at all?";
    NotTls "not_tls" Fail
        "The port answers with something that is not TLS."
        "Is this the TLS port, or does it want STARTTLS or the PROXY protocol first?";
    StarttlsRefused "starttls_refused" Fail
        "The service does not offer or refuses STARTTLS."
        "Read the service's log: it offers no STARTTLS when it cannot load its certificate.";
    SniRejected "sni_rejected" Fail
        "The server refuses this server name (alert unrecognized name)."
        "Is there a virtual host for this name on this server?";
    ProtocolTooOld "protocol_too_old" Fail
        "Only TLS 1.0 or 1.1 is offered."
        "Turn TLS 1.2 and 1.3 on."
        explains WeakCipher HandshakeRefused;
    WeakDh "weak_dh" Fail
        "Only a finite-field Diffie-Hellman group below 2048 bits is offered: OpenSSL-based clients refuse, others have none at all."
        "Turn ECDHE suites on; make DH parameters of 2048 bits or more, or none at all."
        explains WeakCipher;
    NoCommonCipher "no_common_cipher" Fail
        "Versions overlap, and no cipher suite, group or signature is in common."
        "Does the cipher list fit the key (an ECDSA key needs ECDSA suites), and is a certificate loaded at all?"
        explains HandshakeRefused;
    HandshakeRefused "handshake_refused" Fail
        "A fatal alert that does not tell the cause by itself."
        "Read the server's log for this time.";
    AlpnRejected "alpn_rejected" Fail
        "The server knows none of the offered application protocols (alert no application protocol)."
        "Does the server list h2 or http/1.1 as application protocols?";
    ClientCertRequired "client_cert_required" Fail
        "The server requires a client certificate, and none was given."
        "Nothing to do when the endpoint is for known clients; give a certificate with --cert and --key to see whether it is taken."
        explains HandshakeRefused ConnClosed ConnReset;
    ClientCertReactive "client_cert_reactive" Warn
        "The server asks for the client certificate only after the handshake: that works with some clients and versions, and not with others."
        "Ask in the handshake: SSLVerifyClient for the whole virtual host, or a name of its own for what needs a certificate.";
    HandshakeSlow "handshake_slow" Warn
        "The handshake succeeds, but only after several seconds."
        "Is the server overloaded, or does it look up names before it answers?";

    // HTTP policy and clocks.
    HstsIgnoredBadCert "hsts_ignored_bad_cert" Fail
        "HSTS is sent over a connection with certificate errors: new visitors' browsers ignore it, and those of known ones offer no way in."
        "Mend the certificate first: the policy counts again by itself.";
    ClientClockWrong "client_clock_wrong" Warn
        "This machine's own clock is far off: verdicts about dates are not to be believed."
        "Set this machine's clock (timedatectl, chronyc tracking), then probe again.";
    ServerClockWrong "server_clock_wrong" Warn
        "The server's clock, as its HTTP Date tells it, is far off."
        "Set the server's clock: tickets, OCSP staples, cookies and renewals there go wrong with it.";
    HttpError "http_error" Warn
        "TLS is fine; HTTP answers with an error status."
        "Read the server's error log: is what stands behind it running, and does it know this host?";
    HttpsDowngrade "https_downgrade" Warn
        "HTTPS redirects to plain HTTP."
        "Does the application behind know that it is reached by HTTPS (X-Forwarded-Proto, its base URL)?";
    HttpNoRedirect "http_no_redirect" Warn
        "Port 80 serves content and does not redirect to HTTPS."
        "Answer everything on port 80 with a redirect to https:// on the same host, ACME challenges excepted.";
    HstsMalformed "hsts_malformed" Warn
        "The Strict-Transport-Security header is not valid, or there are two that differ: browsers ignore it or take the first."
        "Send it once, as: max-age=31536000";
    HstsZero "hsts_zero" Warn
        "max-age=0: browsers drop the policy."
        "Was HSTS switched off on purpose? If not, send max-age=300 first, then a year.";
    HstsHttpOnly "hsts_http_only" Warn
        "The Strict-Transport-Security header is sent over plain HTTP only, where browsers ignore it."
        "Send it in the HTTPS server's replies.";
    HstsPreloadInvalid "hsts_preload_invalid" Warn
        "The header says preload, and a condition of preload lists does not hold."
        "Meet the condition, or leave preload out.";
    HstsMissing "hsts_missing" Info
        "No Strict-Transport-Security header on HTTPS."
        "If all of the site works over HTTPS, send one.";
    HstsShort "hsts_short" Info
        "HSTS is present with a short max-age, the first step of a roll-out."
        "Once nobody complains, send max-age=31536000.";
    H3NotProbed "h3_not_probed" Info
        "The endpoint offers HTTP/3; QUIC was not looked at."
        "Does the QUIC listener load the same files, and is it reloaded with the rest?";
    HstsPreloadReady "hsts_preload_ready" Ok
        "HSTS is present, and all conditions of preload lists hold."
        "Nothing to do.";
    HstsOk "hsts_ok" Ok
        "HSTS is present with at least a year."
        "Nothing to do.";
    NodePolicyDiffers "node_policy_differs" Warn
        "The same certificate everywhere, but one address differs in protocol or policy."
        "Compare the TLS settings of this node with those of another.";

    // Files.
    DiskFileMissing "disk_file_missing" Fail
        "The file is not there, or is a symlink to nothing."
        "Was the certificate ever published here, and is the path spelt right?";
    DiskFileCorrupt "disk_file_corrupt" Fail
        "The file is empty, cut short, or holds no certificate or key."
        "Was the disk full, or an error page saved? Publish the file again.";
    ConfigPointsElsewhere "config_points_elsewhere" Fail
        "The server's own configuration loads other files than the ones published: no renewal will ever reach clients."
        "Let the server's configuration name the published files themselves, check it, and reload.";
    ServedOlderThanDisk "served_older_than_disk" Fail
        "The file on disk is newer than what is served: the server was not reloaded, or did not take it."
        "Check the server's configuration, reload it, and read its log: a reload that fails keeps the old certificate.";
    DiskKeyUnreadable "disk_key_unreadable" Fail
        "The service's user cannot read the key file: the next reload fails."
        "Give the key to the service's group (chgrp, chmod 640), and let it enter the directories on the way.";
    DiskKeyMismatch "disk_key_mismatch" Fail
        "The private key does not belong to the certificate: no program will load the pair."
        "Were key and certificate taken from different renewals? Publish both from the same one.";
    DiskChainIncomplete "disk_chain_incomplete" Fail
        "The fullchain file lacks an intermediate: the next reload breaks clients."
        "Was cert.pem copied over fullchain.pem? Publish the certificate again."
        explains UntrustedRoot Unverifiable;
    DiskNamesMissing "disk_names_missing" Fail
        "The certificate on disk does not cover the name: the next reload breaks clients."
        "Is this the right directory for the name, or was the name added after the last renewal?";

    // The certificate and its chain.
    MissingIntermediate "missing_intermediate" Fail
        "An issuer's certificate is not sent, so clients that do not fetch or cache it fail."
        "Does the server load fullchain.pem, not cert.pem?"
        explains UntrustedRoot Unverifiable;
    WrongIntermediate "wrong_intermediate" Fail
        "An intermediate is sent that did not sign what stands below it."
        "Does the server load a chain file of its own beside the certificate? Let it load fullchain.pem."
        explains MissingIntermediate UntrustedRoot ExtraInChain Unverifiable;
    SelfSigned "self_signed" Fail
        "The leaf is self-signed, and no trust anchor."
        "Is this a placeholder or a default certificate, and where is the real one?"
        explains UntrustedRoot Unverifiable;
    TrustStoreMismatch "trust_store_mismatch" Fail
        "Trusted by one of the given trust stores, and not by another."
        "Which store do the clients use? Serve a chain that ends in both, or add the root to the other."
        explains UntrustedRoot ClientCertUntrusted MissingIntermediate Unverifiable;
    UntrustedRoot "untrusted_root" Fail
        "The chain ends at a root that is not in the trust store used."
        "Is it a private CA? Then clients need its root; name it with --ca."
        explains Unverifiable;
    ClientCertUntrusted "client_cert_untrusted" Fail
        "The client certificate's issuer is not trusted by the server."
        "Is this the CA that the server trusts for clients? Take the certificate from that one, or let the server trust this one."
        explains Unverifiable;
    Expired "expired" Fail
        "The leaf certificate's notAfter has passed."
        "Did the renewal fail, or is an old file loaded?"
        explains Unverifiable;
    ClientCertExpired "client_cert_expired" Fail
        "The client certificate has expired."
        "Renew the client certificate, and let the client load the new one."
        explains Unverifiable;
    NotYetValid "not_yet_valid" Fail
        "A certificate's notBefore lies ahead."
        "Is this machine's clock right, and was the CA's when it issued?"
        explains Unverifiable;
    ExpiredIntermediate "expired_intermediate" Fail
        "An intermediate that the path needs has expired."
        "Does the server load an old chain file? Let it load the fullchain.pem of the last renewal."
        explains Unverifiable;
    SniMisroute "sni_misroute" Fail
        "The server answers with another virtual host's or its default certificate."
        "Is there a virtual host for exactly this name, and does it listen on this address and port?"
        explains NameMismatch SelfSigned UntrustedRoot MissingIntermediate WrongIntermediate Expired ExpiringSoon NotYetValid
            ValidityTooLong Unverifiable;
    NameMismatch "name_mismatch" Fail
        "The certificate does not cover the asked name."
        "Is another certificate meant for this name? If not, issue one that names it.";
    CnOnlyNoSan "cn_only_no_san" Fail
        "The name stands only in the subject's common name; current clients want subjectAltName."
        "Issue the certificate again, with the name as subjectAltName.";
    PathClientDependent "path_client_dependent" Fail
        "Several paths are possible; clients that try all of them succeed, others take the first and fail."
        "Leave out the certificate that leads astray.";
    EkuNotServer "eku_not_server" Fail
        "A certificate's usages do not allow TLS server authentication."
        "Ask the CA for a certificate with the usage serverAuth."
        explains Unverifiable;
    ClientCertWrongUsage "client_cert_wrong_usage" Fail
        "The certificate is not allowed for client authentication."
        "Public CAs no longer issue for clients: take the certificate from a CA of your own, with the usage clientAuth."
        explains Unverifiable;
    IssuerNotCa "issuer_not_ca" Fail
        "An issuing certificate is no CA."
        "Who signed this? A CA's certificate needs CA:TRUE in basicConstraints, and keyCertSign."
        explains Unverifiable;
    PathLength "path_length" Fail
        "A CA's path length is exceeded."
        "Was an intermediate issued below a CA that may only issue leaves?"
        explains Unverifiable;
    NameConstraint "name_constraint" Fail
        "A name is outside what an issuing CA may issue for."
        "Is this the right CA for the name?"
        explains Unverifiable;
    WeakKey "weak_key" Fail
        "An RSA key below 2048 bits."
        "Issue with a new key, ECDSA P-256 or RSA of 2048 bits."
        explains Unverifiable HandshakeRefused;
    WeakSignature "weak_signature" Fail
        "A certificate in the path is signed with SHA-1 or older."
        "Let the CA issue again with SHA-256."
        explains Unverifiable;
    CertTooLarge "cert_too_large" Fail
        "The certificates are together larger than common clients accept."
        "Split the names over several certificates, and leave out what the chain does not need."
        explains Unverifiable;
    Revoked "revoked" Fail
        "The certificate is revoked, by its CA's own word."
        "Why was it revoked? Issue again with a new key (everleaf renew NAME --new-key), and let the server load it.";
    MustStapleMissing "must_staple_missing" Fail
        "The certificate demands a stapled OCSP response, and none is sent."
        "Turn stapling on (nginx: ssl_stapling on, and a resolver), or issue without must-staple.";
    PinMismatch "pin_mismatch" Fail
        "None of the given pins matches a key of the chain."
        "Was the key replaced on purpose? Then the pins must follow, before the certificate does.";
    Unverifiable "unverifiable" Fail
        "webpki, which Rust clients verify with, refuses the chain for a reason that no other label names."
        "Read the reason; ask the CA.";
    WeakCipher "weak_cipher" Warn
        "Only legacy cipher suites are offered: current clients refuse, or should."
        "Turn on ECDHE with AES-GCM or ChaCha20, and TLS 1.3.";
    ExpiringSoon "expiring_soon" Warn
        "The leaf is valid, but in the last part of its life: renewal is overdue."
        "Why was it not renewed?";
    ChainOutOfOrder "chain_out_of_order" Warn
        "All needed certificates are sent, not in signing order: strict clients fail."
        "Does the server put its chain together itself? Let it load fullchain.pem.";
    ExpiredCrossSign "expired_cross_sign" Warn
        "An expired cross-signature is sent: clients that find the other path work, old ones (OpenSSL 1.0) fail."
        "Leave the expired certificate out: take the chain of the last renewal.";
    StapleWrong "staple_wrong" Warn
        "A stapled OCSP response is sent that is not for this certificate, not its issuer's word, or says nothing of it."
        "Was a response of an earlier certificate left (ssl_stapling_file, a .ocsp file)? Fetch it anew at each renewal."
        explains StapleExpired;
    StapleExpired "staple_expired" Warn
        "A stapled OCSP response is sent, and its nextUpdate has passed."
        "Can the server reach the responder named in the certificate, or is a file stapled that nobody renews?";
    ValidityTooLong "validity_too_long" Warn
        "The lifetime is longer than clients accept of new certificates."
        "Issue for a shorter time.";
    ServedNewerThanDisk "served_newer_than_disk" Warn
        "What is served is newer than the file on disk: the next reload goes back."
        "Is this the directory the server reads, or was an old file restored? Publish the newest certificate there.";
    TicketsNotShared "tickets_not_shared" Warn
        "A session ticket of one node is not accepted by another of the same name: silent full handshakes."
        "Give all nodes the same ticket key (nginx: ssl_session_ticket_key), and rotate it everywhere at once.";
    EarlyDataOn "early_data_on" Warn
        "TLS 1.3 early data (0-RTT) is accepted: requests can be replayed."
        "Turn early data off, or let the application answer 425 to early requests that change something.";
    DiskKeyExposed "disk_key_exposed" Warn
        "The private key's file can be read by everybody on the machine."
        "chmod 600; and since it may have been read, issue with a new key.";
    FleetMixedCerts "fleet_mixed_certs" Info
        "Addresses serve different certificates, each valid and current: not an outage."
        "Nothing to do when each node gets a certificate of its own.";
    ClientCertOptional "client_cert_optional" Info
        "The server asks for a client certificate, and works without."
        "Nothing to do; browsers may ask their users which certificate to send.";
    SniRequired "sni_required" Info
        "It works with the name; without SNI the server refuses or serves another certificate."
        "Nothing to do: only clients of before 2012 send no SNI.";
    Tls13Only "tls13_only" Info
        "Only TLS 1.3 is offered; older clients cannot connect."
        "Nothing to do, unless clients without TLS 1.3 must connect.";
    EarlyDataGuarded "early_data_guarded" Info
        "Early data is on, and the application answers early requests with 425 Too Early."
        "Nothing to do.";
    ResumptionOff "resumption_off" Info
        "The server never resumes sessions: each connection costs a full handshake."
        "Turn session tickets on, if handshakes cost too much.";
    RootIncluded "root_included" Info
        "The self-signed root is sent as well: needless bytes, no failure."
        "Leave the root out.";
    DuplicateInChain "duplicate_in_chain" Info
        "A certificate is sent twice."
        "Does the server load the chain twice?";
    ExtraInChain "extra_in_chain" Info
        "A certificate that is part of no path is sent."
        "Does the server load a chain file of its own as well?";
    StapleOk "staple_ok" Ok
        "A valid stapled OCSP response is sent."
        "Nothing to do.";
    Ok "ok" Ok
        "Nothing wrong."
        "Nothing to do.";
}

/// A connection that showed no certificate, or not to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Its label.
    pub label: Label,
    /// Whether anybody answered at all: only then does it say something about what is served.
    pub answered: bool,
    /// What was seen, one sentence.
    pub message: String,
    /// The fatal alert that ended it, where there was one.
    pub alert: Option<AlertDescription>,
}

impl Trouble {
    /// Nobody answered.
    pub fn silent(label: Label, message: impl Into<String>) -> Self {
        Self { label, answered: false, message: message.into(), alert: None }
    }

    /// Somebody answered, and it was no good.
    pub(crate) fn answered(label: Label, message: impl Into<String>) -> Self {
        Self { label, answered: true, message: message.into(), alert: None }
    }

    /// The same as a failure at `address`.
    #[must_use]
    pub fn failure(&self, address: Option<SocketAddr>, sni: &str) -> Failure {
        let place = address.map_or_else(|| sni.to_owned(), |address| format!("{address} ({sni})"));
        Failure::new(Class::Retry, format!("probe:{}", self.label.as_str()), place, &self.message)
            .advise(self.label.advice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_told_apart_and_nothing_explains_itself_or_what_is_worse() {
        for (at, label) in Label::ALL.iter().enumerate() {
            let text = label.as_str();
            assert!(text.bytes().all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit()), "{text}");
            assert!(Label::ALL[..at].iter().all(|earlier| earlier.as_str() != text), "{text}");
            assert!(label.meaning().ends_with('.') && !label.advice().is_empty(), "{text}");
            let explained = label.explains().iter();
            assert!(explained.clone().all(|other| other.severity() <= label.severity()), "{text}");
            assert!(explained.clone().all(|other| !other.explains().contains(label) && other != label), "{text}");
        }
    }
}
