//! Nodes of type ssh, over a real sshd.

use crate::deploy::{World, published};
use crate::rig::{Sshd, require};
use crate::support::{block_on, context, hook, nodes, shell};
use everleaf::config::spec::{Access, Node, NodeKind, Reload, Ssh};
use everleaf::ports::{Deployer, Published, Reloader};
use everleaf::types::{Class, Epoch, Failure};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

/// A node behind an sshd, and what is carried there.
struct Far {
    world: World,
    sshd: Sshd,
}

impl Far {
    fn new() -> Self {
        Self { world: World::new(), sshd: Sshd::start() }
    }

    /// One that has nothing but `tools`, as busybox has them, and `sh`, which is the program `shell`.
    fn poor(shell: &str, tools: &[&str]) -> Self {
        let world = World::new();
        let programs = world.path("programs");
        fs::create_dir(&programs).expect("mkdir");
        for tool in tools {
            // Debian's busybox has no cksum.
            let program = require(if *tool == "cksum" { "cksum" } else { "busybox" });
            symlink(program, programs.join(tool)).expect("a link");
        }
        symlink(require(shell), programs.join("sh")).expect("a link");
        Self { sshd: Sshd::with_only(&programs), world }
    }

    fn node(&self) -> Node {
        let host = "ssh://edge".parse().expect("a host");
        let ssh = Ssh { host, config: Some(self.sshd.client_config()), sudo: false, receive: None };
        self.world.node(NodeKind::Ssh(ssh))
    }

    fn reload(&self, node: &Node) -> Result<(), Failure> {
        let contexts = [context("shop", &self.world.path("live/shop"), None)];
        block_on(nodes(&self.world.systemd).reload(node, &contexts))
    }

    fn logins(&self) -> usize {
        self.sshd.log().matches("Accepted publickey").count()
    }
}

#[test]
fn it_publishes_looks_checks_and_reloads_there() {
    let far = Far::new();
    let world = &far.world;
    let generation = world.generation(7);
    let marker = world.path("reloaded");
    let node = Node {
        check: Some(hook(["test", "a  b's", "=", "a  b's"])),
        reload: Reload::Exec(shell(&format!("echo $0 >>{}", marker.display()))),
        ..far.node()
    };
    let nothing = Published { generation: None, epoch: None, intact: false };
    assert_eq!(world.inspect(&node, &generation), Ok(Some(nothing)));
    assert_eq!(world.deploy(&node, &generation, 3), Ok(Vec::new()));
    assert_eq!(world.inspect(&node, &generation), Ok(Some(published(7, 3, true))));
    assert_eq!(far.reload(&node), Ok(()));
    assert_eq!(world.read("reloaded"), "sh\n");
    let mode = |file: &str| fs::metadata(world.path(file)).expect("it is there").mode() & 0o7777;
    assert_eq!(
        ["privkey.pem", "bundle.pem", "cert.pem"].map(|it| mode(&format!("live/shop/{it}"))),
        [0o600, 0o600, 0o644]
    );
    // What was published there is what everleaf itself would have published.
    let here = Node { kind: NodeKind::Local, ..node.clone() };
    assert_eq!(world.inspect(&here, &generation), Ok(Some(published(7, 3, true))));
    assert!(world.deploy(&here, &generation, 3).expect("nothing to do").is_empty());
    let refused = world.deploy(&node, &world.generation(6), 2).expect_err("a lower epoch");
    assert_eq!((refused.class, refused.code.as_str()), (Class::Operator, "publish:epoch"));
    assert!(refused.place.as_str().starts_with("node edge1 (ssh://edge)"), "{refused:?}");
}

/// What POSIX promises, or nearly: readlink came in 2024, and sync takes names where it can.
const FEW: [&str; 10] = ["printf", "mkdir", "chmod", "cat", "mv", "ln", "rm", "readlink", "sync", "cksum"];

#[test]
fn a_node_needs_a_posix_shell_and_the_usual_tools() {
    for shell in ["busybox", "mksh", "dash", "bash"] {
        for more in [&[][..], &["sha256sum"]] {
            let far = Far::poor(shell, &[&FEW[..], more].concat());
            let (world, node) = (&far.world, far.node());
            let (older, newer) = (world.generation(7), world.generation(8));
            assert_eq!(world.deploy(&node, &older, 3), Ok(Vec::new()), "{shell} {more:?}");
            assert_eq!(world.deploy(&node, &older, 4), Ok(Vec::new()), "{shell} {more:?}: the same again");
            assert_eq!(world.deploy(&node, &newer, 5), Ok(Vec::new()), "{shell} {more:?}");
            let refused = world.deploy(&node, &older, 4).expect_err("a lower epoch");
            assert_eq!(refused.code, "publish:epoch", "{shell} {more:?}: {refused:?}");
            assert_eq!(world.inspect(&node, &newer), Ok(Some(published(8, 5, true))), "{shell} {more:?}");
            fs::write(world.path("live/shop/..data/privkey.pem"), "damaged").expect("write");
            assert_eq!(world.inspect(&node, &newer), Ok(Some(published(8, 5, false))), "{shell} {more:?}");
        }
    }
}

#[test]
fn owner_and_modes_are_as_configured() {
    let mut far = Far::new();
    let (daemon, group) = (Some("daemon".to_owned()), Some("daemon".to_owned()));
    far.world.certificate.access = Access { owner: daemon, group, key_mode: 0o640, cert_mode: 0o640, dir_mode: 0o750 };
    let (node, generation) = (far.node(), far.world.generation(7));
    far.world.deploy(&node, &generation, 1).expect("deployed");
    let about = |file: &str| {
        let found = fs::metadata(far.world.path(file)).expect("it is there");
        (found.mode() & 0o7777, found.uid(), found.gid())
    };
    assert_eq!(about("live/shop/privkey.pem"), (0o640, 1, 1));
    assert_eq!(about("live/shop/chain.pem"), (0o640, 1, 1));
    assert_eq!(about("live/shop/..data/.").0, 0o750);
}

#[test]
fn what_a_command_there_says_is_told_and_a_damaged_pair_is_not_reloaded() {
    let far = Far::new();
    let world = &far.world;
    let generation = world.generation(7);
    world.deploy(&far.node(), &generation, 1).expect("deployed");
    let told = |check: Option<&str>, reload: &str| {
        let node = Node { check: check.map(shell), reload: Reload::Exec(shell(reload)), ..far.node() };
        let failure = far.reload(&node).expect_err("it fails");
        (failure.code, failure.message.to_string())
    };
    let check = told(Some("echo 'unknown directive' >&2; exit 9"), "touch /nowhere/at/all");
    assert_eq!(check, ("check:failed".into(), "the check command ended with exit status 9: unknown directive".into()));
    let (code, message) = told(None, "no-such-command");
    assert_eq!(code, "ssh:exit");
    assert!(
        message.starts_with("the reload command ended with exit status 127: ") && message.contains("not found"),
        "{message}"
    );
    // What the command ends with is never taken for what the node's own part would say.
    assert_eq!(told(None, "exit 43").0, "ssh:exit");
    let key = fs::canonicalize(world.path("live/shop/privkey.pem")).expect("it is there");
    fs::write(key, "damaged").expect("written");
    assert_eq!(told(None, "true").0, "reload:pair");
    world.deploy(&far.node(), &generation, 1).expect("healed");
    far.reload(&Node { reload: Reload::Exec(shell("true")), ..far.node() }).expect("reloaded");
}

#[test]
fn errands_share_one_connection_where_there_is_room_for_its_socket() {
    let far = Far::new();
    let (node, generation) = (far.node(), far.world.generation(7));
    let sockets = tempfile::Builder::new().prefix("s").tempdir_in("/tmp").expect("a short name");
    fs::set_permissions(sockets.path(), fs::Permissions::from_mode(0o700)).expect("private");
    let shared = nodes(&far.world.systemd).sharing(sockets.path().to_path_buf());
    let about = context("shop", &PathBuf::from("/elsewhere"), None);
    let deploy = || shared.deploy(&node, &far.world.certificate, &generation, Epoch(1), &about);
    block_on(async {
        for _ in 0..3 {
            deploy().await.expect("deployed");
        }
    });
    assert_eq!(far.logins(), 1, "{}", far.sshd.log());
    let alone = Far::new();
    let (node, generation) = (alone.node(), alone.world.generation(7));
    for _ in 0..2 {
        alone.world.deploy(&node, &generation, 1).expect("deployed");
    }
    assert_eq!(alone.logins(), 2);
}

#[test]
fn a_node_that_cannot_be_reached_says_why() {
    let mut far = Far::new();
    let (node, generation) = (far.node(), far.world.generation(7));
    far.sshd.stop();
    let down = far.world.deploy(&node, &generation, 1).expect_err("it is down");
    assert_eq!((down.class, down.code.as_str()), (Class::Retry, "ssh:unreachable"));
    far.sshd.restart();
    fs::write(far.sshd.dir().join("known_hosts"), "").expect("written");
    let unknown = far.world.deploy(&node, &generation, 1).expect_err("nobody knows it");
    assert_eq!((unknown.class, unknown.code.as_str()), (Class::Operator, "ssh:host-key-unknown"));
    assert!(!far.world.path("live").exists(), "nothing was sent");
}
