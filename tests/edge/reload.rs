//! Check and reload on real processes.

use crate::rig::self_signed;
use crate::support::{block_on, context, generation, hook, nodes, scratch, shell};
use crate::systemd::Recorder;
use everleaf::config::spec::{Hook, Node, NodeKind, Reload};
use everleaf::ports::{HookContext, Reloader};
use everleaf::types::{Class, Failure, NodeName};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A local node with one certificate published.
struct Machine {
    dir: tempfile::TempDir,
    systemd: Recorder,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { dir: scratch(), systemd: Recorder::new() };
        machine.publish("shop");
        machine
    }

    fn live(&self, name: &str) -> PathBuf {
        self.dir.path().join("live").join(name)
    }

    fn publish(&self, name: &str) {
        let data = format!("..gen-{}", generation(7));
        fs::create_dir_all(self.live(name).join(&data)).expect("mkdir");
        let (cert, key) = self_signed(&["shop.example.com"]);
        fs::write(self.live(name).join(&data).join("fullchain.pem"), cert).expect("write");
        fs::write(self.live(name).join(&data).join("privkey.pem"), key).expect("write");
        symlink(&data, self.live(name).join("..data")).expect("symlink");
    }

    fn contexts(&self, names: &[&str]) -> Vec<HookContext> {
        names.iter().map(|name| context(name, &self.live(name), None)).collect()
    }

    fn node(&self, check: Option<Hook>, reload: Reload) -> Node {
        let name = NodeName::new("edge1").expect("a name");
        Node { name, kind: NodeKind::Local, live: self.dir.path().join("live"), check, reload }
    }

    fn reload(&self, node: &Node, names: &[&str]) -> Result<(), Failure> {
        let contexts = self.contexts(names);
        block_on(nodes(&self.systemd).reload(node, &contexts))
    }

    fn marker(&self) -> (PathBuf, Reload) {
        let path = self.dir.path().join("reloaded");
        let line = format!("cat >>{0}; echo \"$EVERLEAF_EVENT $EVERLEAF_NAME $EVERLEAF_NAMES\" >>{0}", path.display());
        (path, Reload::Exec(shell(&line)))
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn one_reload_for_many_certificates() {
    let machine = Machine::new();
    machine.publish("blog");
    let (marker, reload) = machine.marker();
    machine.reload(&machine.node(Some(shell("exit 0")), reload), &["shop", "blog"]).expect("reloaded");
    let lines = lines(&marker);
    assert_eq!(lines.len(), 2, "one call: {lines:?}");
    let event: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
    let names: Vec<_> = event["certificates"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["shop", "blog"]);
    assert_eq!(lines[1], "reload shop shop blog");
}

#[test]
fn a_failed_check_means_no_reload() {
    let machine = Machine::new();
    let (marker, reload) = machine.marker();
    let check = shell("echo 'nginx: [emerg] unexpected end of file' >&2; exit 1");
    let node = machine.node(Some(check), reload);
    let failure = machine.reload(&node, &["shop"]).expect_err("the check failed");
    assert_eq!((failure.class, failure.code.as_str()), (Class::Retry, "check:failed"));
    assert!(failure.details.iter().any(|line| line.as_str().contains("unexpected end")), "{failure:?}");
    assert!(!marker.exists());
    let alone = block_on(nodes(&machine.systemd).check(&node)).expect_err("alone, too");
    assert_eq!(alone.code, "check:failed");
}

#[test]
fn a_pair_that_does_not_load_is_never_reloaded() {
    let machine = Machine::new();
    let (marker, reload) = machine.marker();
    let node = machine.node(None, reload);
    let code = || machine.reload(&node, &["shop"]).expect_err("refused").code;
    let key = machine.live("shop").join("..data/privkey.pem");
    fs::write(&key, self_signed(&["other.example.com"]).1).expect("write");
    assert_eq!(code(), "reload:pair", "another key");
    fs::write(&key, "").expect("write");
    assert_eq!(code(), "reload:pair", "no key");
    fs::remove_file(machine.live("shop").join("..data")).expect("remove");
    symlink("..gen-0006-00000000", machine.live("shop").join("..data")).expect("symlink");
    assert_eq!(code(), "reload:not-published");
    assert!(!marker.exists());
}

#[test]
fn a_unit_is_reloaded_and_must_survive_it() {
    let machine = Machine::new();
    let node = machine.node(None, Reload::Systemd { unit: "nginx".to_owned() });
    machine.reload(&node, &["shop"]).expect("reloaded");
    let asked = machine.systemd.asked();
    assert!(asked[0].ends_with("[reload] [--] [nginx]") && asked[1].ends_with("[is-active] [--] [nginx]"), "{asked:?}");
    machine.systemd.answer("systemctl", "case \"$*\" in *is-active*) echo failed; exit 3;; esac");
    assert_eq!(machine.reload(&node, &["shop"]).expect_err("it died").code, "systemd:inactive");
    machine.systemd.answer("systemctl", "echo 'Job for nginx.service failed.' >&2; exit 1");
    assert_eq!(machine.reload(&node, &["shop"]).expect_err("the job failed").code, "systemd:job");
}

#[test]
fn the_process_in_the_pid_file_gets_the_signal() {
    let machine = Machine::new();
    let (pid_file, seen) = (machine.dir.path().join("pid"), machine.dir.path().join("seen"));
    let line = format!(
        "trap 'echo got >{}; exit 0' HUP; echo $$ >{}; while :; do sleep 0.05; done",
        seen.display(),
        pid_file.display()
    );
    let mut server = std::process::Command::new("sh").args(["-c", &line]).spawn().expect("a server");
    assert!(block_on(crate::support::until(|| !lines(&pid_file).is_empty())), "no pid file");
    let node = machine.node(None, Reload::Signal { signal: "HUP".to_owned(), pid_file });
    let reloaded = machine.reload(&node, &["shop"]);
    let status = server.wait().expect("it ends by the signal");
    reloaded.expect("signalled");
    assert!(status.success());
    assert_eq!(lines(&seen), ["got"]);
    assert_eq!(machine.reload(&node, &["shop"]).expect_err("it is gone").code, "signal:gone");
}

#[test]
fn an_exec_node_s_own_hook_checks_and_reloads() {
    let machine = Machine::new();
    let log = machine.dir.path().join("events");
    let own = shell(&format!("echo $EVERLEAF_EVENT >>{}; test $EVERLEAF_EVENT != check || exit 42", log.display()));
    let node = Node { kind: NodeKind::Exec(own), ..machine.node(None, Reload::Hook) };
    machine.reload(&node, &["shop"]).expect("42 to check is no failure");
    assert_eq!(lines(&log), ["check", "reload"]);
    let overridden = Node { check: Some(hook(["true"])), reload: Reload::None, ..node };
    machine.reload(&overridden, &["shop"]).expect("nothing to reload");
    assert_eq!(lines(&log).len(), 2, "its own check replaces the hook's");
}
