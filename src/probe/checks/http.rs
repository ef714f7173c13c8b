//! What an endpoint says in HTTP: its status, where it redirects to over TLS and on port 80, what else it offers.

use super::{Case, View, hsts};
use crate::probe::finding::Finding;
use crate::probe::label::{Label, Severity};
use crate::probe::survey::Below;
use crate::probe::survey::http::{Mute, Question, Reply, Spoken, Url, redirect};
use crate::types::{Identifier, Printable};
use http::HeaderMap;
use http::header::ALT_SVC;

/// What was seen of one endpoint in HTTP, with what must be known to judge it.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// The host that was asked for.
    pub host: &'a Identifier,
    /// The port that speaks TLS.
    pub port: u16,
    /// What was answered over TLS.
    pub secure: &'a Result<Spoken, Mute>,
    /// What was answered without TLS; none where nobody asked.
    pub plain: Option<&'a Result<Spoken, Mute>>,
    /// The port that speaks no TLS, usually 80.
    pub plain_port: u16,
    /// Whether a browser would have taken the certificate.
    pub certificate_good: bool,
    /// Whether the handshake asked for a client certificate: then a 400 or 403 may be for want of it.
    pub client_certificate_asked: bool,
    /// What is known of the names below the host.
    pub below: &'a [Below],
}

/// What port 80 does for who comes without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port80 {
    /// It was not looked at.
    Unseen,
    /// Nobody listens.
    Closed,
    /// It said nothing that can be judged.
    Unclear,
    /// It redirects to https on the same host, first of all.
    SameHost,
    /// It redirects elsewhere, or there by a detour: the first target.
    Away(Printable),
    /// It answers with this status, and no redirect.
    Stays(u16),
}

impl Policy<'_> {
    /// What port 80 does.
    #[must_use]
    pub fn port_80(&self) -> Port80 {
        match self.plain {
            None => Port80::Unseen,
            Some(Err(Mute::Unopened(_))) => Port80::Closed,
            Some(Err(_)) => Port80::Unclear,
            Some(Ok(spoken)) => {
                let question = Question::http(self.host, self.plain_port);
                match redirect(&question, &spoken.first) {
                    Some(target) if target.scheme() == "https" && target.host_str() == Some(&question.host) => {
                        Port80::SameHost
                    }
                    Some(target) => Port80::Away(Printable::new(target.as_str())),
                    None => Port80::Stays(spoken.first.head.status),
                }
            }
        }
    }
}

/// What each address says in HTTP.
pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let query = &case.survey.query;
    let judged = case.views.iter().filter_map(|view| {
        let policy = Policy {
            host: &query.name,
            port: view.sight.address.port(),
            secure: view.spoken()?,
            plain: view.sight.plain.as_ref().map(|(_, plain)| plain),
            plain_port: view.sight.plain.as_ref().map_or(0, |(port, _)| *port),
            certificate_good: certificate_good(view),
            client_certificate_asked: (view.shaken().client_certificate_asked && !view.admits())
                || view.sight.renegotiates
                || view.sight.asks_late,
            below: &case.survey.below,
        };
        Some(judge(&policy).into_iter().map(|finding| view.found(finding)))
    });
    judged.flatten().collect()
}

/// Whether browsers would take the certificate. They know nothing of the pins that were asked for.
fn certificate_good(view: &View<'_>) -> bool {
    let bad = |it: &Finding| it.label.severity() == Severity::Fail && it.label != Label::PinMismatch;
    view.leaf().is_some() && view.presented.unreadable.is_empty() && !view.presented.judged.findings.iter().any(bad)
}

/// Everything that is to be said of the endpoint's HTTP.
#[must_use]
pub fn judge(policy: &Policy<'_>) -> Vec<Finding> {
    let mut found = hsts::judge(policy);
    if let Ok(secure) = policy.secure {
        found.extend(error(&secure.first));
        found.extend(downgrade(policy, secure));
        found.extend(h3(&secure.first.head.headers));
    }
    found.extend(no_redirect(policy));
    found
}

/// The server's own errors. How an application answers `/` is its own business: 400, 401, 404.
fn error(reply: &Reply) -> Option<Finding> {
    let status = reply.head.status;
    let seen = || format!("TLS works, and {} is answered {status}", reply.path);
    (500..600).contains(&status).then(|| Finding::new(Label::HttpError, seen()))
}

fn downgrade(policy: &Policy<'_>, secure: &Spoken) -> Option<Finding> {
    let question = Question::https(policy.host, policy.port);
    let plain = |reply: &Reply| redirect(&question, reply).filter(|target| target.scheme() == "http");
    let (reply, target) = replies(secure).find_map(|reply| Some((reply, plain(reply)?)))?;
    let seen = format!("{} over HTTPS is answered {} to {}", reply.path, reply.head.status, short(&target));
    Some(Finding::new(Label::HttpsDowngrade, seen))
}

/// Port 80 serves content, at once or after redirects that stay on it.
fn no_redirect(policy: &Policy<'_>) -> Option<Finding> {
    let Some(Ok(plain)) = policy.plain else { return None };
    // Where TLS is no web server's, or there is none, there is nowhere to redirect to.
    match policy.secure {
        Err(Mute::NotHttp(_)) => return None,
        Err(Mute::Unopened(trouble)) if !trouble.answered || trouble.label == Label::NotTls => return None,
        _ => {}
    }
    let question = Question::http(policy.host, policy.plain_port);
    let last = plain.last();
    let status = last.head.status;
    let port = policy.plain_port;
    let seen = match redirect(&question, last) {
        None if (200..300).contains(&status) => {
            format!("{} on port {port} is answered {status}, without TLS", last.path)
        }
        Some(target) if itself(&question, &target) => {
            format!("port {port} redirects in circles without TLS, last to {}", short(&target))
        }
        _ => return None,
    };
    Some(Finding::new(Label::HttpNoRedirect, seen))
}

fn itself(question: &Question, target: &Url) -> bool {
    target.scheme() == question.scheme
        && target.host_str() == Some(&question.host)
        && target.port_or_known_default() == Some(question.port)
}

fn replies(spoken: &Spoken) -> impl Iterator<Item = &Reply> {
    std::iter::once(&spoken.first).chain(&spoken.onward)
}

fn short(target: &Url) -> String {
    const SHOWN: usize = 200;
    let text = target.as_str();
    // A URL is ASCII.
    text.get(..SHOWN).map_or_else(|| text.to_owned(), |start| format!("{start}…"))
}

fn h3(headers: &HeaderMap) -> Option<Finding> {
    let offered =
        headers.get_all(ALT_SVC).iter().find_map(|value| offer(&String::from_utf8_lossy(value.as_bytes())))?;
    Some(Finding::new(Label::H3NotProbed, format!("Alt-Svc offers {}", Printable::new(&offered))))
}

/// The first alternative of an Alt-Svc field (RFC 7838 §3) that is HTTP/3, a final version or a draft's.
fn offer(value: &str) -> Option<String> {
    let mut inside = false;
    let outside = |c: char| {
        inside ^= c == '"';
        c == ',' && !inside
    };
    let mut alternatives = value.split(outside);
    let alternative = alternatives.find(|it| {
        let id = it.split('=').next().unwrap_or_default().trim();
        let withdrawn = it.split(';').skip(1).any(|parameter| parameter.replace(' ', "").eq_ignore_ascii_case("ma=0"));
        (id == "h3" || id.starts_with("h3-")) && it.contains('=') && !withdrawn
    })?;
    alternative.split(';').next().map(|it| it.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::hsts::tests::answer;
    use super::*;

    struct Case {
        secure: Result<Spoken, Mute>,
        plain: Option<Result<Spoken, Mute>>,
    }

    impl Case {
        fn labels(&self) -> Vec<&'static str> {
            let policy = Policy {
                host: &"shop.test".parse().unwrap(),
                port: 443,
                secure: &self.secure,
                plain: self.plain.as_ref(),
                plain_port: 80,
                certificate_good: true,
                client_certificate_asked: false,
                below: &[],
            };
            judge(&policy).iter().map(|it| it.label.as_str()).filter(|it| *it != "hsts_missing").collect()
        }
    }

    fn secure(status: u16, fields: &[(&str, &str)]) -> Vec<&'static str> {
        Case { secure: answer(status, fields), plain: None }.labels()
    }

    fn plain(status: u16, fields: &[(&str, &str)]) -> Vec<&'static str> {
        Case { secure: answer(200, &[]), plain: Some(answer(status, fields)) }.labels()
    }

    #[test]
    fn errors_are_the_servers_own() {
        let well = [200, 301, 400, 401, 403, 404, 421, 429].map(|status| (status, 0));
        let ill = [500, 503, 599].map(|status| (status, 1));
        for (status, found) in well.into_iter().chain(ill) {
            assert_eq!(secure(status, &[]), ["http_error"][..found], "{status}");
        }
    }

    #[test]
    fn only_a_redirect_to_plain_http_is_a_downgrade() {
        for (location, found) in [
            ("http://shop.test/", 1),
            ("HTTP://other.test/", 1),
            ("https://shop.test/", 0),
            ("/login", 0),
            ("//cdn.test/", 0),
            ("https://http://", 0),
            ("", 0),
        ] {
            assert_eq!(secure(302, &[("location", location)]), ["https_downgrade"][..found], "{location:?}");
            assert_eq!(secure(200, &[("location", location)]), [""; 0], "{location:?} on no redirect");
        }
    }

    #[test]
    fn port_80_may_redirect_refuse_or_be_silent_but_not_serve() {
        assert_eq!(plain(200, &[]), ["http_no_redirect"]);
        assert_eq!(plain(301, &[("location", "http://shop.test/")]), ["http_no_redirect"], "in circles");
        assert_eq!(plain(301, &[("location", "/")]), ["http_no_redirect"], "in circles");
        assert_eq!(plain(301, &[("location", "https://shop.test/")]), [""; 0]);
        assert_eq!(plain(302, &[("location", "https://www.shop.test/")]), [""; 0]);
        // The next host may well redirect to HTTPS.
        assert_eq!(plain(302, &[("location", "http://www.shop.test/")]), [""; 0]);
        // An ACME client's own listener, or nothing.
        for status in [404, 403, 400, 426, 503] {
            assert_eq!(plain(status, &[]), [""; 0], "{status}");
        }
        for mute in [Mute::Silent, Mute::TooLarge, Mute::NotHttp("SSH".into()), Mute::Broken("x".into())] {
            assert_eq!(Case { secure: answer(200, &[]), plain: Some(Err(mute)) }.labels(), [""; 0]);
        }
        let mut detour = answer(302, &[("location", "/en/")]).unwrap();
        detour.onward.push(Reply { path: "/en/".into(), ..answer(200, &[]).unwrap().first });
        let detoured = Case { secure: answer(200, &[]), plain: Some(Ok(detour)) };
        assert_eq!(detoured.labels(), ["http_no_redirect"], "content behind a redirect that stays");
    }

    #[test]
    fn a_port_80_beside_something_that_is_no_web_server_is_its_own_business() {
        let beside = |secure| Case { secure: Err(secure), plain: Some(answer(200, &[])) }.labels();
        assert_eq!(beside(Mute::NotHttp("* OK IMAP4".into())), [""; 0]);
        assert_eq!(beside(Mute::Silent), ["http_no_redirect"]);
    }

    #[test]
    fn http_3_is_noted_where_it_is_offered() {
        for (value, found) in [
            ("h3=\":443\"; ma=86400", 1),
            ("h2=\":443\", h3-29=\":8443\"", 1),
            ("h2=\"a,h3=b\"", 0),
            ("clear", 0),
            ("h3=\":443\"; ma=0", 0),
            ("h32=\":443\"", 0),
            ("h3", 0),
        ] {
            assert_eq!(secure(200, &[("alt-svc", value)]), ["h3_not_probed"][..found], "{value:?}");
        }
    }
}
