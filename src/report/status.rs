//! The status file: what a run leaves for everybody to read. Schema `everleaf.status/1`.
//!
//! Fields are only ever added, each with a default, so that a newer reader understands an older file.

use crate::core::outcome::{Outcome, Stage};
use crate::ports::Shown;
use crate::types::{
    Attempt, CertName, Epoch, Failure, Fingerprint, GenId, Identifier, IssuerName, NodeName, Printable, Serial,
    Timestamp, Window,
};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The schema's name and version.
pub const SCHEMA: &str = "everleaf.status/1";

/// Everything that is known, without secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version that wrote it.
    pub version: Printable,
    /// The machine it was written on.
    pub host: Printable,
    /// When it was written.
    pub written: Timestamp,
    /// The last `run` that came to its end; `None` when only single commands ran so far.
    #[serde(default)]
    pub run: Option<RunStatus>,
    /// The certificates, by name.
    pub certificates: Vec<CertificateStatus>,
}

impl Snapshot {
    /// The certificate called `name`.
    #[must_use]
    pub fn certificate(&self, name: &CertName) -> Option<&CertificateStatus> {
        self.certificates.iter().find(|certificate| certificate.name == *name)
    }
}

/// A `run` that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Its exit code.
    pub exit: u8,
    /// How often runs come, in seconds: as configured, as learned, or a day.
    pub interval: u64,
    /// The last starts, the newest last: what the interval is learned from.
    #[serde(default)]
    pub starts: Vec<Timestamp>,
    /// Whether a daemon's pass, of which there is one an hour at least.
    #[serde(default)]
    pub daemon: bool,
}

/// What a pass came to for one certificate: tells "nothing was due" from "it is live now".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// All is well and nothing was to be done.
    NothingDue,
    /// It was changed, and every endpoint serves it.
    Live,
    /// It was changed, published and reloaded; `confirm: none` asks for no proof.
    Installed,
    /// It is no longer configured.
    Retired,
    /// Something failed in passing and is tried again.
    Temporary,
    /// A CA's limit or the budget: a wait is stored.
    CaLimit,
    /// Not served everywhere.
    DeployIncomplete,
    /// A person is needed.
    Operator,
    /// Amiss, and its life is nearly over.
    Danger,
}

impl Said {
    /// The word for an outcome.
    #[must_use]
    pub const fn new(outcome: Outcome, stage: Stage, changed: bool) -> Self {
        match (outcome, stage) {
            (Outcome::Temporary, _) => Self::Temporary,
            (Outcome::CaLimit, _) => Self::CaLimit,
            (Outcome::DeployIncomplete, _) => Self::DeployIncomplete,
            (Outcome::Operator, _) => Self::Operator,
            (Outcome::Danger, _) => Self::Danger,
            (Outcome::Fine, Stage::Retired) => Self::Retired,
            (Outcome::Fine, _) if !changed => Self::NothingDue,
            (Outcome::Fine, Stage::Unproven) => Self::Installed,
            (Outcome::Fine, _) => Self::Live,
        }
    }
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Its name.
    pub name: CertName,
    /// What it is for.
    pub names: Vec<Identifier>,
    /// Who issues it.
    pub issuer: Option<IssuerName>,
    /// When it was looked at.
    pub looked: Timestamp,
    /// Where it stands.
    pub stage: Stage,
    /// What the last pass came to.
    pub outcome: Said,
    /// Its part of an exit code.
    pub exit: u8,
    /// What should be served.
    pub generation: Option<GenerationStatus>,
    /// The validity of what ends first of all that is wanted or served: what an expiry alarm goes by.
    pub served: Option<Window>,
    /// The CA's suggested window, when it is known.
    pub ari_window: Option<Window>,
    /// The CA's page about it.
    #[serde(default)]
    pub ari_explanation: Option<Printable>,
    /// When it is renewed if nothing happens before: drawn from the window, or by lifetime.
    pub renewal: Option<NextStatus>,
    /// What comes next.
    pub next: Option<NextStatus>,
    /// The wait after trouble or a limit that ends first.
    #[serde(default)]
    pub hold: Option<NextStatus>,
    /// The open order.
    pub order: Option<OrderStatus>,
    /// The nodes, in their order.
    pub nodes: Vec<NodeStatus>,
    /// Every address of every endpoint.
    pub endpoints: Vec<EndpointStatus>,
    /// What stands in the way, the worst first.
    pub troubles: Vec<Failure>,
    /// How often in a row issuing failed.
    pub failures: u32,
    /// When everything was last as it should be.
    pub last_success: Option<Timestamp>,
    /// Generations that can be gone back to, the newest last.
    pub earlier: Vec<GenId>,
    /// Whether the configuration asks for no proof.
    #[serde(default)]
    pub unproven: bool,
}

/// An issued certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// Which.
    pub id: GenId,
    /// Its serial number.
    pub serial: Serial,
    /// The leaf's SHA-256.
    pub fingerprint: Fingerprint,
    /// Its validity.
    pub validity: Window,
    /// Who signed it.
    pub issued_by: Printable,
    /// What the gate noted.
    #[serde(default)]
    pub notes: Vec<Printable>,
}

/// What comes next, when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextStatus {
    /// When.
    pub at: Timestamp,
    /// Whether it is a wait after trouble or a limit.
    pub held: bool,
    /// Why.
    pub why: Printable,
    /// Until when not even a person who asks changes that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firm: Option<Timestamp>,
    /// Whether `renew --force` goes past it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forceable: bool,
}

/// An open order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// Its number.
    pub attempt: Attempt,
    /// How far it is.
    pub phase: Printable,
    /// Since when.
    pub since: Timestamp,
    /// Its URL.
    pub url: Option<Printable>,
}

/// One node, for one certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Which.
    pub node: NodeName,
    /// What it should serve.
    pub wanted: Option<AimStatus>,
    /// What was published there last.
    pub deployed: Option<MilestoneStatus>,
    /// When its servers were last told.
    pub reloaded: Option<MilestoneStatus>,
    /// When it was last seen to serve all it should.
    pub confirmed: Option<MilestoneStatus>,
    /// Whether a self-signed pair stands in.
    pub placeholder: bool,
    /// What failed there last and was not overcome.
    pub failure: Option<Failure>,
}

impl NodeStatus {
    /// Whether what is wanted is published and loaded there, proven or not.
    #[must_use]
    pub fn settled(&self, proof: bool) -> bool {
        let Some(wanted) = &self.wanted else { return false };
        let at = |milestone: &Option<MilestoneStatus>| milestone.as_ref().is_some_and(|at| at.epoch >= wanted.epoch);
        at(&self.deployed) && at(&self.reloaded) && (!proof || at(&self.confirmed)) && self.failure.is_none()
    }
}

/// A decision about what a node should serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AimStatus {
    /// The decision's number.
    pub epoch: Epoch,
    /// The generation.
    pub generation: GenId,
    /// Whether it goes back.
    pub rollback: bool,
}

/// Something reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MilestoneStatus {
    /// At which epoch.
    pub epoch: Epoch,
    /// With which generation.
    pub generation: GenId,
    /// When.
    pub at: Timestamp,
}

/// What one address of an endpoint showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// The endpoint as configured: address and server name.
    pub endpoint: Printable,
    /// The node behind it, when it is known.
    pub node: Option<NodeName>,
    /// The address; `None` when the host has none or nobody looked yet.
    pub address: Option<SocketAddr>,
    /// What it showed; `None` when nobody looked yet.
    pub shown: Option<Shown>,
    /// When.
    pub at: Option<Timestamp>,
    /// Whether that was seen of the generation wanted now.
    pub current: bool,
    /// Findings that do not stand in the way.
    #[serde(default)]
    pub notes: Vec<Printable>,
}

impl EndpointStatus {
    /// Whether what is wanted was seen there.
    #[must_use]
    pub fn live(&self) -> bool {
        self.current && self.shown == Some(Shown::Wanted)
    }
}

#[cfg(test)]
pub(super) mod samples {
    //! Two certificates: `shop` is live, `api` lags on edge2.
    use super::*;
    use crate::types::{Class, sha256};
    use std::time::Duration;

    const DAY: Duration = Duration::from_secs(86_400);

    /// 2026-11-22 10:00 UTC.
    pub(in super::super) fn now() -> Timestamp {
        Timestamp::from_secs(1_795_341_600)
    }

    pub(in super::super) fn snapshot() -> Snapshot {
        let run = RunStatus {
            pid: 1,
            started: now() - Duration::from_secs(330),
            ended: now() - Duration::from_secs(300),
            exit: 20,
            interval: 3_600,
            starts: Vec::new(),
            daemon: false,
        };
        Snapshot {
            schema: SCHEMA.into(),
            version: "0.1.0".into(),
            host: "admin1".into(),
            written: now() - Duration::from_secs(300),
            run: Some(run),
            certificates: vec![lagging(), live("shop")],
        }
    }

    pub(in super::super) fn live(name: &str) -> CertificateStatus {
        let leaf = sha256(&[name.as_bytes()]);
        let id = GenId::new(7, &leaf);
        let validity = Window { start: now() - DAY * 10, end: now() + DAY * 80 };
        let host = format!("{name}.example.com");
        let at = now() - Duration::from_secs(300);
        let milestone = Some(MilestoneStatus { epoch: Epoch(3), generation: id, at });
        let node = |node: &str| NodeStatus {
            node: node.parse().expect("name"),
            wanted: Some(AimStatus { epoch: Epoch(3), generation: id, rollback: false }),
            deployed: milestone.clone(),
            reloaded: milestone.clone(),
            confirmed: milestone.clone(),
            placeholder: false,
            failure: None,
        };
        let endpoint = |node: &str, address: &str| EndpointStatus {
            endpoint: format!("{address} ({host})").into(),
            node: node.parse().ok(),
            address: address.parse().ok(),
            shown: Some(Shown::Wanted),
            at: Some(at),
            current: true,
            notes: Vec::new(),
        };
        let renewal = Some(NextStatus {
            at: now() + DAY * 50,
            held: false,
            why: "drawn from the CA's window".into(),
            firm: None,
            forceable: false,
        });
        CertificateStatus {
            name: name.parse().expect("name"),
            names: vec![host.parse().expect("identifier")],
            issuer: "le".parse().ok(),
            looked: at,
            stage: Stage::Live,
            outcome: Said::NothingDue,
            exit: 0,
            generation: Some(GenerationStatus {
                id,
                serial: "04ab12".parse().expect("serial"),
                fingerprint: leaf,
                validity,
                issued_by: "CN=Pebble Intermediate".into(),
                notes: Vec::new(),
            }),
            served: Some(validity),
            ari_window: Window::new(now() + DAY * 49, now() + DAY * 51),
            ari_explanation: None,
            next: renewal.clone(),
            renewal,
            hold: None,
            order: None,
            nodes: vec![node("edge1"), node("edge2")],
            endpoints: vec![endpoint("edge1", "10.0.0.1:443"), endpoint("edge2", "10.0.0.2:443")],
            troubles: Vec::new(),
            failures: 0,
            last_success: Some(at),
            earlier: vec![GenId::new(6, &sha256(&[b"old"]))],
            unproven: false,
        }
    }

    pub(in super::super) fn lagging() -> CertificateStatus {
        let mut api = live("api");
        let failure = Failure::new(
            Class::Retry,
            "serve:other",
            "10.0.0.2:443 (api.example.com)",
            "still serves serial 00ab34, not 04ab12",
        )
        .advise("look at the reload command of edge2");
        api.stage = Stage::Confirming;
        api.outcome = Said::DeployIncomplete;
        api.exit = 20;
        api.nodes[1].confirmed = None;
        api.nodes[1].failure = Some(failure.clone());
        api.endpoints[1].shown = Some(Shown::Other {
            leaf: sha256(&[b"old"]),
            serial: "00ab34".parse().expect("serial"),
            not_after: now() + DAY * 3,
        });
        api.troubles = vec![failure];
        api.next = Some(NextStatus {
            at: now() + Duration::from_secs(600),
            held: true,
            why: "edge2 was reloaded and still does not serve it".into(),
            firm: None,
            forceable: false,
        });
        api
    }
}
