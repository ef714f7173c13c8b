//! Deploying to this machine and through a node's hook.

use crate::rig::{Sshd, repository, self_signed};
use crate::support::{block_on, context, generation, hook, nodes, scratch, shell};
use crate::systemd::Recorder;
use everleaf::config::spec::{
    Access, CertHooks, Certificate, Confirm, ExtraFile, FileContent, Hook, KeyAlgorithm, Node, NodeKind, Reload,
    Rollout, Usage,
};
use everleaf::ports::{About, AnyGeneration, Deployer, Generation, Material, Production, Published, Reloader};
use everleaf::types::{
    CertName, Class, Epoch, Failure, IssuerName, KeyFamily, NodeName, Printable, Secret, Timestamp, Window, sha256,
};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// This machine with one certificate to deploy.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) systemd: Recorder,
    pub(crate) certificate: Certificate,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: scratch(), systemd: Recorder::new(), certificate: certificate() }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    pub(crate) fn node(&self, kind: NodeKind) -> Node {
        let name = NodeName::new("edge1").expect("a name");
        Node { name, kind, live: self.path("live"), check: None, reload: Reload::None }
    }

    /// The generation `number`, stored on this machine.
    pub(crate) fn generation(&self, number: u32) -> Generation<Production> {
        let (cert, key) = self_signed(&["shop.example.com"]);
        let dir = self.path(&format!("state/{}", generation(number)));
        fs::create_dir_all(&dir).expect("mkdir");
        for (file, text) in [("cert.pem", &cert), ("chain.pem", &String::new()), ("privkey.pem", &key)] {
            fs::write(dir.join(file), text).expect("write");
        }
        fs::write(dir.join("fullchain.pem"), &cert).expect("write");
        let material = Material { cert, chain: String::new(), privkey: Secret::new(key), served: Vec::new() };
        match AnyGeneration::new(about(number), dir, material) {
            AnyGeneration::Production(generation) => generation,
            AnyGeneration::Rehearsed(_) => panic!("no rehearsal"),
        }
    }

    pub(crate) fn deploy(
        &self,
        node: &Node,
        what: &Generation<Production>,
        epoch: u64,
    ) -> Result<Vec<Printable>, Failure> {
        let context = context("shop", &self.path("elsewhere"), None);
        block_on(nodes(&self.systemd).deploy(node, &self.certificate, what, Epoch(epoch), &context))
    }

    pub(crate) fn inspect(&self, node: &Node, what: &Generation<Production>) -> Result<Option<Published>, Failure> {
        block_on(nodes(&self.systemd).inspect(node, &self.certificate, what))
    }
}

pub(crate) fn about(number: u32) -> About {
    let digest = sha256(&[b"made up"]);
    let (start, end) = (Timestamp::from_secs(1_795_000_000), Timestamp::from_secs(1_800_000_000));
    About {
        generation: generation(number),
        leaf: digest,
        serial: "00aa".parse().expect("a serial"),
        key: digest,
        family: KeyFamily::Ecdsa,
        validity: Window::new(start, end).expect("a window"),
        names: vec!["shop.example.com".parse().expect("a domain")],
        ari: None,
        issued_by: Printable::new("nobody"),
        issuer: IssuerName::new("le").expect("a name"),
        directory: "https://ca.example/dir".to_owned(),
        rehearsal: false,
        account: "https://ca.example/account/1".to_owned(),
        spec_digest: digest,
        accepted: Some(start),
    }
}

fn certificate() -> Certificate {
    Certificate {
        name: CertName::new("shop").expect("a name"),
        was: None,
        names: vec!["shop.example.com".parse().expect("a domain")],
        issuer: IssuerName::new("le").expect("a name"),
        profile: None,
        key: KeyAlgorithm::EcdsaP256,
        reuse_key: false,
        usage: Usage::Server,
        solvers: BTreeMap::new(),
        nodes: vec![NodeName::new("edge1").expect("a name")],
        endpoints: Vec::new(),
        confirm: Confirm::None,
        rollout: Rollout {
            canaries: Vec::new(),
            parallel: 1,
            pause: std::time::Duration::ZERO,
            max_failures: None,
            roll_back: false,
        },
        access: Access { owner: None, group: None, key_mode: 0o600, cert_mode: 0o644, dir_mode: 0o755 },
        files: Vec::new(),
        hooks: CertHooks::default(),
        placeholder: false,
        notify: Vec::new(),
    }
}

pub(crate) fn published(number: u32, epoch: u64, intact: bool) -> Published {
    Published { generation: Some(generation(number)), epoch: Some(Epoch(epoch)), intact }
}

#[test]
fn here_it_publishes_writes_extra_files_and_runs_the_certificate_s_hooks() {
    let mut world = World::new();
    let told = world.path("told");
    let line = format!("echo $EVERLEAF_EVENT $EVERLEAF_EPOCH $EVERLEAF_LIVE_DIR $EVERLEAF_BUNDLE >>{}", told.display());
    world.certificate.hooks.deploy = vec![shell("exit 42"), shell(&line)];
    world.certificate.files = vec![ExtraFile {
        path: world.path("extra.pem"),
        content: FileContent::Bundle,
        owner: None,
        group: None,
        mode: 0o640,
    }];
    let (node, generation) = (world.node(NodeKind::Local), world.generation(7));
    world.deploy(&node, &generation, 3).expect("deployed");
    assert_eq!(world.read("live/shop/fullchain.pem"), generation.fullchain());
    assert_eq!(world.read("extra.pem"), generation.bundle().reveal());
    assert_eq!(fs::metadata(world.path("extra.pem")).expect("metadata").mode() & 0o777, 0o640);
    let dir = world.path("live/shop").display().to_string();
    assert_eq!(world.read("told"), format!("deploy 3 {dir} {dir}/bundle.pem\n"));
    assert_eq!(world.inspect(&node, &generation), Ok(Some(published(7, 3, true))));
    assert_eq!(world.deploy(&node, &world.generation(6), 2).expect_err("a lower epoch").code, "publish:epoch");
}

#[test]
fn a_deploy_hook_that_fails_fails_the_deploy_and_the_next_one_runs_it_again() {
    let mut world = World::new();
    let flag = world.path("flag");
    world.certificate.hooks.deploy = vec![shell(&format!("test -e {}", flag.display()))];
    let (node, generation) = (world.node(NodeKind::Local), world.generation(7));
    let failed = world.deploy(&node, &generation, 1).expect_err("the hook failed");
    assert_eq!((failed.class, failed.code.as_str()), (Class::Retry, "hook:exit"));
    assert!(failed.place.as_str().contains("shop") && failed.place.as_str().contains("edge1"), "{failed:?}");
    fs::write(&flag, "").expect("write");
    world.deploy(&node, &generation, 1).expect("deployed");
}

#[test]
fn a_placeholder_lets_a_server_start_and_is_never_ours() {
    let world = World::new();
    let node = world.node(NodeKind::Local);
    block_on(nodes(&world.systemd).placeholder(&node, &world.certificate)).expect("published");
    assert!(world.read("live/shop/fullchain.pem").starts_with("-----BEGIN CERTIFICATE-----"));
    let generation = world.generation(7);
    let found = world.inspect(&node, &generation).expect("inspected").expect("known");
    assert_eq!((found.generation, found.intact), (None, false));
    let away = world.node(NodeKind::Exec(hook(["true"])));
    let refused = block_on(nodes(&world.systemd).placeholder(&away, &world.certificate)).expect_err("no event for it");
    assert_eq!(refused.code, "deploy:placeholder");
}

#[test]
fn a_node_s_hook_is_asked_and_believed_as_far_as_it_goes() {
    let world = World::new();
    let generation = world.generation(7);
    let node = |line: &str| world.node(NodeKind::Exec(shell(line)));
    let deploy = |line: &str| world.deploy(&node(line), &generation, 4).map_err(|failure| failure.code);
    let expected = format!(
        "test $EVERLEAF_EVENT = deploy && test $EVERLEAF_EPOCH = 4 && test $EVERLEAF_GENERATION = {} && \
         test $EVERLEAF_LIVE_DIR = {} && cmp $EVERLEAF_PRIVKEY {}/privkey.pem",
        generation.about.generation,
        world.path("live/shop").display(),
        generation.dir.display()
    );
    assert_eq!(deploy(&expected), Ok(Vec::new()));
    assert_eq!(deploy("exit 42"), Err("deploy:not-for-me".to_owned()));
    assert_eq!(deploy("exit 43"), Err("publish:epoch".to_owned()));
    let inspect = |line: &str| world.inspect(&node(line), &generation).map_err(|failure| failure.code);
    assert_eq!(inspect("exit 42"), Ok(None));
    assert_eq!(inspect("echo nonsense"), Err("hook:answer".to_owned()));
    let line = format!("echo '{{\"generation\":\"{}\",\"epoch\":4,\"intact\":false}}'", generation.about.generation);
    assert_eq!(inspect(&line), Ok(Some(published(7, 4, false))));
}

#[test]
fn the_shipped_hook_carries_a_generation_through_the_same_door() {
    let world = World::new();
    let (sshd, generation) = (Sshd::start(), world.generation(7));
    let script = repository().join("hooks/deploy-ssh").display().to_string();
    let config = sshd.client_config().display().to_string();
    let marker = world.path("reloaded").display().to_string();
    let reload = format!("echo reloaded >>{marker}");
    let words: Hook = hook([&script, "-F", &config, "--check", "true", "--reload", &reload, "edge"]);
    let node = Node { reload: Reload::Hook, ..world.node(NodeKind::Exec(words)) };
    let nothing = Published { generation: None, epoch: None, intact: false };
    assert_eq!(world.inspect(&node, &generation), Ok(Some(nothing)));
    world.deploy(&node, &generation, 3).expect("deployed");
    assert_eq!(world.inspect(&node, &generation), Ok(Some(published(7, 3, true))));
    assert_eq!(world.deploy(&node, &world.generation(6), 2).expect_err("a lower epoch").code, "publish:epoch");
    let contexts = [context("shop", &world.path("live/shop"), None)];
    block_on(nodes(&world.systemd).reload(&node, &contexts)).expect("reloaded");
    assert_eq!(world.read("reloaded"), "reloaded\n");
    // What the hook published is what everleaf itself would have.
    let here = Node { kind: NodeKind::Local, ..node };
    assert_eq!(world.inspect(&here, &generation), Ok(Some(published(7, 3, true))));
    assert!(world.deploy(&here, &generation, 3).expect("nothing to do").is_empty());
}
