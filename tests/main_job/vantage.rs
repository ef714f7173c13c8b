//! Endpoints that are looked at from another machine: `from: ssh://HOST`, with a real sshd and an everleaf behind it.

use crate::rig::scene::{Ran, Scene, everleaf, left_behind, plain_serial};
use crate::rig::{Nginx, Sshd, free_port, hosts, openssl_serial, snapshot, ssh_to};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

/// An nginx on this machine, and a machine from which it is looked at.
struct Watched {
    scene: Scene,
    nginx: Nginx,
    far: Sshd,
    at: SocketAddr,
}

impl Watched {
    fn new() -> Self {
        let scene = Scene::with_listener();
        let at = SocketAddr::from((hosts()[0], free_port()));
        let live = scene.path("live/shop");
        left_behind(&live);
        let nginx = Nginx::start(&Nginx::tls(at, &live.join("fullchain.pem"), &live.join("privkey.pem")), at);
        let [here, there] = ["here", "there"].map(|name| scene.path(name));
        fs::create_dir(&here).expect("a directory");
        fs::create_dir(&there).expect("a directory");
        symlink(everleaf(), there.join("everleaf")).expect("a link");
        let far = Sshd::with_programs("far-1", &there);
        ssh_to(&here, &[&far]);
        Self { scene, nginx, far, at }
    }

    fn yaml(&self) -> String {
        format!(
            "{}nodes: {{ local: {{ check: {:?}, reload: {{ signal: HUP, pid_file: {} }} }} }}\n\
             certificates:\n  - name: shop\n    names: [shop.example.com, www.shop.example.com, api.shop.example.com]\n    \
             issuer: pebble\n    {}\n    nodes: [local]\n    \
             endpoints: [{{ address: \"{}\", from: [here, \"ssh://far-1\"] }}]\n    \
             confirm: {{ handshakes: 4, over: 1s, drain: 4s }}\n",
            self.scene.preamble(),
            self.nginx.check_command(),
            self.nginx.pid_file().display(),
            self.scene.solver(),
            self.at,
        )
    }

    fn everleaf(&self, arguments: &[&str]) -> Ran {
        let mut command = self.scene.command(arguments);
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.scene.path("here").display()));
        Ran::new(&command.output().expect("everleaf starts"))
    }

    fn run(&self) -> Ran {
        self.scene.configure(&self.yaml());
        self.everleaf(&["run"])
    }

    fn logins(&self) -> usize {
        self.far.log().matches("Accepted publickey").count()
    }

    /// How often an event stands in the journal.
    fn count(&self, event: &str) -> usize {
        self.scene.events("shop").iter().filter(|it| *it == event).count()
    }

    /// What the endpoints showed that are looked at from afar.
    fn seen_afar(&self) -> Vec<String> {
        let shop = self.scene.status("shop");
        let endpoints = shop["endpoints"].as_array().cloned().unwrap_or_default();
        let text = |it: &serde_json::Value| it.as_str().unwrap_or_default().to_owned();
        let far = endpoints.iter().filter(|it| text(&it["endpoint"]).ends_with(" from ssh://far-1"));
        far.map(|it| text(&it["shown"]["saw"])).collect()
    }
}

#[test]
fn what_another_machine_sees_is_what_counts() {
    let mut watched = Watched::new();
    watched.run().exits(0);
    assert_eq!(watched.scene.status("shop")["stage"], "live");
    assert_eq!(watched.seen_afar(), ["wanted"; 3]);
    assert_eq!(watched.logins(), 1, "three looks at once are one login:\n{}", watched.far.log());

    // The vantage goes away: what was seen stays so, and what comes after it is not known, which is nobody's fault here.
    watched.far.stop();
    watched.scene.recall("shop", &watched.scene.leaf("shop"));
    let (reloads, orders) = (watched.count("reloaded"), watched.scene.pebble.orders());
    let ran = watched.run().exits(20);
    snapshot(
        "main_job/vantage/away",
        &watched.scene.plain(&ran.err).replace(&watched.far.address().port().to_string(), "PORT"),
    );
    let served = openssl_serial(watched.at, "shop.example.com").map(|serial| plain_serial(&serial));
    assert_eq!(served, Some(watched.scene.serial("shop")), "it was renewed and reloaded all the same");
    assert_ne!(watched.scene.status("shop")["stage"], "live");
    assert_eq!(watched.seen_afar(), ["not_looked"; 3]);
    assert_eq!((watched.count("reloaded"), watched.count("want_set")), (reloads + 1, 0), "and nothing else was done");
    let why = watched.everleaf(&["why", "shop"]).exits(0).out;
    assert!(why.lines().filter(|line| line.starts_with("  ??  local: ")).count() == 3, "{why}");
    assert!(why.lines().filter(|line| line.starts_with("  ok  local: ")).count() == 3, "{why}");

    watched.far.restart();
    watched.run().exits(0);
    assert_eq!(watched.scene.status("shop")["stage"], "live");
    assert_eq!(watched.seen_afar(), ["wanted"; 3]);
    assert_eq!(watched.scene.pebble.orders(), orders + 1);
    assert_eq!(watched.count("reloaded"), reloads + 1);

    // Every endpoint of the configuration, each from where it says.
    let all = watched.everleaf(&["probe", "--all", "--quick"]);
    assert!(
        all.exit == 0 && all.out.contains(" from ssh://far-1\n") && all.out.ends_with("6 looks: 6 ok\n"),
        "{all:?}"
    );
}
