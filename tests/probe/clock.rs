//! Clocks that are wrong: the server's, by what it says in HTTP, and our own, by `faketime`; and certificates that have ended beside.

use super::rig::{Nginx, SServer, require, scratch};
use super::somewhere;
use super::support::{Ca, Leaf, SystemClock, listen_tls, live};
use everleaf::ports::Clock;
use rcgen::KeyPair;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// The labels that `everleaf probe` tells of by a clock that is off as `faketime` reads it.
fn told(dir: &Path, addresses: &[SocketAddr], off: &str) -> Vec<String> {
    let mut command = Command::new(require("faketime"));
    command.args(["-f", off, env!("CARGO_BIN_EXE_everleaf"), "probe", "a.test", "--json", "--ca"]);
    command.arg(dir.join("root.pem"));
    for address in addresses {
        command.args(["--connect", &address.to_string()]);
    }
    let out = command.stdin(Stdio::null()).output().unwrap();
    let document: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"));
    let labels = document["findings"].as_array().unwrap().iter().map(|it| it["label"].as_str().unwrap().to_owned());
    labels.filter(|label| !["hsts_missing", "resumption_off"].contains(&label.as_str())).collect()
}

/// A server whose clock shows what it was so many days ago.
fn late(dir: &Path, leaf: &Leaf, days: u32) -> SocketAddr {
    let at = (SystemClock.now() - DAY * days).as_secs();
    let at = jiff::Timestamp::from_second(at).unwrap();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap();
    let (chain, key) = leaf.write(dir, &leaf.print().short(), &leaf.fullchain());
    listen_tls(somewhere(), &chain, &key, format!("HTTP/1.1 200 OK\r\nDate: {date}\r\n\r\n"))
}

#[test]
fn whose_clock_is_wrong_is_told_from_certificates_that_have_ended() {
    let ca = Ca::new("A");
    let dir = scratch("clock");
    std::fs::write(dir.path().join("root.pem"), ca.root()).unwrap();
    let leaf = |from, to| ca.issue_with("a.test", &KeyPair::generate().unwrap(), |params| live(params, from, to));
    let (good, ended) = (leaf(-30, 60), leaf(-95, -5));
    let [right, over] = [(); 2].map(|()| somewhere());
    let block = |at, leaf: &Leaf| {
        let (chain, key) = leaf.write(dir.path(), &leaf.print().short(), &leaf.fullchain());
        Nginx::tls(at, &chain, &key)
    };
    let _nginx = Nginx::start(&format!("{}{}", block(right, &good), block(over, &ended)), right);
    // It tells nobody what time it is.
    let server = SServer::bare(somewhere(), &good.cert, &good.chain, &good.key, &[]);
    let mute = server.address();
    let (slow, stopped) = (late(dir.path(), &good, 10), late(dir.path(), &ended, 40));
    let years_ago = late(dir.path(), &good, 3000);
    let cases: [(&[SocketAddr], &str, &[&str]); 10] = [
        (&[right], "+0d", &["ok"]),
        (&[mute], "+0d", &["ok"]),
        (&[over], "+0d", &["expired"]),
        (&[slow], "+0d", &["server_clock_wrong"]),
        (&[years_ago], "+0d", &["server_clock_wrong"]),
        // By its own clock its certificate is in date: it stopped, and we did not.
        (&[stopped], "+0d", &["expired", "server_clock_wrong"]),
        (&[right], "-400d", &["client_clock_wrong"]),
        (&[right], "-3d", &["client_clock_wrong"]),
        (&[right], "+400d", &["client_clock_wrong"]),
        (&[mute], "-400d", &["client_clock_wrong"]),
    ];
    for (addresses, off, wanted) in cases {
        assert_eq!(told(dir.path(), addresses, off), wanted, "{addresses:?} {off}");
    }
}
