//! The catalogue of what can go wrong. Each fault is counted when it strikes, so that a batch shows what it exercised.

use std::collections::BTreeMap;

macro_rules! faults {
    ($($(#[$meta:meta])* $name:ident = $rate:expr),* $(,)?) => {
        /// Something that goes wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Fault {
            $($(#[$meta])* $name,)*
        }

        impl Fault {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// How often it strikes where it can, in a million, in a random run.
            pub(crate) const fn usual_rate(self) -> u32 {
                match self { $(Self::$name => $rate),* }
            }
        }
    };
}

faults! {
    /// The CA cannot be reached at all, for hours. Rate: per hour.
    CaDown = 2_000,
    /// A 5xx, with or without Retry-After. Rate: per request, as for all of the CA's below.
    CaError = 15_000,
    /// A rate limit with Retry-After.
    CaRateLimited = 8_000,
    /// A request that never arrived.
    CaLostRequest = 10_000,
    /// A reply that was lost: what was asked for has happened.
    CaLostReply = 15_000,
    /// A nonce refused more often than the adapter repeats.
    CaBadNonce = 8_000,
    /// An authorization that the CA refuses. Rate: per answer.
    CaInvalidAuthorization = 40_000,
    /// An order that the CA has forgotten. Rate: per look.
    CaOrderGone = 8_000,
    /// An order that never leaves `processing`. Rate: per CSR.
    CaStuckOrder = 30_000,
    /// The certificate lacks a name. Rate: per certificate, as for the next two.
    WrongSan = 30_000,
    /// The chain lacks its intermediate.
    MissingIntermediate = 30_000,
    /// The certificate is for a key that is not ours.
    ForeignKey = 30_000,
    /// The suggested window moves. Rate: per ARI request, as for the next two.
    MovedWindow = 30_000,
    /// The certificate is recalled: its window lies in the past.
    Recalled = 10_000,
    /// ARI does not answer.
    AriFails = 60_000,
    /// The CA says that the predecessor was replaced already. Rate: per order.
    AlreadyReplaced = 60_000,
    /// A journal cannot be appended to.
    AppendFails = 600,
    /// A key or a chain cannot be stored.
    StoreFails = 20_000,
    /// A request stays in its directory although it is in the journal.
    RequestStays = 200_000,
    /// The process dies, between two calls or inside one.
    Crash = 500,
    /// …in the middle of an append: the torn line is dropped.
    TornAppend = 1_500,
    /// `seen.json` is lost with the process.
    SightingsLost = 300_000,
    /// A node cannot be reached. Rate: per node and hour, as for all of a node's below.
    NodeDown = 6_000,
    /// Its hooks exit 0 and do nothing.
    HookLies = 6_000,
    /// Its hooks fail.
    HookFails = 6_000,
    /// Its hooks take nearly as long as they may.
    SlowHook = 6_000,
    /// Its disk is full.
    NodeDiskFull = 6_000,
    /// Somebody else overwrites its files.
    ForeignFiles = 4_000,
    /// Its servers restart: they load what lies there.
    ServerRestart = 6_000,
    /// Nobody can say what lies there.
    InspectUnknown = 6_000,
    /// Its servers refuse handshakes on what they load next.
    BreaksOnNew = 4_000,
    /// Old workers linger after a reload. Rate: per reload.
    OldWorkers = 300_000,
    /// Challenges cannot be put up. Rate: per call, as for the rest.
    PutUpFails = 20_000,
    /// Challenges cannot be taken down.
    TakeDownFails = 40_000,
    /// The `pre` or `post` hook fails.
    CertHookFails = 40_000,
    /// A notice cannot be delivered.
    NotifierFails = 100_000,
    /// No timer can be armed.
    NoTimer = 300_000,
    /// The clock is set back. Rate: per hour, as for the rest.
    ClockBack = 700,
    /// The clock is set ahead.
    ClockAhead = 700,
    /// Another everleaf runs at the same time.
    SecondPeer = 15_000,
    /// A person asks for a look.
    AskRenew = 4_000,
    /// A person forces a renewal.
    AskForce = 1_500,
    /// A person asks for a deployment.
    AskDeploy = 3_000,
    /// A person rolls back.
    AskRollback = 2_000,
    /// The names are edited.
    EditNames = 1_500,
    /// The key's algorithm is edited.
    EditKey = 1_000,
    /// A certificate is removed, and put back later.
    RemoveCertificate = 1_000,
}

/// How often each fault strikes now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rates(BTreeMap<Fault, u32>);

impl Rates {
    /// Those of a random run; each seed has a weather of its own, in which some faults rage and others rest.
    pub(crate) fn of_seed(dice: &mut crate::dice::Dice) -> Self {
        let weather = |fault: &Fault, dice: &mut crate::dice::Dice| {
            let scale = [0, 1, 1, 2, 4][usize::try_from(dice.below(5)).unwrap_or(0)];
            (*fault, fault.usual_rate().saturating_mul(scale).min(900_000))
        };
        Self(Fault::ALL.iter().map(|fault| weather(fault, dice)).collect())
    }

    pub(crate) fn only(faults: &[(Fault, u32)]) -> Self {
        Self(faults.iter().copied().collect())
    }

    pub(crate) fn of(&self, fault: Fault) -> u32 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    pub(crate) fn without(mut self, faults: &[Fault]) -> Self {
        self.0.retain(|fault, _| !faults.contains(fault));
        self
    }
}
