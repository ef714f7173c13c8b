//! The catalogue of what can go wrong. Each fault is counted when it strikes, so that a batch shows what it exercised.

macro_rules! faults {
    ($($(#[$meta:meta])* $name:ident = $rate:expr),* $(,)?) => {
        /// Something that goes wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Fault {
            $($(#[$meta])* $name,)*
        }

        impl Fault {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

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
    CaRateLimited = 30_000,
    /// A request that never arrived.
    CaLostRequest = 10_000,
    /// A reply that was lost: what was asked for has happened.
    CaLostReply = 15_000,
    /// A nonce refused more often than the adapter repeats.
    CaBadNonce = 8_000,
    /// An authorization that the CA refuses. Rate: per answer.
    CaInvalidAuthorization = 70_000,
    /// An order that the CA has forgotten. Rate: per look.
    CaOrderGone = 8_000,
    /// An order that never leaves `processing`. Rate: per CSR.
    CaStuckOrder = 50_000,
    /// The certificate lacks a name. Rate: per certificate, as for the next two.
    WrongSan = 50_000,
    /// The chain lacks its intermediate.
    MissingIntermediate = 50_000,
    /// The certificate is for a key that is not ours.
    ForeignKey = 50_000,
    /// The suggested window moves. Rate: per ARI request, as for the next two.
    MovedWindow = 30_000,
    /// The certificate is recalled: its window lies in the past.
    Recalled = 15_000,
    /// All certificates of a CA are recalled. Rate: per hour.
    MassRecall = 400,
    /// ARI does not answer.
    AriFails = 60_000,
    /// The CA says that the predecessor was replaced already. Rate: per order.
    AlreadyReplaced = 60_000,
    /// A journal cannot be appended to.
    AppendFails = 2_000,
    /// A key or a chain cannot be stored.
    StoreFails = 30_000,
    /// A key is gone when it is needed. Rate: per CSR.
    KeyLost = 40_000,
    /// A request stays in its directory although it is in the journal.
    RequestStays = 200_000,
    /// The process dies, between two calls or inside one.
    Crash = 3_000,
    /// …in the middle of an append: the torn line is dropped.
    TornAppend = 10_000,
    /// The machine's own disk is full, for hours. Rate: per hour, as for the next three.
    OwnDiskFull = 3_000,
    /// A journal is damaged: what reads it next sets it aside.
    JournalDamaged = 1_500,
    /// A journal is gone.
    JournalLost = 700,
    /// A process is stopped, and goes on hours later.
    Stopped = 150_000,
    /// `seen.json` is lost with the process.
    SightingsLost = 400_000,
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
    /// Its servers find that what lies there does not load.
    DamagedOnReload = 8_000,
    /// Its servers restart: they load what lies there.
    ServerRestart = 6_000,
    /// Nobody can say what lies there.
    InspectUnknown = 6_000,
    /// Its servers refuse handshakes on what they load next.
    BreaksOnNew = 4_000,
    /// Old workers linger after a reload. Rate: per reload.
    OldWorkers = 300_000,
    /// Challenges cannot be put up. Rate: per call, as for the rest.
    PutUpFails = 30_000,
    /// Challenges cannot be taken down.
    TakeDownFails = 60_000,
    /// The `pre` or `post` hook fails.
    CertHookFails = 60_000,
    /// A notice cannot be delivered.
    NotifierFails = 100_000,
    /// No timer can be armed.
    NoTimer = 800_000,
    /// The clock is set back. Rate: per hour, as for the rest.
    ClockBack = 5_000,
    /// The clock is set ahead.
    ClockAhead = 1_000,
    /// Another everleaf runs at the same time.
    SecondPeer = 15_000,
    /// A person asks for a look.
    AskRenew = 4_000,
    /// A person forces a renewal.
    AskForce = 3_000,
    /// A person asks for a deployment.
    AskDeploy = 3_000,
    /// A person asks for a deployment on one node.
    AskDeployNode = 1_500,
    /// A person rolls back.
    AskRollback = 1_500,
    /// A person rolls one node back.
    AskRollbackNode = 1_500,
    /// A person rehearses.
    Rehearsal = 2_000,
    /// The names are edited.
    EditNames = 1_500,
    /// The key's algorithm is edited.
    EditKey = 1_000,
    /// Another issuer is configured.
    EditIssuer = 1_000,
    /// A reload command is edited.
    EditReload = 1_500,
    /// A certificate is removed, and put back later.
    RemoveCertificate = 1_000,
}

/// How often each fault strikes now.
#[derive(Debug, Clone)]
pub(crate) struct Rates([u32; Fault::ALL.len()]);

impl Default for Rates {
    fn default() -> Self {
        Self([0; Fault::ALL.len()])
    }
}

impl Rates {
    /// Those of a random run; each seed has a weather of its own, in which some faults rage and others rest.
    pub(crate) fn of_seed(dice: &mut crate::dice::Dice) -> Self {
        let mut rates = Self::default();
        for fault in Fault::ALL {
            let scale = [0, 0, 0, 0, 1, 3][usize::try_from(dice.below(6)).unwrap_or(0)];
            // It can strike too seldom to rest.
            let scale = if *fault == Fault::NoTimer { 1 } else { scale };
            rates.set(*fault, fault.usual_rate().saturating_mul(scale).min(900_000));
        }
        rates
    }

    pub(crate) fn only(faults: &[(Fault, u32)]) -> Self {
        let mut rates = Self::default();
        for (fault, rate) in faults {
            rates.set(*fault, *rate);
        }
        rates
    }

    pub(crate) fn of(&self, fault: Fault) -> u32 {
        self.0[fault as usize]
    }

    fn set(&mut self, fault: Fault, rate: u32) {
        self.0[fault as usize] = rate;
    }

    pub(crate) fn without(mut self, faults: &[Fault]) -> Self {
        for fault in faults {
            self.set(*fault, 0);
        }
        self
    }
}
