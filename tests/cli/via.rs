//! `probe --via`: from another machine, behind a real sshd, it looks just the same; and each way in which that machine cannot look is
//! told in a sentence of its own.

use crate::desk::{Left, left, program};
use crate::probe::{Shop, keeps_to, labels, plain};
use crate::rig::{Sshd, snapshot, ssh_to};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A shop and the machines it can be looked at from.
struct Abroad {
    shop: Shop,
    edge: Sshd,
}

impl Abroad {
    fn new() -> Self {
        let shop = Shop::new();
        let programs = shop.dir.path().join("there");
        fs::create_dir(&programs).expect("a directory");
        let edge = Sshd::with_programs("edge-1", &programs);
        let here = shop.dir.path().join("here");
        fs::create_dir(&here).expect("a directory");
        ssh_to(&here, &[&edge]);
        let abroad = Self { shop, edge };
        symlink(env!("CARGO_BIN_EXE_everleaf"), abroad.there()).expect("a link");
        abroad
    }

    /// What a login finds as `everleaf`.
    fn there(&self) -> PathBuf {
        self.shop.dir.path().join("there/everleaf")
    }

    /// Has a login find this script as `everleaf`.
    fn replace(&self, script: &str) {
        fs::remove_file(self.there()).expect("removed");
        write_script(&self.there(), script);
    }

    fn probe_in(&self, path: &Path, args: &[&str]) -> Left {
        let mut command = program(&[&["probe", "--ca", "root.pem"], args].concat());
        command.current_dir(self.shop.dir.path()).env("PATH", path);
        left(command)
    }

    fn probe(&self, args: &[&str]) -> Left {
        let here = self.shop.dir.path().join("here");
        self.probe_in(Path::new(&format!("{}:/usr/bin:/bin", here.display())), args)
    }

    /// `text` without this machine's ports and paths.
    fn plain(&self, text: &str, addresses: &[SocketAddr]) -> String {
        let dir = self.shop.dir.path().display().to_string();
        let ssh = self.edge.dir().display().to_string();
        let own = self.edge.address();
        let text = plain(text, addresses).replace(&dir, "/SHOP").replace(&ssh, "/SSH");
        text.replace(&own.ip().to_string(), "198.51.100.7").replace(&format!("port {}", own.port()), "port 22")
    }
}

fn write_script(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// Without what no two looks share.
fn essence(text: &str) -> Vec<Value> {
    let line = |line: &str| {
        let mut document: Value = serde_json::from_str(line).expect("JSON");
        document["vantage"] = Value::Null;
        for finding in document["findings"].as_array_mut().expect("a list") {
            finding["vantage"] = Value::Null;
            finding["seen"] = plain(finding["seen"].as_str().expect("text"), &[]).into();
        }
        for endpoint in document["endpoints"].as_array_mut().expect("a list") {
            endpoint["handshake_ms"] = 0.into();
        }
        document
    };
    text.lines().map(line).collect()
}

#[test]
fn from_elsewhere_it_looks_the_same() {
    let abroad = Abroad::new();
    let (good, bare) = (abroad.shop.serve(1, &abroad.shop.intermediate), abroad.shop.serve(2, ""));
    let addresses = [good.address(), bare.address()];
    let typed = addresses.map(|it| it.to_string());
    let schema: Value = serde_json::from_str(include_str!("../../examples/schemas/probe-1.json")).expect("JSON");
    let asked: [&[&str]; 4] = [
        &["shop.example.com", "--connect", &typed[0], "--connect", &typed[1]],
        &[
            "shop.example.com",
            "--connect",
            &typed[0],
            "--quick",
            "--pin",
            "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ],
        &["shop.example.com", "other.example.com", "--connect", &typed[0], "--no-sni", "--quick"],
        &[&typed[0], &typed[1], "--sni", "shop.example.com", "--sni", "other.example.com", "--quick"],
    ];
    for args in asked {
        let here = abroad.probe(&[args, &["--json"][..]].concat());
        let there = abroad.probe(&[args, &["--json", "--via", "ssh://edge-1"][..]].concat());
        assert_eq!((there.code, there.err.as_str()), (here.code, ""), "{there:?}");
        assert_eq!(essence(&there.out), essence(&here.out), "{args:?}");
        for line in there.out.lines() {
            let document: Value = serde_json::from_str(line).expect("JSON");
            keeps_to(&document, &schema, &schema, "document");
            assert!(
                document["findings"].as_array().is_some_and(|all| all.iter().all(|it| it["vantage"] == "ssh://edge-1"))
            );
        }
    }
    let args = ["shop.example.com", "--connect", &typed[0], "--connect", &typed[1], "--quick"];
    let page = |more: &[&str]| {
        let said = abroad.probe(&[&args[..], more].concat());
        assert_eq!((said.code, said.err.as_str()), (2, ""), "{said:?}");
        assert!(said.out.lines().all(|line| line.chars().count() <= 80 && line == line.trim_end()), "{}", said.out);
        abroad.plain(&said.out, &addresses)
    };
    let there = page(&["--via", "ssh://edge-1"]);
    assert_eq!(there.replacen(" from ssh://edge-1", "", 1), page(&[]), "the same page but for its title");
    snapshot("cli/probe/elsewhere", &there);
    let both = page(&["--via", "here", "--via", "ssh://edge-1"]);
    assert!(both.ends_with("\n2 looks: 2 FAIL\n"), "{both}");
}

#[test]
fn several_vantages_are_told_side_by_side() {
    let abroad = Abroad::new();
    let good = abroad.shop.serve(1, &abroad.shop.intermediate);
    let place = good.address().to_string();
    let args = [
        "shop.example.com",
        "--quick",
        "--connect",
        &place,
        "--via",
        "here",
        "--via",
        "ssh://edge-1",
        "--via",
        "ssh://nowhere",
    ];
    let said = abroad.probe(&args);
    assert_eq!(said.code, 3, "one vantage could not look: {said:?}");
    snapshot("cli/probe/vantages", &abroad.plain(&said.out, &[good.address()]));
    assert!(said.err.starts_with("everleaf: ssh://nowhere: nothing can be seen from there: "), "{}", said.err);
    let nagios = abroad.probe(&[&args[..], &["--nagios"]].concat());
    assert!(
        nagios.code == 3 && nagios.out.starts_with("EVERLEAF UNKNOWN - 3 looks: 1 not judged, 2 ok\n"),
        "{nagios:?}"
    );
    let json = abroad.probe(&[&args[..], &["--json"]].concat());
    let vantages: Vec<Value> = json.out.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    assert_eq!(vantages.len(), 2);
    assert_eq!(labels(&vantages[1]), ["ok"]);
    assert_eq!(vantages[1]["vantage"], "ssh://edge-1");
}

#[test]
fn each_way_not_to_look_is_told_by_itself() {
    let mut abroad = Abroad::new();
    let good = abroad.shop.serve(1, &abroad.shop.intermediate);
    let place = good.address().to_string();
    let mut told = Vec::new();
    let mut fails = |abroad: &Abroad, title: &str, more: &[&str]| {
        let said = abroad.probe(&[&["shop.example.com", "--connect", &place, "--via", "ssh://edge-1"], more].concat());
        assert_eq!((said.code, said.out.as_str()), (3, ""), "{title}: {said:?}");
        assert_eq!(said.err.lines().count(), 1, "{title}: {said:?}");
        told.push(format!("# {title}\n{}\n", abroad.plain(&said.err, &[good.address()])));
    };
    // The machine lets us in, and its everleaf …
    for (title, script) in [
        ("it is no everleaf", "echo 'Welcome to \u{1b}[1medge'"),
        ("it is too old", "echo \"error: unexpected argument '--relayed' found\" >&2; exit 64"),
        ("it is newer", "cat >/dev/null; echo '{\"schema\":\"everleaf.probe/2\"}'"),
        (
            "it answers for others",
            "cat >/dev/null; echo '{\"schema\":\"everleaf.probe/1\",\"target\":\"a:1\",\"verdict\":\"ok\",\"findings\":[{\"label\":\"ok\",\"severity\":\"ok\",\"seen\":\"\",\"check\":\"\"}]}'",
        ),
        ("it says nothing", "cat >/dev/null"),
        ("it cannot judge", "cat >/dev/null; echo 'everleaf: no roots' >&2; exit 3"),
        ("it breaks", "cat >/dev/null; echo 'everleaf: a defect' >&2; exit 70"),
        ("it floods", "cat >/dev/null; exec yes '{}'"),
    ] {
        abroad.replace(script);
        fails(&abroad, title, &[]);
    }
    let began = Instant::now();
    abroad.replace("exec sleep 600");
    fails(&abroad, "it hangs", &["--via-limit", "2s"]);
    assert!(began.elapsed() < Duration::from_secs(60));
    fs::remove_file(abroad.there()).expect("removed");
    fails(&abroad, "there is none", &[]);
    // … or we do not get that far.
    let file = |name: &str| abroad.edge.dir().join(name);
    let (known, keys) = (file("known_hosts"), file("authorized_keys"));
    let before = fs::read_to_string(&known).expect("known hosts");
    fs::write(&keys, "").expect("written");
    fails(&abroad, "it does not let us in", &[]);
    fs::write(&known, "").expect("written");
    fails(&abroad, "its host key is unknown", &[]);
    let own = fs::read_to_string(file("user_key.pub")).expect("a key");
    let host = before.split(' ').next().expect("a host");
    fs::write(&known, format!("{host} {own}")).expect("written");
    fails(&abroad, "its host key has changed", &[]);
    abroad.edge.stop();
    fails(&abroad, "nothing listens", &[]);
    let empty = abroad.shop.dir.path().join("empty");
    fs::create_dir(&empty).expect("a directory");
    let said = abroad.probe_in(&empty, &["shop.example.com", "--via", "ssh://edge-1"]);
    assert_eq!(said.code, 3, "{said:?}");
    told.push(format!("# there is no ssh here\n{}\n", abroad.plain(&said.err, &[])));
    snapshot("cli/probe/cannot_look", &told.concat());
}

#[test]
fn what_is_no_vantage_or_cannot_travel_is_refused_at_once() {
    for args in [
        &["probe", "a.example", "--via", "ssh://-oProxyCommand=id"][..],
        &["probe", "a.example", "--via", "edge"],
        &["probe", "a.example", "--via", "ssh://edge;id"],
        &["probe", "a.example", "--via", "ssh://edge", "--live", "/etc/everleaf/live/a"],
        &["probe", "a.example", "--via", "ssh://edge", "--fullchain", "/x"],
    ] {
        let said = left(program(args));
        assert!(said.code == 64 && said.out.is_empty() && said.err.contains("--via"), "{said:?}");
    }
    let help = left(program(&["probe", "--help"])).out;
    assert!(help.contains("--via") && !help.contains("--relayed"));
    // What another everleaf is asked on its standard input is a stranger's.
    for asked in ["", "{}", "null", "{\"schema\":\"everleaf.ask/2\"}", "{\"schema\":\"everleaf.ask/1\",\"surprise\":1}"]
    {
        let shop = Shop::new();
        let path = shop.dir.path().join("asked");
        fs::write(&path, asked).expect("written");
        let mut command = program(&["probe", "--json", "--relayed"]);
        command.stdin(fs::File::open(&path).expect("it opens"));
        let said = left(command);
        assert!(said.code == 3 && said.out.is_empty() && said.err.contains("no question"), "{asked}: {said:?}");
    }
}
