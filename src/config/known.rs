//! What is known of public CAs. Facts move: each has its source, and the configuration overrides every one.

use super::spec::{Allowed, Budget, Quota};
use std::time::Duration;

/// A directory that everleaf knows.
pub(super) struct Known {
    /// A short name that may be written for the URL.
    pub(super) alias: &'static str,
    /// The directory's URL.
    pub(super) directory: &'static str,
    /// Who runs it.
    pub(super) operator: &'static str,
    /// The directory to rehearse against; `None` for one that is itself for tests.
    pub(super) staging: Option<&'static str>,
    /// Whether some profile there grants the clientAuth extended key usage.
    pub(super) client_auth: bool,
    /// The only profile under which it certifies IP addresses.
    pub(super) ip_profile: Option<&'static str>,
    budget: fn() -> Budget,
}

impl Known {
    /// The limits that automatic runs keep.
    pub(super) fn budget(&self) -> Budget {
        (self.budget)()
    }
}

const HOUR: u64 = 3_600;
const WEEK: u64 = 7 * 24 * HOUR;

/// The directories that everleaf knows.
///
/// Let's Encrypt: URLs from <https://letsencrypt.org/docs/acme-protocol-updates/> and
/// <https://letsencrypt.org/docs/staging-environment/>; no profile has granted clientAuth since 2026-07-08
/// (<https://letsencrypt.org/2025/05/14/ending-tls-client-authentication/>); IP addresses under `shortlived` only
/// (<https://letsencrypt.org/docs/profiles/>).
pub(super) const KNOWN: [Known; 2] = [
    Known {
        alias: "letsencrypt",
        directory: "https://acme-v02.api.letsencrypt.org/directory",
        operator: "Let's Encrypt",
        staging: Some("https://acme-staging-v02.api.letsencrypt.org/directory"),
        client_auth: false,
        ip_profile: Some("shortlived"),
        budget: lets_encrypt,
    },
    Known {
        alias: "letsencrypt-staging",
        directory: "https://acme-staging-v02.api.letsencrypt.org/directory",
        operator: "Let's Encrypt's staging environment",
        staging: None,
        client_auth: false,
        ip_profile: Some("shortlived"),
        budget: lets_encrypt_staging,
    },
];

/// What is known of the directory at `url`.
pub(super) fn known(url: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.directory == url.trim_end_matches('/'))
}

/// <https://letsencrypt.org/docs/rate-limits/>: 5 certificates per exact set of names and 50 per registered domain in 7
/// days, 300 orders per account in 3 hours. Automatic runs leave a reserve for the operator's hand: two of the five,
/// ten of the fifty, thirty of the three hundred.
fn lets_encrypt() -> Budget {
    budget((3, 5), (40, 50), (270, 300))
}

/// <https://letsencrypt.org/docs/staging-environment/#rate-limits>: 30,000 certificates per set and per domain in a week,
/// 1,500 orders in 3 hours. Bounded all the same, so that a loop is stopped in a test before it is met in production.
fn lets_encrypt_staging() -> Budget {
    budget((300, 30_000), (3_000, 30_000), (1_350, 1_500))
}

/// Each limit as what automatic runs may use and what the CA allows.
fn budget(per_set: (u32, u32), per_domain: (u32, u32), per_account: (u32, u32)) -> Budget {
    let quota = |(count, _), secs| Some(Quota { count, per: Duration::from_secs(secs) });
    Budget {
        per_set: quota(per_set, WEEK),
        per_domain: quota(per_domain, WEEK),
        per_account: quota(per_account, 3 * HOUR),
        allowed: Allowed { per_set: Some(per_set.1), per_domain: Some(per_domain.1), per_account: Some(per_account.1) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_runs_leave_two_of_five_duplicates_a_week() {
        let le = known("https://acme-v02.api.letsencrypt.org/directory").expect("known");
        assert_eq!(le.budget().per_set, Some(Quota { count: 3, per: Duration::from_secs(604_800) }));
        let allowed = Allowed { per_set: Some(5), per_domain: Some(50), per_account: Some(300) };
        assert_eq!(le.budget().allowed, allowed);
        assert!(le.staging.is_some_and(|staging| known(staging).is_some_and(|known| known.staging.is_none())));
        assert!(known("https://ca.internal/acme/directory").is_none());
    }
}
