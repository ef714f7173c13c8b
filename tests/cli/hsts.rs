//! HSTS policies and the names that the next step would bind: those of the configuration, and those of the run.

use crate::desk::Desk;
use crate::rig::{Nginx, free_port, host, scratch};
use rcgen::{CertificateParams, Issuer, KeyPair};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// What to check, as it is told of the policy at `shop.example.com`.
fn next(desk: &Desk, args: &[&str]) -> String {
    let said = desk.run(&[&["probe", "--json"], args].concat());
    let documents = said.out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let findings: Vec<_> = documents.flat_map(|it| it["findings"].as_array().expect("a list").clone()).collect();
    let policy = findings.iter().find(|it| it["label"] == "hsts_ok" && it["sni"] == "shop.example.com");
    policy.unwrap_or_else(|| panic!("{said:?}"))["check"].as_str().expect("text").to_owned()
}

#[test]
fn names_below_that_fail_stand_against_a_policy_for_all() {
    const DAY: Duration = Duration::from_secs(86_400);
    let dir = scratch("below");
    let (ca, key) = (crate::probe::ca("Root of Example"), KeyPair::generate().expect("a key"));
    let root = dir.path().join("root.pem");
    fs::write(&root, ca.self_signed(&key).expect("signed").pem()).expect("written");
    let mut http = String::new();
    let mut serve = |name: &str, days: u32| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.not_before, params.not_after) =
            ((SystemTime::now() - DAY * (90 - days)).into(), (SystemTime::now() + DAY * days).into());
        if days == 0 {
            params.not_after = (SystemTime::now() - DAY).into();
        }
        let own = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&own, &Issuer::from_params(&ca, &key)).expect("signed").pem();
        let [chain, private] = ["pem", "key"].map(|kind| dir.path().join(format!("{name}.{kind}")));
        fs::write(&chain, leaf).expect("written");
        fs::write(&private, own.serialize_pem()).expect("written");
        let at = SocketAddr::from((host(), free_port()));
        let line = "add_header Strict-Transport-Security max-age=31536000; return 200";
        let _ = write!(http, "{}", Nginx::tls(at, &chain, &private).replacen("return 200", line, 1));
        at
    };
    let (base, www, old) =
        (serve("shop.example.com", 60), serve("www.shop.example.com", 60), serve("old.shop.example.com", 0));
    let _nginx = Nginx::start(&http, base);
    let desk = |names: &[(&str, SocketAddr)]| {
        let certificates: Vec<String> = names
            .iter()
            .map(|(name, at)| {
                format!(
                    "  - {{ name: {}, names: [{name}], solver: {{ http-01: {{ listen: '127.0.0.1:1' }} }}, nodes: [edge], \
                     endpoints: [{{ address: '{at}' }}] }}\n",
                    name.replace('.', "-")
                )
            })
            .collect();
        Desk::new(&format!(
            "issuers: {{ ca: {{ directory: 'https://127.0.0.1:1/dir', roots: '{}' }} }}\n\
             nodes: {{ edge: {{ type: local, reload: {{ exec: ['true'] }} }} }}\ncertificates:\n{}",
            root.display(),
            certificates.concat()
        ))
    };
    let (at, roots) = (base.to_string(), root.display().to_string());
    let typed = ["shop.example.com", "--connect", &at, "--ca", &roots];
    let all = desk(&[("shop.example.com", base), ("www.shop.example.com", www), ("old.shop.example.com", old)]);
    let well = desk(&[("www.shop.example.com", www)]);
    for check in [next(&all, &typed), next(&all, &["--all"])] {
        let told = "of the 2 names known under shop.example.com these fail: old.shop.example.com (expired).";
        assert!(check.starts_with("Not ready for step 3") && check.contains(told), "{check}");
        assert!(check.contains("cannot be seen from here"), "{check}");
    }
    let check = next(&well, &typed);
    assert!(check.starts_with("Ready for step 3") && check.contains("the 1 name known under"), "{check}");
    // Another target of the same run; at this address it gets the certificate of the first.
    let check = next(&desk(&[("a.example.org", www)]), &[&["www.shop.example.com"], &typed[..]].concat());
    assert!(check.contains("www.shop.example.com (name_mismatch)"), "{check}");
    let check = next(&desk(&[("a.example.org", www)]), &typed);
    assert!(check.contains("once every name under shop.example.com"), "{check}");
}
