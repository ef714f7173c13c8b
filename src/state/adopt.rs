//! `was: OLD`: a certificate that was renamed in the configuration takes its lineage along.

use super::{CERTS, StateRoot, failed};
use crate::ports::{LockError, Locks};
use crate::types::{CertName, Failure};

impl StateRoot {
    /// Gives the lineage of `was` to `name`, which has none: journal, keys and generations, by one rename. Says whether it
    /// did. What is published under the old name stays until somebody removes it: a server may still read it.
    ///
    /// # Errors
    /// When a lineage cannot be locked or renamed. One that another process works on is left for the next run.
    pub fn adopt(&self, name: &CertName, was: &CertName) -> Result<bool, Failure> {
        let Some(certificates) = self.existing(&[CERTS]).map_err(failed)? else { return Ok(false) };
        let there = |it: &CertName| certificates.stat(it.as_str()).map_err(failed).map(|found| found.is_some());
        if there(name)? || !there(was)? {
            return Ok(false);
        }
        let mut locks = Vec::new();
        for it in [was, name] {
            match self.try_lock(it) {
                Ok(lock) => locks.push(lock),
                Err(LockError::Held(_)) => return Ok(false),
                Err(LockError::Failed(failure)) => return Err(failure),
            }
        }
        certificates.rename(was.as_str(), name.as_str()).and_then(|()| certificates.sync()).map_err(failed)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use crate::ports::{Clock, Journal, Pending, Scope};
    use crate::state::StateRoot;
    use crate::types::{CertName, Seq, Timestamp};
    use std::rc::Rc;
    use std::time::Duration;

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(1_800_000_000)
        }

        fn sleep(&self, _: Duration) -> Pending<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[test]
    fn a_renamed_certificate_takes_its_lineage_along_once() {
        let dir = tempfile::tempdir().unwrap();
        let paths = crate::config::spec::Paths {
            state: dir.path().join("state"),
            live: dir.path().join("live"),
            run: dir.path().join("run"),
        };
        let state = StateRoot::open(&paths, Rc::new(Noon)).unwrap();
        let [old, new]: [CertName; 2] = ["old", "new"].map(|it| it.parse().unwrap());
        assert!(!state.adopt(&new, &old).unwrap(), "there is nothing to adopt");
        let event = [serde_json::json!({ "kind": "pre_done" })];
        state.append(&Scope::Certificate(old.clone()), Seq(0), Noon.now(), &event).unwrap();
        assert!(state.adopt(&new, &old).unwrap());
        assert_eq!(state.load(&Scope::Certificate(new.clone()), Seq(0)).unwrap().records.len(), 1);
        assert_eq!(state.load(&Scope::Certificate(old.clone()), Seq(0)).unwrap().records.len(), 0);
        state.append(&Scope::Certificate(old.clone()), Seq(0), Noon.now(), &event).unwrap();
        assert!(!state.adopt(&new, &old).unwrap(), "a lineage of its own is never replaced");
    }
}
