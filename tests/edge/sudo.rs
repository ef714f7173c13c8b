//! `sudo: true`, with a sudo on the node that writes down what it is asked for: for nodes with everleaf, and for those with a POSIX sh.

use crate::receive::place::{Place, plain, words};
use crate::rig::snapshot;
use crate::support::shell;
use everleaf::config::spec::{Node, NodeKind, Receive, Reload, Ssh};
use everleaf::ports::{Generation, Production};
use everleaf::types::Class;

/// Writes down each call, its words in brackets and long ones short, and does as sudo does for who may do everything.
const SUDO: &str = r#"printf '[%.24s] ' "$@" | tr '\n' ' ' >>LOG; echo >>LOG
[ "$1" = -n ] || { echo 'sudo: a terminal is required to read the password' >&2; exit 1; }
shift; exec env SUDO_USER=deploy "$@""#;

/// The node `edge1`, where everything goes through sudo.
fn node(place: &Place, receive: Option<Receive>) -> Node {
    let log = place.world.path("sudo.log").display().to_string();
    place.program("sudo", &SUDO.replace("LOG", &log));
    let NodeKind::Ssh(ssh) = place.node().kind else { panic!("it is reached by ssh") };
    let line = format!("echo $SUDO_USER >>{}", place.world.path("reloaded").display());
    Node { kind: NodeKind::Ssh(Ssh { sudo: true, receive, ..ssh }), reload: Reload::Exec(shell(&line)), ..place.node() }
}

fn tour(place: &Place, node: &Node, generation: &Generation<Production>) {
    place.world.deploy(node, generation, 3).expect("deployed");
    let found = place.world.inspect(node, generation).expect("inspected").expect("known");
    assert!(found.intact && found.generation == Some(generation.about.generation), "{found:?}");
    place.reload(node, generation).expect("reloaded");
}

#[test]
fn a_node_without_everleaf_is_served_by_sh_through_sudo() {
    let place = Place::new();
    let (node, generation) = (node(&place, None), place.issue(7));
    tour(&place, &node, &generation);
    assert_eq!(place.world.read("reloaded"), "deploy\n", "also the command runs through sudo");
    let log = place.world.read("sudo.log");
    let each =
        log.lines().map(|line| line.starts_with("[-n] [sh] [-c] [set -eu umask 077 ") && line.contains("[everleaf]"));
    assert_eq!(each.collect::<Vec<_>>(), [true; 3], "{log}");
    let secret = generation.privkey.reveal().lines().nth(1).expect("a line");
    assert!(!log.contains(&secret[..24]));
}

#[test]
fn a_node_with_everleaf_runs_it_through_sudo() {
    let place = Place::new();
    let (node, generation) = (node(&place, Some(Receive::default())), place.issue(7));
    tour(&place, &node, &generation);
    // Hooks have a clean environment: nothing of sudo's is in it.
    assert_eq!(place.world.read("reloaded"), "\n");
    let log = place.world.read("sudo.log");
    let live = place.world.path("live").display().to_string();
    let begin = format!("[-n] [everleaf] [receive] [--live] [{live:.24}] [--reload] [echo $SUDO_USER");
    assert!(log.lines().count() == 3 && log.lines().all(|line| line.starts_with(&begin)), "{log}");

    // What says no more than is usual is just the command, which sudoers can name.
    let _absent = std::fs::remove_file(place.world.path("sudo.log")).is_err();
    let usual = Node { live: "/etc/everleaf/live".into(), reload: Reload::None, ..node };
    place.program("everleaf", "cat >/dev/null; exit 1");
    assert!(place.reload(&usual, &generation).is_err());
    assert_eq!(place.world.read("sudo.log"), "[-n] [everleaf] [receive] \n");
}

#[test]
fn a_sudo_that_asks_for_a_password_says_what_to_allow() {
    let place = Place::new();
    let generation = place.issue(7);
    let mut told = String::new();
    for receive in [None, Some(Receive::default())] {
        let node = node(&place, receive);
        place.program("sudo", "echo 'sudo: a password is required' >&2; exit 1");
        let failure = place.world.deploy(&node, &generation, 1).expect_err("nobody can type it");
        assert_eq!((failure.class, failure.code.as_str()), (Class::Operator, "ssh:sudo"));
        told += &words(&failure);
    }
    snapshot("edge/receive/sudo", &plain(&place, &told));
}
