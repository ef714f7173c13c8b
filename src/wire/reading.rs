//! What can be looked up without changing anything: plans, budgets, accounts.

use super::{App, Watch};
use crate::core::event::IssuerEvent;
use crate::core::shared::IssuerFacts;
use crate::core::{Entry, Horizon};
use crate::ports::{Account, AccountStore, Journal, Scope};
use crate::report::{PlannedCertificate, Progress, planned};
use crate::types::{CertName, Class, Failure, IssuerName, Seq, humane};
use std::rc::Rc;
use std::time::Duration;

impl App {
    /// What a run would do now for these certificates, or for all configured ones.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn plan(&self, names: &[CertName]) -> Result<Vec<PlannedCertificate>, Failure> {
        let interval = super::index::Index::read(&*self.state).interval(self.spec.every);
        let watch = Rc::new(Watch::new(Progress::quiet(), false));
        let agent = self.agent(Horizon { span: interval, issue: true, began: Some(self.now()) }, watch)?;
        let all: Vec<CertName> = self.spec.certificates.keys().cloned().collect();
        let report = agent.survey(if names.is_empty() { &all } else { names })?;
        if let Some(failure) = report.certificates.values().find_map(|it| it.broken.clone()) {
            return Err(failure);
        }
        Ok(report.certificates.iter().map(|(name, it)| planned(name, &it.plan)).collect())
    }

    /// What an order outside the schedule costs in rate limits, for each name, in words.
    ///
    /// # Errors
    /// When an issuer's journal cannot be read.
    pub fn cost(&self, names: &[CertName]) -> Result<Vec<(CertName, String)>, Failure> {
        let mut costs = Vec::new();
        for name in names {
            let Some(certificate) = self.spec.certificates.get(name) else { continue };
            let facts = self.issuer_facts(&certificate.issuer)?;
            let quota = self.spec.issuers.get(&certificate.issuer).and_then(|issuer| issuer.budget.per_set);
            let per = quota.map_or(Duration::from_secs(7 * 86_400), |quota| quota.per);
            let now = self.now();
            let digest = certificate.names_digest();
            let same = |spent: &&crate::core::shared::Spent| {
                !spent.exempt && !spent.unissued && spent.names == digest && now.since(spent.at) < per
            };
            let used = facts.orders.iter().filter(same).count();
            let span = humane(per);
            let cost = match quota {
                Some(quota) => format!(
                    "one more order for exactly these names at {}; automatic runs may use {} in {span}, {used} are used",
                    certificate.issuer, quota.count
                ),
                None => format!(
                    "one more order at {}, whose limits are not known here; {used} in the last {span}",
                    certificate.issuer
                ),
            };
            costs.push((name.clone(), cost));
        }
        Ok(costs)
    }

    fn issuer_facts(&self, issuer: &IssuerName) -> Result<IssuerFacts, Failure> {
        let mut facts = IssuerFacts::default();
        for record in Journal::load(&*self.state, &Scope::Issuer(issuer.clone()), Seq(0))?.records {
            let event: IssuerEvent = serde_json::from_value(record.event)
                .map_err(|error| Failure::new(Class::Operator, "state:damaged", issuer.as_str(), error.to_string()))?;
            facts.apply(&Entry { seq: record.seq, at: record.at, event });
        }
        Ok(facts)
    }

    /// The account at `issuer`. `None` when none was registered yet and `register` is false.
    ///
    /// # Errors
    /// When it cannot be read, registered, or found at the CA.
    pub async fn account(&self, issuer: &IssuerName, register: bool) -> Result<Option<Account>, Failure> {
        let ports = self.ports()?;
        let directory = self.spec.issuers.get(issuer).map(|it| it.directory.as_str()).unwrap_or_default();
        let stored = AccountStore::load(&*self.state, issuer, directory)?;
        if stored.is_none() && !register {
            return Ok(None);
        }
        match ports.cas.get(issuer) {
            Some(ca) => ca.account().await.map(Some),
            None => Ok(None),
        }
    }
}
