//! `hooks/deploy-ssh` over a real sshd.

use crate::rig::{Sshd, repository, self_signed};
use crate::support::{block_on, context, generation, hook, scratch, until};
use everleaf::config::spec::Hook;
use everleaf::hook::{Answer, Call};
use everleaf::ports::HookContext;
use everleaf::types::{Epoch, Failure};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A node, reached through an sshd of its own, and what is to be carried there.
struct Node {
    sshd: Sshd,
    dir: tempfile::TempDir,
}

impl Node {
    fn start() -> Self {
        Self { sshd: Sshd::start(), dir: scratch() }
    }

    fn live(&self) -> PathBuf {
        self.dir.path().join("live")
    }

    fn published(&self, file: &str) -> String {
        fs::read_to_string(self.live().join("shop").join(file)).unwrap_or_default()
    }

    /// A generation's directory on this machine, with `chain` as its chain.
    fn generation(&self, number: u32, chain: &str) -> PathBuf {
        let dir = self.dir.path().join(generation(number).to_string());
        fs::create_dir_all(&dir).expect("mkdir");
        let (cert, key) = self_signed(&[&format!("shop{number}.example.com")]);
        fs::write(dir.join("cert.pem"), &cert).expect("write");
        fs::write(dir.join("chain.pem"), chain).expect("write");
        fs::write(dir.join("fullchain.pem"), format!("{cert}{chain}")).expect("write");
        fs::write(dir.join("privkey.pem"), &key).expect("write");
        dir
    }

    fn context(&self, number: u32, epoch: u64) -> HookContext {
        let files = self.dir.path().join(generation(number).to_string());
        let mut context = context("shop", &self.live().join("shop"), Some(&files));
        (context.generation, context.epoch) = (Some(generation(number)), Some(Epoch(epoch)));
        context
    }

    fn hook(&self, options: &[&str]) -> Hook {
        let script = repository().join("hooks/deploy-ssh").display().to_string();
        let config = self.sshd.client_config().display().to_string();
        let words: Vec<&str> = [script.as_str(), "-F", &config].into_iter().chain(options.iter().copied()).collect();
        hook(words.into_iter().chain(["edge"]))
    }

    fn call(&self, event: &'static str, options: &[&str], context: HookContext) -> Result<Answer, Failure> {
        let (hook, contexts) = (self.hook(options), [context]);
        block_on(Call::new(&hook, event, "node edge1").about(&contexts).run())
    }

    fn deploy(&self, number: u32, epoch: u64) -> Result<Answer, Failure> {
        self.call("deploy", &[], self.context(number, epoch))
    }

    fn inspect(&self, number: u32) -> serde_json::Value {
        match self.call("inspect", &[], self.context(number, 0)) {
            Ok(Answer::Done { stdout }) => serde_json::from_slice(&stdout).expect("one JSON line"),
            other => panic!("{other:?}"),
        }
    }

    /// Names in the certificate's live directory that begin with `..` and a word.
    fn hidden(&self, prefix: &str) -> Vec<String> {
        let entries = fs::read_dir(self.live().join("shop")).expect("a live directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        let mut names: Vec<_> = names.filter(|name| name.starts_with(prefix)).collect();
        names.sort();
        names
    }
}

fn told(failure: &Failure, word: &str) -> bool {
    failure.details.iter().any(|line| line.as_str().contains(word))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").mode() & 0o7777
}

const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

#[test]
fn one_round_trip_publishes_the_same_layout() {
    let node = Node::start();
    let files = node.generation(7, CHAIN);
    let read = |file: &str| fs::read_to_string(files.join(file)).expect("read");
    assert_eq!(node.inspect(7), serde_json::json!({"generation": null, "epoch": null, "intact": false}));
    node.deploy(7, 3).expect("deployed");
    for file in ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"] {
        assert_eq!(node.published(file), read(file), "{file}");
        let link = fs::read_link(node.live().join("shop").join(file)).expect("a link");
        assert_eq!(link, Path::new("..data").join(file));
    }
    assert_eq!(node.published("bundle.pem"), read("privkey.pem") + &read("cert.pem") + &read("chain.pem"));
    let data = fs::read_link(node.live().join("shop/..data")).expect("a link");
    assert_eq!(data, Path::new(&format!("..gen-{}", generation(7))));
    assert_eq!(mode(&node.live().join("shop/privkey.pem")), 0o600);
    assert_eq!(mode(&node.live().join("shop/bundle.pem")), 0o600);
    assert_eq!(mode(&node.live().join("shop/fullchain.pem")), 0o644);
    for dir in [node.live(), node.live().join("shop"), node.live().join("shop/..data")] {
        assert_eq!(mode(&dir), 0o755, "servers of other users can pass {}", dir.display());
    }
    let id = generation(7).to_string();
    assert_eq!(node.inspect(7), serde_json::json!({"generation": id, "epoch": 3, "intact": true}));
    let connections = node.sshd.log().matches("Accepted publickey").count();
    assert_eq!(connections, 3, "two looks and one deploy, a connection each");
}

#[test]
fn a_lower_epoch_is_refused_and_an_older_generation_is_not() {
    let node = Node::start();
    node.generation(7, CHAIN);
    node.generation(8, CHAIN);
    node.deploy(8, 5).expect("deployed");
    let published = node.published("fullchain.pem");
    let refused = node.deploy(7, 4).expect_err("a lower epoch");
    assert!(refused.code == "hook:refused" && told(&refused, "has epoch 5"), "{refused:?}");
    assert_eq!(node.published("fullchain.pem"), published);
    node.deploy(7, 6).expect("a rollback raises the epoch");
    assert_ne!(node.published("fullchain.pem"), published);
    assert_eq!(node.inspect(7)["epoch"], 6);
}

#[test]
fn old_generations_go_and_two_are_kept() {
    let node = Node::start();
    for number in 1..=4 {
        node.generation(number, CHAIN);
        node.deploy(number, u64::from(number)).expect("deployed");
    }
    node.deploy(4, 5).expect("again");
    assert_eq!(node.inspect(4)["epoch"], 5, "the same files, a newer decision");
    let wanted: Vec<_> = [3, 4].map(|number| format!("..gen-{}", generation(number))).to_vec();
    assert_eq!(node.hidden("..gen-"), wanted);
    assert!(node.hidden("..new-").is_empty() && node.hidden("..link-").is_empty());
}

#[test]
fn a_deploy_killed_in_the_upload_leaves_the_old_pair() {
    let node = Node::start();
    node.generation(7, CHAIN);
    node.deploy(7, 1).expect("deployed");
    let before = ["fullchain.pem", "privkey.pem", "bundle.pem"].map(|file| node.published(file));
    // Megabytes of chain: the upload takes long enough to be met in its middle.
    node.generation(8, &CHAIN.repeat(60_000));
    let (hook, contexts) = (node.hook(&[]), [node.context(8, 2)]);
    block_on(async {
        let call = Call::new(&hook, "deploy", "node edge1").about(&contexts).run();
        let half = || {
            let new = node.hidden("..new-");
            new.first().is_some_and(|new| {
                fs::metadata(node.live().join("shop").join(new).join("chain.pem")).is_ok_and(|file| file.len() > 4096)
            })
        };
        tokio::select! {
            answer = call => panic!("it ended before it could be killed: {answer:?}"),
            met = until(half) => assert!(met, "no upload was seen"),
        }
    });
    assert!(block_on(until(|| node.hidden("..new-").is_empty())), "the node tidies up behind a lost connection");
    let after = ["fullchain.pem", "privkey.pem", "bundle.pem"].map(|file| node.published(file));
    assert_eq!(after, before);
    assert_eq!(node.hidden("..gen-").len(), 1);
    assert_eq!(node.inspect(7)["epoch"], 1);
    node.generation(9, CHAIN);
    node.deploy(9, 3).expect("the next deploy goes through");
}

#[test]
fn a_damaged_file_is_seen_healed_and_not_reloaded() {
    let node = Node::start();
    node.generation(7, CHAIN);
    node.deploy(7, 1).expect("deployed");
    let key = node.published("privkey.pem");
    let marker = node.dir.path().join("reloaded");
    let reload = format!("touch {}", marker.display());
    let file = node.live().join("shop/..data/privkey.pem");
    fs::write(&file, "damaged").expect("damage");
    assert_eq!(node.inspect(7)["intact"], false);
    let refused = node.call("reload", &["--reload", &reload], node.context(7, 1)).expect_err("a damaged pair");
    assert!(told(&refused, "damaged or incomplete") && !marker.exists(), "{refused:?}");
    node.deploy(7, 1).expect("healed");
    assert_eq!(node.published("privkey.pem"), key);
    assert_eq!(mode(&file), 0o600);
    let data = fs::read_link(node.live().join("shop/..data")).expect("a link");
    assert_eq!(data, Path::new(&format!("..gen-{}.1", generation(7))), "what is shown is never changed");
    assert_eq!(node.inspect(7)["intact"], true);
    node.call("reload", &["--reload", &reload], node.context(7, 1)).expect("reloaded");
    assert!(marker.exists());
}

#[test]
fn what_was_there_before_is_kept_beside_it() {
    let node = Node::start();
    let files = node.generation(7, CHAIN);
    fs::create_dir_all(node.live().join("shop")).expect("mkdir");
    fs::write(node.live().join("shop/fullchain.pem"), "by hand").expect("write");
    node.deploy(7, 1).expect("deployed");
    assert_eq!(node.published("fullchain.pem"), fs::read_to_string(files.join("fullchain.pem")).expect("read"));
    assert_eq!(node.published("..foreign-fullchain.pem"), "by hand");
}

#[test]
fn check_and_reload_run_there_and_report() {
    let node = Node::start();
    let context = || node.context(7, 1);
    let failed = node.call("check", &["--check", "echo 'it is broken' >&2; exit 9"], context()).expect_err("it fails");
    assert!(told(&failed, "it is broken") && told(&failed, "exit status 9"), "{failed:?}");
    let quoted = node.call("check", &["--check", "test 'a  b' = \"a  b\""], context());
    assert!(matches!(quoted, Ok(Answer::Done { .. })), "{quoted:?}");
    for event in ["check", "reload", "pre", "post", "notify", "present"] {
        assert_eq!(node.call(event, &[], context()), Ok(Answer::NotForMe), "{event}");
    }
}

#[test]
fn owner_and_mode_are_the_key_s_before_its_content() {
    let node = Node::start();
    node.generation(7, CHAIN);
    let options = ["--owner", "daemon", "--group", "daemon"];
    node.call("deploy", &options, node.context(7, 1)).expect("deployed");
    let key = fs::metadata(node.live().join("shop/privkey.pem")).expect("a key");
    assert_eq!(key.mode() & 0o7777, 0o640);
    assert_eq!((key.uid(), key.gid()), (1, 1));
    let open = node.call("deploy", &["--key-mode", "0644"], node.context(7, 2)).expect_err("everybody could read it");
    assert!(told(&open, "everybody could use the key"), "{open:?}");
}

#[test]
fn an_unknown_or_changed_host_key_stops_everything() {
    let node = Node::start();
    node.generation(7, CHAIN);
    let dir = node.sshd.client_config().parent().expect("a directory").to_path_buf();
    let known = fs::read_to_string(dir.join("known_hosts")).expect("known_hosts");
    fs::write(dir.join("known_hosts"), "").expect("write");
    let unknown = node.deploy(7, 1).expect_err("an unknown host");
    assert!(told(&unknown, "known_hosts") && told(&unknown, "Nothing was sent"), "{unknown:?}");
    let user_key = fs::read_to_string(dir.join("user_key.pub")).expect("a key");
    let host = known.split(' ').next().expect("a host");
    let foreign = format!("{host} {}", user_key.split(' ').take(2).collect::<Vec<_>>().join(" "));
    fs::write(dir.join("known_hosts"), foreign + "\n").expect("write");
    let changed = node.call("deploy", &["-o", "StrictHostKeyChecking=no"], node.context(7, 1));
    let changed = changed.expect_err("another host key, and no option turns the check off");
    assert!(told(&changed, "known_hosts") && !node.live().exists(), "{changed:?}");
}

#[test]
fn a_node_that_is_down_is_tried_later_and_one_that_refuses_us_is_explained() {
    let mut node = Node::start();
    node.generation(7, CHAIN);
    let dir = node.sshd.client_config().parent().expect("a directory").to_path_buf();
    fs::write(dir.join("authorized_keys"), "").expect("write");
    let refused = node.deploy(7, 1).expect_err("no key of ours is there");
    assert!(refused.code == "hook:exit" && told(&refused, "authorized_keys"), "{refused:?}");
    node.sshd.stop();
    let down = node.deploy(7, 1).expect_err("nobody listens");
    assert!(down.code == "hook:later" && told(&down, "cannot be reached"), "{down:?}");
}

#[test]
fn it_works_where_the_login_shell_is_dash() {
    let node = Node::start();
    node.generation(7, CHAIN);
    let dir = node.sshd.client_config().parent().expect("a directory").to_path_buf();
    let key = fs::read_to_string(dir.join("user_key.pub")).expect("a key");
    let log = node.dir.path().join("commands");
    let line = format!(
        "command=\"printf '%s' \\\"$SSH_ORIGINAL_COMMAND\\\" >{}; exec dash -c \\\"$SSH_ORIGINAL_COMMAND\\\"\" {key}",
        log.display()
    );
    fs::write(dir.join("authorized_keys"), line).expect("write");
    node.deploy(7, 1).expect("deployed");
    assert_eq!(node.inspect(7)["intact"], true);
    let command = fs::read_to_string(&log).expect("the command was seen");
    let secret = node.published("privkey.pem").lines().nth(1).expect("a line").to_owned();
    assert!(secret.len() > 40 && !command.contains(&secret), "the key travels on stdin only");
}

#[test]
fn the_key_never_stands_in_an_argument() {
    let node = Node::start();
    let files = node.generation(7, CHAIN);
    let secret = fs::read_to_string(files.join("privkey.pem")).expect("a key");
    let log = node.dir.path().join("arguments");
    let shim = node.dir.path().join("bin");
    fs::create_dir(&shim).expect("mkdir");
    let text = format!("#!/bin/sh\n{{ printf '%s\\n' \"$@\"; env; }} >{}\nexec /usr/bin/ssh \"$@\"\n", log.display());
    let ssh = shim.join("ssh");
    fs::write(&ssh, text).expect("write");
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("chmod");
    let (hook, contexts) = (node.hook(&[]), [node.context(7, 1)]);
    let path = format!("{}:/usr/bin:/bin", shim.display());
    let call = Call::new(&hook, "deploy", "node edge1").about(&contexts).variable("PATH", path);
    block_on(call.run()).expect("deployed");
    let seen = fs::read_to_string(&log).expect("the shim ran");
    assert!(seen.contains("BatchMode=yes") && seen.contains("EVERLEAF_PRIVKEY="));
    assert!(!seen.contains(secret.lines().nth(1).expect("a line")));
}
