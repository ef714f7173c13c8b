//! A node that has everleaf, whose key is bound to `everleaf receive` by a forced command that says everything: the sender's
//! configuration only says where it is.

use crate::rig::scene::{Scene, everleaf, left_behind, plain_serial};
use crate::rig::{Nginx, Sshd, free_port, host, openssl_serial};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

/// One edge behind an sshd, with nginx and everleaf.
struct Edge {
    scene: Scene,
    sshd: Sshd,
    at: SocketAddr,
    nginx: Nginx,
}

impl Edge {
    fn new() -> Self {
        Self::reloading(|nginx| nginx.reload_command().join(" "))
    }

    /// One whose forced command reloads by this line.
    fn reloading(reload: impl Fn(&Nginx) -> String) -> Self {
        let scene = Scene::easy();
        let at = SocketAddr::from((host(), free_port()));
        let live = scene.path("edge/live/shop");
        left_behind(&live);
        let nginx = Nginx::start(&Nginx::tls(at, &live.join("fullchain.pem"), &live.join("privkey.pem")), at);
        let programs = scene.path("programs");
        fs::create_dir(&programs).expect("a directory");
        symlink(everleaf(), programs.join("everleaf")).expect("a link");
        let sshd = Sshd::with_programs("edge", &programs);
        let command = format!(
            "everleaf receive --only shop --live {} --check '{}' --reload '{}' --probe {at} --roots {}",
            scene.path("edge/live").display(),
            nginx.check_command().join(" "),
            reload(&nginx),
            scene.pebble.issuing_root_file().display(),
        );
        let key = fs::read_to_string(sshd.dir().join("user_key.pub")).expect("a key");
        fs::write(sshd.dir().join("authorized_keys"), format!("restrict,command=\"{command}\" {key}"))
            .expect("written");
        Self { scene, sshd, at, nginx }
    }

    fn yaml(&self) -> String {
        format!(
            "{}nodes:\n  far: {{ type: ssh, host: edge, ssh_config: {}, receive: true }}\ncertificates:\n  - name: shop\n    \
             names: [shop.example.com]\n    issuer: pebble\n    {}\n    nodes: [far]\n    \
             endpoints: [{{ address: \"{}\", node: far }}]\n    confirm: {{ handshakes: 4, over: 1s, drain: 4s }}\n",
            self.scene.preamble(),
            self.sshd.client_config().display(),
            self.scene.solver(),
            self.at,
        )
    }

    fn served(&self) -> Option<String> {
        openssl_serial(self.at, "shop.example.com").map(|serial| plain_serial(&serial))
    }
}

#[test]
fn a_node_that_receives_becomes_live_and_catches_up_after_it_was_down() {
    let mut edge = Edge::new();
    let yaml = edge.yaml();
    edge.scene.run(&yaml).exits(0);
    let first = edge.scene.serial("shop");
    assert_eq!(edge.served(), Some(first.clone()));

    // Renewed while it is down, and once more: it catches up with the newest, without an order of its own.
    edge.sshd.stop();
    for _ in 0..2 {
        edge.scene.everleaf(&["renew", "shop", "--force", "--yes"]).exits(20);
    }
    assert_eq!(edge.served(), Some(first.clone()), "it serves on what it has");
    let (newest, orders) = (edge.scene.serial("shop"), edge.scene.pebble.orders());
    assert_ne!(newest, first);
    edge.sshd.restart();
    edge.scene.everleaf(&["deploy", "shop"]).exits(0);
    assert_eq!(edge.served(), Some(newest.clone()));
    assert_eq!(edge.scene.status("shop")["stage"], "live");
    assert_eq!(edge.scene.pebble.orders(), orders);

    // A rollback is a higher epoch with an older certificate.
    edge.scene.everleaf(&["rollback", "shop"]).exits(0);
    assert_ne!(edge.served(), Some(newest));
    assert_eq!(edge.scene.status("shop")["stage"], "live");
}

#[test]
fn a_node_whose_files_were_put_back_is_brought_up_again() {
    let edge = Edge::new();
    edge.scene.run(&edge.yaml()).exits(0);
    let served = edge.served();
    let (live, kept) = (edge.scene.path("edge/live"), edge.scene.path("edge/kept"));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        crate::rig::run(std::process::Command::new("cp").arg("-a").arg(from).arg(to), None);
    };
    copy(&live, &kept);
    edge.scene.everleaf(&["renew", "shop", "--force"]).exits(0);
    let newest = edge.served();
    assert_ne!(newest, served);
    // A backup from before, and nginx started from it.
    fs::remove_dir_all(&live).expect("removed");
    copy(&kept, &live);
    edge.nginx.reload();
    let orders = edge.scene.pebble.orders();
    edge.scene.forget_seen("shop");
    edge.scene.everleaf(&["run"]).exits(0);
    assert_eq!(edge.served(), newest);
    assert_eq!(edge.scene.pebble.orders(), orders);
}

#[test]
fn a_reload_there_that_does_nothing_is_told_by_the_node_and_found_from_outside() {
    let edge = Edge::reloading(|_| "true".to_owned());
    let old = edge.served().expect("nginx serves what it started with");
    let ran = edge.scene.run(&edge.yaml()).exits(20);
    let (warned, said): (Vec<_>, Vec<_>) = ran.err.lines().partition(|line| line.contains("WARN"));
    let by_node =
        |line: &&str| line.contains(&format!("{} there shows for shop: serial", edge.at)) && line.contains(&old);
    assert!(warned.iter().any(by_node), "{}", ran.err);
    assert!(said.iter().any(|line| line.contains(&old) && line.contains(&edge.at.to_string())), "{}", ran.err);
    assert_ne!(edge.scene.status("shop")["stage"], "live");
}
