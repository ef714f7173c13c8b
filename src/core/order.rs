//! An open order, as far as the journal knows it, and what its events make of the ledger.

use super::event::{Entry, Event};
use super::hold::Trouble;
use super::ledger::{Applied, Gate, Held, Ledger};
use super::want::Aim;
use crate::ports::{About, Proof, Violation};
use crate::types::{
    Attempt, Class, Epoch, Failure, GenId, Identifier, IssuerName, KeyId, Printable, SpecDigest, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An open order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub attempt: Attempt,
    /// The key it is for.
    pub key: KeyId,
    /// Where.
    pub issuer: IssuerName,
    /// The directory's URL.
    pub directory: String,
    /// What it is for.
    pub spec_digest: SpecDigest,
    /// Its identifiers.
    pub names: Vec<Identifier>,
    /// When it was intended.
    pub intended_at: Timestamp,
    /// Whether an ARI window that began before the certificate itself called for it.
    #[serde(default)]
    pub early_window: bool,
    /// Whether somebody asked for it and the schedule did not.
    #[serde(default)]
    pub forced: bool,
    /// The CA's name for it, once a reply was seen.
    pub opened: Option<OpenedOrder>,
    /// How far it is.
    pub phase: Phase,
    /// Since when.
    pub entered_at: Timestamp,
    /// When it was last looked at without change.
    pub looked_at: Option<Timestamp>,
    /// When to look at it again.
    pub look_at: Option<Timestamp>,
    /// How often it was looked at without change.
    pub looks: u32,
    /// Trouble with its current step.
    #[serde(default)]
    pub step: Trouble,
}

/// What the CA said when it opened an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedOrder {
    /// Its URL.
    pub url: String,
    /// The account that owns it.
    pub account: String,
    /// When the CA gives it up.
    pub expires: Option<Timestamp>,
}

/// How far an order is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Intended; no reply seen.
    Intended,
    /// Opened; its authorizations are not known.
    Opened,
    /// These challenges are to be met.
    Offered {
        /// One an identifier.
        proofs: Vec<Proof>,
    },
    /// They are about to be put up.
    PuttingUp {
        /// One an identifier.
        proofs: Vec<Proof>,
    },
    /// They can be seen.
    Up {
        /// One an identifier.
        proofs: Vec<Proof>,
    },
    /// The CA was told to look.
    Answered {
        /// One an identifier.
        proofs: Vec<Proof>,
    },
    /// All authorizations are valid.
    Ready,
    /// A CSR is about to be submitted, or was and the reply was lost.
    CsrIntended,
    /// The CA has the CSR.
    Submitted,
    /// The certificate can be fetched.
    Valid,
    /// The certificate is stored aside.
    Staged {
        /// As which generation.
        generation: GenId,
    },
}

/// Between telling the CA something and the first look at what came of it.
const FIRST_LOOK: Duration = Duration::from_millis(100);

impl Order {
    /// Whether a certificate may have come of it: a CSR was about to be sent.
    pub(super) const fn may_have_issued(&self) -> bool {
        matches!(self.phase, Phase::CsrIntended | Phase::Submitted | Phase::Valid | Phase::Staged { .. })
    }

    /// Whether the CA may have it: not when newOrder was refused, or never got there.
    pub(super) fn was_placed(&self, failure: &Failure) -> bool {
        const UNSURE: [&str; 6] =
            ["acme:badUrl", "acme:foreignIdentifiers", "acme:unreadable", "net:closed", "net:timeout", "net:tooLarge"];
        self.phase != Phase::Intended || UNSURE.contains(&failure.code.as_str())
    }

    pub(super) fn enter(&mut self, phase: Phase, at: Timestamp) {
        self.phase = phase;
        self.entered_at = at;
        self.looked_at = None;
        // A look made before the CA can have done anything costs a whole Retry-After.
        self.look_at = self.phase.waits_for_ca().then_some(at + FIRST_LOOK);
        self.looks = 0;
        self.step.clear();
    }

    /// Putting up is repeated after a failure: the count of failures must outlive the repetition.
    pub(super) fn put_up(&mut self, proofs: &[Proof], at: Timestamp) {
        self.again(Phase::PuttingUp { proofs: proofs.to_vec() }, at);
    }

    /// A CSR that failed is looked after before it is sent again: an order that is merely ready still is no progress.
    pub(super) fn ready(&mut self, at: Timestamp) {
        if self.phase == Phase::CsrIntended { self.again(Phase::Ready, at) } else { self.enter(Phase::Ready, at) }
    }

    /// Enters a phase that belongs to a repetition: trouble with the step goes on.
    pub(super) fn again(&mut self, phase: Phase, at: Timestamp) {
        let step = std::mem::take(&mut self.step);
        self.enter(phase, at);
        self.step = step;
    }

    /// A poll made too early costs a whole Retry-After, so the CA's wish is a minimum; wait a little longer each time anyway,
    /// for a wish of nothing would be a loop.
    pub(super) fn look_again(&mut self, at: Timestamp, retry_after: Option<u64>) {
        const LONGEST: Duration = Duration::from_secs(5);
        let own = (FIRST_LOOK * (1 << self.looks.min(6))).min(LONGEST);
        self.looks = self.looks.saturating_add(1);
        self.looked_at = Some(at);
        self.look_at = Some(at + retry_after.map_or(own, Duration::from_millis).max(own));
        self.step.clear();
    }
}

impl Phase {
    /// The challenges of this phase.
    #[must_use]
    pub fn proofs(&self) -> &[Proof] {
        match self {
            Self::Offered { proofs } | Self::PuttingUp { proofs } | Self::Up { proofs } | Self::Answered { proofs } => {
                proofs
            }
            _ => &[],
        }
    }

    /// Whether the next word is the CA's.
    #[must_use]
    pub const fn waits_for_ca(&self) -> bool {
        matches!(self, Self::Answered { .. } | Self::Submitted)
    }

    /// The phase, for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Opened => "opened",
            Self::Offered { .. } => "waiting for challenges to be put up",
            Self::PuttingUp { .. } => "putting challenges up",
            Self::Up { .. } => "ready to be validated",
            Self::Answered { .. } => "being validated",
            Self::Ready => "ready",
            Self::CsrIntended => "submitting its CSR",
            Self::Submitted => "processing",
            Self::Valid => "valid",
            Self::Staged { .. } => "downloaded",
        }
    }
}

impl Ledger {
    /// Replays what happened to an order; what did not is the roll-out's.
    pub(super) fn apply_order_event(&mut self, entry: &Entry<Event>) -> Applied {
        let at = entry.at;
        match &entry.event {
            Event::OrderIntended { .. } => return self.intend_order(entry),
            Event::OrderOpened { attempt, url, account, expires, ready } => {
                let order = self.order_in("OrderOpened", *attempt, |phase| *phase == Phase::Intended)?;
                order.opened = Some(OpenedOrder { url: url.clone(), account: account.clone(), expires: *expires });
                order.enter(if *ready { Phase::Ready } else { Phase::Opened }, at);
            }
            Event::ChallengesOffered { attempt, proofs } => {
                let order = self.order_in("ChallengesOffered", *attempt, |phase| *phase == Phase::Opened)?;
                order.enter(Phase::Offered { proofs: proofs.clone() }, at);
            }
            Event::ChallengesIntended { attempt, proofs } => {
                let known = |phase: &Phase| matches!(phase, Phase::Offered { .. } | Phase::PuttingUp { .. });
                self.order_in("ChallengesIntended", *attempt, known)?.put_up(proofs, at);
                self.left_up.insert(*attempt, proofs.clone());
            }
            Event::ChallengesUp { attempt, .. } => {
                let putting_up = |phase: &Phase| matches!(phase, Phase::PuttingUp { .. });
                let order = self.order_in("ChallengesUp", *attempt, putting_up)?;
                let proofs = order.phase.proofs().to_vec();
                order.enter(Phase::Up { proofs }, at);
            }
            Event::ChallengesAnswered { attempt } => {
                let order = self.order_in("ChallengesAnswered", *attempt, |phase| matches!(phase, Phase::Up { .. }))?;
                let proofs = order.phase.proofs().to_vec();
                order.enter(Phase::Answered { proofs }, at);
            }
            Event::OrderReady { attempt } => {
                let early = |phase: &Phase| !matches!(phase, Phase::Intended | Phase::Staged { .. });
                self.order_in("OrderReady", *attempt, early)?.ready(at);
            }
            Event::CsrIntended { attempt } => {
                let ready = |phase: &Phase| matches!(phase, Phase::Ready | Phase::CsrIntended);
                self.order_in("CsrIntended", *attempt, ready)?.again(Phase::CsrIntended, at);
            }
            Event::CsrSubmitted { attempt } => {
                let sent = |phase: &Phase| *phase == Phase::CsrIntended;
                self.order_in("CsrSubmitted", *attempt, sent)?.enter(Phase::Submitted, at);
            }
            Event::OrderPending { attempt, retry_after } => {
                self.order_in("OrderPending", *attempt, |_| true)?.look_again(at, *retry_after);
            }
            Event::OrderValid { attempt } => {
                self.order_in("OrderValid", *attempt, |phase| *phase != Phase::Intended)?.enter(Phase::Valid, at);
            }
            Event::ChainStaged { attempt, about } => return self.stage(*attempt, about, at),
            Event::Accepted { generation, epoch, notes } => return self.accept(*generation, *epoch, notes, at),
            Event::Rejected { generation, violations } => return self.reject(*generation, violations, at),
            Event::StepFailed { attempt, failure } => {
                self.order_in("StepFailed", *attempt, |_| true)?.step.step(at, failure);
            }
            Event::OrderFailed { attempt, failure } => {
                let order = self.order_in("OrderFailed", *attempt, |_| true)?;
                let placed = order.was_placed(failure).then_some(order.intended_at);
                if let Some(placed) = placed {
                    self.fruitless.add(placed);
                }
                self.unspent = placed.is_none();
                self.order = None;
                self.issue.attempt(at, failure);
            }
            Event::OrderAbandoned { attempt, lost, why } => return self.abandon(*attempt, *lost, why, at),
            _ => return self.apply_rollout_event(entry),
        }
        Ok(())
    }

    fn intend_order(&mut self, entry: &Entry<Event>) -> Applied {
        let Event::OrderIntended {
            attempt,
            key,
            issuer,
            directory,
            spec_digest,
            names,
            asked,
            early_window,
            settings,
            ..
        } = &entry.event
        else {
            return Ok(());
        };
        if let Some(open) = &self.order {
            return Err(("OrderIntended", format!("order {} is open", open.attempt)));
        }
        if *attempt <= self.attempts {
            return Err(("OrderIntended", format!("attempt {attempt} was made before")));
        }
        if let Some(id) = asked {
            self.settle(id);
            // Twenty people who ask at once want one order, also when it comes to nothing.
            self.settle_forces();
        }
        self.attempts = *attempt;
        self.unspent = false;
        let owed = self.owed.take();
        (self.attempted, self.attempted_with) = (Some(*spec_digest), *settings);
        self.order = Some(Order {
            attempt: *attempt,
            key: *key,
            issuer: issuer.clone(),
            directory: directory.clone(),
            spec_digest: *spec_digest,
            names: names.clone(),
            intended_at: entry.at,
            early_window: *early_window,
            forced: asked.is_some() || owed.is_some(),
            opened: None,
            phase: Phase::Intended,
            entered_at: entry.at,
            looked_at: None,
            look_at: None,
            looks: 0,
            step: Trouble::default(),
        });
        Ok(())
    }

    fn stage(&mut self, attempt: Attempt, about: &About, at: Timestamp) -> Applied {
        let order = self.order_in("ChainStaged", attempt, |phase| *phase == Phase::Valid)?;
        let early_window = order.early_window;
        order.enter(Phase::Staged { generation: about.generation }, at);
        self.last_number = self.last_number.max(about.generation.number());
        self.spare_keys.remove(&about.key);
        self.generations.insert(about.generation, Held { about: about.clone(), gate: Gate::Pending, early_window });
        Ok(())
    }

    fn accept(&mut self, generation: GenId, epoch: Epoch, notes: &[Printable], at: Timestamp) -> Applied {
        if epoch <= self.epoch {
            return Err(("Accepted", format!("epoch {epoch} is not above {}", self.epoch)));
        }
        let held = self.pending("Accepted", generation)?;
        held.gate = Gate::Accepted { notes: notes.to_vec(), at };
        self.order = None;
        self.issue.clear();
        self.fruitless.clear();
        self.settle_forces();
        self.aim(None, Aim { epoch, generation, rollback: false, at, why: "newly issued".into() });
        Ok(())
    }

    fn reject(&mut self, generation: GenId, violations: &[Violation], at: Timestamp) -> Applied {
        self.pending("Rejected", generation)?.gate = Gate::Rejected { violations: violations.to_vec() };
        if let Some(order) = self.order.take() {
            self.fruitless.add(order.intended_at);
        }
        let all: Vec<&str> = violations.iter().map(|violation| violation.message.as_str()).collect();
        let message = format!("the CA's certificate did not pass the gate and is not published: {}", all.join("; "));
        let mut failure = Failure::new(Class::Operator, "gate:rejected", format!("generation {generation}"), message)
            .advise("what is published stays; `everleaf renew` once the CA is right again");
        for violation in violations {
            failure = failure.detail(format!("{}: {}", violation.code, violation.message));
        }
        self.issue.attempt(at, &failure);
        Ok(())
    }

    fn abandon(&mut self, attempt: Attempt, lost: bool, why: &Printable, at: Timestamp) -> Applied {
        let order = self.order_in("OrderAbandoned", attempt, |_| true)?;
        let (placed, forced) = (order.intended_at, order.forced);
        self.order = None;
        if lost {
            self.fruitless.add(placed);
            self.owed = forced.then_some(attempt);
            // The first lost reply is tried again at once: it costs one unused order. A second one is a pattern, which waits as
            // steps do: whoever is killed at work three times has not met a CA that refuses.
            let failure = Failure::new(Class::Retry, "acme:replyLost", "newOrder", why.as_str());
            if self.issue.failures == 0 { self.issue.note(at, &failure) } else { self.issue.step(at, &failure) }
        }
        Ok(())
    }

    fn pending(&mut self, event: &'static str, generation: GenId) -> Result<&mut Held, (&'static str, String)> {
        match self.generations.get_mut(&generation) {
            Some(held) if held.gate == Gate::Pending => Ok(held),
            Some(_) => Err((event, format!("generation {generation} was judged before"))),
            None => Err((event, format!("generation {generation} is not known"))),
        }
    }

    fn order_in(
        &mut self,
        event: &'static str,
        attempt: Attempt,
        allowed: impl Fn(&Phase) -> bool,
    ) -> Result<&mut Order, (&'static str, String)> {
        let Some(order) = &mut self.order else { return Err((event, "no order is open".into())) };
        if order.attempt != attempt || !allowed(&order.phase) {
            return Err((event, format!("order {} is {}", order.attempt, order.phase.name())));
        }
        Ok(order)
    }
}
