//! `issuers:`

use super::known::{KNOWN, Known, known};
use super::problem::Problem;
use super::read::{DAY, Fields, Reader, YEAR, suggestion};
use super::spec::{Allowed, Budget, ExternalAccount, Issuer, Quota, Rehearsal, Roots};
use super::yaml::{Node, shortened};
use crate::types::IssuerName;
use std::time::Duration;

/// Orders of one issuer that may be open at once: CAs bear this, and more hardly makes a fleet faster.
const DEFAULT_PARALLEL: u32 = 8;
const MAX_PARALLEL: u32 = 64;
const MAX_QUOTA: u32 = 1_000_000;

impl Reader<'_> {
    pub(super) fn issuer(&self, name: IssuerName, node: &Node) -> Option<Issuer> {
        let mut fields = Fields::open(self, node, "an issuer, a mapping")?;
        let directory = fields
            .required("directory", "write the URL of the CA's ACME directory, or letsencrypt")
            .and_then(|node| self.directory(node));
        let known = directory.as_deref().and_then(known);
        let roots = fields.take("roots").and_then(|node| self.roots(node)).unwrap_or(Roots::System);
        let ca_bundle = fields.take("ca_bundle").and_then(|node| self.file(node));
        let contact = fields.take("contact").map(|node| self.contacts(node)).unwrap_or_default();
        let agree_to_terms = self.terms(&mut fields, known);
        let profile = fields.take("profile").and_then(|node| self.profile(node));
        let external_account = fields.take("eab").and_then(|node| self.external_account(node));
        let budget = known.map(Known::budget).unwrap_or_default();
        let budget = fields.take("budget").and_then(|node| self.budget(node, &budget)).unwrap_or(budget);
        let parallel =
            fields.take("parallel").and_then(|node| self.whole(node, 1..=MAX_PARALLEL)).unwrap_or(DEFAULT_PARALLEL);
        let dry_run = fields.take("dry_run").and_then(|node| self.rehearsal(node));
        fields.close(self);
        Some(Issuer {
            name,
            directory: directory?,
            roots,
            ca_bundle,
            contact,
            agree_to_terms,
            profile,
            external_account,
            budget,
            parallel: usize::try_from(parallel).unwrap_or(1),
            dry_run,
        })
    }

    fn directory(&self, node: &Node) -> Option<String> {
        let text = self.text(node, "a directory's URL")?;
        if let Some(known) = KNOWN.iter().find(|known| known.alias == text) {
            return Some(known.directory.to_owned());
        }
        if !text.contains(':') {
            let aliases = KNOWN.map(|known| known.alias);
            let help =
                format!("{}write the whole URL, https://…, or {}", suggestion(text, &aliases), aliases.join(" or "));
            self.error(node.at, format!("`{}` is no URL", shortened(text)), help);
            return None;
        }
        self.url(node, text, "an account and its orders go")
    }

    /// An https URL; http on a loopback address only.
    pub(super) fn url(&self, node: &Node, text: &str, what: &str) -> Option<String> {
        let authority = text.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next());
        if authority.is_some_and(|authority| authority.contains('@')) {
            self.sink.mask(node.at);
            self.error(node.at, "a user name or password does not belong into a URL", "write https://HOST/PATH");
            return None;
        }
        match checked_url(text) {
            Ok(Scheme::Https | Scheme::LoopbackHttp) => Some(text.to_owned()),
            Ok(Scheme::Http) => {
                let help = format!("write https://…; http is for a loopback address only, since {what} over it");
                self.error(node.at, "this is http to another machine", help);
                None
            }
            Err(why) => {
                self.error(
                    node.at,
                    format!("`{}` is no URL that can be used: {why}", shortened(text)),
                    "write https://HOST/PATH",
                );
                None
            }
        }
    }

    fn terms(&self, fields: &mut Fields<'_>, known: Option<&Known>) -> bool {
        let written = fields.take("agree_to_terms");
        let agreed = written.and_then(|node| self.flag(node)).unwrap_or(false);
        if let Some(known) = known.filter(|known| !agreed && known.staging.is_some()) {
            let message = format!("{} opens accounts only to those who agree to its terms of service", known.operator);
            let at = written.map_or(fields.at, |node| node.at);
            self.error(at, message, "read them, then write agree_to_terms: true");
        }
        agreed
    }

    fn roots(&self, node: &Node) -> Option<Roots> {
        match self.text(node, "`system` or the path of a PEM file")? {
            "system" => Some(Roots::System),
            _ => self.file(node).map(Roots::File),
        }
    }

    fn contacts(&self, node: &Node) -> Vec<String> {
        self.one_or_more(node, "an address to write to").iter().filter_map(|node| self.contact(node)).collect()
    }

    fn contact(&self, node: &Node) -> Option<String> {
        let text = self.text(node, "an address to write to")?;
        let address = text.strip_prefix("mailto:").unwrap_or(text);
        let plain = address
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && host.contains('.') && !host.contains('@'));
        if !plain
            || address.contains([',', '?', ' ', ':'])
            || !address.is_ascii()
            || address.bytes().any(|b| b.is_ascii_control())
        {
            self.error(
                node.at,
                format!("`{}` is no mail address", shortened(text)),
                "write one address an entry, such as admin@example.com",
            );
            return None;
        }
        Some(format!("mailto:{address}"))
    }

    /// A profile's name goes into a JSON document and nowhere else; this keeps slips out.
    pub(super) fn profile(&self, node: &Node) -> Option<String> {
        const MAX_PROFILE: usize = 64;
        let text = self.text(node, "a profile's name")?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if text.len() > MAX_PROFILE || !text.bytes().all(allowed) {
            self.error(
                node.at,
                format!("`{}` is no profile's name", shortened(text)),
                "write it as the CA's directory lists it, such as tlsserver",
            );
            return None;
        }
        Some(text.to_owned())
    }

    fn external_account(&self, node: &Node) -> Option<ExternalAccount> {
        let mut fields =
            Fields::confidential(self, node, "an external account, a mapping with kid and hmac_file,", &["kid"])?;
        let kid = fields.required("kid", "the CA hands it out").and_then(|node| self.text(node, "a key identifier"));
        let source = fields.take("hmac_file").or_else(|| fields.take("hmac"));
        if source.is_none() {
            fields.missing(
                "hmac_file",
                "put the MAC key that the CA handed out into a file with mode 0600, and name it here",
            );
        }
        let hmac = self.secret(&mut fields, ("hmac", "hmac_file"), |_| false);
        fields.close(self);
        if let (Some(hmac), Some(source)) = (&hmac, source) {
            let key = hmac.reveal().trim_end_matches('=').as_bytes();
            if data_encoding::BASE64URL_NOPAD.decode(key).is_err() {
                self.error(
                    source.at,
                    "this MAC key is not base64url",
                    "copy it as the CA shows it: letters, digits, - and _",
                );
            }
        }
        Some(ExternalAccount { kid: kid?.to_owned(), hmac: hmac? })
    }

    fn budget(&self, node: &Node, shipped: &Budget) -> Option<Budget> {
        if node.scalar() == Some("none") {
            return Some(Budget::default());
        }
        let mut fields = Fields::open(self, node, "limits on orders, a mapping or `none`,")?;
        let mut quota = |key, shipped| match fields.take(key) {
            None => shipped,
            Some(node) if node.scalar() == Some("none") => None,
            Some(node) => self.quota(node).or(shipped),
        };
        let per_set = quota("per_set", shipped.per_set);
        let per_domain = quota("per_domain", shipped.per_domain);
        let per_account = quota("per_account", shipped.per_account);
        fields.close(self);
        // What the CA allows is known for its own span only; whoever was granted more has more.
        let allowed = |own: Option<Quota>, shipped: Option<Quota>, allowed: Option<u32>| {
            let (own, shipped) = own.zip(shipped)?;
            allowed.filter(|_| own.per == shipped.per).map(|allowed| allowed.max(own.count))
        };
        let allowed = Allowed {
            per_set: allowed(per_set, shipped.per_set, shipped.allowed.per_set),
            per_domain: allowed(per_domain, shipped.per_domain, shipped.allowed.per_domain),
            per_account: allowed(per_account, shipped.per_account, shipped.allowed.per_account),
        };
        Some(Budget { per_set, per_domain, per_account, allowed })
    }

    fn quota(&self, node: &Node) -> Option<Quota> {
        let mut fields = Fields::open(self, node, "a limit such as { count: 3, per: 7d }")?;
        let count =
            fields.required("count", "such as { count: 3, per: 7d }").and_then(|node| self.whole(node, 1..=MAX_QUOTA));
        let per = fields
            .required("per", "such as { count: 3, per: 7d }")
            .and_then(|node| self.span(node, Duration::from_secs(60)..=YEAR.max(DAY)));
        fields.close(self);
        Some(Quota { count: count?, per: per? })
    }

    fn rehearsal(&self, node: &Node) -> Option<Rehearsal> {
        let mut fields = Fields::open(self, node, "a directory to rehearse against, a mapping,")?;
        let at = fields.required("directory", "write the staging directory's URL");
        let directory = at.and_then(|node| self.directory(node));
        if let (Some(at), Some(known)) =
            (at, directory.as_deref().and_then(known).filter(|known| known.staging.is_some()))
        {
            let message = format!("a rehearsal would order from {} itself", known.operator);
            let help = known.staging.map(|staging| format!("write {staging}")).unwrap_or_default();
            self.sink.push(Problem::error(at.at, message).help(help));
        }
        let roots = fields.take("roots").and_then(|node| self.roots(node)).unwrap_or(Roots::Unchecked);
        let ca_bundle = fields.take("ca_bundle").and_then(|node| self.file(node));
        let profile = fields.take("profile").and_then(|node| self.profile(node));
        fields.close(self);
        Some(Rehearsal { directory: directory?, roots, ca_bundle, profile })
    }
}

/// How a URL travels.
pub(super) enum Scheme {
    Https,
    Http,
    LoopbackHttp,
}

pub(super) fn checked_url(text: &str) -> Result<Scheme, &'static str> {
    let uri: http::Uri = text.parse().map_err(|_| "it cannot be read")?;
    let authority = uri.authority().ok_or("it names no host")?;
    if text.contains('#') {
        return Err("a fragment (#…) is never sent");
    }
    if authority.as_str().contains('@') {
        return Err("a user name or password does not belong into it");
    }
    if authority.host().is_empty() {
        return Err("it names no host");
    }
    let host = authority.host().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(Scheme::Https),
        Some("http") if loopback => Ok(Scheme::LoopbackHttp),
        Some("http") => Ok(Scheme::Http),
        _ => Err("it is neither https nor http"),
    }
}
