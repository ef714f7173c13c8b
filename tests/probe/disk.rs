//! What lies on the disk against what is served, and what nginx and HAProxy say they load.

use super::rig::{HaProxy, Nginx, scratch};
use super::somewhere;
use super::support::{Ca, Leaf, SystemClock, certificates};
use everleaf::config::spec::{Roots, Usage};
use everleaf::pki::RootStore;
use everleaf::ports::Clock as _;
use everleaf::probe::chain::{Question, Store};
use everleaf::probe::checks::disk::{Served, compare, files};
use everleaf::probe::configured::{Loads, haproxy, nginx};
use everleaf::probe::files::{Disk, Reader, Source};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "shop.test";

/// A CA, two leaves of it one after the other, and room for files.
struct Scene {
    dir: tempfile::TempDir,
    ca: Ca,
    old: Leaf,
    new: Leaf,
}

impl Scene {
    fn new() -> Self {
        let ca = Ca::new("A");
        let (old, new) = (ca.issue_from(NAME, 9), ca.issue_from(NAME, 2));
        let scene = Self { dir: scratch("disk"), ca, old, new };
        fs::write(scene.path("root.pem"), scene.ca.root()).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A live directory as everleaf publishes it.
    fn live(&self, name: &str, leaf: &Leaf) -> PathBuf {
        let live = self.path(name);
        fs::create_dir_all(live.join(".gen")).unwrap();
        let bundle = format!("{}{}", leaf.key, leaf.fullchain());
        let all = [("fullchain.pem", leaf.fullchain()), ("privkey.pem", leaf.key.clone()), ("bundle.pem", bundle)];
        for (file, text) in all {
            fs::write(live.join(".gen").join(file), text).unwrap();
            fs::set_permissions(live.join(".gen").join(file), fs::Permissions::from_mode(0o600)).unwrap();
            symlink(format!("..data/{file}"), live.join(file)).unwrap();
        }
        symlink(".gen", live.join("..data")).unwrap();
        live
    }

    /// The labels of a disk, beside what is served.
    fn labels(&self, disk: &Disk, served: &Leaf) -> Vec<&'static str> {
        let anchors = RootStore::default().load(&Roots::File(self.path("root.pem"))).unwrap();
        let stores = [Store { name: "test".into(), anchors, source: everleaf::probe::chain::Source::File }];
        let name = NAME.parse().unwrap();
        let question = Question {
            names: std::slice::from_ref(&name),
            stores: &stores,
            usage: Usage::Server,
            now: SystemClock.now(),
            pins: &[],
            published: false,
        };
        let chain = certificates(&served.fullchain());
        let served = Served { chain: &chain, other: None, families: true };
        let found = files(disk, &[served], &question).into_iter().chain(compare(disk, &served, &name));
        let mut labels: Vec<_> = found.map(|it| it.label.as_str()).collect();
        labels.sort_unstable();
        labels
    }

    fn judged(&self, source: &Source, served: &Leaf) -> String {
        self.labels(&Disk::read(source, None, &[]).expect("it can be read"), served).join(" ")
    }
}

#[test]
fn each_fault_of_a_live_directory_is_named() {
    let scene = Scene::new();
    let (old, new) = (&scene.old, &scene.new);
    let case = |name: &str, leaf: &Leaf, meddle: &dyn Fn(&Path)| {
        let live = scene.live(name, leaf);
        meddle(&live);
        Source::Live(live)
    };
    let well = |_: &Path| {};
    let spoil = |file: &'static str, text: String| move |live: &Path| fs::write(live.join(file), &text).unwrap();
    let remove = |file: &'static str| move |live: &Path| fs::remove_file(live.join(".gen").join(file)).unwrap();
    let cases: Vec<(Source, &Leaf, &str)> = vec![
        (case("well", new, &well), new, ""),
        (case("gap", new, &well), old, "served_older_than_disk"),
        (case("back", old, &well), new, "served_newer_than_disk"),
        (case("key", new, &spoil("privkey.pem", old.key.clone())), new, "disk_key_mismatch"),
        (
            case("chain", new, &spoil("fullchain.pem", new.cert.clone())),
            old,
            "disk_chain_incomplete served_older_than_disk",
        ),
        (case("half", new, &spoil("fullchain.pem", new.cert[..99].to_owned())), new, "disk_file_corrupt"),
        (case("empty", new, &spoil("privkey.pem", String::new())), new, "disk_file_corrupt"),
        (case("gone", new, &remove("privkey.pem")), new, "disk_file_missing"),
        (case("names", &scene.ca.issue_from("other.test", 2), &well), new, "disk_names_missing"),
        (Source::Live(scene.path("nowhere")), new, "disk_file_missing"),
    ];
    for (source, served, expected) in cases {
        // The bundle of a spoilt directory is still whole: only the fault itself is told.
        assert_eq!(scene.judged(&source, served), expected, "{source:?}");
    }
    let exposed = scene.live("exposed", new);
    fs::set_permissions(exposed.join("privkey.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(scene.judged(&Source::Live(exposed), new), "disk_key_exposed");
}

#[test]
fn a_pair_of_files_is_judged_like_a_directory() {
    let scene = Scene::new();
    let (old, new) = (&scene.old, &scene.new);
    let (chain, key) = new.write(scene.dir.path(), "new", &new.fullchain());
    let (_, wrong) = old.write(scene.dir.path(), "old", &old.fullchain());
    for path in [&key, &wrong] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let pair =
        |fullchain: &Path, key: &Path| Source::Pair { fullchain: fullchain.to_owned(), key: Some(key.to_owned()) };
    assert_eq!(scene.judged(&pair(&chain, &key), new), "");
    assert_eq!(scene.judged(&pair(&chain, &key), old), "served_older_than_disk");
    assert_eq!(scene.judged(&pair(&chain, &wrong), new), "disk_key_mismatch");
    assert_eq!(scene.judged(&pair(&scene.path("none.pem"), &key), new), "disk_file_missing");
    assert_eq!(scene.judged(&pair(&key, &key), new), "disk_file_corrupt", "only a key");
    let renewed = scene.ca.issue_again(new, 1);
    let disk = Disk::read(&pair(&chain, &key), None, &[]).unwrap();
    assert_eq!(scene.labels(&disk, &renewed), ["served_newer_than_disk"], "the same key under another serial");
    // nobody, who may not read what is root's alone.
    let nobody = Reader::named("nobody").unwrap();
    let shut = Disk::read(&pair(&chain, &key), Some(&nobody), &[]).unwrap();
    assert_eq!(scene.labels(&shut, new), ["disk_key_unreadable"]);
    let root = Reader::named("root").unwrap();
    let open = Disk::read(&pair(&chain, &key), Some(&root), &[]).unwrap();
    assert_eq!(scene.labels(&open, new), [""; 0]);
}

/// What `nginx -T` says of an nginx that loads `certificate` and `key`.
fn nginx_loads(at: SocketAddr, certificate: &Path, key: &Path) -> Option<Loads> {
    let nginx = Nginx::start(&Nginx::tls(at, certificate, key), at);
    let mut command = nginx.check_command();
    assert_eq!(command.iter().filter(|word| *word == "-t").count(), 1, "{command:?}");
    command.iter_mut().filter(|word| *word == "-t").for_each(|word| *word = "-T".into());
    command.retain(|word| word != "-q");
    let ran = Command::new(&command[0]).args(&command[1..]).output().unwrap();
    nginx::loads(&String::from_utf8_lossy(&ran.stdout), Some(&NAME.parse().unwrap()), at)
}

#[test]
fn a_configuration_that_loads_other_files_is_named() {
    let scene = Scene::new();
    let (live, copy) = (scene.live("live", &scene.new), scene.live("copy", &scene.new));
    let source = Source::Live(live.clone());
    let judged = |loads: Option<Loads>| {
        let loads = loads.expect("it was understood");
        scene.labels(&Disk::read(&source, None, &[loads]).unwrap(), &scene.old).join(" ")
    };
    let gap = "served_older_than_disk";
    for (dir, chain, expected) in [
        (&live, "fullchain.pem", gap),
        (&live, "bundle.pem", gap),
        (&live, "..data/fullchain.pem", gap),
        // The file of today, past the link that is turned tomorrow.
        (&live, ".gen/fullchain.pem", "config_points_elsewhere"),
        (&copy, "fullchain.pem", "config_points_elsewhere"),
    ] {
        let key = dir.join(chain.replace("fullchain.pem", "privkey.pem"));
        assert_eq!(judged(nginx_loads(somewhere(), &dir.join(chain), &key)), expected, "nginx, {dir:?} {chain}");
        let bundle = dir.join(chain.replace("fullchain.pem", "bundle.pem"));
        let at = somewhere();
        let section =
            format!("frontend web\n    bind {at} ssl crt {}\n    http-request return status 200", bundle.display());
        let proxy = HaProxy::start("", &section, at);
        assert_eq!(judged(haproxy::loads(&section, at.port())), expected, "HAProxy's file, {dir:?} {chain}");
        assert_eq!(judged(haproxy::listed(&ask(&proxy))), expected, "HAProxy's socket, {dir:?} {chain}");
    }
    // A directory, and a list.
    let crowd = scene.path("crowd");
    fs::create_dir(&crowd).unwrap();
    symlink(live.join("bundle.pem"), crowd.join("shop.pem")).unwrap();
    let list = scene.path("list");
    fs::write(&list, format!("# certificates\n{} [alpn h2] shop.test\n", live.join("bundle.pem").display())).unwrap();
    for words in [format!("crt {}", crowd.display()), format!("crt-list {}", list.display())] {
        assert_eq!(judged(haproxy::loads(&format!("frontend a\nbind :443 ssl {words}\n"), 443)), gap, "{words}");
    }
    // The certificate is ours, and its key is not.
    let apart = nginx_loads(somewhere(), &live.join("fullchain.pem"), &copy.join("privkey.pem"));
    assert_eq!(judged(apart), "config_points_elsewhere");
}

fn ask(proxy: &HaProxy) -> String {
    let mut stream = UnixStream::connect(proxy.socket()).unwrap();
    stream.write_all(haproxy::LIST.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}
