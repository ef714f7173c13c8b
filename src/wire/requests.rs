//! Requests: dropped without a lock, worked on at once, or followed at whoever holds the lock.

use super::pass::Came;
use super::{App, Watch};
use crate::agent::{Observer, Report};
use crate::core::event::{Ask, Event};
use crate::core::{Horizon, Ledger};
use crate::ports::{Journal, Memory, Request, Scope};
use crate::types::{CertName, Class, Failure, Printable, RequestId, Seq};
use aws_lc_rs::rand;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How often the holder's journal is looked at.
const POLL: Duration = Duration::from_millis(250);

impl App {
    /// Asks all of `asks` of every name, works on it, and waits where somebody else is at it, unless `wait` is false.
    ///
    /// # Errors
    /// When a request cannot be dropped, or the state cannot be used.
    pub async fn ask(&self, names: &[CertName], asks: &[Ask], wait: bool, watch: &Rc<Watch>) -> Result<Came, Failure> {
        self.adopt_renamed()?;
        let by = asker();
        let mut ids = Vec::new();
        for (name, ask) in names.iter().flat_map(|name| asks.iter().map(move |ask| (name, ask))) {
            ids.push((name.clone(), self.drop_one(name, ask, &by)?));
        }
        // A daemon wakes up at this, should this process end before it has done the work.
        self.index(|index| names.iter().for_each(|name| index.forget(name)));
        let issue = asks.iter().any(|ask| matches!(ask, Ask::Renew { .. }));
        let horizon = Horizon { span: Duration::ZERO, issue, began: Some(self.now()) };
        let mut report = self.burst(names, horizon, watch).await?;
        if wait {
            self.follow(&mut report, horizon, watch).await?;
        }
        if !horizon.issue {
            self.plan_anew(&mut report, watch)?;
        }
        let mut came = self.came(&report);
        let refusal = |(name, id): &(CertName, RequestId)| Some((name.clone(), watch.refusal(id)?));
        came.refused = ids.iter().filter_map(refusal).collect();
        self.leave_some(&came.certificates);
        Ok(came)
    }

    /// A pass that may not speak to a CA does not know when to renew: readers want to.
    fn plan_anew(&self, report: &mut Report, watch: &Rc<Watch>) -> Result<(), Failure> {
        let agent = self.agent(Horizon { span: Duration::ZERO, issue: true, began: None }, Rc::clone(watch) as _)?;
        let names: Vec<CertName> = report.certificates.keys().cloned().collect();
        for (name, fresh) in agent.survey(&names)?.certificates {
            if let Some(account) = report.certificates.get_mut(&name) {
                (account.plan, account.standing) = (fresh.plan, fresh.standing);
            }
        }
        Ok(())
    }

    fn drop_one(&self, name: &CertName, ask: &Ask, by: &Printable) -> Result<RequestId, Failure> {
        let broken = |error: String| Failure::new(Class::Retry, "internal", name.as_str(), error);
        let mut octets = [0; 16];
        rand::fill(&mut octets).map_err(|_| broken("the system gave no random octets".to_owned()))?;
        let id = RequestId::from_random(octets);
        let ask = serde_json::to_value(ask).map_err(|error| broken(error.to_string()))?;
        self.state.drop_request(name, &Request { id: id.clone(), by: by.clone(), ask })?;
        Ok(id)
    }

    /// Shows what the holder of a lock does until it is free, then does what is left.
    async fn follow(&self, report: &mut Report, horizon: Horizon, watch: &Rc<Watch>) -> Result<(), Failure> {
        let deadline = self.now() + self.spec.limits.run;
        let mut seen: BTreeMap<CertName, Seq> = BTreeMap::new();
        loop {
            let locked: Vec<CertName> = report
                .certificates
                .iter()
                .filter(|(_, it)| it.locked.is_some())
                .map(|(name, _)| name.clone())
                .collect();
            if locked.is_empty() || self.now() >= deadline {
                return Ok(());
            }
            for name in &locked {
                let ledger = report.certificates.get(name).map(|it| &it.facts.ledger);
                let from = seen.entry(name.clone()).or_insert_with(|| ledger.map_or(Seq(0), |it: &Ledger| it.seq));
                *from = self.show(name, *from, watch);
            }
            self.clock.sleep(POLL).await;
            let again = self.burst(&locked, horizon, watch).await?;
            report.certificates.extend(again.certificates);
        }
    }

    /// Shows the records after `from`, and says up to where.
    fn show(&self, name: &CertName, from: Seq, watch: &Watch) -> Seq {
        let Ok(loaded) = self.state.load(&Scope::Certificate(name.clone()), from) else { return from };
        for record in &loaded.records {
            if let Ok(event) = serde_json::from_value::<Event>(record.event.clone()) {
                watch.happened(name, &event);
            }
        }
        loaded.records.last().map_or(from, |record| record.seq)
    }
}

/// Who asks: the user, also behind sudo.
fn asker() -> Printable {
    let user = std::env::var("SUDO_USER").ok().or_else(|| {
        let found = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
        found.map(|user| user.name)
    });
    Printable::new(user.as_deref().unwrap_or("somebody"))
}
