//! The order ledger against a CA's limits: what was spent, and when one more order fits in.

use super::shared::Shared;
use crate::config::spec::{Certificate, Issuer, Quota, Spec};
use crate::types::{CertName, Digest, Identifier, IssuerName, Timestamp, humane};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// An order that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// When it was intended.
    pub at: Timestamp,
    /// For which certificate.
    pub certificate: CertName,
    /// At which directory; empty when that was not kept: it then counts at every one.
    #[serde(default)]
    pub directory: String,
    /// The digest of its exact set of names.
    pub names: Digest,
    /// The registered domains of its names.
    pub domains: Vec<String>,
    /// Whether it is exempt from limits.
    pub exempt: bool,
    /// Whether it ended before a CSR was sent: it counts as an order, not as a certificate.
    #[serde(default)]
    pub unissued: bool,
}

/// Who asks for one more order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// An automatic run: it leaves a reserve.
    Itself,
    /// A person with `--force`: up to what the CA allows, where that is known.
    Hand,
}

/// A limit that is used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Full {
    /// When one more fits in.
    pub until: Timestamp,
    /// Which limit.
    pub what: What,
    /// How many it allows.
    pub count: u32,
    /// Within how many seconds.
    pub per_secs: u64,
}

/// What a limit is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Certificates for one exact set of names.
    Set,
    /// Certificates for one registered domain.
    Domain(String),
    /// Orders of the account.
    Account,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in {}", self.count, self.what, humane(Duration::from_secs(self.per_secs)))
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set => f.write_str("certificates for exactly these names"),
            Self::Domain(domain) => write!(f, "certificates for names below {domain}"),
            Self::Account => f.write_str("orders of this account"),
        }
    }
}

/// A limit, with what counts towards it.
struct Limit {
    what: What,
    quota: Quota,
    allowed: Option<u32>,
    spent: Vec<Timestamp>,
}

impl Spent {
    /// One more order for `certificate`.
    #[must_use]
    pub fn new(certificate: &Certificate, issuer: &Issuer, at: Timestamp, exempt: bool) -> Self {
        Self {
            at,
            certificate: certificate.name.clone(),
            directory: issuer.directory.clone(),
            names: certificate.names_digest(),
            domains: registered_domains(&certificate.names),
            exempt,
            unissued: false,
        }
    }
}

fn is_for_set(spent: &Spent, order: &Spent) -> bool {
    !spent.unissued && spent.names == order.names
}

/// The registered domains of `names`: what a CA's limits count by. A name's domain by the public suffix list; of addresses
/// an IPv4 address itself and the /64 of an IPv6 address (<https://letsencrypt.org/docs/rate-limits/>).
#[must_use]
pub fn registered_domains(names: &[Identifier]) -> Vec<String> {
    let registered = |name: &Identifier| match name {
        Identifier::Dns(_) => {
            let base = name.base();
            psl::domain_str(&base).map_or(base.clone(), str::to_owned)
        }
        Identifier::Ip(IpAddr::V4(address)) => address.to_string(),
        Identifier::Ip(IpAddr::V6(address)) => {
            format!("{}/64", Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
    };
    names.iter().map(registered).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Orders admitted in this very pass, by issuer.
pub type Also = BTreeMap<IssuerName, Vec<Spent>>;

impl Shared {
    /// The limit at `issuer` that keeps `order` back longest; `None` when it fits in now. `also` were admitted in this pass.
    ///
    /// A CA counts names and domains whoever orders them: all issuers of one directory count together.
    #[must_use]
    pub fn full(
        &self,
        spec: &Spec,
        issuer: &Issuer,
        order: &Spent,
        also: &Also,
        by: By,
        now: Timestamp,
    ) -> Option<Full> {
        if order.exempt {
            return None;
        }
        let full = |limit: Limit| {
            let quota = match by {
                By::Itself => limit.quota,
                By::Hand => Quota { count: limit.allowed?, ..limit.quota },
            };
            let until = quota_until(quota, limit.spent.into_iter(), now)?;
            Some(Full { until, what: limit.what, count: quota.count, per_secs: quota.per.as_secs() })
        };
        self.limits(spec, issuer, order, also).into_iter().filter_map(full).max_by_key(|full| full.until)
    }

    /// What one more order costs in rate limits, in words.
    #[must_use]
    pub fn cost(&self, spec: &Spec, issuer: &Issuer, certificate: &Certificate, now: Timestamp) -> String {
        const WEEK: Duration = Duration::from_secs(7 * 86_400);
        let order = Spent::new(certificate, issuer, now, false);
        let none = Also::new();
        let limits = self.limits(spec, issuer, &order, &none);
        let used = |spent: &[Timestamp], per| spent.iter().filter(|at| now.since(**at) < per).count();
        let name = &issuer.name;
        if limits.is_empty() {
            let orders = self.orders_at(spec, issuer, &none);
            let same = orders.iter().filter(|(_, spent)| is_for_set(spent, &order)).map(|(_, spent)| spent.at);
            let (used, span) = (used(&same.collect::<Vec<_>>(), WEEK), humane(WEEK));
            return format!(
                "one more order at {name}, whose limits are not known here; {used} certificates for exactly these names in the last {span}"
            );
        }
        let part = |limit: &Limit| {
            let (used, per) = (used(&limit.spent, limit.quota.per), humane(limit.quota.per));
            let most = limit.allowed.map_or_else(String::new, |allowed| format!("of {allowed} "));
            format!("{used} {most}{} in {per} (automatic runs stop at {})", limit.what, limit.quota.count)
        };
        let parts: Vec<String> = limits.iter().map(part).collect();
        format!("one more order at {name}; used so far: {}", parts.join("; "))
    }

    /// The limits that an order comes under, each with what was spent of it.
    fn limits(&self, spec: &Spec, issuer: &Issuer, order: &Spent, also: &Also) -> Vec<Limit> {
        let orders = self.orders_at(spec, issuer, also);
        let (budget, allowed) = (&issuer.budget, &issuer.budget.allowed);
        let limit = |quota: Option<Quota>, allowed, what, of: &dyn Fn(&IssuerName, &Spent) -> bool| {
            let counts = |(name, spent): &&(&IssuerName, &Spent)| !spent.exempt && of(name, spent);
            let spent = orders.iter().filter(counts).map(|(_, spent)| spent.at).collect();
            Some(Limit { what, quota: quota?, allowed, spent })
        };
        // Limits on a set of names and on a domain are on certificates; the one on an account is on orders.
        let per_set = limit(budget.per_set, allowed.per_set, What::Set, &|_, spent| is_for_set(spent, order));
        let per_domain = order.domains.iter().filter_map(|domain| {
            limit(budget.per_domain, allowed.per_domain, What::Domain(domain.clone()), &|_, spent| {
                !spent.unissued && spent.domains.contains(domain)
            })
        });
        let own = |name: &IssuerName, _: &Spent| *name == issuer.name;
        let per_account = limit(budget.per_account, allowed.per_account, What::Account, &own);
        per_set.into_iter().chain(per_domain).chain(per_account).collect()
    }

    /// The orders that count at the directory of `issuer`, each once, with the issuer they were counted for.
    #[must_use]
    pub fn orders_at<'a>(
        &'a self,
        spec: &'a Spec,
        issuer: &Issuer,
        also: &'a Also,
    ) -> Vec<(&'a IssuerName, &'a Spent)> {
        let here = |spent: &&Spent| spent.directory.is_empty() || spent.directory == issuer.directory;
        let same = spec.issuers.values().filter(|it| it.directory == issuer.directory).map(|it| &it.name);
        let mut orders = Vec::new();
        let mut alone = true;
        for name in same {
            alone &= *name == issuer.name;
            let known = self.issuers.get(name).map(|facts| facts.orders.as_slice()).unwrap_or_default();
            let also = also.get(name).map(Vec::as_slice).unwrap_or_default();
            orders.extend(known.iter().chain(also).filter(here).map(|spent| (name, spent)));
        }
        if !alone {
            // What was counted again for an issuer that has another name now may stand in several ledgers.
            let mut met = BTreeSet::new();
            orders.sort_by_key(|(of, _)| **of != issuer.name);
            orders.retain(|(_, spent)| met.insert(key(spent)));
        }
        orders
    }
}

fn key(spent: &Spent) -> (Timestamp, &CertName) {
    (spent.at, &spent.certificate)
}

/// When one more fits into `quota`, given when the others were; `None` when it does now.
fn quota_until(quota: Quota, spent: impl Iterator<Item = Timestamp>, now: Timestamp) -> Option<Timestamp> {
    // A record from the future (the clock was set back) counts as if it were of now: never less than it should.
    let mut recent: Vec<Timestamp> = spent.map(|at| at.min(now)).filter(|at| now.since(*at) < quota.per).collect();
    let count = usize::try_from(quota.count).unwrap_or(usize::MAX);
    if recent.len() < count {
        return None;
    }
    recent.sort_unstable();
    let leaves = recent.len() - count;
    Some(recent.get(leaves).map_or(now + quota.per, |at| *at + quota.per))
}

#[cfg(test)]
mod tests {
    use super::super::event::{Entry, IssuerEvent};
    use super::super::shared::IssuerFacts;
    use super::*;
    use crate::config::spec::Budget;
    use crate::types::{Seq, sha256};

    const HERE: &str = "https://ca.example/dir";

    fn spent(at: i64, names: &[u8]) -> Spent {
        Spent {
            at: Timestamp::from_secs(at),
            certificate: "a".parse().expect("name"),
            directory: HERE.into(),
            names: sha256(&[names]),
            domains: vec!["example.org".into()],
            exempt: false,
            unissued: false,
        }
    }

    fn facts(orders: &[Spent]) -> IssuerFacts {
        IssuerFacts { orders: orders.to_vec(), ..IssuerFacts::default() }
    }

    /// A ledger of `orders` at the issuer `ca`, and when one more of `x` fits in at second 70.
    fn until(budget: &Budget, orders: &[Spent], by: By) -> Option<i64> {
        let mut spec = crate::core::tests::spec();
        let (name, issuer) = spec.issuers.iter_mut().next().expect("an issuer");
        issuer.budget = budget.clone();
        let mut shared = Shared::default();
        shared.issuers.insert(name.clone(), facts(orders));
        let issuer = spec.issuers.values().next().expect("an issuer");
        let found = shared.full(&spec, issuer, &spent(70, b"x"), &Also::new(), by, Timestamp::from_secs(70));
        found.map(|full| full.until.as_secs())
    }

    const fn quota(count: u32) -> Quota {
        Quota { count, per: Duration::from_secs(100) }
    }

    #[test]
    fn an_order_that_came_to_nothing_is_no_certificate() {
        let mut facts = facts(&[spent(10, b"x")]);
        let event = IssuerEvent::OrderUnissued { certificate: "a".parse().expect("name") };
        facts.apply(&Entry { seq: Seq(2), at: Timestamp::from_secs(11), event });
        let on_certificates = Budget { per_set: Some(quota(1)), per_domain: Some(quota(1)), ..Budget::default() };
        assert_eq!(until(&on_certificates, &facts.orders, By::Itself), None);
        let on_orders = Budget { per_account: Some(quota(1)), ..Budget::default() };
        assert!(until(&on_orders, &facts.orders, By::Itself).is_some(), "it was an order all the same");
    }

    #[test]
    fn the_budget_opens_when_the_oldest_order_leaves_the_span() {
        let per_set = Budget { per_set: Some(quota(2)), ..Budget::default() };
        assert_eq!(until(&per_set, &[spent(10, b"x"), spent(50, b"x"), spent(60, b"y")], By::Itself), Some(110));
        assert_eq!(until(&per_set, &[spent(10, b"y"), spent(50, b"x"), spent(60, b"y")], By::Itself), None);
        let exempt = Spent { exempt: true, ..spent(50, b"x") };
        assert_eq!(until(&per_set, &[spent(10, b"x"), exempt], By::Itself), None, "ARI renewals do not count");
    }

    #[test]
    fn a_person_may_use_the_reserve_and_no_more() {
        let mut budget = Budget { per_set: Some(quota(1)), ..Budget::default() };
        let two = [spent(10, b"x"), spent(50, b"x")];
        assert_eq!(until(&budget, &two, By::Hand), None, "what this CA allows is not known");
        budget.allowed.per_set = Some(2);
        assert_eq!(until(&budget, &two[..1], By::Itself), Some(110));
        assert_eq!(until(&budget, &two[..1], By::Hand), None);
        assert_eq!(until(&budget, &two, By::Hand), Some(110));
    }

    #[test]
    fn orders_at_another_directory_count_there() {
        let per_set = Budget { per_set: Some(quota(1)), ..Budget::default() };
        let elsewhere = Spent { directory: "https://staging.example/dir".into(), ..spent(50, b"x") };
        assert_eq!(until(&per_set, &[elsewhere], By::Itself), None);
        let unknown = Spent { directory: String::new(), ..spent(50, b"x") };
        assert_eq!(until(&per_set, &[unknown], By::Itself), Some(150), "an old record may be of any directory");
    }

    #[test]
    fn issuers_of_one_directory_share_what_it_counts_by_name_and_not_their_accounts() {
        let mut spec = crate::core::tests::spec();
        let first = spec.issuers.values().next().expect("an issuer").clone();
        let second = Issuer { name: "other".parse().expect("name"), ..first.clone() };
        spec.issuers.insert(second.name.clone(), second.clone());
        let mut shared = Shared::default();
        shared.issuers.insert(first.name.clone(), facts(&[spent(50, b"x")]));
        let full = |budget: Budget| {
            let issuer = Issuer { budget, ..second.clone() };
            shared.full(&spec, &issuer, &spent(70, b"x"), &Also::new(), By::Itself, Timestamp::from_secs(70))
        };
        let what = |full: Option<Full>| full.map(|full| full.what);
        assert_eq!(what(full(Budget { per_set: Some(quota(1)), ..Budget::default() })), Some(What::Set));
        let domain = What::Domain("example.org".into());
        assert_eq!(what(full(Budget { per_domain: Some(quota(1)), ..Budget::default() })), Some(domain));
        assert_eq!(
            what(full(Budget { per_account: Some(quota(1)), ..Budget::default() })),
            None,
            "it has its own account"
        );
        // The same order in both ledgers, as after a journal was lost, is one order.
        shared.issuers.insert(second.name.clone(), facts(&[spent(50, b"x")]));
        let twice = Budget { per_set: Some(quota(2)), ..Budget::default() };
        let issuer = Issuer { budget: twice, ..second.clone() };
        let found = shared.full(&spec, &issuer, &spent(70, b"x"), &Also::new(), By::Itself, Timestamp::from_secs(70));
        assert_eq!(found, None);
    }

    #[test]
    fn what_is_admitted_in_the_same_pass_counts() {
        let mut spec = crate::core::tests::spec();
        let issuer = spec.issuers.values_mut().next().expect("an issuer");
        issuer.budget = Budget { per_domain: Some(quota(1)), ..Budget::default() };
        let issuer = issuer.clone();
        let also = Also::from([(issuer.name.clone(), vec![spent(70, b"y")])]);
        let full =
            Shared::default().full(&spec, &issuer, &spent(70, b"x"), &also, By::Itself, Timestamp::from_secs(70));
        assert_eq!(full.map(|full| full.what), Some(What::Domain("example.org".into())));
    }

    #[test]
    fn registered_domains_are_those_of_the_public_suffix_list() {
        let of = |names: &[&str]| {
            registered_domains(&names.iter().map(|name| name.parse().expect("identifier")).collect::<Vec<_>>())
        };
        assert_eq!(of(&["a.b.example.co.uk", "*.example.co.uk", "example.co.uk"]), ["example.co.uk"]);
        assert_eq!(of(&["me.github.io", "you.github.io"]), ["me.github.io", "you.github.io"], "a private suffix");
        assert_eq!(of(&["host.internal", "co.uk"]), ["co.uk", "host.internal"]);
        assert_eq!(of(&["192.0.2.1", "198.51.2.1"]), ["192.0.2.1", "198.51.2.1"], "addresses have no suffix");
        assert_eq!(of(&["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]), ["2001:db8:0:1::/64", "2001:db8::/64"]);
    }
}
