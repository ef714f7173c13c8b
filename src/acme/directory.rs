//! The directory (RFC 8555 §7.1.1): where everything is, and what the CA offers.

use super::problem::Refusal;
use super::wire::{Exchange, Wire, named};
use crate::net::http::Plain;
use crate::ports::Offers;
use crate::types::{Failure, Printable};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// The profiles kept of a directory: CAs have a handful.
const MAX_PROFILES: usize = 32;
/// The longest profile name that is kept.
const LONGEST_PROFILE: usize = 64;

/// A checked directory.
pub(super) struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    pub(super) renewal_info: Option<String>,
    pub(super) offers: Offers,
    /// What instant-acme is told: the URLs alone.
    pub(super) for_library: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    new_nonce: String,
    new_account: String,
    new_order: String,
    renewal_info: Option<String>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    terms_of_service: Option<String>,
    external_account_required: bool,
    profiles: BTreeMap<String, serde_json::Value>,
}

/// What a directory that was fetched offers, its URLs checked. `plain` says whether they may be plain http.
///
/// # Errors
/// `acme:unreadable` when it is no directory, `net:url` when it names a URL that may not be asked.
pub fn offers(exchange: &Exchange, plain: Plain) -> Result<Offers, Failure> {
    Directory::read(exchange, plain).map(|directory| directory.offers)
}

impl Directory {
    /// Fetches and checks the directory at `url`.
    ///
    /// # Errors
    /// Why there is none; code `acme:unreadable` when something else answers there.
    pub(super) async fn fetch(wire: &Wire, url: &str) -> Result<Self, Failure> {
        let exchange = wire.get(url).await?;
        if exchange.refused() {
            return Err(Refusal::read(&exchange).failure);
        }
        Self::read(&exchange, wire.plain())
    }

    fn read(exchange: &Exchange, plain: Plain) -> Result<Self, Failure> {
        let raw: Raw = exchange.json()?;
        for url in [&raw.new_nonce, &raw.new_account, &raw.new_order].into_iter().chain(&raw.renewal_info) {
            named(url, &exchange.url, plain)?;
        }
        let for_library = json!({
            "newNonce": raw.new_nonce,
            "newAccount": raw.new_account,
            "newOrder": raw.new_order,
            "renewalInfo": raw.renewal_info,
        });
        let described = |text: &serde_json::Value| Printable::new(text.as_str().unwrap_or_default());
        let offers = Offers {
            renewal_info: raw.renewal_info.is_some(),
            profiles: raw
                .meta
                .profiles
                .iter()
                .filter(|(name, _)| name.len() <= LONGEST_PROFILE && Printable::new(name).as_str() == name.as_str())
                .take(MAX_PROFILES)
                .map(|(name, description)| (name.clone(), described(description)))
                .collect(),
            terms: raw.meta.terms_of_service.map(|url| Printable::new(&url).to_string()),
            external_account_required: raw.meta.external_account_required,
        };
        Ok(Self {
            new_nonce: raw.new_nonce,
            new_account: raw.new_account,
            renewal_info: raw.renewal_info,
            offers,
            for_library: Bytes::from(for_library.to_string()),
        })
    }
}
