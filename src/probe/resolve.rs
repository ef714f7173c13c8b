//! The addresses of a host, or why there are none.

use super::label::Label;
use crate::net::dns::Resolver;
use crate::types::{Class, Failure};
use std::net::IpAddr;

/// Every A and AAAA of `host`; the error comes with its label.
pub(super) async fn addresses(resolver: &Resolver, host: &str) -> Result<Vec<IpAddr>, (Label, Failure)> {
    match resolver.addresses(host).await {
        Ok(found) if found.is_empty() => {
            let failure = Failure::new(Class::Operator, "dns:noAddress", host, "the name has neither A nor AAAA");
            Err((Label::DnsNoAddress, failure))
        }
        Ok(found) => Ok(found),
        Err(failure) => {
            let none = matches!(failure.code.as_str(), "dns:noAddress" | "dns:nxdomain");
            Err((if none { Label::DnsNoAddress } else { Label::DnsFailed }, failure))
        }
    }
}
