//! What can be looked up without changing anything: plans, budgets, accounts.

use super::{App, Watch};
use crate::acme::AcmeCa;
use crate::core::Horizon;
use crate::ports::{Account, AccountStore, Ca as _};
use crate::report::{PlannedCertificate, Progress, planned};
use crate::state::NewAccounts;
use crate::types::{CertName, Failure, IssuerName};
use std::rc::Rc;
use std::time::Duration;

impl App {
    /// What a run would do now for these certificates, or for all configured ones.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn plan(&self, names: &[CertName]) -> Result<Vec<PlannedCertificate>, Failure> {
        let interval = self.ahead(super::index::Index::read(&*self.state).interval(self.spec.every));
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
        let watch = Rc::new(Watch::new(Progress::quiet(), false));
        let shared = self.agent(Horizon { span: Duration::ZERO, issue: true, began: None }, watch)?.shared()?;
        let now = self.now();
        let cost = |name: &CertName| {
            let certificate = self.spec.certificates.get(name)?;
            let issuer = self.spec.issuers.get(&certificate.issuer)?;
            Some((name.clone(), shared.cost(&self.spec, issuer, certificate, now)))
        };
        Ok(names.iter().filter_map(cost).collect())
    }

    /// The account at `issuer`. `None` when none was registered yet and `register` is false.
    ///
    /// # Errors
    /// When it cannot be read, registered, or found at the CA.
    pub async fn account(&self, issuer: &IssuerName, register: bool) -> Result<Option<Account>, Failure> {
        let Some(configured) = self.spec.issuers.get(issuer) else { return Ok(None) };
        let stored = AccountStore::load(&*self.state, issuer, &configured.directory)?;
        if stored.is_none() && !register {
            return Ok(None);
        }
        let accounts = Rc::new(NewAccounts(Rc::clone(&self.state)));
        AcmeCa::new(configured, &self.spec.limits, accounts)?.account().await.map(Some)
    }
}
