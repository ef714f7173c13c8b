//! Looks that the certificates themselves call for: their CRLs, where they were asked for, and a staple that comes late.

use super::{Sight, Surveyor};
use crate::pki::{Certificate, MAX_CERTIFICATES};
use crate::probe::handshake::Offer;
use crate::probe::target::Query;
use futures_util::future::{OptionFuture, join3};
use rustls::pki_types::{CertificateDer, ServerName};
use std::time::Duration;

/// Servers that fetch their OCSP responses themselves begin when the first client asks; the next one gets it.
const STAPLING: Duration = Duration::from_secs(1);

impl Surveyor {
    /// Takes the looks that `sight` calls for, beside each other.
    pub(super) async fn revocation(&self, sight: &mut Sight, query: &Query, sni: Option<&ServerName<'static>>) {
        if query.quick && !query.crl {
            return;
        }
        let telling = sight.telling();
        let certificates = readable(&telling.chain);
        let others = sight.other_family.as_ref().map(|other| readable(&other.chain)).unwrap_or_default();
        let demanded = certificates.first().is_some_and(|leaf| leaf.must_staple) && telling.staple.is_empty();
        let address = sight.address;
        let again = OptionFuture::from((demanded && !query.quick).then_some(async {
            self.clock.sleep(STAPLING).await;
            let nobody = ServerName::IpAddress(address.ip().into());
            let name = sni.unwrap_or(&nobody).clone();
            let offer = Offer::plain(name, query.starttls);
            self.shake(address, &offer).await
        }));
        let asked = |chain: Vec<Certificate>| {
            let wanted = query.crl.then_some(async move { self.lists.of(&chain).await });
            OptionFuture::from(wanted)
        };
        let (again, crls, other_crls) = join3(again, asked(certificates), asked(others)).await;
        sight.again = again;
        (sight.crls, sight.other_crls) = (crls.unwrap_or_default(), other_crls.unwrap_or_default());
    }
}

fn readable(chain: &[CertificateDer<'static>]) -> Vec<Certificate> {
    chain.iter().take(MAX_CERTIFICATES).filter_map(|der| Certificate::from_der(der).ok()).collect()
}
