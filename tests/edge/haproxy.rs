//! HAProxy's runtime API, on this machine and on another.

use crate::deploy::World;
use crate::rig::{HaProxy, Sshd, free_port, host, openssl_serial, require, run};
use crate::support::{block_on, context, nodes};
use everleaf::config::spec::{Node, NodeKind, Reload, Ssh};
use everleaf::pki;
use everleaf::ports::{Generation, HookContext, Production, Reloader};
use everleaf::types::{Class, Failure, Serial};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// A running HAProxy that serves what lies in a live directory.
struct Proxy {
    world: World,
    haproxy: HaProxy,
    at: SocketAddr,
}

impl Proxy {
    /// It serves generation 1, from `crt` or from a crt-list.
    fn start(listed: bool) -> Self {
        let world = World::new();
        let first = world.generation(1);
        world.deploy(&world.node(NodeKind::Local), &first, 1).expect("published");
        let at = SocketAddr::from((host(), free_port()));
        let bundle = world.path("live/shop/bundle.pem").display().to_string();
        let list = world.path("crt-list");
        fs::write(&list, format!("{bundle}\n")).expect("written");
        let load = if listed { format!("crt-list {}", list.display()) } else { format!("crt {bundle}") };
        let front = format!("frontend tls\n    bind {at} ssl {load}\n    http-request return status 200\n");
        Self { haproxy: HaProxy::start("", &front, at), world, at }
    }

    fn node(&self, kind: NodeKind, list: Option<PathBuf>) -> Node {
        Node { reload: Reload::HaProxy { socket: self.haproxy.socket(), list }, ..self.world.node(kind) }
    }

    /// Publishes `generation` of `name` as HAProxy's next start would find it.
    fn publish(&mut self, name: &str, generation: &Generation<Production>, epoch: u64) -> HookContext {
        self.world.certificate.name = name.parse().expect("a name");
        self.world.deploy(&self.world.node(NodeKind::Local), generation, epoch).expect("published");
        let about = context(name, &self.world.path("live").join(name), Some(&generation.dir));
        HookContext { generation: Some(generation.about.generation), serial: Some(serial(generation)), ..about }
    }

    fn update(&self, node: &Node, about: HookContext) -> Result<(), Failure> {
        block_on(nodes(&self.world.systemd).reload(node, &[about]))
    }

    /// What it answers on its socket.
    fn says(&self, command: &str) -> String {
        let socket = format!("UNIX-CONNECT:{}", self.haproxy.socket().display());
        run(Command::new(require("socat")).args(["-", &socket]), Some(&format!("{command}\n")))
    }

    fn served(&self, name: &str) -> String {
        openssl_serial(self.at, name).expect("a certificate").to_ascii_lowercase().trim_start_matches('0').to_owned()
    }
}

fn serial(generation: &Generation<Production>) -> Serial {
    pki::parse::chain(generation.cert.as_bytes()).expect("a certificate")[0].serial().clone()
}

fn bare(generation: &Generation<Production>) -> String {
    serial(generation).as_str().trim_start_matches('0').to_owned()
}

#[test]
fn the_running_process_gets_the_new_certificate_and_keeps_its_connections() {
    let mut proxy = Proxy::start(false);
    let second = proxy.world.generation(2);
    let before = proxy.haproxy.log().matches("New worker").count();
    let about = proxy.publish("shop", &second, 2);
    let node = proxy.node(NodeKind::Local, None);
    assert_ne!(proxy.served("shop.example.com"), bare(&second), "publishing alone changes nothing");
    proxy.update(&node, about.clone()).expect("given");
    assert_eq!(proxy.served("shop.example.com"), bare(&second));
    proxy.update(&node, about).expect("done already");
    assert_eq!(proxy.haproxy.log().matches("New worker").count(), before, "nothing was reloaded");
    proxy.haproxy.reload();
    assert_eq!(proxy.served("shop.example.com"), bare(&second), "the file holds the same");
}

#[test]
fn what_it_refuses_is_taken_back_and_what_it_served_is_served_on() {
    let mut proxy = Proxy::start(false);
    let (first, second, third) =
        (proxy.served("shop.example.com"), proxy.world.generation(2), proxy.world.generation(3));
    let about = proxy.publish("shop", &second, 2);
    fs::copy(third.dir.join("privkey.pem"), second.dir.join("privkey.pem")).expect("copied");
    let node = proxy.node(NodeKind::Local, None);
    let refused = proxy.update(&node, about).expect_err("the key is another's");
    assert_eq!((refused.class, refused.code.as_str()), (Class::Retry, "haproxy:refused"));
    assert_eq!(proxy.served("shop.example.com"), first);
    assert!(proxy.says("show ssl cert").starts_with("# filename"), "no transaction was left open");
    let about = proxy.publish("shop", &third, 3);
    proxy.update(&node, about).expect("given");
    assert_eq!(proxy.served("shop.example.com"), bare(&third));
}

#[test]
fn a_new_certificate_is_added_to_the_list_or_told_of() {
    let mut proxy = Proxy::start(true);
    let other = proxy.world.generation(5);
    let about = proxy.publish("other", &other, 1);
    let unknown = proxy.update(&proxy.node(NodeKind::Local, None), about.clone()).expect_err("nobody loads it");
    assert_eq!((unknown.class, unknown.code.as_str()), (Class::Operator, "haproxy:unknown"));
    let (mine, theirs) = (proxy.world.path("live/other/bundle.pem"), proxy.world.path("live/shop/bundle.pem"));
    let message = format!("it does not load {}, but {}", mine.display(), theirs.display());
    assert_eq!(unknown.message.as_str(), message);
    let node = proxy.node(NodeKind::Local, Some(proxy.world.path("crt-list")));
    proxy.update(&node, about.clone()).expect("added");
    proxy.update(&node, about).expect("done already");
    let listed = proxy.says(&format!("show ssl crt-list {}", proxy.world.path("crt-list").display()));
    assert_eq!(listed.lines().filter(|line| line.starts_with(&mine.display().to_string())).count(), 1, "{listed}");
}

#[test]
fn over_ssh_it_is_the_same() {
    let mut proxy = Proxy::start(false);
    let sshd = Sshd::start();
    let second = proxy.world.generation(2);
    let about = proxy.publish("shop", &second, 2);
    let host = "ssh://edge".parse().expect("a host");
    let ssh = Ssh { host, config: Some(sshd.client_config()), sudo: false, receive: None };
    let node = proxy.node(NodeKind::Ssh(ssh.clone()), None);
    proxy.update(&node, about.clone()).expect("given");
    assert_eq!(proxy.served("shop.example.com"), bare(&second));
    let nowhere = Node { reload: Reload::HaProxy { socket: "/nowhere/admin.sock".into(), list: None }, ..node };
    for kind in [NodeKind::Ssh(ssh), NodeKind::Local] {
        let silent = proxy.update(&Node { kind, ..nowhere.clone() }, about.clone()).expect_err("nobody is there");
        assert_eq!((silent.class, silent.code.as_str()), (Class::Retry, "haproxy:unheard"), "{silent:?}");
        assert!(silent.message.as_str().contains("No such file"), "{silent:?}");
    }
}
