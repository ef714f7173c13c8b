//! Why a decision was taken: typed, so that tests assert it and `why NAME` prints what the code decided.

use super::budget::Full;
use super::event::Alert;
use super::hold::Fruitless;
use crate::types::{Epoch, Failure, GenId, NodeName, NotifierName, Printable, RequestId, Timestamp, Window, humane};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Why something is done now, or is waited for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// No certificate was ever accepted.
    First,
    /// Names, key, profile or issuer are not those of the certificate that is there.
    SpecChanged,
    /// A person asked.
    Asked {
        /// With which request.
        id: RequestId,
        /// Who.
        by: Printable,
    },
    /// The instant drawn from the CA's suggested window.
    Drawn {
        /// The window.
        window: Window,
    },
    /// The CA's window is wholly past: the certificate is recalled.
    Recalled {
        /// The window.
        window: Window,
    },
    /// No window is known: two thirds of the lifetime, or half of a short one.
    Fallback,
    /// The last instant at which an automatic renewal may begin.
    LastCall,
    /// Inside the window, and the drawn instant comes before the next run.
    AheadInWindow {
        /// The drawn instant.
        at: Timestamp,
    },
    /// The drawn instant comes before the next run, and no timer can be armed: the rate-limit exemption is lost.
    NoTimer {
        /// The drawn instant.
        at: Timestamp,
        /// Why not.
        failure: Printable,
    },
    /// The drawn instant comes before the next run: a timer wakes everleaf then.
    ArmTimer {
        /// The drawn instant.
        at: Timestamp,
    },
    /// An order is open and goes on.
    OrderOpen {
        /// How far it is.
        phase: &'static str,
    },
    /// The CA has not decided yet.
    CaWorking {
        /// How far the order is.
        phase: &'static str,
    },
    /// The specification changed under an open order.
    OrderOutdated,
    /// A crash came between the intent and the reply.
    ReplyLost,
    /// An order can go no further.
    OrderDead {
        /// Why.
        failure: Failure,
    },
    /// Waiting after a failure.
    Held {
        /// What failed.
        what: &'static str,
        /// How.
        failure: Printable,
        /// Whether the other side asked for the wait.
        demanded: bool,
    },
    /// The budget for automatic orders is used up, or for a forced one what the CA allows.
    Budget {
        /// Which part of it.
        full: Full,
    },
    /// Too many orders came to nothing within an hour.
    Fruitless,
    /// The CA as a whole fails.
    IssuerTrouble {
        /// How.
        failure: Printable,
        /// Whether it is well, and a limit of it stands in the way of all orders.
        limit: bool,
    },
    /// A node cannot be reached.
    NodeTrouble {
        /// Which.
        node: NodeName,
        /// How.
        failure: Printable,
    },
    /// What was issued can no longer be published.
    Lost {
        /// Which.
        generation: GenId,
    },
    /// The clock is not to be believed: no new orders, nothing pruned.
    ClockSuspect {
        /// Why not.
        why: String,
    },
    /// The ARI answer is old, or there is none.
    AriDue,
    /// Challenges are up that no order needs.
    LeftBehind,
    /// The `pre` hook ran and its order is over.
    PostOwed,
    /// What is published on a node is not what is wanted.
    NotDeployed {
        /// Where.
        node: NodeName,
        /// The wanted decision.
        epoch: Epoch,
    },
    /// Where or how it is published on a node was edited.
    PlacementEdited {
        /// Where.
        node: NodeName,
    },
    /// What lies on a node was changed by somebody else.
    Drifted {
        /// Where.
        node: NodeName,
    },
    /// A node's servers have not been told of what is published.
    NotReloaded {
        /// Where.
        node: NodeName,
    },
    /// A node was reloaded and still does not serve what it should.
    StillOld {
        /// Where.
        node: NodeName,
    },
    /// An endpoint was not yet seen on the wanted leaf since its node's last reload.
    NotProven {
        /// Where.
        endpoint: String,
    },
    /// Old workers may still answer.
    Draining {
        /// Where.
        endpoint: String,
    },
    /// A confirmed endpoint is looked at again.
    DriftLook {
        /// Where.
        endpoint: String,
    },
    /// Nodes before this one are not confirmed yet.
    Wave {
        /// Which waits.
        node: NodeName,
    },
    /// The nodes before these are through, and the roll-out pauses.
    Paused {
        /// Which wait.
        nodes: Vec<NodeName>,
    },
    /// More nodes failed than may: those that have not begun are held.
    Stopped {
        /// Which wait.
        nodes: Vec<NodeName>,
        /// Which failed.
        failed: Vec<NodeName>,
        /// How many may.
        most: usize,
    },
    /// The nodes that begin together are through, or have failed.
    WaveOver,
    /// Everything that is wanted is proven.
    Proven,
    /// Nothing is published on a node and its server needs something to start with.
    NothingPublished {
        /// Where.
        node: NodeName,
    },
    /// A broken node goes back to what it last served well.
    GoesBack {
        /// Where.
        node: NodeName,
        /// To which.
        generation: GenId,
    },
    /// People must hear of something, or of its end.
    News {
        /// Of what.
        alert: Alert,
    },
    /// A notifier failed.
    NotifierTrouble {
        /// Which.
        notifier: NotifierName,
    },
    /// No node serves it and newer ones are there.
    Superfluous,
    /// It is no longer configured.
    Unconfigured,
    /// It is configured again.
    ConfiguredAgain,
    /// Nothing to do: look again then.
    Routine,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("there is no certificate yet"),
            Self::SpecChanged => f.write_str("names, key, profile or issuer differ from the certificate that is there"),
            Self::Asked { by, .. } => write!(f, "{by} asked for it"),
            Self::Drawn { window } => write!(f, "drawn from the CA's window {} … {}", window.start, window.end),
            Self::Recalled { window } => {
                write!(f, "the CA's window {} … {} is past: it recalls the certificate", window.start, window.end)
            }
            Self::Fallback => f.write_str("no ARI window is known; two thirds of the lifetime (half of a short one)"),
            Self::LastCall => f.write_str("last call: no later renewal leaves room for trouble"),
            Self::AheadInWindow { at } => write!(f, "inside the CA's window, and {at} comes before the next run"),
            Self::NoTimer { at, failure } => write!(
                f,
                "{at} comes before the next run and no timer can be armed ({failure}): renewing now, without the rate-limit exemption"
            ),
            Self::ArmTimer { at } => write!(f, "{at} comes before the next run: a timer is armed for it"),
            Self::OrderOpen { phase } => write!(f, "the order is {phase}"),
            Self::CaWorking { phase } => write!(f, "the CA has not decided yet: the order is {phase}"),
            Self::OrderOutdated => f.write_str("the configuration changed while the order was open"),
            Self::ReplyLost => f.write_str("everleaf stopped between asking for an order and the reply"),
            Self::OrderDead { failure } => write!(f, "the order can go no further: {failure}"),
            Self::Held { what, failure, demanded } => {
                write!(
                    f,
                    "{what} failed ({failure}){}",
                    if *demanded { "; the other side asked for this wait" } else { "" }
                )
            }
            Self::Budget { full } => {
                write!(f, "the budget for automatic orders is used up ({full}); `renew --force` goes past it")
            }
            Self::Fruitless => {
                write!(f, "{} orders within an hour came to nothing, and no more than that are placed", Fruitless::MOST)
            }
            Self::IssuerTrouble { failure, limit: false } => write!(f, "the CA as a whole fails ({failure})"),
            Self::IssuerTrouble { failure, limit: true } => {
                write!(f, "the CA takes no order at all from here ({failure})")
            }
            Self::NodeTrouble { node, failure } => write!(f, "{node} cannot be reached ({failure})"),
            Self::ClockSuspect { why } => write!(f, "{why}; no new order until that is mended"),
            Self::Lost { generation } => write!(f, "{generation} is lost, here and where it was published"),
            Self::AriDue => f.write_str("the CA's suggested window is to be asked for"),
            Self::LeftBehind => f.write_str("challenges are up that no order needs"),
            Self::PostOwed => f.write_str("the pre hook ran and its order is over"),
            Self::NotDeployed { node, epoch } => write!(f, "{node} does not have epoch {epoch}"),
            Self::PlacementEdited { node } => write!(f, "where or how it is published on {node} was edited"),
            Self::Drifted { node } => write!(f, "what lies on node {node} is not what everleaf put there"),
            Self::NotReloaded { node } => write!(f, "{node} has new files and was not told"),
            Self::StillOld { node } => write!(f, "{node} was reloaded and still does not serve it"),
            Self::NotProven { endpoint } => write!(f, "{endpoint} was not seen serving it since the last reload"),
            Self::Draining { endpoint } => write!(f, "old workers of {endpoint} may still answer"),
            Self::DriftLook { endpoint } => write!(f, "{endpoint} is looked at again"),
            Self::Wave { .. } | Self::Paused { .. } | Self::Stopped { .. } | Self::WaveOver => self.wait_for_others(f),
            Self::Proven => f.write_str("every endpoint serves it"),
            Self::NothingPublished { node } => write!(f, "{node} has nothing to start with"),
            Self::GoesBack { node, generation } => write!(f, "{node} is broken and goes back to {generation}"),
            Self::News { alert } => write!(f, "people must hear of it ({alert:?})"),
            Self::NotifierTrouble { notifier } => write!(f, "{notifier} could not be reached"),
            Self::Superfluous => f.write_str("no node serves it and newer ones are there"),
            Self::Unconfigured => f.write_str("it is no longer in the configuration"),
            Self::ConfiguredAgain => f.write_str("it is in the configuration again"),
            Self::Routine => f.write_str("nothing to do until then"),
        }
    }
}

/// Nodes by name, as many as one reads.
pub(super) fn few(nodes: &[NodeName]) -> String {
    const READ: usize = 4;
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [most @ .., last] if names.len() <= READ => format!("{} and {last}", most.join(", ")),
        all => format!("{} and {} more", all[..READ].join(", "), all.len() - READ),
    }
}

const fn waits(nodes: &[NodeName]) -> &'static str {
    if nodes.len() == 1 { "waits" } else { "wait" }
}

impl Reason {
    /// What a node of a roll-out waits for.
    fn wait_for_others(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wave { node } => write!(f, "{node} waits for the nodes before it"),
            Self::Paused { nodes } => write!(f, "{} {} for the pause between waves", few(nodes), waits(nodes)),
            Self::Stopped { nodes, failed, most } => write!(
                f,
                "{} {}: the roll-out stopped because {} failed and max_failures is {most}",
                few(nodes),
                waits(nodes),
                few(failed)
            ),
            _ => f.write_str("the nodes that began together are through, or have failed"),
        }
    }

    /// The reason with how long it lasts, for people.
    #[must_use]
    pub fn with_wait(&self, wait: Duration) -> String {
        if wait.is_zero() { self.to_string() } else { format!("{self}; in {}", humane(wait)) }
    }
}
