//! Effects to port calls, and what came of them to events. Nothing is decided here: a failure is recorded as what it is.

use super::Ports;
use crate::config::spec::{Certificate, Confirm, Issuer, Node, Spec};
use crate::core::ledger::Phase;
use crate::core::sightings::{EndpointSeen, NodeSeen, TimerSeen, endpoint_id};
use crate::core::{Effect, Event, Ledger, Shared, Work};
use crate::ports::{
    About, AnyGeneration, Authorization, Criteria, Download, Generation, HookContext, Look, Notice, Observation,
    OrderLook, OrderStatus, Pending, Production, Proof, RenewalInfo, Shown, Verdict,
};
use crate::types::{
    Attempt, CertName, Class, Digest, Epoch, Failure, GenId, IssuerName, NodeName, Printable, Timestamp,
};
use std::rc::Rc;
use std::time::Duration;

/// What came of a piece of work.
pub(super) struct Done {
    pub(super) work: Work,
    /// What happened, by certificate.
    pub(super) events: Vec<(CertName, Vec<Event>)>,
    /// What was seen, by certificate.
    pub(super) saw: Vec<(CertName, Saw)>,
    /// How the CA fared, when it was spoken to.
    pub(super) issuer: Option<(IssuerName, Option<Failure>)>,
    /// How the node fared, when it was spoken to.
    pub(super) node: Option<(NodeName, Option<Failure>)>,
    /// What failed and leaves no record.
    pub(super) failed: Option<Failure>,
}

/// Something seen.
pub(super) enum Saw {
    Ari(GenId, Result<RenewalInfo, Failure>),
    Endpoint(Digest, EndpointSeen),
    Node(NodeName, NodeSeen),
    Timer(TimerSeen),
}

impl Done {
    fn new(work: Work) -> Self {
        Self { work, events: Vec::new(), saw: Vec::new(), issuer: None, node: None, failed: None }
    }

    fn events(mut self, name: &CertName, events: Vec<Event>) -> Self {
        self.events.push((name.clone(), events));
        self
    }
}

/// What one certificate's journal says at the moment its work begins, with everything the work needs.
pub(super) struct Bench {
    pub(super) spec: Rc<Spec>,
    pub(super) ports: Ports,
    pub(super) name: CertName,
    pub(super) ledger: Ledger,
    pub(super) rehearsal: bool,
    pub(super) host: Printable,
}

/// Begins a piece of work. Dropping the future stops it.
pub(super) fn perform(bench: Bench, contexts: Vec<HookContext>, work: Work) -> Pending<'static, Done> {
    Box::pin(async move {
        let Some(effect) = work.effect().cloned() else { return Done::new(work) };
        let done = Done::new(work);
        match &effect {
            Effect::Reload { .. } => bench.reload(done, &effect, &contexts).await,
            Effect::Tell { .. } => bench.tell(done, &effect).await,
            Effect::AskTime { issuer } => bench.ask_time(done, issuer).await,
            Effect::OpenOrder { issuer, .. }
            | Effect::FetchAuthorizations { issuer, .. }
            | Effect::Answer { issuer, .. }
            | Effect::LookAtOrder { issuer, .. }
            | Effect::SubmitCsr { issuer, .. }
            | Effect::FetchChain { issuer, .. } => {
                let result = bench.at_the_ca(&effect, issuer).await;
                bench.heard(done, &effect, issuer, result)
            }
            Effect::PollAri { issuer, generation, id } => bench.poll_ari(done, issuer, *generation, id).await,
            Effect::Arm { at } => bench.arm(done, *at).await,
            Effect::Deploy { .. } | Effect::Placeholder { .. } | Effect::Inspect { .. } => {
                bench.on_node(done, &effect, contexts.first()).await
            }
            Effect::Look { endpoint, generation, whole } => bench.look(done, endpoint, *generation, *whole).await,
            Effect::Prune { generation } => match bench.prune(*generation) {
                Ok(()) => done.events(&bench.name, vec![Event::Pruned { generation: *generation }]),
                Err(failure) => Done { failed: Some(failure), ..done },
            },
            Effect::Record(_)
            | Effect::MakeKey { .. }
            | Effect::RunPre
            | Effect::RunPost
            | Effect::PutUp { .. }
            | Effect::TakeDown { .. }
            | Effect::Judge { .. } => {
                let events = bench.at_home(&effect, contexts.first()).await;
                done.events(&bench.name, events)
            }
        }
    })
}

impl Bench {
    fn certificate(&self) -> Option<&Certificate> {
        self.spec.certificates.get(&self.name)
    }

    fn issuer(&self) -> Result<&Issuer, Failure> {
        let issuer = self.certificate().and_then(|certificate| self.spec.issuers.get(&certificate.issuer));
        issuer.ok_or_else(|| self.unconfigured("its issuer"))
    }

    fn node(&self, node: &NodeName) -> Result<(&Node, &Certificate), Failure> {
        let node = self.spec.nodes.get(node).zip(self.certificate());
        node.ok_or_else(|| self.unconfigured("its node"))
    }

    fn unconfigured(&self, what: &str) -> Failure {
        Failure::new(Class::Spec, "config:gone", self.name.as_str(), format!("{what} is no longer configured"))
    }

    // ------------------------------------------------------------------------------------------------------- at home

    async fn at_home(&self, effect: &Effect, context: Option<&HookContext>) -> Vec<Event> {
        let name = &self.name;
        vec![match effect {
            Effect::MakeKey { algorithm } => match self.ports.keys.make(name, *algorithm).await {
                Ok(key) => Event::KeyMade { key, algorithm: *algorithm },
                Err(failure) => self.unprepared(failure),
            },
            Effect::RunPre => match self.hook("pre", context).await {
                Ok(()) => Event::PreDone,
                Err(failure) => self.unprepared(failure),
            },
            Effect::RunPost => match self.hook("post", context).await {
                Ok(()) => Event::PostDone,
                Err(failure) => Event::PostFailed { failure },
            },
            Effect::PutUp { attempt, proofs } => match self.ports.solvers.put_up(name, proofs).await {
                Ok(warnings) => Event::ChallengesUp { attempt: *attempt, warnings },
                Err(failure) => Event::StepFailed { attempt: *attempt, failure },
            },
            Effect::TakeDown { attempt, proofs } => match self.ports.solvers.take_down(name, proofs).await {
                Ok(()) => Event::ChallengesDown { attempt: *attempt },
                Err(failure) => Event::CleanupFailed { attempt: *attempt, failure },
            },
            Effect::Judge { generation, names } => self.judge(*generation, names),
            Effect::Record(event) => event.clone(),
            _ => return Vec::new(),
        }]
    }

    fn unprepared(&self, failure: Failure) -> Event {
        let known = self.certificate().zip(self.issuer().ok());
        let (spec_digest, settings) =
            known.map(|(certificate, issuer)| (certificate.digest(issuer), issuer.settings())).unzip();
        Event::PreparationFailed { failure, spec_digest, settings }
    }

    /// Removes a generation, then its key where no other generation has it: a kept key stays.
    fn prune(&self, generation: GenId) -> Result<(), Failure> {
        self.ports.generations.prune(&self.name, generation)?;
        let held = &self.ledger.generations;
        let Some(key) = held.get(&generation).map(|held| held.about.key) else { return Ok(()) };
        let kept = held.values().any(|held| held.about.generation != generation && held.about.key == key);
        if kept { Ok(()) } else { self.ports.keys.discard(&self.name, &key) }
    }

    async fn hook(&self, event: &'static str, context: Option<&HookContext>) -> Result<(), Failure> {
        let hooks = self.certificate().map(|certificate| &certificate.hooks);
        let hook = hooks.and_then(|hooks| if event == "pre" { hooks.pre.as_ref() } else { hooks.post.as_ref() });
        match (hook, context) {
            (Some(hook), Some(context)) => self.ports.hooks.run(event, hook, context).await,
            _ => Ok(()),
        }
    }

    /// The epoch of an acceptance is given when it is journaled: another decision may come in between.
    fn judge(&self, generation: GenId, names: &[crate::types::Identifier]) -> Event {
        let attempt = self.ledger.order.as_ref().map_or(Attempt(0), |order| order.attempt);
        let judged = || {
            let ledger = &self.ledger;
            let earlier = || ledger.generations.values().filter(|held| held.about.generation != generation);
            let old_serials: Vec<_> = earlier().map(|held| held.about.serial.clone()).collect();
            let criteria = Criteria {
                names,
                usage: self.certificate().map(|certificate| certificate.usage).unwrap_or_default(),
                issuer: self.issuer()?,
                rehearsal: self.rehearsal,
                old_serials: &old_serials,
                previous: ledger.newest_accepted().map(|held| &held.about),
                now: self.ports.clock.now(),
            };
            self.ports.generations.judge(&self.name, generation, &criteria)
        };
        match judged() {
            Ok(Verdict::Accepted { notes }) => {
                Event::Accepted { generation, epoch: self.ledger.next_epoch(self.ports.clock.now()), notes }
            }
            Ok(Verdict::Rejected { violations }) => Event::Rejected { generation, violations },
            Err(failure) => Event::StepFailed { attempt, failure },
        }
    }

    // ----------------------------------------------------------------------------------------------------- at the CA

    async fn at_the_ca(&self, effect: &Effect, issuer: &IssuerName) -> Result<Vec<Event>, Failure> {
        let ca = self.ports.cas.get(issuer).cloned().ok_or_else(|| self.unconfigured("its issuer"))?;
        match effect {
            Effect::OpenOrder { attempt, order, .. } => {
                let account = ca.account().await?;
                // The CA has told its time by now, for the first time perhaps.
                in_step(ca.clock_offset(), issuer)?;
                let look = ca.open_order(order).await?;
                Ok(opened(*attempt, look, account.url))
            }
            Effect::FetchAuthorizations { attempt, url, .. } => {
                let offered = ca.authorizations(url).await?;
                Ok(vec![Event::ChallengesOffered { attempt: *attempt, proofs: self.proofs(&offered)? }])
            }
            Effect::Answer { attempt, url, challenges, .. } => {
                ca.answer(url, challenges).await?;
                Ok(vec![Event::ChallengesAnswered { attempt: *attempt }])
            }
            Effect::LookAtOrder { attempt, url, .. } => Ok(vec![self.looked(*attempt, ca.look(url).await?)]),
            Effect::SubmitCsr { attempt, url, key, names, .. } => {
                let csr = self.ports.keys.csr(&self.name, key, names)?;
                Ok(vec![self.looked(*attempt, ca.finalize(url, &csr).await?)])
            }
            Effect::FetchChain { attempt, url, key, number, account, spec_digest, .. } => {
                let pem = ca.chain(url).await?;
                let download = Download {
                    number: *number,
                    pem: &pem,
                    key,
                    issuer: self.issuer()?,
                    rehearsal: self.rehearsal,
                    account,
                    spec_digest: *spec_digest,
                };
                let about = self.ports.generations.stage(&self.name, &download)?;
                Ok(vec![Event::ChainStaged { attempt: *attempt, about }])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn heard(&self, mut done: Done, effect: &Effect, issuer: &IssuerName, result: Result<Vec<Event>, Failure>) -> Done {
        let attempt = match effect {
            Effect::OpenOrder { attempt, .. }
            | Effect::FetchAuthorizations { attempt, .. }
            | Effect::Answer { attempt, .. }
            | Effect::LookAtOrder { attempt, .. }
            | Effect::SubmitCsr { attempt, .. }
            | Effect::FetchChain { attempt, .. } => *attempt,
            _ => return done,
        };
        match result {
            Ok(events) => {
                done.issuer = Some((issuer.clone(), None));
                done.events(&self.name, events)
            }
            Err(failure) => {
                done.issuer = concerns_the_ca(&failure).then(|| (issuer.clone(), Some(failure.clone())));
                let mut events = Vec::new();
                if let Effect::SubmitCsr { key, .. } | Effect::FetchChain { key, .. } = effect
                    && failure.is_lost_key()
                {
                    events.push(Event::KeyDiscarded { key: *key });
                }
                events.push(Event::StepFailed { attempt, failure });
                done.events(&self.name, events)
            }
        }
    }

    /// What an order's looks mean depends on what it was doing.
    fn looked(&self, attempt: Attempt, look: OrderLook) -> Event {
        let phase = self.ledger.order.as_ref().map(|order| &order.phase);
        let retry_after = look.retry_after.and_then(|span| u64::try_from(span.as_millis()).ok());
        match look.status {
            OrderStatus::Valid => Event::OrderValid { attempt },
            OrderStatus::Invalid(failure) => Event::OrderFailed { attempt, failure },
            OrderStatus::Processing if phase == Some(&Phase::CsrIntended) => Event::CsrSubmitted { attempt },
            OrderStatus::Ready if phase != Some(&Phase::Submitted) => Event::OrderReady { attempt },
            _ => Event::OrderPending { attempt, retry_after },
        }
    }

    /// One proof for each identifier not yet authorized.
    fn proofs(&self, offered: &[Authorization]) -> Result<Vec<Proof>, Failure> {
        let certificate = self.certificate().ok_or_else(|| self.unconfigured("it"))?;
        let open = offered.iter().filter(|authorization| !authorization.valid);
        open.map(|authorization| proof(certificate, authorization)).collect()
    }

    /// Whatever the CA answers has a date on it, which it keeps.
    async fn ask_time(&self, done: Done, issuer: &IssuerName) -> Done {
        let answer = match self.ports.cas.get(issuer) {
            Some(ca) => ca.offers().await.and_then(|_| ca.clock_offset().ok_or_else(|| undated(issuer))),
            None => Err(self.unconfigured("its issuer")),
        };
        let failed = answer.err();
        let told = failed.clone().filter(concerns_the_ca);
        Done { issuer: told.map(|failure| (issuer.clone(), Some(failure))), failed, ..done }
    }

    async fn poll_ari(&self, mut done: Done, issuer: &IssuerName, generation: GenId, id: &str) -> Done {
        let answer = match self.ports.cas.get(issuer) {
            Some(ca) => ca.renewal_info(id).await,
            None => Err(self.unconfigured("its issuer")),
        };
        done.saw.push((self.name.clone(), Saw::Ari(generation, answer)));
        done
    }

    async fn arm(&self, mut done: Done, at: Timestamp) -> Done {
        let failure = self.ports.alarm.arm(at).await.err();
        done.saw.push((self.name.clone(), Saw::Timer(TimerSeen { at, tried: self.ports.clock.now(), failure })));
        done
    }

    // ----------------------------------------------------------------------------------------------------- on nodes

    fn production(&self, generation: GenId) -> Result<Generation<Production>, Failure> {
        let read = || self.ports.generations.read(&self.name, generation);
        let found = read().or_else(|failure| if self.rescued(generation, &failure) { read() } else { Err(failure) });
        match found? {
            AnyGeneration::Production(generation) => Ok(generation),
            AnyGeneration::Rehearsed(_) => {
                let why = "it came from a rehearsal and is never published";
                Err(Failure::new(Class::Operator, "generation:rehearsed", format!("generation {generation}"), why))
            }
        }
    }

    /// Whether a generation that is lost here could be put back from what is published on this machine.
    fn rescued(&self, generation: GenId, failure: &Failure) -> bool {
        let lost = matches!(failure.code.as_str(), "generation:missing" | "generation:damaged");
        let about = self.ledger.generations.get(&generation).filter(|held| lost && held.accepted());
        let (Some(held), Some(certificate)) = (about, self.certificate()) else { return false };
        // The journal knows that the gate accepted it.
        let about = About { accepted: held.accepted_at(), ..held.about.clone() };
        let nodes = certificate.nodes.iter().filter_map(|node| self.spec.nodes.get(node));
        let mut found = nodes.filter_map(|node| self.ports.deployer.read_back(node, certificate));
        let rescued = found.any(|found| self.ports.generations.rescue(&self.name, &about, &found).is_ok());
        if rescued {
            tracing::warn!(certificate = %self.name, "{failure}; it is put back from what is published");
        }
        rescued
    }

    async fn on_node(&self, mut done: Done, effect: &Effect, context: Option<&HookContext>) -> Done {
        let result = match effect {
            Effect::Deploy { node, epoch, generation, placement } => {
                let result = self.deploy(node, *epoch, *generation, context).await;
                done.node = Some((node.clone(), result.as_ref().err().filter(|failure| unreachable(failure)).cloned()));
                let (node, epoch, generation) = (node.clone(), *epoch, *generation);
                match result {
                    Ok(notes) => Event::Deployed { node, epoch, generation, notes, placement: Some(*placement) },
                    Err(failure) => Event::DeployFailed { node, epoch, failure },
                }
            }
            Effect::Placeholder { node } => match self.placeholder(node).await {
                Ok(()) => Event::PlaceholderPublished { node: node.clone() },
                Err(failure) => Event::DeployFailed { node: node.clone(), epoch: Epoch(0), failure },
            },
            Effect::Inspect { node, generation } => {
                let started = self.ledger.seq;
                let (published, failure) = match self.inspect(node, *generation).await {
                    Ok(published) => (published, None),
                    Err(failure) => (None, Some(failure)),
                };
                done.node = Some((node.clone(), failure.clone().filter(unreachable)));
                let seen = NodeSeen { started, at: self.ports.clock.now(), published, failure };
                done.saw.push((self.name.clone(), Saw::Node(node.clone(), seen)));
                return done;
            }
            _ => return done,
        };
        done.events(&self.name, vec![result])
    }

    async fn deploy(
        &self,
        node: &NodeName,
        epoch: Epoch,
        generation: GenId,
        context: Option<&HookContext>,
    ) -> Result<Vec<Printable>, Failure> {
        let (node, certificate) = self.node(node)?;
        let generation = self.production(generation)?;
        let context = context.ok_or_else(|| self.unconfigured("its node"))?;
        self.ports.deployer.deploy(node, certificate, &generation, epoch, context).await
    }

    async fn placeholder(&self, node: &NodeName) -> Result<(), Failure> {
        let (node, certificate) = self.node(node)?;
        self.ports.deployer.placeholder(node, certificate).await
    }

    async fn inspect(&self, node: &NodeName, generation: GenId) -> Result<Option<crate::ports::Published>, Failure> {
        let (node, certificate) = self.node(node)?;
        let generation = self.production(generation)?;
        self.ports.deployer.inspect(node, certificate, &generation).await
    }

    /// One reload for all certificates that wait for it, and one event for each.
    async fn reload(&self, mut done: Done, effect: &Effect, contexts: &[HookContext]) -> Done {
        let Effect::Reload { node, .. } = effect else { return done };
        let result = match self.node(node) {
            Ok((node, _)) => self.ports.reloader.reload(node, contexts).await,
            Err(failure) => Err(failure),
        };
        for (name, step) in &done.work.parts {
            let Effect::Reload { node, epoch, verb, .. } = &step.effect else { continue };
            let (node, epoch, verb) = (node.clone(), *epoch, *verb);
            let event = match &result {
                Ok(()) => Event::Reloaded { node, epoch, verb },
                Err(failure) => Event::ReloadFailed { node, epoch, verb, failure: failure.clone() },
            };
            done.events.push((name.clone(), vec![event]));
        }
        done
    }

    async fn look(
        &self,
        mut done: Done,
        endpoint: &crate::config::spec::Endpoint,
        generation: GenId,
        whole: bool,
    ) -> Done {
        let started = self.ledger.seq;
        let Some(leaf) = self.ledger.generations.get(&generation).map(|held| held.about.leaf) else {
            return done;
        };
        let observations = match self.observe(endpoint, generation, whole).await {
            Ok(observations) => observations,
            Err(failure) => {
                vec![Observation {
                    address: None,
                    shown: Shown::Unreachable { failure },
                    matched: 0,
                    notes: Vec::new(),
                }]
            }
        };
        let seen =
            EndpointSeen { started, at: self.ports.clock.now(), leaf, whole, proof: None, observations, before: None };
        done.saw.push((self.name.clone(), Saw::Endpoint(endpoint_id(endpoint), seen)));
        done
    }

    async fn observe(
        &self,
        endpoint: &crate::config::spec::Endpoint,
        generation: GenId,
        whole: bool,
    ) -> Result<Vec<Observation>, Failure> {
        let certificate = self.certificate().ok_or_else(|| self.unconfigured("it"))?;
        let generation = self.production(generation)?;
        let (handshakes, over) = match certificate.confirm {
            Confirm::Handshakes(confirm) if whole => (confirm.count.max(1), confirm.over),
            _ => (1, Duration::ZERO),
        };
        let (leaf, family) = (generation.about.leaf, generation.about.family);
        let chain = &generation.served;
        // What is looked at only for drift was looked up when it was new; ARI tells when a CA takes it back.
        let (roots, revocation) = (&self.issuer()?.roots, whole);
        let look = Look { endpoint, leaf, chain, family, roots, handshakes, over, revocation };
        Ok(self.ports.prober.observe(&look).await)
    }

    // -------------------------------------------------------------------------------------------------------- people

    /// One notice for all certificates of one cause, and one event for each.
    async fn tell(&self, mut done: Done, effect: &Effect) -> Done {
        let Effect::Tell { notifier, kind, cause, summary, advice, details, .. } = effect else { return done };
        let certificates: Vec<CertName> = done.work.parts.iter().map(|(name, _)| name.clone()).collect();
        let others = certificates.len().saturating_sub(1);
        let notice = Notice {
            schema: "everleaf.notice/1".to_owned(),
            kind: *kind,
            cause: cause.clone(),
            summary: if others == 0 { summary.clone() } else { format!("{summary} (and {others} more)").into() },
            advice: advice.clone(),
            details: details.clone(),
            certificates,
            host: self.host.clone(),
            at: self.ports.clock.now(),
        };
        let result = match self.spec.notifiers.get(notifier) {
            Some(notifier) => self.ports.notify.tell(notifier, &notice).await,
            None => Err(self.unconfigured("its notifier")),
        };
        for (name, step) in &done.work.parts {
            let Effect::Tell { notifier, alert, recovered, .. } = &step.effect else { continue };
            let (notifier, alert, recovered) = (notifier.clone(), alert.clone(), *recovered);
            let event = match &result {
                Ok(()) => Event::Told { notifier, alert, recovered },
                Err(failure) => Event::TellFailed { notifier, alert, failure: failure.clone() },
            };
            done.events.push((name.clone(), vec![event]));
        }
        done
    }
}

fn opened(attempt: Attempt, look: OrderLook, account: String) -> Vec<Event> {
    let ready = look.status == OrderStatus::Ready;
    let mut events = vec![Event::OrderOpened { attempt, url: look.url, account, expires: look.expires, ready }];
    if let OrderStatus::Invalid(failure) = look.status {
        events.push(Event::OrderFailed { attempt, failure });
    }
    events
}

fn proof(certificate: &Certificate, authorization: &Authorization) -> Result<Proof, Failure> {
    let identifier = &authorization.identifier;
    let refuse = |why: String| {
        Err(Failure::new(Class::Operator, "acme:noChallenge", identifier.to_string(), why)
            .advise("Set a `solver` that the CA offers for this name (http-01, tls-alpn-01 or dns-01), or choose another issuer."))
    };
    let Some(solver) = certificate.solvers.get(identifier) else {
        return refuse("the CA wants proof for a name that has no solver".into());
    };
    let kind = solver.kind();
    let Some(challenge) = authorization.challenges.iter().find(|challenge| challenge.kind == kind) else {
        let offered: Vec<&str> = authorization.challenges.iter().map(|challenge| challenge.kind.as_str()).collect();
        let offered = if offered.is_empty() { "no challenge at all".to_owned() } else { offered.join(", ") };
        return refuse(format!("the CA offers {offered} and not {kind}"));
    };
    Ok(Proof {
        identifier: identifier.clone(),
        solver: solver.clone(),
        url: challenge.url.clone(),
        token: challenge.token.clone(),
        key_authorization: challenge.key_authorization.clone(),
    })
}

fn undated(issuer: &IssuerName) -> Failure {
    Failure::new(Class::Retry, "clock:undated", issuer.as_str(), "the CA does not say what time it is")
}

/// Refuses when our clock and the CA's differ too much for an order.
fn in_step(offset: Option<i64>, issuer: &IssuerName) -> Result<(), Failure> {
    let shared = Shared { clock_offset: offset, ..Shared::default() };
    shared.clock_suspect(None, Timestamp::from_secs(0)).map_or(Ok(()), |why| {
        Err(Failure::new(Class::Retry, "clock:suspect", issuer.as_str(), format!("no order was made: {why}"))
            .advise("set this machine's clock (timedatectl, chronyc tracking)"))
    })
}

/// Whether a failure says something about the CA as a whole, and not about one order.
fn concerns_the_ca(failure: &Failure) -> bool {
    const ACCOUNT: [&str; 9] = [
        "acme:accountDoesNotExist",
        "acme:accountKey",
        "acme:externalAccountKey",
        "acme:externalAccountRequired",
        // Without a problem document it is the front door that refuses, whatever the order.
        "acme:http429",
        "acme:serverInternal",
        "acme:termsOfService",
        "acme:unreadable",
        "acme:userActionRequired",
    ];
    let code = failure.code.as_str();
    let prefix = ["net:", "dns:", "acme:http5"].iter().any(|prefix| code.starts_with(prefix));
    prefix || failure.issuer_wide || ACCOUNT.contains(&code)
}

/// Whether a failed deploy says that the node cannot be reached, and not that this bundle was refused.
fn unreachable(failure: &Failure) -> bool {
    const CODES: [&str; 8] = [
        "node:unreachable",
        "hook:timeout",
        "hook:later",
        "ssh:unreachable",
        "ssh:unresolved",
        "ssh:lost",
        "ssh:silent",
        "ssh:failed",
    ];
    failure.class == Class::Retry && CODES.contains(&failure.code.as_str())
}
