//! Labels for people and exit codes for scripts. No effect depends on anything here.

use super::hold::Trouble;
use super::ledger::{Facts, Phase};
use super::plan::{Horizon, Plan, View, WakeKind};
use super::reason::Reason;
use super::shared::Shared;
use super::{issue, rollout, upkeep, waves};
use crate::config::spec::{Confirm, Spec};
use crate::types::{CertName, Class, Failure, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// Where a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing was ever issued and nothing is under way.
    Missing,
    /// An order is open.
    Ordering,
    /// Its challenges are being met.
    Validating,
    /// The CA is issuing.
    Issuing,
    /// Downloaded, before the gate.
    Judging,
    /// Not yet published everywhere.
    Deploying,
    /// Published; not every server was told.
    Reloading,
    /// Not yet seen everywhere.
    Confirming,
    /// Every endpoint serves it.
    Live,
    /// Published and reloaded; nothing was asked to prove it.
    Unproven,
    /// No longer configured.
    Retired,
}

impl Stage {
    /// Whether a roll-out is under way or stuck.
    #[must_use]
    pub const fn is_unfinished(self) -> bool {
        matches!(self, Self::Deploying | Self::Reloading | Self::Confirming)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Missing => "missing",
            Self::Ordering => "ordering",
            Self::Validating => "validating",
            Self::Issuing => "issuing",
            Self::Judging => "judging",
            Self::Deploying => "deploying",
            Self::Reloading => "reloading",
            Self::Confirming => "confirming",
            Self::Live => "live",
            Self::Unproven => "installed, unproven",
            Self::Retired => "retired",
        })
    }
}

/// What a run came to for one certificate: its part of the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every endpoint serves it, or it is installed with `confirm: none`, and nothing is amiss.
    Fine,
    /// Something failed in passing; state is kept and it is tried again. 75.
    Temporary,
    /// The CA's limit or our budget: a wait is stored. 21.
    CaLimit,
    /// Not everywhere. 20.
    DeployIncomplete,
    /// A person is needed. 1.
    Operator,
    /// Any of these while the certificate is in danger. 11.
    Danger,
}

impl Outcome {
    /// The exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Temporary => 75,
            Self::CaLimit => 21,
            Self::DeployIncomplete => 20,
            Self::Operator => 1,
            Self::Danger => 11,
        }
    }
}

/// A certificate's state in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    /// Where it stands.
    pub stage: Stage,
    /// What that means for an exit code.
    pub outcome: Outcome,
    /// What stands in the way, the worst first.
    pub troubles: Vec<Failure>,
}

impl Standing {
    /// Whether it is this machine, its files or its clock, that has to be mended: only a look shows whether it was.
    #[must_use]
    pub fn is_mended_here(&self) -> bool {
        self.outcome == Outcome::DeployIncomplete || self.troubles.iter().any(Failure::is_mended_here)
    }
}

/// Where the certificate `name` stands.
#[must_use]
pub fn standing(spec: &Spec, name: &CertName, facts: &Facts, shared: &Shared, plan: &Plan, now: Timestamp) -> Standing {
    let certificate = spec.certificates.get(name);
    let Some((certificate, issuer)) = certificate.and_then(|it| Some((it, spec.issuers.get(&it.issuer)?))) else {
        return Standing { stage: Stage::Retired, outcome: Outcome::Fine, troubles: Vec::new() };
    };
    let horizon = Horizon { span: Duration::ZERO, issue: true, began: None };
    let view = View { spec, certificate, issuer, facts, shared, now, horizon };
    let stage = stage(&view);
    let troubles = troubles(&view, plan);
    // An order that outlives a run waits for the CA: the next run goes on with it.
    let waiting = facts.ledger.order.as_ref().map(|_| Outcome::Temporary);
    let found = troubles.iter().map(|(outcome, _)| *outcome);
    let worst = found.chain(incomplete(&view, stage)).chain(limit(plan)).chain(waiting).max();
    let outcome = match worst {
        None => Outcome::Fine,
        Some(_) if upkeep::danger(&view).is_some() => Outcome::Danger,
        Some(worst) => worst,
    };
    Standing { stage, outcome, troubles: troubles.into_iter().map(|(_, failure)| failure).collect() }
}

fn stage(view: &View<'_>) -> Stage {
    let ledger = view.ledger();
    if let Some(order) = &ledger.order {
        return match order.phase {
            Phase::Intended | Phase::Opened => Stage::Ordering,
            Phase::Offered { .. } | Phase::PuttingUp { .. } | Phase::Up { .. } | Phase::Answered { .. } => {
                Stage::Validating
            }
            Phase::Ready | Phase::CsrIntended | Phase::Submitted | Phase::Valid => Stage::Issuing,
            Phase::Staged { .. } => Stage::Judging,
        };
    }
    let Some(want) = &ledger.want else { return Stage::Missing };
    if !view.certificate.nodes.iter().all(|node| rollout::published(view, node, want.on(node))) {
        return Stage::Deploying;
    }
    match view.certificate.confirm {
        _ if !rollout::installed(view) => Stage::Reloading,
        Confirm::None => Stage::Unproven,
        Confirm::Handshakes(_) if rollout::live(view) => Stage::Live,
        Confirm::Handshakes(_) => Stage::Confirming,
    }
}

fn troubles(view: &View<'_>, plan: &Plan) -> Vec<(Outcome, Failure)> {
    let ledger = view.ledger();
    let own = Some(&ledger.issue).filter(|_| issue::matters(view));
    let issuing = [own, ledger.order.as_ref().map(|order| &order.step)];
    let shared = view.shared.issuers.get(&view.issuer.name).map(|facts| &facts.trouble);
    // A CA in trouble is trouble of those alone that want something of it now.
    let mine = |_: &&Trouble| plan.wakes.iter().any(|wake| matches!(wake.why, Reason::IssuerTrouble { .. }));
    // The caution after a rebuilt journal is trouble where it keeps something from being done, and a notice elsewhere.
    let held = plan.wakes.iter().any(|wake| matches!(wake.why, Reason::Held { .. }));
    let issuing = issuing.into_iter().flatten();
    let issuing =
        issuing.filter(|trouble| held || trouble.last.as_ref().is_none_or(|last| last.code != "state:rebuilt"));
    let mut found: Vec<(Outcome, Failure)> = issuing.filter_map(issue_trouble).collect();
    found.extend(shared.filter(mine).and_then(issue_trouble));
    found.extend(plan.wakes.iter().find_map(|wake| doubted(view, &wake.why)).map(|it| (Outcome::Operator, it)));
    found.extend([&ledger.cleanup, &ledger.post].into_iter().filter_map(issue_trouble));
    for node in &view.certificate.nodes {
        let here = rollout::troubles(view, node).filter_map(|trouble| trouble.last.clone());
        found.extend(here.map(|failure| (Outcome::DeployIncomplete, failure)));
    }
    found.extend(rollout::put_back(view).map(|(_, failure)| (Outcome::DeployIncomplete, failure)));
    found.extend(waves::stopped(view).map(|failure| (Outcome::DeployIncomplete, failure)));
    found.sort_by_key(|(outcome, _)| std::cmp::Reverse(*outcome));
    // What an order met and what its CA as a whole met may be one and the same.
    let mut said = BTreeSet::new();
    found.retain(|(_, it)| said.insert((it.code.clone(), it.place.clone(), it.message.clone())));
    found
}

/// A clock that is not believed, and what to do about it.
fn doubted(view: &View<'_>, why: &Reason) -> Option<Failure> {
    let Reason::ClockSuspect { why } = why else { return None };
    let name = &view.certificate.name;
    let advice = format!(
        "compare `date -u` with another clock and set this one (timedatectl, chronyc tracking); if it is right, the next \
         run that reaches the CA goes on by itself, and `everleaf renew {name} --force --yes` does not wait for that"
    );
    let message = format!("{why}, so nothing is ordered and nothing removed; what is published stays");
    Some(Failure::new(Class::Operator, "clock:suspect", "this machine's clock", message).advise(advice))
}

fn issue_trouble(trouble: &Trouble) -> Option<(Outcome, Failure)> {
    let failure = trouble.last.clone()?;
    let outcome = match failure.class {
        Class::Operator | Class::Spec => Outcome::Operator,
        Class::HoldUntil => Outcome::CaLimit,
        Class::Retry => Outcome::Temporary,
    };
    Some((outcome, failure))
}

fn incomplete(view: &View<'_>, stage: Stage) -> Option<Outcome> {
    // While an order is open the roll-out of what is there may be incomplete all the same.
    let behind =
        view.ledger().want.is_some() && !rollout::live(view) && !matches!(view.certificate.confirm, Confirm::None);
    (stage.is_unfinished() || behind).then_some(Outcome::DeployIncomplete)
}

fn limit(plan: &Plan) -> Option<Outcome> {
    let held = plan.wakes.iter().filter(|wake| wake.kind == WakeKind::Hold);
    held.map(|wake| &wake.why).find_map(|why| match why {
        Reason::Budget { .. } | Reason::Held { demanded: true, .. } => Some(Outcome::CaLimit),
        Reason::ClockSuspect { .. } => Some(Outcome::Operator),
        _ => None,
    })
}
