//! The node's side of `everleaf receive`: what another everleaf sends is judged anew, published, checked, reloaded and looked at.
//!
//! Whoever wrote the command (in `authorized_keys`, in sudoers) decides: commands, paths, owners, modes, addresses and the names that may be
//! published are its arguments. The bundle brings certificates and the wish for one of four errands, and can choose nothing else.

mod judge;

use super::Nodes;
use super::bundle::{Asked, Bundle, Lies, Named, Outcome, Parcel, Received, Served, Sums};
use crate::config::spec::{Access, Endpoint, Expect, Hook, Node, NodeKind, Reload, Roots, StartTls, Target};
use crate::pki::{self, Anchors, Certificate};
use crate::ports::{Clock, HookContext, Look, Prober, Reloader as _, Shown};
use crate::publish::{self, Files, Found};
use crate::types::{
    CertName, Class, Epoch, Failure, GenId, Identifier, KeyFamily, NodeName, Printable, Vantage, humane,
};
use futures_util::future::join_all;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// How long servers may take to show what they were told to read, before that is answered which they show instead.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks.
const GAP: Duration = Duration::from_millis(200);
/// For one round of looks, whatever is the matter with an address.
const ROUND: Duration = Duration::from_secs(15);
/// Looks after one reload.
const MOST_LOOKS: usize = 256;
/// What stands for the `*` of a wildcard name where it is asked for.
const ANY_LABEL: &str = "www";

/// What the node's own command allows.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The certificates that may be published; all where nothing is said.
    pub only: Option<Vec<CertName>>,
    /// Where the live directories are.
    pub live: PathBuf,
    /// Who may read what is published.
    pub access: Access,
    /// Asked before a reload.
    pub check: Option<Hook>,
    /// What makes servers read the files.
    pub reload: Reload,
    /// What chains must lead to; [`Roots::Unchecked`] where that is left to the sender.
    pub roots: Roots,
    /// Where servers are looked at after a reload.
    pub probe: Vec<SocketAddr>,
}

/// A node that receives.
pub struct Receiver {
    terms: Terms,
    nodes: Nodes,
    prober: Rc<dyn Prober>,
    clock: Rc<dyn Clock>,
}

/// A leaf that is to be seen.
struct Wanted {
    name: CertName,
    chain: Vec<Certificate>,
    family: KeyFamily,
}

impl Receiver {
    /// On these terms.
    #[must_use]
    pub fn new(terms: Terms, nodes: Nodes, prober: Rc<dyn Prober>, clock: Rc<dyn Clock>) -> Self {
        Self { terms, nodes, prober, clock }
    }

    /// Does what the bundle on `stdin` asks for, as far as the terms allow.
    pub async fn receive(&self, stdin: &[u8]) -> Received {
        let done = match Bundle::read(stdin) {
            Ok(bundle) => self.carry_out(bundle).await,
            Err(failure) => Err(failure),
        };
        done.unwrap_or_else(Received::failed)
    }

    async fn carry_out(&self, bundle: Bundle) -> Result<Received, Failure> {
        let node = self.node(bundle.node);
        match (bundle.asked, bundle.parcel) {
            (Asked::Deploy { name, generation, epoch, .. }, Some(parcel)) => {
                self.deploy(&name, generation, epoch, &parcel)
            }
            (Asked::Deploy { name, .. }, None) => {
                Err(Failure::new(Class::Operator, "receive:bundle", name.as_str(), "its files did not come along"))
            }
            (Asked::Inspect { name, generation, files }, _) => {
                self.allowed(&name)?;
                let published = Some(self.lies(&name, generation, &files)?);
                Ok(Received { published, ..Received::new(Outcome::Inspected) })
            }
            (Asked::Check, _) => {
                self.nodes.check(&node).await?;
                Ok(Received::new(Outcome::Checked))
            }
            (Asked::Reload { certificates }, _) => self.reload(&node, &certificates).await,
        }
    }

    fn node(&self, name: NodeName) -> Node {
        let Terms { live, check, reload, .. } = self.terms.clone();
        Node { name, kind: NodeKind::Local, live, check, reload }
    }

    fn allowed(&self, name: &CertName) -> Result<(), Failure> {
        let Some(only) = self.terms.only.as_ref().filter(|only| !only.contains(name)) else { return Ok(()) };
        let names: Vec<&str> = only.iter().map(CertName::as_str).collect();
        let message = format!("this login may publish only {}", names.join(", "));
        Err(Failure::new(Class::Operator, "receive:not-allowed", format!("certificate {name}"), message)
            .advise("where it should: write its name behind --only in the command of authorized_keys there"))
    }

    fn deploy(&self, name: &CertName, generation: GenId, epoch: Epoch, parcel: &Parcel) -> Result<Received, Failure> {
        self.allowed(name)?;
        let anchors = self.anchors()?;
        judge::judge(name, generation, parcel, &anchors, self.clock.now())?;
        let Parcel { cert, chain, privkey } = parcel;
        let files = Files { generation, cert, chain, privkey };
        let target = publish::Target { live: &self.terms.live, name, access: &self.terms.access };
        let done = publish::publish(&target, &files, epoch)?;
        let found = publish::inspect(&target, &files)?;
        let published = Some(self.shown(name, found));
        let outcome = if done.changed { Outcome::Published } else { Outcome::Unchanged };
        Ok(Received { published, notes: done.notes, ..Received::new(outcome) })
    }

    fn anchors(&self) -> Result<Rc<Anchors>, Failure> {
        pki::RootStore::default().load(&self.terms.roots)
    }

    /// What lies there, held against what the digests of `sums` say of `generation`.
    fn lies(&self, name: &CertName, generation: GenId, sums: &Sums) -> Result<Lies, Failure> {
        let target = publish::Target { live: &self.terms.live, name, access: &self.terms.access };
        let shown = publish::read_back(&self.live(name));
        let privkey = shown.as_ref().and_then(|it| it.privkey.clone()).unwrap_or_default();
        let (cert, chain) = shown.as_ref().map(|it| (it.cert.as_str(), it.chain.as_str())).unwrap_or_default();
        let same = sums.cert.is_of(cert) && sums.chain.is_of(chain) && sums.privkey.is_of(privkey.reveal());
        // What is asked about is what is shown: whether all five files agree, with owner and modes, is found out as everywhere.
        let found = publish::inspect(&target, &Files { generation, cert, chain, privkey: &privkey })?;
        Ok(self.shown(name, Found { intact: same && found.intact, ..found }))
    }

    fn shown(&self, name: &CertName, found: Found) -> Lies {
        let Found { generation, epoch, intact } = found;
        let chain = self.chain(name).ok();
        let serial = chain.as_ref().and_then(|chain| chain.first()).map(|leaf| leaf.serial().clone());
        Lies { name: name.clone(), generation, epoch, intact, serial }
    }

    fn live(&self, name: &CertName) -> PathBuf {
        self.terms.live.join(name.as_str())
    }

    /// The chain that is shown to servers.
    fn chain(&self, name: &CertName) -> Result<Vec<Certificate>, Failure> {
        let shown = publish::read_back(&self.live(name));
        let text = shown.map(|it| [it.cert, it.chain].concat()).unwrap_or_default();
        pki::parse::chain(text.as_bytes())
    }

    async fn reload(&self, node: &Node, certificates: &[Named]) -> Result<Received, Failure> {
        certificates.iter().try_for_each(|it| self.allowed(&it.name))?;
        let wanted: Vec<Wanted> = certificates.iter().filter_map(|it| self.wanted(&it.name)).collect();
        let contexts: Vec<HookContext> = certificates.iter().map(|it| self.context(node, it, &wanted)).collect();
        self.nodes.reload(node, &contexts).await?;
        if node.reload == Reload::None {
            return Ok(Received::new(Outcome::NoReload));
        }
        let served = self.look(&wanted).await;
        Ok(Received { served, ..Received::new(Outcome::Reloaded) })
    }

    fn wanted(&self, name: &CertName) -> Option<Wanted> {
        let chain = self.chain(name).ok()?;
        let family = chain.first()?.key_kind().family()?;
        Some(Wanted { name: name.clone(), chain, family })
    }

    /// What the node's own commands are told.
    fn context(&self, node: &Node, about: &Named, wanted: &[Wanted]) -> HookContext {
        let live_dir = self.live(&about.name);
        let leaf = wanted.iter().find(|it| it.name == about.name).and_then(|it| it.chain.first());
        HookContext {
            name: about.name.clone(),
            domains: leaf.map(|leaf| leaf.names().to_vec()).unwrap_or_default(),
            node: Some(node.name.clone()),
            generation: about.generation,
            epoch: None,
            files: Some(live_dir.clone()),
            live_dir,
            serial: leaf.map(|leaf| leaf.serial().clone()),
            not_after: leaf.map(|leaf| leaf.validity().end),
            prev_serial: None,
            reason: Printable::default(),
            dry_run: false,
            attempt: 0,
        }
    }

    /// What servers show, once they show what they should or have had their time.
    async fn look(&self, wanted: &[Wanted]) -> Vec<Served> {
        let pairs = wanted.iter().flat_map(|it| self.terms.probe.iter().map(move |address| (it, *address)));
        let pairs: Vec<(&Wanted, SocketAddr)> = pairs.take(MOST_LOOKS).collect();
        let began = Instant::now();
        loop {
            let served = join_all(pairs.iter().map(|(wanted, address)| self.served(wanted, *address))).await;
            if served.iter().all(|it| it.wanted) || began.elapsed() >= PATIENCE {
                return served;
            }
            self.clock.sleep(GAP).await;
        }
    }

    async fn served(&self, wanted: &Wanted, address: SocketAddr) -> Served {
        let chain: Vec<_> = wanted.chain.iter().map(Certificate::fingerprint).collect();
        let endpoint = Endpoint {
            target: Target::Address(address),
            sni: asked_for(&wanted.chain, address),
            node: None,
            starttls: StartTls::No,
            expect: Expect::Leaf,
            from: Vantage::Here,
        };
        let look = Look {
            endpoint: &endpoint,
            leaf: chain[0],
            chain: &chain,
            family: wanted.family,
            roots: &Roots::System,
            handshakes: 1,
            over: Duration::ZERO,
            revocation: false,
        };
        let observed = tokio::time::timeout(ROUND, self.prober.observe(&look)).await;
        let shown = observed.ok().and_then(|seen| seen.into_iter().next()).map(|it| it.shown);
        let leaf = wanted.chain.first().map(|leaf| leaf.serial().clone());
        let (serial, wanted_seen, seen) = match shown {
            Some(Shown::Wanted) => (leaf, true, Printable::default()),
            Some(Shown::BrokenChain { message }) => (leaf, false, message),
            Some(Shown::Other { serial, .. }) => (Some(serial), false, Printable::default()),
            Some(
                Shown::HandshakeFailed { failure } | Shown::Unreachable { failure } | Shown::NotLooked { failure },
            ) => (None, false, failure.message),
            None => (None, false, Printable::new(&format!("no answer within {}", humane(ROUND)))),
        };
        Served { name: wanted.name.clone(), address, serial, wanted: wanted_seen, seen }
    }
}

/// The name to ask for: the leaf's first that can be asked for, else one that its wildcard is good for.
fn asked_for(chain: &[Certificate], address: SocketAddr) -> Identifier {
    let names = chain.first().map(Certificate::names).unwrap_or_default();
    let plain = names.iter().find(|name| !name.is_wildcard()).cloned();
    let below = || names.first().and_then(|name| format!("{ANY_LABEL}.{}", name.base()).parse().ok());
    plain.or_else(below).unwrap_or(Identifier::Ip(address.ip()))
}
