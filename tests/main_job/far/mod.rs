//! A fleet that only ssh reaches: three machines, each a real sshd at an address of its own with its own nginx or HAProxy.

mod balanced;
mod drift;
mod failing;
mod killed;
mod uploads;

use crate::rig::scene::{Ran, Scene, left_behind, plain_serial};
use crate::rig::{HaProxy, Nginx, Sshd, free_port, hosts, openssl_serial};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;

const NAMES: [&str; 3] = ["edge1", "edge2", "edge3"];

/// What terminates TLS on a node.
pub(crate) enum Server {
    Nginx(Nginx),
    HaProxy(HaProxy),
}

/// One machine.
pub(crate) struct FarNode {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    pub(crate) sshd: Sshd,
    pub(crate) at: SocketAddr,
    /// What `check:` and `reload:` say, which a test may change.
    pub(crate) check: String,
    pub(crate) reload: String,
}

/// `edge1` and `edge2` run nginx, `edge3` HAProxy, which gets certificates by its runtime API.
pub(crate) struct FarFleet {
    pub(crate) scene: Scene,
    pub(crate) nodes: [FarNode; 3],
    /// Further lines of the certificate.
    pub(crate) more: String,
    /// Other endpoints than each node's own.
    pub(crate) endpoints: Option<String>,
}

impl FarFleet {
    pub(crate) fn new() -> Self {
        Self::of(Scene::with_listener())
    }

    pub(crate) fn of(scene: Scene) -> Self {
        // One port, as one name in DNS with all addresses needs.
        let port = free_port();
        let nodes = [0, 1, 2].map(|turn| FarNode::start(&scene, turn, port));
        Self { scene, nodes, more: String::new(), endpoints: None }
    }

    pub(crate) fn yaml(&self) -> String {
        let edges = self.scene.path("edges");
        let edges = edges.display();
        let node = |node: &FarNode| {
            let (name, config) = (node.name, node.sshd.client_config());
            let (check, reload) = (&node.check, &node.reload);
            let how = format!("check: {check}, reload: {{ {reload} }}");
            format!(
                "  {name}: {{ type: ssh, host: {name}, ssh_config: {}, live: {edges}/{name}, {how} }}\n",
                config.display()
            )
        };
        let nodes: String = self.nodes.iter().map(node).collect();
        let endpoint = |node: &FarNode| format!("{{ address: \"{}\", node: {} }}", node.at, node.name);
        format!(
            "{}nodes:\n{nodes}certificates:\n  - name: shop\n    names: [shop.example.com]\n    issuer: pebble\n    {}\n    nodes: [{}]\n    \
             endpoints: [{}]\n    confirm: {{ handshakes: 3, over: 500ms, drain: 2s }}\n{}",
            self.scene.preamble(),
            self.scene.solver(),
            NAMES.join(", "),
            self.endpoints.clone().unwrap_or_else(|| self.nodes.each_ref().map(endpoint).join(", ")),
            self.more,
        )
    }

    /// `everleaf run` with the configuration as it is now.
    pub(crate) fn run(&self) -> Ran {
        self.scene.run(&self.yaml())
    }

    /// A fleet that is live with its first certificate.
    pub(crate) fn live() -> Self {
        Self::new().made_live()
    }

    /// Rolls the first certificate out.
    pub(crate) fn made_live(self) -> Self {
        self.run().exits(0);
        self.is_live();
        self
    }

    /// What openssl sees everywhere.
    pub(crate) fn serials(&self) -> [Option<String>; 3] {
        self.nodes.each_ref().map(|node| openssl_serial(node.at, "shop.example.com").map(|it| plain_serial(&it)))
    }

    /// Fails unless every node serves what should be served, and `status` says so.
    #[track_caller]
    pub(crate) fn is_live(&self) {
        let wanted = Some(self.scene.serial("shop"));
        assert_eq!(self.serials(), [wanted.clone(), wanted.clone(), wanted]);
        let shop = self.scene.status("shop");
        assert_eq!(shop["stage"], "live", "{shop:#}");
    }

    /// The CA wants the certificate renewed at once.
    pub(crate) fn recall(&self) {
        let [leaf] = ["edges/edge1/shop/cert.pem"].map(|file| self.scene.text(file));
        self.scene.recall("shop", &leaf);
    }

    /// What `status --json` says of a node.
    pub(crate) fn node(&self, name: &str) -> Value {
        let shop = self.scene.status("shop");
        let found = shop["nodes"].as_array().and_then(|all| all.iter().find(|it| it["node"] == name)).cloned();
        found.unwrap_or_else(|| panic!("no {name}: {shop:#}"))
    }

    /// Ends the connections that are kept open for whoever comes next.
    pub(crate) fn hang_up(&self) {
        self.nodes.iter().for_each(|node| node.sshd.hang_up());
    }

    /// Where a node's files are.
    pub(crate) fn files(&self, name: &str) -> PathBuf {
        self.scene.path(&format!("edges/{name}/shop"))
    }

    /// The words with what differs from run to run made plain.
    pub(crate) fn plain(&self, text: &str) -> String {
        let known = |node: &FarNode| (format!("port {}", node.sshd.address().port()), "port SSH");
        let text = self.nodes.iter().map(known).fold(text.to_owned(), |text, (from, to)| text.replace(&from, to));
        self.scene.plain(&text)
    }
}

impl FarNode {
    /// Its server reads its files anew, whoever wrote them.
    pub(crate) fn reload_server(&self) {
        match &self.server {
            Server::Nginx(nginx) => nginx.reload(),
            Server::HaProxy(haproxy) => haproxy.reload(),
        }
    }

    fn start(scene: &Scene, turn: usize, port: u16) -> Self {
        let (name, ip) = (NAMES[turn], hosts()[turn]);
        let at = SocketAddr::from((ip, port));
        let live = scene.path(&format!("edges/{name}/shop"));
        left_behind(&live);
        let (server, check, reload) = if name == "edge3" {
            let bundle = live.join("bundle.pem");
            let front = format!("frontend tls\n    bind {at} ssl crt {}\n", bundle.display());
            let haproxy = HaProxy::start("", &format!("{front}    http-request return status 200\n"), at);
            let (check, socket) = (haproxy.check_command(), haproxy.socket());
            (Server::HaProxy(haproxy), check, format!("haproxy: {}", socket.display()))
        } else {
            let nginx = Nginx::start(&Nginx::tls(at, &live.join("fullchain.pem"), &live.join("privkey.pem")), at);
            let (check, pid) = (nginx.check_command(), nginx.pid_file());
            (Server::Nginx(nginx), check, format!("signal: HUP, pid_file: {}", pid.display()))
        };
        Self { name, server, sshd: Sshd::at(name, ip), at, check: format!("{check:?}"), reload }
    }
}

#[test]
fn far_nodes_get_their_certificate_through_ssh_and_are_looked_at() {
    let fleet = FarFleet::live();
    for node in &fleet.nodes {
        assert_eq!(node.sshd.log().matches("Accepted publickey").count(), 1, "{}: one connection", node.name);
    }
}

#[test]
fn a_node_that_is_down_catches_up_over_generations_without_a_new_order() {
    let mut fleet = FarFleet::live();
    let first = fleet.serials();
    fleet.nodes[1].sshd.stop();
    fleet.recall();
    let ran = fleet.run().exits(20);
    assert!(ran.err.contains("edge2"), "the node is named: {}", ran.err);
    let generation = |fleet: &FarFleet| fleet.scene.status("shop")["generation"]["id"].clone();
    for name in ["edge1", "edge3"] {
        let node = fleet.node(name);
        assert!(node["failure"].is_null() && node["confirmed"]["generation"] == generation(&fleet), "{node:#}");
    }
    assert!(!fleet.node("edge2")["failure"].is_null());
    for _ in 0..2 {
        fleet.scene.everleaf(&["renew", "shop", "--force", "--yes"]).exits(20);
    }
    let last = Some(fleet.scene.serial("shop"));
    assert_eq!(fleet.serials(), [last.clone(), first[1].clone(), last], "it serves on, three generations behind");
    let orders = fleet.scene.pebble.orders();

    fleet.nodes[1].sshd.restart();
    fleet.run().exits(0);
    fleet.is_live();
    assert_eq!(fleet.scene.pebble.orders(), orders);
}
