//! Wakes everleaf at an instant when no process of it runs: a transient systemd timer.
//!
//! One-shot runs look ahead by their horizon; an instant that lies in it, but not yet now, gets its own timer, so that an ARI
//! window of a few hours is met although `run` is called once a day.

use crate::hook::Systemd;
use crate::ports::{Alarm, Pending};
use crate::types::{Class, Failure, Timestamp, sha256};

/// Where failures of arming are shown.
const PLACE: &str = "systemd timer";

/// Transient timers of this machine's systemd.
#[derive(Debug, Clone)]
pub struct SystemdAlarm {
    systemd: Systemd,
    command: Vec<String>,
    prefix: String,
}

impl SystemdAlarm {
    /// Starts `command` (program and arguments, such as `/usr/bin/everleaf run`) when an alarm goes off. Alarms of
    /// different commands do not touch each other.
    #[must_use]
    pub fn new(systemd: Systemd, command: Vec<String>) -> Self {
        let words: Vec<&[u8]> = command.iter().flat_map(|word| [word.as_bytes(), b"\0".as_slice()]).collect();
        let prefix = format!("everleaf-wake-{}-", sha256(&words).short());
        Self { systemd, command, prefix }
    }

    async fn arm_at(&self, at: Timestamp) -> Result<(), Failure> {
        if !self.systemd.is_running() {
            let message = "no wake-up can be armed: systemd is not this machine's init";
            return Err(Failure::new(Class::Operator, "alarm:no-systemd", PLACE, message)
                .advise("call `everleaf run` more often, or keep `everleaf daemon` running"));
        }
        let secs = whole_seconds(at);
        // The name holds the instant: a service that is running just now, perhaps this very process, is not in the way.
        let unit = format!("{}{secs}", self.prefix);
        let wanted = format!("{unit}.timer");
        let armed = self.systemd.timers(&self.prefix, PLACE).await?;
        if !armed.contains(&wanted) {
            self.systemd.at_calendar(&calendar(secs)?, &unit, &self.command, PLACE).await?;
        }
        // Only once the new one stands: a failure leaves the old one armed.
        for old in armed.iter().filter(|timer| **timer != wanted) {
            self.systemd.stop(old, PLACE).await?;
        }
        Ok(())
    }
}

impl Alarm for SystemdAlarm {
    fn arm(&self, at: Timestamp) -> Pending<'_, Result<(), Failure>> {
        Box::pin(self.arm_at(at))
    }
}

/// The first whole second that is not before `at`: an alarm that goes off early would find nothing due.
fn whole_seconds(at: Timestamp) -> i64 {
    at.as_secs() + i64::from(at.as_millis().rem_euclid(1000) > 0)
}

/// systemd.time(7)'s form of an instant.
fn calendar(secs: i64) -> Result<String, Failure> {
    let instant = jiff::Timestamp::from_second(secs)
        .map_err(|error| Failure::new(Class::Operator, "alarm:time", PLACE, error.to_string()))?;
    Ok(instant.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_early_and_in_systemd_s_form() {
        let at = Timestamp::from_millis(1_795_341_600_250);
        assert_eq!(calendar(whole_seconds(at)).expect("in range"), "2026-11-22 10:00:01 UTC");
        assert_eq!(whole_seconds(Timestamp::from_secs(7)), 7);
    }
}
