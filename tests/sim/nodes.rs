//! Nodes: what lies on their disks, what their servers have loaded, and what clients therefore see.

use crate::faults::Fault;
use crate::world::{Peer, State};
use everleaf::config::spec::{Certificate, Node};
use everleaf::ports::{
    Deployer, Generation, HookContext, Look, Observation, Pending, Prober, Production, Published, Reloader, Shown,
};
use everleaf::types::{
    CertName, Class, Epoch, Failure, Fingerprint, GenId, NodeName, Printable, Serial, Timestamp, sha256,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// A machine. Each `…_until` is a moment of true time.
#[derive(Debug, Default)]
pub(crate) struct FakeNode {
    pub(crate) down_until: u64,
    pub(crate) lies_until: u64,
    pub(crate) fails_until: u64,
    pub(crate) slow_until: u64,
    pub(crate) full_until: u64,
    pub(crate) unknown_until: u64,
    /// So many reloads find that what lies there does not load.
    pub(crate) finds_damage: u32,
    /// Its servers cannot serve what they load until then.
    pub(crate) breaks_until: u64,
    pub(crate) sites: BTreeMap<CertName, Site>,
    /// The processes that write a deployment now.
    pub(crate) switching: Vec<u32>,
}

/// One certificate's place on a node.
#[derive(Debug, Default, Clone)]
pub(crate) struct Site {
    pub(crate) disk: Option<OnDisk>,
    pub(crate) loaded: Option<Loaded>,
    /// What old workers still serve, and until when.
    pub(crate) old: Option<(Loaded, u64)>,
    /// The highest epoch ever published here.
    pub(crate) epoch: Epoch,
    /// When the last reload meant for it ended, in points.
    pub(crate) reloaded_at: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OnDisk {
    pub(crate) leaf: Fingerprint,
    pub(crate) generation: Option<GenId>,
    pub(crate) epoch: Option<Epoch>,
    /// False: somebody else wrote it.
    pub(crate) ours: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) leaf: Fingerprint,
    pub(crate) generation: Option<GenId>,
    pub(crate) broken: bool,
}

impl FakeNode {
    /// Until when a fault that lasts for hours lasts.
    pub(crate) fn until(&mut self, fault: Fault) -> &mut u64 {
        match fault {
            Fault::NodeDown => &mut self.down_until,
            Fault::HookLies => &mut self.lies_until,
            Fault::HookFails => &mut self.fails_until,
            Fault::SlowHook => &mut self.slow_until,
            Fault::NodeDiskFull => &mut self.full_until,
            Fault::InspectUnknown => &mut self.unknown_until,
            _ => &mut self.breaks_until,
        }
    }

    pub(crate) fn heal(&mut self) {
        (self.down_until, self.lies_until, self.fails_until, self.slow_until) = (0, 0, 0, 0);
        (self.full_until, self.unknown_until, self.breaks_until, self.finds_damage) = (0, 0, 0, 0);
        for loaded in self.sites.values_mut().filter_map(|site| site.loaded.as_mut()) {
            loaded.broken = false;
        }
    }

    /// Its servers read what lies there.
    pub(crate) fn load(&mut self, mono: u64, old_workers: Option<u64>) {
        let broken = self.breaks_until > mono;
        for site in self.sites.values_mut() {
            let Some(disk) = &site.disk else { continue };
            let new = site.loaded.as_ref().is_none_or(|loaded| loaded.leaf != disk.leaf);
            if !new {
                continue;
            }
            site.old = site.loaded.take().zip(old_workers);
            site.loaded = Some(Loaded { leaf: disk.leaf, generation: disk.generation, broken });
        }
    }

    /// Somebody else writes over what lies there.
    pub(crate) fn overwrite(&mut self, name: &CertName, salt: u64) {
        let leaf = sha256(&[b"foreign", &salt.to_be_bytes()]);
        if let Some(site) = self.sites.get_mut(name) {
            site.disk = Some(OnDisk { leaf, generation: None, epoch: None, ours: false });
        }
    }
}

fn down(node: &NodeName) -> Failure {
    Failure::new(Class::Retry, "node:unreachable", node.as_str(), "connection timed out")
}

fn hook(node: &NodeName, code: &str) -> Failure {
    Failure::new(Class::Retry, code, node.as_str(), "the hook failed")
}

impl State {
    pub(crate) fn node(&mut self, name: &NodeName) -> &mut FakeNode {
        self.nodes.entry(name.clone()).or_default()
    }
}

impl Peer {
    /// A hook begins on a node: it may be slow, and may not get there.
    async fn reach(&self, node: &NodeName) -> Result<(), Failure> {
        let slow = {
            let mut state = self.state();
            let mono = state.mono;
            state.node(node).slow_until > mono
        };
        if slow {
            self.latency(60_000, 115_000).await;
        } else {
            self.latency(10, 2_000).await;
        }
        let mut state = self.state();
        let mono = state.mono;
        let node_state = state.node(node);
        if node_state.down_until > mono {
            return Err(down(node));
        }
        if node_state.fails_until > mono { Err(hook(node, "hook:exit")) } else { Ok(()) }
    }

    fn lies(&self, node: &NodeName) -> bool {
        let mut state = self.state();
        let mono = state.mono;
        state.node(node).lies_until > mono
    }
}

impl Deployer for Peer {
    fn read_back(&self, _: &Node, _: &Certificate) -> Option<everleaf::ports::Rescued> {
        None
    }

    fn deploy<'a>(
        &'a self,
        node: &'a Node,
        certificate: &'a Certificate,
        generation: &'a Generation<Production>,
        epoch: Epoch,
        _: &'a HookContext,
    ) -> Pending<'a, Result<Vec<Printable>, Failure>> {
        let name = &certificate.name;
        Box::pin(async move {
            let what = format!("deploy {} of {name} at {epoch} on {}", generation.about.generation, node.name);
            self.acts_for_real("deploy");
            self.point(|| what.clone());
            self.state().about_to_publish(name, &node.name, generation);
            let _switching = Switching::begin(self, &node.name);
            self.reach(&node.name).await?;
            if !self.lies(&node.name) {
                let mut state = self.state();
                let mono = state.mono;
                let full = state.node(&node.name).full_until > mono;
                if full {
                    return Err(Failure::new(Class::Retry, "deploy:enospc", node.name.as_str(), "disk full"));
                }
                let site = state.node(&node.name).sites.entry(name.clone()).or_default();
                if epoch < site.epoch {
                    let highest = site.epoch;
                    let why = format!("it has epoch {highest}, which is newer than {epoch}");
                    state.watcher.violated("epochs_only_grow_on_a_node", format!("{what}: {why}"));
                    return Err(Failure::new(Class::Operator, "deploy:epoch", node.name.as_str(), why));
                }
                site.epoch = epoch;
                let about = &generation.about;
                let disk =
                    OnDisk { leaf: about.leaf, generation: Some(about.generation), epoch: Some(epoch), ours: true };
                site.disk = Some(disk);
            }
            self.point(|| format!("{what}: done"));
            self.latency(1, 50).await;
            Ok(Vec::new())
        })
    }

    fn placeholder<'a>(&'a self, node: &'a Node, certificate: &'a Certificate) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.point(|| format!("placeholder of {} on {}", certificate.name, node.name));
            self.reach(&node.name).await?;
            let mut state = self.state();
            let site = state.node(&node.name).sites.entry(certificate.name.clone()).or_default();
            if site.disk.is_none() {
                let leaf = sha256(&[b"placeholder", certificate.name.as_str().as_bytes()]);
                site.disk = Some(OnDisk { leaf, generation: None, epoch: None, ours: true });
            }
            Ok(())
        })
    }

    fn inspect<'a>(
        &'a self,
        node: &'a Node,
        certificate: &'a Certificate,
        generation: &'a Generation<Production>,
    ) -> Pending<'a, Result<Option<Published>, Failure>> {
        let name = &certificate.name;
        Box::pin(async move {
            self.point(|| format!("inspect {name} on {}", node.name));
            self.reach(&node.name).await?;
            let mut state = self.state();
            let mono = state.mono;
            let machine = state.node(&node.name);
            if machine.unknown_until > mono {
                return Ok(None);
            }
            let disk = machine.sites.get(name).and_then(|site| site.disk.as_ref());
            Ok(Some(Published {
                generation: disk.and_then(|disk| disk.generation),
                epoch: disk.and_then(|disk| disk.epoch),
                intact: disk.is_some_and(|disk| disk.leaf == generation.about.leaf),
            }))
        })
    }
}

/// While it lives, a deployment is being written.
struct Switching<'a> {
    peer: &'a Peer,
    node: &'a NodeName,
}

impl<'a> Switching<'a> {
    fn begin(peer: &'a Peer, node: &'a NodeName) -> Self {
        peer.state().node(node).switching.push(peer.pid);
        Self { peer, node }
    }
}

impl Drop for Switching<'_> {
    fn drop(&mut self) {
        let pid = self.peer.pid;
        let mut state = self.peer.state();
        let switching = &mut state.node(self.node).switching;
        if let Some(at) = switching.iter().position(|it| *it == pid) {
            switching.remove(at);
        }
    }
}

impl Reloader for Peer {
    fn reload<'a>(&'a self, node: &'a Node, contexts: &'a [HookContext]) -> Pending<'a, Result<(), Failure>> {
        let name = &node.name;
        Box::pin(async move {
            self.acts_for_real("reload");
            self.point(|| format!("reload {name}"));
            self.state().about_to_reload(name, self.pid);
            self.reach(name).await?;
            let left = self.state().node(name).finds_damage.checked_sub(1);
            if let Some(left) = left {
                self.state().node(name).finds_damage = left;
                return Err(Failure::new(Class::Retry, "reload:pair", name.as_str(), "it would not load"));
            }
            if !self.lies(name) {
                let mut state = self.state();
                let linger =
                    if state.strikes(Fault::OldWorkers) { Some(1_000 + state.dice.below(25_000)) } else { None };
                let mono = state.mono;
                state.node(name).load(mono, linger.map(|span| mono + span));
            }
            self.point(|| format!("reload {name}: done"));
            {
                let mut state = self.state();
                let points = state.points;
                for context in contexts {
                    state.node(name).sites.entry(context.name.clone()).or_default().reloaded_at = points;
                }
            }
            self.latency(1, 50).await;
            Ok(())
        })
    }

    fn check<'a>(&'a self, node: &'a Node) -> Pending<'a, Result<(), Failure>> {
        Box::pin(self.reach(&node.name))
    }
}

impl State {
    /// One handshake with a node, for a certificate.
    fn handshake(&mut self, node: &NodeName, name: &CertName, wanted: Fingerprint) -> Shown {
        let (mono, now) = (self.mono, self.true_now());
        let old_chance = self.dice.below(2) == 0;
        let machine = self.node(node);
        if machine.down_until > mono {
            return Shown::Unreachable { failure: down(node) };
        }
        let Some(site) = machine.sites.get(name) else { return failed("no such site") };
        let old = site.old.as_ref().filter(|(_, until)| *until > mono && old_chance).map(|(old, _)| old);
        let Some(served) = old.or(site.loaded.as_ref()) else { return failed("no certificate is loaded") };
        if served.broken {
            return failed("handshake failure");
        }
        if served.leaf == wanted {
            return Shown::Wanted;
        }
        let leaf = served.leaf;
        let known = self.watcher.certificate(&leaf);
        let (serial, not_after) = known.map_or_else(
            || (Serial::from_der_content(&[0xff]), now + Duration::from_secs(86_400)),
            |certificate| (certificate.serial(), certificate.validity.end),
        );
        Shown::Other { leaf, serial, not_after }
    }

    /// Whose site an endpoint is: every certificate's first name is its own.
    fn site_of(&self, look: &Look<'_>) -> Option<CertName> {
        let sni = look.endpoint.sni.to_string();
        let name = sni.strip_suffix(".example.org")?.parse().ok()?;
        self.spec.certificates.contains_key(&name).then_some(name)
    }
}

fn failed(why: &str) -> Shown {
    Shown::HandshakeFailed { failure: Failure::new(Class::Retry, "tls_handshake_failed", "edge", why) }
}

impl Prober for Peer {
    fn observe<'a>(&'a self, look: &'a Look<'a>) -> Pending<'a, Vec<Observation>> {
        Box::pin(async move {
            self.acts_for_real("look");
            self.point(|| format!("look at {}", look.endpoint));
            let began = self.state().points;
            let name = self.state().site_of(look);
            let nodes: Vec<NodeName> = match (&look.endpoint.node, &name) {
                (Some(node), _) => vec![node.clone()],
                (None, Some(name)) => {
                    self.state().spec.certificates.get(name).map(|it| it.nodes.clone()).unwrap_or_default()
                }
                (None, None) => Vec::new(),
            };
            let (mut matched, mut shown) = (0, failed("nobody is there"));
            for turn in 0..look.handshakes.max(1) {
                if turn > 0 {
                    self.world.sleep(look.over / (look.handshakes - 1).max(1)).await;
                } else {
                    self.latency(1, 200).await;
                }
                let mut state = self.state();
                let at = usize::try_from(state.dice.below(nodes.len() as u64)).unwrap_or(0);
                let (Some(node), Some(name)) = (nodes.get(at), &name) else { break };
                shown = state.handshake(node, name, look.leaf);
                if shown != Shown::Wanted {
                    break;
                }
                matched += 1;
            }
            if let Some(name) = &name {
                let handshakes = if shown == Shown::Wanted { look.handshakes } else { 0 };
                self.state().looked(name, look.endpoint, look.leaf, began, handshakes);
            }
            self.point(|| format!("looked at {}: {shown:?}", look.endpoint));
            vec![Observation { address: None, shown, matched, notes: Vec::new() }]
        })
    }
}

/// What a client would see now on a fresh connection, without old workers.
pub(crate) fn served(state: &State, node: &NodeName, name: &CertName) -> Option<(Fingerprint, Option<Timestamp>)> {
    let machine = state.nodes.get(node).filter(|machine| machine.down_until <= state.mono)?;
    let loaded = machine.sites.get(name)?.loaded.as_ref().filter(|loaded| !loaded.broken)?;
    Some((loaded.leaf, state.watcher.certificate(&loaded.leaf).map(|certificate| certificate.validity.end)))
}
