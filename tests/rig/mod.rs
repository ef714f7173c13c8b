//! Real servers for the tests: Pebble, nginx, HAProxy, sshd, BIND, `openssl s_server`.
//!
//! Shared by the test binaries through `#[path = "../rig/mod.rs"] mod rig;`. Everything listens on loopback, on ports of
//! its own, and is ended by pid when its handle is dropped. A tool that is missing fails the test: nothing is skipped.
#![cfg(test)]
#![expect(dead_code, unused_imports, reason = "each test binary uses only a part of it")]

mod bind;
mod edges;
mod faulty;
mod http;
mod pebble;
mod process;
mod relay;
pub(crate) mod scene;
mod snapshot;
mod sshd;
pub(crate) mod strace;

pub(crate) use bind::{Bind, BindOptions};
pub(crate) use edges::{Apache, HaProxy, Nginx, SServer, run_command};
pub(crate) use faulty::{Answer, Asked, Fault, FaultyCa, Kind, Line, Times};
pub(crate) use http::{Reply, get, post, request};
pub(crate) use pebble::{Challtestsrv, Pebble, PebbleOptions, Validation};
pub(crate) use process::{Daemon, free_port, host, hosts, own_mounts, repository, require, run, scratch, wait_until};
pub(crate) use relay::Relay;
pub(crate) use snapshot::snapshot;
pub(crate) use sshd::{Sshd, ssh_to};

use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// A key and a self-signed certificate for `names` (DNS names and IP addresses), as PEM: `(certificate, key)`. The
/// certificate is also its own root: it says `CA:FALSE`, without which rustls refuses it as `CaUsedAsEndEntity`.
pub(crate) fn self_signed(names: &[&str]) -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a P-256 key");
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = rcgen::CertificateParams::new(names).expect("valid names");
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    let certificate = params.self_signed(&key).expect("a self-signed certificate");
    (certificate.pem(), key.serialize_pem())
}

/// The serial number that `openssl s_client` sees at `address` for `sni`, in lower-case hexadecimal as openssl prints it
/// (without DER's leading zero octet). `None` when no handshake came about.
pub(crate) fn openssl_serial(address: SocketAddr, sni: &str) -> Option<String> {
    require("openssl");
    let shown = Command::new("timeout")
        .args(["10", "openssl", "s_client", "-connect", &address.to_string(), "-servername", sni])
        // Nothing is verified, and reading the machine's roots takes four times as long as the rest.
        .args(["-no-CAfile", "-no-CApath", "-no-CAstore"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .expect("openssl s_client");
    let text = String::from_utf8_lossy(&shown.stdout);
    let begin = text.find("-----BEGIN CERTIFICATE-----")?;
    let end = begin + text[begin..].find("-----END CERTIFICATE-----")? + "-----END CERTIFICATE-----".len();
    let printed = run(Command::new("openssl").args(["x509", "-noout", "-serial"]), Some(&text[begin..end]));
    Some(printed.trim().trim_start_matches("serial=").to_ascii_lowercase())
}
