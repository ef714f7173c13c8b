//! The rig itself: what its servers promise to the other tests.

#![cfg(test)]

use crate::rig::{self, Bind, BindOptions, HaProxy, Nginx, Pebble, PebbleOptions, SServer, Sshd};
use std::net::SocketAddr;
use std::process::Command;

#[test]
fn pebble_offers_ari_and_profiles_and_a_restart_makes_a_new_ca() {
    let mut pebble = Pebble::start(PebbleOptions::default());
    let directory = pebble.offers();
    assert!(directory["renewalInfo"].is_string(), "{directory}");
    assert_eq!(directory["meta"]["profiles"].as_object().unwrap().len(), 3, "{directory}");

    let root = pebble.issuing_root(0);
    assert!(root.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_ne!(root, pebble.intermediate(0));
    assert_eq!((pebble.orders(), pebble.issued()), (0, 0));
    pebble.restart();
    assert_ne!(root, pebble.issuing_root(0));
}

#[test]
fn challtestsrv_serves_tokens() {
    let pebble = Pebble::start(PebbleOptions::default());
    pebble.challenges.add_http01("token", "token.thumbprint");
    let served = rig::get(pebble.http01(), "a.example", "/.well-known/acme-challenge/token").unwrap();
    assert_eq!((served.status, served.body.trim()), (200, "token.thumbprint"));
}

#[test]
fn nginx_and_haproxy_serve_a_new_certificate_after_a_reload_and_not_before() {
    let dir = rig::scratch("edges");
    let file = |name: &str| dir.path().join(name);
    let put = |certificate: &(String, String)| {
        std::fs::write(file("cert.pem"), &certificate.0).unwrap();
        std::fs::write(file("key.pem"), &certificate.1).unwrap();
        std::fs::write(file("bundle.pem"), format!("{}{}", certificate.1, certificate.0)).unwrap();
    };
    put(&rig::self_signed(&["a.example"]));
    let [one, two, three] = rig::hosts().map(|host| SocketAddr::from((host, rig::free_port())));
    let nginx = Nginx::start(&Nginx::tls(one, &file("cert.pem"), &file("key.pem")), one);
    let frontend = format!("frontend f\n    bind {two} ssl crt {}\n", file("bundle.pem").display());
    let haproxy = HaProxy::start("", &frontend, two);
    let both = |expected: &str| {
        for address in [one, two] {
            assert_eq!(rig::openssl_serial(address, "a.example").as_deref(), Some(expected), "{address}");
        }
    };
    let first = rig::openssl_serial(one, "a.example").unwrap();
    both(&first);

    let second = rig::self_signed(&["a.example"]);
    put(&second);
    both(&first);
    nginx.reload();
    haproxy.reload();
    let server = SServer::start(three, &second.0, "", &second.1, &[]);
    let second = rig::openssl_serial(server.address(), "a.example").unwrap();
    assert_ne!(first, second);
    both(&second);
    rig::run_command(&nginx.check_command());
    rig::run_command(&haproxy.check_command());
}

#[test]
fn a_foreign_process_on_the_port_is_noticed() {
    let address = SocketAddr::from((rig::host(), rig::free_port()));
    let _foreign = std::net::TcpListener::bind(address).unwrap();
    let (cert, key) = rig::self_signed(&["a.example"]);
    let started = std::panic::catch_unwind(|| SServer::start(address, &cert, "", &key, &[]));
    assert!(started.is_err(), "somebody else's port was taken for the server's");
}

#[test]
fn sshd_lets_the_rigs_own_key_in() {
    let sshd = Sshd::start();
    let mut ssh = Command::new("ssh");
    let said = rig::run(ssh.arg("-F").arg(sshd.client_config()).args(["edge", "echo", "here"]), None);
    assert_eq!(said, "here\n");
}

#[test]
fn bind_takes_updates() {
    let address = SocketAddr::from((rig::host(), rig::free_port()));
    let records = format!("@ IN NS ns1\nns1 IN A {}\n", rig::host());
    let bind = Bind::start(&BindOptions { address, zones: vec![("zone.example".to_owned(), records)] });
    assert!(bind.txt("a.zone.example").is_empty());
    bind.update("update add a.zone.example. 60 TXT value");
    assert_eq!(bind.txt("a.zone.example"), ["value"]);
}

#[test]
fn every_configuration_of_pebble_runs_and_ends_with_its_script() {
    let script = rig::repository().join("pebble/run");
    let configs = std::fs::read_dir(rig::repository().join("pebble/configs")).unwrap();
    let names = configs.map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned());
    let names: std::collections::BTreeSet<String> = names.collect();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        let dir = rig::scratch("run");
        let mut command = Command::new("bash");
        command.arg(&script).arg("--dir").arg(dir.path()).arg(&name);
        let mut running = rig::Daemon::spawn("run", &command, dir.path());
        let told = |key: &str| {
            let env = std::fs::read_to_string(dir.path().join("env")).unwrap_or_default();
            env.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned()))
        };
        running.await_ready(|| told("PEBBLE_LOG").is_some());
        let directory = told("PEBBLE_DIRECTORY").unwrap();
        let address: SocketAddr = directory.split('/').nth(2).unwrap().parse().unwrap();
        let root = std::fs::read_to_string(told("PEBBLE_TLS_ROOT").unwrap()).unwrap();
        let reply = rig::request(address, Some(&root), "GET /dir HTTP/1.0\r\nUser-Agent: everleaf\r\n\r\n").unwrap();
        assert_eq!(reply.body.contains("\"externalAccountRequired\": true"), name == "eab", "{name}: {}", reply.body);
        assert!(std::fs::read_to_string(told("PEBBLE_ROOT").unwrap()).unwrap().contains("BEGIN CERTIFICATE"), "{name}");
        running.stop();
        assert!(std::net::TcpStream::connect(address).is_err(), "{name} goes on after its script");
    }
}
