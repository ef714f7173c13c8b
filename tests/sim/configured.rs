//! What is configured: the same for every story, and of many shapes for random lives.

use crate::dice::Dice;
use crate::world::{State, name};
use everleaf::config::spec::{
    Access, Budget, CertHooks, Certificate, Confirm, Endpoint, Expect, Handshakes, Hook, Http01, Issuer, KeyAlgorithm,
    Limits, Node, NodeKind, Notifier, NotifierKind, Paths, Quota, Rehearsal, Reload, Rollout, Roots, Solver, Spec,
    StartTls, Target, Usage,
};
use everleaf::types::{CertName, Identifier, IssuerName, NodeName, Vantage};
use std::net::SocketAddr;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// So many certificates on so many nodes, each a little different.
pub(crate) fn configured(certificates: u8, nodes: u8) -> Spec {
    spread(certificates.into(), nodes.into(), |_, nodes| nodes.to_vec())
}

/// A fleet: so many certificates on all of so many nodes, and so many on two to five of them each, at a CA that keeps up.
pub(crate) fn fleet(wide: u16, narrow: u16, nodes: u16) -> Spec {
    let mut spec = spread(wide + narrow, nodes, |at, all| {
        if at < wide {
            return all.to_vec();
        }
        let (first, many) = (usize::from(at) * 7, 2 + usize::from(at) % 4);
        (first..first + many).map(|at| all[at % all.len()].clone()).collect()
    });
    for issuer in spec.issuers.values_mut() {
        (issuer.budget.per_account, issuer.parallel) = (None, 20);
    }
    for certificate in spec.certificates.values_mut() {
        certificate.rollout.parallel = 8;
    }
    spec
}

/// So many certificates, each on the nodes that `on` chooses of so many.
fn spread(certificates: u16, nodes: u16, on: impl Fn(u16, &[NodeName]) -> Vec<NodeName>) -> Spec {
    let node_names: Vec<NodeName> = (0..nodes).map(|at| format!("edge{at}").parse().expect("name")).collect();
    let issuer: IssuerName = "ca".parse().expect("name");
    let hook =
        Hook { argv: vec!["true".into()], shell: false, timeout: Duration::from_secs(120), certbot: false, unit: None };
    let node = |name: &NodeName| Node {
        name: name.clone(),
        kind: NodeKind::Exec(hook.clone()),
        live: "/live".into(),
        check: None,
        reload: Reload::Hook,
    };
    let notifier = Notifier { name: "ops".parse().expect("name"), kind: NotifierKind::Exec(hook.clone()) };
    Spec {
        paths: Paths { state: "/state".into(), live: "/live".into(), run: "/run".into() },
        resolvers: Vec::new(),
        http_port: 80,
        tls_port: 443,
        every: None,
        issuers: [(issuer.clone(), an_issuer(issuer))].into(),
        nodes: node_names.iter().map(|name| (name.clone(), node(name))).collect(),
        groups: std::collections::BTreeMap::new(),
        certificates: (0..certificates).map(|at| a_certificate(at, &on(at, &node_names), &hook)).collect(),
        notifiers: [(notifier.name.clone(), notifier)].into(),
        ping: None,
        metrics: None,
        limits: Limits::default(),
    }
}

fn an_issuer(name: IssuerName) -> Issuer {
    let directory = format!("https://{name}.example/staging");
    Issuer {
        dry_run: Some(Rehearsal { directory, roots: Roots::System, ca_bundle: None, profile: None }),
        directory: format!("https://{name}.example/dir"),
        name,
        roots: Roots::System,
        ca_bundle: None,
        contact: Vec::new(),
        agree_to_terms: true,
        profile: None,
        external_account: None,
        budget: Budget {
            per_set: Some(Quota { count: 3, per: Duration::from_secs(2 * 86_400) }),
            per_domain: None,
            per_account: Some(Quota { count: 300, per: Duration::from_secs(3 * 3_600) }),
            ..Budget::default()
        },
        parallel: 4,
    }
}

fn a_certificate(at: u16, nodes: &[NodeName], hook: &Hook) -> (CertName, Certificate) {
    let name = name(&format!("c{at}"));
    let names: Vec<Identifier> =
        ["", "www."].iter().map(|prefix| format!("{prefix}{name}.example.org").parse().expect("name")).collect();
    let solver = Solver::Http01(Http01::Webroot("/webroot".into()));
    // Every third certificate stands behind a balancer: nobody knows which node answers.
    let balanced = at % 3 == 2;
    let endpoint = |(number, node): (usize, &NodeName)| Endpoint {
        target: Target::Address(address(at, number)),
        sni: names[0].clone(),
        node: (!balanced).then(|| node.clone()),
        starttls: StartTls::No,
        expect: Expect::Leaf,
        from: Vantage::Here,
    };
    let many = if balanced { 1 } else { nodes.len() };
    let hooked = at.is_multiple_of(2);
    let certificate = Certificate {
        name: name.clone(),
        was: None,
        solvers: names.iter().map(|name| (name.clone(), solver.clone())).collect(),
        endpoints: nodes.iter().enumerate().take(many).map(endpoint).collect(),
        names,
        issuer: "ca".parse().expect("name"),
        profile: None,
        key: KeyAlgorithm::EcdsaP256,
        reuse_key: at % 4 == 3,
        usage: Usage::Server,
        nodes: nodes.to_vec(),
        confirm: Confirm::Handshakes(Handshakes {
            count: 3,
            over: Duration::from_secs(3),
            drain: Duration::from_secs(30),
            every: Duration::from_secs(6 * 3_600),
        }),
        rollout: Rollout {
            canaries: if at % 2 == 1 { nodes.iter().take(1).cloned().collect() } else { Vec::new() },
            parallel: 2,
            pause: Duration::ZERO,
            max_failures: None,
            roll_back: at % 2 == 1,
        },
        access: Access { owner: None, group: None, key_mode: 0o640, cert_mode: 0o644, dir_mode: 0o755 },
        files: Vec::new(),
        hooks: CertHooks { pre: hooked.then(|| hook.clone()), deploy: Vec::new(), post: hooked.then(|| hook.clone()) },
        placeholder: at == 0,
        notify: Vec::new(),
    };
    (name, certificate)
}

/// A certificate's endpoint on its node of that number.
fn address(certificate: u16, number: usize) -> SocketAddr {
    let ([high, low], [page, number]) = (certificate.to_be_bytes(), u16::try_from(number).unwrap_or(0).to_be_bytes());
    SocketAddr::from(([10 + high, page, low, number], 443))
}

// --------------------------------------------------------------------------------------------------------- random lives

/// The shape of a random life: how much there is, how long certificates live, how often anything is looked at.
pub(crate) struct Shape {
    pub(crate) spec: Spec,
    lifetime: Duration,
    ari_every: Duration,
    /// Records after which a journal is compacted.
    pub(crate) compact_after: usize,
}

impl Shape {
    /// Of a month, in which certificates live for days.
    pub(crate) fn of_month(dice: &mut Dice) -> Self {
        let lifetime = DAY * [6, 10, 16, 24, 30, 47][index(dice, 6)];
        Self::of(dice, lifetime)
    }

    /// Of a year, in which they live as long as outside.
    pub(crate) fn of_year(dice: &mut Dice) -> Self {
        let lifetime = DAY * [45, 47, 64, 90, 90, 100][index(dice, 6)];
        Self::of(dice, lifetime)
    }

    fn of(dice: &mut Dice, lifetime: Duration) -> Self {
        // Most lives are small: many small ones find more than a few large ones.
        let certificates = [1, 1, 1, 1, 1, 1, 1, 1, 2, 3][index(dice, 10)];
        let nodes = [1, 1, 1, 1, 1, 2, 2, 3][index(dice, 8)];
        let mut spec = configured(certificates, nodes);
        let every = HOUR * [24, 36, 60][index(dice, 3)];
        let unproven = dice.below(6) == 0;
        second_issuer(&mut spec, dice);
        for (at, certificate) in spec.certificates.values_mut().enumerate() {
            if let Confirm::Handshakes(confirm) = &mut certificate.confirm {
                (confirm.every, confirm.drain) = (every, Duration::from_secs(8));
            }
            if unproven && at == 0 {
                certificate.confirm = Confirm::None;
            }
            certificate.placeholder = dice.below(2) == 0;
            rolls_out(certificate, dice);
            if dice.below(3) == 0 {
                certificate.issuer = "other".parse().expect("name");
            }
        }
        for node in spec.nodes.values_mut() {
            // Where nothing is looked at from outside, the files on this machine are looked at every hour: that costs.
            if !unproven && dice.below(4) == 0 {
                node.kind = NodeKind::Local;
            }
        }
        let ari_every = HOUR * [12, 48, 72][index(dice, 3)];
        let compact_after = [2, 3, 40][index(dice, 3)];
        Self { spec, lifetime, ari_every, compact_after }
    }

    /// Makes the world's CAs as this life wants them.
    pub(crate) fn prepare(&self, state: &mut State) {
        for ca in state.cas.values_mut() {
            (ca.lifetime, ca.ari_every) = (self.lifetime, self.ari_every);
        }
    }
}

/// Canaries by count or none, waves of one or two, pauses that a run sits out or that outlive it, and how many nodes may fail.
fn rolls_out(certificate: &mut Certificate, dice: &mut Dice) {
    let rollout = &mut certificate.rollout;
    let canaries = index(dice, 3);
    rollout.canaries = certificate.nodes.iter().take(canaries).cloned().collect();
    rollout.parallel = [1, 1, 2][index(dice, 3)];
    rollout.pause = Duration::from_secs([0, 0, 30, 1_200, 1_200][index(dice, 5)]);
    rollout.max_failures = [None, None, Some(0), Some(0), Some(1)][index(dice, 5)];
}

fn index(dice: &mut Dice, below: u64) -> usize {
    usize::try_from(dice.below(below)).unwrap_or(0)
}

/// Another CA, with limits of its own, by domain and by account.
fn second_issuer(spec: &mut Spec, dice: &mut Dice) {
    let mut other = an_issuer("other".parse().expect("name"));
    let quota = |count, per| Some(Quota { count, per });
    other.budget = match dice.below(3) {
        0 => Budget { per_domain: quota(4, DAY * 2), ..Budget::default() },
        1 => Budget {
            per_set: quota(2, DAY),
            per_domain: quota(6, DAY * 2),
            per_account: quota(5, DAY),
            ..Budget::default()
        },
        _ => Budget { per_account: quota(6, DAY), ..Budget::default() },
    };
    spec.issuers.insert(other.name.clone(), other);
}
