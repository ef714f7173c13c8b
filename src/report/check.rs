//! `check`: one line for Nagios and its descendants, with performance data; exit codes 0 to 3.

use super::page::ago;
use super::status::{CertificateStatus, Said, Snapshot};
use super::summary::failure;
use crate::core::outcome::Stage;
use crate::core::schedule::last_call;
use crate::types::{Timestamp, Window, humane};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How bad it is, in the plugins' terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// 0.
    Ok,
    /// 1.
    Warning,
    /// 3: between a warning and an alarm, so that an alarm known elsewhere is not hidden by it.
    Unknown,
    /// 2.
    Critical,
}

impl Level {
    /// The plugin's exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        })
    }
}

/// How much life must be left: a part of the lifetime, or a span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// A part of the lifetime, 0 to 1.
    Fraction(f64),
    /// A span.
    Span(Duration),
}

impl Threshold {
    /// Under a quarter of the life left.
    pub const WARNING: Self = Self::Fraction(0.25);
    /// Under a tenth of the life left.
    pub const CRITICAL: Self = Self::Fraction(0.10);

    fn of(self, validity: Window) -> Duration {
        match self {
            Self::Fraction(fraction) => validity.width().mul_f64(fraction),
            Self::Span(span) => span,
        }
    }
}

impl FromStr for Threshold {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither a part of the lifetime (20%) nor a span (14d, 36h)");
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            return if (0.0..=100.0).contains(&percent) { Ok(Self::Fraction(percent / 100.0)) } else { Err(wrong()) };
        }
        humantime::parse_duration(text).map(Self::Span).map_err(|_| wrong())
    }
}

/// What `check` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// How bad it is.
    pub level: Level,
    /// The first line without performance data.
    pub summary: String,
    /// The performance data.
    pub perfdata: String,
    /// Further lines, the worst first.
    pub lines: Vec<(Level, String)>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A bar in a message would end it and begin the performance data.
        write!(f, "EVERLEAF {} - {}", self.level, self.summary.replace('|', "/"))?;
        if !self.perfdata.is_empty() {
            write!(f, " | {}", self.perfdata)?;
        }
        for (level, line) in self.lines.iter().take(MAX_LINES) {
            write!(f, "\n{level}: {}", line.replace('|', "/"))?;
        }
        Ok(())
    }
}

/// Lines below the first: monitoring systems keep a few kilobytes.
const MAX_LINES: usize = 20;
/// Certificates with performance data of their own.
const MAX_PERFDATA: usize = 50;

/// What a snapshot comes to.
#[must_use]
pub fn check(snapshot: &Snapshot, warning: Threshold, critical: Threshold, now: Timestamp) -> Checked {
    let mut lines: Vec<(Level, String)> = run(snapshot, now).into_iter().collect();
    let current = snapshot.certificates.iter().filter(|it| it.stage != Stage::Retired);
    let certificates: Vec<&CertificateStatus> = current.collect();
    lines.extend(certificates.iter().flat_map(|certificate| judge(certificate, warning, critical, now)));
    lines.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    let level = lines.first().map_or(Level::Ok, |(level, _)| *level);
    let live = certificates.iter().filter(|it| matches!(it.stage, Stage::Live | Stage::Unproven)).count();
    let summary = match lines.first() {
        Some((_, worst)) => {
            let more = lines.len() - 1;
            if more == 0 { worst.clone() } else { format!("{worst} (and {more} more)") }
        }
        None => format!("{live} of {} certificates as they should be", certificates.len()),
    };
    if lines.len() == 1 {
        lines.clear();
    }
    Checked { level, summary, perfdata: perfdata(&certificates, live, warning, critical, now), lines }
}

/// What is said without a status file: nothing is known at first, and later that is an alarm.
#[must_use]
pub fn unknown(up: Option<Duration>, interval: Duration) -> Checked {
    let late = up.is_some_and(|up| up > interval * 2);
    let level = if late { Level::Critical } else { Level::Unknown };
    let summary = if late {
        format!(
            "no run has completed since boot, and one is expected every {}; is the timer enabled?",
            humane(interval)
        )
    } else {
        "no status file yet: nothing has run since boot".to_owned()
    };
    Checked { level, summary, perfdata: String::new(), lines: Vec::new() }
}

/// Whether runs come as they should.
fn run(snapshot: &Snapshot, now: Timestamp) -> Option<(Level, String)> {
    let (interval, ended) = match &snapshot.run {
        Some(run) => (Duration::from_secs(run.interval), run.ended),
        None => return Some((Level::Unknown, "no run has completed yet".to_owned())),
    };
    (now.since(ended) > interval * 2).then(|| {
        let (every, ended) = (humane(interval), ago(ended, now));
        let text = if snapshot.run.as_ref().is_some_and(|run| run.daemon) {
            format!(
                "the daemon was last at work {ended}, and is at least every {every}; does `everleaf daemon` still run?"
            )
        } else {
            format!("the last run ended {ended}, and one is expected every {every}; is the timer enabled?")
        };
        (Level::Critical, text)
    })
}

fn judge(
    certificate: &CertificateStatus,
    warning: Threshold,
    critical: Threshold,
    now: Timestamp,
) -> Vec<(Level, String)> {
    let name = &certificate.name;
    let why = certificate
        .troubles
        .first()
        .map_or_else(|| format!("{name}: {}", certificate.stage), |trouble| failure(name.as_str(), trouble, None));
    let mut found = Vec::new();
    match certificate.outcome {
        Said::Danger => found.push((Level::Critical, why)),
        Said::Operator if certificate.served.is_none() => found.push((Level::Critical, why)),
        Said::Operator | Said::DeployIncomplete => found.push((Level::Warning, why)),
        // Passing trouble and limits alarm nobody while there is life left: the thresholds below see to that.
        _ => {}
    }
    let Some(validity) = certificate.served else {
        if found.is_empty() && certificate.stage != Stage::Live {
            found.push((Level::Warning, format!("{name}: there is no certificate yet")));
        }
        return found;
    };
    let left = validity.end.since(now);
    let life = match () {
        () if validity.end <= now => Some((Level::Critical, format!("{name}: ended {}", ago(validity.end, now)))),
        () if left < critical.of(validity) => Some((Level::Critical, format!("{name}: ends in {}", humane(left)))),
        () if left < warning.of(validity) => Some((Level::Warning, format!("{name}: ends in {}", humane(left)))),
        () => None,
    };
    // One line a certificate and cause: what stands in the way says more than that time runs out.
    match life {
        Some((level, text)) if found.is_empty() => {
            let late = if now >= last_call(validity) { " and is past its last call" } else { "" };
            found.push((level, format!("{text}{late}")));
        }
        Some((level, _)) => found.iter_mut().for_each(|(had, _)| *had = (*had).max(level)),
        None => {}
    }
    found
}

fn perfdata(
    certificates: &[&CertificateStatus],
    live: usize,
    warning: Threshold,
    critical: Threshold,
    now: Timestamp,
) -> String {
    let mut data = vec![format!("certificates={}", certificates.len()), format!("live={live}")];
    let mut lives: Vec<(&CertificateStatus, Window)> =
        certificates.iter().filter_map(|it| Some((*it, it.served?))).collect();
    lives.sort_by_key(|(_, validity)| validity.end);
    for (certificate, validity) in lives.into_iter().take(MAX_PERFDATA) {
        let left = validity.end.since(now).as_secs();
        let warn = warning.of(validity).as_secs();
        let crit = critical.of(validity).as_secs();
        // "@" is not needed: a range N: alarms below N.
        data.push(format!("'{}'={left}s;{warn}:;{crit}:;0;{}", certificate.name, validity.width().as_secs()));
    }
    data.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::status::samples;
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn checked(snapshot: &Snapshot, now: Timestamp) -> Checked {
        check(snapshot, Threshold::WARNING, Threshold::CRITICAL, now)
    }

    #[test]
    fn thresholds_are_parts_or_spans() {
        assert_eq!("20%".parse(), Ok(Threshold::Fraction(0.2)));
        assert_eq!("14d".parse(), Ok(Threshold::Span(DAY * 14)));
        for bad in ["", "20", "-1%", "101%", "x%", "soon"] {
            assert!(bad.parse::<Threshold>().is_err(), "{bad}");
        }
    }

    #[test]
    fn all_is_well() {
        let mut snapshot = samples::snapshot();
        snapshot.certificates = vec![samples::live("shop")];
        let said = checked(&snapshot, samples::now());
        let width = 90 * 86_400;
        let expected = format!(
            "EVERLEAF OK - 1 of 1 certificates as they should be | certificates=1 live=1 'shop'={}s;{}:;{}:;0;{width}",
            80 * 86_400,
            width / 4,
            width / 10
        );
        assert_eq!(said.to_string(), expected);
        assert_eq!(said.level.exit_code(), 0);
    }

    #[test]
    fn not_served_everywhere_warns_with_the_place() {
        let said = checked(&samples::snapshot(), samples::now());
        assert_eq!(said.level, Level::Warning);
        assert!(said.summary.starts_with("api: 10.0.0.2:443 (api.example.com): still serves"), "{said}");
    }

    #[test]
    fn a_run_that_does_not_come_is_critical_after_twice_its_interval() {
        let mut snapshot = samples::snapshot();
        snapshot.certificates.clear();
        let ended = snapshot.run.as_ref().expect("a run").ended;
        assert_eq!(checked(&snapshot, ended + Duration::from_secs(7_200)).level, Level::Ok);
        assert_eq!(checked(&snapshot, ended + Duration::from_secs(7_201)).level, Level::Critical);
    }

    #[test]
    fn a_daemon_that_went_away_is_named() {
        let mut snapshot = samples::snapshot();
        snapshot.certificates.clear();
        let run = snapshot.run.take().expect("a run");
        let ended = run.ended;
        snapshot.run = Some(super::super::RunStatus { daemon: true, ..run });
        let said = checked(&snapshot, ended + Duration::from_secs(7_201));
        assert!(said.level == Level::Critical && said.summary.contains("`everleaf daemon`"), "{said}");
    }

    #[test]
    fn life_that_runs_out_warns_and_then_alarms() {
        let mut snapshot = samples::snapshot();
        snapshot.run = None;
        snapshot.certificates = vec![samples::live("shop")];
        let at = |days: u64| {
            let mut snapshot = snapshot.clone();
            let now = samples::now() + DAY * u32::try_from(days).expect("small");
            snapshot.run = samples::snapshot().run.map(|run| super::super::RunStatus { ended: now, ..run });
            checked(&snapshot, now)
        };
        assert_eq!(at(57).level, Level::Ok);
        assert_eq!(at(58).level, Level::Warning);
        assert_eq!(at(72).level, Level::Critical);
        assert!(at(81).summary.contains("ended 1d ago"), "{}", at(81));
        let spans = check(&snapshot, Threshold::Span(DAY * 90), Threshold::Span(DAY), samples::now());
        assert_eq!(spans.lines.iter().filter(|(level, _)| *level == Level::Warning).count(), 1, "{spans}");
    }

    #[test]
    fn without_a_status_file_it_is_unknown_until_twice_the_interval_after_boot() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(unknown(Some(hour * 2), hour).level, Level::Unknown);
        assert_eq!(unknown(Some(hour * 2 + DAY), hour).level, Level::Critical);
        assert_eq!(unknown(None, hour).level, Level::Unknown);
    }

    #[test]
    fn a_bar_in_a_message_does_not_become_performance_data() {
        let mut snapshot = samples::snapshot();
        snapshot.certificates[0].troubles[0].message = "a | b".into();
        assert_eq!(checked(&snapshot, samples::now()).to_string().matches('|').count(), 1);
    }
}
