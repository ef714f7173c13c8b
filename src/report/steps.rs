//! `plan`: what a run would do now.

use super::line::doing;
use super::page::{Page, Paint, clock, in_time};
use crate::core::{Plan, Reason, Work};
use crate::types::{CertName, Timestamp};
use serde::Serialize;

/// What a run would do for one certificate. Schema `everleaf.plan/1`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedCertificate {
    /// Its name.
    pub name: CertName,
    /// What would begin now.
    pub steps: Vec<PlannedStep>,
    /// When it would be looked at again.
    pub wake: Option<Timestamp>,
    /// Why then.
    pub why: Option<String>,
    /// Which nodes wait for others, and why.
    pub waits: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedStep {
    /// A stable word.
    pub effect: &'static str,
    /// What is done.
    pub what: String,
    /// Why.
    pub why: String,
}

/// A plan for people and scripts.
#[must_use]
pub fn planned(name: &CertName, plan: &Plan) -> PlannedCertificate {
    let steps = plan.steps.iter().map(|step| {
        let work = Work { parts: vec![(name.clone(), step.clone())] };
        let what = doing(&work).and_then(|text| Some(text.split_once(": ")?.1.to_owned()));
        let what = what.unwrap_or_else(|| "writing a decision down".to_owned());
        PlannedStep { effect: step.effect.name(), what, why: step.why.to_string() }
    });
    let wake = plan.wakes.iter().find(|wake| wake.why != Reason::Routine);
    let for_others = |why: &&Reason| matches!(why, Reason::Paused { .. } | Reason::Stopped { .. });
    let waits = plan.wakes.iter().map(|wake| &wake.why).filter(for_others).map(ToString::to_string);
    PlannedCertificate {
        name: name.clone(),
        waits: waits.collect(),
        steps: steps.collect(),
        wake: wake.map(|wake| wake.at),
        why: wake.map(|wake| wake.why.to_string()),
    }
}

/// Plans on a page.
#[must_use]
pub fn steps(plans: &[PlannedCertificate], now: Timestamp, width: usize, paint: Paint) -> String {
    let mut page = Page::new(width, paint);
    for plan in plans {
        page.line(&paint.head(plan.name.as_str()));
        for step in &plan.steps {
            page.hang("  now   ", &format!("{}: {}", step.what, step.why));
        }
        match (&plan.wake, &plan.why) {
            (Some(at), Some(why)) => page.hang("  then  ", &format!("{} ({}): {why}", in_time(*at, now), clock(*at))),
            _ if plan.steps.is_empty() => page.line("  nothing to do"),
            _ => {}
        }
        for wait in plan.waits.iter().filter(|wait| plan.why.as_ref() != Some(*wait)) {
            page.hang("  held  ", wait);
        }
    }
    if plans.is_empty() {
        page.line("no certificates are configured");
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::KeyAlgorithm;
    use crate::core::budget::{Full, What};
    use crate::core::{Effect, Slot, Step, Wake, WakeKind};

    #[test]
    fn a_plan_says_what_why_and_when() {
        let now = Timestamp::from_secs(1_795_341_600);
        let step = Step {
            slot: Slot::Issue,
            effect: Effect::MakeKey { algorithm: KeyAlgorithm::EcdsaP256 },
            why: Reason::First,
        };
        let at = now + std::time::Duration::from_secs(60);
        let full = Full { until: at, what: What::Set, count: 3, per_secs: 7 * 86_400 };
        let wake = Wake { at, kind: WakeKind::Hold, why: Reason::Budget { full }, firm: None };
        let routine = Wake { at: now, kind: WakeKind::Schedule, why: Reason::Routine, firm: None };
        let plan = planned(&"shop".parse().expect("name"), &Plan { steps: vec![step], wakes: vec![routine, wake] });
        let text = steps(&[plan], now, 80, Paint { colour: false });
        assert_eq!(
            text,
            "shop\n  now   making a key: there is no certificate yet\n  then  in 1m (2026-11-22 10:01 UTC): the budget for automatic orders is used up\n        (3 certificates for exactly these names in 7d); `renew --force` goes\n        past it\n"
        );
    }
}
