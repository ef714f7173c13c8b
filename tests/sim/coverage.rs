//! What a batch exercised. Every list below is made from an exhaustive `match`: a kind that is added to the core and not
//! here does not compile, and one that is here and never happens fails the batch.

use crate::faults::Fault;
use everleaf::core::event::{Alert, IssuerEvent, NodeEvent};
use everleaf::core::{Ask, Effect, Event, Outcome, Stage};
use std::collections::BTreeMap;

/// How often each thing must have happened in a whole batch.
pub(crate) const LEAST: u64 = 50;
/// Batches of fewer lives than this are for finding out, and prove no coverage.
pub(crate) const WHOLE_BATCH: u64 = 500;

/// What happened how often, by kind of thing and its name.
pub(crate) type Counts = BTreeMap<(&'static str, &'static str), u64>;

macro_rules! kinds {
    ($all:ident, $of:ident: $kind:ident { $($name:ident),* $(,)? }) => {
        const $all: &[&str] = &[$(stringify!($name)),*];

        pub(crate) const fn $of(it: &$kind) -> &'static str {
            match it { $($kind::$name { .. } => stringify!($name)),* }
        }
    };
}

kinds!(EFFECTS, effect: Effect {
    Record, AskTime, MakeKey, RunPre, RunPost, OpenOrder, FetchAuthorizations, PutUp, Answer, LookAtOrder, SubmitCsr, FetchChain,
    Judge, TakeDown, PollAri, Arm, Placeholder, Deploy, Inspect, Reload, Look, Tell, Prune,
});

kinds!(EVENTS, event: Event {
    Snapshot, Rebuilt, Asked, AskClosed, KeyMade, KeyDiscarded, OrderIntended, OrderOpened, ChallengesOffered,
    ChallengesIntended, ChallengesUp, ChallengesAnswered, OrderReady, CsrIntended, CsrSubmitted, OrderPending, OrderValid,
    ChainStaged, Accepted, Rejected, StepFailed, OrderFailed, OrderAbandoned, PreparationFailed, ChallengesDown,
    CleanupFailed, PreIntended, PreDone, PostDone, PostFailed, WantSet, PlaceholderPublished, Deployed, DeployFailed,
    Reloaded, ReloadFailed, Lagging, NodeConfirmed, WaveBegun, WaveEnded, WentLive, Told, TellFailed, Pruned, Retired, Revived,
});

kinds!(ISSUER_EVENTS, issuer_event: IssuerEvent { Snapshot, OrderCounted, Recounted, OrderUnissued, Failed, Recovered });

kinds!(NODE_EVENTS, node_event: NodeEvent { Snapshot, Failed, Recovered });

kinds!(STAGES, stage: Stage {
    Missing, Ordering, Validating, Issuing, Judging, Deploying, Reloading, Confirming, Live, Unproven, Retired,
});

kinds!(OUTCOMES, outcome: Outcome { Fine, Temporary, CaLimit, DeployIncomplete, Operator, Danger });

kinds!(ASKS, ask: Ask { Renew, Deploy, Rollback });

kinds!(ALERTS, alert: Alert { Issue, Node, Rollout, Cleanup, Post, Danger });

/// Records that compaction writes are counted as they are written; a decision is an effect that nothing outside sees.
const ELSEWHERE: [(&str, &str); 1] = [("effect", "Record")];

/// Everything that a whole batch must exercise.
fn required() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of = |kind: &'static str, names: &'static [&'static str]| names.iter().map(move |name| (kind, *name));
    of("effect", EFFECTS)
        .chain(of("event", EVENTS))
        .chain(of("issuer event", ISSUER_EVENTS))
        .chain(of("node event", NODE_EVENTS))
        .chain(of("stage", STAGES))
        .chain(of("outcome", OUTCOMES))
        .chain(of("ask", ASKS))
        .chain(of("alert", ALERTS))
        .chain(["stopped", "goes on"].map(|name| ("roll-out", name)))
        .chain(Fault::ALL.iter().map(|fault| ("fault", fault.name())))
        .filter(|it| !ELSEWHERE.contains(it))
}

/// Prints what a batch of so many lives came to. What a whole batch did not exercise is the error.
pub(crate) fn report(counts: &Counts, lives: u64) -> Result<(), String> {
    for ((kind, name), count) in counts {
        println!("{count:>9} {kind} {name}");
    }
    if lives < WHOLE_BATCH {
        println!("{lives} lives are no whole batch ({WHOLE_BATCH} are): that they exercise everything is not required");
        return Ok(());
    }
    let few = required().map(|it| (it, counts.get(&it).copied().unwrap_or(0))).filter(|(_, count)| *count < LEAST);
    let few: Vec<String> = few.map(|((kind, name), count)| format!("{kind} {name}: {count}")).collect();
    if few.is_empty() { Ok(()) } else { Err(format!("exercised fewer than {LEAST} times: {}", few.join(", "))) }
}
