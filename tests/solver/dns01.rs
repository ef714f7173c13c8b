//! dns-01 by a hook that updates real BINDs, and by one that tells challtestsrv.
#![cfg(test)]

use crate::rig::{self, Bind, BindOptions, Pebble, PebbleOptions};
use crate::support::{cert, proof, solver};
use everleaf::config::spec::{Dns01, Hook, Solver as How};
use everleaf::net::dns::Resolver;
use everleaf::ports::{Proof, Solvers};
use everleaf::solver::Solver;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A hook that keeps a copy of what it was told in `dir` and then runs `body`.
pub(crate) fn hook(dir: &Path, body: &str, propagation: Duration) -> How {
    let script = dir.join("hook");
    let here = dir.display();
    let text = format!(
        "#!/bin/sh\nset -e\ncat >>{here}/stdin\n\
         printf '%s|%s|%s|%s\\n' \"$EVERLEAF_EVENT\" \"$EVERLEAF_FQDN\" \"$EVERLEAF_DOMAIN\" \"$EVERLEAF_VALUES\" >>{here}/calls\n\
         {body}\n"
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let argv = vec![script.display().to_string()];
    let hook = Hook { argv, shell: false, timeout: Duration::from_secs(20), certbot: false, unit: None };
    How::Dns01(Dns01 { hook, propagation })
}

/// The lines of an nsupdate that adds or removes all values, sent to each of `servers`.
fn nsupdate(servers: &[&Bind]) -> String {
    let send = |bind: &&Bind| {
        format!(
            "{{ echo server {} {}; for v in $EVERLEAF_VALUES; do\n\
             case $EVERLEAF_EVENT in present) echo update add $EVERLEAF_TARGET. 60 TXT $v;; \
             cleanup) echo update delete $EVERLEAF_TARGET. TXT $v;; esac; done; echo send; }} | nsupdate -k {}\n",
            bind.address().ip(),
            bind.address().port(),
            bind.key_file().display()
        )
    };
    servers.iter().map(send).collect()
}

/// Tells challtestsrv.
pub(crate) fn curl(management: SocketAddr) -> String {
    rig::require("curl");
    format!(
        "for v in $EVERLEAF_VALUES; do case $EVERLEAF_EVENT in\n\
         present) curl -fsS -d \"{{\\\"host\\\":\\\"$EVERLEAF_FQDN.\\\",\\\"value\\\":\\\"$v\\\"}}\" http://{management}/set-txt;;\n\
         cleanup) curl -fsS -d \"{{\\\"host\\\":\\\"$EVERLEAF_FQDN.\\\"}}\" http://{management}/clear-txt;;\nesac; done"
    )
}

fn calls(dir: &Path) -> Vec<String> {
    std::fs::read_to_string(dir.join("calls")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Two authoritative servers of zone.example at port 53, where resolvers look for them.
fn servers() -> [Bind; 2] {
    let [one, two, _] = rig::hosts();
    let records = format!(
        "@ IN NS ns1\n@ IN NS ns2\nns1 IN A {one}\nns2 IN A {two}\n\
         _acme-challenge.alias IN CNAME alias.acme\nns1.acme IN A {one}\n"
    );
    let zones = vec![("zone.example".to_owned(), records)];
    [one, two].map(|host| Bind::start(&BindOptions { address: SocketAddr::from((host, 53)), zones: zones.clone() }))
}

/// A solver that asks the first server for everything: it knows the zone and refuses the rest.
fn asking(bind: &Bind) -> Solver {
    Solver::new(Rc::new(Resolver::new(&[bind.address()]).unwrap())).check_port(None)
}

fn apex_and_wildcard(how: &How) -> [Proof; 2] {
    [proof("zone.example", "tokenA", how.clone()), proof("*.zone.example", "tokenB", how.clone())]
}

const FQDN: &str = "_acme-challenge.zone.example";

#[tokio::test]
async fn all_values_of_a_name_go_up_in_one_call_and_every_server_is_asked() {
    let [one, two] = servers();
    let dir = rig::scratch("hook");
    // The second server gets the values late: the solver waits for it.
    let body = format!("{}( sleep 1\n{}) >/dev/null 2>&1 </dev/null &\n", nsupdate(&[&one]), nsupdate(&[&two]));
    let how = hook(dir.path(), &body, Duration::from_secs(30));
    let proofs = apex_and_wildcard(&how);
    let solver = asking(&one);

    solver.put_up(&cert("zone"), &proofs).await.unwrap();
    let up = one.txt(FQDN);
    assert_eq!((up.len(), &up), (2, &two.txt(FQDN)), "both servers serve both values when it answers");
    let seen = calls(dir.path());
    assert_eq!(seen, [format!("present|{FQDN}|zone.example|{}", up.join(" "))]);
    let event: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.path().join("stdin")).unwrap()).unwrap();
    assert_eq!((event["event"].as_str(), event["fqdn"].as_str()), (Some("present"), Some(FQDN)), "{event}");
    assert_eq!(event["values"].as_array().unwrap().len(), 2, "{event}");

    solver.take_down(&cert("zone"), &proofs).await.unwrap();
    assert_eq!(one.txt(FQDN), [""; 0]);
    assert_eq!(calls(dir.path()).len(), 2);
}

#[tokio::test]
async fn the_laggard_is_named_with_its_address_and_what_it_answered() {
    let [one, two] = servers();
    two.update(&format!("update add {FQDN}. 60 TXT stale"));
    let dir = rig::scratch("hook");
    let how = hook(dir.path(), &nsupdate(&[&one]), Duration::from_secs(2));
    let start = Instant::now();
    let failure = asking(&one).put_up(&cert("zone"), &apex_and_wildcard(&how)).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(10), "the limit holds: {:?}", start.elapsed());
    assert_eq!((failure.code.as_str(), failure.place.as_str()), ("dns:propagation", FQDN));
    let message = failure.message.as_str();
    let laggard = format!("ns2.zone.example ({})", two.address());
    assert!(message.contains(&laggard) && message.contains("stale"), "{message}");
    assert!(!message.contains("ns1.zone.example"), "only the laggard is named: {message}");
}

#[tokio::test]
async fn a_cname_at_the_challenge_name_is_followed() {
    let [one, two] = servers();
    let dir = rig::scratch("hook");
    let how = hook(dir.path(), &nsupdate(&[&one, &two]), Duration::from_secs(20));
    let proofs = [proof("alias.zone.example", "tokenA", how)];
    let solver = asking(&one);
    solver.put_up(&cert("alias"), &proofs).await.unwrap();
    assert_eq!(one.txt("alias.acme.zone.example").len(), 1);
    assert!(calls(dir.path())[0].starts_with("present|_acme-challenge.alias.zone.example|"), "the name stays its own");
    solver.take_down(&cert("alias"), &proofs).await.unwrap();
    assert!(one.txt("alias.acme.zone.example").is_empty());
}

#[tokio::test]
async fn certificates_that_share_a_name_keep_each_others_values() {
    let [one, two] = servers();
    let dir = rig::scratch("hook");
    let how = hook(dir.path(), &nsupdate(&[&one, &two]), Duration::from_secs(20));
    let (first, second) = (proof("zone.example", "tokenA", how.clone()), proof("zone.example", "tokenB", how));
    let solver = asking(&one);
    solver.put_up(&cert("ecdsa"), std::slice::from_ref(&first)).await.unwrap();
    solver.put_up(&cert("rsa"), std::slice::from_ref(&second)).await.unwrap();
    let told: Vec<usize> = calls(dir.path()).iter().map(|call| call.split(' ').count()).collect();
    assert_eq!(told, [1, 2], "a hook that replaces the whole record must not drop the other's value");
    solver.take_down(&cert("ecdsa"), &[first]).await.unwrap();
    assert_eq!(one.txt(FQDN).len(), 1, "the other's value stays");
    solver.take_down(&cert("rsa"), &[second]).await.unwrap();
    assert!(one.txt(FQDN).is_empty());
}

#[tokio::test]
async fn configured_resolvers_stand_in_for_a_zone_without_name_servers() {
    let pebble = Pebble::start(PebbleOptions::default());
    let dir = rig::scratch("hook");
    let management = pebble.challenges.management();
    let body = curl(management);
    let how = hook(dir.path(), &body, Duration::from_secs(10));
    let proofs = [proof("a.example", "tokenA", how.clone()), proof("*.a.example", "tokenB", how)];
    let solver = solver(&pebble);
    solver.put_up(&cert("a"), &proofs).await.unwrap();
    solver.take_down(&cert("a"), &proofs).await.unwrap();
    assert_eq!(calls(dir.path()).len(), 2);
}

#[tokio::test]
async fn a_hook_that_fails_is_reported_with_what_it_printed() {
    let pebble = Pebble::start(PebbleOptions::default());
    let dir = rig::scratch("hook");
    let how = hook(dir.path(), "echo the API said no >&2; exit 3", Duration::from_secs(1));
    let failure = solver(&pebble).put_up(&cert("a"), &[proof("a.example", "tokenA", how)]).await.unwrap_err();
    assert_eq!(failure.code, "hook:exit");
    assert!(format!("{:?}", failure.details).contains("the API said no"), "{failure:?}");
}
