//! `--dry-run` is honest: what it tried, what it did not, and nothing changed.

use crate::far::FarFleet;
use crate::rig::scene::Scene;
use crate::rig::{Pebble, PebbleOptions, Validation};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A configuration whose issuer has a second Pebble to rehearse against.
fn rehearsed(yaml: &str, stage: &Pebble) -> String {
    let rehearsal = format!(
        "profile: tlsserver, dry_run: {{ directory: \"{}\", ca_bundle: {}, roots: {} }} }}",
        stage.directory(),
        stage.tls_root_file().display(),
        stage.issuing_root_file().display()
    );
    yaml.replace("profile: tlsserver }", &rehearsal)
}

/// The same with one certificate on this machine, whose node has a `check` and a reload that must not be run.
fn with_stage(stage: &Pebble, scene: &Scene, check: &str) -> String {
    let node = format!("nodes:\n  local: {{ check: [\"{check}\"], reload: {{ exec: [\"false\"] }} }}\ncertificates:");
    rehearsed(&scene.unproven(""), stage).replace("certificates:", &node)
}

fn stage() -> Pebble {
    let options = PebbleOptions { serve_http01: false, validation: Validation::Never, ..PebbleOptions::default() };
    Pebble::start(options)
}

/// Every file below `root` with its content, links with their target.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    use std::os::unix::ffi::OsStringExt as _;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() && !path.ends_with("rehearsal") {
            found.extend(tree(&path));
        } else if kind.is_symlink() {
            found.insert(path.clone(), std::fs::read_link(&path).expect("a link").into_os_string().into_vec());
        } else if kind.is_file() {
            found.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
    found
}

#[test]
fn a_rehearsal_issues_elsewhere_and_touches_nothing() {
    let (scene, stage) = (Scene::easy(), stage());
    scene.configure(&with_stage(&stage, &scene, "true"));
    let ran = scene.everleaf(&["renew", "--all", "--dry-run"]).exits(0);
    assert!(ran.out.contains("Not exercised"), "{}", ran.out);
    for untried in ["publishing", "reloading", "endpoint"] {
        assert!(ran.out.contains(untried), "{untried}: {}", ran.out);
    }
    assert_eq!((stage.issued(), scene.pebble.orders()), (1, 0));
    assert!(!scene.path("live").exists() || tree(&scene.path("live")).is_empty(), "nothing is published");
    assert!(!scene.path("state/certs/shop").exists(), "production knows nothing of it");
}

#[test]
fn a_rehearsal_beside_a_live_certificate_changes_no_file_of_it() {
    let (scene, stage) = (Scene::easy(), stage());
    let yaml = with_stage(&stage, &scene, "true");
    scene.run(&yaml.replace("exec: [\"false\"]", "exec: [\"true\"]")).exits(0);
    scene.configure(&yaml);
    let before = [tree(&scene.path("live")), tree(&scene.path("state/certs"))];
    for _ in 0..2 {
        scene.everleaf(&["renew", "shop", "--dry-run"]).exits(0);
    }
    assert_eq!([tree(&scene.path("live")), tree(&scene.path("state/certs"))], before);
    assert_eq!((stage.issued(), scene.pebble.orders()), (2, 1), "each rehearsal is a whole one");
}

#[test]
fn a_rehearsal_says_when_a_node_would_refuse() {
    let (scene, stage) = (Scene::easy(), stage());
    scene.configure(&with_stage(&stage, &scene, "false"));
    let ran = scene.everleaf(&["renew", "shop", "--dry-run"]).exits(1);
    assert!(ran.out.contains("failed") && ran.out.contains("local"), "{}", ran.out);
    assert!(ran.err.contains("local"), "{}", ran.err);
    let shown = scene.everleaf(&["renew", "shop", "--dry-run", "--json"]).exits(1).json();
    assert_eq!(shown["schema"], "everleaf.rehearsal/1");
    assert_eq!(shown["nodes"][0]["ok"], false, "{shown:#}");
}

#[test]
fn a_rehearsal_asks_far_nodes_whether_they_can_be_reached() {
    let (mut fleet, stage) = (FarFleet::new(), stage());
    let yaml = rehearsed(&fleet.yaml(), &stage);
    fleet.scene.run(&yaml).exits(0);
    let served = fleet.serials();
    fleet.scene.everleaf(&["renew", "shop", "--dry-run"]).exits(0);
    fleet.nodes[1].sshd.stop();
    let ran = fleet.scene.everleaf(&["renew", "shop", "--dry-run"]).exits(1);
    assert!(ran.out.contains("edge2") && ran.err.contains("edge2"), "the node is named: {ran:#?}");
    assert_eq!(fleet.serials(), served);
    assert_eq!(fleet.scene.pebble.orders(), 1);
}
