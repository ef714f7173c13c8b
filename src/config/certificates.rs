//! `certificates:` and `defaults:`

use super::endpoints::{Served, default_confirm};
use super::fleet::Fleet;
use super::known::known;
use super::problem::{At, Problem};
use super::read::{Fields, Reader, listed, nearest, unknown_key};
use super::rollout::default_rollout;
use super::solvers::Placed;
use super::spec::{
    Access, CertHooks, Certificate, Confirm, Endpoint, ExtraFile, FileContent, Hook, Issuer, KeyAlgorithm, Paths, Usage,
};
use super::yaml::{Node, Value, shortened};
use crate::types::{CertName, Identifier, InvalidName, IssuerName, KeyFamily, NodeName};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::str::FromStr;
use std::time::Duration;

/// Names in one certificate: no CA known takes more than a hundred, private ones might.
const MAX_NAMES: usize = 1000;

/// What belongs to one certificate and cannot be a default.
const OWN: [&str; 3] = ["name", "names", "was"];
/// What `defaults:` may hold.
const DEFAULTS: [&str; 16] = [
    "issuer",
    "profile",
    "key",
    "keys",
    "reuse_key",
    "use",
    "solver",
    "nodes",
    "endpoints",
    "confirm",
    "rollout",
    "live",
    "files",
    "hooks",
    "placeholder",
    "notify",
];

/// What the rest of the configuration declares, broken entries included: a reference to one is no second mistake.
pub(super) struct Declared<'a> {
    pub(super) issuers: Vec<&'a str>,
    pub(super) fleet: &'a Fleet,
    pub(super) notifiers: Vec<&'a str>,
    /// Local nodes without a written `reload:`.
    pub(super) unmoved: HashSet<&'a str>,
    pub(super) read_issuers: &'a BTreeMap<IssuerName, Issuer>,
    pub(super) paths: &'a Paths,
    pub(super) hook_time: Duration,
    pub(super) defaults: Option<&'a Node>,
}

/// Certificates as they come in, with what may not occur twice among all of them.
#[derive(Default)]
pub(super) struct Certificates {
    pub(super) read: BTreeMap<CertName, Certificate>,
    places: HashMap<CertName, At>,
    was: Vec<(CertName, At)>,
    endpoints: HashMap<(Endpoint, KeyFamily), At>,
    files: HashMap<std::path::PathBuf, At>,
}

impl Certificates {
    /// Reads one entry of the list.
    pub(super) fn add(&mut self, reader: &Reader<'_>, node: &Node, declared: &Declared<'_>) {
        let Some(mut fields) = Fields::open(reader, node, "a certificate, a mapping with name and names,") else {
            return;
        };
        fields = fields.with_defaults(declared.defaults);
        let name = fields.own("name").map(|node| (reader.name::<CertName>(node), node.at));
        if name.is_none() {
            fields.missing("name", "write name: SOMETHING; it becomes the directory's name");
        }
        let Some(certificate) = reader.certificate(&mut fields, declared, self) else { return };
        fields.close(reader);
        let Some((Some(name), at)) = name else { return };
        let (first, twin) = certificate;
        let twin = twin.map(|key| (CertName::new(format!("{name}-{}", key.family())), key));
        self.insert(reader, Certificate { name: name.clone(), ..first.clone() }, at);
        match twin {
            None => {}
            Some((Ok(twin), key)) => self.insert(reader, Certificate { name: twin, key, was: None, ..first }, at),
            Some((Err(error), _)) => {
                reader.error(at, error.to_string(), "choose a shorter name: the second key's is this with -rsa");
            }
        }
    }

    fn insert(&mut self, reader: &Reader<'_>, certificate: Certificate, at: At) {
        let name = certificate.name.clone();
        if let Some(first) = self.places.insert(name.clone(), at) {
            let problem =
                Problem::error(at, format!("there are two certificates named `{name}`")).also(first, "first here");
            reader.sink.push(problem.help("give one of them another name"));
            return;
        }
        self.read.insert(name, certificate);
    }

    /// What only all certificates together can show.
    pub(super) fn finish(&self, reader: &Reader<'_>) {
        for (was, at) in &self.was {
            if self.read.contains_key(was) {
                let help = "take `was` out, or the other certificate";
                reader.error(
                    *at,
                    format!("a certificate `{was}` is still configured, so nothing of it can be adopted"),
                    help,
                );
            }
        }
    }

    /// No endpoint can serve two certificates of one key family for one name.
    fn endpoint_once(&mut self, reader: &Reader<'_>, endpoint: &Endpoint, family: KeyFamily, at: At) {
        let same = Endpoint { node: None, ..endpoint.clone() };
        match self.endpoints.get(&(same.clone(), family)) {
            Some(first) => {
                let message = format!("another entry already has this address serve `{}`", endpoint.sni);
                let problem = Problem::error(at, message).also(*first, "first here");
                reader.sink.push(problem.help("one address serves one certificate for a name: keep one of the two"));
            }
            None => {
                self.endpoints.insert((same, family), at);
            }
        }
    }
}

impl Reader<'_> {
    /// All of a certificate but its name; and the second key, where two are asked for.
    fn certificate(
        &self,
        fields: &mut Fields<'_>,
        declared: &Declared<'_>,
        all: &mut Certificates,
    ) -> Option<(Certificate, Option<KeyAlgorithm>)> {
        let written = fields.own("names");
        if written.is_none() {
            fields.missing("names", "write names: [www.example.com]");
        }
        let names = written.map(|node| self.names(node)).unwrap_or_default();
        let (key, twin) = self.keys(fields);
        let issuer = self.issuer_of(fields, declared);
        let read_issuer = issuer.as_ref().and_then(|issuer| declared.read_issuers.get(issuer));
        let own_profile = fields.take("profile").map(|node| (self.profile(node), node.at));
        let profile = own_profile.clone().and_then(|(profile, _)| profile).or_else(|| read_issuer?.profile.clone());
        let usage = self.usage(fields, read_issuer);
        self.addresses(&names, read_issuer, profile.as_deref());
        let inherited = !fields.has("solver");
        let solvers = fields
            .required("solver", "write solver: { http-01: { listen: \"0.0.0.0:80\" } }, or dns-01 with a hook")
            .map(|node| self.solvers(node, inherited, &names, declared.hook_time))
            .unwrap_or_default();
        let nodes = self.nodes_of(fields, declared);
        let served = Served { names: &names, nodes: &nodes, fleet: declared.fleet };
        let (endpoints, confirm) = self.served(fields, &served, all, &[Some(key), twin]);
        let certificate = Certificate {
            // Replaced by the caller, who knows it.
            name: CertName::new("unnamed").ok()?,
            was: self.was(fields, all),
            issuer: issuer.or_else(|| IssuerName::new("unknown").ok())?,
            profile,
            key,
            reuse_key: fields.take("reuse_key").and_then(|node| self.flag(node)).unwrap_or(false),
            usage,
            solvers,
            rollout: fields
                .take("rollout")
                .and_then(|node| self.rollout(node, &nodes, declared.fleet))
                .unwrap_or_else(default_rollout),
            nodes,
            endpoints,
            confirm,
            access: fields
                .take("live")
                .and_then(|node| self.access(node))
                .unwrap_or_else(|| Access::of(None, None, [None; 3])),
            files: fields.take("files").map(|node| self.files(node, declared, all)).unwrap_or_default(),
            hooks: fields.take("hooks").and_then(|node| self.cert_hooks(node, declared.hook_time)).unwrap_or_default(),
            placeholder: fields.take("placeholder").and_then(|node| self.flag(node)).unwrap_or(false),
            notify: fields
                .take("notify")
                .map(|node| self.references(node, &declared.notifiers, "notifier"))
                .unwrap_or_default(),
            names: names.into_iter().map(|(name, _)| name).collect(),
        };
        self.reloads(fields.at, &certificate, declared);
        Some((certificate, twin))
    }

    /// New files that no server reads are the commonest way to renew in vain.
    fn reloads(&self, at: At, certificate: &Certificate, declared: &Declared<'_>) {
        let unmoved = certificate.nodes.iter().find(|node| declared.unmoved.contains(node.as_str()));
        let proved = matches!(certificate.confirm, Confirm::Handshakes(_));
        if let Some(node) = unmoved.filter(|_| proved && certificate.hooks.deploy.is_empty()) {
            let message = format!("nothing makes the servers on `{node}` read new files");
            let help = format!(
                "write nodes: {{ {node}: {{ reload: {{ systemd: nginx }} }} }}, or reload: none if they watch their files"
            );
            self.sink.push(Problem::warning(at, message).help(help));
        }
    }

    fn names(&self, node: &Node) -> Vec<Placed> {
        let items = self.one_or_more(node, "a DNS name or an IP address");
        if items.len() > MAX_NAMES {
            self.error(
                node.at,
                format!("{} names are more than any CA takes", items.len()),
                "spread them over several certificates",
            );
            return Vec::new();
        }
        let mut first: HashMap<Identifier, At> = HashMap::with_capacity(items.len());
        let mut names: Vec<Placed> = Vec::with_capacity(items.len());
        for item in items {
            let Some(name) = self.identifier(item) else { continue };
            if let Some(first) = first.get(&name) {
                let problem = Problem::error(item.at, format!("`{name}` is named twice")).also(*first, "first here");
                self.sink.push(problem.help("keep one"));
                continue;
            }
            first.insert(name.clone(), item.at);
            names.push((name, item.at));
        }
        if first.keys().any(Identifier::is_wildcard) {
            self.redundant(&names);
        }
        names
    }

    /// Boulder refuses an order that names what its own wildcard covers.
    fn redundant(&self, names: &[Placed]) {
        for (name, at) in names.iter().filter(|(name, _)| !name.is_wildcard()) {
            if let Some((wildcard, _)) =
                names.iter().find(|(wildcard, _)| wildcard.is_wildcard() && wildcard.covers(name))
            {
                let problem = Problem::warning(
                    *at,
                    format!("`{name}` is covered by `{wildcard}` already, and some CAs refuse both together"),
                );
                self.sink.push(problem.help("take it out"));
            }
        }
    }

    /// The key's algorithm; and a second one of the other family, which makes a second lineage.
    fn keys(&self, fields: &mut Fields<'_>) -> (KeyAlgorithm, Option<KeyAlgorithm>) {
        const DEFAULT: KeyAlgorithm = KeyAlgorithm::EcdsaP256;
        let words = [
            ("ecdsa-p256", KeyAlgorithm::EcdsaP256),
            ("ecdsa-p384", KeyAlgorithm::EcdsaP384),
            ("rsa-2048", KeyAlgorithm::Rsa2048),
            ("rsa-3072", KeyAlgorithm::Rsa3072),
            ("rsa-4096", KeyAlgorithm::Rsa4096),
            ("ecdsa", KeyAlgorithm::EcdsaP256),
            ("rsa", KeyAlgorithm::Rsa2048),
        ];
        // A certificate's own `key` outranks default `keys`, and the other way round.
        let (key, keys) = match (fields.has("key"), fields.has("keys")) {
            (true, false) => (fields.take("key"), None),
            (false, true) => (None, fields.take("keys")),
            _ => (fields.take("key"), fields.take("keys")),
        };
        if let (Some(_), Some(keys)) = (key, keys) {
            self.error(keys.at, "`key` and `keys` are both written", "keep one");
        }
        let Some(node) = keys.or(key) else { return (DEFAULT, None) };
        let items = self.one_or_more(node, "a key's algorithm");
        let read: Vec<KeyAlgorithm> = items.iter().filter_map(|item| self.word(item, &words)).collect();
        match read.as_slice() {
            [] => (DEFAULT, None),
            [one] => (*one, None),
            [one, two] if one.family() != two.family() => {
                let ecdsa_first = one.family() == KeyFamily::Ecdsa;
                if ecdsa_first { (*one, Some(*two)) } else { (*two, Some(*one)) }
            }
            [one, ..] => {
                self.error(
                    node.at,
                    "servers choose between one ECDSA and one RSA certificate, and no others",
                    "write keys: [ecdsa-p256, rsa-2048]",
                );
                (*one, None)
            }
        }
    }

    fn issuer_of(&self, fields: &mut Fields<'_>, declared: &Declared<'_>) -> Option<IssuerName> {
        if let Some(node) = fields.take("issuer") {
            return self.reference(node, &declared.issuers, "issuer");
        }
        match declared.issuers.as_slice() {
            [only] => IssuerName::new(*only).ok(),
            [] => {
                self.error(fields.at, "there is no issuer to ask", "declare one under `issuers:`");
                None
            }
            several => {
                fields.missing("issuer", format!("there are several: write {}", listed(several)));
                None
            }
        }
    }

    /// A name declared elsewhere in the configuration.
    fn reference<T: FromStr<Err = InvalidName>>(&self, node: &Node, declared: &[&str], what: &str) -> Option<T> {
        let text = self.text(node, &format!("the name of a {what}"))?;
        if declared.contains(&text) {
            return text.parse().ok();
        }
        let help = match (nearest(text, declared), declared) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, []) => format!("declare it under `{what}s:`"),
            (None, declared) => format!("declare it under `{what}s:`, or write {}", listed(declared)),
        };
        self.error(node.at, format!("there is no {what} `{}`", shortened(text)), help);
        None
    }

    fn references<T: FromStr<Err = InvalidName> + PartialEq>(
        &self,
        node: &Node,
        declared: &[&str],
        what: &str,
    ) -> Vec<T> {
        let mut found: Vec<T> = Vec::new();
        for item in self.one_or_more(node, &format!("the name of a {what}")) {
            let Some(name) = self.reference(item, declared, what) else { continue };
            if found.contains(&name) {
                self.error(item.at, format!("`{}` is listed twice", item.scalar().unwrap_or_default()), "keep one");
            } else {
                found.push(name);
            }
        }
        found
    }

    fn nodes_of(&self, fields: &mut Fields<'_>, declared: &Declared<'_>) -> Vec<NodeName> {
        match fields.take("nodes") {
            Some(node) => declared.fleet.groups().selected(self, node),
            None => vec![NodeName::local()],
        }
    }

    fn usage(&self, fields: &mut Fields<'_>, issuer: Option<&Issuer>) -> Usage {
        let Some(node) = fields.take("use") else { return Usage::Server };
        let words = [("server", Usage::Server), ("client", Usage::Client), ("both", Usage::Both)];
        let usage = self.word(node, &words).unwrap_or_default();
        let known = issuer.and_then(|issuer| known(&issuer.directory));
        if let Some(known) = known.filter(|known| usage != Usage::Server && !known.client_auth) {
            let message = format!(
                "{} issues no certificate that is good for TLS clients: no profile there grants clientAuth",
                known.operator
            );
            self.error(node.at, message, "ask a private CA for client certificates, or write use: server");
        }
        usage
    }

    /// Some CAs certify addresses under one profile only.
    fn addresses(&self, names: &[Placed], issuer: Option<&Issuer>, profile: Option<&str>) {
        let Some(known) = issuer.and_then(|issuer| known(&issuer.directory)) else { return };
        let Some(wanted) = known.ip_profile.filter(|wanted| profile != Some(wanted)) else { return };
        if let Some((name, at)) = names.iter().find(|(name, _)| matches!(name, Identifier::Ip(_))) {
            let message =
                format!("{} certifies IP addresses such as {name} only under the profile {wanted}", known.operator);
            self.error(*at, message, format!("write profile: {wanted}"));
        }
    }

    fn served(
        &self,
        fields: &mut Fields<'_>,
        served: &Served<'_>,
        all: &mut Certificates,
        keys: &[Option<KeyAlgorithm>],
    ) -> (Vec<Endpoint>, Confirm) {
        let written = fields.take("endpoints");
        let endpoints = written.map(|node| self.endpoints(node, served)).unwrap_or_default();
        for (endpoint, at) in &endpoints {
            for key in keys.iter().flatten() {
                all.endpoint_once(self, endpoint, key.family(), *at);
            }
        }
        let confirm = match fields.take("confirm") {
            Some(node) => self.confirm(node),
            None => Some(default_confirm()),
        };
        if written.is_none() && matches!(confirm, Some(Confirm::Handshakes(_))) {
            let message = "nothing says where this certificate is served, so nothing could prove that it is live";
            let help = "write endpoints: public, or list them as { address: \"IP:PORT\" }; or write confirm: none, and it is never called live";
            self.error(fields.at, message, help);
        }
        if let (Some(written), Some(Confirm::Handshakes(_))) = (written, &confirm) {
            self.unwatched(written.at, served.nodes, &endpoints);
        }
        (endpoints.into_iter().map(|(endpoint, _)| endpoint).collect(), confirm.unwrap_or(Confirm::None))
    }

    fn was(&self, fields: &mut Fields<'_>, all: &mut Certificates) -> Option<CertName> {
        let node = fields.own("was")?;
        let was = self.name::<CertName>(node)?;
        all.was.push((was.clone(), node.at));
        Some(was)
    }

    fn access(&self, node: &Node) -> Option<Access> {
        let mut fields = Fields::open(self, node, "owner, group and modes, a mapping,")?;
        let owner = fields.take("owner").and_then(|node| self.account(node));
        let group = fields.take("group").and_then(|node| self.account(node));
        let key = fields.take("key_mode").and_then(|node| {
            self.mode(node, Access::KEY_MODES, "a private key is for its owner and group, and is no program")
        });
        let cert = fields.take("cert_mode").and_then(|node| {
            self.mode(node, Access::CERT_MODES, "certificates are no programs, and not for everybody to change")
        });
        let dir = fields
            .take("dir_mode")
            .and_then(|node| self.mode(node, Access::DIR_MODES, "nobody else may replace what lies in it"));
        fields.close(self);
        Some(Access::of(owner, group, [key, cert, dir]))
    }

    /// A user's or group's name, or number.
    fn account(&self, node: &Node) -> Option<String> {
        const MAX_ACCOUNT: usize = 64;
        let text = self.text(node, "the name of a user or group")?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'@' | b'\\' | b'$');
        if text.len() > MAX_ACCOUNT || text.starts_with('-') || !text.bytes().all(allowed) {
            self.error(
                node.at,
                format!("`{}` is no name of a user or group", shortened(text)),
                "write it as `id` shows it",
            );
            return None;
        }
        Some(text.to_owned())
    }

    fn files(&self, node: &Node, declared: &Declared<'_>, all: &mut Certificates) -> Vec<ExtraFile> {
        self.list(node, "a list of files").iter().filter_map(|item| self.extra_file(item, declared, all)).collect()
    }

    fn extra_file(&self, node: &Node, declared: &Declared<'_>, all: &mut Certificates) -> Option<ExtraFile> {
        let mut fields = Fields::open(self, node, "a file, a mapping with path and content,")?;
        let words = [
            ("cert", FileContent::Cert),
            ("chain", FileContent::Chain),
            ("fullchain", FileContent::Fullchain),
            ("privkey", FileContent::Privkey),
            ("bundle", FileContent::Bundle),
        ];
        let path_node = fields.required("path", "write where the file goes");
        let path = path_node.and_then(|node| self.path(node));
        let content = fields
            .required("content", "write content: fullchain, privkey, bundle, cert or chain")
            .and_then(|node| self.word(node, &words));
        let keyed = matches!(content, Some(FileContent::Privkey | FileContent::Bundle));
        let owner = fields.take("owner").and_then(|node| self.account(node));
        let group = fields.take("group").and_then(|node| self.account(node));
        let (allowed, why) = if keyed {
            (Access::KEY_MODES, "this file holds a private key")
        } else {
            (Access::CERT_MODES, "a certificate is no program, and not for everybody to change")
        };
        let mode = fields.take("mode").and_then(|node| self.mode(node, allowed, why));
        fields.close(self);
        let (path, at) = (path?, path_node?.at);
        if [&declared.paths.live, &declared.paths.state, &declared.paths.run].iter().any(|own| path.starts_with(own)) {
            self.error(
                at,
                format!("{} lies in a directory that everleaf keeps for itself", path.display()),
                "choose a place outside of it",
            );
        } else if let Some(first) = all.files.insert(path.clone(), at) {
            let problem = Problem::error(at, format!("{} is written twice", path.display())).also(first, "first here");
            self.sink.push(problem.help("give one of them another path"));
        }
        let default = match (keyed, group.is_some()) {
            (false, _) => 0o644,
            (true, true) => 0o640,
            (true, false) => 0o600,
        };
        Some(ExtraFile { path, content: content?, owner, group, mode: mode.unwrap_or(default) })
    }

    fn cert_hooks(&self, node: &Node, time: Duration) -> Option<CertHooks> {
        let mut fields = Fields::open(self, node, "hooks, a mapping with pre, deploy or post,")?;
        let pre = fields.take("pre").and_then(|node| self.hook(node, time));
        let deploy = fields.take("deploy").map(|node| self.deploy_hooks(node, time)).unwrap_or_default();
        let post = fields.take("post").and_then(|node| self.hook(node, time));
        fields.close(self);
        Some(CertHooks { pre, deploy, post })
    }

    /// One hook, or a list of hooks: a list that begins with a text is one hook's program and arguments.
    fn deploy_hooks(&self, node: &Node, time: Duration) -> Vec<Hook> {
        match &node.value {
            Value::List(items) if items.first().is_some_and(|item| !matches!(item.value, Value::Scalar { .. })) => {
                items.iter().filter_map(|item| self.hook(item, time)).collect()
            }
            _ => self.hook(node, time).into_iter().collect(),
        }
    }

    /// The keys of `defaults:`. Its values are read with the certificates that use them.
    pub(super) fn default_keys(&self, node: &Node) {
        let Some(fields) = Fields::open(self, node, "defaults, a mapping,") else { return };
        for (key, _) in fields.entries() {
            let name = key.scalar().unwrap_or_default();
            if OWN.contains(&name) {
                self.error(
                    key.at,
                    format!("`{name}` belongs to one certificate and cannot be a default"),
                    "write it in the certificate",
                );
            } else if !DEFAULTS.contains(&name) {
                unknown_key(self, key.at, name, &DEFAULTS);
            }
        }
    }
}
