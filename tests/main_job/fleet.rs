//! Real servers on this machine: nginx and HAProxy.

use crate::rig::scene::{Scene, left_behind, plain_serial};
use crate::rig::{HaProxy, Nginx, free_port, hosts, openssl_serial};
use std::net::SocketAddr;

/// nginx (`one`) and HAProxy (`two`), both on this machine.
pub(crate) struct Fleet {
    pub(crate) scene: Scene,
    nginx: Nginx,
    haproxy: HaProxy,
    pub(crate) at: [SocketAddr; 2],
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let scene = Scene::with_listener();
        let at = [0, 1].map(|host| SocketAddr::from((hosts()[host], free_port())));
        let [one, two] = ["one", "two"].map(|node| scene.path(&format!("edges/{node}/shop")));
        left_behind(&one);
        left_behind(&two);
        let nginx = Nginx::start(&Nginx::tls(at[0], &one.join("fullchain.pem"), &one.join("privkey.pem")), at[0]);
        let bundle = two.join("bundle.pem");
        let front = format!("frontend tls\n    bind {} ssl crt {}\n", at[1], bundle.display());
        let haproxy = HaProxy::start("", &format!("{front}    http-request return status 200\n"), at[1]);
        Self { scene, nginx, haproxy, at }
    }

    /// Both, with `reload_one` as what reloads nginx.
    pub(crate) fn yaml(&self, reload_one: &str) -> String {
        let edges = self.scene.path("edges");
        let edges = edges.display();
        let [one, two] = self.at;
        let nodes = format!(
            "nodes:\n  one: {{ type: local, live: {edges}/one, check: {:?}, reload: {{ {reload_one} }} }}\n  \
             two: {{ type: local, live: {edges}/two, check: {:?}, reload: {{ exec: [\"sh\", \"-c\", \"kill -USR2 {}\"] }} }}\n",
            self.nginx.check_command(),
            self.haproxy.check_command(),
            self.haproxy.pid(),
        );
        let certificates = format!(
            "certificates:\n  - name: shop\n    names: [shop.example.com]\n    issuer: pebble\n    {}\n    nodes: [one, two]\n    \
             endpoints: [{{ address: \"{one}\", node: one }}, {{ address: \"{two}\", node: two }}]\n    \
             confirm: {{ handshakes: 4, over: 1s, drain: 4s }}\n",
            self.scene.solver()
        );
        format!("{}{nodes}{certificates}", self.scene.preamble())
    }

    /// As it should be.
    pub(crate) fn good(&self) -> String {
        self.yaml(&format!("signal: HUP, pid_file: {}", self.nginx.pid_file().display()))
    }

    /// What openssl sees at both.
    pub(crate) fn serials(&self) -> [Option<String>; 2] {
        self.at.map(|at| openssl_serial(at, "shop.example.com").map(|serial| plain_serial(&serial)))
    }
}
