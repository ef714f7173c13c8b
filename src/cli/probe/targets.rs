//! Which targets are meant: typed, in a file, or in the configuration.

use super::below::below;
use super::service::service;
use crate::cli::Stop;
use crate::cli::args::Probe;
use crate::cli::context::Context;
use crate::cli::stores::stores;
use crate::config::spec::{Certificate, Endpoint, Expect, NodeKind, Roots, Spec, StartTls, Target as Configured};
use crate::probe::chain::Store;
use crate::probe::files::{Identity, Service, Source};
use crate::probe::target::{Place, Query, Target, Via};
use crate::types::{Class, Failure, Identifier, KeyId, Printable, Vantage};
use crate::wire;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What is read of a file of targets: a hundred thousand of them.
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// HTTPS, for a name that only stands for its endpoints.
const HTTPS: u16 = 443;

/// What is to be looked at.
#[derive(Default)]
pub(super) struct Asked {
    /// In the order they were asked for.
    pub(super) looks: Vec<Look>,
    /// What could not be understood or read.
    pub(super) unusable: Vec<Failure>,
    /// The resolvers that were named.
    pub(super) resolvers: Vec<SocketAddr>,
    /// How to look at names that are below a target's.
    pub(super) below: Vec<Query>,
}

/// One target, and the files that it is held against.
#[derive(Clone)]
pub(super) struct Look {
    /// What is asked of it.
    pub(super) query: Query,
    /// What it is held against.
    pub(super) against: Against,
    /// From where the configuration wants it looked at.
    pub(super) from: Vantage,
}

/// Files that what is served is held against.
#[derive(Clone)]
pub(super) enum Against {
    /// None.
    Nothing,
    /// Those that were typed: that they cannot be read is told.
    Typed(Rc<Service>),
    /// Those of the configuration, which not everybody who may look at endpoints may read.
    Configured(Rc<Service>),
}

/// Everything that was asked for.
pub(super) fn asked(context: &Context, typed: &Probe, client: Option<Rc<Identity>>) -> Result<Asked, Stop> {
    let common = match Common::new(typed, client) {
        Ok(common) => common,
        Err(failure) => {
            return Ok(Asked { unusable: vec![failure], ..Asked::default() });
        }
    };
    let mut asked = Asked {
        looks: typed.targets.iter().flat_map(|it| common.looks(typed, it)).collect(),
        resolvers: typed.resolver.clone(),
        ..Asked::default()
    };
    if let Some(path) = &typed.from_file {
        match lines(path) {
            Ok(text) => read(&text, path, typed, &common, &mut asked),
            Err(failure) => asked.unusable.push(failure),
        }
    }
    if typed.all {
        configured(&context.load()?, typed, &common, &mut asked);
    }
    if !typed.quick {
        let spec = context.known();
        let known = spec.map(|spec| named(&spec, typed, &common)).unwrap_or_default();
        asked.below = below(&asked.looks, known);
    }
    Ok(asked)
}

/// Every name of the configuration: at its endpoints, and those that have none at the addresses they have.
fn named(spec: &Spec, typed: &Probe, common: &Common) -> Vec<Query> {
    let mut known = Asked::default();
    configured(spec, typed, common, &mut known);
    let mut queries: Vec<Query> = known.looks.into_iter().map(|look| look.query).collect();
    queries.retain(|query| query.starttls == StartTls::No);
    for certificate in spec.certificates.values() {
        let Ok(stores) = trusted(spec, certificate, typed, common) else { continue };
        let elsewhere = Common { starttls: StartTls::No, stores, against: Against::Nothing, ..common.clone() };
        for name in certificate.names.iter().filter(|name| !name.is_wildcard()) {
            let query = elsewhere.query(typed, &Place { host: name.clone(), port: None }, name.clone());
            queries.push(Query { connect: Vec::new(), send_name: true, ..query });
        }
    }
    queries
}

/// What all looks share.
#[derive(Clone)]
struct Common {
    starttls: StartTls,
    stores: Rc<[Store]>,
    pins: Rc<[KeyId]>,
    client: Option<Rc<Identity>>,
    vantage: Printable,
    against: Against,
}

impl Common {
    fn new(typed: &Probe, client: Option<Rc<Identity>>) -> Result<Self, Failure> {
        Ok(Self {
            starttls: typed.starttls.unwrap_or_default(),
            stores: stores(&typed.stores)?.into(),
            pins: typed.pins.as_slice().into(),
            client,
            vantage: wire::host(),
            against: service(typed)?.map_or(Against::Nothing, |service| Against::Typed(Rc::new(service))),
        })
    }

    /// One look for each name that is to be asked for at `place`.
    fn looks(&self, typed: &Probe, place: &Place) -> Vec<Look> {
        let names = if typed.sni.is_empty() { vec![place.host.clone()] } else { typed.sni.clone() };
        let look =
            |name| Look { query: self.query(typed, place, name), against: self.against.clone(), from: Vantage::Here };
        names.into_iter().map(look).collect()
    }

    fn query(&self, typed: &Probe, place: &Place, name: Identifier) -> Query {
        let via = |place: &Place| Via { place: place.clone(), node: None };
        Query {
            target: Target::new(place.clone(), self.starttls),
            connect: typed.connect.iter().map(via).collect(),
            name,
            send_name: !typed.no_sni,
            starttls: self.starttls,
            stores: Rc::clone(&self.stores),
            pins: Rc::clone(&self.pins),
            others: typed.sni.as_slice().into(),
            http_port: typed.http_port,
            quick: typed.quick,
            crl: typed.crl,
            client: self.client.clone(),
            vantage: self.vantage.clone(),
        }
    }
}

fn lines(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(MAX_FILE + 1).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
    };
    let refused = |why: String| Failure::new(Class::Operator, "probe:file", path.to_string_lossy(), why);
    match read {
        Ok(count) if count as u64 > MAX_FILE => Err(refused(format!("it is longer than {MAX_FILE} bytes"))
            .advise("Split the list, and probe its parts one after the other.")),
        Ok(_) => Ok(text),
        Err(error) => Err(refused(format!("the list of targets cannot be read: {error}"))
            .advise("Name a file with one target a line, or - for standard input.")),
    }
}

/// One target a line; what follows a `#` is a remark.
fn read(text: &str, path: &Path, typed: &Probe, common: &Common, asked: &mut Asked) {
    for (at, line) in text.lines().enumerate() {
        let target = line.split('#').next().unwrap_or_default().trim();
        match target.parse::<Place>() {
            _ if target.is_empty() => {}
            Ok(place) => asked.looks.extend(common.looks(typed, &place)),
            Err(why) => {
                let failure = Failure::new(
                    Class::Spec,
                    "probe:target",
                    format!("{}:{}", path.display(), at + 1),
                    why.to_string(),
                );
                asked.unusable.push(failure.advise("Write HOST, HOST:PORT, IP, IP:PORT or [IPv6]:PORT."));
            }
        }
    }
}

/// The endpoints of each certificate that ask for the same name in the same way from the same place: one fleet.
fn configured(spec: &Spec, typed: &Probe, common: &Common, asked: &mut Asked) {
    let endpoints = spec.certificates.values().flat_map(|certificate| &certificate.endpoints);
    let others: BTreeSet<Identifier> = endpoints.map(|endpoint| endpoint.sni.clone()).collect();
    let others: Rc<[Identifier]> = others.into_iter().collect();
    for certificate in spec.certificates.values() {
        let stores = match trusted(spec, certificate, typed, common) {
            Ok(stores) => stores,
            Err(failure) => {
                asked.unusable.push(failure);
                continue;
            }
        };
        let mut fleets: BTreeMap<(&Identifier, StartTls, Expect, &Vantage), Vec<&Endpoint>> = BTreeMap::new();
        for endpoint in &certificate.endpoints {
            fleets
                .entry((&endpoint.sni, endpoint.starttls, endpoint.expect, &endpoint.from))
                .or_default()
                .push(endpoint);
        }
        for ((name, starttls, _, from), endpoints) in fleets {
            let against = published(spec, certificate, &endpoints);
            let connect: Vec<Via> = endpoints.into_iter().filter_map(via).collect();
            let query = Query {
                target: Target {
                    host: name.clone(),
                    port: connect.first().and_then(|it| it.place.port).unwrap_or(HTTPS),
                },
                connect,
                name: name.clone(),
                send_name: true,
                starttls,
                stores: Rc::clone(&stores),
                pins: Rc::clone(&common.pins),
                others: Rc::clone(&others),
                http_port: typed.http_port,
                quick: typed.quick,
                crl: typed.crl,
                client: common.client.clone(),
                vantage: common.vantage.clone(),
            };
            asked.looks.push(Look { query, against, from: from.clone() });
        }
    }
}

/// The live directory that all these endpoints serve from, where it is one, on this machine, and something was published there.
fn published(spec: &Spec, certificate: &Certificate, endpoints: &[&Endpoint]) -> Against {
    let live = |endpoint: &&Endpoint| {
        let node = spec.nodes.get(endpoint.node.as_ref()?)?;
        let own = matches!(node.kind, NodeKind::Local) && endpoint.expect == Expect::Leaf;
        own.then(|| node.live.join(certificate.name.as_str()))
    };
    let mut all: Vec<Option<PathBuf>> = endpoints.iter().map(live).collect();
    all.dedup();
    match &mut all[..] {
        [Some(dir)] if dir.exists() || was_published(spec, certificate) => {
            let source = Source::Live(std::mem::take(dir));
            Against::Configured(Rc::new(Service { source, reader: None, nginx: None, haproxy: None }))
        }
        _ => Against::Nothing,
    }
}

/// Whether there is a generation of it: then what servers read should be there as well.
fn was_published(spec: &Spec, certificate: &Certificate) -> bool {
    let generations = spec.paths.state.join("certs").join(certificate.name.as_str()).join("gen");
    std::fs::read_dir(generations).is_ok_and(|mut all| all.next().is_some())
}

fn via(endpoint: &Endpoint) -> Option<Via> {
    let (host, port) = match &endpoint.target {
        Configured::Address(address) => (Identifier::Ip(address.ip()), address.port()),
        Configured::Host { host, port } => (host.parse().ok()?, *port),
    };
    Some(Via { place: Place { host, port: Some(port) }, node: endpoint.node.clone() })
}

/// The stores that were named, or what the certificate's issuer ends at.
fn trusted(spec: &Spec, certificate: &Certificate, typed: &Probe, common: &Common) -> Result<Rc<[Store]>, Failure> {
    let roots = spec.issuers.get(&certificate.issuer).map(|issuer| &issuer.roots);
    match roots {
        Some(Roots::File(path)) if typed.stores.is_empty() => Ok(stores(std::slice::from_ref(path))?.into()),
        _ => Ok(Rc::clone(&common.stores)),
    }
}
