//! An open order, as far as the journal knows it.

use super::hold::Trouble;
use crate::ports::Proof;
use crate::types::{Attempt, Failure, GenId, Identifier, IssuerName, KeyId, SpecDigest, Timestamp};
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
            ["acme:foreignIdentifiers", "acme:unreadable", "net:closed", "net:timeout", "net:tooLarge", "net:url"];
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
