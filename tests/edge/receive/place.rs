//! A node that has everleaf, behind an sshd of its own, and a CA whose certificates are carried there.

use crate::deploy::{World, about};
use crate::rig::Sshd;
use crate::rig::scene::{Ran, everleaf};
use crate::support::{block_on, context, nodes};
use everleaf::config::spec::{Node, NodeKind, Receive, Ssh};
use everleaf::pki::parse;
use everleaf::ports::{About, AnyGeneration, Generation, HookContext, Material, Production, Reloader};
use everleaf::types::{Failure, GenId, Secret};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Somebody who issues.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
}

impl Authority {
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params
    }

    fn root(name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().expect("a key"));
        Self { pem: params.self_signed(&key).expect("a root").pem(), params, key }
    }

    fn below(&self, name: &str) -> Self {
        let (params, key) = (Self::params(name), KeyPair::generate().expect("a key"));
        Self { pem: self.sign(&params, &key), params, key }
    }

    pub(crate) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> String {
        params.signed_by(key, &Issuer::from_params(&self.params, &self.key)).expect("a certificate").pem()
    }
}

/// The node and its surroundings.
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) sshd: Sshd,
    pub(crate) root: Authority,
    pub(crate) upper: Authority,
    /// Where a login finds programs.
    programs: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let programs = world.path("there");
        fs::create_dir(&programs).expect("a directory");
        std::os::unix::fs::symlink(everleaf(), programs.join("everleaf")).expect("a link");
        let root = Authority::root("Edge Root");
        let upper = root.below("Edge CA");
        Self { sshd: Sshd::with_programs("edge", &programs), world, root, upper, programs }
    }

    /// Has a login find this script by that name.
    pub(crate) fn program(&self, name: &str, text: &str) {
        let _absent = fs::remove_file(self.programs.join(name)).is_err();
        crate::support::script(&self.programs, name, &format!("#!/bin/sh\n{text}\n"));
    }

    /// What a certificate that is as it should be is made of.
    pub(crate) fn params() -> CertificateParams {
        let mut params = CertificateParams::new(vec!["shop.example.com".to_owned()]).expect("valid names");
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params
    }

    /// The generation `number`, as it should be.
    pub(crate) fn issue(&self, number: u32) -> Generation<Production> {
        self.issue_as(number, &Self::params())
    }

    /// One with something else in it.
    pub(crate) fn issue_as(&self, number: u32, params: &CertificateParams) -> Generation<Production> {
        let key = KeyPair::generate().expect("a key");
        let cert = self.upper.sign(params, &key);
        made(number, &cert, &self.upper.pem, &key.serialize_pem())
    }

    pub(crate) fn node(&self) -> Node {
        let host = "ssh://edge".parse().expect("a host");
        let receive = Some(Receive::default());
        self.world.node(NodeKind::Ssh(Ssh { host, config: Some(self.sshd.client_config()), sudo: false, receive }))
    }

    /// Binds the sender's key to `everleaf receive ARGUMENTS`.
    pub(crate) fn force(&self, arguments: &str) {
        let file = self.sshd.dir().join("authorized_keys");
        let key = fs::read_to_string(self.sshd.dir().join("user_key.pub")).expect("a key");
        let command = format!("everleaf receive {arguments}").replace('"', "\\\"");
        fs::write(file, format!("restrict,command=\"{command}\" {key}")).expect("written");
    }

    /// Runs `everleaf receive ARGUMENTS` on this machine, with `stdin`.
    pub(crate) fn receive(&self, arguments: &[&str], stdin: &[u8]) -> Ran {
        let file = self.world.path("stdin");
        fs::write(&file, stdin).expect("written");
        self.receive_from(arguments, File::open(&file).expect("it is there").into())
    }

    pub(crate) fn receive_from(&self, arguments: &[&str], stdin: Stdio) -> Ran {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "120"]).arg(everleaf()).arg("receive");
        command.arg("--live").arg(self.world.path("live")).args(arguments);
        command.env_clear().env("PATH", "/usr/bin:/bin").stdin(stdin);
        Ran::new(&command.output().expect("it runs"))
    }

    pub(crate) fn about(&self, generation: &Generation<Production>) -> HookContext {
        let context = context("shop", &self.world.path("elsewhere"), None);
        HookContext { generation: Some(generation.about.generation), ..context }
    }

    pub(crate) fn reload(&self, node: &Node, generation: &Generation<Production>) -> Result<(), Failure> {
        block_on(nodes(&self.world.systemd).reload(node, &[self.about(generation)]))
    }

    /// Every name below the live directory with what is in it: whoever changes anything changes this.
    pub(crate) fn lies(&self) -> String {
        let mut find = Command::new("sh");
        find.arg("-c").arg("cd \"$0\" 2>/dev/null || exit 0; find . -type d -printf '%p %m %u %g\n' -o -printf '%p %l %m %u %g %T@\n' | sort; find . -type f | sort | xargs -r cat");
        let found = find.arg(self.world.path("live")).output().expect("find");
        String::from_utf8(found.stdout).expect("text")
    }
}

/// A generation of these files.
pub(crate) fn made(number: u32, cert: &str, chain: &str, key: &str) -> Generation<Production> {
    let leaf = parse::chain(cert.as_bytes()).expect("a certificate").remove(0);
    let about = About {
        generation: GenId::new(number, &leaf.fingerprint()),
        leaf: leaf.fingerprint(),
        serial: leaf.serial().clone(),
        ..about(number)
    };
    let [cert, chain] = [cert, chain].map(str::to_owned);
    let material = Material { cert, chain, privkey: Secret::new(key.to_owned()), served: Vec::new() };
    match AnyGeneration::new(about, PathBuf::from("/nowhere"), material) {
        AnyGeneration::Production(generation) => generation,
        AnyGeneration::Rehearsed(_) => panic!("no rehearsal"),
    }
}

/// What is said of a file.
fn sum(text: &str) -> Value {
    json!({ "bytes": text.len(), "sha256": everleaf::types::sha256(&[text.as_bytes()]).to_string() })
}

/// The manifest of a bundle that carries `generation` as it should be.
pub(crate) fn manifest(generation: &Generation<Production>, epoch: u64) -> Value {
    let files = json!({ "cert": sum(&generation.cert), "chain": sum(&generation.chain),
        "privkey": sum(generation.privkey.reveal()) });
    json!({ "schema": "everleaf.bundle/1", "everleaf": "0.1.0", "node": "edge1", "errand": { "deploy": {
        "name": "shop", "generation": generation.about.generation.to_string(), "epoch": epoch, "files": files } } })
}

/// A bundle with this manifest and the files of `generation`.
pub(crate) fn bundle(manifest: &Value, generation: &Generation<Production>) -> Vec<u8> {
    let files = [generation.cert.as_str(), &generation.chain, generation.privkey.reveal()].concat();
    format!("{manifest}\n{files}").into_bytes()
}

/// A bundle without files, for an errand.
pub(crate) fn errand(errand: &Value) -> Vec<u8> {
    let manifest = json!({ "schema": "everleaf.bundle/1", "everleaf": "0.1.0", "node": "edge1", "errand": errand });
    format!("{manifest}\n").into_bytes()
}

/// A failure as it is told to people.
pub(crate) fn words(failure: &Failure) -> String {
    let details: String = failure.details.iter().flat_map(|line| ["    - ", line.as_str(), "\n"]).collect();
    format!("{}\n    {}: {}\n    {}\n{details}", failure.code, failure.place, failure.message, failure.advice)
}

/// The failure that an answer tells.
pub(crate) fn failure(ran: &Ran) -> Failure {
    serde_json::from_value(ran.json()["failure"].clone()).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// `text` without what differs from run to run.
pub(crate) fn plain(place: &Place, text: &str) -> String {
    let dir = place.world.path("");
    let text = text.replace(dir.to_string_lossy().trim_end_matches('/'), "/NODE");
    let text = text.replace(&place.sshd.dir().display().to_string(), "/SSH");
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let hex = regex::Regex::new(r"\b(\d{4}-)?[0-9a-f]{8}\b|\b[0-9a-f]{40}\b").expect("a valid expression");
    let text = hex.replace_all(&text, "${1}DIGEST").into_owned();
    let temporary = regex::Regex::new(r"\.\.tmp-\d+-\d+").expect("a valid expression");
    let text = temporary.replace_all(&text, "..tmp").into_owned();
    let time = regex::Regex::new(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z").expect("a valid expression");
    time.replace_all(&text, "TIME").into_owned()
}

/// The serial number of a generation's leaf as openssl shows it.
pub(crate) fn serial(generation: &Generation<Production>) -> String {
    crate::rig::scene::plain_serial(&generation.about.serial.to_string())
}

/// Whether anything below `dir` is there.
pub(crate) fn exists(dir: &Path) -> bool {
    dir.symlink_metadata().is_ok()
}
