//! From an accepted generation to live on real servers, and back when they do not do what they should.

use crate::rig::{HaProxy, Nginx, free_port, host, openssl_serial};
use crate::scene::{Scene, left_behind, of};
use everleaf::core::{Ask, Outcome, Stage};
use std::net::SocketAddr;

struct Fleet {
    scene: Scene,
    nginx: Nginx,
    haproxy: HaProxy,
    at: [SocketAddr; 2],
}

impl Fleet {
    fn new() -> Self {
        let scene = Scene::with_listener();
        let at = [(); 2].map(|()| SocketAddr::from((host(), free_port())));
        let [one, two] = ["one", "two"].map(|node| scene.path(&format!("edges/{node}/shop")));
        left_behind(&one);
        left_behind(&two);
        let nginx = Nginx::start(&Nginx::tls(at[0], &one.join("fullchain.pem"), &one.join("privkey.pem")), at[0]);
        let front = format!(
            "frontend tls\n    bind {} ssl crt {}\n    http-request return status 200\n",
            at[1],
            two.join("bundle.pem").display()
        );
        let haproxy = HaProxy::start("", &front, at[1]);
        Self { scene, nginx, haproxy, at }
    }

    fn yaml(&self, reload_one: &str) -> String {
        let edges = self.scene.path("edges");
        let edges = edges.display();
        let [one, two] = self.at;
        format!(
            "{}nodes:\n  one: {{ type: local, live: {edges}/one, check: {:?}, reload: {{ {reload_one} }} }}\n  \
             two: {{ type: local, live: {edges}/two, check: {:?}, reload: {{ exec: [\"sh\", \"-c\", \"kill -USR2 {}\"] }} }}\n\
             certificates:\n  - name: shop\n    names: [shop.example.com]\n    issuer: pebble\n    {}\n    nodes: [one, two]\n    \
             endpoints: [{{ address: \"{one}\", node: one }}, {{ address: \"{two}\", node: two }}]\n    \
             confirm: {{ handshakes: 4, over: 1s, drain: 4s }}\n",
            self.scene.preamble(),
            self.nginx.check_command(),
            self.haproxy.check_command(),
            self.haproxy.pid(),
            self.scene.solver(),
        )
    }

    fn good(&self) -> String {
        self.yaml(&format!("signal: HUP, pid_file: {}", self.nginx.pid_file().display()))
    }

    fn serials(&self) -> [Option<String>; 2] {
        self.at.map(|at| openssl_serial(at, "shop.example.com").map(|serial| serial.to_lowercase()))
    }
}

#[test]
fn live_is_when_every_endpoint_serves_it() {
    let fleet = Fleet::new();
    let report = fleet.scene.burst(&fleet.good());
    let shop = of(&report, "shop");
    assert_eq!(shop.standing.stage, Stage::Live, "{:#?}", shop.standing);
    let issued = shop.facts.ledger.newest_accepted().expect("issued").about.serial.to_string();
    for served in fleet.serials() {
        assert_eq!(served.as_deref().map(|it| it.trim_start_matches("00")), Some(issued.trim_start_matches("00")));
    }
}

#[test]
fn a_reload_that_does_nothing_is_found_out_and_mended_without_a_new_order() {
    let fleet = Fleet::new();
    let report = fleet.scene.burst(&fleet.yaml("exec: [\"true\"]"));
    let shop = of(&report, "shop");
    assert_eq!(shop.standing.outcome, Outcome::DeployIncomplete, "{:#?}", shop.standing);
    assert!(shop.standing.troubles.iter().any(|failure| failure.place.as_str().contains(&fleet.at[0].to_string())));
    let orders = fleet.scene.pebble.orders();

    let mended = fleet.scene.burst(&fleet.good());
    assert_eq!(of(&mended, "shop").standing.stage, Stage::Live, "{:#?}", of(&mended, "shop").standing);
    assert_eq!(fleet.scene.pebble.orders(), orders);
}

#[test]
fn a_rollback_stands_until_something_newer_is_accepted() {
    let fleet = Fleet::new();
    let yaml = fleet.good();
    fleet.scene.burst(&yaml);
    let first = fleet.serials();
    fleet.scene.ask(&yaml, "shop", &Ask::Renew { force: true, new_key: false, yes: false });
    fleet.scene.burst(&yaml);
    assert_ne!(fleet.serials(), first);

    fleet.scene.ask(&yaml, "shop", &Ask::Rollback { to: None, node: None });
    let report = fleet.scene.burst(&yaml);
    assert_eq!(of(&report, "shop").standing.stage, Stage::Live);
    assert_eq!(fleet.serials(), first);
    fleet.scene.burst(&yaml);
    assert_eq!(fleet.serials(), first, "the next pass does not undo it");
}
