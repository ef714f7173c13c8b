//! Every example is read, and what is installed on a machine is checked by the tools that will read it there.

use everleaf::config::parse;
use everleaf::config::spec::{NodeKind, Reload};
use everleaf::types::{CertName, NodeName, Vantage};
use std::path::{Path, PathBuf};
use std::process::Command;

const ALL: [(&str, usize); 9] = [
    ("fleet.yaml", 2),
    ("haproxy.yaml", 3),
    ("mail-server.yaml", 2),
    ("one-server.yaml", 1),
    ("only-443.yaml", 1),
    ("private-ca.yaml", 2),
    ("short-lived.yaml", 2),
    ("three-edges.yaml", 1),
    ("wildcard-dns.yaml", 2),
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn systemd(unit: &str) -> Reload {
    Reload::Systemd { unit: unit.into() }
}

#[test]
fn every_example_is_read_without_a_complaint() {
    let mut found: Vec<String> = std::fs::read_dir(examples())
        .expect("examples/")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, ALL.map(|(name, _)| name), "an example is missing here, or there");
    for (name, certificates) in ALL {
        let path = examples().join(name);
        let loaded = parse(&[(path.clone(), text(&path))]).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        assert_eq!(loaded.spec.certificates.len(), certificates, "{name}");
        loaded.spec.rehearse().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn the_examples_say_what_their_comments_promise() {
    let read = |name: &str| {
        let path = examples().join(name);
        parse(&[(path.clone(), text(&path))]).unwrap_or_else(|errors| panic!("{errors}")).spec
    };
    let cert = |spec: &everleaf::config::spec::Spec, name: &str| {
        spec.certificates[&CertName::new(name).expect("name")].clone()
    };
    let edges = cert(&read("three-edges.yaml"), "shop");
    assert_eq!((edges.nodes.len(), edges.endpoints.len(), edges.rollout.canaries.len()), (3, 6, 1));
    let (own, outside): (Vec<_>, Vec<_>) = edges.endpoints.iter().partition(|endpoint| endpoint.from == Vantage::Here);
    assert!(own.iter().all(|endpoint| endpoint.node.is_some()));
    assert!(outside.len() == 1 && outside[0].node.is_none(), "whichever edge answers there");
    let fleet = read("fleet.yaml");
    let shop = cert(&fleet, "shop");
    // Each by its host; edge50 by both its addresses.
    assert_eq!((shop.nodes.len(), shop.endpoints.len(), shop.rollout.canaries.len()), (50, 51 * 2, 2));
    let node = |name: &str| fleet.nodes[&NodeName::new(name).expect("name")].clone();
    let sudo = |name: &str| matches!(node(name).kind, NodeKind::Ssh(ssh) if ssh.sudo);
    assert!(sudo("edge06") && !sudo("edge07") && sudo("edge50"));
    assert_eq!((node("edge31").live, node("edge30").live), ("/srv/tls".into(), "/etc/everleaf/live".into()));
    assert_eq!((node("edge50").reload, node("edge49").reload), (systemd("haproxy"), systemd("nginx")));
    let intranet = cert(&read("private-ca.yaml"), "intranet");
    assert_eq!((intranet.access.key_mode, intranet.access.group.as_deref()), (0o640, Some("ssl-cert")));
    let mail = read("mail-server.yaml");
    assert_eq!(cert(&mail, "mail-rsa").endpoints, cert(&mail, "mail").endpoints);
    let address = cert(&read("short-lived.yaml"), "by-address");
    assert_eq!(address.profile.as_deref(), Some("shortlived"));
    assert_eq!(address.endpoints.len(), 2, "an address each, asked without SNI");
}

#[test]
fn systemd_accepts_the_units() {
    const UNITS: [&str; 3] = ["everleaf.service", "everleaf.timer", "everleaf-daemon.service"];
    let directory = tempfile::tempdir().expect("tempdir");
    for name in UNITS {
        // The program is looked for; here it is the one just built.
        let unit =
            text(&examples().join("systemd").join(name)).replace("/usr/bin/everleaf", env!("CARGO_BIN_EXE_everleaf"));
        std::fs::write(directory.path().join(name), unit).expect("unit");
    }
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(UNITS.map(|name| directory.path().join(name)))
        .output()
        .expect("systemd-analyze must be installed for this test (Debian: apt-get install systemd)");
    let said = String::from_utf8_lossy(&verify.stderr);
    assert!(verify.status.success() && said.trim().is_empty(), "{}: {said}", verify.status);
}

/// What a run may do, a daemon may, and no more: they share hooks, directories and a sandbox.
#[test]
fn the_daemon_s_unit_has_the_sandbox_of_the_run_s() {
    let sandbox = |name: &str| {
        let text = text(&examples().join("systemd").join(name));
        let begin = text.find("# No certificate is worth").expect("where the common part begins");
        let common: Vec<String> =
            text[begin..].lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        common.join("\n").split("\n[Install]").next().unwrap_or_default().trim_end().to_owned()
    };
    assert_eq!(sandbox("everleaf-daemon.service"), sandbox("everleaf.service"));
    let unit = text(&examples().join("systemd/everleaf-daemon.service"));
    for line in [
        "Type=notify",
        "WatchdogSec=2min",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "TimeoutStopSec=2min",
        "KillMode=mixed",
    ] {
        assert!(unit.lines().any(|have| have == line), "{line}");
    }
}

#[test]
fn the_unit_and_the_cron_line_agree_on_how_often_and_when() {
    let timer = text(&examples().join("systemd/everleaf.timer"));
    for line in ["OnCalendar=hourly", "RandomizedDelaySec=50m", "FixedRandomDelay=true", "Persistent=true"] {
        assert!(timer.lines().any(|have| have == line), "{line}");
    }
    let cron = text(&examples().join("everleaf.cron"));
    let job = cron.lines().find(|line| line.contains(" root ")).expect("a job");
    assert_eq!(job, "0 * * * * root if [ ! -d /run/systemd/system ]; then everleaf run --splay 50m; fi");
    assert!(!job.contains('%'), "cron would take it for a line break");
}
